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


Build = Callable[[Inputs], Call]
GRID = torch.cartesian_prod(torch.arange(4), torch.arange(4))  # row and column of 16 tokens


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


class Filled(nn.Module):
    """A layer that puts its sequence into a new cache."""

    def __init__(self, layer: nn.Module, make: Callable[[], Any]) -> None:
        super().__init__()
        self.layer = layer
        self.make = make

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x, is_causal=True, cache=self.make())[0]
        return output


def ring_of_4() -> a.RingKVCache:
    return a.RingKVCache(4)


def paged() -> a.PagedKVCache:
    return a.PagedKVCache(a.PagePool(9, 2))


def causal(query: Tensor, key: Tensor) -> Tensor:
    return a.causal_mask(query.shape[-2], key.shape[-2], device=query.device)


def of_pair(make: Callable[..., Tensor], *more: int) -> Build:
    """Make a mask of a query's and a key's length."""
    return lambda i: Call(OfLengths(make, *more), *i.pair())


class OfLengths(nn.Module):
    def __init__(self, make: Callable[..., Tensor], *more: int) -> None:
        super().__init__()
        self.make = make
        self.more = more

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        lengths = query.shape[-2], key.shape[-2]
        return self.make(*lengths, *self.more, device=query.device)


def few(tokens: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return a.global_mask(query.shape[-2], key.shape[-2], tokens)


def packing(x: Tensor, context: Tensor) -> Tensor:
    twice = (a.pack_sequences([tensor[0], tensor[0]]) for tensor in (x, context))
    queries, keys = (documents[::2] for _, documents, _ in twice)  # as many as there were
    return a.document_mask(queries, keys)


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


def rotated(x: Tensor, **settings: Any) -> Tensor:
    return a.rotated(x, a.rotary_frequencies(8, device=x.device), **settings)  # of 12


def slowed(x: Tensor, by: Callable[..., Tensor], numbers: tuple[float, ...]) -> Tensor:
    frequencies = a.rotary_frequencies(x.shape[-1], device=x.device)
    return a.rotated(x, by(frequencies, *numbers))


def on_axes(x: Tensor) -> Tensor:
    frequencies = a.axial_frequencies(x.shape[-1], device=x.device)
    return a.rotated(x, frequencies, GRID[: x.shape[-2]])


def module(i: Inputs, made: nn.Module) -> nn.Module:
    return made.to(i.device, i.dtype)


def placed(i: Inputs, positions: Any) -> Call:
    """Call a layer that has positions."""
    return Call(module(i, a.MultiHeadAttention(12, 3, positions=positions)), i.sequence())


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
    "causal_mask": of_pair(a.causal_mask),
    "sliding_window_mask": of_pair(a.sliding_window_mask, 2),
    "local_mask": of_pair(a.local_mask, 2),
    "dilated_mask": of_pair(a.dilated_mask, 2, 2),
    "chunked_mask": of_pair(a.chunked_mask, 3),
    "strided_mask": of_pair(a.strided_mask, 3),
    "fixed_mask": of_pair(a.fixed_mask, 3, 1),
    "global_mask": lambda i: Call(few, torch.arange(min(i.N, i.S), device=i.device), *i.pair()),
    "random_mask": of_pair(a.random_mask, 2),
    "QKNorm": lambda i: Call(module(i, a.QKNorm(16)), *i.pair()),
    "qk_normed": lambda i: Call(
        module(
            i,
            a.MultiHeadAttention(
                12, 3, positions=a.qk_normed(nn.RMSNorm(4, 1e-6), nn.RMSNorm((3, 4), 1e-6))
            ),
        ),
        i.sequence(),
    ),
    "padding_mask": lambda i: Call(padding, i.lengths(), i.context()),
    "prefix_mask": lambda i: Call(prefix, i.lengths(), *i.pair()),
    "query_padding_mask": lambda i: Call(query_padding, i.lengths().clamp(max=i.L), i.sequence()),
    "document_mask": lambda i: Call(a.document_mask, i.documents(i.L), i.documents(i.S)),
    "pack_sequences": lambda i: Call(packing, i.sequence(), i.context()),
    "softmax": lambda i: Call(a.softmax, i.scores()),
    "softmax_one": lambda i: Call(a.softmax_one, i.scores()),
    "dropped": lambda i: Call(half_dropped, i.scores()),
    "with_sink": lambda i: Call(a.with_sink(a.softmax, nn.Parameter(i.randn(i.H))), i.scores()),
    "with_sink, one for all": lambda i: Call(a.with_sink(a.sparsemax, i.randn()), i.scores()),
    "sparsemax": lambda i: Call(a.sparsemax, i.scores()),
    "entmax15": lambda i: Call(a.entmax15, i.scores()),
    "sigmoid": lambda i: Call(a.sigmoid, i.scores()),
    "sigmoid, bias": lambda i: Call(a.sigmoid, i.scores(), bias=-2.0),
    "relu_over_length": lambda i: Call(a.relu_over_length, i.scores()),
    "with_temperature": lambda i: Call(a.with_temperature(a.softmax, 0.5), i.scores()),
    "hardmax": lambda i: Call(a.hardmax, i.scores()),
    "with_gumbel": lambda i: Call(a.with_gumbel(a.with_temperature(a.softmax, 0.7)), i.scores()),
    # of one normalizer twice: else its gradient is not that of its weights, as is meant
    "straight_through": lambda i: Call(a.straight_through(a.softmax, a.softmax), i.scores()),
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
    "TalkingHeads": lambda i: Call(module(i, a.TalkingHeads(a.softmax, i.H)), i.scores()),
    "TalkingHeads, score": lambda i: Call(module(i, a.TalkingHeads(a.scaled_dot, i.H)), *i.pair()),
    "DifferentialAttention": lambda i: Call(
        module(i, a.DifferentialAttention(12, 6)), i.sequence()
    ),
    "GatedAttention": lambda i: Call(module(i, a.GatedAttention(12, 3)), i.sequence()),
    "MultiHeadLatentAttention": lambda i: Call(
        module(i, a.MultiHeadLatentAttention(12, 3, latent_dim=5)), i.sequence()
    ),
    "MultiHeadLatentAttention, mask": lambda i: Call(
        module(i, a.MultiHeadLatentAttention(12, 3, latent_dim=5, query_latent_dim=7)),
        i.sequence(),
        mask=Inputs(i.dtype, i.device, N=i.N, L=i.L, S=i.L).mask(heads=False),
    ),
    "MultiHeadLatentAttention, absorbed": lambda i: Call(
        module(i, a.MultiHeadLatentAttention(12, 3, latent_dim=5)), i.sequence(), absorbed=True
    ),
    "KVCache": lambda i: Call(module(i, Cached(a.MultiHeadAttention(12, 3))), i.sequence()),
    "RingKVCache": lambda i: Call(
        module(i, Filled(a.MultiHeadAttention(12, 3), ring_of_4)), i.sequence()
    ),
    "PagedKVCache": lambda i: Call(
        module(i, Filled(a.MultiHeadAttention(12, 3), paged)), i.sequence()
    ),
    "PagePool": lambda i: Call(
        module(i, Filled(a.MultiHeadAttention(12, 3, 1), paged)), i.sequence()
    ),
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
    "rotated": lambda i: Call(rotated, i.sequence()),
    "rotated, interleaved": lambda i: Call(rotated, i.sequence(), interleaved=True),
    "rotary_frequencies": lambda i: Call(rotated, i.sequence()),
    "axial_frequencies": lambda i: Call(on_axes, i.sequence()),
    "Rotary": lambda i: Call(
        module(i, a.MultiHeadAttention(12, 3, positions=a.Rotary(a.rotary_frequencies(4)))),
        i.sequence(),
    ),
    "Rotary, learned": lambda i: Call(
        module(
            i,
            a.MultiHeadAttention(12, 3, positions=a.Rotary(nn.Parameter(torch.rand(2, 2)), GRID)),
        ),
        i.sequence(),
    ),
    "position_interpolation": lambda i: Call(
        slowed, i.sequence(), by=a.position_interpolation, numbers=(4.0,)
    ),
    "ntk_aware": lambda i: Call(slowed, i.sequence(), by=a.ntk_aware, numbers=(4.0,)),
    "yarn": lambda i: Call(slowed, i.sequence(), by=a.yarn, numbers=(4.0, 128)),
    "yarn_attention_factor": lambda i: Call(
        rotated, i.sequence(), attention_factor=a.yarn_attention_factor(4.0)
    ),
    "llama3_scaling": lambda i: Call(slowed, i.sequence(), by=a.llama3_scaling, numbers=(4.0, 128)),
    "T5Bias": lambda i: placed(i, a.biased(a.T5Bias(3, 8, 6))),
    "RelativePositions": lambda i: placed(i, a.RelativePositions(4, 2)),
    "TransformerXLPositions": lambda i: placed(i, a.TransformerXLPositions(12, 3)),
    "DisentangledPositions": lambda i: placed(i, a.DisentangledPositions(12, 3, 2)),
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
        _call = usual(_name)(Inputs())
    except KeyError as parameter:
        MISSING.append(f"{_name} takes {parameter}: say in CALLS of tests/calls.py how to call it")
        continue
    CALLS[_name] = usual(_name)
    if not _call.tensors:
        MISSING.append(f"{_name} takes no tensor: say in CALLS of tests/calls.py what uses it")
