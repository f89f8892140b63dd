"""Attention maps: one, or those of many heads."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize as Scale
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from attn_examples.checks import (
    check_count,
    check_float,
    check_kind,
    labels_of,
    positive,
    shape_of,
)
from attn_examples.figures.style import INK, STYLE, new_figure

__all__ = ["heads_grid", "heatmap"]

_COLORMAP = "viridis"


def heatmap(
    weights: Tensor,
    rows: ArrayLike | None = None,
    columns: ArrayLike | None = None,
    *,
    title: str | None = None,
    values: bool | None = None,
    vmax: float | Tensor | None = None,
    names: tuple[str, str] | None = ("asks", "answers"),
    ax: Axes | None = None,
) -> Figure:
    """Draw one attention map: a row for each query, a column for each key.

    A weight of exactly 0 is left blank, so that what was masked out cannot be taken
    for what is merely small. A weight that rounds to 0 has its colour and no number.

    Parameters
    ----------
    weights : Tensor, shape (L, S)
        Weights, or any floating-point numbers from 0 up.
    rows, columns : sequence of str or numbers, array or Tensor, optional
        Labels of queries and keys, by default their numbers. With `rows` alone and
        L equal to S the columns have the same labels.
    title : str, optional
    values : bool, optional
        Whether to print the numbers; by default up to 12 rows and columns.
    vmax : float or Tensor, shape (), optional
        The number that gets the brightest colour; by default the largest weight.
        Give 1 to compare maps.
    names : tuple of two str, optional
        What rows and columns are: by default a row asks and its columns answer. None
        leaves them unnamed.
    ax : matplotlib Axes, optional
        Where to draw; by default a figure of its own, which gets a colour bar.

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
    end = None if vmax is None else positive("vmax", vmax)
    check_kind("title", title, str | None, "a str")
    check_kind("values", values, bool | None, "True or False")
    _check_names(names)
    check_kind("ax", ax, Axes | None, "one matplotlib Axes")
    show_values = max(L, S) <= 12 if values is None else values
    own = ax is None
    if ax is None:
        cell = 0.42 if show_values else min(0.42, 7.0 / max(L, S))
        if rows or columns:
            cell = max(0.24, cell)  # inches, for a label
        _, ax = new_figure(2.2 + cell * S, 1.2 + cell * L)
    figure = ax.get_figure(root=True)  # of the whole, where the axes are in a part
    assert isinstance(figure, Figure)
    with plt.rc_context(STYLE):
        top = (float(cells.max()) or 1.0) if end is None else end
        scale = Scale(0.0, top)
        _draw_cells(ax, cells, scale)
        if own:
            _draw_bar(figure, ax, scale, more=float(cells.max()) > top)
        _label(ax.set_xticks, columns, S, rotation=45 if columns else 0)
        _label(ax.set_yticks, rows, L, rotation=0)
        ax.xaxis.tick_top()
        ax.set(xlim=(-0.5, S - 0.5), ylim=(L - 0.5, -0.5), aspect="equal")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if names is not None:
            _name(ax, *names)
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
    vmax: float | Tensor = 1.0,
    names: tuple[str, str] | None = ("asks", "answers"),
) -> Figure:
    """Draw the maps of several heads side by side, all on one scale.

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
        What each map in a line adds to the width of the figure, in inches.
    vmax : float or Tensor, shape (), default 1
        The number that gets the brightest colour, in all maps.
    names : tuple of two str, optional
        What rows and columns are, as in `heatmap`.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are not three dimensions, a map is one that `heatmap` refuses, there is
        not one label for each position or one title for each head, or `size` or
        `vmax` is not positive and finite.
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
    size, top = positive("size", size), positive("vmax", vmax)
    _check_names(names)
    titles = labels_of("titles", titles, heads) or [f"head {h}" for h in range(heads)]
    rows, columns = _both_labels(rows, columns, L, S)
    lines = -(-heads // per_line)
    room = 0.55 if rows or columns else 0.1
    figure, _ = new_figure(
        per_line * size + room + 0.8,
        lines * (size * L / S + 0.4) + room,
        lines=lines,
        per_line=per_line,
    )
    for ax in figure.axes[heads:]:
        ax.set_axis_off()
    for h, ax in enumerate(figure.axes[:heads]):
        heatmap(weights[h], rows, columns, values=False, vmax=top, names=None, ax=ax)
        ax.set_title(titles[h], color=INK, fontsize=10, parse_math=False)
        ax.tick_params(labelsize=9)
        for axis, labels, edge in (
            (ax.xaxis, columns, h < per_line),
            (ax.yaxis, rows, h % per_line == 0),
        ):
            if not labels or not edge or max(L, S) * 0.14 > size:
                axis.set_ticks([])
    used = figure.axes[:heads]
    _draw_bar(figure, used, Scale(0.0, top), more=float(weights.max()) > top)
    if names is not None:
        figure.supylabel(names[0], color=INK, fontsize=10, style="italic")
        figure.suptitle(names[1], color=INK, fontsize=10, style="italic")
    return figure


def _both_labels(
    rows: ArrayLike | None, columns: ArrayLike | None, L: int, S: int
) -> tuple[list[str] | None, list[str] | None]:
    """Make texts of the labels of queries and keys: the same where they are as many."""
    texts = labels_of("rows", rows, L)
    return texts, texts if columns is None and L == S else labels_of(
        "columns", columns, S
    )


def _check_names(names: Any) -> None:
    good = isinstance(names, tuple) and [type(name) for name in names] == [str, str]
    if names is not None and not good:
        raise TypeError(f"names ({names!r}) must be a tuple of two str, or None")


def _name(ax: Axes, rows: str, columns: str) -> None:
    ax.set_ylabel(rows, color=INK, style="italic")
    ax.set_xlabel(columns, color=INK, style="italic")
    ax.xaxis.set_label_position("top")


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


def _draw_bar(
    figure: Figure, ax: Axes | list[Axes], scale: Scale, *, more: bool
) -> None:
    """Draw the scale of colours, in steps: from 50 colours on matplotlib makes it a bitmap."""
    steps = ScalarMappable(scale, colormaps[_COLORMAP].resampled(48))
    bar = figure.colorbar(
        steps, ax=ax, shrink=0.8, aspect=20, extend="max" if more else "neither"
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=INK)


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
    text = f"{value:.2f}".removeprefix("0")
    if text == ".00":
        return
    ax.text(j, i, text, ha="center", va="center", color=_on(scale(value)), fontsize=9)


def _on(place: float) -> str:
    """Return black or white, whichever can be read better on a colour of the map."""
    red, green, blue, _ = colormaps[_COLORMAP](place)
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (red, green, blue)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # where both have the same contrast, 4.58 by WCAG's formula
    return "#000000" if luminance > 0.179 else "#ffffff"


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
