"""The look that all pictures share: one ink, one style, figures that show once."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from attn_examples.checks import check_count, positive

__all__ = ["INK", "LIT", "new_figure"]

INK = "#14181f"  #: The colour of text and lines that stand on no fill.
LIT = "#ffd24d"  #: The fill of what a mechanism changes; text on it is black.

STYLE: Any = {
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
    width, height = positive("width", width), positive("height", height)
    check_count("lines", lines)
    check_count("per_line", per_line)
    single = lines == 1 and per_line == 1
    with plt.rc_context(STYLE):
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
