"""Positions as hands of clocks: added to a token, or turning a query and a key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from attn_examples.checks import (
    check_count,
    check_float,
    check_kind,
    check_place,
    positive,
    shape_of,
)
from attn_examples.figures.moving.element import (
    Moving,
    box,
    choice,
    controls,
    drawing,
    menu,
    slider,
    table,
)
from attn_examples.figures.style import INK, new_figure
from attn_examples.positions import sinusoidal

__all__ = ["turn_positions"]

KINDS = {"sinusoidal": "added", "rotary": "turned"}
TOKENS = ("none: hands start up", "one token twice", "two tokens")
TEAL, ORANGE = "#21918c", "#d55e00"


def turn_positions(
    head_dim: int = 16,
    *,
    length: int = 41,
    base: float = 10000.0,
    kind: str = "sinusoidal",
    places: tuple[int, int] = (24, 18),
    query: Tensor | None = None,
    key: Tensor | None = None,
) -> Moving:
    """Show positions as hands of clocks, and the score against the distance.

    Sinusoidal positions are added to a token; rotary positions turn a query and a key.
    Query and key can be moved, alone or together. Where the positions are turned, the
    score of a query and a key depends on their distance alone; where they are added to
    content, also on where the two stand. Nothing is projected: the tokens themselves are
    query and key.

    Parameters
    ----------
    head_dim : int, default 16
        Width of query and key, E, an even number: two for each hand. At most 128.
    length : int, default 41
        Number of positions, from 2 to 128.
    base : float, default 10000
        Hand r turns by `base**(-2 * r / E)` radians a step. It can be moved to other
        powers of ten.
    kind : {"sinusoidal", "rotary"}, default "sinusoidal"
        What is shown first.
    places : tuple of two int, default (24, 18)
        Where query and key stand first.
    query, key : Tensor, shape (head_dim,), optional
        The content of the two tokens; by default made up.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If `head_dim` is odd, a size, a place or the base is out of range, `kind` is
        another word, or a token is not as wide as `head_dim`.
    TypeError
        If an argument is not of its kind.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.5; Su et
    al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021,
    arXiv:2104.09864.

    Examples
    --------
    >>> from attn_examples.figures import turn_positions
    >>> turn_positions(8, kind="rotary", places=(5, 2)).data["places"]
    [5, 2]
    """
    check_count("head_dim", head_dim)
    if head_dim % 2 or head_dim > 128:
        raise ValueError(
            f"head_dim ({head_dim}) must be even and at most 128: two numbers for each "
            "hand"
        )
    check_count("length", length, least=2)
    if length > 128:
        raise ValueError(f"length ({length}) must be at most 128")
    base = positive("base", base)
    if base < 1:
        raise ValueError(f"base ({base}) must be at least 1: hand 0 is the fastest")
    if kind not in KINDS:
        raise ValueError(f"kind ({kind!r}) must be one of {', '.join(KINDS)}")
    check_kind("places", places, Sequence, "a pair of whole numbers")
    if len(places) != 2:
        raise ValueError(
            f"places has {len(places)} numbers but must have 2, of query and key"
        )
    for at, place in enumerate(places):
        check_place(f"places[{at}]", place, length)
    made = _made_up(head_dim)
    q = made[0] if query is None else _token("query", query, head_dim)
    k = made[1] if key is None else _token("key", key, head_dim)

    bases = sorted({base, *(10.0**power for power in range(7))})
    data = {
        "length": length,
        "bases": bases,
        "tokens": [q.tolist(), k.tolist()],
        "places": list(places),
    }
    i, j = places
    live = controls(
        choice("kind", "Positions", {way: way for way in KINDS}, kind),
        menu("tokens", "Content", TOKENS, 2),
        slider("query", "● Query at", 0, length - 1, 1, i),
        slider("key", "○ Key at", 0, length - 1, 1, j),
        box("both", "move both"),
        _base("base", "Base", bases, base),
    ) + drawing(310)
    speeds = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    shares = [_shares(way, q, k, length, base)[i, j].tolist() for way in KINDS]
    numbers = table(
        [f"hand {r}" for r in range(head_dim // 2)],
        ["radians a step", "of the score, added", "of the score, turned"],
        [
            [f"{number:.4g}" for number in line]
            for line in zip(speeds.tolist(), *shares, strict=True)
        ],
    )
    still = _draw_clocks(q, k, length, base, places)
    alt = (
        f"Score against distance for {length} positions, with two tokens of width "
        f"{head_dim}. Sinusoidal positions, added: pairs at one distance score "
        "differently, a band. Rotary positions, turned: one line."
    )
    return Moving("positions", data, still, alt, live, numbers)


def _made_up(head_dim: int) -> Tensor:
    """Return a query and a key that are somewhat alike, 0.25 to 0.5 in each hand."""
    generator = torch.Generator().manual_seed(4)
    shape = (2, 2, head_dim // 2)
    lengths, angles = torch.rand(shape, generator=generator, dtype=torch.float64)
    turns = torch.stack((2 * math.pi * angles[0], 2 * math.pi * angles[0] + angles[1]))
    pairs = torch.polar(0.25 + 0.25 * lengths, turns)
    return torch.view_as_real(pairs).flatten(-2).round(decimals=2)


def _token(name: str, token: Any, head_dim: int) -> Tensor:
    check_float(name, token)
    if token.shape != (head_dim,):
        raise ValueError(
            f"{name} has shape {shape_of(token)} but must have ({head_dim},), as wide "
            "as head_dim"
        )
    if not token.isfinite().all():
        raise ValueError(f"{name} holds what is not finite")
    found: Tensor = token.detach().double().cpu()
    return found


def _base(name: str, label: str, bases: list[float], base: float) -> str:
    """Return a range over a list of bases, with the base itself beside it."""
    return (
        f'<label>{label} <input type="range" name="{name}" min="0" '
        f'max="{len(bases) - 1}" step="1" value="{bases.index(base)}" '
        f'aria-valuetext="{base:.15g}"><span class="base">{base:.15g}</span></label>'
    )


def _placed(kind: str, token: Tensor, length: int, base: float) -> Tensor:
    """Return what a token is at each position, (length, E)."""
    table = sinusoidal(length, len(token), base=base, dtype=torch.float64)
    if kind == "sinusoidal":
        return token + table
    sines, cosines = table[:, 0::2], table[:, 1::2]
    first, second = token[0::2], token[1::2]
    turned = (first * cosines - second * sines, first * sines + second * cosines)
    return torch.stack(turned, dim=-1).flatten(-2)


def _shares(kind: str, q: Tensor, k: Tensor, length: int, base: float) -> Tensor:
    """Return what each hand adds to each score, (length, length, E / 2)."""
    queries, keys = (_placed(kind, x, length, base) for x in (q, k))
    products = queries.unsqueeze(1) * keys  # (length, length, E)
    shares: Tensor = products.reshape(length, length, -1, 2).sum(-1) / len(q) ** 0.5
    return shares


def _draw_clocks(
    q: Tensor, k: Tensor, length: int, base: float, places: tuple[int, int]
) -> Figure:
    """Draw both kinds side by side: a few clocks, and the scores by distance."""
    figure: Figure
    figure, axes = new_figure(6.6, 3.6, lines=2, per_line=2)
    axes[0, 0].get_gridspec().set_height_ratios([1, 2])
    i, j = places
    distances = range(1 - length, length)
    for way, (kind, how) in enumerate(KINDS.items()):
        tips = [_placed(kind, x, length, base).reshape(length, -1, 2) for x in (q, k)]
        if kind == "rotary":  # the angle grows from the first number to the second
            tips = [x.flip(-1) for x in tips]
        size = max(x.norm(dim=-1).max().item() for x in tips)
        ax = axes[0, way]
        for r in range(min(5, len(q) // 2)):
            ax.add_patch(Circle((2.3 * r, 0), 1, fc="none", ec=INK, lw=0.6))
            for tip, color, wide in (
                (tips[0][i, r], ORANGE, 3),
                (tips[1][j, r], TEAL, 1.5),
            ):
                x, y = (tip / size).tolist()
                ax.plot([2.3 * r, 2.3 * r + x], [0, y], color=color, lw=wide)
        ax.set(aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title(f"{kind}: {how}", color=INK, fontsize=10)
        scores = _shares(kind, q, k, length, base).sum(-1)
        at = [scores.diagonal(-d) for d in distances]
        ax = axes[1, way]
        low, high = [x.min().item() for x in at], [x.max().item() for x in at]
        ax.fill_between(distances, low, high, color=TEAL, alpha=0.35, lw=1)
        mine = [i - j for j in range(length)]
        ax.plot(mine, scores[i].tolist(), color=INK, lw=1.2)
        ax.plot([i - j], [scores[i, j].item()], "o", color=ORANGE)
        ax.set_xlabel("distance", color=INK)
    axes[1, 0].set_ylabel("score", color=INK)
    return figure
