"""The cache of keys and values, against transformers and a call without it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache
from transformers.cache_utils import DynamicSlidingWindowLayer

from attn_examples import (
    CausalSelfAttention,
    KVCache,
    MultiHeadAttention,
    PagedKVCache,
    PagePool,
    RingKVCache,
    SelfAttention,
    alibi,
    attention,
    biased,
    causal_mask,
    padding_mask,
    sliding_window_mask,
)
from tests.conftest import gradients, randn, same, says
from tests.heads.conftest import Bias, Rotary, cos_and_sin, llama

N, L, S, H, G, E, D = 2, 5, 7, 6, 2, 12, 4
INF = float("-inf")


@pytest.mark.parametrize("need_weights", [True, False])
def test_rotary_positions_and_a_cache_equal_llama(x: Tensor, need_weights: bool) -> None:
    ours, theirs = llama()
    cache, their_cache = KVCache(), DynamicCache()
    for start, stop in [(0, 3), (3, 4), (4, 5)]:
        part = x[:, start:stop]
        past = torch.zeros(stop - start, stop).masked_fill(~causal_mask(stop - start, stop), INF)
        places = cos_and_sin(torch.arange(start, stop))
        expected, _ = theirs(part, places, past.double().expand(N, 1, -1, -1), their_cache)
        output, _ = ours(part, is_causal=True, cache=cache, need_weights=need_weights)
        same(output, expected)


@pytest.mark.parametrize("parts", [[1] * L, [3, 2]])
def test_token_by_token_equals_torch_at_once(x: Tensor, parts: list[int]) -> None:
    theirs = nn.MultiheadAttention(E, H, batch_first=True).double()
    ours, cache = MultiHeadAttention.from_torch(theirs), KVCache()
    expected, their_weights = theirs(x, x, x, attn_mask=~causal_mask(L), average_attn_weights=False)
    start = 0
    for part in torch.split(x, parts, dim=1):
        stop = start + part.shape[1]
        output, weights = ours(part, is_causal=True, cache=cache)
        same(output, expected[:, start:stop])
        same(weights, their_weights[:, :, start:stop, :stop])
        start = stop


POSITIONS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "rotary": Rotary,
    "alibi": lambda: biased(alibi),
    "learned": lambda: biased(Bias(H)),
}
PARTS = {"one by one": [1] * S, "prompt first": [4, 1, 2], "at once": [S]}


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("left_padded", [False, True])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("kv_heads", [H, G, 1])
@pytest.mark.parametrize("parts", PARTS)
def test_with_a_cache_the_numbers_are_the_same(
    parts: str, kv_heads: int, positions: str, left_padded: bool, need_weights: bool
) -> None:
    place = POSITIONS[positions]()
    module = MultiHeadAttention(E, H, kv_heads, head_dim=D, positions=place).double()
    x, cache = randn(N, S, E), KVCache()
    mask = padding_mask([S, 3], S).flip(-1) if left_padded else None
    settings: Any = {"is_causal": True, "need_weights": need_weights}
    whole, maps = module(x, mask=mask, **settings)
    assert whole.isfinite().all()
    start = 0
    for length in PARTS[parts]:
        stop = start + length
        seen = None if mask is None else mask[..., :stop]
        output, weights = module(x[:, start:stop], mask=seen, cache=cache, **settings)
        same(output, whole[:, start:stop])
        if need_weights:
            same(weights, maps[:, :, start:stop, :stop])
        start = stop
        assert cache.length == stop
        assert cache.nbytes == 2 * N * kv_heads * stop * D * 8


@pytest.mark.parametrize("need_weights", [True, False])
def test_one_head_with_a_cache(x: Tensor, need_weights: bool) -> None:
    causal, cache = CausalSelfAttention(E, D).double(), KVCache()
    whole, _ = causal(x)
    for i in range(L):
        output, _ = causal(x[:, i : i + 1], cache=cache, need_weights=need_weights)
        same(output, whole[:, i : i + 1])
    open_ended, cache = SelfAttention(E, D).double(), KVCache()
    open_ended(x[:, :3], cache=cache)
    mask = padding_mask([4, 5], L)
    output, _ = open_ended(x[:, 3:], mask, cache=cache, need_weights=need_weights)
    same(output, open_ended(x, mask)[0][:, 3:])


@pytest.mark.parametrize(
    "make", [lambda: RingKVCache(L + 1), lambda: pages()], ids=["ring", "pages"]
)
def test_one_head_with_caches_of_other_kinds(x: Tensor, make: Callable[[], Any]) -> None:
    """There keys have three dimensions, without one of heads."""
    causal, cache = CausalSelfAttention(E, D).double(), make()
    parts = [causal(part, cache=cache)[0] for part in torch.split(x, [2, 1, 2], dim=1)]
    same(torch.cat(parts, 1), causal(x)[0])


def test_a_copied_cache_is_a_branch(x: Tensor) -> None:
    module, cache = MultiHeadAttention(E, H).double(), KVCache()
    module(x[:, :3], is_causal=True, cache=cache)
    branch = copy.copy(cache)
    first, _ = module(x[:, 3:4], is_causal=True, cache=cache)
    second, _ = module(x[:, 3:4], is_causal=True, cache=branch)
    assert torch.equal(first, second)
    assert (cache.length, branch.length) == (4, 4)


def test_gradients_reach_through_a_cache(x: Tensor) -> None:
    module, cache = MultiHeadAttention(E, H, G, head_dim=D).double(), KVCache()
    x.requires_grad_()
    parts = [module(part, is_causal=True, cache=cache)[0] for part in (x[:, :2], x[:, 2:])]
    whole, _ = module(x, is_causal=True)
    for ours, expected in zip(
        gradients(torch.cat(parts, 1), x, *module.parameters()),
        gradients(whole, x, *module.parameters()),
        strict=True,
    ):
        same(ours, expected)


CACHED = MultiHeadAttention(E, H).double()


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        (
            {"key": randn(N, S, E)},
            ValueError,
            "key and value must be left out when a cache is given: it is for self-attention, "
            "and would append the same context at each call",
        ),
        ({"cache": []}, TypeError, "cache (list) must be a KVCache, or act like one"),
        (
            {"mask": torch.ones(L, L).bool()},
            ValueError,
            "mask has shape (5, 5) but must have (5, 8), (2, 5, 8) or (2, 6, 5, 8), "
            "with 1 where it repeats",
        ),
        ({"bias": 0.5}, TypeError, "bias (float) must be a torch.Tensor"),
        (
            {"bias": torch.ones(L, 8).bool()},
            ValueError,
            "bias (torch.bool) must be floating point, added to the scores: "
            "what is allowed is said with mask",
        ),
        (
            {"bias": torch.ones(L, L)},
            ValueError,
            "bias has shape (5, 5) but must broadcast to the scores, (2, 6, 5, 8)",
        ),
        (
            {"query": randn(1, L, E)},
            ValueError,
            "key has shape (1, 6, 5, 2) but the cache holds (2, 6, 3, 2): "
            "all but the length must be equal, so use a new cache for another batch",
        ),
    ],
)
def test_what_is_refused_leaves_the_cache_alone(
    x: Tensor, settings: Any, error: type[Exception], sentence: str, need_weights: bool
) -> None:
    cache = KVCache()
    CACHED(x[:, :3], cache=cache)
    call: Any = {"query": x, "cache": cache, "need_weights": need_weights} | settings
    with pytest.raises(error, match=says(sentence)):
        CACHED(**call)
    assert cache.length == 3


def test_a_cache_of_another_dtype_is_refused(x: Tensor) -> None:
    cache = KVCache()
    CACHED(x, cache=cache)
    sentence = (
        "key is torch.float32 on cpu but the cache holds torch.float64 on cpu: use a new cache"
    )
    with pytest.raises(ValueError, match=says(sentence)):
        copy.deepcopy(CACHED).float()(x.float(), cache=cache)


# A ring


WINDOW = 3


def through(module: Any, x: Tensor, cache: Any, parts: list[int], **settings: Any) -> Tensor:
    """Run a module over parts of a sequence, each with the window as its mask."""
    outputs, start = [], 0
    for length in parts:
        held = getattr(cache, "held", cache.length)
        mask = sliding_window_mask(length, held + length, WINDOW)
        part = x[:, start : start + length]
        outputs.append(module(part, mask=mask, cache=cache, **settings)[0])
        start += length
    return torch.cat(outputs, 1)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("parts", [[1] * S, [4, 1, 2], [2, 5], [S]], ids=str)
def test_a_ring_equals_the_whole(parts: list[int], positions: str, need_weights: bool) -> None:
    place = POSITIONS[positions]()
    module = MultiHeadAttention(E, H, G, head_dim=D, positions=place).double()
    x, cache = randn(N, S, E), RingKVCache(WINDOW)
    whole, _ = module(x, mask=sliding_window_mask(S, S, WINDOW))
    same(through(module, x, cache, parts, need_weights=need_weights), whole)
    assert (cache.length, cache.held) == (S, WINDOW - 1)
    assert cache.nbytes == 2 * N * G * (WINDOW - 1) * D * 8


def test_a_ring_equals_torch_with_a_window() -> None:
    query, key, value = (randn(N, G, S, D) for _ in range(3))
    mask = sliding_window_mask(S, S, WINDOW)
    expected = F.scaled_dot_product_attention(query, key, value, mask)
    cache = RingKVCache(WINDOW)
    for t in range(S):
        one = slice(t, t + 1)
        keys, values = cache.append(key[..., one, :], value[..., one, :])
        output, _ = attention(query[..., one, :], keys, values)
        same(output, expected[..., one, :])


@pytest.mark.parametrize("parts", [[1] * S, [4, 1, 2], [2, 5]], ids=str)
def test_a_ring_equals_the_sliding_layer(parts: list[int]) -> None:
    key, value = randn(N, G, S, D), randn(N, G, S, D + 1)
    cache, theirs = RingKVCache(WINDOW), DynamicSlidingWindowLayer(sliding_window=WINDOW)
    for ours_too in zip(torch.split(key, parts, -2), torch.split(value, parts, -2), strict=True):
        for ours, expected in zip(cache.append(*ours_too), theirs.update(*ours_too), strict=True):
            assert torch.equal(ours, expected)


def test_a_window_of_one_holds_nothing(x: Tensor) -> None:
    cache = RingKVCache(1)
    module = MultiHeadAttention(E, H).double()
    for t in range(L):
        _, weights = module(x[:, [t]], cache=cache)
        assert torch.equal(weights, torch.ones(N, H, 1, 1).double())
    assert (cache.held, cache.length, cache.nbytes) == (0, L, 0)


def test_a_ring_takes_a_mask_of_what_it_holds(x: Tensor) -> None:
    module, cache = MultiHeadAttention(E, H).double(), RingKVCache(WINDOW)
    module(x, mask=sliding_window_mask(L, L, WINDOW), cache=cache)
    with pytest.raises(ValueError, match=r"mask has shape \(1, 6\) but must have \(1, 3\)"):
        module(x[:, :1], mask=causal_mask(1, L + 1), cache=cache)


# Pages


def pages(num_pages: int = 9, page_size: int = 2) -> PagedKVCache:
    return PagedKVCache(PagePool(num_pages, page_size))


@pytest.mark.parametrize("page_size", [1, 2, 3, 10])
@pytest.mark.parametrize("parts", PARTS)
def test_pages_equal_the_whole(parts: str, page_size: int) -> None:
    module = MultiHeadAttention(E, H, G, head_dim=D, positions=Rotary()).double()
    x, cache = randn(N, S, E), pages(S, page_size)
    whole, _ = module(x, is_causal=True)
    outputs, start = [], 0
    for length in PARTS[parts]:
        part = x[:, start : start + length]
        outputs.append(module(part, is_causal=True, cache=cache)[0])
        start += length
    same(torch.cat(outputs, 1), whole)
    assert len(cache.pages) == -(-S // page_size)


def test_pages_equal_torch() -> None:
    """Two sequences grow by turns in one pool, so that their pages alternate."""
    pool = PagePool(9, 2)
    caches = PagedKVCache(pool), PagedKVCache(pool)
    query, key, value = (randn(2, G, S, D) for _ in range(3))
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    for t in range(S):
        one = slice(t, t + 1)
        for n, cache in enumerate(caches):
            keys, values = cache.append(key[n, :, one], value[n, :, one])
            same(attention(query[n, :, one], keys, values)[0], expected[n, :, one])
    assert caches[0].pages == [0, 2, 4, 6]
    assert caches[1].pages == [1, 3, 5, 7]


def test_pages_equal_transformers_cache() -> None:
    cache, theirs = pages(), DynamicCache()
    for length in (3, 1, 2):
        key, value = randn(N, G, length, D), randn(N, G, length, D + 1)
        found = zip(cache.append(key, value), theirs.update(key, value, 0), strict=True)
        assert all(torch.equal(ours, expected) for ours, expected in found)


def test_a_pool_counts_as_by_hand() -> None:
    pool = PagePool(4, 2)
    cache = PagedKVCache(pool)
    cache.append(randn(G, 3, D), randn(G, 3, D))
    assert (cache.pages, pool.users, pool.free) == ([0, 1], [1, 1, 0, 0], 2)
    branch = cache.branch()
    assert pool.users == [2, 2, 0, 0]
    branch.append(randn(G, 1, D), randn(G, 1, D))  # into a page that two have: copied
    assert (branch.pages, pool.users) == ([0, 2], [2, 1, 1, 0])
    cache.append(randn(G, 1, D), randn(G, 1, D))  # into a page of its own
    assert (cache.pages, pool.users) == ([0, 1], [2, 1, 1, 0])
    cache.release()
    assert (pool.users, cache.length, branch.length) == ([1, 0, 1, 0], 0, 4)


def test_a_branch_of_pages_goes_its_own_way(x: Tensor) -> None:
    module = MultiHeadAttention(E, H).double()
    cache = pages()
    module(x[:, :3], is_causal=True, cache=cache)
    branch = cache.branch()
    other = torch.cat((x[:, :3], x[:, 4:]), 1)
    first, _ = module(x[:, 3:4], is_causal=True, cache=cache)
    second, _ = module(x[:, 4:], is_causal=True, cache=branch)
    same(first, module(x[:, :4], is_causal=True)[0][:, 3:])
    same(second, module(other, is_causal=True)[0][:, 3:])


def test_a_full_pool_refuses_and_nothing_is_lost(x: Tensor) -> None:
    module, cache = MultiHeadAttention(E, H).double(), pages(2, 2)
    module(x[:, :3], is_causal=True, cache=cache)
    before = cache.pool.key
    assert before is not None
    kept = before.clone()
    with pytest.raises(ValueError, match="needs 1 more pages, and the pool has 0 free"):
        module(x[:, :2], is_causal=True, cache=cache)
    assert (cache.length, cache.pages, cache.pool.free) == (3, [0, 1], 0)
    assert torch.equal(before, kept)
    output, _ = module(x[:, 3:4], is_causal=True, cache=cache)  # there is room for one
    same(output, module(x[:, :4], is_causal=True)[0][:, 3:])
    with pytest.raises(ValueError, match="the pool has 2 pages of 2 tokens, and all are taken"):
        cache.pool.take()


def test_what_pages_refuse() -> None:
    with pytest.raises(ValueError, match=r"window \(0\) must be at least 1"):
        RingKVCache(0)
    with pytest.raises(ValueError, match=r"page_size \(0\) must be at least 1"):
        PagePool(3, 0)
    with pytest.raises(TypeError, match=r"pool \(int\) must be a PagePool"):
        PagedKVCache(3)  # type: ignore[arg-type]
    cache = pages()
    cache.append(randn(G, 3, D), randn(G, 3, D))
    with pytest.raises(ValueError, match="all but the length must be equal"):
        PagedKVCache(cache.pool).append(randn(G + 1, 1, D), randn(G + 1, 1, D))


@pytest.mark.parametrize("name", ["key", "value"])
@pytest.mark.parametrize(
    ("make", "held"), [(KVCache, 3), (lambda: RingKVCache(WINDOW), 2), (pages, 2)],
    ids=["grows", "ring", "pages"],
)  # fmt: skip
def test_each_cache_refuses_what_does_not_follow(
    make: Callable[[], Any], held: int, name: str
) -> None:
    cache = make()
    cache.append(randn(G, 3, D), randn(G, 3, D))
    sentence = (
        f"{name} has shape (2, 1, 5) but the cache holds (2, {held}, 4): "
        "all but the length must be equal, so use a new cache for another batch"
    )
    right = {"key": randn(G, 1, D), "value": randn(G, 1, D)}
    with pytest.raises(ValueError, match=says(sentence)):
        cache.append(**right | {name: randn(G, 1, D + 1)})
    assert cache.length == 3
