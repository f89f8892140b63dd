"""Show what a cell proves as one line, and how a figure was drawn below it: both folded.

The gap: MyST-NB folds what a tag names, with the same words for all cells, and the code of a
figure above the figure.

A cell whose work is to assert says in its field `check` what it finds:

    ```{code-cell} python3
    ---
    check: "Each row sums to 1."
    ---
    assert torch.allclose(weights.sum(-1), torch.ones(3))
    ```

The page then shows "✓ Each row sums to 1." and, opened, the code and what it printed. Code
between backticks and formulas between dollar signs are set as such.

A figure with a caption, `mystnb: {figure: {caption: ...}}`, keeps it between itself and its code.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

from extensions.slice.pieces import code_of

logger = logging.getLogger(__name__)

INLINE = re.compile(r"`([^`]+)`|\$([^$]+)\$")
# Calls that fail on purpose: torch's assertions, `error_of` of the pages, what is raised
CHECKING = re.compile(r"(^|\.)(assert\w*|error_of|AssertionError)$")


class Opener(nodes.Part, nodes.TextElement):
    """What stands in place of what is folded, and opens it."""


class Fold(SphinxTransform):
    """Fold cells that check, and the code of figures."""

    default_priority = 410  # figures are in place

    def apply(self, **kwargs: Any) -> None:
        """Go through the cells of a page."""
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") != "cell_code":
                continue
            metadata = cell.get("cell_metadata") or {}
            if "check" in metadata:
                self._check(cell, metadata["check"])
            elif "hide-input" in metadata.get("tags", ()) and _figures(cell):
                del cell["hide_mode"]
                code, *outputs = cell.children
                cell.children = []
                cell += [*outputs, *folded("drawn", [nodes.Text("How this was drawn")], code)]

    def _check(self, cell: nodes.Element, claim: object) -> None:
        code = code_of(cell).astext()
        if not isinstance(claim, str) or not claim.strip():
            logger.warning("`check` must say in words what the cell finds", location=cell)
        elif not asserts(code):
            logger.warning("the cell says %r and asserts nothing", claim, location=cell)
        elif _figures(cell):
            logger.warning("the cell that says %r would hide its figure", claim, location=cell)
        else:
            inside = cell.children
            cell.children = []
            sign = nodes.inline("", "✓", classes=["sign"])
            cell += folded("check", [sign, nodes.Text(" "), *set_inline(claim.strip())], *inside)


def asserts(code: str) -> bool:
    """Tell whether code can fail on purpose: by `assert`, or by a call that is named like it."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call) and CHECKING.search(ast.unparse(node.func)):
            return True
    return False


def set_inline(text: str) -> list[nodes.Node]:
    """Set code between backticks, and formulas between dollar signs."""
    found: list[nodes.Node] = []
    place = 0
    for match in INLINE.finditer(text):
        code, formula = match.groups()
        found.append(nodes.Text(text[place : match.start()]))
        found.append(nodes.literal(code, code) if code else nodes.math(formula, formula))
        place = match.end()
    return [*found, nodes.Text(text[place:])]


def folded(kind: str, words: list[nodes.Node], *inside: nodes.Node) -> list[nodes.Node]:
    """Return nodes that show words, and what is inside when they are opened."""
    opener = Opener("", "", *words, kind=kind)
    return [opener, *inside, nodes.raw("", "</details>\n", format="html")]


def _figures(cell: nodes.Element) -> bool:
    return any(node.get("figure") for node in cell.findall(nodes.raw))


def visit_opener(self: HTML5Translator, node: Opener) -> None:
    """Begin what is folded."""
    self.body.append(f'<details class="{node["kind"]}"><summary>')


def depart_opener(self: HTML5Translator, node: Opener) -> None:
    """End the words that are shown; a raw node ends the rest."""
    self.body.append("</summary>\n")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_node(Opener, html=(visit_opener, depart_opener))
    app.add_transform(Fold)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
