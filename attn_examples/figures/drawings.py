"""Drawings of how attention works: its four steps, its flow of data, one token's arcs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib import path
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from numpy.typing import ArrayLike
from torch import Tensor

from attn_examples.checks import (
    check_count,
    check_float,
    check_kind,
    labels_of,
    shape_of,
)
from attn_examples.figures.style import INK, LIT, new_figure

__all__ = ["STEPS", "arcs", "data_flow", "steps_strip"]

STEPS = ("score", "mask", "normalize", "mix")  #: The four steps, in order.

_PARTS = ("source", "projections", "heads", *STEPS)  # of a flow, from top to bottom
_LANES = (0.6, 2.3, 3.8)  # inches from the left: query, key, value
_WIDTH = 4.8
_LEFT, _ACROSS, _RIGHT = (
    0.1,
    3.4,
    4.7,
)  # a step that leaves values alone ends at _ACROSS
_MIDDLE = (_LEFT + _ACROSS) / 2


def arcs(
    weights: Tensor, tokens: ArrayLike, asks: int, *, answers: int | None = None
) -> Figure:
    """Draw where one token of a sentence looks: an arc to each token, as thick as its weight.

    Weights that round to 0.00 have no arc. Below each other token stands its weight.

    Parameters
    ----------
    weights : Tensor, shape (L,)
        One row of an attention map.
    tokens : sequence of str, array or Tensor of numbers
        The L tokens.
    asks : int
        Which token asks, from 0.
    answers : int, optional
        Which token's arc and weight to light; by default the one with the largest weight.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is not one weight for each token, a weight is not between 0 and 1, or a
        number of a token is beyond the last.
    TypeError
        If the weights are not a tensor, or a token's number is not a whole one.

    Examples
    --------
    >>> import torch
    >>> from attn_examples.figures import arcs
    >>> figure = arcs(torch.tensor([0.1, 0.7, 0.2]), ["a", "cat", "sat"], asks=2)
    """
    check_float("weights", weights)
    if weights.dim() != 1 or not len(weights):
        raise ValueError(
            f"weights has shape {shape_of(weights)} but arcs are drawn from one row, (L,)"
        )
    row = [float(weight) for weight in weights]
    for weight in row:
        if not 0.0 <= weight <= 1.0 + 1e-6:
            raise ValueError(f"weights holds {weight:g} but must lie between 0 and 1")
    words = labels_of("tokens", tokens, len(row)) or []
    lit = max(range(len(row)), key=row.__getitem__) if answers is None else answers
    for name, place in (("asks", asks), ("answers", lit)):
        check_count(name, place, least=0)
        if place >= len(row):
            raise ValueError(
                f"{name} ({place}) must be less than {len(row)}, the tokens"
            )
    widths = [0.08 * max(len(word), 3) + 0.12 for word in words]  # inches
    ends = [sum(widths[: i + 1]) for i in range(len(words))]
    at = [end - width / 2 for end, width in zip(ends, widths, strict=True)]
    reach = max(abs(at[asks] - x) for x in at)
    height = 0.3 + 0.35 * reach
    figure, ax = new_figure(ends[-1], height + 0.55)
    ax.set(xlim=(0, ends[-1]), ylim=(-0.55, height))
    ax.set_axis_off()
    for i, (word, weight) in enumerate(zip(words, row, strict=True)):
        bold = "bold" if i in (asks, lit) else "normal"
        box = {"boxstyle": "round,pad=0.2", "fc": LIT, "ec": INK, "lw": 1}
        ax.text(
            at[i],
            -0.15,
            word,
            ha="center",
            va="center",
            weight=bold,
            color="#000000" if i == asks else INK,
            bbox=box if i == asks else None,
            parse_math=False,
        )
        shown = f"{weight:.2f}".removeprefix("0")
        if shown == ".00":
            continue
        ax.text(
            at[i],
            -0.42,
            shown,
            color=INK,
            ha="center",
            va="center",
            fontsize=9,
            weight=bold,
        )
        ax.add_patch(_arc(at[asks], at[i], weight, lit=i == lit))
    return figure


def data_flow(
    *changed: str,
    source: str | None = "x",
    memory: str | None = None,
    projected: bool = False,
    heads: str | None = None,
    kv_heads: str | None = None,
    widths: tuple[str, str] | None = None,
    score: str = "query · key / √E",
    mask: str = "none",
    normalize: str = "softmax",
    mix: str = "weights · values",
    allowed: Tensor | None = None,
) -> Figure:
    """Draw how data flow through a mechanism, from what comes in to what goes out.

    Every mechanism is drawn in the same way, so that one sees where two differ. Say only
    what is not as in plain attention.

    Parameters
    ----------
    *changed : str
        What the mechanism changes, which is lit: "source", "projections", "heads",
        "score", "mask", "normalize", "mix".
    source : str or None, default "x"
        What asks; and what answers, if there is no memory. None if queries, keys and
        values come in as they are.
    memory : str, optional
        What answers, where it is another sequence.
    projected : bool, default False
        Whether W_Q, W_K, W_V make queries, keys and values.
    heads : str, optional
        The letter for the number of heads; by default there is one, without a name.
    kv_heads : str, optional
        The letter for the number of heads of keys and values, where there are fewer.
    widths : pair of str, optional
        How wide queries and keys are, and how wide values are; by default E, or E and E_v
        without `source`.
    score, mask, normalize, mix : str
        What each step does, in a few words; by default scaled dot-product attention.
    allowed : Tensor of bool, shape (L, S), optional
        An example of the mask, drawn beside its words: True, filled, where attention is
        allowed.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a name is not one of those above, widths are not two, or the mask has another
        shape.
    TypeError
        If the words for a part are no str, or the mask is no tensor.

    Examples
    --------
    >>> from attn_examples import causal_mask
    >>> from attn_examples.figures import data_flow
    >>> figure = data_flow("mask", mask="causal", allowed=causal_mask(5))
    """
    for name in changed:
        if name not in _PARTS:
            raise ValueError(f"changed ({name!r}) must be one of: {', '.join(_PARTS)}")
    steps = {"score": score, "mask": mask, "normalize": normalize, "mix": mix}
    others = {"source": source, "memory": memory, "heads": heads, "kv_heads": kv_heads}
    for name, said in (steps | others).items():
        check_kind(name, said, str | None if name in others else str, "a str")
    if widths is not None and (isinstance(widths, str) or len(widths) != 2):
        raise ValueError(
            f"widths ({widths!r}) must be two: of queries and keys, and of values"
        )
    if allowed is not None:
        check_kind("allowed", allowed, Tensor, "a Tensor")
        if allowed.dim() != 2:
            raise ValueError(
                f"allowed has shape {shape_of(allowed)} but must be (L, S)"
            )
    wide, of_values = widths or ("E", "E" if source else "E_v")
    lengths = ("L", *2 * ("S" if memory or not source else "L",))
    groups = (heads, *2 * (kv_heads or heads,))
    shapes = [
        " × ".join(filter(None, letters))
        for letters in zip(groups, lengths, (wide, wide, of_values), strict=True)
    ]
    scores = " × ".join(filter(None, (heads, *lengths[:2])))
    mixed = " × ".join(filter(None, (heads, "L", of_values)))

    flow = _Flow(changed)
    token = "D" if projected else "E"
    asks = f"{source}   L × {token}"
    if memory:
        answers = f"{memory}   S × {'D_c' if projected else token}"
        flow.boxes("source", (asks, _LEFT, 1.5), (answers, 1.8, _RIGHT))
    elif source:
        flow.box(asks, _LEFT, _RIGHT, "source")
    if projected:
        flow.arrows(_LANES, 0.22)
        matrices = [
            (f"W_{n}", x - 0.35, x + 0.35) for n, x in zip("QKV", _LANES, strict=True)
        ]
        flow.boxes("projections", *matrices)
    if heads:
        flow.arrows(_LANES, 0.22)
        fewer = f", {kv_heads} of keys and values" if kv_heads else ""
        flow.box(f"split into {heads} heads{fewer}", _LEFT, _RIGHT, "heads")
    top = flow.y
    flow.arrows(_LANES[:2], 0.46, f"query\n{shapes[0]}", f"key\n{shapes[1]}")
    flow.words(_LANES[2], top - 0.23, f"value\n{shapes[2]}")
    flow.box(score, _LEFT, _ACROSS, "score")
    flow.arrows([_MIDDLE], 0.3, f"scores {scores}")
    flow.box(mask, _LEFT, _ACROSS, "mask", allowed)
    flow.arrows([_MIDDLE], 0.2)
    flow.box(normalize, _LEFT, _ACROSS, "normalize")
    flow.arrows([_MIDDLE], 0.3, f"weights {scores}")
    flow.arrow(_LANES[2], top, flow.y)  # values go by all but the last step
    flow.box(mix, _LEFT, _RIGHT, "mix")
    if heads:
        flow.arrows([_MIDDLE], 0.3, mixed)
        flow.box(f"join the {heads} heads", _LEFT, _RIGHT, "heads")
        if projected:
            flow.arrows([_MIDDLE], 0.22)
            flow.box("W_O", _MIDDLE - 0.35, _MIDDLE + 0.35, "projections")
    end = "L × D" if heads and projected else mixed
    flow.arrows([_MIDDLE], 0.34, f"output {end}")
    return flow.done()


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
    check_kind("note", note, str | None, "a str")
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
            facecolor=LIT if lit else "none",
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


class _Flow:
    """A drawing that grows downwards from `y`; all lengths are inches."""

    def __init__(self, changed: tuple[str, ...]) -> None:
        self.changed = changed
        self.figure, self.ax = new_figure(_WIDTH, 1)
        self.y = 0.0

    def box(
        self,
        text: str,
        left: float,
        right: float,
        part: str,
        example: Tensor | None = None,
    ) -> None:
        """Draw a box with words, and beside them an example of a mask."""
        lit = part in self.changed
        top, height = self.y, 0.32 if example is None else 0.6
        self.y -= height
        box = FancyBboxPatch(
            (left, self.y),
            right - left,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=LIT if lit else "none",
            edgecolor=INK,
            linewidth=2 if lit else 0.8,
        )
        self.ax.add_patch(box)
        # not INK where lit: the fill stays light when a page turns INK around
        look: Any = {"color": "#000000", "weight": "bold"} if lit else {"color": INK}
        middle = top - height / 2
        if part in STEPS:
            number = STEPS.index(part) + 1
            _write(self.ax, left + 0.12, middle, f"{number} {part}", **look)
            _write(self.ax, left + 1.2, middle, text, **look)
        else:
            _write(self.ax, (left + right) / 2, middle, text, centred=True, **look)
        if example is not None:
            L, S = example.shape
            cell = 0.5 / max(L, S)
            for i in range(L):
                for j in range(S):
                    corner = right - 0.1 - (S - j) * cell, top - 0.05 - (i + 1) * cell
                    fill = look["color"] if example[i, j] else "none"
                    square = Rectangle(
                        corner, cell, cell, fc=fill, ec=look["color"], lw=0.4
                    )
                    self.ax.add_patch(square)

    def boxes(self, part: str, *boxes: tuple[str, float, float]) -> None:
        """Draw boxes side by side."""
        top = self.y
        for text, left, right in boxes:
            self.y = top
            self.box(text, left, right, part)

    def arrows(self, lanes: Sequence[float], length: float, *texts: str) -> None:
        """Draw arrows down, each with words beside it."""
        for x, text in zip(lanes, texts or [""] * len(lanes), strict=True):
            self.arrow(x, self.y, self.y - length)
            self.words(x, self.y - length / 2, text)
        self.y -= length

    def words(self, x: float, y: float, text: str) -> None:
        """Write beside an arrow."""
        _write(self.ax, x + 0.08, y, text, fontsize=9, color=INK)

    def arrow(self, x: float, top: float, bottom: float) -> None:
        """Draw one arrow."""
        style = {"arrowstyle": "->", "color": INK, "shrinkA": 0, "shrinkB": 0}
        self.ax.annotate("", (x, bottom), (x, top), arrowprops=style)

    def done(self) -> Figure:
        """Give the figure the size of what was drawn."""
        self.figure.set_size_inches(_WIDTH, 0.1 - self.y)
        self.ax.set(xlim=(0, _WIDTH), ylim=(self.y - 0.05, 0.05))
        self.ax.set_axis_off()
        return self.figure


def _write(
    ax: Axes, x: float, y: float, text: str, *, centred: bool = False, **look: Any
) -> None:
    ha = "center" if centred else "left"
    ax.text(x, y, text, ha=ha, va="center", parse_math=False, **look)


def _arc(start: float, end: float, weight: float, *, lit: bool) -> PathPatch:
    """Return an arc from one token to another, or a loop from a token to itself."""
    if start == end:
        points = [
            (start, 0.0),
            (start - 0.25, 0.35),
            (start + 0.25, 0.35),
            (start, 0.0),
        ]
    else:
        top = (
            1.33 * 0.35 * abs(end - start)
        )  # a Bezier curve rises to three quarters of it
        points = [(start, 0.0), (start, top), (end, top), (end, 0.0)]
    codes = [path.Path.MOVETO, *3 * [path.Path.CURVE4]]
    curve = path.Path(points, codes)
    alpha = 1.0 if lit else 0.55
    return PathPatch(curve, fc="none", ec=INK, lw=0.4 + 7 * weight, alpha=alpha)
