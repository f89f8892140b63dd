"""What wraps a score, against torch and transformers."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from attn_examples import Bilinear, attention, dot, scaled_dot, softcapped, with_bias
from tests.conftest import gradients, randn, same, says

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.attend import Attend

N, H, L, S, E = 2, 3, 5, 7, 4


@pytest.mark.parametrize("shape", [(5, 7), (7,), (), (3, 1, 1), (2, 3, 5, 7)])
def test_with_bias_equals_torch_with_a_float_mask(
    query: Tensor, key: Tensor, shape: tuple[int, ...]
) -> None:
    bias, value = randn(*shape, grad=True), randn(2, 3, 7, 6)
    ours, _ = attention(query, key, value, score=with_bias(scaled_dot, bias))
    theirs = F.scaled_dot_product_attention(query, key, value, bias.expand(2, 3, 5, 7))
    same(ours, theirs)
    same(*(gradients(output, bias)[0] for output in (ours, theirs)))


@pytest.mark.parametrize("shape", [(H, L, S), (1, 1, L, S)])
def test_with_bias_equals_x_transformers(
    query: Tensor, key: Tensor, shape: tuple[int, ...]
) -> None:
    bias, value = randn(*shape, grad=True), randn(N, H, S, 6)
    theirs = Attend(custom_attn_fn=partial(F.softmax, dim=-1))  # their own works in float32
    expected, steps = theirs(query, key, value, attn_bias=bias)
    output, weights = attention(query, key, value, score=with_bias(scaled_dot, bias))
    same(output, expected)
    same(weights, steps.post_softmax_attn)
    same(*(gradients(each, bias)[0] for each in (output, expected)))


def test_with_bias_wraps_any_score_and_forbids_by_minus_infinity() -> None:
    query, key, value = randn(2, 5, 4), randn(2, 7, 6), randn(2, 7, 3)
    allowed = torch.rand(2, 5, 7) > 0.4
    score = Bilinear(4, 6).double()
    bias = torch.zeros(2, 5, 7, dtype=torch.float64).masked_fill(~allowed, float("-inf"))
    biased, _ = attention(query, key, value, score=with_bias(score, bias))
    same(biased, attention(query, key, value, score=score, mask=allowed)[0])


@pytest.mark.parametrize("cap", [0.5, 50.0, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_softcapped_equals_gemma2(cap: float, masked: bool, monkeypatch: Any) -> None:
    softmax = torch.softmax
    # theirs normalizes in float32, whatever it is given
    monkeypatch.setattr(nn.functional, "softmax", lambda x, dim, dtype: softmax(x, dim))
    query, key, value = 9 * randn(N, H, L, E), randn(N, H, S, E), randn(N, H, S, 6)
    mask = (torch.rand(L, S) > 0.4).index_fill(1, torch.tensor(0), True) if masked else None
    module: Any = nn.Identity()
    module.num_key_value_groups, module.training = 1, False
    added = None if mask is None else torch.zeros(L, S).double().masked_fill(~mask, float("-inf"))
    expected, weights = eager_attention_forward(
        module, query, key, value, added, scaling=0.5, softcap=cap
    )
    output, maps = attention(query, key, value, score=softcapped(scaled_dot, cap), mask=mask)
    same(output, expected.transpose(1, 2))
    same(maps, weights)


@pytest.mark.parametrize("cap", [0.5, 50.0])
@pytest.mark.parametrize("masked", [False, True])
def test_softcapped_equals_x_transformers(cap: float, masked: bool) -> None:
    query, key = 9 * randn(N, H, L, E), randn(N, H, S, E, grad=True)
    value = randn(N, H, S, 6)
    mask = (torch.rand(N, H, L, S) > 0.4).index_fill(-1, torch.tensor(0), True) if masked else None
    theirs = Attend(
        softclamp_logits=True,
        logit_softclamp_value=cap,
        custom_attn_fn=partial(F.softmax, dim=-1),  # their own works in float32
    )
    expected, steps = theirs(query, key, value, mask=mask)
    output, weights = attention(query, key, value, score=softcapped(scaled_dot, cap), mask=mask)
    same(output, expected)
    same(weights, steps.post_softmax_attn)
    same(*(gradients(each, key)[0] for each in (output, expected)))


def test_no_score_lies_beyond_the_cap_and_the_mask_still_forbids() -> None:
    query, key = 1e3 * randn(L, E), randn(S, E)
    capped = softcapped(scaled_dot, 2.0)
    assert capped(query, key).abs().max() <= 2.0
    forbidding = torch.zeros(S).double().index_fill(0, torch.tensor(3), float("-inf"))
    _, weights = attention(query, key, randn(S, 6), score=with_bias(capped, forbidding))
    assert torch.equal(weights[:, 3], torch.zeros(L, dtype=torch.float64))


def test_the_parameters_of_a_wrapped_score_are_found() -> None:
    score: Any = softcapped(Bilinear(E, E), 2.0)
    assert [name for name, _ in score.named_parameters()] == ["score.key_proj.weight"]


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((scaled_dot, 0), ValueError, "cap (0) must be positive"),
        ((scaled_dot, float("nan")), ValueError, "cap (nan) must be positive"),
        ((scaled_dot, "50"), TypeError, "cap ('50') must be a number"),
        ((50.0, 50.0), TypeError, "score (50.0) must be callable: a function or a module"),
    ],
)
def test_refuses(arguments: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        softcapped(*arguments)


@pytest.mark.parametrize(
    ("make", "arguments", "error", "sentence"),
    [
        (with_bias, (dot, 1.0), TypeError, "bias (float) must be a torch.Tensor"),
        (
            with_bias,
            (dot, torch.ones(5, 7, dtype=torch.bool)),
            ValueError,
            "bias (torch.bool) must be a floating-point tensor: "
            "embed token numbers first, or call bias.float()",
        ),
    ],
)
def test_refuses_when_made(
    make: Any, arguments: tuple[Any, ...], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        make(*arguments)


@pytest.mark.parametrize(
    ("bias", "sentence"),
    [
        (
            torch.zeros(5, 7),
            "bias is torch.float32 but the scores are torch.float64: use one dtype",
        ),
        (randn(7, 5), "bias has shape (7, 5) but must broadcast to the scores, (2, 3, 5, 7)"),
        (
            randn(1, 2, 3, 5, 7),
            "bias has shape (1, 2, 3, 5, 7) but must broadcast to the scores, (2, 3, 5, 7)",
        ),
        (randn(5, 7).to("meta"), "bias is on meta but the scores are on cpu: move it there"),
    ],
)
def test_with_bias_refuses_when_called(
    query: Tensor, key: Tensor, bias: Tensor, sentence: str
) -> None:
    with pytest.raises(ValueError, match=says(sentence)):
        with_bias(dot, bias)(query, key)
