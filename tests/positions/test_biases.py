"""Biases of distance against transformers' and x-transformers'."""

from __future__ import annotations

import warnings
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import T5Config
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

from attn_examples import (
    MultiHeadAttention,
    T5Bias,
    alibi,
    attention,
    biased,
    causal_mask,
    dot,
    scaled_dot,
    with_bias,
)
from tests.conftest import gradients, randn, same, says

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.x_transformers import AlibiPositionalBias, RelativePositionBias

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


# T5's buckets

# L, S, buckets, and where the last begins
RANGES = [(L, S, 8, 6), (1, S, 4, 3), (S, L, 8, 128), (300, 300, 32, 128), (1, 900, 64, 800)]
ranges = pytest.mark.parametrize(("length", "key_len", "buckets", "far"), RANGES)
both_ways = pytest.mark.parametrize("bidirectional", [True, False])


def t5(length: int, buckets: int, far: int, bidirectional: bool) -> tuple[T5Bias, T5Attention]:
    config = T5Config(
        d_model=12,
        d_kv=4,
        num_heads=3,
        relative_attention_num_buckets=buckets,
        relative_attention_max_distance=far,
        is_decoder=not bidirectional,
    )
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double().eval()
    ours = T5Bias(3, buckets, far, bidirectional=bidirectional).double()
    ours.load_state_dict(theirs.relative_attention_bias.state_dict())
    return ours, theirs


@both_ways
@ranges
def test_t5_bias_equals_transformers(
    length: int, key_len: int, buckets: int, far: int, bidirectional: bool
) -> None:
    ours, theirs = t5(length, buckets, far, bidirectional)
    compute_bias: Any = theirs.compute_bias
    expected = compute_bias(length, key_len, past_seen_tokens=key_len - length)[0]
    bias = ours(3, length, key_len)
    same(bias, expected)
    table = theirs.relative_attention_bias.weight
    same(gradients(bias, ours.weight)[0], gradients(expected, table)[0])


@both_ways
@ranges
def test_t5_bias_equals_x_transformers(
    length: int, key_len: int, buckets: int, far: int, bidirectional: bool
) -> None:
    theirs = RelativePositionBias(1.0, not bidirectional, buckets, far, heads=3).double()
    ours = T5Bias(3, buckets, far, bidirectional=bidirectional).double()
    ours.load_state_dict(theirs.relative_attention_bias.state_dict())
    same(ours(3, length, key_len), theirs(length, key_len))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 80), st.integers(1, 2000), st.booleans())
def test_every_t5_bucket_is_theirs(pairs: int, more: int, bidirectional: bool) -> None:
    """They take the logarithm in float32, we in float64: of these few no distance differs."""
    buckets = 4 * pairs
    far = buckets // (4 if bidirectional else 2) + more
    ours = T5Bias(1, buckets, far, bidirectional=bidirectional).buckets(2500, 2500)
    behind = torch.arange(2500)
    bucket: Any = T5Attention._relative_position_bucket
    for row, ahead in ((ours[-1].flip(0), -behind), (ours[0], behind)):
        theirs = bucket(ahead, bidirectional, buckets, far)
        assert torch.equal(row, theirs)


@pytest.mark.parametrize(("buckets", "far"), [(10, 160), (36, 32), (48, 1778), (100, 72)])
def test_a_t5_bucket_begins_at_the_edge_itself(buckets: int, far: int) -> None:
    exact = buckets // 2
    for distance, bucket in enumerate(
        T5Bias(1, buckets, far, bidirectional=False).buckets(far, far)[-1].flip(0).tolist()
    ):
        if distance >= exact:  # (distance / exact)**n >= (far / exact)**step, in whole numbers
            step, n = bucket - exact, buckets - exact
            ratio, whole = Fraction(distance, exact) ** n, Fraction(far, exact)
            assert whole**step <= ratio < whole ** (step + 1)


def test_a_layer_with_t5_bias_equals_transformers() -> None:
    bias, theirs = t5(L, 8, 6, True)
    ours = MultiHeadAttention(12, 3, score=dot, bias=False, positions=biased(bias)).double()
    for mine, their in (("q_proj", "q"), ("k_proj", "k"), ("v_proj", "v"), ("out_proj", "o")):
        ours.get_submodule(mine).load_state_dict(theirs.get_submodule(their).state_dict())
    x = randn(2, L, 12)
    # theirs normalizes in float32
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=0, atol=1e-6)


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
        (lambda: T5Bias(0), ValueError, "num_heads (0) must be at least 1"),
        (lambda: T5Bias(2, 2), ValueError, "num_buckets (2) must be at least 4"),
        (lambda: T5Bias(2, 7), ValueError, "num_buckets (7) must be even"),
        (
            lambda: T5Bias(2, 0, bidirectional=False),
            ValueError,
            "num_buckets (0) must be at least 2",
        ),
        (lambda: T5Bias(2, 32, 0), ValueError, "max_distance (0) must be at least 1"),
        (lambda: T5Bias(2, 32, 8), ValueError, "max_distance (8) must be at least 9"),
        (
            lambda: T5Bias(2, 32, 16, bidirectional=False),
            ValueError,
            "max_distance (16) must be at least 17",
        ),
        (
            lambda: T5Bias(1)(3, L, S),
            ValueError,
            "positions were made for num_heads 1 but meet 3 heads: make them for as many",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()
