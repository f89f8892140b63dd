"""What all figures that move share: the still picture, the controls, the script."""

from __future__ import annotations

import base64
import importlib.resources
import json
import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from attn_examples.figures.style import INK

__all__ = ["Moving"]

_FOLDER = "attn_examples.figures.moving"


class Moving:
    """A figure that answers when touched, and a still picture where no script runs.

    Made by functions such as `explore`. As the last line of a cell of a notebook it
    shows itself. What it needs lies in the cell's output, so a saved notebook answers
    without a network. Copied code that lacks the scripts shows the still picture.

    Parameters
    ----------
    name : str
        The figure's script and element: "explorer" is `explorer.js` and
        `<attn-explorer>`.
    data : dict
        What the script reads.
    still : Figure
        The still picture; its `savefig` saves it.
    alt : str
        What the still picture shows.
    live : str
        The HTML of what the script brings to life: controls, and places to draw.
    numbers : str, default ""
        The HTML of the figure's numbers, as a table.

    Raises
    ------
    ValueError
        If `alt` is empty.

    Examples
    --------
    >>> import torch
    >>> from attn_examples.figures import explore
    >>> explore(torch.eye(3), ["a", "b", "c"])
    <Moving explorer: Attention of 3 tokens to 3 tokens, as a map.>
    """

    def __init__(
        self,
        name: str,
        data: dict[str, Any],
        still: Figure,
        alt: str,
        live: str,
        numbers: str = "",
    ) -> None:
        if not alt.strip():
            raise ValueError("alt is empty: say in it what the still picture shows")
        self.name = name
        self.data = data
        self.still = still
        self.alt = alt
        self._live = live
        self._numbers = numbers

    def __repr__(self) -> str:
        return f"<Moving {self.name}: {self.alt}>"

    def _repr_html_(self) -> str:
        if not _read("kit.js"):  # copied without the package
            return self._still()
        data = json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        quoted = data.replace("&", "&amp;").replace("'", "&#39;").replace("<", "&lt;")
        numbers = (
            '<details class="numbers"><summary>The numbers</summary>'
            '<div tabindex="0" role="region" aria-label="The numbers">'
            f"{self._numbers}</div></details>"
        )
        return (
            f"<attn-{self.name} class=\"moving\" data-figure='{quoted}'>"
            f'<div class="stage"><form autocomplete="off">{self._live}</form>'
            f'<div class="still">{self._still()}</div></div>'
            "<output></output>"
            f"{numbers if self._numbers else ''}"
            f"<style data-kit>{styles(self.name)}</style>"
            f"<script data-kit>{script(self.name)}</script>"
            f"</attn-{self.name}>"
        )

    def _repr_svg_(self) -> str:
        file = StringIO()
        self.still.savefig(file, format="svg", transparent=True)
        return file.getvalue()

    def _still(self) -> str:
        svg = self._repr_svg_()
        svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
        return svg.replace(
            "<svg", f'<svg role="img" aria-label="{escape(self.alt)}"', 1
        )


def script(*names: str) -> str:
    """Return the script of figures, with what they share before it."""
    parts = [_read(f"{name}.js") for name in ("kit", *names)]
    return "(() => {\n" + "\n".join(parts) + "\n})();\n"


def styles(*names: str) -> str:
    """Return the stylesheet of figures, with what they share before it."""
    return "\n".join(_read(f"{name}.css") for name in ("kit", *names))


def names() -> list[str]:
    """Return the names of all figures that there are."""
    files = [Path(file.name) for file in importlib.resources.files(_FOLDER).iterdir()]
    return sorted(f.stem for f in files if f.suffix == ".js" and f.stem != "kit")


def _read(name: str) -> str:
    """Read a script or stylesheet, without its comments and indentation."""
    try:
        file = importlib.resources.files(_FOLDER).joinpath(name)
    except ImportError:  # copied code may stand where the package is not
        return ""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    text = re.sub(r"^\s*//[^\n]*$|/\*.*?\*/", "", text, flags=re.M | re.S)
    return re.sub(r"\n\s*", "\n", text).strip()


def pack(numbers: Tensor) -> str:
    """Return the bytes of a tensor as base64, for `unpack` of the kit."""
    return base64.b64encode(numbers.contiguous().cpu().numpy().tobytes()).decode()


def split_scores(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores as doubles, the same with 0 for -inf, and where -inf is: a mask."""
    row = scores.detach().double().cpu()
    masked = row == -math.inf
    finite = row.masked_fill(masked, 0.0)
    if not finite.isfinite().all():
        raise ValueError(
            "scores holds NaN or infinity: each must be finite, or -inf for a masked key"
        )
    return row, finite, masked


def choice(name: str, legend: str, options: dict[str, str], chosen: str) -> str:
    """Return radio buttons: one Tab stop, arrows inside."""
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{escape(value)}"'
        f"{' checked' if value == chosen else ''}>{escape(label)}</label>"
        for value, label in options.items()
    )
    return f"<fieldset><legend>{escape(legend)}</legend>{buttons}</fieldset>"


def menu(name: str, label: str, options: Iterable[str], chosen: int = 0) -> str:
    """Return a menu whose values are the numbers of its options."""
    written = "".join(
        f'<option value="{i}"{" selected" if i == chosen else ""}>{escape(option)}</option>'
        for i, option in enumerate(options)
    )
    return f'<label>{escape(label)} <select name="{name}">{written}</select></label>'


def slider(
    name: str,
    label: str,
    least: float,
    most: float,
    step: float,
    value: float,
    digits: int = 0,
) -> str:
    """Return a range with its number beside it."""
    return (
        f'<label>{escape(label)} <input type="range" name="{name}" min="{least}" max="{most}"'
        f' step="{step}" value="{value}" data-digits="{digits}">'
        f'<span data-of="{name}">{value:.{digits}f}</span></label>'
    )


def box(name: str, label: str, checked: bool = False) -> str:
    """Return a box to tick."""
    ticked = " checked" if checked else ""
    return (
        f'<label><input type="checkbox" name="{name}"{ticked}>{escape(label)}</label>'
    )


def controls(*parts: str) -> str:
    """Return a line of controls, the last of which sets all back."""
    return f'<div class="controls">{"".join(parts)}<button type="reset">Reset</button></div>'


def drawing(height: int, kind: str = "") -> str:
    """Return the place where a script draws, as wide as there is room, in pixels high."""
    return (
        f'<svg class="live {kind}" style="height: {height}px" aria-hidden="true"></svg>'
    )


def table(
    rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[str]]
) -> str:
    """Return a table with a name for each row and column."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(row)}</th>{"".join(f"<td>{cell}</td>" for cell in line)}</tr>'
        for row, line in zip(rows, cells, strict=True)
    )
    return (
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
