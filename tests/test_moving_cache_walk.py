"""The walk through a cache refuses what cannot be; its models are those of others' settings."""

from __future__ import annotations

from typing import Any

import pytest

from attn_examples.figures import walk_cache
from attn_examples.figures.moving.cache_walk import _MODELS


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"model": "Llama"}, ValueError, r"model \('Llama'\) must be one of \['GPT-3 175B'"),
        ({"model": 3}, TypeError, r"model \(int\) must be the name of a model"),
        ({"tokens": "the cat"}, TypeError, r"tokens \(str\) must be a sequence of tokens"),
        ({"tokens": ["the"]}, ValueError, "tokens has 1 tokens but must have from 2 to 12"),
        ({"tokens": [None, "a"]}, TypeError, "tokens holds None"),
        ({"step": 0}, ValueError, r"step \(0\) must be at least 1"),
        ({"step": 9}, ValueError, r"step \(9\) must be at most 8"),
        ({"step": 1.5}, TypeError, r"step \(1.5\) must be a whole number"),
        ({"power": -1}, ValueError, r"power \(-1\) must be at least 0"),
        ({"power": 18}, ValueError, r"power \(18\) must be at most 17"),
    ],
)
def test_it_refuses_what_cannot_be(
    call: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        walk_cache(**call)


def test_sizes_are_the_defaults_of_transformers() -> None:
    """Where the defaults of transformers are those of a model that is shown."""
    transformers = pytest.importorskip("transformers")
    models = {one.name: one for one in _MODELS}
    for name, config in (
        ("LLaMA 7B", transformers.LlamaConfig()),
        ("Mistral 7B", transformers.MistralConfig()),
    ):
        one = models[name]
        width = getattr(config, "head_dim", None) or config.hidden_size // one.heads
        assert (one.layers, one.heads, one.kv_heads, one.head_dim) == (
            config.num_hidden_layers,
            config.num_attention_heads,
            config.num_key_value_heads or config.num_attention_heads,
            width,
        )
    assert models["Mistral 7B"].window == transformers.MistralConfig().sliding_window
