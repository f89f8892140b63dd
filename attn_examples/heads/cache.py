"""What a model keeps of earlier tokens while it writes the next."""

from __future__ import annotations

from typing import Protocol, Self

import torch
from torch import Tensor

from attn_examples.checks import check_count, check_follows

__all__ = ["KVCache", "PagePool", "PagedKVCache", "RingKVCache"]

MECHANISMS = (
    {
        "name": "KV cache",
        "call": "KVCache",
        "changes": "keys and values of earlier tokens are kept",
        "page": "formulas/cost#kv-cache",
        "papers": ["shazeer2019"],
        "oracles": {
            "transformers.DynamicCache": "test_rotary_positions_and_a_cache_equal_llama",
            "torch.nn.MultiheadAttention": "test_token_by_token_equals_torch_at_once",
        },
        "words": [
            "key-value cache",
            "past_key_values",
            "incremental decoding",
            "prefill",
        ],
        "cost": "less: one row of scores for each new token",
        "thumbnail": "causal_mask(8) * torch.tensor([0.25] * 7 + [1.0])[:, None]",
    },
    {
        "name": "ring cache",
        "call": "RingKVCache",
        "changes": "only the last keys and values are kept, each in the place of one too old",
        "page": "types/heads/caches#ring-cache",
        "papers": ["jiang2023"],
        "oracles": {
            "transformers.cache_utils.DynamicSlidingWindowLayer": (
                "test_a_ring_equals_the_sliding_layer"
            ),
            "torch.nn.functional.scaled_dot_product_attention": (
                "test_a_ring_equals_torch_with_a_window"
            ),
        },
        "words": [
            "rolling buffer",
            "ring buffer",
            "sliding window cache",
            "rolling cache",
        ],
        "cost": "less: a window of keys and values, however long the text",
        "used_in": {"Mistral 7B": "jiang2023"},
        "thumbnail": "torch.arange(8.0).roll(3)[None].expand(2, 8)",
    },
    {
        "name": "paged cache",
        "call": "PagedKVCache",
        "changes": "keys and values are kept in pages, of a pool that many sequences share",
        "page": "types/heads/caches#paged-cache",
        "papers": ["kwon2023"],
        "oracles": {
            "torch.nn.functional.scaled_dot_product_attention": "test_pages_equal_torch",
            "transformers.DynamicCache": "test_pages_equal_transformers_cache",
        },
        "words": [
            "PagedAttention",
            "vLLM",
            "block table",
            "paged attention",
            "KV blocks",
        ],
        "cost": "the same: at most a page less one token is held in vain, for each sequence",
        "thumbnail": "torch.tensor([[1, 1, 2, 2, 1, 1, 3, 3], [3, 3, 1, 0, 0, 0, 2, 0]])",
    },
    {
        "name": "page pool",
        "call": "PagePool",
        "changes": "where pages come from, and go when no sequence needs them",
        "page": "types/heads/caches#page-pool",
        "papers": ["kwon2023"],
        "oracles": {
            "by hand": "test_a_pool_counts_as_by_hand",
            "torch.nn.functional.scaled_dot_product_attention": "test_pages_equal_torch",
        },
        "words": ["block allocator", "KV cache manager", "copy on write"],
        "cost": "the same: its memory is made once, with the first tokens",
        "thumbnail": "torch.tensor([[3, 3, 1, 1], [2, 2, 0, 0], [1, 1, 0, 0]])",
    },
)


class Cache(Protocol):
    """What the modules ask of a cache; `held` too, where not all keys are kept."""

    @property
    def length(self) -> int:
        """Where the next token stands."""
        ...

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values, and return those that the new tokens may see."""
        ...


def seen_before(cache: Cache | None) -> tuple[int, int]:
    """Return where the next token stands, and how many earlier keys it sees."""
    if cache is None:
        return 0, 0
    return cache.length, getattr(cache, "held", cache.length)


class KVCache:
    """Keep keys and values of one layer, so that each token is projected once.

    Given to a module at each call, it hands over what came before: `key` and `value`,
    (..., G, S, head_dim), None before the first call. Call the module with `is_causal=True`:
    without it a token of the prompt would see later ones. Any object with `length` and `append` can
    stand in its place: one that quantizes, or fills a buffer.

    References
    ----------
    Shazeer, "Fast Transformer Decoding: One Write-Head is All You Need", 2019,
    arXiv:1911.02150, which counts what it costs to read.

    Examples
    --------
    A prompt of three tokens, then a fourth. Keys and values of 4 bytes make
    2 * batch * tokens * width * 4:

    >>> import torch
    >>> from attn_examples import KVCache, MultiHeadAttention
    >>> layer, x, cache = MultiHeadAttention(12, 3), torch.randn(2, 4, 12), KVCache()
    >>> prompt, _ = layer(x[:, :3], is_causal=True, cache=cache)
    >>> last, _ = layer(x[:, 3:], is_causal=True, cache=cache)
    >>> last.shape, cache.length, cache.nbytes
    (torch.Size([2, 1, 12]), 4, 768)
    """

    key: Tensor | None = None
    value: Tensor | None = None

    @property
    def length(self) -> int:
        """How many tokens it holds, and so the position of the next."""
        return 0 if self.key is None else self.key.shape[-2]

    @property
    def nbytes(self) -> int:
        """How many bytes the keys and values take."""
        return _bytes_of(self.key, self.value)

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new keys and values, (..., G, length, head_dim), and return them all.

        Each call copies what the cache holds, and overwrites nothing: `copy.copy(cache)` is a
        branch that grows on its own.
        """
        if self.key is not None and self.value is not None:
            check_follows("key", self.key, key)
            check_follows("value", self.value, value)
            key = torch.cat((self.key, key), dim=-2)
            value = torch.cat((self.value, value), dim=-2)
        self.key, self.value = key, value
        return key, value


class RingKVCache:
    """Keep the keys and values of a sliding window, in memory that does not grow.

    A token writes over the one that the next will no longer see. Give the module the window as
    a mask, of as many keys as it will see: `sliding_window_mask(L, cache.held + L, window)`; for
    one token it can be left out, as nothing else is held.

    Parameters
    ----------
    window : int
        How many keys a query sees, its own included, as in `sliding_window_mask`.

    Raises
    ------
    ValueError
        If `window` is less than 1.
    TypeError
        If it is not a whole number.

    References
    ----------
    Jiang et al., "Mistral 7B", 2023, arXiv:2310.06825, section 2, "rolling buffer cache".

    Examples
    --------
    Five tokens, one at a time, and a window of three. Two keys are held for the next:

    >>> import torch
    >>> from attn_examples import MultiHeadAttention, RingKVCache
    >>> layer, x, cache = MultiHeadAttention(12, 3), torch.randn(2, 5, 12), RingKVCache(3)
    >>> maps = [layer(x[:, [t]], is_causal=True, cache=cache)[1] for t in range(5)]
    >>> [weights.shape[-1] for weights in maps], cache.held, cache.length
    ([1, 2, 3, 3, 3], 2, 5)
    """

    def __init__(self, window: int) -> None:
        check_count("window", window)
        self.window = window
        self.length = 0
        self.key: Tensor | None = None  # (..., G, window - 1, head_dim)
        self.value: Tensor | None = None

    @property
    def held(self) -> int:
        """How many earlier keys the next token sees."""
        return min(self.length, self.window - 1)

    @property
    def nbytes(self) -> int:
        """How many bytes the keys and values take, once there are any."""
        return _bytes_of(self.key, self.value)

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add keys and values, (..., G, length, head_dim), and return those seen.

        That is what was held, oldest first, and all that is new. It writes in place, and keeps
        no gradient.
        """
        kept = self.window - 1
        if self.key is None or self.value is None:
            self.key = key.new_zeros(*key.shape[:-2], kept, key.shape[-1])
            self.value = value.new_zeros(*value.shape[:-2], kept, value.shape[-1])
        check_follows("key", self.key, key)
        check_follows("value", self.value, value)
        seen = []
        start, stop = self.length, self.length + key.shape[-2]
        old = torch.arange(start - self.held, start, device=key.device)
        new = torch.arange(max(start, stop - kept), stop, device=key.device)
        for ring, tensor in ((self.key, key), (self.value, value)):
            before = ring[..., old % max(kept, 1), :]  # in order, oldest first
            seen.append(torch.cat((before, tensor), dim=-2))
            ring[..., new % max(kept, 1), :] = tensor[..., new - start, :].detach()
        self.length = stop
        return seen[0], seen[1]


class PagePool:
    """Hold keys and values in pages of one size, for caches that take them.

    Parameters
    ----------
    num_pages : int
        How many pages there are, for all sequences together.
    page_size : int
        How many tokens a page holds.

    Raises
    ------
    ValueError
        If a number is less than 1.
    TypeError
        If it is not a whole number.

    References
    ----------
    Kwon et al., "Efficient Memory Management for Large Language Model Serving with
    PagedAttention", 2023, arXiv:2309.06180, section 4.

    Examples
    --------
    >>> from attn_examples import PagedKVCache, PagePool
    >>> pool = PagePool(num_pages=8, page_size=4)
    >>> cache = PagedKVCache(pool)
    >>> pool.free
    8
    """

    def __init__(self, num_pages: int, page_size: int) -> None:
        check_count("num_pages", num_pages)
        check_count("page_size", page_size)
        self.num_pages = num_pages
        self.page_size = page_size
        self.users = [0] * num_pages  # how many caches have each page
        self.key: Tensor | None = None  # (num_pages, ..., G, page_size, head_dim)
        self.value: Tensor | None = None

    @property
    def free(self) -> int:
        """How many pages nobody has."""
        return self.users.count(0)

    def take(self) -> int:
        """Return the number of a page that was free."""
        if not self.free:
            raise ValueError(
                f"the pool has {self.num_pages} pages of {self.page_size} tokens, and "
                "all are taken: release a cache, or make the pool larger"
            )
        page = self.users.index(0)
        self.users[page] = 1
        return page

    def make(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the memory, made for keys and values like these when first needed."""
        if self.key is None or self.value is None:
            lead = (self.num_pages, *key.shape[:-2], self.page_size)
            self.key = key.new_zeros(*lead, key.shape[-1])
            self.value = value.new_zeros(*lead, value.shape[-1])
        check_follows("key", self.key[0], key)
        check_follows("value", self.value[0], value)
        return self.key, self.value


class PagedKVCache:
    """Keep the keys and values of one sequence in pages of a pool.

    A sequence takes a page when its last one is full, wherever one is free, so that none needs
    room for the longest text there may be. A branch shares its pages until it writes into one.

    Parameters
    ----------
    pool : PagePool
        Where pages come from.

    Raises
    ------
    ValueError
        When called, if the pool has no free page, or holds keys of another shape.
    TypeError
        If `pool` is not a `PagePool`.

    References
    ----------
    Kwon et al., 2023, arXiv:2309.06180, section 4. Their kernel reads the pages where they lie;
    here they are put in a row first.

    Examples
    --------
    Two sequences begin alike: the second is a branch, and takes one page of its own.

    >>> import torch
    >>> from attn_examples import MultiHeadAttention, PagedKVCache, PagePool
    >>> layer, x = MultiHeadAttention(12, 3), torch.randn(1, 6, 12)
    >>> cache = PagedKVCache(PagePool(num_pages=8, page_size=4))
    >>> _ = layer(x, is_causal=True, cache=cache)
    >>> branch = cache.branch()
    >>> _ = layer(x[:, :1], is_causal=True, cache=branch)
    >>> cache.pages, branch.pages, cache.pool.free
    ([0, 1], [0, 2], 5)
    """

    def __init__(self, pool: PagePool) -> None:
        if not isinstance(pool, PagePool):
            raise TypeError(f"pool ({type(pool).__name__}) must be a PagePool")
        self.pool = pool
        self.pages: list[int] = []  # in the order of the tokens
        self.length = 0

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add new keys and values, (..., G, length, head_dim), and return them all.

        It writes in place, and keeps no gradient.
        """
        size = self.pool.page_size
        stop = self.length + key.shape[-2]
        memory = self.pool.make(key, value)
        more = -(-stop // size) - len(self.pages)
        shared = self.length % size and self.pool.users[self.pages[-1]] > 1
        if more + bool(shared) > self.pool.free:  # refuse before anything is written
            raise ValueError(
                f"the sequence needs {more + bool(shared)} more pages, and the pool "
                f"has {self.pool.free} free: release a cache, or make the pool larger"
            )
        if shared:  # copy on write
            page = self.pool.take()
            for held in memory:
                held[page] = held[self.pages[-1]]
            self.pool.users[self.pages[-1]] -= 1
            self.pages[-1] = page
        self.pages += [self.pool.take() for _ in range(more)]
        table = torch.tensor(self.pages, device=key.device, dtype=torch.long)
        places = torch.arange(self.length, stop, device=key.device)
        seen = []
        for held, tensor in zip(memory, (key, value), strict=True):
            # (length, ..., G, head_dim): token t lies in page t // size, at t % size
            held[table[places // size], ..., places % size, :] = (
                tensor.detach().movedim(-2, 0)
            )
            # (..., G, pages * size, head_dim)
            pages = held[table].movedim(0, -3).flatten(-3, -2)
            seen.append(torch.cat((pages[..., : self.length, :], tensor), dim=-2))
        self.length = stop
        return seen[0], seen[1]

    def branch(self) -> Self:
        """Return a cache that goes on by itself, and shares the pages so far."""
        other = type(self)(self.pool)
        other.pages, other.length = list(self.pages), self.length
        for page in self.pages:
            self.pool.users[page] += 1
        return other

    def release(self) -> None:
        """Give the pages back."""
        for page in self.pages:
            self.pool.users[page] -= 1
        self.pages, self.length = [], 0


def _bytes_of(*tensors: Tensor | None) -> int:
    """Return how many bytes tensors take together, those that are there."""
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)
