"""Put the figures that cells draw into the page itself, as SVG that follows its colours.

The gap: MyST-NB links to an image file, whose text stays dark on a dark page. Inline, the
ink of `attn_examples.figures` becomes the page's own text colour.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

from extensions.render.svg import simplify

logger = logging.getLogger(__name__)

INK = "#14181f"  # attn_examples.figures.INK, without importing matplotlib
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
REFERENCE = re.compile(r"url\(#([^)]+)\)")

ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


class InlineFigures(SphinxTransform):
    """Replace each image that a cell drew, before Sphinx collects images."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        """Find the images of cells, ask for alt text, and inline those that are SVG."""
        for number, image in enumerate(list(self.document.findall(nodes.image))):
            if not _is_drawn(image):
                continue
            alt = image.get("alt", "").strip()
            if not alt:
                logger.warning(
                    "a figure needs alt text that says what it shows: give its cell "
                    "`mystnb: {image: {alt: ...}}`",
                    location=image,
                    type="figures",
                )
            path = Path(self.env.relfn2path(image["uri"])[1])
            if path.suffix == ".svg":
                markup = inline(path.read_text(encoding="utf-8"), alt, f"f{number}")
                box = f'<div class="figure-svg">{markup}</div>'
                image.replace_self(nodes.raw("", box, format="html", figure=alt))


def _is_drawn(image: nodes.image) -> bool:
    node: nodes.Element | None = image
    while node is not None:
        if node.get("nb_element") == "cell_code_output":
            return True
        node = node.parent
    return False


def inline(svg: str, alt: str, prefix: str) -> str:
    """Make a figure file fit to stand inside a page.

    Parameters
    ----------
    svg : str
        The file matplotlib wrote.
    alt : str
        What the figure shows.
    prefix : str
        Goes before each id, so that no two figures of a page share one.

    Returns
    -------
    str
        One `<svg>` element without metadata, sized by its view box.
    """
    root = ElementTree.fromstring(svg)
    simplify(root)
    referenced = set(REFERENCE.findall(svg)) | set(re.findall(r'xlink:href="#([^"]+)"', svg))
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name in referenced:
            element.set("id", f"{prefix}-{name}")
        for key, value in element.attrib.items():
            if key == f"{{{XLINK}}}href" and value.startswith("#"):  # not an image's data
                element.set(key, f"#{prefix}-{value[1:]}")
            else:
                value = REFERENCE.sub(rf"url(#{prefix}-\1)", value)
                element.set(key, value.replace(INK, "currentColor"))
    width = float(root.attrib.pop("width").removesuffix("pt"))
    root.attrib.pop("height")
    root.set("style", f"width: {width:.0f}pt")
    root.set("role", "img")
    root.set("aria-label", alt)
    return ElementTree.tostring(root, encoding="unicode")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_transform(InlineFigures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
