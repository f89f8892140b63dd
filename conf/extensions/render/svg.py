"""Say the same picture in fewer words.

The gap: matplotlib writes each cell of a map as an element of its own, with six decimals
and a list of fonts, so that a grid of maps is larger than all else on its page.
"""

from __future__ import annotations

import re
from itertools import groupby, pairwise
from typing import NamedTuple
from xml.etree.ElementTree import Element

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
TOKEN = re.compile(r"[MLQCz]|-?\d+(?:\.\d+)?(?:e-?\d+)?")
NUMBER = re.compile(r"-?\d+\.\d+")


class Box(NamedTuple):
    """An upright rectangle."""

    x: float
    y: float
    width: float
    height: float


def simplify(root: Element) -> None:
    """Make a drawing small, in place; what is seen stays as it was.

    Cells of a map that have one colour become one path, and so do lines that have one
    style; styles become attributes, the font is left to the page, and a tenth of a point
    is as precise as it gets.
    """
    for element in root.iter():
        for part in element.attrib.pop("style", "").split(";"):
            name, _, value = part.partition(":")
            if value and name.strip() != "font-family":
                element.set(name.strip(), value.strip())
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
    shapes = {f"#{path.get('id')}": path.get("d", "") for path in root.iter(f"{SVG}path")}
    root[:] = _children(root, shapes)
    used = " ".join(value for element in root.iter() for value in element.attrib.values())
    for definitions in root.iter(f"{SVG}defs"):
        definitions[:] = [child for child in definitions if f"#{child.get('id')}" in used]
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "d":
                element.set(key, _path(value, 2 if "id" in element.attrib else 1))
            elif key in ("x", "y", "transform") and "shape-rendering" not in element.attrib:
                element.set(key, NUMBER.sub(lambda number: _round(float(number[0]), 1), value))


def _children(parent: Element, shapes: dict[str, str]) -> list[Element]:
    """Return the children of an element with the needless ones gone and like ones joined."""
    flat: list[Element] = []
    for child in parent:
        child.tail = None
        if child.tag in (f"{SVG}g", f"{SVG}defs"):
            child.text = None
            child[:] = _children(child, shapes)
        bare = child.tag == f"{SVG}g" and set(child.attrib) <= {"id", "clip-path"}
        # cells lie inside their axes, so that nothing of them was clipped
        if bare and ("clip-path" not in child.attrib or all(_cell(c, shapes) for c in child)):
            flat += child
        elif child.tag not in (f"{SVG}style", f"{SVG}metadata") and not _unseen(child):
            flat.append(child)
    if parent.tag == f"{SVG}g" and "clip-path" in parent.attrib:
        return flat
    joined: list[Element] = []
    for cells, group in groupby(flat, lambda child: _cell(child, shapes) is not None):
        joined += (_map if cells else _lines)(list(group), shapes)
    return joined


def _cell(element: Element, shapes: dict[str, str]) -> Box | None:
    """Return where an element stands if it is a filled rectangle without an outline."""
    if "stroke" in element.attrib or "id" in element.attrib or element.get("fill") == "none":
        return None
    if (element.get("fill") or "").startswith("url"):
        return None
    d = shapes.get(element.get(HREF, "")) if element.tag == f"{SVG}use" else element.get("d")
    if d is None or not re.fullmatch(r"\s*M[^MLQCz]+(?:L[^MLQCz]+){3,4}z?\s*", d):
        return None
    numbers = [float(number) for number in NUMBER.findall(d)]
    xs, ys = sorted(set(numbers[::2])), sorted(set(numbers[1::2]))
    if len(xs) != 2 or len(ys) != 2:
        return None
    x, y = (float(element.get(name, 0)) for name in "xy")
    return Box(xs[0] + x, ys[0] + y, xs[1] - xs[0], ys[1] - ys[0])


def _map(cells: list[Element], shapes: dict[str, str]) -> list[Element]:
    """Draw cells that stand in columns and rows as one path for each colour, a run at once."""
    boxes = [box for cell in cells if (box := _cell(cell, shapes))]
    dx, dy = _step([box.x for box in boxes]), _step([box.y for box in boxes])
    left, top = min(box.x for box in boxes), min(box.y for box in boxes)
    places = [((box.x - left) / dx, (box.y - top) / dy) for box in boxes]
    in_order = all(abs(at - round(at)) < 0.02 for place in places for at in place)
    if len(cells) < 3 or not in_order or len(set(places)) < len(places):
        return cells
    paths: dict[str, Element] = {}
    runs: dict[str, list[Box]] = {}
    for cell, box, (x, y) in zip(cells, boxes, places, strict=True):
        look = {k: v for k, v in cell.attrib.items() if k.startswith(("fill", "opacity"))}
        paths.setdefault(str(look), Element(f"{SVG}path", look))
        here = Box(round(x), round(y), round(box.width / dx, 2), round(box.height / dy, 2))
        run = runs.setdefault(str(look), [])
        if run and here == (run[-1].x + run[-1].width, run[-1].y, 1, run[-1].height):
            run[-1] = run[-1]._replace(width=run[-1].width + 1)
        else:
            run.append(here)
    for key, path in paths.items():
        words = [[_round(number, 2) for number in box] for box in runs[key]]
        path.set("d", "".join(f"M{x} {y}h{w}v{h}h-{w}z" for x, y, w, h in words))
    move = f"translate({_round(left, 2)} {_round(top, 2)}) scale({_round(dx, 4)} {_round(dy, 4)})"
    # crisp: no seam between two cells
    drawn = Element(f"{SVG}g", {"transform": move, "shape-rendering": "crispEdges"})
    drawn[:] = paths.values()
    return [drawn]


def _step(places: list[float]) -> float:
    """Return the distance between columns or rows, or half of it where gaps ask for that."""
    distances = [b - a for a, b in pairwise(sorted(places)) if b - a > 0.05]
    step = min(distances, default=1.0)
    halves = any(abs(distance / step % 1 - 0.5) < 0.1 for distance in distances)
    return step / 2 if halves else step


def _lines(elements: list[Element], shapes: dict[str, str]) -> list[Element]:
    """Join neighbours that are lines of one style."""
    joined: list[Element] = []
    for element in elements:
        last = joined[-1] if joined else None
        line = element.tag == f"{SVG}path" and element.get("fill") == "none"
        if last is not None and line and _but_shape(last) == _but_shape(element):
            last.attrib["d"] += element.attrib["d"]
        else:
            joined.append(element)
    return joined


def _but_shape(element: Element) -> dict[str, str]:
    return {name: value for name, value in element.attrib.items() if name != "d"}


def _unseen(element: Element) -> bool:
    """Tell whether an element is the ground of a figure, which is drawn with no colour."""
    return (
        element.tag == f"{SVG}path"
        and element.get("fill") == "none"
        and not {"stroke", "id"} & set(element.attrib)
    )


def _path(d: str, digits: int) -> str:
    """Write a path relative to where each of its parts starts, so that like parts read alike."""
    if not set(re.findall("[A-Za-z]", d)) <= set("MLQCze"):
        return d  # ours already
    written, command = "", ""
    x0 = y0 = x = y = 0.0
    numbers: list[float] = []
    for token in TOKEN.findall(d):
        if token in "MLQCz":
            command, numbers = token, []
            written += "z" if token == "z" else ""
            continue
        numbers.append(float(token))
        if len(numbers) < {"M": 2, "L": 2, "Q": 4, "C": 6}[command]:
            continue
        if command == "M":
            x0, y0, x, y = *numbers, 0.0, 0.0
            written += f"M{_round(x0, digits)} {_round(y0, digits)}"
        else:
            rounded = [
                round(number - (y0 if i % 2 else x0), digits) for i, number in enumerate(numbers)
            ]
            steps = [number - (y if i % 2 else x) for i, number in enumerate(rounded)]
            written += command.lower() + " ".join(_round(step, digits) for step in steps)
            x, y = rounded[-2:]
        numbers = []
    return written.replace(" -", "-")


def _round(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text.replace("0.", ".", 1) if abs(number) < 1 else text
