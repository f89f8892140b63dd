"""Exercise: a softmax that survives a row with nothing allowed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from attn_examples.exercises.compare import PITFALLS
from attn_examples.exercises.spec import Case, Draw, FunctionExercise, Mistake, Sizes, Trap
from attn_examples.exercises.variations import INFINITY, NOTHING_DIVIDED, SOFTMAX_PAGE, safe_softmax

__all__: list[str] = []

_MASKED = "formulas/masks.html#a-row-with-nothing-allowed"


def _scores(dim: int, draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return draw.normal(sizes["N"], sizes["L"], sizes["S"]), dim


def _many_dims(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return draw.normal(sizes["N"], sizes["H"], sizes["L"], sizes["S"]), -1


def _one_dim(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return draw.normal(sizes["S"]), 0


def _some_masked(dim: int, draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    scores = draw.normal(sizes["N"], sizes["L"], sizes["S"])
    forbidden = draw.integers(0, 2, *scores.shape).bool()
    allowed = (torch.arange(scores.shape[dim], device="cpu") == 0).view(
        [-1 if d == dim % 3 else 1 for d in range(3)]
    )
    return scores.masked_fill(forbidden & ~allowed, -INFINITY), dim


def _all_masked(dim: int, draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    scores, _ = _some_masked(dim, draw, sizes)
    scores.movedim(dim, -1)[0, 0] = -INFINITY
    return scores, dim


def _large(sign: float, draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return draw.normal(sizes["L"], sizes["S"]) + sign * 200.0, -1


def _apart(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    rows = torch.arange(sizes["L"], device="cpu").unsqueeze(-1)
    return draw.normal(sizes["L"], sizes["S"]) + 200.0 * rows, -1


def _less_the_largest(replaced: float, scores: Tensor, dim: int) -> Tensor:
    powers = (scores - scores.max()).float().exp()
    return (powers / powers.sum(dim, keepdim=True)).nan_to_num(replaced)


def _plain(scores: Tensor, dim: int) -> Tensor:
    return scores.exp() / scores.exp().sum(dim, keepdim=True)


def _in_dim(other: Callable[[Tensor, int], int], scores: Tensor, dim: int) -> Tensor:
    return safe_softmax(scores, other(scores, dim))


def _in_dim_plain(other: Callable[[Tensor, int], int], scores: Tensor, dim: int) -> Tensor:
    return scores.softmax(other(scores, dim))


def _other_dims() -> tuple[Mistake, ...]:
    page = f"{PITFALLS}/weights-and-heads.html#softmax-over-the-wrong-dimension"
    others: tuple[tuple[str, str, Callable[[Tensor, int], int]], ...] = (
        (
            "dim-last",
            "`dim` is ignored and the softmax runs over the last dimension",
            lambda s, d: -1,
        ),
        (
            "dim-first",
            "`dim` is ignored and the softmax runs over the first dimension",
            lambda s, d: 0,
        ),
        (
            "dim-second",
            "`dim` is ignored and the softmax runs over dimension 1",
            lambda s, d: 1 if s.dim() > 1 else 0,
        ),
        (
            "dim-guessed",
            "the softmax has no `dim`: torch guesses one",
            lambda s, d: 0 if s.dim() in (0, 1, 3) else 1,
        ),
        (
            "dim-before",
            "the softmax runs over the dimension before `dim`",
            lambda s, d: (d - 1) % s.dim(),
        ),
        (
            "dim-after",
            "the softmax runs over the dimension after `dim`",
            lambda s, d: (d + 1) % s.dim(),
        ),
        (
            "dim-backwards",
            "dimensions are counted from the wrong end",
            lambda s, d: -1 - (d % s.dim()),
        ),
        (
            "dim-queries",
            "`dim` is ignored and the softmax runs over dim=-2",
            lambda s, d: -min(2, s.dim()),
        ),
    )
    return tuple(
        Mistake(name, cause, partial(make, other), page)
        for name, cause, other in others
        for make in (_in_dim, _in_dim_plain)
    )


def _shifted(scores: Tensor, dim: int) -> Tensor:
    return scores - scores.amax(dim, keepdim=True)


MISTAKES = (
    *_other_dims(),
    Mistake(
        "softmax-all",
        "one softmax runs over all numbers together",
        lambda s, d: s.flatten().softmax(0).view_as(s),
        f"{PITFALLS}/weights-and-heads.html#softmax-over-the-wrong-dimension",
    ),
    Mistake(
        "softmax-twice",
        "the softmax is applied twice",
        lambda s, d: s.softmax(d).softmax(d),
        f"{SOFTMAX_PAGE}#smallest-example",
    ),
    Mistake(
        "softmax-exp",
        "the exponentials are not divided by their sum",
        lambda s, d: s.exp(),
        f"{SOFTMAX_PAGE}#the-formula-derived",
    ),
    Mistake(
        "softmax-exp",
        "the exponentials are not divided by their sum",
        lambda s, d: _shifted(s, d).exp(),
        f"{SOFTMAX_PAGE}#the-formula-derived",
    ),
    Mistake(
        "softmax-exp",
        "the exponentials are not divided by their sum",
        lambda s, d: (s - s.max()).exp(),
        f"{SOFTMAX_PAGE}#the-formula-derived",
    ),
    Mistake(
        "softmax-sum",
        "the scores are divided by their sum without the exponential",
        lambda s, d: s / s.sum(d, keepdim=True),
        f"{SOFTMAX_PAGE}#the-formula-derived",
    ),
    Mistake(
        "softmax-total",
        "the exponentials are divided by the sum of all of them, not of their own row",
        lambda s, d: s.exp() / s.exp().sum(),
        f"{SOFTMAX_PAGE}#the-formula-derived",
    ),
    Mistake(
        "softmax-total",
        "the exponentials are divided by the sum of all of them, not of their own row",
        lambda s, d: _shifted(s, d).exp() / _shifted(s, d).exp().sum(),
        f"{SOFTMAX_PAGE}#the-formula-derived",
    ),
    Mistake(
        "softmax-largest",
        "the exponentials are divided by the largest of them, not by their sum",
        lambda s, d: s.exp() / s.exp().amax(d, keepdim=True),
        f"{SOFTMAX_PAGE}#the-formula-derived",
    ),
    Mistake(
        "softmax-mean",
        "the exponentials are divided by their mean, not by their sum",
        lambda s, d: s.exp() / s.exp().mean(d, keepdim=True),
        f"{SOFTMAX_PAGE}#the-formula-derived",
    ),
    Mistake(
        "softmax-none",
        "the scores are returned as they came",
        lambda s, d: s,
        f"{SOFTMAX_PAGE}#smallest-example",
    ),
    Mistake(
        "softmax-sigmoid",
        "a sigmoid stands in place of the softmax",
        lambda s, d: s.sigmoid(),
        f"{SOFTMAX_PAGE}#smallest-example",
    ),
    Mistake(
        "softmax-log",
        "log_softmax stands in place of softmax",
        lambda s, d: s.log_softmax(d),
        f"{SOFTMAX_PAGE}#smallest-example",
    ),
    Mistake(
        "softmax-negative",
        "the sign of the scores is turned: the smallest gets the most",
        lambda s, d: (-s).softmax(d),
        f"{SOFTMAX_PAGE}#smallest-example",
    ),
    Mistake(
        "softmax-base",
        "powers of 2 stand in place of powers of e",
        lambda s, d: (s * 0.6931471805599453).softmax(d),
        f"{SOFTMAX_PAGE}#the-formula-derived",
    ),
    Mistake(
        "softmax-positive",
        "negative scores are cut off at 0 first",
        lambda s, d: s.relu().softmax(d),
        f"{SOFTMAX_PAGE}#smallest-example",
    ),
)


def _filled(number: float, scores: Tensor, dim: int) -> Tensor:
    return scores.masked_fill(scores == -INFINITY, number).softmax(dim)


_SOFTMAX_SIZES = {"N": 2, "L": 5, "S": 7}
_TRAPS = (
    Trap(
        "With scores that are large, your softmax fails.",
        partial(_large, 1.0),
        {"L": 2, "S": 3},
        (
            Mistake(
                "overflow",
                "the exponential is taken of large scores: it overflows; subtract the largest "
                "score of each row first",
                lambda s, d: _plain(s.float(), d),
                f"{SOFTMAX_PAGE}#overflow-and-the-way-around-it",
            ),
        ),
        f"{SOFTMAX_PAGE}#overflow-and-the-way-around-it",
    ),
    Trap(
        "With scores far below 0, your softmax fails.",
        partial(_large, -1.0),
        {"L": 2, "S": 3},
        (
            Mistake(
                "underflow",
                "all exponentials are rounded to 0, and so is their sum; subtract the largest "
                "score of each row first",
                lambda s, d: _plain(s.float(), d),
                f"{SOFTMAX_PAGE}#overflow-and-the-way-around-it",
            ),
            Mistake(
                "underflow",
                "all exponentials are rounded to 0, and so is their sum; subtract the largest "
                "score of each row first",
                lambda s, d: _plain(s.float(), d).nan_to_num(0.0),
                f"{SOFTMAX_PAGE}#overflow-and-the-way-around-it",
            ),
        ),
        f"{SOFTMAX_PAGE}#overflow-and-the-way-around-it",
    ),
    Trap(
        "Where rows lie hundreds apart, your softmax fails: subtract the largest score of "
        "each row.",
        _apart,
        {"L": 2, "S": 3},
        tuple(
            Mistake(
                "global-largest",
                "the largest score of all is subtracted, so that the exponentials of the other "
                "rows are rounded to 0",
                partial(_less_the_largest, replaced),
                f"{SOFTMAX_PAGE}#overflow-and-the-way-around-it",
            )
            for replaced in (float("nan"), 0.0)
        ),
        f"{SOFTMAX_PAGE}#overflow-and-the-way-around-it",
    ),
    Trap(
        "Where some scores are -inf, your softmax fails.",
        partial(_some_masked, -1),
        _SOFTMAX_SIZES,
        (),
        _MASKED,
    ),
    *(
        Trap(
            "Where a whole row is -inf, your softmax fails: nothing may be looked at, so all "
            "weights should be 0.",
            partial(_all_masked, dim),
            _SOFTMAX_SIZES,
            (
                Mistake(
                    "masked-row-nan",
                    NOTHING_DIVIDED,
                    lambda s, d: s.softmax(d),
                    f"{PITFALLS}/empty-rows-and-corners.html#every-key-of-a-row-is-masked",
                ),
                Mistake(
                    "masked-row-even",
                    "-inf is turned into a large finite number: where all are equal, all get the "
                    "same weight",
                    partial(_filled, -1e9),
                    f"{PITFALLS}/empty-rows-and-corners.html#a-large-negative-number-for-minus-infinity",
                ),
                Mistake(
                    "masked-everything-nan",
                    "the largest score of everything is subtracted or NaN reaches other rows",
                    lambda s, d: torch.full_like(s, float("nan")),
                    _MASKED,
                ),
            ),
            _MASKED,
        )
        for dim in (-1, 0)
    ),
)

SOFTMAX = FunctionExercise(
    name="softmax",
    kind="write",
    task="Write a softmax over any dimension that gives 0, not NaN, where all scores are -inf, "
    "and gradients without NaN.",
    parameters=("scores", "dim"),
    returns=("weights",),
    right=safe_softmax,
    groups=("with three dimensions", "with another number of dimensions"),
    cases=(
        *(Case(0, partial(_scores, dim), _SOFTMAX_SIZES) for dim in (-1, 0, 1, 2, -2, -3)),
        Case(0, partial(_scores, 1), {"N": 4, "L": 4, "S": 4}),
        Case(1, _many_dims, {"N": 2, "H": 3, "L": 5, "S": 4}),
        Case(1, _many_dims, {"N": 1, "H": 1, "L": 1, "S": 1}),
        Case(1, _one_dim, {"S": 6}),
    ),
    mistakes=MISTAKES,
    page=f"{SOFTMAX_PAGE}#the-formula-derived",
    traps=_TRAPS,
    finite_gradients=True,
)
