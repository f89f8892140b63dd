"""Multi-head walk: what a layer of heads makes, step by step, with the shape of each."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from attn_examples.checks import check_count, check_whole
from attn_examples.figures.moving.element import (
    Moving,
    choice,
    controls,
    drawing,
    slider,
    table,
)
from attn_examples.figures.style import INK, LIT, new_figure

__all__ = ["walk_heads"]

_WALK_NAMES = ("x", "Q, K, V", "scores", "weights", "heads", "joined", "output")
_WALK_WHOLE, _WALK_CUT, _WALK_SQUARE = "N, L, D", "N, H, L, E", "N, H, L, L"
_WALK_LETTERS: tuple[str, ...] = (
    _WALK_WHOLE,
    _WALK_CUT,
    _WALK_SQUARE,
    _WALK_SQUARE,
    _WALK_CUT,
    _WALK_WHOLE,
    _WALK_WHOLE,
)


def walk_heads(
    embed_dim: int,
    num_heads: int,
    *,
    length: int = 10,
    batch: int = 1,
    head: int = 0,
    alt: str | None = None,
) -> Moving:
    """Show what a layer of several heads makes of its input, as blocks with shapes.

    The batch, the length, the width and the number of heads can be changed, and all
    shapes follow. A width that the heads do not divide says so.

    Parameters
    ----------
    embed_dim : int
        Width of a token, D.
    num_heads : int
        Number of heads, H, at most 16. It must divide the width.
    length : int, default 10
        Number of tokens, L.
    batch : int, default 1
        Number of sequences, N.
    head : int, default 0
        The head that is lit first.
    alt : str, optional
        What the still picture shows, for who cannot see it; by default the sizes.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If a size is less than 1, the heads are more than 16 or do not divide the width,
        or the head is not there.
    TypeError
        If a size is not a whole number.

    Examples
    --------
    >>> from attn_examples.figures import walk_heads
    >>> walk_heads(384, 12)
    <Moving head_walk: 12 heads of width 32 make (1, 10, 384) of (1, 10, 384).>
    """
    sizes = {"embed_dim": embed_dim, "num_heads": num_heads}
    for name, size in (sizes | {"length": length, "batch": batch}).items():
        check_count(name, size)
    if num_heads > 16:
        raise ValueError(f"num_heads ({num_heads}) must be at most 16")
    if embed_dim % num_heads:
        raise ValueError(
            f"embed_dim ({embed_dim}) must be divisible by num_heads ({num_heads})"
        )
    check_whole("head", head)
    if not 0 <= head < num_heads:
        raise ValueError(f"head ({head}) must be from 0 to {num_heads - 1}")
    N, L, D, H, E = batch, length, embed_dim, num_heads, embed_dim // num_heads
    step = max(s for s in range(1, max(D // 12, 1) + 1) if D % s == 0)
    steps = {str(i): str(i + 1) for i in range(6)}
    line = controls(
        choice("step", "Step:", steps, "0"),
        slider("N", "Batch N", 1, max(8, N), 1, N),
        slider("L", "Length L", 1, max(16, L), 1, L),
        slider("D", "Width D", step, step * (3 * D // (2 * step)), step, D),
        slider("H", "Heads H", 1, 16, 1, H),
        slider("head", "Lit head", 0, H - 1, 1, head),
    )
    if alt is None:
        alt = f"{H} heads of width {E} make {(N, L, D)} of {(N, L, D)}."
    shapes = _walk_shapes(N, L, D, H)
    cells = [
        [f"({letters})", str(shape)]
        for letters, shape in zip(_WALK_LETTERS, shapes, strict=True)
    ]
    numbers = table(_WALK_NAMES, ("letters", "shape"), cells)
    data = {"H": H, "head": head}
    still = _draw_walk(shapes, H, head)
    return Moving("head_walk", data, still, alt, line + drawing(266), numbers)


def _walk_shapes(N: int, L: int, D: int, H: int) -> list[tuple[int, ...]]:
    whole, cut, square = (N, L, D), (N, H, L, D // H), (N, H, L, L)
    return [whole, cut, square, square, cut, whole, whole]


def _draw_walk(shapes: list[tuple[int, ...]], H: int, head: int) -> Figure:
    """Draw each step: strips as wide as a token, and a column for each head."""
    figure, ax = new_figure(5.4, 2.9)
    ax.set(xlim=(-0.9, 4.5), ylim=(2.95, 0))
    ax.set_axis_off()
    wide, y = 3.0, 0.1
    for at, (name, shape) in enumerate(zip(_WALK_NAMES, shapes, strict=True)):
        top = y
        for _ in range(3 if at == 1 else 1):
            heads = at in (1, 2, 3, 4, 5)  # cut into pieces
            piece = wide / H if heads else wide
            for h in range(H if heads else 1):
                high, across = 0.18, piece
                if at in (2, 3, 4):
                    high = min(0.3, piece - 0.03)
                    across = piece - 0.03 if at == 4 else high
                corner = (h * piece + (piece - across) / 2, y)
                fill = LIT if heads and h == head else "none"
                ax.add_patch(Rectangle(corner, across, high, fc=fill, ec=INK, lw=0.8))
            y += 0.22 if at == 1 else 0
        bottom = y - 0.04 if at == 1 else y + high
        y = bottom + 0.17
        middle = (top + bottom) / 2
        step = min(at + 1, 6)
        ax.text(-0.1, middle, f"{step} {name}", ha="right", va="center")
        ax.text(3.1, middle, str(shape), va="center")
    ax.set_ylim(y - 0.05, 0)
    return figure
