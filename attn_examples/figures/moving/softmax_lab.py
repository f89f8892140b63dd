"""Softmax lab: scores to drag, and the weights, entropy and gradient that follow."""

from __future__ import annotations

import math
from html import escape

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from attn_examples.checks import check_float, labels_of, shape_of
from attn_examples.figures.moving.element import (
    Moving,
    box,
    controls,
    drawing,
    menu,
    slider,
    split_scores,
    table,
)
from attn_examples.figures.style import INK, LIT, new_figure
from attn_examples.normalizers import softmax

__all__ = ["try_softmax"]

_MOST_BARS = 8  # keys; more columns than that are too narrow on a phone


def try_softmax(
    scores: Tensor, labels: ArrayLike | None = None, *, alt: str | None = None
) -> Moving:
    """Show one row of scores as bars to drag, and what the softmax makes of them.

    A temperature, the width of the vectors, with and without the division by its square
    root, one more key and a mask change what the softmax gets. Its weights, their
    entropy, and how each weight follows a score are drawn beside it.

    Parameters
    ----------
    scores : Tensor, shape (S,)
        Scores of one query, for at most eight keys. One of -inf is a masked key.
    labels : sequence of str or numbers, array or Tensor, optional
        The keys, by default "key 1", "key 2" and so on.
    alt : str, optional
        What the still picture shows, for who cannot see it; by default the number of
        keys.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If the scores are not one row of one to eight, hold NaN or infinity, or there is
        not one label for each.
    TypeError
        If an argument is not of its kind.

    Examples
    --------
    >>> import torch
    >>> from attn_examples.figures import try_softmax
    >>> try_softmax(torch.tensor([1.0, 2.0, 5.0]).log())
    <Moving softmax_lab: Bars of 3 scores, and their weights at three temperatures.>
    """
    check_float("scores", scores)
    if scores.dim() != 1 or not 1 <= len(scores) <= _MOST_BARS:
        raise ValueError(
            f"scores has shape {shape_of(scores)} but must be (S,), one row of at most "
            f"{_MOST_BARS} keys"
        )
    row, finite, masked = split_scores(scores)
    keys = labels_of("labels", labels, len(row))
    keys = keys or [f"key {i + 1}" for i in range(len(row))]
    largest = max(3, math.ceil(finite.abs().max().item()))
    data = {"labels": [*keys, "new key"], "masked": masked.tolist(), "largest": largest}
    columns = [
        _column(i, key, score, largest, hidden=i == len(keys))
        for i, (key, score) in enumerate(
            zip([*keys, "new key"], [*finite.tolist(), 0.0], strict=True)
        )
    ]
    parts = (
        slider("temperature", "Temperature T", 0, 5, 0.05, 1, 2),
        menu("width", "Width E", (str(4**i) for i in range(6))),
        box("scaled", "÷ √E", checked=True),
        box("more", "One more key"),
    )
    live = (
        f'{controls(*parts)}<div class="lab"><div>{drawing(276)}'
        '<div class="scores" role="group" aria-label="Scores">'
        f"{''.join(bar for bar, _ in columns)}</div>"
        '<div class="masks" role="group" aria-label="Masks">'
        f"{''.join(mask for _, mask in columns)}</div></div>"
        f"<div>{drawing(276)}</div></div>"
    )
    if alt is None:
        alt = f"Bars of {len(keys)} scores, and their weights at three temperatures."
    temperatures = {"½": 0.5, "1": 1.0, "2": 2.0}
    weights = {name: softmax(row / T) for name, T in temperatures.items()}
    figure, axes = new_figure(5.2, 3.2, lines=2, per_line=2)
    short = [key if len(key) < 10 else f"{key[:9]}…" for key in keys]
    turned = 90 if len("".join(short)) > 24 else 0
    panels = {"score": row}
    panels |= {f"weight, T = {name}": found for name, found in weights.items()}
    for ax, (title, heights) in zip(axes.flat, panels.items(), strict=True):
        drawn = heights.masked_fill(masked, 0.0)
        top = max(drawn.max().item(), 0.1) if title == "score" else 1.0
        low = min(drawn.min().item(), 0.0)
        fill = "#21918c" if title == "score" else LIT
        ax.bar(range(len(keys)), drawn.tolist(), color=fill, edgecolor=INK, width=0.7)
        for j, (height, at) in enumerate(
            zip(heights.tolist(), drawn.tolist(), strict=True)
        ):
            text = f"{height:.2f}" if math.isfinite(height) else "\u2212∞"
            y = max(at, 0.0) + 0.04 * (top - low)
            ax.text(j, y, text, ha="center", color=INK, fontsize=9)
        ax.set_xticks(range(len(keys)), short, fontsize=9, rotation=turned)
        ax.set_yticks([])
        ax.tick_params(length=0)
        ax.spines["left"].set_visible(False)
        ax.set_ylim(low, low + 1.2 * (top - low))
        ax.set_title(title, color=INK, fontsize=10)
    cells = [
        [f"{score:.3f}", *(f"{found[i]:.3f}" for found in weights.values())]
        for i, score in enumerate(row.tolist())
    ]
    entropies = [-torch.special.xlogy(found, found).sum() for found in weights.values()]
    cells.append(["", *(f"{entropy:.3f}" for entropy in entropies)])
    numbers = table(
        [*keys, "entropy"], ["score", *(f"T = {name}" for name in weights)], cells
    )
    return Moving("softmax_lab", data, figure, alt, live, numbers)


def _column(
    i: int, key: str, score: float, largest: int, *, hidden: bool
) -> tuple[str, str]:
    """Return the range over a bar and the button of a mask."""
    name, unseen = escape(key), ' hidden tabindex="-1"' if hidden else ""
    bar = (
        f'<input type="range" name="score{i}" min="{-largest}" max="{largest}" step="any"'
        f' value="{score!r}" aria-label="score of {name}" aria-orientation="vertical"{unseen}>'
    )
    mask = (
        f'<button type="button" aria-pressed="false" aria-label="mask {name}"{unseen}>'
        "mask</button>"
    )
    return bar, mask
