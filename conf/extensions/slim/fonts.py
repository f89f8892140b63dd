"""Leave in the fonts of formulas the characters that some formula draws."""

from __future__ import annotations

import base64
import html
import logging
import re
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

SMALL_FONT = 2000  # bytes
# Nearly every formula draws with these. As files of their own they arrive before the first
# paint, and hold it up, or after it, and the formulas change under the eye.
COMMON_FONTS = ("KaTeX_Main-Regular.woff2", "KaTeX_Math-Italic.woff2")
PIECE = re.compile(r"<(/?)span\b[^>]*>|<[^>]*>|([^<]+)")  # of a page


def drawn_characters(text: str) -> set[str]:
    """Return the characters that the formulas of a page draw."""
    found: set[str] = set()
    for start in re.finditer(r'<span [^>]*class="katex-html"', text):
        depth = 0
        for piece in PIECE.finditer(text, start.start()):
            found.update(html.unescape(piece[2] or ""))
            if piece[0].startswith(("<span", "</span")):
                depth += -1 if piece[1] else 1
                if depth == 0:
                    break
    return found


def subset_fonts(folder: Path, characters: set[str]) -> None:
    """Leave in the fonts of formulas the characters that some formula has."""
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it tells of each table
    for file in folder.glob("*.woff2"):
        font = TTFont(file, recalcTimestamp=False)
        subsetter = subset.Subsetter(subset.Options(hinting=False, notdef_outline=True))
        subsetter.populate(text="".join(characters))
        subsetter.subset(font)
        font.save(file)


def with_fonts(css: str, folder: Path) -> str:
    """Write common fonts and small ones into the stylesheet: requests would take longer."""

    def write(match: re.Match[str]) -> str:
        content = (folder / match[1]).read_bytes()
        if len(content) > SMALL_FONT and not match[1].endswith(COMMON_FONTS):
            return match[0]
        return f"url(data:font/woff2;base64,{base64.b64encode(content).decode()})"

    return re.sub(r"url\(([^()]+\.woff2)\)", write, css)
