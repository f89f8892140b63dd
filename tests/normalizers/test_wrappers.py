"""What wraps a normalizer, against torch, transformers and x-transformers."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

from attn_examples import (
    KVCache,
    MultiHeadAttention,
    attention,
    causal_mask,
    dropped,
    softmax,
    softmax_one,
    sparsemax,
    with_sink,
)
from tests.conftest import gradients, randn, same, says
from tests.normalizers.test_exponential import scores

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.attend import Attend

INF = float("inf")
N, H, L, S = 2, 3, 5, 7


@pytest.mark.parametrize("dropout_p", [0.1, 0.5, 1.0])
def test_dropped_equals_torch(dropout_p: float) -> None:
    scores = randn(2, 3, 5, 7)
    torch.manual_seed(1)
    ours = dropped(softmax, dropout_p)(scores)
    torch.manual_seed(1)
    same(ours, F.dropout(scores.softmax(-1), dropout_p))
    kept = ours != 0
    same(ours[kept], scores.softmax(-1)[kept] / (1 - dropout_p))


def test_dropped_is_each_weight_dropped_or_divided() -> None:
    scores = randn(2, 3, 5, 7)
    torch.manual_seed(1)
    ours = dropped(softmax, 0.4)(scores)
    torch.manual_seed(1)
    stays = torch.empty_like(scores).bernoulli_(0.6).flatten().tolist()
    weights = scores.softmax(-1).flatten().tolist()
    by_hand = [w / 0.6 if stay else 0.0 for w, stay in zip(weights, stays, strict=True)]
    same(ours.flatten(), torch.tensor(by_hand, dtype=torch.float64))
    assert 0 < sum(stays) < len(stays)


def test_dropped_by_0_is_the_normalizer_itself() -> None:
    assert dropped(softmax, 0.0) is softmax
    assert dropped(softmax, 0) is softmax


def test_dropped_wraps_any_normalizer_and_draws_anew() -> None:
    scores = torch.ones(100, 10)
    twice = dropped(torch.relu, 0.5)
    first, second = twice(scores), twice(scores)
    assert set(first.flatten().tolist()) == set(second.flatten().tolist()) == {0.0, 2.0}
    assert not torch.equal(first, second)
    assert 0.9 < first.mean() < 1.1  # seeded


@pytest.mark.parametrize("dropout_p", [-0.1, 1.1, INF, float("nan")])
def test_dropped_refuses_what_is_no_probability(dropout_p: float) -> None:
    sentence = f"dropout_p ({dropout_p}) must be a probability, from 0 to 1"
    with pytest.raises(ValueError, match=says(sentence)):
        dropped(softmax, dropout_p)


@pytest.mark.parametrize("dropout_p", [None, True, "0.1"])
def test_dropped_refuses_what_is_no_number(dropout_p: Any) -> None:
    with pytest.raises(TypeError, match=says(f"dropout_p ({dropout_p!r}) must be a number")):
        dropped(softmax, dropout_p)


# A sink


def heads() -> list[Tensor]:
    return [randn(N, H, *size, grad=True) for size in ((L, 4), (S, 4), (S, 6))]


@pytest.mark.parametrize("groups", [1, 3])
def test_with_sink_equals_gpt_oss(groups: int) -> None:
    query, _, _ = heads()
    key, value = randn(N, H // groups, S, 4, grad=True), randn(N, H // groups, S, 6, grad=True)
    layer: Any = nn.Identity()
    layer.num_key_value_groups, layer.sinks = groups, nn.Parameter(2 * randn(H))
    past = causal_mask(L, S)
    added = torch.zeros(L, S, dtype=torch.float64).masked_fill(~past, -INF)
    expected, their_weights = eager_attention_forward(layer, query, key, value, added, scaling=0.5)

    sink = nn.Parameter(layer.sinks.detach().clone())
    keys, values = (t.repeat_interleave(groups, 1) for t in (key, value))
    ours, weights = attention(query, keys, values, mask=past, normalize=with_sink(softmax, sink))
    same(weights, their_weights)
    same(ours, expected.transpose(1, 2))
    theirs = gradients(expected.transpose(1, 2), query, key, value, layer.sinks)
    for our, their in zip(gradients(ours, query, key, value, sink), theirs, strict=True):
        same(our, their)


def test_with_sink_equals_x_transformers() -> None:
    query, key, value = heads()
    # with qk_norm its softmax is not rounded to float32
    attend = Attend(head_learned_sink=True, heads=H, qk_norm=True).double()
    with torch.no_grad():
        attend.head_attn_sink.copy_(2 * randn(H))
    past = causal_mask(L, S)
    normalize = with_sink(softmax, attend.head_attn_sink)
    ours, _ = attention(query, key, value, mask=past, normalize=normalize)
    same(ours, attend(query, key, value, mask=past[None, None])[0])


@given(scores(), st.floats(-20, 20))
def test_a_sink_takes_weight_and_gives_nothing(scores: Tensor, height: float) -> None:
    sink = torch.tensor(height, dtype=torch.float64)
    weights = with_sink(softmax, sink)(scores)
    alive = (scores > -INF).any(-1)
    sums = weights.sum(-1)
    assert (weights[scores == -INF] == 0).all()
    assert (sums <= 1).all()
    assert (sums[alive] < 1)[scores[alive].amax(-1) < height + 30].all()
    # what a row keeps is shared as without the sink
    same(weights, softmax(scores) * sums.unsqueeze(-1))
    same(sums, torch.sigmoid(scores.logsumexp(-1) - sink))


@given(scores())
def test_sinks_that_are_other_normalizers(scores: Tensor) -> None:
    one, none = torch.zeros((), dtype=torch.float64), torch.tensor(-INF, dtype=torch.float64)
    same(with_sink(softmax, one)(scores), softmax_one(scores))
    same(with_sink(softmax, none)(scores), softmax(scores))
    assert (with_sink(sparsemax, one)(scores).sum(-1) <= 1 + 1e-12).all()


def test_a_layer_finds_its_sinks_and_learns_them() -> None:
    sink = nn.Parameter(randn(H))
    layer = MultiHeadAttention(12, H, 1, normalize=with_sink(softmax, sink)).double()
    assert dict(layer.named_parameters())["normalize.sink"] is sink
    assert layer.state_dict()["normalize.sink"].shape == (H,)
    x, cache = randn(N, L, 12), KVCache()
    whole, weights = layer(x, is_causal=True)
    (gradient,) = gradients(whole, sink)
    assert (gradient != 0).all()
    steps = [layer(x[:, [t]], cache=cache)[0] for t in range(L)]
    same(torch.cat(steps, 1), whole)
    assert weights is not None
    assert (weights.sum(-1) < 1).all()


def test_a_sink_that_is_not_learned_is_a_buffer() -> None:
    fixed: Any = with_sink(softmax, torch.zeros(H))
    assert list(fixed.parameters()) == []
    assert fixed.double().sink.dtype == torch.float64


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: with_sink(softmax, 0.0), TypeError, "sink (float) must be a torch.Tensor"),  # type: ignore[arg-type]
        (
            lambda: with_sink(None, torch.zeros(3)),  # type: ignore[arg-type]
            TypeError,
            "normalize (None) must be callable: a function or a module",
        ),
        *(
            (
                lambda shape=shape: with_sink(softmax, torch.zeros(shape))(torch.zeros(2, 3, 5, 7)),
                ValueError,
                f"sink has shape {shape} but the scores have (2, 3, 5, 7): "
                "give one number for each head, or one for all",
            )
            for shape in ((1,), (3, 1), (5, 1))
        ),
        (
            lambda: with_sink(softmax, torch.zeros(5))(torch.zeros(5, 7)),
            ValueError,
            "sink has shape (5,) but the scores have (5, 7): "
            "give one number for each head, or one for all",
        ),
    ],
)
def test_with_sink_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()


def test_a_sink_takes_the_dtype_of_the_scores() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert with_sink(softmax, torch.zeros(()))(torch.zeros(2, 3, dtype=dtype)).dtype == dtype
