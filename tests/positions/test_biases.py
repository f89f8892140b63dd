"""Biases of distance against transformers' and x-transformers'."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import T5Config
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

from attn_examples import (
    MultiHeadAttention,
    alibi,
    attention,
    biased,
    causal_mask,
    dot,
    scaled_dot,
    with_bias,
)
from tests.conftest import randn, same, says

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.x_transformers import AlibiPositionalBias

L, S = 5, 7
HEADS = [1, 2, 3, 6, 8, 12, 17]


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(("length", "key_len"), [(L, S), (L, L), (1, S), (S, L)])
def test_alibi_equals_x_transformers(heads: int, length: int, key_len: int) -> None:
    theirs = AlibiPositionalBias(heads)
    # their buffer is float32; what they compute it from is not
    theirs.slopes = torch.tensor(theirs._get_slopes(heads), dtype=torch.float64).view(-1, 1, 1)
    places = torch.arange(key_len - length, key_len), torch.arange(key_len)
    expected = theirs.forward_custom_pos(*(p.double() for p in places))
    same(alibi(heads, length, key_len, dtype=torch.float64), expected)


@pytest.mark.parametrize("heads", HEADS)
def test_alibi_equals_transformers(heads: int) -> None:
    """Theirs is slope * j: under a causal mask a row may differ by a constant."""
    theirs = build_alibi_tensor(torch.ones(1, L), heads, torch.float32)  # (H, 1, L)
    ours = alibi(heads, L)
    last = ours - ours[..., :1]
    past = causal_mask(L)
    torch.testing.assert_close(
        last.masked_fill(~past, 0.0),
        theirs.expand_as(ours).masked_fill(~past, 0.0),
        rtol=0,
        atol=1e-6,
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_alibi_is_rounded_once(dtype: torch.dtype) -> None:
    assert torch.equal(alibi(6, L, dtype=dtype), alibi(6, L, dtype=torch.float64).to(dtype))
    assert alibi(6, L).dtype == torch.get_default_dtype()
    assert alibi(6, L, device="meta").device.type == "meta"


def test_alibi_is_a_bias_of_the_score() -> None:
    query, key, value = randn(2, 3, L, 4), randn(2, 3, S, 4), randn(2, 3, S, 6)
    bias = alibi(3, L, S, dtype=torch.float64)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, bias)
    same(attention(query, key, value, score=with_bias(scaled_dot, bias))[0], expected)


def test_biased_asks_for_what_is_there() -> None:
    asked: list[Any] = []

    def bias(*sizes: int, **settings: Any) -> Tensor:
        asked.append((sizes, settings))
        return torch.zeros(())

    query, key = randn(2, 6, L, 4), randn(2, 3, L, 4)
    same_query, same_key, _ = biased(bias)(query, key, 2)
    assert same_query is query
    assert same_key is key
    assert asked == [((6, L, 2 + L), {"dtype": torch.float64, "device": query.device})]


def test_biased_equals_torch() -> None:
    theirs = torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    ours = MultiHeadAttention.from_torch(theirs)
    ours.positions = biased(alibi)
    x, bias = randn(2, L, 12), alibi(3, L, dtype=torch.float64)
    expected = theirs(x, x, x, attn_mask=bias.repeat(2, 1, 1), average_attn_weights=False)
    for output, their in zip(ours(x), expected, strict=True):
        same(output, their)


@pytest.mark.parametrize("head_dim", [4, 5])
def test_biased_equals_t5(head_dim: int) -> None:
    settings: Any = {"attn_implementation": "eager", "relative_attention_num_buckets": 4}
    config = T5Config(d_model=12, d_kv=head_dim, num_heads=3, dropout_rate=0.0, **settings)
    theirs: Any = T5Attention(config, has_relative_attention_bias=True).double()

    def bias(num_heads: int, query_len: int, key_len: int, **_: Any) -> Tensor:
        made: Tensor = theirs.compute_bias(query_len, key_len)
        return made.squeeze(0)

    ours = MultiHeadAttention(
        12, 3, head_dim=head_dim, score=dot, positions=biased(bias), bias=False
    ).double()
    pairs = {"q_proj": theirs.q, "k_proj": theirs.k, "v_proj": theirs.v, "out_proj": theirs.o}
    ours.load_state_dict({f"{name}.weight": part.weight for name, part in pairs.items()})
    x = randn(2, L, 12)
    expected, _, their_weights = theirs(x)
    output, weights = ours(x)
    assert weights is not None
    same(output, expected)
    same(weights, their_weights)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: alibi(0, 5), ValueError, "num_heads (0) must be at least 1"),
        (lambda: alibi(2, -1), ValueError, "query_len (-1) must be at least 0"),
        (lambda: alibi(2, 5, -1), ValueError, "key_len (-1) must be at least 0"),
        (lambda: alibi(2.0, 5), TypeError, "num_heads (2.0) must be a whole number"),  # type: ignore[arg-type]
        (
            lambda: alibi(2, 5, dtype=torch.int64),
            ValueError,
            "dtype (torch.int64) must be floating point",
        ),
        (
            lambda: alibi(2, 5, dtype="float32"),  # type: ignore[arg-type]
            ValueError,
            "dtype (float32) must be floating point",
        ),
        (
            lambda: biased(3),  # type: ignore[arg-type]
            TypeError,
            "bias (3) must be callable: a function or a module",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()
