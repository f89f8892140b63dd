"""Pictures of attention: one map, many heads, the four steps.

Needs matplotlib. Text and lines have one colour, `INK`, and the background is left to
matplotlib's settings, so a page can turn both around for dark mode. The colour map,
viridis, reads the same with the common kinds of colour blindness and in grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Number
from typing import Any

import matplotlib.pyplot as plt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize as Scale
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import ArrayLike
from torch import Tensor

from attn_examples.checks import (
    check_count,
    check_float,
    check_labels,
    check_number,
    shape_of,
)

__all__ = ["INK", "STEPS", "heads_grid", "heatmap", "new_figure", "steps_strip"]

INK = "#14181f"  #: The colour of all text and lines.
STEPS = ("score", "mask", "normalize", "mix")  #: The four steps, in order.

_COLORMAP = "viridis"
_STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "hatch.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def heatmap(
    weights: Tensor,
    rows: ArrayLike | None = None,
    columns: ArrayLike | None = None,
    *,
    title: str | None = None,
    values: bool | None = None,
    vmax: float | Tensor | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw one attention map: a row for each query, a column for each key.

    A weight of exactly 0 is left blank, so that what was masked out cannot be taken
    for what is merely small.

    Parameters
    ----------
    weights : Tensor, shape (L, S)
        Weights, or any numbers from 0 up.
    rows, columns : sequence of str or numbers, array or Tensor, optional
        Labels of queries and keys, by default their numbers. With `rows` alone and
        L equal to S the columns have the same labels.
    title : str, optional
    values : bool, optional
        Whether to print the numbers; by default up to 12 rows and columns. A figure of
        its own without numbers gets a colour bar.
    vmax : float or Tensor of one number, optional
        The number that gets the brightest colour; by default the largest weight.
        Give 1 to compare maps.
    ax : matplotlib Axes, optional
        Where to draw; by default a figure of its own.

    Returns
    -------
    Figure
        In a notebook it shows itself; in a script call its `savefig`.

    Raises
    ------
    ValueError
        If the map is not two-dimensional, is empty or holds a negative number, NaN or
        infinity, if there is not one label for each position, or `vmax` is not positive
        and finite.
    TypeError
        If the map is not a tensor, labels are not a sequence of texts or numbers, or
        another argument is not of its kind.

    Examples
    --------
    >>> import torch
    >>> from attn_examples.figures import heatmap
    >>> figure = heatmap(torch.eye(3), ["a", "b", "c"])
    """
    check_float("weights", weights)
    if weights.dim() != 2:
        raise ValueError(
            f"weights has shape {shape_of(weights)} but a map is (L, S): pick one "
            "batch entry and one head, or use heads_grid"
        )
    L, S = weights.shape
    rows, columns = _both_labels(rows, columns, L, S)
    cells = weights.detach().double().cpu()
    _check_cells(cells)
    end = None if vmax is None else _positive("vmax", vmax)
    _check_kind("title", title, str | None, "a str")
    _check_kind("values", values, bool | None, "True or False")
    _check_kind("ax", ax, Axes | None, "one matplotlib Axes")
    show_values = max(L, S) <= 12 if values is None else values
    own = ax is None
    if ax is None:
        cell = 0.55 if show_values else min(0.45, 7.0 / max(L, S))
        if rows or columns:
            cell = max(0.24, cell)  # inches, for a label
        bar = 0.0 if show_values else 0.8
        _, ax = new_figure(1.6 + cell * S + bar, 1.2 + cell * L)
    figure = ax.get_figure(root=True)  # of the whole, where the axes are in a part
    assert isinstance(figure, Figure)
    with plt.rc_context(_STYLE):
        top = (float(cells.max()) or 1.0) if end is None else end
        scale = Scale(0.0, top)
        _draw_cells(ax, cells, scale)
        if own and not show_values:
            _draw_bar(figure, ax, scale, more=float(cells.max()) > top)
        _label(ax.set_xticks, columns, S, rotation=45 if columns else 0)
        _label(ax.set_yticks, rows, L, rotation=0)
        ax.xaxis.tick_top()
        ax.set(xlim=(-0.5, S - 0.5), ylim=(L - 0.5, -0.5), aspect="equal")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if title:
            ax.set_title(title, color=INK, fontsize=11, parse_math=False)
        if show_values:
            for i in range(L):
                for j in range(S):
                    _print_value(ax, i, j, float(cells[i, j]), scale)
    return figure


def heads_grid(
    weights: Tensor,
    rows: ArrayLike | None = None,
    columns: ArrayLike | None = None,
    *,
    titles: ArrayLike | None = None,
    per_line: int = 4,
    size: float = 1.7,
) -> Figure:
    """Draw the maps of several heads side by side, all on one scale from 0 to 1.

    Parameters
    ----------
    weights : Tensor, shape (H, L, S)
        One map for each head.
    rows, columns : sequence of str or numbers, array or Tensor, optional
        Labels, drawn at the left and top edge of the grid where they have room.
    titles : sequence of str or numbers, array or Tensor, optional
        A title for each head, by default "head 0" and so on.
    per_line : int, default 4
        Maps in a line, at most.
    size : float, default 1.7
        Width of a map, in inches.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are not three dimensions, a map is one that `heatmap` refuses, there is
        not one label for each position or one title for each head, or `size` is not
        positive and finite.
    TypeError
        If the maps are not a tensor, labels are not a sequence of texts or numbers, or
        another argument is not of its kind.

    Examples
    --------
    >>> import torch
    >>> from attn_examples.figures import heads_grid
    >>> figure = heads_grid(torch.rand(6, 5, 5), titles=[f"1.{h}" for h in range(6)])
    """
    check_float("weights", weights)
    if weights.dim() != 3:
        raise ValueError(
            f"weights has shape {shape_of(weights)} but a grid of heads is (H, L, S): "
            "pick one batch entry"
        )
    heads, L, S = weights.shape
    _check_cells(weights.detach().double().cpu())
    check_count("per_line", per_line)
    per_line = min(per_line, heads)
    size = _positive("size", size)
    titles = _labels("titles", titles, heads) or [f"head {h}" for h in range(heads)]
    rows, columns = _both_labels(rows, columns, L, S)
    lines = -(-heads // per_line)
    room = 0.55 if rows or columns else 0.1
    figure, _ = new_figure(
        per_line * size + room,
        lines * (size * L / S + 0.4) + room,
        lines=lines,
        per_line=per_line,
    )
    for ax in figure.axes[heads:]:
        ax.set_axis_off()
    for h, ax in enumerate(figure.axes[:heads]):
        heatmap(weights[h], rows, columns, values=False, vmax=1.0, ax=ax)
        ax.set_title(titles[h], color=INK, fontsize=10, parse_math=False)
        ax.tick_params(labelsize=9)
        for axis, labels, edge in (
            (ax.xaxis, columns, h < per_line),
            (ax.yaxis, rows, h % per_line == 0),
        ):
            if not labels or not edge or max(L, S) * 0.14 > size:
                axis.set_ticks([])
    return figure


def steps_strip(*changed: str, note: str | None = None) -> Figure:
    """Draw the four steps as a strip, with those that a mechanism changes lit.

    A lit step differs in its fill, in its thick border and in its bold type, so that
    colour is not needed to tell it.

    Parameters
    ----------
    *changed : str
        Names from "score", "mask", "normalize", "mix"; none for a mechanism that
        changes what happens around the steps.
    note : str, optional
        What changes around the steps, written under the strip.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a name is not one of the four.
    TypeError
        If the note is not a str.

    Examples
    --------
    >>> from attn_examples.figures import steps_strip
    >>> figure = steps_strip("mask")
    >>> steps_strip("softmax")
    Traceback (most recent call last):
    ...
    ValueError: changed ('softmax') must name a step: score, mask, normalize, mix
    """
    for name in changed:
        if name not in STEPS:
            raise ValueError(f"changed ({name!r}) must name a step: {', '.join(STEPS)}")
    _check_kind("note", note, str | None, "a str")
    figure, ax = new_figure(6.4, 0.95 if note else 0.7)
    ax.set(xlim=(0, 4), ylim=(-0.45 if note else 0, 1))
    ax.set_axis_off()
    for i, name in enumerate(STEPS):
        lit = name in changed
        box = FancyBboxPatch(
            (i + 0.12, 0.25),
            0.66,
            0.5,
            boxstyle="round,pad=0.06",
            facecolor="#ffd24d" if lit else "none",
            edgecolor=INK,
            linewidth=2.5 if lit else 0.8,
        )
        ax.add_patch(box)
        ax.text(
            i + 0.45,
            0.5,
            f"{i + 1} {name}",
            ha="center",
            va="center",
            # not INK where lit: the fill stays light when a page turns INK around
            color="#000000" if lit else INK,
            weight="bold" if lit else "normal",
        )
        if i:
            ax.annotate(
                "",
                (i + 0.05, 0.5),
                (i - 0.15, 0.5),
                arrowprops={"arrowstyle": "->", "color": INK},
            )
    if note:
        ax.text(
            2,
            -0.25,
            note,
            ha="center",
            va="center",
            color=INK,
            style="italic",
            parse_math=False,
        )
    return figure


def new_figure(
    width: float, height: float, *, lines: int = 1, per_line: int = 1
) -> tuple[Figure, Any]:
    """Make a figure in this package's style, closed for pyplot so that it shows once.

    Parameters
    ----------
    width, height : float
        In inches.
    lines, per_line : int, default 1
        Rows and columns of axes.

    Returns
    -------
    figure : Figure
    axes : Axes, or an array of them, shape (lines, per_line), where there are several

    Raises
    ------
    ValueError
        If the width or height is not positive and finite, or a count less than 1.
    TypeError
        If one of them is not a number, or a count not a whole one.

    Examples
    --------
    >>> from attn_examples.figures import new_figure
    >>> figure, ax = new_figure(4, 2)
    >>> line = ax.plot([1, 2, 3], [2.0, 1.0, 0.5])
    """
    width, height = _positive("width", width), _positive("height", height)
    check_count("lines", lines)
    check_count("per_line", per_line)
    single = lines == 1 and per_line == 1
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            lines,
            per_line,
            figsize=(width, height),
            layout="constrained",
            squeeze=False,
        )
    if lines > 1:
        # titles clear of the ticks above
        figure.set_layout_engine("constrained", h_pad=0.1)
    plt.close(figure)
    return figure, axes[0, 0] if single else axes


def _labels(name: str, labels: ArrayLike | None, count: int) -> list[str] | None:
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


def _both_labels(
    rows: ArrayLike | None, columns: ArrayLike | None, L: int, S: int
) -> tuple[list[str] | None, list[str] | None]:
    """Make texts of the labels of queries and keys: the same where they are as many."""
    texts = _labels("rows", rows, L)
    return texts, texts if columns is None and L == S else _labels(
        "columns", columns, S
    )


def _positive(name: str, value: Any) -> float:
    """Return a length, or the end of a scale, as a plain number."""
    if isinstance(value, Tensor) and value.dim() == 0:
        value = value.item()
    check_number(name, value)
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} ({value}) must be positive and finite")
    return float(value)


def _check_kind(name: str, value: Any, kind: Any, wanted: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} ({type(value).__name__}) must be {wanted}")


def _check_cells(cells: Tensor) -> None:
    if cells.numel() == 0:
        raise ValueError(
            f"weights has shape {shape_of(cells)}: there is nothing to draw"
        )
    bad = cells[~((cells >= 0) & cells.isfinite())]
    if bad.numel():
        raise ValueError(
            f"weights holds {float(bad[0]):g} but a map shows numbers from 0 up"
        )


def _draw_bar(figure: Figure, ax: Axes, scale: Scale, *, more: bool) -> None:
    """Draw the scale of colours, in steps: from 50 colours on matplotlib makes it a bitmap."""
    steps = ScalarMappable(scale, colormaps[_COLORMAP].resampled(48))
    bar = figure.colorbar(
        steps, ax=ax, shrink=0.8, aspect=20, extend="max" if more else "neither"
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8)


def _draw_cells(ax: Axes, cells: Tensor, scale: Scale) -> None:
    """Draw each cell that is not 0 as a square: vectors, sharp at every size."""
    colors = colormaps[_COLORMAP](scale(cells.numpy()))  # (L, S, 4)
    colors[cells.numpy() == 0.0] = (0.0, 0.0, 0.0, 0.0)
    L, S = cells.shape
    ax.pcolormesh(
        [j - 0.5 for j in range(S + 1)],
        [i - 0.5 for i in range(L + 1)],
        colors,
        edgecolors="none",
    )
    if max(L, S) > 100:
        return  # lines would hide the cells
    ax.hlines(
        [i - 0.5 for i in range(L + 1)], -0.5, S - 0.5, color=INK, lw=0.3, alpha=0.4
    )
    ax.vlines(
        [j - 0.5 for j in range(S + 1)], -0.5, L - 0.5, color=INK, lw=0.3, alpha=0.4
    )


def _print_value(ax: Axes, i: int, j: int, value: float, scale: Scale) -> None:
    text = "0" if value == 0 else f"{value:.2f}".removeprefix("0")
    light = value != 0 and scale(value) > 0.6  # viridis grows lighter all the way
    color = INK if value == 0 else "#000000" if light else "#ffffff"
    ax.text(j, i, text, ha="center", va="center", color=color, fontsize=9)


def _label(set_ticks: Any, labels: list[str] | None, count: int, rotation: int) -> None:
    if labels is None:
        step = max(1, count // 10)
        set_ticks(range(0, count, step))
    else:
        small = 10 if count <= 15 else 8
        ha = {"ha": "left", "rotation_mode": "anchor"} if rotation else {}
        # a token may well hold a dollar sign
        set_ticks(
            range(count),
            labels,
            rotation=rotation,
            fontsize=small,
            parse_math=False,
            **ha,
        )
