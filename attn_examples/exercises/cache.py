"""Exercises: one step with a KV cache."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from attn_examples.exercises.compare import PITFALLS
from attn_examples.exercises.masks import ahead, ahead_upper
from attn_examples.exercises.spec import Case, Draw, FunctionExercise, Sizes
from attn_examples.exercises.variations import (
    FIXED_SCALES,
    HEAD_SCALES,
    LATE_SCALE,
    MIXINGS,
    SCALES,
    SCORINGS,
    SOFTMAX_HEADS,
    SOFTMAXES,
    WEAK_MASKS,
    changed_attention,
    from_options,
)

__all__: list[str] = []

_CACHE = "formulas/cost.html#the-kv-cache"
_CACHE_CORNER = f"{PITFALLS}/empty-rows-and-corners.html#causal-but-from-the-wrong-corner"


def changed_step(
    style: str,
    options: dict[str, Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    past_key: Tensor,
    past_value: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step with a cache, right unless one of the options says otherwise."""
    rest = dict(options)
    cache = rest.pop("cache", "")
    keys, values = torch.cat((past_key, key), -2), torch.cat((past_value, value), -2)
    if cache == "new-first":
        keys, values = torch.cat((key, past_key), -2), torch.cat((value, past_value), -2)
    elif cache == "keys-first":
        keys = torch.cat((key, past_key), -2)
    elif cache == "values-first":
        values = torch.cat((value, past_value), -2)
    seen_keys, seen_values = keys, values
    if cache == "past-only":
        seen_keys, seen_values = past_key, past_value
    elif cache == "new-only":
        seen_keys, seen_values = key, value
    elif cache == "late-value":  # the new values replace the oldest
        seen_values = torch.cat((value, past_value), -2)
    L, S = query.shape[-2], seen_keys.shape[-2]
    mask = ahead(L, S) <= 0
    if cache == "corner":
        mask = ahead_upper(L, S) <= 0
    elif cache == "unmasked" or (cache == "past-only" and style == "nan"):
        mask = torch.ones_like(mask)
    elif cache == "past-only":
        mask = ahead_upper(L, S) <= past_key.shape[-2]
    elif cache == "strict":
        mask = ahead(L, S) < 0
    elif cache == "inverted":
        mask = ahead(L, S) > 0
    elif cache == "next":
        mask = ahead(L, S) <= 1
    elif cache == "new-only" and style == "nan":
        mask = torch.ones_like(mask)
    output = changed_attention(query, seen_keys, seen_values, mask, style=style, **rest)["output"]
    if cache == "not-updated":
        return output, past_key, past_value
    if cache == "forgotten":
        return output, key, value
    if cache == "swapped":
        return output, values, keys
    if cache == "same":
        return output, keys, keys
    if cache == "window":
        L = key.shape[-2]
        return output, keys[..., L:, :], values[..., L:, :]
    return output, keys, values


_SIZES = ("N", "H", "L", "T", "E", "Ev")


def _step_case(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    N, H, L, T, E, Ev = (sizes[name] for name in _SIZES)
    return (
        draw.normal(N, H, L, E),
        draw.normal(N, H, L, E),
        draw.normal(N, H, L, Ev),
        draw.normal(N, H, T, E),
        draw.normal(N, H, T, Ev),
    )


_CACHE_MISTAKES: tuple[tuple[str, str, str, dict[str, Any]], ...] = tuple(
    (f"cache-{name}", cause, page, {"cache": name})
    for name, cause, page in (
        (
            "corner",
            "the causal mask begins in the upper left corner, as torch's `is_causal` has it: the "
            "first new token then sees the oldest key alone",
            _CACHE_CORNER,
        ),
        ("unmasked", "there is no causal mask: new tokens see those after them", _CACHE),
        ("strict", "a new token does not see itself", _CACHE),
        ("next", "a new token sees the next one too: the diagonal is off by one", _CACHE),
        ("inverted", "the causal mask is inverted", f"{PITFALLS}/masks.html#the-mask-is-inverted"),
        ("new-first", "the new keys and values are put before the old ones", _CACHE),
        ("keys-first", "the new keys are put before the old ones, the new values after", _CACHE),
        ("values-first", "the new values are put before the old ones, the new keys after", _CACHE),
        (
            "late-value",
            "the output is made with the new values before the old ones, though they are returned "
            "after them",
            _CACHE,
        ),
        ("past-only", "the new token looks at the cache alone, not at itself", _CACHE),
        ("new-only", "the new tokens look at themselves alone: the cache is not used", _CACHE),
        ("not-updated", "the old cache is returned, without the new keys and values", _CACHE),
        (
            "forgotten",
            "only the new keys and values are returned as the cache, without the old ones",
            _CACHE,
        ),
        ("swapped", "keys and values are returned in the other order", _CACHE),
        ("same", "the keys are returned as values too", _CACHE),
        ("window", "the cache does not grow: the oldest keys are dropped", _CACHE),
    )
)
KV_CACHE_STEP = FunctionExercise(
    name="kv-cache-step",
    kind="write",
    task="Attend from new tokens to a cache and to themselves, and return the cache for the next "
    "step.",
    parameters=("query", "key", "value", "past_key", "past_value"),
    returns=("output", "keys", "values"),
    steps=("keys", "values", "output"),
    right=partial(changed_step, "zero", {}),
    groups=("with one new token", "with several new tokens", "with other sizes"),
    cases=(
        Case(0, _step_case, {"N": 2, "H": 3, "L": 1, "T": 5, "E": 4, "Ev": 6}),
        Case(0, _step_case, {"N": 2, "H": 3, "L": 1, "T": 5, "E": 4, "Ev": 4}),
        Case(1, _step_case, {"N": 2, "H": 3, "L": 3, "T": 5, "E": 4, "Ev": 6}),
        Case(1, _step_case, {"N": 2, "H": 3, "L": 3, "T": 3, "E": 4, "Ev": 4}),
        Case(1, _step_case, dict.fromkeys(_SIZES, 3)),
        Case(2, _step_case, {"N": 3, "H": 2, "L": 2, "T": 4, "E": 5, "Ev": 3}),
        Case(2, _step_case, {"N": 1, "H": 1, "L": 1, "T": 1, "E": 2, "Ev": 2}),
    ),
    mistakes=from_options(
        (
            *_CACHE_MISTAKES,
            *WEAK_MASKS,
            *SCALES,
            *FIXED_SCALES,
            *HEAD_SCALES,
            LATE_SCALE,
            *SOFTMAXES,
            SOFTMAX_HEADS,
            *MIXINGS,
            *SCORINGS,
        ),
        changed_step,
    ),
    page=_CACHE,
)
REPAIR_CACHE = FunctionExercise(
    name="repair-cache",
    kind="repair",
    task="Repair a step with a KV cache.",
    parameters=KV_CACHE_STEP.parameters,
    returns=KV_CACHE_STEP.returns,
    steps=KV_CACHE_STEP.steps,
    right=KV_CACHE_STEP.right,
    groups=KV_CACHE_STEP.groups,
    cases=KV_CACHE_STEP.cases,
    mistakes=KV_CACHE_STEP.mistakes,
    page=_CACHE,
)
