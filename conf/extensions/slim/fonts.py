"""Leave in the fonts of formulas the characters that some formula draws."""

from __future__ import annotations

import base64
import html
import logging
import math
import re
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

SMALL_FONT = 2000  # bytes
# Most formulas draw with these. Asked for by the stylesheet they arrive before the first paint,
# and hold it up, or after it, and the formulas change under the eye: so they come beside it, as
# stylesheets of their own, to pages that have what is named here.
COMMON_FONTS = {
    "text.css": ("KaTeX_Main-Regular.woff2", 'class="katex-html"'),
    "math.css": ("KaTeX_Math-Italic.woff2", "mathnormal"),
}
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


def apart(css: str, folder: Path) -> dict[str, str]:
    """Take the common fonts out of the stylesheet: each becomes one of its own."""
    found = {"css": css}
    for kind, (name, _) in COMMON_FONTS.items():
        rules = re.findall(rf"@font-face\s*\{{[^}}]*{re.escape(name)}[^}}]*\}}", css)
        for rule in rules:
            found["css"] = found["css"].replace(rule, "")
        found[kind] = "".join(with_fonts(rule, folder, math.inf) for rule in rules)
    return found


def with_fonts(css: str, folder: Path, largest: float = SMALL_FONT) -> str:
    """Write fonts of a few signs into the stylesheet: a request for each would take longer."""

    def write(match: re.Match[str]) -> str:
        content = (folder / match[1]).read_bytes()
        if len(content) > largest:
            return match[0]
        return f"url(data:font/woff2;base64,{base64.b64encode(content).decode()})"

    return re.sub(r"url\(([^()]+\.woff2)\)", write, css)
