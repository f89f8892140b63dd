"""Mask composer: masks joined by & and |, painted, and the code that makes the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import and_, or_
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from torch import Tensor

from attn_examples.checks import check_count, check_kind
from attn_examples.figures.moving.element import (
    Moving,
    choice,
    controls,
    slider,
    table,
)
from attn_examples.figures.style import INK, LIT, new_figure
from attn_examples.masks import (
    causal_mask,
    document_mask,
    padding_mask,
    prefix_mask,
    query_padding_mask,
    sliding_window_mask,
)

__all__ = ["compose_masks"]

# In this order they are joined, from top to bottom: (L, size) -> (L, L) or repeats to it
_JOINABLE: dict[str, Callable[[int, int], Tensor]] = {
    "causal": lambda L, n: causal_mask(L),
    "window": lambda L, n: sliding_window_mask(L, None, n),
    "prefix": lambda L, n: prefix_mask(L, None, n),
    "documents": lambda L, n: document_mask([i // n for i in range(L)]),
    "padding": lambda L, n: padding_mask([n], L)[0],
    "padded queries": lambda L, n: query_padding_mask([n], L)[0],
}
_SIZE_WORDS = {
    "window": "last",
    "prefix": "first",
    "documents": "each",
    "padding": "from",
}
_MOST_TOKENS = 12  # cells that a phone shows as wide as a finger needs


def compose_masks(
    length: int = 8,
    chosen: Mapping[str, str] | None = None,
    *,
    window: int = 3,
    prefix: int = 2,
    document: int = 3,
    real: int | None = None,
) -> Moving:
    """Show masks that can be switched on, joined by `&` and `|`, and painted.

    Masks are joined from top to bottom: the first that is on begins, and each further
    one is joined to all above it, by `&` (both must allow) or `|` (either may). The code
    that makes the very mask stands below, to be copied.

    Parameters
    ----------
    length : int, default 8
        Number of tokens, L, from 2 to 12.
    chosen : mapping of str to str, optional
        The masks that are on at first, each with `"&"` or `"|"`; by default
        `{"causal": "&", "documents": "&"}`. There are "causal", "window", "prefix",
        "documents", "padding" and "padded queries", joined in this order.
    window : int, default 3
        How many keys a query sees at most under the sliding window.
    prefix : int, default 2
        Length of the prefix.
    document : int, default 3
        Length of each document; the last may be shorter.
    real : int, optional
        How many tokens are no padding; by default all but two.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If a number is out of its range, or `chosen` has another mask or sign.
    TypeError
        If a number is not a whole one, or `chosen` no mapping.

    Examples
    --------
    >>> from attn_examples.figures import compose_masks
    >>> figure = compose_masks(6, {"window": "&", "padding": "&"}, window=2)
    """
    _check_size("length", length, 2, _MOST_TOKENS)
    real = max(1, length - 2) if real is None else real
    sizes = {"window": window, "prefix": prefix, "documents": document, "padding": real}
    arguments = ("window", "prefix", "document", "real")
    for name, size in zip(arguments, sizes.values(), strict=True):
        _check_size(name, size, 1, length)
    chosen = {"causal": "&", "documents": "&"} if chosen is None else chosen
    check_kind("chosen", chosen, Mapping, "a mapping of masks to & or |")
    for kind, sign in chosen.items():
        if kind not in _JOINABLE:
            raise ValueError(f"chosen has {kind!r} but the masks are {list(_JOINABLE)}")
        if sign not in ("&", "|"):
            raise ValueError(f"chosen has {kind!r}: {sign!r} but a sign is '&' or '|'")

    single = {
        name: make(length, sizes.get(name, real)).expand(length, length)
        for name, make in _JOINABLE.items()
    }
    together, formula = _join_masks(single, chosen)
    lines = ""
    for name in _JOINABLE:
        signs = {"off": "off", "&": "&", "|": "|"}
        width = ""
        if name in _SIZE_WORDS:
            width = slider(f"{name} size", _SIZE_WORDS[name], 1, length, 1, sizes[name])
        lines += (
            f'<div class="line" role="group" aria-label="{name}">'
            f'<svg viewBox="0 0 {length} {length}" aria-hidden="true"><path/></svg>'
            f"{choice(name, name, signs, chosen.get(name, 'off'))}{width}</div>"
        )
    switches = controls(_HOW_JOINED, lines, _COPY_BUTTON)
    live = (
        f'<div class="compose">{_mask_board(together)}{switches}</div>'
        '<textarea readonly rows="8" wrap="off" spellcheck="false" '
        'aria-label="The code of this mask"></textarea>'
    )
    numbers = [str(i) for i in range(length)]
    cells = [[str(int(cell)) for cell in row] for row in together.tolist()]
    alt = (
        f"{formula}: {int(together.sum())} of {length**2} pairs are allowed. Beside it "
        "six masks that can be joined."
    )
    still = _draw_masks(together, formula, single)
    return Moving(
        "mask_composer", {"L": length}, still, alt, live, table(numbers, numbers, cells)
    )


_HOW_JOINED = (
    '<p class="how">Joined from top to bottom: &amp; keeps what both allow, | adds what '
    "either allows. Click a cell to paint it.</p>"
)
_COPY_BUTTON = '<button type="button" data-copy>Copy the code</button>'


def _check_size(name: str, size: Any, least: int, most: int) -> None:
    check_count(name, size, least=least)
    if size > most:
        raise ValueError(f"{name} ({size}) must be at most {most}")


def _join_masks(
    single: dict[str, Tensor], chosen: Mapping[str, str]
) -> tuple[Tensor, str]:
    """Return masks joined in their order, and how, in words."""
    on = [name for name in single if name in chosen]
    if not on:
        return torch.ones_like(single["causal"]), "no mask"
    mask, formula, last = single[on[0]], on[0], ""
    for name in on[1:]:
        sign = chosen[name]
        mask = (and_ if sign == "&" else or_)(mask, single[name])
        formula = f"({formula})" if last not in ("", sign) else formula
        formula, last = f"{formula} {sign} {name}", sign
    return mask, formula


def _mask_board(mask: Tensor) -> str:
    """Return the mask as buttons, a row for each query: a group with one Tab stop."""
    L = len(mask)
    cells = "<i></i>" + "".join(f"<i>{j}</i>" for j in range(L))
    for i, row in enumerate(mask.tolist()):
        cells += f"<i>{i}</i>" + "".join(
            f'<button type="button" aria-pressed="{str(cell).lower()}" '
            f'aria-label="token {i} looks at token {j}"></button>'
            for j, cell in enumerate(row)
        )
    return (
        f'<div class="board" style="--n: {L}" role="group" '
        'aria-label="The mask: a row for each token that asks, a column for each that '
        f'answers"><b>asks ↓, answers →</b>{cells}</div>'
    )


def _draw_masks(together: Tensor, formula: str, single: dict[str, Tensor]) -> Any:
    figure, axes = new_figure(7.0, 2.9, lines=2, per_line=5)
    grid = axes[0, 0].get_gridspec()
    for ax in axes[:, :2].flat:
        ax.remove()
    _fill_mask(figure.add_subplot(grid[:, :2]), together, formula, 11)
    for ax, (name, mask) in zip(axes[:, 2:].flat, single.items(), strict=True):
        _fill_mask(ax, mask, name, 9)
    return figure


def _fill_mask(ax: Axes, mask: Tensor, title: str, size: int) -> None:
    colors = ListedColormap(["#00000000", LIT])
    ax.pcolormesh(
        mask.int(), cmap=colors, vmin=0, vmax=1, edgecolors=INK, lw=0.6, clip_on=False
    )
    ax.set(aspect="equal", xticks=[], yticks=[])
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    ax.set_title(title, color=INK, fontsize=size)
