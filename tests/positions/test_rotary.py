"""Rotary positions against a loop from the paper, transformers, rotary-embedding-torch and more."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rotary_embedding_torch import RotaryEmbedding, apply_rotary_emb
from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)
from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VLVisionRotaryEmbedding,
    apply_rotary_pos_emb_vision,
)

from attn_examples import (
    KVCache,
    MultiHeadAttention,
    Rotary,
    alibi,
    axial_frequencies,
    causal_mask,
    rotary_frequencies,
    rotated,
)
from tests.conftest import gradients, randn, same, says

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # x-transformers uses parts of torch that are deprecated
    from x_transformers import x_transformers

N, L, S, H, G, E = 2, 5, 7, 6, 2, 12
LAYOUTS = [False, True]


# -- One axis --------------------------------------------------------------------------------


@pytest.mark.parametrize("interleaved", LAYOUTS)
@pytest.mark.parametrize(("width", "base"), [(2, 10000.0), (6, 500.0), (E, 10000.0)])
def test_rotary_equals_the_matrix_of_the_paper(width: int, base: float, interleaved: bool) -> None:
    """Each row times the block-diagonal matrix of its position, number by number."""
    x = randn(N, L, width, grad=True)
    rows = []
    for m in range(L):
        matrix = torch.zeros(width, width, dtype=torch.float64)
        for i in range(width // 2):
            angle = m * base ** (-2 * i / width)
            one, two = (2 * i, 2 * i + 1) if interleaved else (i, i + width // 2)
            matrix[one, one] = matrix[two, two] = math.cos(angle)
            matrix[one, two], matrix[two, one] = -math.sin(angle), math.sin(angle)
        rows.append(torch.einsum("ij,nj->ni", matrix, x[:, m]))
    expected = torch.stack(rows, dim=1)
    ours = rotated(x, rotary_frequencies(width, base=base), interleaved=interleaved)
    same(ours, expected)
    same(gradients(ours, x)[0], gradients(expected, x)[0])


@pytest.mark.parametrize("places", [torch.arange(L), torch.tensor([3, 0, 0, 2**24 + 1, -2])])
def test_rotary_equals_transformers(places: Tensor) -> None:
    query, key = randn(N, H, L, E, grad=True), randn(N, G, L, E, grad=True)
    frequencies = rotary_frequencies(E)
    angles = torch.outer(places.double(), frequencies).repeat(1, 2).expand(N, -1, -1)
    expected = apply_rotary_pos_emb(query, key, angles.cos(), angles.sin())
    ours = rotated(query, frequencies, places), rotated(key, frequencies, places)
    for x, mine, theirs in zip((query, key), ours, expected, strict=True):
        same(mine, theirs)
        same(gradients(mine, x)[0], gradients(theirs, x)[0])


@pytest.mark.parametrize("width", [E, 8, 4])
@pytest.mark.parametrize("offset", [0, 3])
def test_rotary_equals_rotary_embedding_torch(width: int, offset: int, in_float64: None) -> None:
    """Interleaved; with a width below that of the head, only its first numbers are turned."""
    theirs = RotaryEmbedding(width, theta=300, cache_if_possible=False).double()
    x = randn(N, H, L, E, grad=True)
    expected = theirs.rotate_queries_or_keys(x, offset=offset)
    places = torch.arange(offset, offset + L)
    ours = rotated(x, rotary_frequencies(width, base=300), places, interleaved=True)
    same(ours, expected)
    same(gradients(ours, x)[0], gradients(expected, x)[0])
    assert torch.equal(ours[..., width:], x[..., width:])


@pytest.mark.parametrize("width", [E, 8])
def test_rotary_equals_x_transformers(width: int, in_float64: None) -> None:
    theirs: Any = x_transformers.RotaryEmbedding(width, base=300)
    x = randn(N, H, L, E)
    expected = x_transformers.apply_rotary_pos_emb(x, theirs(torch.arange(L))[0])
    same(rotated(x, rotary_frequencies(width, base=300), interleaved=True), expected)


def test_frequencies_equal_transformers(in_float64: None) -> None:
    config = LlamaConfig(head_dim=E, rope_parameters={"rope_theta": 5e5, "rope_type": "default"})
    same(rotary_frequencies(E, base=5e5), LlamaRotaryEmbedding(config).inv_freq)


def llama(**settings: Any) -> tuple[MultiHeadAttention, Any]:
    eager: Any = {"attn_implementation": "sdpa"}  # the eager one normalizes in float32
    config = LlamaConfig(
        hidden_size=36, num_attention_heads=H, num_key_value_heads=G, head_dim=E, **eager
    )
    theirs = LlamaAttention(config, layer_idx=0).double().eval()
    positions = Rotary(rotary_frequencies(E), **settings)
    ours = MultiHeadAttention(36, H, G, head_dim=E, positions=positions, bias=False).double()
    state = {name.replace("o_proj", "out_proj"): p for name, p in theirs.state_dict().items()}
    ours.load_state_dict(state)  # which positions do not add to
    return ours, theirs


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("parts", [[L], [3, 1, 1], [1] * L])
def test_rotary_equals_a_layer_of_llama(parts: list[int], need_weights: bool) -> None:
    """Also decoding with a cache, whatever the parts."""
    ours, theirs = llama()
    assert type(theirs) is LlamaAttention
    x, cache, their_cache = randn(N, L, 36), KVCache(), DynamicCache()
    whole, _ = ours(x, is_causal=True)
    start = 0
    for length in parts:
        stop = start + length
        angles = torch.outer(torch.arange(start, stop).double(), rotary_frequencies(E))
        angles = angles.repeat(1, 2).expand(N, -1, -1)
        hidden = ~causal_mask(length, stop)
        mask = torch.zeros(length, stop).double().masked_fill(hidden, float("-inf"))
        expected, _ = theirs(
            x[:, start:stop],
            (angles.cos(), angles.sin()),
            mask.expand(N, 1, -1, -1),
            their_cache,
        )
        settings: Any = {"is_causal": True, "need_weights": need_weights}
        output, _ = ours(x[:, start:stop], cache=cache, **settings)
        same(output, expected)
        same(output, whole[:, start:stop])
        start = stop


def test_weights_of_one_layout_give_nonsense_in_the_other() -> None:
    ours, theirs = llama(interleaved=True)
    x = randn(N, L, 36)
    angles = torch.outer(torch.arange(L).double(), rotary_frequencies(E)).repeat(1, 2)
    places = (angles.cos().expand(N, -1, -1), angles.sin().expand(N, -1, -1))
    expected, _ = theirs(x, places, None)
    assert (ours(x, is_causal=True)[0] - expected).abs().max() > 1e-4
    # until the rows of the projections are put in that order, head by head
    order = torch.arange(E).view(2, E // 2).T.flatten()
    for projection in (ours.q_proj, ours.k_proj):
        rows = projection.weight.data.view(-1, E, 36)
        projection.weight.data = rows[:, order].flatten(0, 1)
    same(ours(x, is_causal=True)[0], expected)


# -- What the paper promises -----------------------------------------------------------------

PLACES = st.integers(-1000, 1000)


@given(PLACES, PLACES, PLACES, st.sampled_from(LAYOUTS))
def test_scores_see_the_distance_alone(i: int, j: int, shift: int, interleaved: bool) -> None:
    query, key = randn(1, E), randn(1, E)

    def score(i: int, j: int) -> Tensor:
        places = torch.tensor([i]), torch.tensor([j])
        frequencies = rotary_frequencies(E)
        q = rotated(query, frequencies, places[0], interleaved=interleaved)
        k = rotated(key, frequencies, places[1], interleaved=interleaved)
        return q @ k.T

    torch.testing.assert_close(score(i + shift, j + shift), score(i, j), rtol=0, atol=1e-10)
    torch.testing.assert_close(score(i - j, 0), score(i, j), rtol=0, atol=1e-10)


@given(PLACES, st.integers(1, 9), st.sampled_from(LAYOUTS))
def test_norms_are_kept_and_turns_add_up(place: int, pairs: int, interleaved: bool) -> None:
    frequencies = rotary_frequencies(2 * pairs)
    x, at = randn(L, 2 * pairs), torch.full((L,), place)
    once = rotated(x, frequencies, at, interleaved=interleaved)
    same(once.norm(dim=-1), x.norm(dim=-1))
    same(rotated(once, frequencies, -at, interleaved=interleaved), x)


@given(PLACES, st.integers(1, 9))
def test_the_layouts_are_one_but_for_the_order(place: int, pairs: int) -> None:
    frequencies = rotary_frequencies(2 * pairs)
    x, at = randn(L, 2 * pairs), torch.full((L,), place)
    order = torch.arange(2 * pairs).view(pairs, 2).T.flatten()  # 0, 2, 4, ..., 1, 3, 5, ...
    interleaved = rotated(x, frequencies, at, interleaved=True)
    assert torch.equal(rotated(x[:, order], frequencies, at), interleaved[:, order])


# -- Precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("interleaved", LAYOUTS)
def test_only_sines_and_cosines_are_rounded(dtype: torch.dtype, interleaved: bool) -> None:
    x = randn(L, E)
    at = torch.tensor([0, 1, 257, 65537, 1000003])
    exact = rotated(x.to(dtype).double(), rotary_frequencies(E), at, interleaved=interleaved)
    ours = rotated(x.to(dtype), rotary_frequencies(E), at, interleaved=interleaved)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=12 * torch.finfo(dtype).eps)


def test_a_converted_module_keeps_its_frequencies() -> None:
    exact, grid = rotary_frequencies(E), torch.rand(9)
    for given_positions in (None, grid):
        positions = Rotary(exact, given_positions).bfloat16().float().half()
        assert torch.equal(positions.frequencies, exact)
        if given_positions is not None:
            assert positions.positions is not None
            assert torch.equal(positions.positions, grid)
        assert positions.to("meta").frequencies.device.type == "meta"
        assert positions.state_dict() == {}
    learned = Rotary(nn.Parameter(exact)).half()
    assert [p.dtype for p in learned.parameters()] == [torch.float16]


def test_positions_and_frequencies_are_taken_to_where_x_is() -> None:
    away, places = randn(L, E).to("meta"), torch.arange(L)
    for frequencies, positions in [
        (rotary_frequencies(E), None),
        (rotary_frequencies(E), places),
        (rotary_frequencies(E).to("meta"), places),
        (rotary_frequencies(E), places.to("meta")),
        (axial_frequencies(E), torch.stack((places, places), -1)),
    ]:
        assert rotated(away, frequencies, positions).device.type == "meta"


# -- Inside a module -------------------------------------------------------------------------


def test_the_last_query_stands_where_the_last_key_does() -> None:
    query, key = randn(N, H, L, E), randn(N, G, S, E)
    frequencies = rotary_frequencies(E)
    turned_query, turned_key, bias = Rotary(frequencies)(query, key, 4)
    same(turned_query, rotated(query, frequencies, torch.arange(4 + S - L, 4 + S)))
    same(turned_key, rotated(key, frequencies, torch.arange(4, 4 + S)))
    assert bias is None
    ours, *_ = Rotary(frequencies, interleaved=True, attention_factor=1.5)(query, key, 4)
    expected = rotated(query, frequencies, torch.arange(4 + S - L, 4 + S), interleaved=True)
    same(ours, 1.5 * expected)


def test_a_factor_is_for_what_is_turned() -> None:
    x = randn(L, E)
    ours = rotated(x, rotary_frequencies(4), attention_factor=1.5)
    same(ours[:, :4], 1.5 * rotated(x[:, :4], rotary_frequencies(4)))
    assert torch.equal(ours[:, 4:], x[:, 4:])


def test_positions_for_each_sequence() -> None:
    x = randn(N, H, L, E)
    places = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]])
    ours = rotated(x, rotary_frequencies(E), places[:, None])
    for n in range(N):
        same(ours[n], rotated(x[n], rotary_frequencies(E), places[n]))


# -- Two axes --------------------------------------------------------------------------------

GRID = torch.cartesian_prod(torch.arange(2), torch.arange(3))  # row and column of 6 patches


def test_two_axes_equal_qwen2_vl(in_float64: None) -> None:
    config: Any = Qwen2VLVisionConfig(embed_dim=3 * E, num_heads=3)
    cos, sin = Qwen2VLVisionRotaryEmbedding(config)(randn(6, 3, E), GRID)
    query, key = randn(6, 3, E, grad=True), randn(6, 3, E, grad=True)
    expected = apply_rotary_pos_emb_vision(query, key, cos, sin)
    frequencies = axial_frequencies(E, base=config.rope_parameters["rope_theta"])
    for x, theirs in zip((query, key), expected, strict=True):
        ours = rotated(x.transpose(0, 1), frequencies, GRID).transpose(0, 1)
        same(ours, theirs)
        same(gradients(ours, x)[0], gradients(theirs, x)[0])


def test_two_axes_equal_rotary_embedding_torch(in_float64: None) -> None:
    theirs = RotaryEmbedding(E // 2, theta=100, cache_if_possible=False).double()
    x = randn(N, 3, 6, E)
    angles = theirs.get_axial_freqs(2, 3).flatten(0, 1)  # (6, E)
    expected = apply_rotary_emb(angles, x)
    same(rotated(x, axial_frequencies(E), GRID, interleaved=True), expected)


def test_learned_frequencies_equal_the_loop() -> None:
    """RoPE-Mixed: a pair of head h turns by a sum over the axes."""
    frequencies = nn.Parameter(randn(H, 2, E // 2))
    query, key = randn(N, H, 6, E), randn(N, H, 6, E)
    layer = Rotary(frequencies, GRID)
    ours, turned_key, _ = layer(query, key, 0)
    expected = torch.zeros_like(query)
    for h in range(H):
        for t, (row, column) in enumerate(GRID.tolist()):
            for r in range(E // 2):
                angle = row * frequencies[h, 0, r] + column * frequencies[h, 1, r]
                one, two = query[:, h, t, r], query[:, h, t, r + E // 2]
                expected[:, h, t, r] = one * angle.cos() - two * angle.sin()
                expected[:, h, t, r + E // 2] = one * angle.sin() + two * angle.cos()
    same(ours, expected)
    same(gradients(ours, frequencies)[0], gradients(expected, frequencies)[0])
    same(turned_key, rotated(key, frequencies, GRID))
    assert list(layer.parameters()) == [frequencies]


@given(st.integers(-9, 9), st.integers(-9, 9), st.sampled_from(LAYOUTS))
def test_on_two_axes_scores_see_the_offset_alone(down: int, right: int, interleaved: bool) -> None:
    query, key = randn(6, E), randn(6, E)

    def scores(places: Tensor) -> Tensor:
        turned = [
            rotated(x, axial_frequencies(E), places, interleaved=interleaved) for x in (query, key)
        ]
        return turned[0] @ turned[1].T

    same(scores(GRID + torch.tensor([down, right])), scores(GRID))


# -- What is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (
            lambda: rotary_frequencies(5),
            ValueError,
            "head_dim (5) must be even: numbers turn in pairs",
        ),
        (lambda: rotary_frequencies(0), ValueError, "head_dim (0) must be at least 1"),
        (lambda: rotary_frequencies(4.0), TypeError, "head_dim (4.0) must be a whole number"),  # type: ignore[arg-type]
        (lambda: rotary_frequencies(4, base=0.0), ValueError, "base (0.0) must be positive"),
        (lambda: rotary_frequencies(4, base="1"), TypeError, "base ('1') must be a number"),  # type: ignore[arg-type]
        (
            lambda: axial_frequencies(6),
            ValueError,
            "head_dim (6) must be divisible by 4: pairs for two axes",
        ),
        (lambda: axial_frequencies(0), ValueError, "head_dim (0) must be at least 1"),
        (
            lambda: rotated(torch.zeros(5, 2), rotary_frequencies(8)),
            ValueError,
            "frequencies has shape (4,), which turns 8 numbers, but x has width 2 (5, 2)",
        ),
        (
            lambda: rotated(torch.zeros(3, 1, 4), rotary_frequencies(4), torch.arange(5)),
            ValueError,
            "positions and frequencies give angles for (5,) but must for the rows of x, (3, 1), "
            "or for 1 where they repeat",
        ),
        (
            lambda: rotated(torch.zeros(5, 4), rotary_frequencies(4), torch.zeros(2, 5)),
            ValueError,
            "positions and frequencies give angles for (2, 5) but must for the rows of x, (5,), "
            "or for 1 where they repeat",
        ),
        (
            lambda: rotated(torch.zeros(5, 4), torch.arange(2)),
            ValueError,
            "frequencies (torch.int64) must be a floating-point tensor: embed token numbers "
            "first, or call frequencies.float()",
        ),
        (
            lambda: rotated(torch.zeros(5, 4), torch.ones(2), attention_factor="2"),  # type: ignore[arg-type]
            TypeError,
            "attention_factor ('2') must be a number",
        ),
        (
            lambda: rotated(torch.zeros(4), torch.ones(2)),
            ValueError,
            "x has shape (4,) but needs at least two dimensions, (length, width)",
        ),
        (lambda: Rotary(8), TypeError, "frequencies (int) must be a torch.Tensor"),  # type: ignore[arg-type]
        (
            lambda: Rotary(torch.ones(2), attention_factor=None),  # type: ignore[arg-type]
            TypeError,
            "attention_factor (None) must be a number",
        ),
        (
            lambda: Rotary(torch.ones(2), torch.arange(6))(torch.ones(1, 4), torch.ones(3, 4), 4),
            ValueError,
            "positions has shape (6,) but there are 1 queries and 7 keys: each needs a place",
        ),
        (
            lambda: Rotary(torch.ones(2), torch.arange(6))(torch.ones(4, 4), torch.ones(3, 4), 0),
            ValueError,
            "positions has shape (6,) but there are 4 queries and 3 keys: each needs a place",
        ),
    ],
)  # fmt: skip
def test_refuses(call: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=says(sentence)):
        call()


def test_one_place_may_stand_for_all_rows() -> None:
    x = randn(N, L, 4)
    at = torch.tensor([3])
    same(rotated(x, rotary_frequencies(4), at), rotated(x, rotary_frequencies(4), at.expand(L)))


def test_biases_and_turns_go_together() -> None:
    """A bias comes beside what is turned: two kinds of positions in one layer."""
    layer = MultiHeadAttention(12, 3, positions=Rotary(rotary_frequencies(4))).double()
    x, bias = randn(N, L, 12), alibi(3, L, dtype=torch.float64)
    output, _ = layer(x, bias=bias)
    query, key, value = (
        p(x).unflatten(-1, (3, 4)).transpose(1, 2)
        for p in (layer.q_proj, layer.k_proj, layer.v_proj)
    )
    query, key = (rotated(y, rotary_frequencies(4)) for y in (query, key))
    heads = nn.functional.scaled_dot_product_attention(query, key, value, bias)
    same(output, layer.out_proj(heads.transpose(1, 2).flatten(2)))
