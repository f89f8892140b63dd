"""Latent attention against DeepSeek's in transformers, a slow loop, and its own other form."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DeepseekV2Config, DeepseekV3Config, DynamicCache
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Attention
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3Attention

from attn_examples import (
    KVCache,
    MultiHeadAttention,
    MultiHeadLatentAttention,
    RingKVCache,
    alibi,
    biased,
    causal_mask,
    cosine,
    padding_mask,
    sliding_window_mask,
    softcapped,
)
from attn_examples.scores import dot, scaled_dot
from tests.conftest import gradients, randn, same, says
from tests.heads.conftest import WRONG_KIND, Rotary, misfit

# width, heads, latent, query latent, a key's own part, the shared part, value
N, L, E, H, C, CQ, D, R, V = 2, 5, 24, 3, 10, 7, 6, 4, 8
SIZES: Any = {"query_latent_dim": CQ, "head_dim": D, "rope_dim": R, "value_dim": V}


class Interleaved(Rotary):
    """Turn the pair (2i, 2i + 1): DeepSeek's layout."""

    def turned(self, x: Tensor, positions: Tensor) -> Tensor:
        pairs = torch.complex(x[..., 0::2], x[..., 1::2])
        pairs = pairs * torch.polar(torch.ones(()).double(), self.angles(positions))
        return torch.stack((pairs.real, pairs.imag), -1).flatten(-2)


def latent(**settings: Any) -> MultiHeadLatentAttention:
    module = MultiHeadLatentAttention(E, H, C, **(SIZES | settings)).double()
    for parameter in module.parameters():  # a norm's factors too: 1 would hide a lost one
        nn.init.normal_(parameter, std=0.5)
    return module


@pytest.fixture
def x() -> Tensor:
    return randn(N, L, E)


# Against implementations that are not ours


def load(theirs: nn.Module, ours: MultiHeadLatentAttention) -> None:
    """Copy our parameters into DeepSeek's, under its names."""
    state: dict[str, Tensor] = dict(ours.state_dict())
    down, up = state.pop("latent_proj.weight"), state.pop("k_up_proj.weight")
    state["kv_a_proj_with_mqa.weight"] = torch.cat((down, state.pop("k_rope_proj.weight")))
    # each head's rows: those of its key, then those of its value
    values = state.pop("v_up_proj.weight").view(H, V, C)
    state["kv_b_proj.weight"] = torch.cat((up.view(H, D, C), values), 1).flatten(0, 1)
    state["kv_a_layernorm.weight"] = state.pop("latent_norm.weight")
    state["o_proj.weight"] = state.pop("out_proj.weight")
    for old, new in [("0", "q_a_proj"), ("1", "q_a_layernorm"), ("2", "q_b_proj")]:
        if f"q_proj.{old}.weight" in state:
            state[f"{new}.weight"] = state.pop(f"q_proj.{old}.weight")
    theirs.load_state_dict(state)


def in_float64(theirs: Any, query_latent: int | None) -> Any:
    """Exchange its norms, which work in float32 whatever they are given, for torch's."""
    theirs.kv_a_layernorm = nn.RMSNorm(C, eps=1e-6)
    if query_latent is not None:
        theirs.q_a_layernorm = nn.RMSNorm(query_latent, eps=1e-6)
    return theirs.double().eval()


def config_of(kind: Any, query_latent: int | None, **more: Any) -> Any:
    settings: Any = {"attn_implementation": "sdpa"}  # the eager one normalizes in float32
    return kind(
        hidden_size=E, num_attention_heads=H, num_key_value_heads=H, kv_lora_rank=C,
        q_lora_rank=query_latent, qk_nope_head_dim=D, qk_rope_head_dim=R, v_head_dim=V,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0}, **settings, **more,
    )  # fmt: skip


def angles_of(start: int, stop: int) -> Tensor:
    return Rotary().angles(torch.arange(start, stop)).expand(N, -1, -1)


def compare(
    ours: MultiHeadLatentAttention, theirs: nn.Module, places: Callable[[int, int], Any], how: Any
) -> None:
    """Compare outputs of a prompt and two more tokens, and gradients of one pass."""
    x = randn(N, L, E, grad=True)
    cache, their_cache = KVCache(), DynamicCache()
    for start, stop in [(0, 3), (3, 4), (4, 5), (0, L)]:
        if (start, stop) == (0, L):
            cache, their_cache = KVCache(), DynamicCache()
        part = x[:, start:stop]
        past = torch.zeros(stop - start, stop, dtype=torch.float64)
        past = past.masked_fill(~causal_mask(stop - start, stop), float("-inf"))
        expected = theirs(
            hidden_states=part,
            attention_mask=past.expand(N, 1, -1, -1),
            past_key_values=their_cache,
            position_embeddings=places(start, stop),
        )[0]
        output, _ = ours(part, is_causal=True, cache=cache, **how)
        same(output, expected)
        held: Any = their_cache.layers[0]
        assert cache.key is not None
        same(cache.key, held.keys)
        assert cache.nbytes == N * stop * (C + R) * 8
    names = ["latent_proj", "k_rope_proj", "k_up_proj", "v_up_proj"]
    found = gradients(output, x, *(ours.get_parameter(f"{name}.weight") for name in names))
    theirs_are = (theirs.get_parameter(f"{n}.weight") for n in ("kv_a_proj_with_mqa", "kv_b_proj"))
    wanted, down, up = gradients(expected, x, *theirs_are)
    keys, values = (up.view(H, D + V, C)[:, rows] for rows in (slice(D), slice(D, None)))
    in_turn = (wanted, down[:C], down[C:], keys.flatten(0, 1), values.flatten(0, 1))
    for gradient, expected_gradient in zip(found, in_turn, strict=True):
        same(gradient, expected_gradient)


FORMS = pytest.mark.parametrize(
    "how",
    [{}, {"need_weights": False}, {"absorbed": True}, {"absorbed": True, "need_weights": False}],
    ids=["naive", "naive, fused", "absorbed", "absorbed, fused"],
)


@FORMS
@pytest.mark.parametrize("query_latent", [CQ, None])
def test_equals_deepseek_v2(
    query_latent: int | None, how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Any = DeepseekV2Attention
    theirs = in_float64(make(config_of(DeepseekV2Config, query_latent), 0), query_latent)
    ours = latent(query_latent_dim=query_latent, positions=Interleaved())
    load(theirs, ours)
    # it turns queries and keys in float32; here in what they come in
    monkeypatch.setattr(Tensor, "float", lambda self: self)
    ones = torch.ones((), dtype=torch.float64)
    compare(ours, theirs, lambda *places: torch.polar(ones, angles_of(*places)), how)


@FORMS
def test_equals_deepseek_v2_with_yarn(how: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which sharpens all scores: their scale is not that of the width."""
    make: Any = DeepseekV2Attention
    config = config_of(DeepseekV2Config, CQ)
    config.rope_parameters |= {"rope_type": "yarn", "factor": 40.0, "mscale_all_dim": 0.707}
    theirs = in_float64(make(config, 0), CQ)
    sharper = (0.1 * 0.707 * math.log(40.0) + 1) ** 2
    score = partial(scaled_dot, scale=sharper / math.sqrt(D + R))
    ours = latent(score=score, positions=Interleaved())
    load(theirs, ours)
    monkeypatch.setattr(Tensor, "float", lambda self: self)
    ones = torch.ones((), dtype=torch.float64)
    compare(ours, theirs, lambda *places: torch.polar(ones, angles_of(*places)), how)


@FORMS
@pytest.mark.parametrize("query_latent", [CQ, None])
@pytest.mark.parametrize("interleaved", [True, False])
def test_equals_deepseek_v3(query_latent: int | None, interleaved: bool, how: Any) -> None:
    make: Any = DeepseekV3Attention
    config = config_of(DeepseekV3Config, query_latent, rope_interleave=interleaved)
    theirs = in_float64(make(config, 0), query_latent)
    positions = Interleaved() if interleaved else Rotary()
    ours = latent(query_latent_dim=query_latent, positions=positions)
    load(theirs, ours)

    def cos_and_sin(start: int, stop: int) -> tuple[Tensor, Tensor]:
        angles = angles_of(start, stop).repeat(1, 1, 2)
        return angles.cos(), angles.sin()

    compare(ours, theirs, cos_and_sin, how)


def test_equals_deepseek_v2_as_it_stands(x: Tensor) -> None:
    """Its norms and rotations round to float32, and nothing else differs."""
    make: Any = DeepseekV2Attention
    theirs = make(config_of(DeepseekV2Config, CQ), 0).double().eval()
    ours = latent(positions=Interleaved())
    load(theirs, ours)
    places = torch.polar(torch.ones((), dtype=torch.float64), angles_of(0, L))
    past = torch.zeros(L, L, dtype=torch.float64).masked_fill(~causal_mask(L), float("-inf"))
    expected = theirs(x, past.expand(N, 1, -1, -1), None, places)[0]
    torch.testing.assert_close(ours(x, is_causal=True)[0], expected, rtol=0, atol=1e-5)


def by_hand(layer: Any, x: Tensor) -> Tensor:
    """Equations 9 to 19 of the paper, and the norms of its section 3.1.2, token by token."""
    turn: Any = Interleaved()

    def norm(vector: Tensor, factors: Tensor) -> Tensor:
        return vector / (vector.square().mean() + 1e-6).sqrt() * factors

    def rope(vector: Tensor, t: int) -> Tensor:
        turned: Tensor = turn.turned(vector, torch.tensor(t))
        return turned

    w = {name: p.detach() for name, p in layer.named_parameters()}
    output = torch.zeros_like(x)
    for n in range(x.shape[0]):
        for t in range(x.shape[1]):
            c_q = norm(w["q_proj.0.weight"] @ x[n, t], w["q_proj.1.weight"])
            q = (w["q_proj.2.weight"] @ c_q).view(H, D + R)
            heads = []
            for h in range(H):
                query = torch.cat((q[h, :D], rope(q[h, D:], t)))
                scores, values = [], []
                for j in range(t + 1):
                    c_kv = norm(w["latent_proj.weight"] @ x[n, j], w["latent_norm.weight"])
                    k_c = w["k_up_proj.weight"][h * D : (h + 1) * D] @ c_kv
                    k_r = rope(w["k_rope_proj.weight"] @ x[n, j], j)
                    scores.append(query @ torch.cat((k_c, k_r)) / (D + R) ** 0.5)
                    values.append(w["v_up_proj.weight"][h * V : (h + 1) * V] @ c_kv)
                weights = torch.stack(scores).exp()
                weights = weights / weights.sum()
                mixed = [weight * v for weight, v in zip(weights, values, strict=True)]
                heads.append(torch.stack(mixed).sum(0))
            output[n, t] = w["out_proj.weight"] @ torch.cat(heads)
    return output


@FORMS
def test_equals_the_formulas_of_the_paper(x: Tensor, how: Any) -> None:
    layer = latent(positions=Interleaved())
    same(layer(x, is_causal=True, **how)[0], by_hand(layer, x))


# What it promises

MASKS: dict[str, Callable[[], Tensor | None]] = {
    "none": lambda: None,
    "for each pair": lambda: torch.rand(L, L) > 0.5,
    "padding": lambda: padding_mask([0, 4], L),
    "for each batch": lambda: torch.rand(N, L, L) > 0.5,
    "in full": lambda: torch.rand(N, H, L, L) > 0.5,
    "nothing": lambda: torch.zeros(L, L, dtype=torch.bool),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_all_forms_give_the_same_numbers(mask: str, is_causal: bool, dropout: float) -> None:
    layer, x = latent(positions=biased(alibi), dropout=dropout), randn(N, L, E, grad=True)
    settings: Any = {"mask": MASKS[mask](), "is_causal": is_causal, "bias": randn(H, L, L)}
    results, maps = [], []
    for absorbed in (False, True):
        for need_weights in (True, False):
            torch.manual_seed(1)
            output, weights = layer(x, absorbed=absorbed, need_weights=need_weights, **settings)
            assert (weights is not None) == need_weights
            maps += [weights] * need_weights
            results.append((output, *gradients(output, x, *layer.parameters())))
    same(maps[1], maps[0])
    for first, *others in zip(*results, strict=True):
        assert first.isfinite().all()
        for other in others:
            same(other, first)


@pytest.mark.parametrize("how", [{}, {"absorbed": True}], ids=["naive", "absorbed"])
@pytest.mark.parametrize("positions", [None, Interleaved(), biased(alibi)])
@pytest.mark.parametrize("left_padded", [False, True])
@pytest.mark.parametrize("parts", [[1] * L, [3, 2], [L]], ids=str)
def test_with_a_cache_the_numbers_are_the_same(
    x: Tensor, parts: list[int], left_padded: bool, positions: Any, how: Any
) -> None:
    layer, cache, start = latent(positions=positions), KVCache(), 0
    mask = padding_mask([L, 3], L).flip(-1) if left_padded else None
    whole, maps = layer(x, mask=mask, is_causal=True)
    for length in parts:
        stop = start + length
        seen = None if mask is None else mask[..., :stop]
        part = x[:, start:stop]
        output, weights = layer(part, mask=seen, is_causal=True, cache=cache, **how)
        same(output, whole[:, start:stop])
        same(weights, maps[:, :, start:stop, :stop])
        start = stop
        assert cache.length == stop
        assert cache.nbytes == N * stop * (C + R) * 8


@given(
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.integers(0, 4)
)
def test_the_two_forms_agree_at_any_size(
    heads: int, latent_dim: int, head_dim: int, rope_dim: int, length: int
) -> None:
    torch.manual_seed(0)
    layer = MultiHeadLatentAttention(
        7, heads, latent_dim, head_dim=head_dim, rope_dim=rope_dim, value_dim=3
    ).double()
    x = randn(2, length, 7)
    output, weights = layer(x, is_causal=True)
    absorbed, absorbed_weights = layer(x, is_causal=True, absorbed=True)
    same(absorbed, output)
    same(absorbed_weights, weights)


def test_a_full_latent_is_multi_head_attention(x: Tensor) -> None:
    """As wide a latent as the token, and no shared part: any multi-head layer can be written so."""
    theirs = MultiHeadAttention(E, H, bias=False).double()
    ours: Any = MultiHeadLatentAttention(E, H, E, rope_dim=1).double()
    wide = E // H
    with torch.no_grad():
        # its norm is there, so tokens of the length at which it changes nothing
        x /= (x.square().mean(-1, keepdim=True)).sqrt() / (1 - 1e-6) ** 0.5
        ours.latent_proj.weight.copy_(torch.eye(E))
        ours.k_rope_proj.weight.zero_()
        ours.k_up_proj.weight.copy_(theirs.k_proj.weight)
        ours.v_up_proj.weight.copy_(theirs.v_proj.weight)
        ours.out_proj.weight.copy_(theirs.out_proj.weight)
        queries = ours.q_proj.weight.view(H, wide + 1, E)
        grown = ((wide + 1) / wide) ** 0.5  # the scale counts the shared part
        queries[:, :wide] = theirs.q_proj.weight.view(H, wide, E) * grown
    for ours_is, theirs_is in zip(ours(x, is_causal=True), theirs(x, is_causal=True), strict=True):
        same(ours_is, theirs_is)


def test_the_shared_part_alone_knows_positions(x: Tensor) -> None:
    """Without it, order is lost; with it, a shift of all tokens changes nothing."""
    layer: Any = latent(positions=Interleaved())
    order = [3, 0, 4, 1, 2]
    assert not torch.allclose(layer(x[:, order])[0], layer(x)[0][:, order])
    whole = layer(x, is_causal=True)[0]
    layer.positions = lambda query, key, offset: Interleaved()(query, key, offset + 7)
    same(layer(x, is_causal=True)[0], whole)
    with torch.no_grad():
        layer.k_rope_proj.weight.zero_()
    same(layer(x[:, order])[0], layer(x)[0][:, order])


@FORMS
def test_biases_of_call_and_positions_add_up(x: Tensor, how: Any) -> None:
    far, bias = latent(positions=biased(alibi)), randn(H, L, L)
    plain = latent()
    plain.load_state_dict(far.state_dict())
    expected, _ = plain(x, bias=bias + alibi(H, L, dtype=torch.float64))
    same(far(x, bias=bias, **how)[0], expected)


def test_any_score_in_the_naive_form(x: Tensor) -> None:
    capped, plain = latent(score=softcapped(scaled_dot, 0.5)), latent()
    plain.load_state_dict(capped.state_dict())
    assert not torch.allclose(capped(x)[0], plain(x)[0])
    sentence = (
        "absorbed (True) needs score=scaled_dot, partial(scaled_dot, scale=...) or dot: in a "
        "product a matrix can move from the keys to the queries"
    )

    def scaled_cosine(query: Tensor, key: Tensor, *, scale: float) -> Tensor:
        return scale * cosine(query, key)

    for score in (softcapped(scaled_dot, 0.5), cosine, partial(scaled_cosine, scale=2.0)):
        with pytest.raises(ValueError, match=says(sentence)):
            latent(score=score)(x, absorbed=True)


SCALED = [dot, scaled_dot, partial(scaled_dot), partial(scaled_dot, scale=0.3)]


@pytest.mark.parametrize("score", SCALED, ids=["dot", "default", "no scale", "scale"])
def test_any_product_absorbed(
    x: Tensor, score: Callable[[Tensor, Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = latent(score=score)
    output, weights = layer(x, is_causal=True)
    absorbed = layer(x, is_causal=True, absorbed=True)
    same(absorbed[0], output)
    same(absorbed[1], weights)
    fused = Mock(wraps=F.scaled_dot_product_attention)
    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    same(layer(x, is_causal=True, absorbed=True, need_weights=False)[0], output)
    assert fused.call_count == 1


@FORMS
def test_a_dead_row_gets_nothing(x: Tensor, how: Any) -> None:
    mask = (torch.rand(L, L) > 0.3).index_fill(0, torch.tensor(2), False)
    output, weights = latent()(x, mask=mask, **how)
    assert (output[:, 2] == 0).all()
    assert weights is None or (weights[:, :, 2] == 0).all()


@FORMS
def test_causal_outputs_do_not_see_the_future(x: Tensor, how: Any) -> None:
    layer = latent(positions=Interleaved())
    before, _ = layer(x, is_causal=True, **how)
    x[:, 3:] = 1e3
    after, _ = layer(x, is_causal=True, **how)
    assert torch.equal(before[:, :3], after[:, :3])


@FORMS
@pytest.mark.parametrize("lead", [(), (N,), (1, N)])
@pytest.mark.parametrize("length", [0, 1, L])
def test_any_batch_and_length(lead: tuple[int, ...], length: int, how: Any) -> None:
    layer, x = latent(positions=Interleaved()), randn(*lead, length, E)
    mask = torch.rand(*lead, length, length) > 0.3
    output, weights = layer(x, mask=mask, **how)
    assert output.shape == x.shape
    assert weights is None or weights.shape == (*lead, H, length, length)
    batch = max(len(lead), 1)
    together = x, mask, output
    if not lead:
        together = x[None], mask[None], output[None]
    for one, allowed, part in zip(*(t.flatten(0, batch - 1) for t in together), strict=True):
        same(part, layer(one, mask=allowed)[0])


def test_sizes_of_the_parameters() -> None:
    shapes = {name: tuple(p.shape) for name, p in latent().named_parameters()}
    assert shapes == {
        "q_proj.0.weight": (CQ, E),
        "q_proj.1.weight": (CQ,),
        "q_proj.2.weight": (H * (D + R), CQ),
        "latent_proj.weight": (C, E),
        "latent_norm.weight": (C,),
        "k_rope_proj.weight": (R, E),
        "k_up_proj.weight": (H * D, C),
        "v_up_proj.weight": (H * V, C),
        "out_proj.weight": (E, H * V),
    }
    usual: Any = MultiHeadLatentAttention(30, 6, 4)
    assert (usual.head_dim, usual.rope_dim) == (5, 3)
    assert usual.q_proj.weight.shape == (6 * (5 + 3), 30)
    assert usual.v_up_proj.weight.shape == (6 * 5, 4)


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # of torch's norm
@pytest.mark.parametrize("how", [{}, {"absorbed": True}], ids=["naive", "absorbed"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_the_digits(x: Tensor, dtype: torch.dtype, how: Any) -> None:
    layer = MultiHeadLatentAttention(E, H, C)
    expected, _ = layer(x.float(), is_causal=True)
    with torch.autocast("cpu", dtype):
        output, _ = layer(x.float(), is_causal=True, **how)
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=0.03)
    output, _ = layer.to(dtype)(x.to(dtype), is_causal=True, **how)
    assert output.dtype == dtype
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=0.03)


@FORMS
def test_dropout_is_for_training_only(x: Tensor, how: Any) -> None:
    layer, plain = latent(dropout=0.5), latent()
    plain.load_state_dict(layer.state_dict())
    assert not torch.equal(layer(x, **how)[0], layer(x, **how)[0])
    same(layer.eval()(x, **how)[0], plain(x)[0])


# What is refused, and in which words


@pytest.mark.parametrize(
    ("sizes", "sentence"),
    [
        ({"num_heads": 5}, "embed_dim (24) must be divisible by num_heads (5)"),
        ({"dropout": 1.5}, "dropout (1.5) must be a probability, from 0 to 1"),
        *(
            ({name: 0}, f"{name} (0) must be at least 1")
            for name in (
                "embed_dim", "num_heads", "latent_dim", "query_latent_dim", "head_dim", "rope_dim",
                "value_dim",
            )
        ),
    ],
)  # fmt: skip
def test_refuses_sizes(sizes: dict[str, Any], sentence: str) -> None:
    make: Any = MultiHeadLatentAttention
    with pytest.raises(ValueError, match=says(sentence)):
        make(**({"embed_dim": E, "num_heads": H, "latent_dim": C} | sizes))


@pytest.mark.parametrize("name", ["score", "normalize", "positions"])
def test_refuses_what_cannot_be_called(name: str) -> None:
    sentence = f"{name} (3) must be callable: a function or a module"
    make: Any = MultiHeadLatentAttention
    with pytest.raises(TypeError, match=says(sentence)):
        make(E, H, C, **{name: 3})


@pytest.mark.parametrize(
    ("mask", "error", "sentence"),
    [
        *WRONG_KIND,
        misfit((L, L + 1), "(5, 5), (2, 5, 5) or (2, 3, 5, 5)"),
        misfit((H, L, L), "(5, 5), (2, 5, 5) or (2, 3, 5, 5)"),
    ],
)
@FORMS
def test_refuses_masks(x: Tensor, mask: Any, error: Any, sentence: str, how: Any) -> None:
    with pytest.raises(error, match=says(sentence)):
        latent()(x, mask=mask, **how)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"cache": []}, TypeError, "cache (list) must be a KVCache, or act like one"),
        ({"bias": 0.5}, TypeError, "bias (float) must be a torch.Tensor"),
        (
            {"bias": torch.ones(L, L)},
            ValueError,
            "bias has shape (5, 5) but must broadcast to the scores, (2, 3, 5, 8)",
        ),
        (
            {"x": randn(1, L, E)},
            ValueError,
            "key has shape (1, 1, 5, 10) but the cache holds (2, 1, 3, 10): "
            "all but the length must be equal, so use a new cache for another batch",
        ),
        (
            {"x": randn(N, L, E + 1)},
            ValueError,
            "x has shape (2, 5, 25) but must be (..., length, 24), since embed_dim is 24",
        ),
        (
            {"x": torch.randn(N, L, E)},
            ValueError,
            "x is torch.float32 but the module's weights are torch.float64: "
            "convert one of them, for example x.to(torch.float64)",
        ),
    ],
)
def test_what_is_refused_leaves_the_cache_alone(
    x: Tensor, settings: Any, error: type[Exception], sentence: str
) -> None:
    layer, cache = latent(), KVCache()
    layer(x[:, :3], cache=cache)
    call: Any = {"x": x, "cache": cache} | settings
    with pytest.raises(error, match=says(sentence)):
        layer(**call)
    assert cache.length == 3


@pytest.mark.parametrize("absorbed", [False, True])
def test_a_ring_is_asked_what_it_holds(absorbed: bool) -> None:
    module = MultiHeadLatentAttention(12, 3, 5, positions=biased(alibi)).double()
    x, cache = randn(2, 7, 12), RingKVCache(3)
    whole, _ = module(x, mask=sliding_window_mask(7, 7, 3), absorbed=absorbed)
    for start, stop in ((0, 4), (4, 5), (5, 7)):
        mask = sliding_window_mask(stop - start, cache.held + stop - start, 3)
        output, _ = module(x[:, start:stop], mask=mask, cache=cache, absorbed=absorbed)
        same(output, whole[:, start:stop])
