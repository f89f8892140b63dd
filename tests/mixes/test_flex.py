"""What FlexAttention is told, run by torch's FlexAttention on a CPU.

It has no gradients there. Not compiled, it warns, unless it is told that one is looking.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention import flex_attention as flex

from attn_examples import (
    Additive,
    Bilinear,
    alibi,
    attention,
    causal_mask,
    cosine,
    document_mask,
    dot,
    padding_mask,
    scaled_dot,
    sliding_window_mask,
    softcapped,
    to_flex,
    with_bias,
)
from tests.conftest import randn, same, says

N, H, L, S, E, Ev = 2, 3, 5, 7, 4, 6


@pytest.fixture(autouse=True)
def _looking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


ALIBI = alibi(H, L, S, dtype=torch.float64)
OF_ALL = torch.linspace(-2, 2, N * H * L * S, dtype=torch.float64).sin().view(N, H, L, S)
SCORES: dict[str, Any] = {
    "scaled_dot": scaled_dot,
    "dot": dot,
    "a scale": partial(scaled_dot, scale=0.3),
    "a cap": softcapped(scaled_dot, 0.5),
    "a cap of dot": softcapped(dot, 2.0),
    "ALiBi": with_bias(scaled_dot, ALIBI),
    "a bias of keys": with_bias(dot, torch.linspace(-1, 1, S, dtype=torch.float64)),
    "a bias of queries": with_bias(cap := softcapped(dot, 2.0), ALIBI[:, :, :1].clone()),
    "a bias of pairs": with_bias(cap, ALIBI[0]),
    "a bias of all": with_bias(
        dot, ALIBI.expand(N, H, L, S) * torch.tensor([[[[1.0]]], [[[2.0]]]])
    ),
    "a bias of batches": with_bias(dot, torch.arange(N * S, dtype=torch.float64).view(N, 1, 1, S)),
    "a bias around a cap": with_bias(softcapped(scaled_dot, 0.5), ALIBI),
    "a cap around a bias": softcapped(with_bias(scaled_dot, ALIBI), 0.5),
    "a bias of all around another": with_bias(with_bias(dot, OF_ALL), OF_ALL.flip(0, 1)),
    "one number": with_bias(softcapped(dot, 0.5), torch.tensor(0.25, dtype=torch.float64)),
}
MASKS: dict[str, Any] = {
    "none": None,
    "causal": causal_mask(L, S),
    "window": sliding_window_mask(L, S, 2),
    "padding": padding_mask(torch.tensor([3, 7]), S).view(N, 1, 1, S).expand(N, 1, L, S),
    "documents": document_mask(torch.arange(L) // 2, torch.arange(S) // 2),
    "a row without keys": causal_mask(L, S) & (torch.arange(L) != 1)[:, None],
    "of heads": torch.rand(1, H, L, S, generator=torch.Generator().manual_seed(0)) < 0.5,
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("score", SCORES)
def test_to_flex_gives_what_four_steps_give(score: str, mask: str) -> None:
    q, k, v = randn(N, H, L, E), randn(N, H, S, E), randn(N, H, S, Ev)
    allowed = MASKS[mask]
    expected, _ = attention(q, k, v, score=SCORES[score], mask=allowed)
    same(flex.flex_attention(q, k, v, **to_flex(SCORES[score], allowed)), expected)


def test_to_flex_equals_torch_with_a_float_mask() -> None:
    q, k, v = randn(N, H, L, E), randn(N, H, S, E), randn(N, H, S, Ev)
    past = causal_mask(L, S)
    told = to_flex(with_bias(scaled_dot, ALIBI), past)
    expected = F.scaled_dot_product_attention(q, k, v, ALIBI.masked_fill(~past, float("-inf")))
    same(flex.flex_attention(q, k, v, **told), expected)


def test_blocks_without_a_pair_are_left_out() -> None:
    mask = to_flex(mask=causal_mask(512))["block_mask"]
    assert mask.BLOCK_SIZE == (128, 128)
    assert mask.sparsity() == 100 * 6 / 16  # of 4 by 4 blocks, 6 lie ahead
    assert to_flex() == {"scale": None, "score_mod": None, "block_mask": None}


def test_with_bias_can_be_read_and_trained() -> None:
    bias = torch.nn.Parameter(randn(L, S))
    score = with_bias(softcapped(dot, 2.0), bias)
    assert [p is bias for p in score.parameters()] == [True]  # type: ignore[attr-defined]
    scores = to_flex(score)["score_mod"](torch.zeros((), dtype=torch.float64), 0, 0, 2, 3)
    scores.backward()
    assert bias.grad is not None
    assert bias.grad.nonzero().tolist() == [[2, 3]]


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        *[
            (
                lambda score=score: to_flex(score),
                ValueError,
                f"score ({name}) cannot be said in FlexAttention: it must be dot or scaled_dot, "
                f"which softcapped and with_bias may wrap",
            )
            for score, name in [
                (cosine, "cosine"),
                (softcapped(cosine, 2.0), "cosine"),
                (with_bias(Additive(4, 4, 3), torch.zeros(())), "Additive"),
                (Bilinear(4, 4), "Bilinear"),
                (partial(cosine, beta=2.0), "partial"),
                (lambda query, key: dot(query, key), "<lambda>"),
            ]
        ],
        (
            lambda: to_flex(with_bias(dot, torch.zeros(1, 1, 1, 1, 1))),
            ValueError,
            "bias has shape (1, 1, 1, 1, 1) but FlexAttention has four dimensions, (N, H, L, S)",
        ),
        (
            lambda: to_flex(dot, torch.ones(2, 5, 7, dtype=torch.bool)),
            ValueError,
            "mask has shape (2, 5, 7) but must be (L, S) or (N, H, L, S), with 1 where batch or "
            "heads repeat",
        ),
        (
            lambda: to_flex(dot, torch.ones(5, 7)),
            ValueError,
            "mask (torch.float32) must be torch.bool, True where attention is allowed: call "
            "mask.bool(), or use with_bias(score, bias) for numbers to add to the scores",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()
