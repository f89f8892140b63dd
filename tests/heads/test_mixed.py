"""Heads that talk, cancel or are gated: against others, and loops from the papers."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DiffLlamaConfig, Qwen3NextConfig
from transformers.models.diffllama.modeling_diffllama import DiffLlamaAttention
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextAttention

from attn_examples import (
    DifferentialAttention,
    GatedAttention,
    KVCache,
    MultiHeadAttention,
    TalkingHeads,
    attention,
    causal_mask,
    padding_mask,
    scaled_dot,
    softmax,
)
from tests.conftest import randn, same

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.x_transformers import Attention as XAttention

N, L, S, H, E = 2, 5, 7, 3, 12
EXACT = partial(F.softmax, dim=-1)  # x-transformers' own works in float32, always


@pytest.fixture
def x() -> Tensor:
    return randn(N, L, E)


def take(ours: MultiHeadAttention, theirs: Any, names: str = "to_q to_k to_v to_out") -> None:
    """Take over the projections of a module that is not ours."""
    own = (ours.q_proj, ours.k_proj, ours.v_proj, ours.out_proj)
    with torch.no_grad():
        for projection, name in zip(own, names.split(), strict=True):
            projection.weight.copy_(getattr(theirs, name).weight)


# Talking heads


def talking() -> tuple[TalkingHeads, TalkingHeads]:
    """Return a score and a normalizer, each with a matrix of random numbers."""
    score, normalize = TalkingHeads(scaled_dot, H), TalkingHeads(softmax, H)
    for step in (score, normalize):
        nn.init.normal_(step.weight)
    return score.double(), normalize.double()


@pytest.mark.parametrize("causal", [True, False])
def test_talking_heads_equal_x_transformers(x: Tensor, causal: bool) -> None:
    settings: Any = {"pre_talking_heads": True, "post_talking_heads": True}
    theirs = XAttention(
        E, heads=H, dim_head=E // H, causal=causal, custom_attn_fn=EXACT, **settings
    ).double()
    score, normalize = talking()
    ours = MultiHeadAttention(E, H, score=score, normalize=normalize, bias=False).double()
    take(ours, theirs)
    attend: Any = theirs.attend
    with torch.no_grad():  # what they mix before the softmax is added to the scores
        before = score.weight - torch.eye(H)
        attend.pre_softmax_talking_heads.weight.copy_(before[..., None, None])
        attend.post_softmax_talking_heads.weight.copy_(normalize.weight[..., None, None])
    same(ours(x, is_causal=causal)[0], theirs(x))


def test_talking_heads_are_the_loop_of_the_paper() -> None:
    query, key, value = randn(N, H, L, 4), randn(N, H, S, 4), randn(N, H, S, 6)
    mask = causal_mask(L, S)
    score, normalize = talking()
    output, weights = attention(query, key, value, score=score, mask=mask, normalize=normalize)
    before, after = score.weight.tolist(), normalize.weight.tolist()
    for n in range(N):
        for i in range(L):
            seen = [j for j in range(S) if mask[i, j]]
            logits = [
                [sum(a * b for a, b in zip(query[n, h, i], key[n, h, j], strict=True)) / 2.0
                 for j in seen]
                for h in range(H)
            ]  # fmt: skip
            mixed = [
                [sum(before[h][g] * logits[g][j] for g in range(H)) for j in range(len(seen))]
                for h in range(H)
            ]
            exps = [[math.exp(x) for x in row] for row in mixed]
            shares = [[x / sum(row) for x in row] for row in exps]
            for h in range(H):
                row = [sum(after[h][g] * shares[g][j] for g in range(H)) for j in range(len(seen))]
                same(weights[n, h, i, seen], torch.tensor(row, dtype=torch.float64))
                mean = sum(w * value[n, h, j] for w, j in zip(row, seen, strict=True))
                assert isinstance(mean, Tensor)
                same(output[n, h, i], mean)
    assert (weights[:, :, ~mask] == 0).all()


def test_what_differential_attention_takes_away_begins_near_lambda_init() -> None:
    layer = DifferentialAttention(4, 2, head_dim=1000, lambda_init=0.3)
    for name in ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2"):
        parameter = layer.get_parameter(name).detach()
        assert parameter.shape == (1000,)
        assert abs(float(parameter.std()) - 0.1) < 0.01
        assert abs(float(parameter.mean())) < 0.02


def test_talking_heads_begin_silent(x: Tensor) -> None:
    plain = MultiHeadAttention(E, H).double()
    ours = MultiHeadAttention(
        E, H, score=TalkingHeads(scaled_dot, H), normalize=TalkingHeads(softmax, H)
    ).double()
    ours.load_state_dict(plain.state_dict(), strict=False)
    same(ours(x)[0], plain(x)[0])


def test_talking_heads_refuse() -> None:
    with pytest.raises(ValueError, match=r"gives \(2, 3, 5, 7\), which must have num_heads \(4\)"):
        TalkingHeads(scaled_dot, 4)(randn(N, H, L, 4), randn(N, H, S, 4))
    with pytest.raises(ValueError, match=r"gives \(5, 7\), which must have num_heads \(5\)"):
        TalkingHeads(softmax, 5)(randn(L, S))
    with pytest.raises(ValueError, match=r"num_heads \(0\) must be at least 1"):
        TalkingHeads(softmax, 0)
    with pytest.raises(TypeError, match=r"step .* must be callable"):
        TalkingHeads("softmax", 3)  # type: ignore[arg-type]


# Differential


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 6), (4, 2)])
@pytest.mark.parametrize("layer", [0, 3])
def test_differential_equals_diffllama(x: Tensor, heads: int, kv_heads: int, layer: int) -> None:
    width = 4
    make: Any = DiffLlamaConfig
    config = make(
        hidden_size=E, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=width,
        attn_implementation="eager", rms_norm_eps=1e-5,
    )  # fmt: skip
    theirs: Any = DiffLlamaAttention(config, layer).double()
    ours = DifferentialAttention(
        E, heads, kv_heads, head_dim=width, bias=False,
        lambda_init=0.8 - 0.6 * math.exp(-0.3 * layer),
    ).double()  # fmt: skip
    take(ours, theirs, "q_proj k_proj v_proj o_proj")
    names = [f"lambda_{name}" for name in ("q1", "k1", "q2", "k2")]
    with torch.no_grad():
        for name in names:
            getattr(ours, name).copy_(getattr(theirs, name).normal_())
    mask = causal_mask(L) & padding_mask([3, L], L)  # (N, L, L)
    added = torch.zeros(N, 1, L, L, dtype=torch.float64)
    added.masked_fill_(~mask.unsqueeze(1), -math.inf)
    turn_by_0 = (torch.ones(1, L, width, dtype=x.dtype), torch.zeros(1, L, width, dtype=x.dtype))
    expected, _ = theirs(x, turn_by_0, attention_mask=added)
    # they compute lambda in float32
    same(ours(x, mask=mask)[0], expected, atol=1e-6)
    theirs_too = ours.taken() - ours.lambda_init
    first, second = (getattr(theirs, name) for name in names[:2])
    third, fourth = (getattr(theirs, name) for name in names[2:])
    same(theirs_too, (first @ second).exp() - (third @ fourth).exp())


def test_differential_is_the_loop_of_the_paper(x: Tensor) -> None:
    ours = DifferentialAttention(E, 6, lambda_init=0.35).double()
    for vector in (ours.lambda_q1, ours.lambda_k1, ours.lambda_q2, ours.lambda_k2):
        nn.init.normal_(vector)
    mask = causal_mask(L)
    output, weights = ours(x, mask=mask)
    assert weights is not None
    take_away = (
        math.exp(sum((ours.lambda_q1 * ours.lambda_k1).tolist()))
        - math.exp(sum((ours.lambda_q2 * ours.lambda_k2).tolist()))
        + 0.35
    )
    d = 2  # E / 6
    for n in range(N):
        q, k, v = (p(x[n]).view(L, 6, d) for p in (ours.q_proj, ours.k_proj, ours.v_proj))
        pairs = []
        for h in range(3):
            maps = []
            for head in (h, h + 3):
                scores = (q[:, head] @ k[:, head].T / math.sqrt(d)).masked_fill(~mask, -math.inf)
                maps.append(torch.softmax(scores, -1))
            wide = torch.cat((v[:, h], v[:, h + 3]), -1)  # (L, 2 d)
            same(weights[n, h], maps[0] - take_away * maps[1])
            mixed = (maps[0] - take_away * maps[1]) @ wide
            length = (mixed.square().mean(-1, keepdim=True) + 1e-5).sqrt()
            pairs.append((1 - 0.35) * mixed / length)
        same(output[n], ours.out_proj(torch.cat(pairs, -1)))


def test_differential_with_nothing_taken_is_its_first_maps(x: Tensor) -> None:
    ours = DifferentialAttention(E, 6, lambda_init=0.0).double()
    with torch.no_grad():
        ours.lambda_q1.zero_()
        ours.lambda_q2.zero_()  # exp(0) - exp(0) = 0
    plain = MultiHeadAttention(E, 6).double()
    plain.load_state_dict(ours.state_dict(), strict=False)
    _, weights = ours(x)
    _, all_maps = plain(x)
    assert weights is not None
    assert all_maps is not None
    same(weights, all_maps[:, :3])


def test_differential_without_weights_and_with_a_cache(x: Tensor) -> None:
    ours = DifferentialAttention(E, 6, 2).double()
    whole, _ = ours(x, is_causal=True)
    fused, none = ours(x, is_causal=True, need_weights=False)
    assert none is None
    same(fused, whole)
    cache = KVCache()
    parts = [ours(token, is_causal=True, cache=cache)[0] for token in torch.split(x, 2, 1)]
    same(torch.cat(parts, 1), whole)
    assert cache.nbytes == 2 * N * L * 2 * 2 * 8  # as of two heads, none twice


def test_differential_refuses() -> None:
    with pytest.raises(ValueError, match=r"num_heads \(3\) and num_kv_heads \(3\) must be even"):
        DifferentialAttention(12, 3)
    with pytest.raises(ValueError, match=r"num_heads \(4\) and num_kv_heads \(1\) must be even"):
        DifferentialAttention(12, 4, 1)
    with pytest.raises(TypeError, match="lambda_init"):
        DifferentialAttention(12, 4, lambda_init="0.8")  # type: ignore[arg-type]


# Gated


def test_gated_equals_x_transformers(x: Tensor) -> None:
    theirs = XAttention(
        E, heads=H, dim_head=E // H, causal=True, custom_attn_fn=EXACT, gate_values=True
    ).double()
    ours = GatedAttention(E, H, bias=False).double()
    take(ours, theirs)
    found: Any = theirs
    gate = next(p for name, p in found.to_v_gate.named_parameters() if p.dim() == 2)
    with torch.no_grad():
        ours.gate_proj.weight.copy_(gate.normal_())
        for parameter in found.to_v_gate.parameters():
            if parameter.dim() == 1:
                parameter.zero_()
    same(ours(x, is_causal=True)[0], theirs(x))


@pytest.mark.parametrize(("heads", "kv_heads"), [(3, 3), (4, 2)])
def test_gated_equals_qwen3_next(x: Tensor, heads: int, kv_heads: int) -> None:
    width = 5
    make: Any = Qwen3NextConfig
    config = make(
        hidden_size=E, num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=width,
        attn_implementation="eager",
    )  # fmt: skip
    theirs: Any = Qwen3NextAttention(config, 0).double()
    theirs.q_norm = theirs.k_norm = nn.Identity()  # a mechanism of its own
    ours = GatedAttention(E, heads, kv_heads, head_dim=width, bias=False).double()
    with torch.no_grad():
        both = theirs.q_proj.weight.view(heads, 2, width, E)  # query and gate, head by head
        ours.q_proj.weight.copy_(both[:, 0].flatten(0, 1))
        ours.gate_proj.weight.copy_(both[:, 1].flatten(0, 1))
        for name in ("k", "v"):
            getattr(ours, f"{name}_proj").weight.copy_(getattr(theirs, f"{name}_proj").weight)
        ours.out_proj.weight.copy_(theirs.o_proj.weight)
    added = torch.zeros(L, L, dtype=torch.float64).masked_fill(~causal_mask(L), -math.inf)
    turn_by_0 = (torch.ones(1, L, width, dtype=x.dtype), torch.zeros(1, L, width, dtype=x.dtype))
    expected, _ = theirs(x, turn_by_0, attention_mask=added.expand(N, 1, L, L))
    # their softmax works in float32
    same(ours(x, is_causal=True)[0], expected, atol=1e-6)


@given(bias=st.floats(-30, 30))
def test_a_gate_of_one_value_scales_what_comes_out(bias: float) -> None:
    x = randn(N, L, E)
    ours = GatedAttention(E, H).double()
    plain = MultiHeadAttention(E, H).double()
    plain.load_state_dict(ours.state_dict(), strict=False)
    with torch.no_grad():
        ours.gate_proj.weight.zero_()
        ours.gate_proj.bias.fill_(bias)
    let_through = 1 / (1 + math.exp(-bias))
    expected = let_through * (plain(x)[0] - plain.out_proj.bias) + plain.out_proj.bias
    same(ours(x)[0], expected)


def test_gated_with_a_cache(x: Tensor) -> None:
    ours = GatedAttention(E, H).double()
    cache = KVCache()
    parts = [ours(token, is_causal=True, cache=cache)[0] for token in torch.split(x, 1, 1)]
    same(torch.cat(parts, 1), ours(x, is_causal=True)[0])
