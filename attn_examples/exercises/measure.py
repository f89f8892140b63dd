"""Exercises: measure it."""

from __future__ import annotations

from functools import partial

import torch

from attn_examples.exercises.answers import read_measured, read_tables
from attn_examples.exercises.spec import ValueExercise, WrongValue

__all__: list[str] = []

_WHY = "formulas/softmax-and-scale.html#why-the-square-root-of-head-dim"
_COST = "formulas/cost.html#the-formula"
_WIDTHS = (4, 16, 64)
_LENGTHS = (128, 256, 512)
_DEPENDS = "concepts/why-attention.html#far-back"

MEASURE_VARIANCE = ValueExercise(
    name="measure-variance",
    kind="measure",
    task="Draw queries and keys of independent numbers with mean 0 and variance 1. Measure the "
    "variance of their unscaled dot product for head_dim 4, 16 and 64.",
    form="a dict, such as {4: 0.1, 16: 0.2, 64: 0.3}",
    right=lambda: [4.0, 16.0, 64.0],
    read=partial(read_measured, _WIDTHS),
    wrong=lambda: (
        WrongValue("deviation", [2.0, 4.0, 8.0], "the standard deviation: the variance is its "
                   "square", _WHY),
        WrongValue("scaled", [1.0, 1.0, 1.0], "the variance of the scores that are divided by the "
                   "square root of head_dim already", _WHY),
        WrongValue("products", [1.0, 1.0, 1.0], "the variance of the single products, which are "
                   "not yet added up", _WHY),
        WrongValue("mean", [0.0, 0.0, 0.0], "the mean of the dot products, or the variance "
                   "of their mean", _WHY),
        WrongValue("uniform", [4 / 144, 16 / 144, 64 / 144], "the variance for numbers of "
                   "`torch.rand` less their mean, with variance 1/12", _WHY),
        WrongValue("rand", [4 * 7 / 144, 16 * 7 / 144, 64 * 7 / 144], "the variance for numbers "
                   "drawn with `torch.rand`, from 0 to 1; draw them with `torch.randn`", _WHY),
        WrongValue("squared", [16.0, 256.0, 4096.0], "the square of the variance", _WHY),
        WrongValue("self", [8.0, 32.0, 128.0], "the variance of q . q: draw the keys anew", _WHY),
        WrongValue("halved", [0.25, 1 / 16, 1 / 64], "the variance of the scores divided by "
                   "head_dim and not by its square root", _WHY),
    ),
    page=_WHY,
    tolerance=0.15,
    praise="The variance is head_dim, so the square root of head_dim brings it back to 1.",
    near="The number of pairs decides how near a measurement comes: draw more, such as 100000.",
)  # fmt: skip


def _pairs(factor: float, power: int = 2) -> list[float]:
    return [factor * length**power for length in _LENGTHS]


MEASURE_COST = ValueExercise(
    name="measure-cost",
    kind="measure",
    task="Batch 2 and 3 heads: count the weights that self-attention computes at length 128, 256 "
    "and 512.",
    form="a dict, such as {128: 1, 256: 2, 512: 3}",
    right=lambda: _pairs(6),
    read=partial(read_measured, _LENGTHS),
    wrong=lambda: (
        WrongValue("one-map", _pairs(1), "the count of one map: there is one for each sequence and "
                   "head", _COST),
        WrongValue("no-batch", _pairs(3), "the count for one sequence", _COST),
        WrongValue("no-heads", _pairs(2), "the count with one head for each sequence, as when the "
                   "weights are averaged over heads",
                   "concepts/pitfalls/weights-and-heads.html#weights-averaged-over-heads"),
        WrongValue("linear", _pairs(6, 1), "one number for each query: each query has a weight for "
                   "every key", _COST),
        WrongValue("length", _pairs(1, 1), "the length alone", _COST),
        WrongValue("causal", [3 * n * (n + 1) for n in _LENGTHS], "the count of those that a "
                   "causal mask allows: all of them are computed", _COST),
        WrongValue("bytes", _pairs(24), "their size in float32, in bytes: count the "
                   "weights", _COST),
        WrongValue("embed-dim", _pairs(24), "the count with embed_dim, if that is 12, in place of "
                   "the 3 heads", _COST),
        WrongValue("embed-dim-alone", _pairs(12), "the count with embed_dim, if that is 12, and "
                   "one sequence; or each weight counted twice", _COST),
    ),
    page=_COST,
    tolerance=1e-9,
    praise="Twice the length, four times the weights.",
)  # fmt: skip


def _table(diagonals: str) -> list[list[int]]:
    ones = torch.ones(6, 6, dtype=torch.long, device="cpu")
    made = {
        "all": ones,
        "past": ones.tril(),
        "future": ones.triu(),
        "before": ones.tril(-1),
        "own": ones.tril().triu(),
        "none": 0 * ones,
    }
    rows: list[list[int]] = made[diagonals].tolist()
    return rows


MEASURE_DEPENDENCE = ValueExercise(
    name="measure-dependence",
    kind="measure",
    task="6 positions through `nn.RNN` and through self-attention without a mask: which output "
    "(row) changes with which input (column)?",
    form='a dict {"rnn": table, "self-attention": table}, 6 by 6 zeros and ones each',
    right=lambda: [_table("past"), _table("all")],
    read=partial(read_tables, ("rnn", "self-attention"), 6),
    wrong=lambda: tuple(
        WrongValue(name, [_table(rnn), _table(attention)], cause, _DEPENDS)
        for name, rnn, attention, cause in (
            ("transposed", "future", "all", "the RNN's table transposed: rows are outputs"),
            ("exchanged", "all", "past", "the two tables exchanged"),
            ("all", "all", "all", "an RNN that sees the future, as a bidirectional one does"),
            ("causal", "past", "past", "self-attention under a causal mask: leave the mask out"),
            ("own", "own", "all", "an RNN that forgets: its output depends on earlier inputs too"),
            ("own-attention", "past", "own", "self-attention that looks at itself alone"),
            ("strict", "before", "all", "an RNN whose output does not see its own input"),
            (
                "batch",
                "own",
                "all",
                "an RNN that takes the positions for a batch: pass `batch_first=True`, or the "
                "positions first",
            ),
            ("nothing", "none", "none", "nothing changed: the changed input was not used"),
        )
    ),
    page=_DEPENDS,
    praise="An RNN reads in order; self-attention without a mask sees everything at once.",
)
