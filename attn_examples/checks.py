"""The errors: one sentence that names the argument, what it was and what is wanted.

There are two kinds. `check_*` says more clearly what torch would refuse anyway; copied
code does without it. `refuse_*` stands where the result would be wrong without a word.
Each looks at what is right first, in one condition: the details are for what is wrong.
A `refuse_*` looks at values only where there are any: not while torch compiles, exports,
traces or batches, and not in tensors that have none.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from numbers import Integral, Number, Real
from typing import Any

import torch
from torch import Tensor, nn

__all__: list[str] = []


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """Return a shape that prints as plain numbers: (2, 5, 12)."""
    return tuple(tensor.shape)


def is_traced() -> bool:
    """Tell whether torch compiles, exports or traces: it follows for all values."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or torch.compiler.is_compiling()


def check_float(name: str, tensor: Any) -> None:
    """Raise unless `tensor` is a floating-point tensor."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} ({type(tensor).__name__}) must be a torch.Tensor")
    if not tensor.is_floating_point():
        raise ValueError(
            f"{name} ({tensor.dtype}) must be a floating-point tensor: embed token "
            f"numbers first, or call {name}.float()"
        )


def check_count(name: str, value: Any, *, least: int = 1) -> None:
    """Raise unless `value` is a whole number that is at least `least`."""
    check_whole(name, value)
    refuse_below(name, value, least)


def check_whole(name: str, value: Any) -> None:
    """Raise unless `value` is a whole number; a length that torch traces is one."""
    if type(value) is int or isinstance(value, torch.SymInt):
        return
    traced = isinstance(value, Tensor) and value.dim() == 0 and is_traced()
    if isinstance(value, bool) or not (traced or isinstance(value, Integral)):
        raise TypeError(f"{name} ({value!r}) must be a whole number")


def refuse_not_positive(name: str, value: Any) -> None:
    """Raise unless a number is more than 0."""
    if not value > 0:
        raise ValueError(f"{name} ({value}) must be positive")


def refuse_below(name: str, value: int, least: int) -> None:
    """Raise unless `value` is at least `least`; a length that torch follows is any."""
    if torch.compiler.is_compiling() or isinstance(value, (torch.SymInt, Tensor)):
        return
    if value < least:
        raise ValueError(f"{name} ({value}) must be at least {least}")


def check_place(name: str, place: Any, count: int) -> None:
    """Raise unless `place` is a whole number from 0 to less than `count`."""
    check_whole(name, place)
    if not 0 <= place < count:
        raise ValueError(f"{name} ({place}) must be from 0 to {count - 1}")


def refuse_outside(name: str, numbers: Tensor, most_name: str, most: int) -> None:
    """Raise unless every one of the whole numbers is from 0 to `most`."""
    if is_traced():
        return
    try:
        values = numbers.flatten().tolist()
    except (
        RuntimeError
    ):  # under vmap, and in meta and fake tensors, there are no values
        return
    for value in values:
        if not 0 <= value <= most:
            raise ValueError(
                f"{name} holds {value}, which must be from 0 to {most_name} ({most})"
            )


def check_number(name: str, value: Any) -> None:
    """Raise unless `value` is a real number."""
    if type(value) is float:
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} ({value!r}) must be a number")


def refuse_state(state: Any, key: Tensor, value: Tensor) -> None:
    """Raise unless `state` is a sum of products of these keys and values."""
    check_float("state", state)
    check_device("state", state, key.device)
    wanted = (key.shape[-1], value.shape[-1])
    if state.dim() < 2 or state.shape[-2:] != wanted:
        raise ValueError(
            f"state has shape {shape_of(state)} but must end in {wanted}: one row for "
            "each feature, one column more than the values have"
        )


def check_factor(name: str, value: Any) -> None:
    """Raise unless `value` is a real number, or a tensor: a factor may be learned."""
    if not isinstance(value, Tensor | torch.SymFloat):
        check_number(name, value)


def check_probability(name: str, value: Any) -> None:
    """Raise unless `value` lies in [0, 1]."""
    if type(value) is float and 0.0 <= value <= 1.0:
        return
    check_number(name, value)
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} ({value}) must be a probability, from 0 to 1")


def check_value(query: Tensor, key: Tensor, value: Any) -> None:
    """Raise unless `value` fits a query and a key that a score has taken."""
    if (
        isinstance(value, Tensor)
        and value.dtype is query.dtype
        and value.device == query.device
    ):
        k, v = key.shape, value.shape
        if len(v) == query.dim() and (v == k or v[:-1] == k[:-1]):
            return
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_sequence(name, tensor)
        if tensor.dim() != query.dim():
            raise ValueError(
                f"{name} has {tensor.dim()} dimensions {shape_of(tensor)} but query "
                f"has {query.dim()} {shape_of(query)}: give them the same number of "
                "dimensions"
            )
        check_alike(name, tensor, query)
    refuse_positions(key, value)
    check_batch("key", key, "query", query)
    check_batch("value", value, "query", query)
    check_batch("value", value, "key", key)


def check_alike(name: str, tensor: Tensor, query: Tensor) -> None:
    """Raise unless `tensor` has the dtype and the device of the query."""
    if tensor.dtype != query.dtype and not autocast_joins(tensor, query):
        raise ValueError(
            f"{name} is {tensor.dtype} but query is {query.dtype}: use one dtype for "
            "all"
        )
    if tensor.device != query.device:
        raise ValueError(
            f"{name} is on {tensor.device} but query is on {query.device}: move them "
            "to one device"
        )


def autocast_joins(*tensors: Tensor) -> bool:
    """Tell whether autocast makes one dtype of theirs: it leaves float64 alone."""
    enabled = torch.is_autocast_enabled(tensors[0].device.type)
    return enabled and all(tensor.dtype != torch.float64 for tensor in tensors)


def check_sequence(name: str, tensor: Any) -> None:
    """Raise unless `tensor` is a floating-point tensor (..., length, width)."""
    check_float(name, tensor)
    if tensor.dim() < 2:
        raise ValueError(
            f"{name} has shape {shape_of(tensor)} but needs at least two dimensions, "
            "(length, width)"
        )


def check_sequences(sequences: Any) -> None:
    """Raise unless there is a sequence, and each is a tensor (length, ...)."""
    if len(sequences) == 0:
        raise ValueError("sequences is empty but must hold at least one")
    for n, sequence in enumerate(sequences):
        if not isinstance(sequence, Tensor):
            raise TypeError(
                f"sequences[{n}] ({type(sequence).__name__}) must be a torch.Tensor"
            )
        if sequence.dim() == 0:
            raise ValueError(f"sequences[{n}] is a number but must be (length, ...)")


def refuse_positions(key: Tensor, value: Tensor) -> None:
    """Raise unless there are as many values as keys."""
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"value has {value.shape[-2]} positions {shape_of(value)} but key has "
            f"{key.shape[-2]} {shape_of(key)}: each key needs exactly one value"
        )


def check_batch(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Raise unless two are on one device and equal, or 1, before (length, width)."""
    if tensor.device != other.device:
        raise ValueError(
            f"{name} is on {tensor.device} but {other_name} is on {other.device}: move "
            "them to one device"
        )
    pairs = zip(reversed(tensor.shape[:-2]), reversed(other.shape[:-2]), strict=False)
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        raise ValueError(
            f"{name} has leading dimensions {tuple(tensor.shape[:-2])} but "
            f"{other_name} has {tuple(other.shape[:-2])}: batch and heads must be "
            "equal, or 1"
        )


def check_same_batch(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Raise unless all before (length, width) is equal: modules do not repeat."""
    if tensor.shape[:-2] != other.shape[:-2]:
        raise ValueError(
            f"{name} has shape {shape_of(tensor)} but {other_name} has "
            f"{shape_of(other)}: all dimensions before the last two must be equal"
        )


def check_widths(query: Any, key: Any) -> None:
    """Raise unless queries and keys are equally wide, as every dot product needs."""
    try:
        *lead, _, width = query.shape  # the lengths are never compared
        *also, _, wanted = key.shape
        dtype = query.dtype
        same = dtype is key.dtype and query.device == key.device
        if same and width == wanted and lead == also and dtype.is_floating_point:
            return
    except (AttributeError, ValueError):
        pass  # no tensors, or of fewer than two dimensions
    check_sequence("query", query)
    check_sequence("key", key)
    check_batch("key", key, "query", query)
    check_alike("key", key, query)
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query has width {query.shape[-1]} {shape_of(query)} but key has width "
            f"{key.shape[-1]} {shape_of(key)}: they need equal widths"
        )


def check_width(name: str, tensor: Tensor, width_name: str, width: int) -> None:
    """Raise unless `tensor` is (..., length, width)."""
    check_float(name, tensor)
    if tensor.dim() < 2 or tensor.shape[-1] != width:
        raise ValueError(
            f"{name} has shape {shape_of(tensor)} but must be (..., length, {width}), "
            f"since {width_name} is {width}"
        )


def check_projected(
    name: str, tensor: Tensor, width_name: str, width: int, projection: nn.Module
) -> None:
    """Raise unless `tensor` is (..., length, width), as its projection takes it."""
    weight = projection._parameters.get("weight")
    if (
        isinstance(tensor, Tensor)
        and weight is not None
        and tensor.dtype is weight.dtype
        and tensor.device == weight.device
        and tensor.is_floating_point()
        and tensor.dim() > 1
        and tensor.shape[-1] == width
    ):
        return
    check_width(name, tensor, width_name, width)
    hooked = projection._forward_pre_hooks or "forward" in projection.__dict__
    if type(projection) is not nn.Linear or weight is None or hooked:
        return  # what wraps a layer may move and cast what it is given
    check_weights(name, tensor, weight)


def check_weights(name: str, tensor: Tensor, weight: Tensor) -> None:
    """Raise unless `tensor` has the device and the dtype of a module's weights."""
    if tensor.device != weight.device:
        raise ValueError(
            f"{name} is on {tensor.device} but the module's weights are on "
            f"{weight.device}: move one of them"
        )
    if tensor.dtype != weight.dtype and not autocast_joins(tensor, weight):
        raise ValueError(
            f"{name} is {tensor.dtype} but the module's weights are {weight.dtype}: "
            f"convert one of them, for example {name}.to({weight.dtype})"
        )


def refuse_scores(scores: Any, query: Tensor, key: Tensor) -> None:
    """Raise unless a score returned one number for each pair: others repeat."""
    if not isinstance(scores, Tensor):
        raise TypeError(
            f"score returned {type(scores).__name__} but must return a torch.Tensor, "
            "one number for each query and key"
        )
    try:
        *lead, L, _ = query.shape
        *also, S, _ = key.shape
    except ValueError:
        raise ValueError(
            f"query {shape_of(query)} and key {shape_of(key)} must have at least two "
            "dimensions, (length, width)"
        ) from None
    if lead == also and scores.shape == (*lead, L, S):
        return
    check_batch("key", key, "query", query)
    lead = [*torch.broadcast_shapes(lead, also)]  # type: ignore[no-untyped-call]
    if scores.shape != (*lead, L, S):
        known: list[Any] = lead if scores.shape[-2:] == (L, S) else ["..."]
        wanted = ", ".join(map(str, (*known, L, S)))
        raise ValueError(
            f"score returned shape {shape_of(scores)} but must return ({wanted}), one "
            "number for each query and key"
        )


def refuse_weights(weights: Any, scores: Tensor) -> None:
    """Raise unless a normalizer returned one weight for each score: others repeat."""
    if isinstance(weights, Tensor) and weights.shape == scores.shape:
        return
    shape = shape_of(weights) if isinstance(weights, Tensor) else type(weights).__name__
    raise ValueError(
        f"normalize returned {shape} but must return {shape_of(scores)}, one weight "
        "for each score"
    )


def refuse_mask(mask: Any) -> None:
    """Raise unless `mask` is boolean: numbers would be added without a word."""
    if mask is None:
        return
    if not isinstance(mask, Tensor):
        raise TypeError(
            f"mask ({type(mask).__name__}) must be a torch.Tensor of dtype torch.bool"
        )
    if mask.dtype != torch.bool:
        raise ValueError(
            f"mask ({mask.dtype}) must be torch.bool, True where attention is allowed: "
            "call mask.bool(), or use with_bias(score, bias) for numbers to add to the "
            "scores"
        )


def refuse_mask_shape(
    mask: Tensor, scores: tuple[int, ...], device: torch.device
) -> None:
    """Raise unless `mask` lines up with scores of that shape without guessing."""
    shape = mask.shape
    if (shape == scores[-2:] or shape == scores) and mask.device == device:
        return
    scores = tuple(scores)
    fits = mask.dim() in (2, len(scores)) and all(
        m in (1, s)
        for m, s in zip(reversed(mask.shape), reversed(scores), strict=False)
    )
    if not fits:
        raise ValueError(
            f"mask has shape {shape_of(mask)} but the scores have {scores}: give it "
            f"{scores[-2:]}, or all {len(scores)} dimensions with 1 where it repeats"
        )
    check_device("mask", mask, device)


def check_device(name: str, tensor: Tensor, device: torch.device) -> None:
    """Raise unless `tensor` is where the scores are."""
    if tensor.device != device:
        raise ValueError(
            f"{name} is on {tensor.device} but the scores are on {device}: move it "
            "there"
        )


def refuse_broadcast(name: str, tensor: Tensor, scores: tuple[int, ...]) -> None:
    """Raise unless `tensor` broadcasts to scores of that shape."""
    # strict=False: missing dimensions on the left repeat, as everywhere in torch
    pairs = zip(reversed(tensor.shape), reversed(scores), strict=False)
    if tensor.dim() > len(scores) or any(t not in (1, s) for t, s in pairs):
        raise ValueError(
            f"{name} has shape {shape_of(tensor)} but must broadcast to the scores, "
            f"{tuple(scores)}"
        )


def refuse_turns(frequencies: Tensor, x: Tensor) -> None:
    """Raise unless `x` has two numbers for each of the frequencies."""
    if 2 * frequencies.shape[-1] > x.shape[-1]:
        raise ValueError(
            f"frequencies has shape {shape_of(frequencies)}, which turns "
            f"{2 * frequencies.shape[-1]} numbers, but x has width {x.shape[-1]} "
            f"{shape_of(x)}"
        )


def refuse_places(angles: Tensor, x: Tensor) -> None:
    """Raise unless the angles of positions, (..., L, R), repeat to the rows of `x`."""
    rows = x.shape[:-1]
    # strict=False: missing dimensions on the left repeat, as everywhere in torch
    pairs = zip(reversed(angles.shape[:-1]), reversed(rows), strict=False)
    if angles.dim() > x.dim() or any(a != n and a != 1 for a, n in pairs):
        raise ValueError(
            f"positions and frequencies give angles for {tuple(angles.shape[:-1])} but "
            f"must for the rows of x, {tuple(rows)}, or for 1 where they repeat"
        )


def refuse_bias_shape(bias: Tensor, scores: Tensor) -> None:
    """Raise unless `bias` repeats to the scores, and has their dtype and device."""
    if bias.dtype != scores.dtype and not autocast_joins(bias, scores):
        raise ValueError(
            f"bias is {bias.dtype} but the scores are {scores.dtype}: use one dtype"
        )
    refuse_broadcast("bias", bias, scores.shape)
    check_device("bias", bias, scores.device)


def refuse_attn_mask(attn_mask: Any, scores: Tensor) -> None:
    """Raise unless `attn_mask` can be repeated to the scores, and is where they are."""
    if not isinstance(attn_mask, Tensor):
        raise TypeError(
            f"attn_mask ({type(attn_mask).__name__}) must be a torch.Tensor"
        )
    if attn_mask.device == scores.device and attn_mask.shape == scores.shape[-2:]:
        return
    refuse_broadcast("attn_mask", attn_mask, scores.shape)
    check_device("attn_mask", attn_mask, scores.device)


# The mask that was looked at last, and its version: to read a number makes a GPU wait
_LOOKED_AT: list[Any] = [lambda: None, 0]


def refuse_zeros_and_ones(attn_mask: Tensor) -> None:
    """Raise where numbers to add to the scores look like a mask, or are whole."""
    if not torch.compiler.is_compiling():
        last, version = _LOOKED_AT
        if last() is attn_mask and attn_mask._version == version:
            return
    if not attn_mask.is_floating_point():
        raise ValueError(
            f"attn_mask ({attn_mask.dtype}) must be torch.bool, True where attention "
            "is allowed, or floating point, added to the scores"
        )
    size = attn_mask.numel()
    if not size or is_traced():
        return
    try:
        parts = [attn_mask]
        if size > 4096:  # of most masks one row says it
            parts.insert(0, attn_mask[(0,) * (attn_mask.dim() - 1)])
        suspect = (
            all(part.min().item() in (0, 1) for part in parts)
            and attn_mask.max().item() == 1
            and bool(((attn_mask == 0) | (attn_mask == 1)).all())
        )
        if not suspect:
            _LOOKED_AT[:] = weakref.ref(attn_mask), attn_mask._version
    except (
        RuntimeError
    ):  # no values: under vmap, in meta and fake tensors; no version: in inference mode
        return
    if suspect:
        raise ValueError(
            f"attn_mask ({attn_mask.dtype}) holds only zeros and ones, which would be "
            "added to the scores: call attn_mask.bool() to say where attention is "
            "allowed"
        )


def check_labels(name: str, labels: Sequence[str] | None, length: int) -> None:
    """Raise unless there is one label for each position."""
    if labels is not None and len(labels) != length:
        raise ValueError(
            f"{name} has {len(labels)} labels but the map has {length} of them"
        )


def check_callable(name: str, value: Any) -> None:
    """Raise unless `value` can be called."""
    if not callable(value):
        raise TypeError(f"{name} ({value!r}) must be callable: a function or a module")


def refuse_mask_of_heads(
    mask: Tensor | None, query: Tensor, key_len: int, num_heads: int | None = None
) -> None:
    """Raise unless `mask` has a shape that a module takes, or 1 where it repeats."""
    if mask is None:
        return
    *batch, L = query.shape[:-1]
    shapes = [(L, key_len), (*batch, L, key_len)]
    if num_heads is not None:
        shapes.append((*batch, num_heads, L, key_len))
    for shape in shapes:
        if mask.dim() == len(shape) and all(map(_is_or_repeats, mask.shape, shape)):
            check_device("mask", mask, query.device)
            return
    *first, last = dict.fromkeys(map(str, shapes))
    wanted = f"{', '.join(first)} or {last}" if first else last
    raise ValueError(
        f"mask has shape {shape_of(mask)} but must have {wanted}, with 1 where it "
        "repeats"
    )


def _is_or_repeats(size: int, wanted: int) -> bool:
    return size == wanted or size == 1


def check_follows(name: str, before: Tensor, tensor: Tensor) -> None:
    """Raise unless `tensor` can follow what a cache holds, along the length."""
    expected = (*before.shape[:-2], tensor.shape[-2], before.shape[-1])
    if tensor.shape != expected:
        raise ValueError(
            f"{name} has shape {shape_of(tensor)} but the cache holds "
            f"{shape_of(before)}: all but the length must be equal, so use a new cache "
            "for another batch"
        )
    if (tensor.dtype, tensor.device) != (before.dtype, before.device):
        raise ValueError(
            f"{name} is {tensor.dtype} on {tensor.device} but the cache holds "
            f"{before.dtype} on {before.device}: use a new cache"
        )


def refuse_bias(bias: Any) -> None:
    """Raise unless `bias` is floating point: the kernel takes a boolean for a mask."""
    if bias is None:
        return
    if not isinstance(bias, Tensor):
        raise TypeError(f"bias ({type(bias).__name__}) must be a torch.Tensor")
    if not bias.is_floating_point():
        raise ValueError(
            f"bias ({bias.dtype}) must be floating point, added to the scores: what is "
            "allowed is said with mask"
        )


def refuse_num_heads(num_heads: int, own: int) -> None:
    """Raise unless positions that hold something for each head meet as many heads."""
    if num_heads != own:
        raise ValueError(
            f"positions were made for num_heads {own} but meet {num_heads} heads: make "
            "them for as many"
        )


def check_cache(cache: Any) -> None:
    """Raise unless `cache` is None or does what `KVCache` does."""
    if cache is not None and not (
        hasattr(cache, "append") and hasattr(cache, "length")
    ):
        raise TypeError(
            f"cache ({type(cache).__name__}) must be a KVCache, or act like one"
        )


def whole_numbers(
    name: str, numbers: Any, device: torch.device | str | None = None
) -> Tensor:
    """Make a tensor of whole numbers from what a user calls so."""
    try:
        tensor = torch.as_tensor(numbers, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} ({numbers!r}) must be whole numbers") from error
    if tensor.numel() == 0:
        tensor = tensor.long()  # an empty list has no dtype of its own
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} ({tensor.dtype}) must be whole numbers")
    return tensor.long()


def labels_of(name: str, labels: Any | None, count: int) -> list[str] | None:
    """Make texts of labels: one for each position or head."""
    if labels is None:
        return None
    # NumPy's, torch's, pandas'
    found = labels.tolist() if hasattr(labels, "tolist") else labels
    if not isinstance(found, Sequence):
        raise TypeError(
            f"{name} ({type(labels).__name__}) must be a sequence of labels"
        )
    for label in found:
        if not isinstance(label, str | Number):
            raise TypeError(
                f"{name} holds {label!r} but a label must be a text or a number"
            )
    texts = [str(label) for label in found]
    check_labels(name, texts, count)
    return texts


def positive(name: str, value: Any) -> float:
    """Return a length, or the end of a scale, as a plain number."""
    if isinstance(value, Tensor) and value.dim() == 0:
        value = value.item()
    check_number(name, value)
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} ({value}) must be positive and finite")
    return float(value)


def check_kind(name: str, value: Any, kind: Any, wanted: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} ({type(value).__name__}) must be {wanted}")
