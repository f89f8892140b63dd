"""The cache of keys and values, against transformers and a call without it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from attn_examples import (
    CausalSelfAttention,
    KVCache,
    MultiHeadAttention,
    SelfAttention,
    alibi,
    biased,
    causal_mask,
    padding_mask,
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
    for part in torch.split(x, parts, dim=1):  # type: ignore[no-untyped-call]
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
