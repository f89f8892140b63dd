"""Draw icons as SVG: the theme sends 1.6 MB of Font Awesome for a dozen of them."""

from __future__ import annotations

import re

# Each drawn by a line on a square of 16
ICONS = {
    "angle-left": "M10 3 5 8l5 5",
    "angle-right": "M6 3l5 5-5 5",
    "bars": "M2 4h12M2 8h12M2 12h12",
    "chevron-down": "M3 6l5 5 5-5",
    "code-branch": "M5 2.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 1 0 0-3"
    "M5 10.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 1 0 0-3"
    "M11 4a1.5 1.5 0 1 0 0 3 1.5 1.5 0 1 0 0-3M5 5.5v5M11 7c0 2.5-6 1-6 3.5",
    "circle-half-stroke": "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2v12M8 5h4M8 8h6M8 11h4",
    "download": "M8 2v8M4.5 6.5 8 10l3.5-3.5M2.5 13.5h11",
    "file": "M4 2h5l3 3v9H4zM9 2v3h3",
    "list": "M2 4h1M6 4h8M2 8h1M6 8h8M2 12h1M6 12h8",
    "magnifying-glass": "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 1 0 0-9M10.5 10.5 14 14",
    "moon": "M13 9.5A5.5 5.5 0 1 1 6.5 3 4.5 4.5 0 0 0 13 9.5z",
    "print": "M4 6V2h8v4M4 11H2V6h12v5h-2M4 9h8v5H4z",
    "sun": "M8 5a3 3 0 1 0 0 6 3 3 0 1 0 0-6M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15"
    "M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1",
}
ICON = re.compile(r'<(i|span) class="([^"]*\bfa-[^"]*)"([^>]*)></\1>')


def draw_icons(text: str) -> str:
    """Put a drawing in the place of each element that Font Awesome would have filled."""

    def draw(match: re.Match[str]) -> str:
        classes = match[2].split()
        icon = next((name[3:] for name in classes if name[3:] in ICONS), None)
        if icon is None:
            raise ValueError(f"there is no icon for class {match[2]!r}: draw one in slim/icons.py")
        kept = " ".join(["icon", *(c for c in classes if not re.match(r"fa[srb]?(-|$)", c))])
        rest = re.sub(r' title="[^"]*"', "", match[3])
        open_tag = f'<svg class="{kept}"{rest} viewBox="0 0 16 16" aria-hidden="true">'
        return f'{open_tag}<path d="{ICONS[icon]}"/></svg>'

    return ICON.sub(draw, text)
