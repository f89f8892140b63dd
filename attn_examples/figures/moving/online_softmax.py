"""Online softmax: keys come in tiles, and three running numbers are enough."""

from __future__ import annotations

import math
from html import escape

import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from attn_examples.checks import check_count, check_float, labels_of, shape_of
from attn_examples.figures.moving.element import (
    Moving,
    controls,
    drawing,
    menu,
    slider,
    split_scores,
    table,
)
from attn_examples.figures.style import INK, LIT, new_figure

__all__ = ["walk_tiles"]

_MOST_KEYS = 12  # keys; more columns than that are too narrow on a phone
_WIDEST = 3  # numbers in a value


def walk_tiles(
    scores: Tensor,
    values: Tensor,
    *,
    tile: int = 2,
    labels: ArrayLike | None = None,
    alt: str | None = None,
) -> Moving:
    """Show how one query is answered tile by tile, as fused kernels do.

    Of the keys that have passed only the largest score is kept, the sum of the
    exponentials and their mix of the values; both sums are rescaled when a tile brings a
    larger score. After the last tile the mix, divided by the sum, is what the plain
    softmax gives. The size of a tile, the order of the keys and a mask can be changed.

    Parameters
    ----------
    scores : Tensor, shape (S,)
        Scores of one query, for two to twelve keys. One of -inf is a masked key.
    values : Tensor, shape (S,) or (S, Ev)
        A value of up to three numbers for each key.
    tile : int, default 2
        How many keys pass at once, at first.
    labels : sequence of str or numbers, array or Tensor, optional
        The keys, by default their numbers from 1.
    alt : str, optional
        What the still picture shows, for who cannot see it; by default how many tiles.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If the scores are not one row of two to twelve, or hold NaN or infinity; if there
        is not a finite value of one to three numbers and a label for each; or if `tile` is
        less than 1 or more than the number of keys.
    TypeError
        If an argument is not of its kind.

    References
    ----------
    Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018),
    arXiv:1805.02867. Dao, Fu, Ermon, Rudra and Ré, "FlashAttention: Fast and
    Memory-Efficient Exact Attention with IO-Awareness" (2022), arXiv:2205.14135.

    Examples
    --------
    >>> import torch
    >>> from attn_examples.figures import walk_tiles
    >>> walk_tiles(torch.tensor([0.5, 2.0, 1.0]), torch.tensor([1.0, 2.0, 3.0]))
    <Moving online_softmax: Bars of the terms of a softmax, after each of 2 tiles.>
    """
    check_float("scores", scores)
    check_float("values", values)
    if scores.dim() != 1 or not 2 <= len(scores) <= _MOST_KEYS:
        raise ValueError(
            f"scores has shape {shape_of(scores)} but must be (S,), one row of 2 to "
            f"{_MOST_KEYS} keys"
        )
    S = len(scores)
    rows = values.detach().double().cpu()
    rows = rows[:, None] if rows.dim() == 1 else rows
    if rows.dim() != 2 or len(rows) != S or not 1 <= rows.shape[1] <= _WIDEST:
        raise ValueError(
            f"values has shape {shape_of(values)} but must be ({S},) or ({S}, Ev) with "
            f"Ev from 1 to {_WIDEST}"
        )
    row, finite, masked = split_scores(scores)
    if not rows.isfinite().all():
        raise ValueError("values holds NaN or infinity: each must be finite")
    check_count("tile", tile)
    if tile > S:
        raise ValueError(f"tile ({tile}) must be at most the number of keys ({S})")
    keys = labels_of("labels", labels, S) or [str(i + 1) for i in range(S)]
    data = {
        "labels": keys,
        "scores": finite.tolist(),
        "masked": masked.tolist(),
        "values": rows.T.tolist(),
    }
    Ev = rows.shape[1]
    parts = [f" {c + 1}" if Ev > 1 else "" for c in range(Ev)]
    names = ["max m", "sum \u2113", *(f"mix{c}" for c in parts)]
    names += [f"mix{c} ÷ \u2113" for c in parts]
    ledger = "".join(
        f'<tr><th scope="row">{name}</th>{"<td></td>" * 5}</tr>' for name in names
    )
    head = ("before", "×", "tile", "now", "plain")
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    buttons = "".join(
        f'<button type="button" aria-pressed="false">{escape(key)}</button>'
        for key in keys
    )
    live = (
        controls(
            '<button type="button">Back</button><button type="button">Next tile</button>',
            slider("tile", "Keys in a tile", 1, S, 1, tile),
            menu("order", "Order", ("as given", "rising", "falling")),
        )
        + f'<div class="online"><div>{drawing(256 + 14 * Ev)}'
        f'<div class="keys" role="group" aria-label="Masked keys">{buttons}</div></div>'
        '<table class="ledger" aria-label="What is kept"><thead><tr><td></td>'
        f"{columns}</tr></thead><tbody>{ledger}</tbody></table></div>"
    )
    states = _tiles(row, rows, tile)
    if alt is None:
        alt = f"Bars of the terms of a softmax, after each of {len(states)} tiles."
    cells = [
        [f"{m:.3f}", f"{kept:.3f}", f"{total:.3f}", *(f"{o:.3f}" for o in output)]
        for m, kept, total, output in states
    ]
    plain = (row.softmax(-1).nan_to_num() @ rows).tolist()
    cells.append(["", "", "", *(f"{o:.3f}" for o in plain)])
    numbers = table(
        [*(f"tile {t + 1}" for t in range(len(states))), "plain softmax"],
        ["maximum", "kept, times", "sum", *(f"output{c}" for c in parts)],
        cells,
    )
    still = _picture(row, states, tile)
    return Moving("online_softmax", data, still, alt, live, numbers)


def _tiles(
    scores: Tensor, values: Tensor, tile: int
) -> list[tuple[float, float, float, list[float]]]:
    """Return, after each tile: maximum, factor for what was kept, sum, output."""
    states = []
    m, total = scores.new_tensor(-math.inf), scores.new_zeros(())
    mix = values.new_zeros(values.shape[1])
    for start in range(0, len(scores), tile):
        s, v = scores[start : start + tile], values[start : start + tile]
        new = torch.maximum(m, s.max())
        # with no key allowed so far nothing was kept, and -inf - -inf has no value
        kept = (m - new).exp().nan_to_num()
        terms = (s - new).exp().nan_to_num()
        m, total, mix = new, total * kept + terms.sum(), mix * kept + terms @ v
        output = (mix / total).nan_to_num()
        states.append((m.item(), kept.item(), total.item(), output.tolist()))
    return states


def _picture(
    scores: Tensor, states: list[tuple[float, float, float, list[float]]], tile: int
) -> Figure:
    """Draw the terms of the sum after each tile, or after four of them."""
    S = len(scores)
    last = len(states) - 1
    chosen = sorted({round(last * i / 3) for i in range(4)})
    lines = (len(chosen) + 1) // 2
    figure, axes = new_figure(5.4, 1.35 * lines + 0.1, lines=lines, per_line=2)
    shown = list(getattr(axes, "flat", [axes]))
    for ax in shown[len(chosen) :]:
        ax.set_axis_off()
    for ax, t in zip(shown, chosen, strict=False):
        m, _, total, output = states[t]
        read = scores[: (t + 1) * tile]
        terms = (read - m).exp().nan_to_num().tolist()
        fills = [LIT if j >= t * tile else "#21918c" for j in range(len(terms))]
        ax.bar(range(len(terms)), terms, color=fills, edgecolor=INK, width=0.7)
        ax.set(xlim=(-0.6, S - 0.4), ylim=(0, 1.05), yticks=[], xticks=[])
        ax.spines["left"].set_visible(False)
        mixed = ", ".join(f"{o:.2f}" for o in output)
        ax.set_title(
            f"tile {t + 1}: m = {m:.1f}, \u2113 = {total:.2f}\noutput {mixed}",
            color=INK,
            fontsize=9,
        )
    return figure
