"""What plugs into multi-head attention: any score, normalizer, positions, cache."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import T5Config
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward
from transformers.models.t5.modeling_t5 import T5Attention

from attn_examples import (
    Additive,
    Bilinear,
    KVCache,
    MultiHeadAttention,
    alibi,
    biased,
    causal_mask,
    cosine,
    dot,
    padding_mask,
    scaled_dot,
    softcapped,
    with_bias,
)
from tests.conftest import gradients, randn, same, says
from tests.heads.conftest import Bias, Rotary, cos_and_sin, llama

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers.x_transformers import AlibiPositionalBias
    from x_transformers.x_transformers import Attention as XAttention

N, L, S, H, G, E, D = 2, 5, 7, 6, 2, 12, 4


def project(module: MultiHeadAttention, x: Tensor) -> list[Tensor]:
    """Return queries, keys and values, all of H heads, by torch's own functions."""
    return [
        F.linear(x, p.weight, p.bias).view(N, -1, heads, D).transpose(1, 2)[:, of_head]
        for p, heads in ((module.q_proj, H), (module.k_proj, G), (module.v_proj, G))
        for of_head in [torch.arange(H) // (H // heads)]
    ]


def merge(module: MultiHeadAttention, heads: Tensor) -> Tensor:
    return F.linear(heads.transpose(1, 2).flatten(2), module.out_proj.weight, module.out_proj.bias)


# -- Scores and normalizers --------------------------------------------------------

BIAS = torch.linspace(-1.0, 1.0, H * L * L, dtype=torch.float64).view(H, L, L)
PAST = causal_mask(L)
INF = float("-inf")


def gemma2(_: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    groups: Any = nn.Identity()
    groups.num_key_value_groups, groups.training = 1, False
    added = torch.zeros(L, L, dtype=q.dtype).masked_fill(~PAST, INF)
    output: Tensor = eager_attention_forward(groups, q, k, v, added, scaling=0.5, softcap=0.7)[0]
    return output.transpose(1, 2)


def additive(score: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    a, b = score.query_proj.weight, score.key_proj.weight
    hidden = torch.einsum("nhld,ed->nhle", q, a)[..., None, :]
    hidden = (hidden + torch.einsum("nhsd,ed->nhse", k, b)[..., None, :, :]).tanh()
    scores = torch.einsum("nhlse,oe->nhls", hidden, score.energy.weight)
    return scores.masked_fill(~PAST, INF).softmax(-1) @ v


def sdpa(_: Any, q: Tensor, k: Tensor, v: Tensor, **settings: Any) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, **{"attn_mask": PAST} | settings)


# Made anew for each test, and what gives the same output of the heads
SCORES: dict[str, tuple[Callable[[], Any], Callable[..., Tensor]]] = {
    "scaled_dot": (lambda: scaled_dot, sdpa),
    "dot": (lambda: dot, partial(sdpa, scale=1.0)),
    "partial": (lambda: partial(scaled_dot, scale=0.3), partial(sdpa, scale=0.3)),
    "cosine": (
        lambda: partial(cosine, beta=3.0),
        lambda _, q, k, v: sdpa(_, F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, scale=3.0),
    ),
    "with_bias": (
        lambda: with_bias(scaled_dot, BIAS),
        partial(sdpa, attn_mask=BIAS.masked_fill(~PAST, INF)),
    ),
    "softcapped": (lambda: softcapped(scaled_dot, 0.7), gemma2),
    "Additive": (lambda: Additive(D, D, 8), additive),
    "Bilinear": (
        lambda: Bilinear(D, D),
        lambda score, q, k, v: sdpa(score, q @ score.key_proj.weight, k, v, scale=1.0),
    ),
    "wrapped module": (
        lambda: softcapped(Bilinear(D, D), 1e9),  # a cap too high to be met
        lambda score, q, k, v: sdpa(score, q @ score.score.key_proj.weight, k, v, scale=1.0),
    ),
}


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("name", SCORES)
def test_any_score(x: Tensor, name: str, need_weights: bool) -> None:
    make, oracle = SCORES[name]
    module = MultiHeadAttention(E, H, G, head_dim=D, score=make()).double()
    output, weights = module(x, is_causal=True, need_weights=need_weights)
    # gemma2 normalizes in float32, softcapped with 1e9 loses digits of small scores
    tolerance = {"softcapped": 1e-7, "wrapped module": 1e-6}.get(name, 1e-12)
    expected = merge(module, oracle(module.score, *project(module, x)))
    torch.testing.assert_close(output, expected, rtol=0, atol=tolerance)
    assert (weights is not None) == need_weights


class OneAdded(nn.Module):
    """softmax with one more key, of score `sink`, that has no value."""

    def __init__(self) -> None:
        super().__init__()
        self.sink = nn.Parameter(torch.zeros(()))

    def forward(self, scores: Tensor) -> Tensor:
        sink = self.sink.expand(*scores.shape[:-1], 1)
        return torch.cat((scores, sink), -1).softmax(-1)[..., :-1]


@pytest.mark.parametrize("need_weights", [True, False])
def test_any_normalizer(x: Tensor, need_weights: bool) -> None:
    theirs = nn.MultiheadAttention(E, 3, batch_first=True, add_zero_attn=True).double()
    plain = nn.MultiheadAttention(E, 3, batch_first=True).double()
    plain.load_state_dict(theirs.state_dict())
    ours = MultiHeadAttention.from_torch(plain)
    ours.normalize = OneAdded().double()
    output, _ = ours(x, is_causal=True, need_weights=need_weights)
    same(output, theirs(x, x, x, attn_mask=~PAST)[0])
    assert "normalize.sink" in dict(ours.named_parameters())


def test_dropout_composes_with_any_normalizer(x: Tensor) -> None:
    module = MultiHeadAttention(E, 3, normalize=lambda s: s.sigmoid(), dropout=0.5).double()
    _, dropped = module(x)
    _, kept = module.eval()(x)
    assert torch.equal(dropped[dropped != 0], 2 * kept[dropped != 0])
    assert 0.3 < (dropped == 0).double().mean() < 0.7


@pytest.mark.parametrize("name", ["Additive", "wrapped module", "positions"])
def test_modules_that_are_plugged_in_are_part_of_it(name: str, x: Tensor) -> None:
    seams: Any = {"positions": biased(Bias(6))} if name == "positions" else {}
    module = MultiHeadAttention(E, H, head_dim=D, **seams or {"score": SCORES[name][0]()})
    plain = sum(p.numel() for p in MultiHeadAttention(E, H, head_dim=D).parameters())
    assert sum(p.numel() for p in module.parameters()) > plain
    assert all(p.dtype == torch.float64 for p in module.double().parameters())
    twin = copy.deepcopy(module)
    before = twin(x)[0]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    assert torch.equal(twin(x)[0], before)
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(x)[0], module(x)[0])


# -- Positions ------------------------------------------------------------------------


@pytest.mark.parametrize("need_weights", [True, False])
def test_rotary_positions_equal_llama(x: Tensor, need_weights: bool) -> None:
    ours, theirs = llama()
    expected, _ = theirs(x, cos_and_sin(torch.arange(L)), None)
    same(ours(x, is_causal=True, need_weights=need_weights)[0], expected)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("heads", [3, 4])
def test_alibi_equals_x_transformers(
    x: Tensor, heads: int, causal: bool, need_weights: bool
) -> None:
    theirs = XAttention(
        E,
        heads=heads,
        dim_head=D,
        causal=causal,
        custom_attn_fn=partial(F.softmax, dim=-1),  # their own works in float32, always
    ).double()
    bias = AlibiPositionalBias(heads)
    bias.slopes = torch.tensor(bias._get_slopes(heads), dtype=torch.float64).view(-1, 1, 1)
    ours = MultiHeadAttention(E, heads, head_dim=D, positions=biased(alibi), bias=False).double()
    with torch.no_grad():
        for mine, their in [("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v")]:
            getattr(ours, mine).weight.copy_(getattr(theirs, their).weight)
        ours.out_proj.weight.copy_(theirs.to_out.weight)
    output, _ = ours(x, is_causal=causal, need_weights=need_weights)
    same(output, theirs(x, rel_pos=bias))


@pytest.mark.parametrize("need_weights", [True, False])
def test_the_buckets_of_t5_are_positions(x: Tensor, need_weights: bool) -> None:
    config = T5Config(d_model=E, d_kv=D, num_heads=H, relative_attention_num_buckets=8)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double()

    compute_bias: Any = theirs.compute_bias

    def positions(query: Tensor, key: Tensor, offset: int) -> tuple[Tensor, Tensor, Tensor]:
        lengths = query.shape[-2], offset + key.shape[-2]
        return query, key, compute_bias(*lengths, past_seen_tokens=offset)

    settings: Any = {"head_dim": D, "score": dot, "bias": False, "positions": positions}
    ours = MultiHeadAttention(E, H, **settings).double()
    with torch.no_grad():
        pairs = zip(ours.parameters(), (theirs.q, theirs.k, theirs.v, theirs.o), strict=True)
        for parameter, layer in pairs:
            parameter.copy_(layer.weight)
    expected, *_ = theirs.eval()(x)
    output, _ = ours(x, need_weights=need_weights)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-6)  # theirs: softmax in float32
    cache = KVCache()
    ours(x[:, :4], cache=cache)
    same(ours(x[:, 4:], cache=cache, need_weights=need_weights)[0], output[:, 4:])


@pytest.mark.parametrize("mask", [None, padding_mask([3, 0], L)])
def test_a_learned_bias_gets_the_same_gradients(x: Tensor, mask: Tensor | None) -> None:
    module = MultiHeadAttention(E, H, G, head_dim=D, positions=biased(Bias(H))).double()
    results = []
    for need_weights in (True, False):
        output, _ = module(x, mask=mask, is_causal=True, need_weights=need_weights)
        results.append((output, *gradients(output, *module.parameters())))
    for visible, fused in zip(*results, strict=True):
        assert visible.isfinite().all()
        same(fused, visible)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("shape", [(L, L), (H, L, L), (N, 1, 1, L), (N, H, L, L)])
def test_a_bias_at_the_call(x: Tensor, shape: tuple[int, ...], need_weights: bool) -> None:
    module = MultiHeadAttention(E, H, G, head_dim=D, positions=biased(alibi)).double()
    bias = randn(*shape)
    output, _ = module(x, bias=bias, mask=padding_mask([3, 4], L), need_weights=need_weights)
    added = bias + alibi(H, L, dtype=torch.float64)
    added = added.masked_fill(~padding_mask([3, 4], L).unsqueeze(1), INF)
    same(output, merge(module, sdpa(None, *project(module, x), attn_mask=added)))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("shape", [(N, H, L, L), (H, L, L), (N, 1, 1, L), (1, L)])
def test_positions_may_bias_each_sequence_on_its_own(
    x: Tensor, shape: tuple[int, ...], need_weights: bool
) -> None:
    added = randn(*shape)
    module = MultiHeadAttention(E, H, G, head_dim=D, positions=lambda q, k, _: (2 * q, k, added))
    module = module.double()
    queries, keys, values = project(module, x)
    output, _ = module(x, need_weights=need_weights)
    same(output, merge(module, sdpa(None, 2 * queries, keys, values, attn_mask=added)))


def test_refuses_a_bias_of_positions_that_is_for_other_scores(x: Tensor) -> None:
    for shape in ((3, N, H, L, L), (N, L, L), (H, L, S)):
        wrong = randn(*shape)
        module = MultiHeadAttention(E, H, head_dim=D, positions=lambda q, k, _: (q, k, wrong))  # noqa: B023
        sentence = (
            f"the bias of positions has shape {shape} but must broadcast to the scores, "
            "(2, 6, 5, 5)"
        )
        with pytest.raises(ValueError, match=says(sentence)):
            module.double()(x)


# -- The cache ------------------------------------------------------------------------


class Buffer:
    """A cache of someone else: it fills what was allocated once."""

    def __init__(self) -> None:
        self.length, self.buffer = 0, torch.zeros(2, N, H, S, D, dtype=torch.float64)

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        stop = self.length + key.shape[-2]
        self.buffer[:, ..., self.length : stop, :] = torch.stack((key, value))
        self.length = stop
        return self.buffer[0, ..., :stop, :], self.buffer[1, ..., :stop, :]


@torch.no_grad()
def test_any_cache(x: Tensor) -> None:
    module = MultiHeadAttention(E, H, head_dim=D, positions=Rotary()).double()
    cache: Any = Buffer()
    whole, _ = module(x, is_causal=True)
    for i in range(L):
        same(module(x[:, i : i + 1], is_causal=True, cache=cache)[0], whole[:, i : i + 1])


# -- What is refused --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["score", "normalize", "positions"])
def test_refuses_what_cannot_be_called(name: str) -> None:
    seam: Any = {name: "cosine"}
    with pytest.raises(
        TypeError, match=says(f"{name} ('cosine') must be callable: a function or a module")
    ):
        MultiHeadAttention(E, H, **seam)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    ("score", "sentence"),
    [
        (
            lambda q, k: (q @ k.mT)[0],
            "score returned shape (6, 5, 5) but must return (2, 6, 5, 5), "
            "one number for each query and key",
        ),
        (
            lambda q, k: None,
            "score returned NoneType but must return a torch.Tensor, "
            "one number for each query and key",
        ),
    ],
)
def test_refuses_what_a_score_returns(
    x: Tensor, score: Any, sentence: str, need_weights: bool
) -> None:
    module = MultiHeadAttention(E, H, score=score).double()
    with pytest.raises((TypeError, ValueError), match=says(sentence)):
        module(x, need_weights=need_weights)
