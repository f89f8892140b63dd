"""Sparse masks, against torch, transformers and loops written from the papers."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import and_masks, or_masks
from transformers import BigBirdConfig, LongformerConfig, masking_utils
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

from attn_examples import (
    MultiHeadAttention,
    attention,
    causal_mask,
    chunked_mask,
    dilated_mask,
    fixed_mask,
    global_mask,
    local_mask,
    random_mask,
    sliding_window_mask,
    strided_mask,
)
from tests.conftest import gradients, randn, same, says
from tests.masks.conftest import L, S, flex
from tests.masks.test_order import SIZES, theirs

MORE = S - L  # keys before the first query's
MAKERS: list[tuple[Any, ...]] = [
    (local_mask, 4),
    (dilated_mask, 4, 2),
    (chunked_mask, 3),
    (strided_mask, 3),
    (fixed_mask, 3, 2),
    (global_mask, [0, 2]),
    (random_mask, 3),
]
each = pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker[0].__name__)


@pytest.mark.parametrize("window", [1, 2, 3, 6, 100])
@pytest.mark.parametrize(("L", "S"), SIZES)
def test_local_mask_equals_transformers(L: int, S: int, window: int) -> None:
    rule = masking_utils.sliding_window_bidirectional_mask_function(window // 2)
    there = slice(max(0, L - S), None)  # their queries before the first key see nothing
    assert torch.equal(local_mask(L, S, window)[there], theirs(rule, L, S, S - L)[there])


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 2, 4, 5])
@pytest.mark.parametrize(("L", "S"), [(5, 7), (5, 5), (1, 7)])
def test_dilated_mask_is_the_reach_of_a_convolution(
    L: int, S: int, window: int, dilation: int
) -> None:
    """Output i of a kernel of ones is 1 where input j, 1 alone, is within its reach."""
    half = window // 2
    inputs, kernel = torch.eye(S).unsqueeze(1), torch.ones(1, 1, 2 * half + 1)
    heard = F.conv1d(inputs, kernel, padding=half * dilation, dilation=dilation).squeeze(1)
    assert torch.equal(dilated_mask(L, S, window, dilation), heard.T.bool()[S - L :])


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_dilated_mask_equals_flex(dilation: int) -> None:
    rule = and_masks(
        lambda b, h, i, j: (i + MORE - j).abs() * 2 <= 4 * dilation,
        lambda b, h, i, j: (i + MORE) % dilation == j % dilation,
    )
    assert torch.equal(dilated_mask(L, S, 4, dilation), flex(rule)[0])


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(("L", "S"), SIZES)
def test_chunked_mask_equals_transformers(L: int, S: int, size: int) -> None:
    rule = masking_utils.chunked_causal_mask_function(size, torch.zeros(1).long())
    assert torch.equal(chunked_mask(L, S, size), theirs(rule, L, S, S - L))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_chunked_mask_equals_torch(size: int) -> None:
    pieces = [torch.ones(size, size).tril()] * S
    expected = torch.block_diag(*pieces)[:S, :S].bool()  # type: ignore[no-untyped-call]
    assert torch.equal(chunked_mask(L, S, size), expected[-L:])


@pytest.mark.parametrize("stride", [1, 2, 3, 100])
@pytest.mark.parametrize(("L", "S"), [(5, 7), (5, 5), (1, 7)])
def test_strided_mask_by_hand(L: int, S: int, stride: int) -> None:
    """The sets of section 4.3, with l the stride: t to i, and (i - j) mod l = 0."""
    for row, i in enumerate(range(S - L, S)):
        first = set(range(max(0, i - stride), i + 1))
        second = {j for j in range(i + 1) if (i - j) % stride == 0}
        halves = sliding_window_mask(L, S, stride + 1), strided_mask(L, S, stride)
        for mask, allowed in zip(halves, (first, second), strict=True):
            assert mask[row].nonzero().flatten().tolist() == sorted(allowed)


@pytest.mark.parametrize("stride", [1, 2, 3, 100])
def test_strided_mask_equals_flex(stride: int) -> None:
    rule = and_masks(
        lambda b, h, i, j: i + MORE >= j, lambda b, h, i, j: (i + MORE) % stride == j % stride
    )
    assert torch.equal(strided_mask(L, S, stride), flex(rule)[0])


@pytest.mark.parametrize(("stride", "columns"), [(1, 1), (2, 1), (3, 1), (3, 2), (3, 3), (100, 2)])
@pytest.mark.parametrize(("L", "S"), [(5, 7), (5, 5), (1, 7)])
def test_fixed_mask_by_hand(L: int, S: int, stride: int, columns: int) -> None:
    """The sets of section 4.3: one block, and j mod l in t to l with t = l - c; all with j <= i."""
    for row, i in enumerate(range(S - L, S)):
        first = {j for j in range(i + 1) if j // stride == i // stride}
        ends = range(stride - columns, stride + 1)
        second = {j for j in range(i + 1) if j % stride in ends}
        halves = chunked_mask(L, S, stride), fixed_mask(L, S, stride, columns)
        for mask, allowed in zip(halves, (first, second), strict=True):
            assert mask[row].nonzero().flatten().tolist() == sorted(allowed)


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_fixed_mask_equals_flex(columns: int) -> None:
    rule = and_masks(
        lambda b, h, i, j: i + MORE >= j, lambda b, h, i, j: (j + columns) % 3 < columns
    )
    expected = flex(rule)[0] if columns < 3 else causal_mask(L, S)
    assert torch.equal(fixed_mask(L, S, 3, columns), expected)


@pytest.mark.parametrize("kind", [list, torch.tensor])
def test_global_mask_equals_flex(kind: Any) -> None:
    chosen = torch.tensor([[0, 3], [6, 6]])
    marked = torch.zeros(2, S, dtype=torch.bool)
    marked[0, 0] = marked[0, 3] = marked[1, 6] = True
    rule = or_masks(lambda b, h, i, j: marked[b, i + MORE], lambda b, h, i, j: marked[b, j])
    assert torch.equal(global_mask(L, S, kind(chosen.tolist())), flex(rule))
    assert torch.equal(global_mask(L, S, kind([0, 3])), flex(rule)[0])
    assert torch.equal(global_mask(S, None, [6]), global_mask(S, S, torch.tensor([[6]]))[0])


def test_global_tokens_before_the_first_key_there_are_none() -> None:
    mask = global_mask(7, 5, [0])  # queries stand at -2 to 4
    assert mask[:, 0].all()
    assert mask[2].all()
    assert not mask[[0, 1, 3, 4, 5, 6], 1:].any()


@pytest.mark.parametrize("chosen", [[], [0], [3, 4, 11]])
def test_local_or_global_is_longformer(chosen: list[int]) -> None:
    """Both in values, as far as float32 goes, their softmax's type, and in who hears whom."""
    config = LongformerConfig(hidden_size=12, num_attention_heads=3, attention_window=[4])
    made: Any = LongformerSelfAttention(config, 0)  # type: ignore[no-untyped-call]
    layer, ours = made.double().eval(), MultiHeadAttention(12, 3).double()
    with torch.no_grad():
        for name in ("query", "key", "value"):  # the second set of projections is the first
            state = getattr(layer, name).state_dict()
            getattr(layer, f"{name}_global").load_state_dict(state)
            getattr(ours, f"{name[0]}_proj").load_state_dict(state)
        ours.out_proj.weight.copy_(torch.eye(12))
        ours.out_proj.bias.zero_()
    marked = torch.zeros(1, 12, dtype=torch.bool)
    marked[:, chosen] = True
    mask = local_mask(12, None, 4) | global_mask(12, None, chosen)

    def their(x: Tensor) -> Tensor:
        output: Tensor = layer(
            x,
            attention_mask=marked.double() * 10000,
            is_index_masked=torch.zeros_like(marked),
            is_index_global_attn=marked,
            is_global_attn=len(chosen) > 0,
        )[0]
        return output

    def mine(x: Tensor) -> Tensor:
        output: Tensor = ours(x, mask=mask)[0]
        return output

    x = randn(1, 12, 12, grad=True)
    torch.testing.assert_close(mine(x), their(x), rtol=0, atol=1e-6)
    for gradient, expected in zip(gradients(mine(x), x), gradients(their(x), x), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-5)
    for function in (their, mine):
        moves = torch.autograd.functional.jacobian(function, x.detach())  # type: ignore[no-untyped-call]
        assert torch.equal(moves.abs().sum((0, 2, 3, 5)) > 0, mask)


BLOCKS, BLOCK = 9, 2


def drawn_apart(seed: int) -> Tensor | None:
    """Draw blocks that BigBird's window and global blocks do not hold yet, if they are so."""
    drawn = random_mask(BLOCKS, None, 1, generator=torch.Generator().manual_seed(seed))
    known = local_mask(BLOCKS, None, 2) | global_mask(BLOCKS, None, [0, BLOCKS - 1])
    middle = slice(1, BLOCKS - 1)
    return None if (drawn & known)[middle].any() else drawn


def test_local_or_global_or_random_is_bigbird(monkeypatch: pytest.MonkeyPatch) -> None:
    """BigBirdBlockSparseAttention lays key blocks side by side: the same twice counts twice."""
    config = BigBirdConfig(
        hidden_size=12, num_attention_heads=3, block_size=BLOCK, num_random_blocks=1
    )
    made: Any = BigBirdBlockSparseAttention(config)  # type: ignore[no-untyped-call]
    layer = made.double().eval()
    drawn = next(found for seed in itertools.count() if (found := drawn_apart(seed)) is not None)
    picks = drawn.int().argmax(-1)[1:-1, None].expand(3, -1, -1).numpy()
    monkeypatch.setattr(layer, "_bigbird_block_rand_mask_with_head", lambda **_: list(picks))
    x, length = randn(2, BLOCKS * BLOCK, 12), BLOCKS * BLOCK
    ones = torch.ones(2, 1, length, 1, dtype=torch.float64)
    blocks = torch.ones(2, BLOCKS, BLOCK, dtype=torch.float64)
    band = torch.ones(2, 1, BLOCKS - 4, BLOCK, 3 * BLOCK, dtype=torch.float64)
    output, _ = layer(
        x,
        band_mask=band,
        from_mask=ones,
        to_mask=ones.mT,
        from_blocked_mask=blocks,
        to_blocked_mask=blocks,
    )
    of_blocks = local_mask(BLOCKS, None, 2) | global_mask(BLOCKS, None, [0, BLOCKS - 1]) | drawn
    mask = of_blocks.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    heads = [
        getattr(layer, name)(x).view(2, length, 3, 4).transpose(1, 2)
        for name in ("query", "key", "value")
    ]
    ours, _ = attention(*heads, mask=mask)
    same(ours.transpose(1, 2).reshape(2, length, 12), output)


@pytest.mark.parametrize("count", [0, 1, 3, 7, 100])
def test_random_mask_equals_torch(count: int) -> None:
    """Who draws the smallest lots, of those that the same generator gives, is seen."""
    mask = random_mask(L, S, count, generator=torch.Generator().manual_seed(3))
    lots = torch.randint(2**62, (L, S), generator=torch.Generator().manual_seed(3))
    smallest = torch.topk(lots, min(count, S), largest=False).indices
    expected = torch.zeros(L, S, dtype=torch.bool).scatter(-1, smallest, value=True)
    assert torch.equal(mask, expected)


def test_random_mask_draws_each_key_as_often() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = torch.stack([random_mask(L, S, 2, generator=generator) for _ in range(4000)])
    assert (seen.sum(-1) == 2).all()
    often = seen.double().mean(0)  # each 2 of 7, give or take five standard errors
    assert ((often - 2 / S).abs() < 5 * (2 / S * (1 - 2 / S) / 4000) ** 0.5).all()
    assert not torch.equal(seen[0], seen[1])


@each
def test_one_length_is_enough(maker: tuple[Any, ...]) -> None:
    make, *more = maker
    torch.manual_seed(0)
    one = make(5, None, *more)
    torch.manual_seed(0)
    assert torch.equal(one, make(5, 5, *more))


@each
def test_masks_are_made_where_asked(maker: tuple[Any, ...]) -> None:
    make, *more = maker
    more = [[] if item == [0, 2] else item for item in more]
    assert make(5, 7, *more, device="meta").device.type == "meta"
    assert make(0, 3, *more).shape == (0, 3)


@each
@given(data=st.data())
def test_a_union_never_forbids(maker: tuple[Any, ...], data: st.DataObject) -> None:
    (make, *more), (other, *others) = maker, data.draw(st.sampled_from(MAKERS))
    length, keys = data.draw(st.integers(0, 9)), data.draw(st.integers(3, 9))
    mask, second = make(length, keys, *more), other(length, keys, *others)
    assert mask.shape == second.shape == (length, keys)
    assert mask.dtype == torch.bool
    both = mask | second
    assert torch.equal(both & mask, mask)
    assert torch.equal(both & second, second)


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 12))
def test_windows_fit_into_each_other(length: int, more: int, window: int) -> None:
    keys = length + more
    past = causal_mask(length, keys)
    ours = local_mask(length, keys, window)
    assert torch.equal(ours & past, sliding_window_mask(length, keys, window // 2 + 1))
    assert torch.equal(ours, dilated_mask(length, keys, window, 1))
    assert (ours.sum(-1) <= window + 1).all()
    assert local_mask(length, keys, 2 * keys).all()
    assert torch.equal(chunked_mask(length, keys, keys), past)
    assert torch.equal(strided_mask(length, keys, 1), past)
    assert torch.equal(fixed_mask(length, keys, window, window), past)
    # a window of stride + 1 keys, one query after the other, meets every stride-th key back
    both = sliding_window_mask(keys, keys, window + 1), strided_mask(keys, keys, window)
    two = both[0].double() @ both[1].double() > 0  # one layer of each
    assert torch.equal(two, causal_mask(keys))


@pytest.mark.parametrize(
    ("make", "arguments", "error", "sentence"),
    [
        *(
            (make, (-1, 7, *more), ValueError, "query_len (-1) must be at least 0")
            for make, *more in MAKERS
        ),
        *(
            (make, (5, 2.0, *more), TypeError, "key_len (2.0) must be a whole number")
            for make, *more in MAKERS
        ),
        (local_mask, (5, 7, 0), ValueError, "window (0) must be at least 1"),
        (local_mask, (5, 7, 1.5), TypeError, "window (1.5) must be a whole number"),
        (dilated_mask, (5, 7, 2, 0), ValueError, "dilation (0) must be at least 1"),
        (chunked_mask, (5, 7, 0), ValueError, "size (0) must be at least 1"),
        (strided_mask, (5, 7, 0), ValueError, "stride (0) must be at least 1"),
        (fixed_mask, (5, 7, 0, 1), ValueError, "stride (0) must be at least 1"),
        (fixed_mask, (5, 7, 3, 0), ValueError, "columns (0) must be at least 1"),
        (random_mask, (5, 7, -1), ValueError, "num_keys (-1) must be at least 0"),
        (random_mask, (5, 7, True), TypeError, "num_keys (True) must be a whole number"),
        (
            global_mask,
            (5, 7, [2, 7]),
            ValueError,
            "tokens holds 7, which must be from 0 to key_len - 1 (6)",
        ),
        (
            global_mask,
            (5, 7, torch.tensor([[0, -1]])),
            ValueError,
            "tokens holds -1, which must be from 0 to key_len - 1 (6)",
        ),
        (global_mask, (5, 7, 0), ValueError, "tokens has shape () but must be (G,), or (N, G)"),
        (global_mask, (5, 7, [0.5]), TypeError, "tokens (torch.float32) must be whole numbers"),
    ],
)
def test_refuses(
    make: Any, arguments: tuple[Any, ...], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=says(sentence)):
        make(*arguments)
