"""Relative vectors against transformers' models and slow loops from the papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    DebertaConfig,
    DebertaV2Config,
    Wav2Vec2BertConfig,
    Wav2Vec2ConformerConfig,
    XLNetConfig,
)
from transformers.models.deberta import modeling_deberta as deberta
from transformers.models.deberta_v2 import modeling_deberta_v2 as deberta_v2
from transformers.models.wav2vec2_bert.modeling_wav2vec2_bert import Wav2Vec2BertSelfAttention
from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import (
    Wav2Vec2ConformerRelPositionalEmbedding,
    Wav2Vec2ConformerSelfAttention,
)
from transformers.models.xlnet.modeling_xlnet import XLNetModel, XLNetRelativeAttention

from attn_examples import (
    DisentangledPositions,
    KVCache,
    MultiHeadAttention,
    RelativePositions,
    T5Bias,
    TransformerXLPositions,
    biased,
    padding_mask,
    sinusoidal,
)
from tests.conftest import gradients, randn, same, says

N, L, S, H, E, D, K = 2, 5, 7, 3, 4, 12, 2
INF = float("-inf")

MAKE: dict[str, Callable[[int, int], Any]] = {
    "relative": lambda heads, width: RelativePositions(width, K),
    "transformer-xl": lambda heads, width: TransformerXLPositions(D, heads, head_dim=width),
    "t5": lambda heads, width: biased(T5Bias(heads, 8, 6)),
    "disentangled": lambda heads, width: DisentangledPositions(D, heads, K, head_dim=width),
}


def layer(name: str, heads: int = H, groups: int | None = None, **more: Any) -> MultiHeadAttention:
    positions = MAKE[name](heads, more.get("head_dim", D // heads))
    made = MultiHeadAttention(D, heads, groups, positions=positions, **more)
    stirred(made)
    return made


def stirred(module: Any) -> Any:
    """Give every parameter, also a bias that begins with zeros, numbers that matter."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.5)
    return module.double().eval()


def copy(*pairs: tuple[Tensor, Tensor]) -> None:
    with torch.no_grad():
        for ours, theirs in pairs:
            ours.copy_(theirs)


# Slow loops, from the formulas of the papers alone. Key j stands at place j, query i at
# i + S - L.

Score = Callable[[Any, Tensor, Tensor, int, int, int], Tensor]


def shaw(own: Any, q: Tensor, k: Tensor, h: int, i: int, j: int) -> Tensor:
    """Equations 4 and 5: e_ij = q_i . (k_j + a_ij) / sqrt(d), a_ij = w_clip(j - i, k)."""
    clipped = max(-K, min(K, j - i))
    relative: Tensor = own.weight[clipped + K]
    score: Tensor = q @ (k + relative) / math.sqrt(len(q))
    return score


def transformer_xl(own: Any, q: Tensor, k: Tensor, h: int, i: int, j: int) -> Tensor:
    """Section 3.3: the terms (a) to (d), and R of Vaswani et al. at i - j."""
    sines = []
    for pair in range(D // 2):
        angle = (i - j) / 10000 ** (2 * pair / D)
        sines += [math.sin(angle), math.cos(angle)]
    W = own.r_proj.weight[h * len(q) : (h + 1) * len(q)]
    r = W @ torch.tensor(sines, dtype=q.dtype)
    a, b = q @ k, q @ r
    c: Tensor = own.u[h] @ k
    d: Tensor = own.v[h] @ r
    score: Tensor = (a + b + c + d) / math.sqrt(len(q))
    return score


def deberta_at(own: Any, q: Tensor, k: Tensor, h: int, i: int, j: int) -> Tensor:
    """Equations 2 to 4, with delta(i, j) also for place to content, as the authors' code."""
    return _deberta(own, q, k, h, i - j, i - j)


def deberta_of_the_paper(own: Any, q: Tensor, k: Tensor, h: int, i: int, j: int) -> Tensor:
    """Equations 2 to 4 as they are printed: delta(j, i) for place to content."""
    return _deberta(own, q, k, h, i - j, j - i)


def _deberta(own: Any, q: Tensor, k: Tensor, h: int, to_place: int, from_place: int) -> Tensor:
    def delta(distance: int) -> int:
        if distance <= -K:
            return 0
        return 2 * K - 1 if distance >= K else distance + K

    def part(projection: nn.Linear, row: int) -> Tensor:
        full: Tensor = projection.weight @ own.weight[row] + projection.bias
        return full[h * len(q) : (h + 1) * len(q)]

    content_to_place = q @ part(own.k_proj, delta(to_place))
    place_to_content = k @ part(own.q_proj, delta(from_place))
    score: Tensor = (q @ k + content_to_place + place_to_content) / math.sqrt(3 * len(q))
    return score


def by_hand(module: MultiHeadAttention, x: Tensor, context: Tensor, score: Score) -> Tensor:
    """Return the output of a whole layer, pair by pair, whose score knows the positions."""
    heads, width, groups = module.num_heads, module.head_dim, module.num_kv_heads
    results = []
    for asks, answers in zip(x, context, strict=True):
        merged = []
        for h in range(heads):
            g = h // (heads // groups)
            mine, shared = slice(h * width, (h + 1) * width), slice(g * width, (g + 1) * width)
            q = F.linear(asks, module.q_proj.weight[mine], module.q_proj.bias[mine])
            k, v = (
                F.linear(answers, p.weight[shared], p.bias[shared])
                for p in (module.k_proj, module.v_proj)
            )
            behind = len(k) - len(q)
            rows = [
                torch.stack(
                    [score(module.positions, q[i], k[j], h, i + behind, j) for j in range(len(k))]
                )
                for i in range(len(q))
            ]
            merged.append(torch.stack(rows).softmax(-1) @ v)
        results.append(module.out_proj(torch.cat(merged, -1)))
    return torch.stack(results)


def equal_in_values_and_gradients(name: str, score: Score) -> None:
    for heads, groups, width in ((3, 3, 5), (6, 2, D // 6)):
        for length, key_len in ((L, S), (S, L), (L, L), (1, S)):
            module = layer(name, heads, groups, head_dim=width)
            x, context = randn(N, length, D, grad=True), randn(N, key_len, D, grad=True)
            inputs = [x, context, *module.positions.parameters()]  # type: ignore[union-attr]
            results = [
                (output, *gradients(output, *inputs))
                for output in (module(x, context)[0], by_hand(module, x, context, score))
            ]
            for ours, theirs in zip(*results, strict=True):
                same(ours, theirs)
            same(module(x, context, need_weights=False)[0], results[1][0])


def test_relative_positions_equal_the_loop() -> None:
    equal_in_values_and_gradients("relative", shaw)


def test_transformer_xl_equals_the_loop() -> None:
    equal_in_values_and_gradients("transformer-xl", transformer_xl)


def test_disentangled_equals_the_loop() -> None:
    equal_in_values_and_gradients("disentangled", deberta_at)


def test_the_printed_formula_of_deberta_is_another() -> None:
    """It is ours where a distance has the vector of its mirror image."""
    module, x = layer("disentangled"), randn(N, K, D)  # no distance is clipped
    mine: Any = module.positions
    assert not torch.allclose(module(x)[0], by_hand(module, x, x, deberta_of_the_paper))
    copy((mine.weight[1 : 2 * K], (mine.weight[1:] + mine.weight[1:].flip(0)) / 2))
    same(module(x)[0], by_hand(module, x, x, deberta_of_the_paper))


# Against implementations that are not ours


@pytest.mark.parametrize("mask", [None, padding_mask([3, 4], L)])
def test_relative_positions_equal_transformers(mask: Tensor | None) -> None:
    config = Wav2Vec2BertConfig(
        hidden_size=D,
        num_attention_heads=H,
        position_embeddings_type="relative_key",
        left_max_position_embeddings=K,
        right_max_position_embeddings=K,
    )
    theirs = stirred(Wav2Vec2BertSelfAttention(config))  # type: ignore[no-untyped-call]
    ours = layer("relative")
    pairs = {"q_proj": "linear_q", "k_proj": "linear_k", "v_proj": "linear_v"}
    for mine, their in (pairs | {"out_proj": "linear_out"}).items():
        ours.get_submodule(mine).load_state_dict(theirs.get_submodule(their).state_dict())
    mine_positions: Any = ours.positions
    copy((mine_positions.weight, theirs.distance_embedding.weight))
    x = randn(N, L, D, grad=True)
    added = None
    if mask is not None:
        added = torch.zeros(mask.shape).double().masked_fill(~mask, INF).unsqueeze(1)
    expected, weights = theirs(x, attention_mask=added)
    output, found = ours(x, mask=mask)
    same(output, expected)
    assert found is not None
    same(found, weights)
    wanted = [*gradients(expected, x, theirs.distance_embedding.weight)]
    for ours_, theirs_ in zip(gradients(output, x, mine_positions.weight), wanted, strict=True):
        same(ours_, theirs_)


def xlnet() -> tuple[MultiHeadAttention, Any]:
    config = XLNetConfig(d_model=D, n_head=H, dropout=0.0)
    theirs = stirred(XLNetRelativeAttention(config))  # type: ignore[no-untyped-call]
    ours = MultiHeadAttention(D, H, bias=False, positions=TransformerXLPositions(D, H)).double()
    mine: Any = ours.positions
    for layer_, weight in (
        (ours.q_proj, theirs.q),
        (ours.k_proj, theirs.k),
        (ours.v_proj, theirs.v),
    ):
        copy((layer_.weight, weight.reshape(D, D).T))
    r = theirs.r.reshape(D, D).T  # theirs has the sines first, then the cosines
    copy(
        (ours.out_proj.weight, theirs.o.reshape(D, D)),
        (mine.r_proj.weight[:, 0::2], r[:, : D // 2]),
        (mine.r_proj.weight[:, 1::2], r[:, D // 2 :]),
        (mine.u, theirs.r_w_bias),
        (mine.v, theirs.r_r_bias),
    )
    return ours, theirs


def sines_of_xlnet(query_len: int, key_len: int) -> Tensor:
    distances = torch.arange(key_len, -query_len, -1).double()
    speeds = 1 / 10000 ** (torch.arange(0, D, 2).double() / D)
    sines: Tensor = XLNetModel.positional_embedding(distances, speeds, N)  # type: ignore[no-untyped-call]
    return sines


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("memory", [0, 2])
def test_transformer_xl_equals_xlnet(memory: int, causal: bool) -> None:
    ours, theirs = xlnet()
    assert isinstance(theirs, XLNetRelativeAttention)
    x = randn(N, S, D, grad=True)
    new = S - memory
    forbidden = torch.ones(new, S).double().triu(memory + 1)[..., None, None] if causal else None
    h = x.transpose(0, 1)
    before = h[:memory] if memory else None
    after = h[memory:]
    result = theirs(
        after, None, forbidden, None, sines_of_xlnet(new, S), None, mems=before,
        output_attentions=True,
    )  # fmt: skip
    cache = KVCache()
    if memory:
        ours(x[:, :memory], cache=cache)
    output, weights = ours(x[:, memory:], is_causal=causal, cache=cache)
    assert weights is not None
    same(weights, result[2].permute(2, 3, 0, 1))
    normed = theirs.layer_norm(output + x[:, memory:])
    same(normed, result[0].transpose(0, 1))
    mine: Any = ours.positions
    wanted = gradients(result[0].transpose(0, 1), x, theirs.r_w_bias, theirs.r_r_bias)
    for our, their in zip(gradients(normed, x, mine.u, mine.v), wanted, strict=True):
        same(our, their)


def test_transformer_xl_equals_conformer() -> None:
    config = Wav2Vec2ConformerConfig(
        hidden_size=D, num_attention_heads=H, position_embeddings_type="relative"
    )
    theirs = stirred(Wav2Vec2ConformerSelfAttention(config))  # type: ignore[no-untyped-call]
    ours = layer("transformer-xl")
    pairs = {"q_proj": "linear_q", "k_proj": "linear_k", "v_proj": "linear_v"}
    pairs |= {"out_proj": "linear_out", "positions.r_proj": "linear_pos"}
    for mine, their in pairs.items():
        ours.get_submodule(mine).load_state_dict(theirs.get_submodule(their).state_dict())
    positions: Any = ours.positions
    copy((positions.u, theirs.pos_bias_u), (positions.v, theirs.pos_bias_v))
    x = randn(N, L, D)
    # from L - 1 down to 1 - L: their table, and ours with the digits that theirs lacks
    sines = sinusoidal(2 * L - 1, D, start=1 - L, dtype=torch.float64).flip(0)[None]
    table = Wav2Vec2ConformerRelPositionalEmbedding(config)(x)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(sines, table.double(), rtol=0, atol=1e-6)
    expected, weights = theirs(x, relative_position_embeddings=sines)
    output, found = ours(x)
    assert found is not None
    same(output, expected)
    same(found, weights)


WIDE = 36  # three heads of 12: theirs takes the root of 3 * 12 in float32, and 6 is exact
SPANS = pytest.mark.parametrize(("span", "length"), [(K, L), (K, S), (9, L)])


def disentangled(span: int) -> tuple[MultiHeadAttention, Any]:
    positions = DisentangledPositions(WIDE, H, span)
    ours = MultiHeadAttention(WIDE, H, positions=positions).double()
    copy((ours.out_proj.weight, torch.eye(WIDE)), (ours.out_proj.bias, torch.zeros(WIDE)))
    return ours, ours.positions


def settings_of(span: int) -> dict[str, Any]:
    return {
        "hidden_size": WIDE,
        "num_attention_heads": H,
        "relative_attention": True,
        "max_relative_positions": span,
        "pos_att_type": ["c2p", "p2c"],
    }


def compare(ours: MultiHeadAttention, theirs: Any, length: int, relative_pos: Any) -> None:
    mine: Any = ours.positions
    x = randn(N, length, WIDE, grad=True)
    table = mine.weight.detach().clone().requires_grad_()
    mask = padding_mask([3, length], length)
    expected, weights = theirs(
        x, mask.unsqueeze(1).expand(N, 1, length, length), output_attentions=True,
        relative_pos=relative_pos, rel_embeddings=table,
    )  # fmt: skip
    output, found = ours(x, mask=mask)
    assert found is not None
    same(output, expected)
    same(found, weights)
    wanted = gradients(expected, x, table)
    for our, their in zip(gradients(output, x, mine.weight), wanted, strict=True):
        same(our, their)


@SPANS
def test_disentangled_equals_deberta_v2(span: int, length: int) -> None:
    without_buckets = settings_of(span) | {"position_buckets": -1, "share_att_key": False}
    config = DebertaV2Config(**without_buckets)
    theirs = stirred(deberta_v2.DisentangledSelfAttention(config))  # type: ignore[no-untyped-call]
    ours, mine = disentangled(span)
    pairs = [(ours.q_proj, theirs.query_proj), (ours.k_proj, theirs.key_proj)]
    pairs += [(ours.v_proj, theirs.value_proj)]
    pairs += [(mine.k_proj, theirs.pos_key_proj), (mine.q_proj, theirs.pos_query_proj)]
    for our, their in pairs:
        our.load_state_dict(their.state_dict())
    compare(ours, theirs, length, None)


@SPANS
def test_disentangled_equals_deberta(span: int, length: int) -> None:
    config = DebertaConfig(**settings_of(span))
    theirs = stirred(deberta.DisentangledSelfAttention(config))  # type: ignore[no-untyped-call]
    ours, mine = disentangled(span)
    # their rows are query, key and value of head 0, then of head 1
    stacked = theirs.in_proj.weight.view(H, 3, WIDE // H, WIDE).transpose(0, 1)
    for layer_, weight in zip((ours.q_proj, ours.k_proj, ours.v_proj), stacked, strict=True):
        copy((layer_.weight, weight.reshape(WIDE, WIDE)))
    zeros = torch.zeros(WIDE)
    copy(
        (ours.q_proj.bias, theirs.q_bias),
        (ours.k_proj.bias, zeros),
        (ours.v_proj.bias, theirs.v_bias),
        (mine.k_proj.weight, theirs.pos_proj.weight),
        (mine.k_proj.bias, zeros),
    )
    mine.q_proj.load_state_dict(theirs.pos_q_proj.state_dict())
    behind = torch.arange(length)[:, None] - torch.arange(length)
    compare(ours, theirs, length, behind)


# What the papers promise


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(MAKE)), st.integers(0, 6), st.integers(1, 6))
def test_only_the_distance_counts(name: str, shift: int, length: int) -> None:
    """Tokens in front that nobody sees move all the others, and change nothing."""
    module, x = layer(name), randn(N, length, D)
    seen = torch.arange(shift + length) >= shift
    shifted, _ = module(torch.cat((randn(N, shift, D), x), 1), mask=seen.expand(len(seen), -1))
    same(shifted[:, shift:], module(x)[0])


@pytest.mark.parametrize("name", MAKE)
def test_the_order_counts(name: str) -> None:
    module, x = layer(name), randn(N, L, D)
    assert not torch.allclose(module(x.flip(1))[0], module(x)[0].flip(1), atol=1e-3)


@pytest.mark.parametrize("name", MAKE)
def test_any_leading_dimensions(name: str) -> None:
    module, x = layer(name), randn(2, 3, L, D)
    whole, _ = module(x)
    for i, batch in enumerate(x):
        same(module(batch)[0], whole[i])
        same(module(batch[0])[0], whole[i, 0])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 12))
def test_beyond_the_clip_every_key_has_one_vector(max_distance: int, length: int) -> None:
    positions = stirred(RelativePositions(E, max_distance))
    query = randn(1, 1, E).expand(1, length, E)  # one query at each place
    _, _, bias = positions(query, randn(1, length, E), 0)
    ahead = torch.arange(length) - torch.arange(length)[:, None]
    for distance in range(-length, length):
        clipped = max(-max_distance, min(max_distance, distance))
        wanted = query[0, 0] @ positions.weight[clipped + max_distance] / 2
        same(bias[0][ahead == distance], wanted.expand(int((ahead == distance).sum())))


@pytest.mark.parametrize("name", ["relative", "transformer-xl", "t5"])
def test_a_cache_gives_what_the_whole_gives(name: str) -> None:
    module, x, cache = layer(name, 6, 2), randn(N, S, D), KVCache()
    whole, _ = module(x, is_causal=True)
    parts = [
        module(part, is_causal=True, cache=cache)[0] for part in torch.split(x, [3, 1, 2, 1], 1)
    ]
    same(torch.cat(parts, 1), whole)


def test_disentangled_refuses_a_cache_that_holds_keys() -> None:
    module, x, cache = layer("disentangled"), randn(N, L, D), KVCache()
    same(module(x, cache=cache)[0], module(x)[0])
    sentence = (
        "the cache holds 5 keys but DisentangledPositions needs all keys at each call: run "
        "the whole sequence without a cache"
    )
    with pytest.raises(ValueError, match=says(sentence)):
        module(x, cache=cache)


def test_layers_may_share_the_vectors_of_distance() -> None:
    first, second = layer("disentangled"), layer("disentangled")
    first.positions.weight = second.positions.weight  # type: ignore[union-attr]
    x = randn(N, L, D)
    first(second(x)[0])[0].sum().backward()
    both = nn.ModuleList([first, second])
    single = sum(p.numel() for p in first.parameters())
    assert sum(p.numel() for p in both.parameters()) == 2 * single - 2 * K * D


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (RelativePositions(50, 500), ["weight"]),
        (TransformerXLPositions(1000, 20), ["u", "v"]),
        (DisentangledPositions(50, 1, 500), ["weight"]),
        (T5Bias(50, 1000, 2000), ["weight"]),
    ],
    ids=["relative", "transformer-xl", "disentangled", "t5"],
)
def test_what_is_learned_begins_small(made: nn.Module, names: list[str]) -> None:
    for name in names:
        parameter = made.get_parameter(name).detach()
        assert abs(float(parameter.std()) - 0.02) < 0.002
        assert abs(float(parameter.mean())) < 0.002


# What is refused


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: RelativePositions(0, 2), ValueError, "head_dim (0) must be at least 1"),
        (lambda: RelativePositions(4, 0), ValueError, "max_distance (0) must be at least 1"),
        (
            lambda: RelativePositions(4, 2.0),  # type: ignore[arg-type]
            TypeError,
            "max_distance (2.0) must be a whole number",
        ),
        (
            lambda: RelativePositions(6, 2)(randn(3, L, 4), randn(3, L, 4), 0),
            ValueError,
            "query has shape (3, 5, 4) but must be (..., length, 6), since head_dim is 6",
        ),
        (
            lambda: TransformerXLPositions(9, 3),
            ValueError,
            "embed_dim (9) must be even, as sines need it",
        ),
        (
            lambda: TransformerXLPositions(10, 3),
            ValueError,
            "embed_dim (10) must be divisible by num_heads (3)",
        ),
        (
            lambda: TransformerXLPositions(12, 3, head_dim=0),
            ValueError,
            "head_dim (0) must be at least 1",
        ),
        (
            lambda: TransformerXLPositions(12, 3)(randn(1, L, 4), randn(1, L, 4), 0),
            ValueError,
            "positions were made for num_heads 3 but meet 1 heads: make them for as many",
        ),
        (
            lambda: TransformerXLPositions(12, 3)(randn(3, L, 6), randn(3, L, 6), 0),
            ValueError,
            "query has shape (3, 5, 6) but must be (..., length, 4), since head_dim is 4",
        ),
        (
            lambda: DisentangledPositions(12, 3, 0),
            ValueError,
            "max_distance (0) must be at least 1",
        ),
        (
            lambda: DisentangledPositions(12, 0, 2),
            ValueError,
            "num_heads (0) must be at least 1",
        ),
        (
            lambda: DisentangledPositions(12, 3, 2)(randn(6, L, 4), randn(6, L, 4), 0),
            ValueError,
            "positions were made for num_heads 3 but meet 6 heads: make them for as many",
        ),
        (
            lambda: DisentangledPositions(12, 3, 2)(randn(3, L, 6), randn(3, L, 6), 0),
            ValueError,
            "query has shape (3, 5, 6) but must be (..., length, 4), since head_dim is 4",
        ),
    ],
)
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()
