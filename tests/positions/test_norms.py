"""Normalized queries and keys against two models of transformers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache, Olmo2Config, Qwen3Config
from transformers.models.olmo2 import modeling_olmo2
from transformers.models.qwen3 import modeling_qwen3

from attn_examples import KVCache, MultiHeadAttention, causal_mask, cosine, qk_normed
from tests.conftest import gradients, randn, same, says
from tests.heads.conftest import Rotary, cos_and_sin

N, L, S, H, G, E, D = 2, 5, 7, 6, 2, 12, 4


class Wide:
    """Torch, of which what is called float32 is float64: theirs would round to the former."""

    float32 = torch.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def layers(model: Any, config: Any, norms: tuple[Any, Any]) -> tuple[MultiHeadAttention, Any]:
    """Make our layer and theirs, of the same parameters, with gains that are not 1."""
    settings: Any = {"attn_implementation": "eager", "rms_norm_eps": 1e-3}
    name = config.__name__.removesuffix("Config")
    theirs = getattr(model, f"{name}Attention")(
        config(hidden_size=E, num_attention_heads=H, num_key_value_heads=G, head_dim=D, **settings),
        layer_idx=0,
    )
    theirs = theirs.double().eval()
    for gains in (theirs.q_norm.weight, theirs.k_norm.weight):
        nn.init.normal_(gains)
    ours = MultiHeadAttention(
        E, H, G, head_dim=D, positions=qk_normed(*norms, Rotary()), bias=False
    ).double()
    kept = {"o_proj": "out_proj", "q_norm": "positions.query_norm", "k_norm": "positions.key_norm"}
    state = {}
    for key, p in theirs.state_dict().items():
        first = key.split(".")[0]
        place = f"{kept.get(first, first)}.weight"
        state[place] = p.view(ours.get_parameter(place).shape)
    ours.load_state_dict(state)
    return ours, theirs


def compare(ours: MultiHeadAttention, theirs: Any) -> None:
    """Compare a call without a cache, its gradients, and one token after four with one."""
    x = randn(N, L, E, grad=True)
    past = torch.zeros(L, L).double().masked_fill(~causal_mask(L), float("-inf"))
    places = cos_and_sin(torch.arange(L))
    expected, their_weights = theirs(x, places, past.expand(N, 1, -1, -1))
    output, weights = ours(x, is_causal=True)
    assert weights is not None
    same(output, expected)
    same(weights, their_weights)
    for our_gradient, their_gradient in zip(
        gradients(output, x, *ours.positions.parameters()),  # type: ignore[union-attr]
        gradients(expected, x, theirs.q_norm.weight, theirs.k_norm.weight),
        strict=True,
    ):
        same(our_gradient, their_gradient.view_as(our_gradient))
    cache, their_cache = KVCache(), DynamicCache()
    for start, stop in [(0, 4), (4, 5)]:
        part, seen = x[:, start:stop], past[start:stop, :stop].expand(N, 1, -1, -1)
        expected, _ = theirs(part, cos_and_sin(torch.arange(start, stop)), seen, their_cache)
        output, _ = ours(part, is_causal=True, cache=cache)
        same(output, expected)


def test_qk_normed_equals_qwen3(monkeypatch: Any) -> None:
    monkeypatch.setattr(modeling_qwen3, "torch", Wide())
    norms = nn.RMSNorm(D, eps=1e-3), nn.RMSNorm(D, eps=1e-3)
    ours, theirs = layers(modeling_qwen3, Qwen3Config, norms)
    assert isinstance(theirs, modeling_qwen3.Qwen3Attention)
    compare(ours, theirs)


def test_qk_normed_equals_olmo2(monkeypatch: Any) -> None:
    monkeypatch.setattr(modeling_olmo2, "torch", Wide())
    norms = nn.RMSNorm((H, D), eps=1e-3), nn.RMSNorm((G, D), eps=1e-3)
    ours, theirs = layers(modeling_olmo2, Olmo2Config, norms)
    assert isinstance(theirs, modeling_olmo2.Olmo2Attention)
    compare(ours, theirs)


def test_without_gains_it_is_the_cosine_times_the_root_of_the_width() -> None:
    x = randn(N, L, E)
    plain: Any = {"eps": 0.0, "elementwise_affine": False}
    norms: Any = qk_normed(nn.RMSNorm(D, **plain), nn.RMSNorm(D, **plain))
    ours = MultiHeadAttention(E, 3, positions=norms).double()
    expected = MultiHeadAttention(
        E, 3, score=lambda query, key: cosine(query, key, beta=math.sqrt(D))
    ).double()
    expected.load_state_dict(ours.state_dict())
    same(ours(x)[0], expected(x)[0])


def test_positions_come_after_the_norms_and_the_values_stay() -> None:
    asked: list[Any] = []

    def positions(query: Tensor, key: Tensor, offset: int) -> tuple[Tensor, Tensor, Tensor]:
        asked.append((query, key, offset))
        return query, key, torch.ones(())

    query, key = randn(N, H, L, D), randn(N, G, S, D)
    *_, bias = qk_normed(torch.zeros_like, torch.ones_like, positions)(query, key, 3)
    assert bias is not None
    assert torch.equal(bias, torch.ones(()))
    ((got_query, got_key, offset),) = asked
    assert torch.equal(got_query, torch.zeros_like(query))
    assert torch.equal(got_key, torch.ones_like(key))
    assert offset == 3
    assert qk_normed(torch.zeros_like, torch.ones_like)(query, key, 0)[2] is None


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: qk_normed(4, nn.RMSNorm(4)),  # type: ignore[arg-type]
            TypeError,
            "query_norm (4) must be callable: a function or a module",
        ),
        (
            lambda: qk_normed(nn.RMSNorm(4), None),  # type: ignore[arg-type]
            TypeError,
            "key_norm (None) must be callable: a function or a module",
        ),
        (
            lambda: qk_normed(nn.Identity(), nn.Identity(), 3),  # type: ignore[arg-type]
            TypeError,
            "positions (3) must be callable: a function or a module",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()
