"""Exercises: write the three masks, True where attention is allowed."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from attn_examples.exercises.compare import PITFALLS
from attn_examples.exercises.spec import Case, Draw, FunctionExercise, Mistake, Sizes

__all__: list[str] = []

_CAUSAL = "types/masks/causal.html#formula"
_CORNER = f"{PITFALLS}/empty-rows-and-corners.html#causal-but-from-the-wrong-corner"
_INVERTED = f"{PITFALLS}/masks.html#the-mask-is-inverted"
_FORMULA = "formulas/masks.html#three-masks-and-their-combinations"
_AXIS = "formulas/masks-of-batches.html#the-right-axis"


def ahead(L: int, S: int) -> Tensor:
    """How far key j lies ahead of query i, the last query at the last key: (L, S)."""
    positions = torch.arange(L, device="cpu").unsqueeze(-1) + (S - L)
    return torch.arange(S, device="cpu") - positions


def ahead_upper(L: int, S: int) -> Tensor:
    """How far key j lies ahead of query i, the first query at the first key: (L, S)."""
    return torch.arange(S, device="cpu") - torch.arange(L, device="cpu").unsqueeze(-1)


def _square(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return sizes["L"], sizes["L"]


def _more_keys(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return sizes["L"], sizes["L"] + sizes["more"]


def _more_queries(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return sizes["S"] + sizes["more"], sizes["S"]


_LENGTH_GROUPS = ("with as many queries as keys", "where L and S differ")
_LENGTH_CASES = (
    Case(0, _square, {"L": 5}),
    Case(0, _square, {"L": 8}),
    Case(0, _square, {"L": 1}),
    Case(1, _more_keys, {"L": 5, "more": 2}),
    Case(1, _more_keys, {"L": 1, "more": 6}),
    Case(1, _more_queries, {"S": 5, "more": 2}),
)

CAUSAL_MASK = FunctionExercise(
    name="causal-mask",
    kind="write",
    task="Let each query see its own position and those before it; the last query is the last "
    "key's position.",
    parameters=("L", "S"),
    returns=("mask",),
    right=lambda L, S: ahead(L, S) <= 0,
    groups=_LENGTH_GROUPS,
    cases=_LENGTH_CASES,
    mistakes=(
        Mistake(
            "mask-inverted",
            "the mask is inverted: what is True should be False, for True means allowed",
            lambda L, S: ahead(L, S) > 0,
            _INVERTED,
        ),
        Mistake(
            "mask-inverted-corner",
            "the mask is inverted, and its diagonal begins in the upper left corner",
            lambda L, S: ahead_upper(L, S) > 0,
            _INVERTED,
        ),
        Mistake(
            "mask-corner",
            "the diagonal begins in the upper left corner, so that the first query is the first "
            "key's position, as torch's `is_causal` has it",
            lambda L, S: ahead_upper(L, S) <= 0,
            _CORNER,
        ),
        Mistake(
            "mask-strict",
            "the diagonal is off by one: a query does not see its own position",
            lambda L, S: ahead(L, S) < 0,
            _CAUSAL,
        ),
        Mistake(
            "mask-next",
            "the diagonal is off by one the other way: a query sees the next position too",
            lambda L, S: ahead(L, S) <= 1,
            _CAUSAL,
        ),
        Mistake(
            "mask-strict-corner",
            "the diagonal is off by one, so that a query does not see its own position, and "
            "begins in the upper left corner",
            lambda L, S: ahead_upper(L, S) < 0,
            _CORNER,
        ),
        Mistake(
            "mask-next-corner",
            "the diagonal is off by one, so that a query sees the next position, and begins in "
            "the upper left corner",
            lambda L, S: ahead_upper(L, S) <= 1,
            _CORNER,
        ),
        Mistake(
            "mask-upper",
            "the upper triangle is taken, not the lower one: each query sees itself and what "
            "comes after it",
            lambda L, S: ahead(L, S) >= 0,
            _CAUSAL,
        ),
        Mistake(
            "mask-upper",
            "the upper triangle is taken, not the lower one: each query sees itself and what "
            "comes after it",
            lambda L, S: ahead_upper(L, S) >= 0,
            _CAUSAL,
        ),
        Mistake(
            "mask-sign",
            "the offset between the corners has the wrong sign: it is S - L",
            lambda L, S: ahead_upper(L, S) <= L - S,
            _CORNER,
        ),
        Mistake(
            "mask-clamped",
            "the offset S - L is cut off at 0: that fails where there are more queries than keys",
            lambda L, S: ahead_upper(L, S) <= max(S - L, 0),
            _CORNER,
        ),
        Mistake(
            "mask-shape",
            "the shape is (S, L): the rows belong to the queries",
            lambda L, S: ahead(S, L) <= 0,
            _AXIS,
        ),
        Mistake(
            "mask-shape",
            "the shape is (S, L): the rows belong to the queries",
            lambda L, S: ahead_upper(S, L) <= 0,
            _AXIS,
        ),
        Mistake(
            "mask-shape",
            "the shape is (S, L): the rows belong to the queries",
            lambda L, S: ahead_upper(S, L) <= S - L,
            _AXIS,
        ),
        Mistake(
            "mask-square",
            "the mask is square, (L, L): its columns belong to the S keys",
            lambda L, S: ahead(L, L) <= 0,
            _AXIS,
        ),
        Mistake(
            "mask-all",
            "every key is allowed",
            lambda L, S: torch.ones(L, S, dtype=torch.bool, device="cpu"),
            _CAUSAL,
        ),
    ),
    page=_CAUSAL,
    dtype="bool",
    differentiable=False,
)


def _windowed(case: Case, draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    rest = {letter: size for letter, size in sizes.items() if letter != "window"}
    return *case.make(draw, rest), sizes["window"]


WINDOW_MASK = FunctionExercise(
    name="window-mask",
    kind="write",
    task="Let each query see the last `window` positions, its own included.",
    parameters=("L", "S", "window"),
    returns=("mask",),
    right=lambda L, S, w: (ahead(L, S) <= 0) & (ahead(L, S) > -w),
    groups=_LENGTH_GROUPS,
    cases=tuple(
        Case(case.group, partial(_windowed, case), case.sizes | {"window": window})
        for case in _LENGTH_CASES
        for window in (3, 1)
    ),
    mistakes=(
        Mistake(
            "window-more",
            "the window is one too long: `window` counts the query's own position",
            lambda L, S, w: (ahead(L, S) <= 0) & (ahead(L, S) >= -w),
            _FORMULA,
        ),
        Mistake(
            "window-less",
            "the window is one too short: `window` counts the query's own position",
            lambda L, S, w: (ahead(L, S) <= 0) & (ahead(L, S) > 1 - w),
            _FORMULA,
        ),
        Mistake(
            "window-strict",
            "a query does not see its own position",
            lambda L, S, w: (ahead(L, S) < 0) & (ahead(L, S) >= -w),
            _FORMULA,
        ),
        Mistake(
            "window-strict",
            "a query does not see its own position",
            lambda L, S, w: (ahead(L, S) < 0) & (ahead(L, S) > -w),
            _FORMULA,
        ),
        Mistake(
            "window-both",
            "the window reaches to both sides: nothing after the query may be seen",
            lambda L, S, w: ahead(L, S).abs() < w,
            _FORMULA,
        ),
        Mistake(
            "window-both",
            "the window reaches to both sides: nothing after the query may be seen",
            lambda L, S, w: ahead(L, S).abs() <= w,
            _FORMULA,
        ),
        Mistake(
            "window-not-causal",
            "keys are hidden that are too old, but not those that come after the query",
            lambda L, S, w: ahead(L, S) > -w,
            _FORMULA,
        ),
        Mistake(
            "window-ignored",
            "the mask is causal, and `window` is ignored",
            lambda L, S, w: ahead(L, S) <= 0,
            _FORMULA,
        ),
        Mistake(
            "mask-inverted",
            "the mask is inverted: what is True should be False, for True means allowed",
            lambda L, S, w: (ahead(L, S) > 0) | (ahead(L, S) <= -w),
            _INVERTED,
        ),
        Mistake(
            "mask-corner",
            "the diagonal begins in the upper left corner: the last query is the last key's "
            "position",
            lambda L, S, w: (ahead_upper(L, S) <= 0) & (ahead_upper(L, S) > -w),
            _CORNER,
        ),
        Mistake(
            "window-corner",
            "the window is counted from the upper left corner, though the causal diagonal is not",
            lambda L, S, w: (ahead(L, S) <= 0) & (ahead_upper(L, S) > -w),
            _CORNER,
        ),
        Mistake(
            "mask-corner-window",
            "the causal diagonal begins in the upper left corner, though the window does not",
            lambda L, S, w: (ahead_upper(L, S) <= 0) & (ahead(L, S) > -w),
            _CORNER,
        ),
        Mistake(
            "mask-clamped",
            "the offset S - L is cut off at 0: that fails where there are more queries than keys",
            lambda L, S, w: (
                (ahead_upper(L, S) <= max(S - L, 0)) & (ahead_upper(L, S) > max(S - L, 0) - w)
            ),
            _CORNER,
        ),
        Mistake(
            "window-forward",
            "the window reaches forward, not back",
            lambda L, S, w: (ahead(L, S) >= 0) & (ahead(L, S) < w),
            _FORMULA,
        ),
        Mistake(
            "window-or",
            "the two conditions are joined with `|` and not with `&`",
            lambda L, S, w: torch.ones(L, S, dtype=torch.bool, device="cpu"),
            _FORMULA,
        ),
    ),
    page=_FORMULA,
    dtype="bool",
    differentiable=False,
)


def _lengths(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    lengths = draw.integers(1, sizes["S"] + 1, sizes["N"])
    lengths[0] = max(1, sizes["S"] - 2)
    return lengths, sizes["S"]


def _padded(lengths: Tensor, S: int) -> Tensor:
    return torch.arange(S, device="cpu") < lengths[:, None, None]


PADDING_MASK = FunctionExercise(
    name="padding-mask",
    kind="write",
    task="Hide the padding at the end of each sequence of a batch.",
    parameters=("lengths", "S"),
    returns=("mask",),
    right=_padded,
    groups=("with batch 2 and 7 keys", "with other sizes"),
    cases=(
        *(Case(0, _lengths, {"N": 2, "S": 7}) for _ in range(4)),
        Case(1, _lengths, {"N": 3, "S": 5}),
        Case(1, _lengths, {"N": 5, "S": 5}),
        Case(1, _lengths, {"N": 1, "S": 4}),
    ),
    mistakes=(
        Mistake(
            "mask-inverted",
            "the mask is inverted: what is True should be False, for True means allowed",
            lambda n, S: ~_padded(n, S),
            _INVERTED,
        ),
        Mistake(
            "padding-more",
            "it is off by one: a position of the padding is seen",
            lambda n, S: _padded(n + 1, S),
            _FORMULA,
        ),
        Mistake(
            "padding-less",
            "it is off by one: the last token is hidden",
            lambda n, S: _padded(n - 1, S),
            _FORMULA,
        ),
        Mistake(
            "padding-shape",
            "the dimension of the queries is missing, (N, S): against scores (N, L, S) the batch "
            "would meet the queries",
            lambda n, S: _padded(n, S).squeeze(1),
            _AXIS,
        ),
        Mistake(
            "padding-queries",
            "the mask has shape (N, S, 1) and hides queries, not keys",
            lambda n, S: _padded(n, S).mT,
            _AXIS,
        ),
        Mistake(
            "padding-batch",
            "the batch stands in the place of the queries, (1, N, S)",
            lambda n, S: _padded(n, S).transpose(0, 1),
            _AXIS,
        ),
        Mistake(
            "padding-heads",
            "there is a dimension too many, (N, 1, 1, S)",
            lambda n, S: _padded(n, S).unsqueeze(1),
            _AXIS,
        ),
        Mistake(
            "padding-full",
            "the mask is repeated for each key, (N, S, S): a 1 stands for any number of queries",
            lambda n, S: _padded(n, S).expand(-1, S, -1),
            _AXIS,
        ),
        Mistake(
            "padding-both",
            "the mask hides queries as well as keys, (N, S, S)",
            lambda n, S: _padded(n, S) & _padded(n, S).mT,
            _AXIS,
        ),
        Mistake(
            "padding-left",
            "the padding is taken to be at the beginning",
            lambda n, S: _padded(n, S).flip(-1),
            _FORMULA,
        ),
        Mistake(
            "padding-first",
            "the length of the first sequence is used for all",
            lambda n, S: _padded(n[:1].expand(len(n)), S),
            _FORMULA,
        ),
        Mistake(
            "padding-longest",
            "the length of the longest sequence is used for all",
            lambda n, S: _padded(n.max().expand(len(n)), S),
            _FORMULA,
        ),
        Mistake(
            "padding-transposed",
            "the shape is (S, 1, N): batch and keys are swapped",
            lambda n, S: _padded(n, S).transpose(0, 2),
            _AXIS,
        ),
    ),
    page=_FORMULA,
    dtype="bool",
    differentiable=False,
)
