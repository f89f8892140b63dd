"""Exercise: sinusoidal positions."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from attn_examples.exercises.spec import TOLERANCE, Case, Draw, FunctionExercise, Mistake, Sizes

__all__: list[str] = []

_DERIVED = "formulas/positional-encoding.html#the-formula-derived"


def changed_positions(how: str, length: int, embed_dim: int) -> Tensor:
    """Sinusoidal positions, right for `how` "" and wrong in a known way for others."""
    positions = torch.arange(length, dtype=torch.float64, device="cpu").unsqueeze(-1)
    pairs = torch.arange(0, embed_dim, 2, dtype=torch.float64, device="cpu")
    base, exponents = 1e4, pairs / embed_dim
    if how == "from-1":
        positions = positions + 1
    elif how == "halved":
        exponents = exponents / 2
    elif how == "doubled":
        exponents = 2 * exponents
    elif how == "last":
        exponents = pairs / max(embed_dim - 2, 1)
    elif how == "negative":
        exponents = -exponents
    elif how == "one-frequency":
        exponents = 0 * exponents
    elif how == "base-1000":
        base = 1e3
    elif how == "base-e":
        base = 2.718281828459045
    elif how == "turns":
        positions = 2 * torch.pi * positions
    if how == "each":  # every number has an exponent of its own
        every = torch.arange(embed_dim, dtype=torch.float64, device="cpu") / embed_dim
        angles = positions / base**every
        even = torch.arange(embed_dim, device="cpu") % 2 == 0
        return torch.where(even, angles.sin(), angles.cos())
    angles = positions / base**exponents
    parts = (angles.sin(), angles.cos())
    if how == "half-split":
        return torch.cat(parts, -1)
    if how == "half-split-swapped":
        return torch.cat(parts[::-1], -1)
    if how == "swapped":
        parts = parts[::-1]
    elif how == "sines":
        parts = (parts[0], parts[0])
    table = torch.stack(parts, -1).flatten(-2)
    return table.mT if how == "transposed" else table


def _table_case(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return sizes["L"], 2 * sizes["pairs"]


SINUSOIDAL_POSITIONS = FunctionExercise(
    name="sinusoidal-positions",
    kind="write",
    task="Write the sinusoidal table of positions, sine and cosine in turn.",
    parameters=("length", "embed_dim"),
    returns=("table",),
    right=partial(changed_positions, ""),
    groups=("with length 5 and width 12", "with other sizes"),
    cases=(
        Case(0, _table_case, {"L": 5, "pairs": 6}),
        Case(1, _table_case, {"L": 12, "pairs": 4}),
        Case(1, _table_case, {"L": 7, "pairs": 8}),
        Case(1, _table_case, {"L": 200, "pairs": 4}),  # far enough for a base of 9999 to show
        Case(1, _table_case, {"L": 3, "pairs": 1}),
        Case(1, _table_case, {"L": 1, "pairs": 2}),
    ),
    mistakes=tuple(
        Mistake(
            f"positions-{how}",
            cause,
            partial(changed_positions, how),
            _DERIVED,
            # float32 rounds angles of ten thousands, and so does each way to compute them
            0.05 if how in ("negative", "turns") else TOLERANCE,
        )
        for how, cause in (
            ("half-split", "all sines come first and then all cosines; they take turns"),
            ("half-split-swapped", "all cosines come first and then all sines; they take turns"),
            ("swapped", "cosine comes before sine in each pair"),
            ("sines", "both numbers of a pair are sines"),
            ("from-1", "positions are counted from 1, not from 0"),
            ("halved", "the exponent counts pairs, i / embed_dim, where it is 2 i / embed_dim"),
            ("doubled", "the factor 2 of the exponent is counted twice"),
            ("each", "sine and cosine of a pair have different frequencies; they share one"),
            ("last", "the exponents reach 1 at the last pair: they are divided by embed_dim - 2"),
            ("negative", "the sign of the exponent is turned: the angles grow with the pair"),
            ("one-frequency", "all pairs have the same frequency"),
            ("base-1000", "the base is 1000, not 10000"),
            ("base-e", "the base is e: a logarithm of 10000 is missing"),
            ("turns", "the angles are multiplied by 2 pi"),
            ("transposed", "the table is transposed: its rows are positions"),
        )
    ),
    page=_DERIVED,
    differentiable=False,
)
