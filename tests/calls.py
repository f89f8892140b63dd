"""How each public object is made and called: one line each.

What holds for all of them is tested over this table. A mechanism whose parameters have the
names that others have needs no line: see `usual`. Any other adds one to `CALLS`: its name, and
how it is made and called with the tensors of `Inputs`. A second way to call it is a further
line, "name, what differs".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import attn_examples as a


@dataclass(frozen=True)
class Inputs:
    """Random tensors of which no two sizes are equal, in any dtype, on any device."""

    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    N: int = 2
    H: int = 3
    L: int = 5
    S: int = 7
    E: int = 12

    def randn(self, *shape: int) -> Tensor:
        return torch.randn(shape, dtype=self.dtype, device=self.device)

    def of_heads(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return query (N, H, L, 4), key (N, H, S, 4) and value (N, H, S, 6)."""
        lead = self.N, self.H
        return (
            self.randn(*lead, self.L, 4),
            self.randn(*lead, self.S, 4),
            self.randn(*lead, self.S, 6),
        )

    def pair(self) -> tuple[Tensor, Tensor]:
        """Return query (N, H, L, 4) and key (N, H, S, 4)."""
        return self.of_heads()[:2]

    def sequence(self) -> Tensor:
        """Return x, (N, L, E)."""
        return self.randn(self.N, self.L, self.E)

    def context(self) -> Tensor:
        """Return what answers x, (N, S, 10)."""
        return self.randn(self.N, self.S, 10)

    def scores(self) -> Tensor:
        """Return scores, (N, H, L, S)."""
        return self.randn(self.N, self.H, self.L, self.S)

    def bias(self) -> Tensor:
        """Return what may be added to scores, (N, 1, L, S)."""
        return self.randn(self.N, 1, self.L, self.S)

    def mask(self, *, heads: bool = True) -> Tensor:
        """Return a mask, (N, 1, L, S) or (N, L, S), in which query 1 may see no key."""
        i, j = torch.meshgrid(torch.arange(self.L), torch.arange(self.S), indexing="ij")
        allowed = ((i + j) % 3 != 0) & (i != 1)
        mask = allowed.expand(self.N, self.L, self.S).contiguous().to(self.device)
        return mask.unsqueeze(1) if heads else mask

    def documents(self, length: int) -> Tensor:
        """Return to which document each token belongs, (N, length)."""
        tokens = torch.arange(self.N * length, device=self.device)
        return tokens.view(self.N, length) // 2

    def lengths(self) -> Tensor:
        """Return how long each sequence is of N that are padded to S."""
        return (torch.arange(self.N, device=self.device) * 2 + 1).clamp(max=self.S)


class Call(nn.Module):
    """An object, the tensors that go into it, and how.

    It is a module, since transforms take modules: `call(*call.tensors)` calls the object.
    """

    def __init__(self, thing: Callable[..., Any], *tensors: Tensor, **settings: Any) -> None:
        super().__init__()
        self.thing = thing  # a function; or a module, whose parameters are then ours
        by_name = {name: t for name, t in settings.items() if isinstance(t, Tensor)}
        self.names = tuple(by_name)  # of the last tensors, which go in by name
        self.settings = {name: x for name, x in settings.items() if name not in by_name}
        self.tensors = (*tensors, *by_name.values())

    def forward(self, *tensors: Tensor) -> Any:
        first = len(tensors) - len(self.names)
        named = dict(zip(self.names, tensors[first:], strict=True))
        return self.thing(*tensors[:first], **named, **self.settings)


class Added(nn.Module):
    """Positions as they are used: added to x."""

    def __init__(self, positions: nn.Module) -> None:
        super().__init__()
        self.positions = positions

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.positions(x.shape[-2])
        return added


class Cached(nn.Module):
    """A layer that reads its sequence twice, and remembers it the second time."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        cache = a.KVCache()
        self.layer(x, is_causal=True, cache=cache)
        output: Tensor = self.layer(x, is_causal=True, cache=cache)[0]
        return output


def causal(query: Tensor, key: Tensor) -> Tensor:
    return a.causal_mask(query.shape[-2], key.shape[-2], device=query.device)


def window(query: Tensor, key: Tensor) -> Tensor:
    return a.sliding_window_mask(query.shape[-2], key.shape[-2], 2, device=query.device)


def padding(lengths: Tensor, context: Tensor) -> Tensor:
    return a.padding_mask(lengths, context.shape[-2])


def biased(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    return a.with_bias(a.dot, bias)(query, key)


def prefix(lengths: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return a.prefix_mask(query.shape[-2], key.shape[-2], lengths)


def query_padding(lengths: Tensor, x: Tensor) -> Tensor:
    return a.query_padding_mask(lengths, x.shape[-2])


def far(query: Tensor, key: Tensor) -> Tensor:
    H, L, S = *query.shape[-3:-1], key.shape[-2]
    bias = a.alibi(H, L, S, dtype=query.dtype, device=query.device)
    return a.with_bias(a.dot, bias)(query, key)


def of_sums(query: Tensor, key: Tensor, value: Tensor, **settings: Any) -> Tensor:
    return a.linear_attention(query, key, value, **settings)[0]


def of_tiles(query: Tensor, key: Tensor, value: Tensor, **settings: Any) -> Tensor:
    return a.tiled_attention(query, key, value, query_block=2, key_block=3, **settings)[0]


def said(bias: Tensor) -> Tensor:
    """Change scores as FlexAttention would: at all places at once."""
    told = a.to_flex(a.softcapped(a.with_bias(a.scaled_dot, bias), 2.0))
    L, S = bias.shape[-2:]
    n, h = torch.arange(bias.shape[0]), torch.arange(bias.shape[1])
    i, j = torch.arange(L), torch.arange(S)
    places = n[:, None, None, None], h[:, None, None], i[:, None], j
    scores: Tensor = told["score_mod"](torch.zeros_like(bias), *places)
    return scores


def half_dropped(scores: Tensor) -> Tensor:
    return a.dropped(a.softmax, 0.5)(scores)


def sines(x: Tensor) -> Tensor:
    return x + a.sinusoidal(x.shape[-2], x.shape[-1], dtype=x.dtype, device=x.device)


def module(i: Inputs, made: nn.Module) -> nn.Module:
    return made.to(i.device, i.dtype)


Build = Callable[[Inputs], Call]

CALLS: dict[str, Build] = {
    "attention": lambda i: Call(a.attention, *i.of_heads()),
    "attention, mask": lambda i: Call(a.attention, *i.of_heads(), mask=i.mask()),
    "scaled_dot_product_attention": lambda i: Call(a.scaled_dot_product_attention, *i.of_heads()),
    "scaled_dot_product_attention, mask": lambda i: Call(
        a.scaled_dot_product_attention, *i.of_heads(), attn_mask=i.mask()
    ),
    "scaled_dot_product_attention, float mask": lambda i: Call(
        a.scaled_dot_product_attention, *i.of_heads(), attn_mask=i.bias()
    ),
    "scaled_dot_product_attention, causal": lambda i: Call(
        a.scaled_dot_product_attention, *i.of_heads(), is_causal=True
    ),
    "share_heads": lambda i: Call(
        a.share_heads, i.randn(i.N, i.H, i.L, 4), i.randn(i.N, 1, i.L, 4)
    ),
    "dot": lambda i: Call(a.dot, *i.pair()),
    "scaled_dot": lambda i: Call(a.scaled_dot, *i.pair()),
    "cosine": lambda i: Call(a.cosine, *i.pair()),
    "Bilinear": lambda i: Call(module(i, a.Bilinear(12, 10)), i.sequence(), i.context()),
    "Additive": lambda i: Call(module(i, a.Additive(12, 10, 8)), i.sequence(), i.context()),
    "with_bias": lambda i: Call(biased, *i.pair(), i.bias()),
    "softcapped": lambda i: Call(a.softcapped(a.scaled_dot, 2.0), *i.pair()),
    "causal_mask": lambda i: Call(causal, *i.pair()),
    "sliding_window_mask": lambda i: Call(window, *i.pair()),
    "padding_mask": lambda i: Call(padding, i.lengths(), i.context()),
    "prefix_mask": lambda i: Call(prefix, i.lengths(), *i.pair()),
    "query_padding_mask": lambda i: Call(query_padding, i.lengths().clamp(max=i.L), i.sequence()),
    "document_mask": lambda i: Call(a.document_mask, i.documents(i.L), i.documents(i.S)),
    "softmax": lambda i: Call(a.softmax, i.scores()),
    "dropped": lambda i: Call(half_dropped, i.scores()),
    "linear_attention": lambda i: Call(of_sums, *i.of_heads()),
    "linear_attention, causal": lambda i: Call(
        of_sums, *i.of_heads()[:1], *(i.randn(i.N, i.H, i.L, w) for w in (4, 6)), is_causal=True
    ),
    "linear_attention, chunks": lambda i: Call(
        of_sums,
        *i.of_heads()[:1],
        *(i.randn(i.N, i.H, i.L, w) for w in (4, 6)),
        is_causal=True,
        chunk_size=2,
    ),
    "tiled_attention": lambda i: Call(of_tiles, *i.of_heads()),
    "tiled_attention, mask": lambda i: Call(of_tiles, *i.of_heads(), mask=i.mask()),
    "tiled_attention, causal": lambda i: Call(of_tiles, *i.of_heads(), is_causal=True),
    "to_flex": lambda i: Call(said, i.bias()),
    "SelfAttention": lambda i: Call(module(i, a.SelfAttention(12, 4)), i.sequence()),
    "CausalSelfAttention": lambda i: Call(module(i, a.CausalSelfAttention(12, 4)), i.sequence()),
    "CrossAttention": lambda i: Call(
        module(i, a.CrossAttention(12, 10, 4)), i.sequence(), i.context()
    ),
    "MultiHeadAttention": lambda i: Call(module(i, a.MultiHeadAttention(12, 3)), i.sequence()),
    "MultiHeadAttention, mask": lambda i: Call(
        module(i, a.MultiHeadAttention(12, 3, kdim=10, vdim=10)),
        i.sequence(),
        i.context(),
        mask=i.mask(heads=False),
    ),
    "MultiHeadAttention, without weights": lambda i: Call(
        module(i, a.MultiHeadAttention(12, 3)), i.sequence(), need_weights=False
    ),
    "KVCache": lambda i: Call(module(i, Cached(a.MultiHeadAttention(12, 3))), i.sequence()),
    "as_torch": lambda i: Call(
        module(i, a.as_torch(a.MultiHeadAttention(12, 3, kdim=10, vdim=10), batch_first=True)),
        i.sequence(),
        i.context(),
        i.context(),
    ),
    "LearnedPositions": lambda i: Call(module(i, Added(a.LearnedPositions(16, 12))), i.sequence()),
    "sinusoidal": lambda i: Call(sines, i.sequence()),
    "alibi": lambda i: Call(far, *i.pair()),
    "biased": lambda i: Call(
        module(i, a.MultiHeadAttention(12, 3, positions=a.biased(a.alibi))), i.sequence()
    ),
}


# What an object of usual parameters is made with, and called with
SIZES = {"embed_dim": 12, "query_dim": 12, "key_dim": 10, "num_heads": 3, "head_dim": 4}
SIZES |= {"hidden_dim": 8, "max_len": 16, "window": 2}


def usual(name: str) -> Build:
    """Call an object that has no line by the names of its parameters."""

    def required(function: Callable[..., Any]) -> list[str]:
        parameters = inspect.signature(function).parameters.values()
        return [p.name for p in parameters if p.default is p.empty]

    def build(i: Inputs) -> Call:
        thing: Any = getattr(a, name)
        query, key = i.pair()
        known: dict[str, Any] = {
            "query": query,
            "key": key,
            "scores": i.scores(),
            "x": i.sequence(),
        }
        known |= {"query_len": i.L, "key_len": i.S, "length": i.L}
        if inspect.isclass(thing):
            if "query_dim" in required(thing):
                known |= {"query": i.sequence(), "key": i.context()}
            made: Any = thing(**{size: SIZES[size] for size in required(thing)})
            thing = module(i, made)
        called = thing.forward if isinstance(thing, nn.Module) else thing
        return Call(thing, **{given: (SIZES | known)[given] for given in required(called)})

    return build


MISSING: list[str] = []  # a sentence for each public object that needs a line and has none
_LINES = {line.split(",")[0] for line in CALLS}
for _name in (name for name in a.__all__ if name not in _LINES):
    try:
        usual(_name)(Inputs())
    except KeyError as parameter:
        MISSING.append(f"{_name} takes {parameter}: say in CALLS of tests/calls.py how to call it")
    else:
        CALLS[_name] = usual(_name)
