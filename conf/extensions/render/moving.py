"""Put figures that move into the page: the still picture as others, the script apart.

The gap: what `attn_examples.figures.explore` and its like show in a notebook brings its script
and stylesheet along, which a page with a strict policy must not run, and which one file can
hold for all pages. `extensions.slim` makes that file.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from extensions.render.figures import inline

KIT = re.compile(r"<(style|script) data-kit>.*?</\1>", re.DOTALL)
STILL = re.compile(r'<svg role="img".*?</svg>', re.DOTALL)
ALT = re.compile(r'aria-label="([^"]*)"')


class MovingFigures(SphinxTransform):
    """Take the script out of each figure that moves, and make its still picture fit."""

    default_priority = 399  # before other figures

    def apply(self, **kwargs: Any) -> None:
        """Go through what cells gave as HTML."""
        for number, node in enumerate(self.document.findall(nodes.raw)):
            if is_moving(node.astext()):
                html = KIT.sub("", node.astext())
                svg = STILL.search(html)
                found = ALT.search(svg[0]) if svg else None
                assert svg, "a figure that moves has a still picture"
                assert found, "and that says what it shows"
                alt = unescape(found[1])
                still = inline(svg[0], alt, f"m{number}")
                new = html[: svg.start()] + still + html[svg.end() :]
                for image in _bundle(node).findall(nodes.image):  # for plain Markdown
                    image["alt"] = alt
                node.replace_self(nodes.raw("", new, format="html", figure=alt))


def _bundle(node: nodes.Element) -> nodes.Element:
    """Return the output that an HTML is a form of, with its other forms."""
    parent = node.parent
    while parent.parent and parent.get("nb_element") not in ("mime_bundle", "cell_code_output"):
        parent = parent.parent
    return parent


def is_moving(html: str) -> bool:
    """Tell whether a page or an output holds a figure that moves."""
    return ' class="moving" data-figure=' in html


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_transform(MovingFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
