"""Measure how pages look at first sight: `nox -s measures`, after `nox -s docs`.

For each page: how many screens of 1440 x 900 it is long; how much of it is pictures, and how much
code with its output; how far down the first picture begins, there and on a phone of 390 x 844;
the longest way from one picture to the next; and how many blocks of code are cut at 1280.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from playwright.sync_api import Page, ViewportSize, sync_playwright

from tests.browser.conftest import FLAGS, HTML, PAGES, chromium, opened
from tests.browser.server import serving

NO_ARTICLES = {"404.html", "search.html"}
WIDE: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
# By where a page stands: the most screens of 1440 x 900, and the least share that is pictures
BOUNDS = {"concepts/": (7.0, 0.25), "formulas/": (9.0, 1 / 6), "types/": (9.0, 1 / 6)}
UNCUT = (*BOUNDS, "practice/", "exercises/")  # where code that stands open is never cut at 1280
APART = 3.0  # screens from one picture to the next, on a concept page
# Of what is shown: tops and bottoms of pictures, heights of code, within the article
BOXES = """() => {
  const article = document.querySelector("article");
  const top = article.getBoundingClientRect().top;
  const place = (element) => element.getBoundingClientRect();
  const all = (selector) => [...article.querySelectorAll(selector)]
    .filter((element) => element.checkVisibility() && place(element).height > 0);
  const outer = (elements) =>
    elements.filter((e) => !elements.some((other) => other !== e && other.contains(e)));
  const pictures = outer(all(".figure-svg, .moving, img, svg[role=img]"))
    .filter((e) => place(e).height > 30);
  const code = outer(all(".cell_input, .cell_output > .output, div.highlight"))
    .filter((e) => !e.querySelector(".figure-svg, .moving"));
  return {
    height: place(article).height,
    above: top + scrollY,
    pictures: pictures.map((e) => [place(e).top - top, place(e).bottom - top]),
    code: code.reduce((sum, e) => sum + place(e).height, 0),
    cut: all("pre").filter((e) => e.scrollWidth > e.clientWidth + 1).length,
  };
}"""


@dataclass(frozen=True)
class Measures:
    """How a page looks; lengths in screens, shares of the article's height."""

    screens: float
    pictures: float
    code: float
    first: float
    first_on_phone: float
    apart: float
    cut: int


def measure(page: Page) -> Measures:
    """Measure a page that is open, and leave it as wide as 1280."""
    page.set_viewport_size(WIDE)
    wide = page.evaluate(BOXES)
    page.set_viewport_size(PHONE)
    phone = page.evaluate(BOXES)
    page.set_viewport_size({"width": 1280, "height": 900})
    cut = page.evaluate(BOXES)["cut"]
    places = sorted(wide["pictures"])
    shown = sum(bottom - top for top, bottom in places)
    ways = [below - bottom for (_, bottom), (below, _) in pairwise(places)]
    return Measures(
        screens=wide["height"] / WIDE["height"],
        pictures=shown / wide["height"],
        code=wide["code"] / wide["height"],
        first=_first(wide, WIDE["height"]),
        first_on_phone=_first(phone, PHONE["height"]),
        apart=max(ways, default=0.0) / WIDE["height"],
        cut=cut,
    )


def beyond_bounds(path: str, found: Measures) -> list[str]:
    """Say in which of its measures a page is beyond its bounds."""
    folder = path.partition("/")[0] + "/"
    uncut = [f"{found.cut} blocks of code are cut at 1280"] if found.cut else []
    if folder not in BOUNDS:
        return uncut
    screens, pictures = BOUNDS[folder]
    return uncut + [
        sentence
        for sentence, wrong in {
            f"{found.screens:.2f} screens, {screens:g} at most": found.screens > screens,
            f"pictures {found.pictures:.3f}, {pictures:.3f} at least": found.pictures < pictures,
            f"the first picture begins at screen {found.first:.2f}": found.first >= 1,
            f"on a phone it begins at screen {found.first_on_phone:.2f}": found.first_on_phone >= 1,
            f"{found.apart:.2f} screens without a picture": found.apart > APART
            and folder == "concepts/",
        }.items()
        if wrong
    ]


def _first(boxes: dict[str, Any], screen: int) -> float:
    """Return how far down the first picture begins, in screens; infinity without one."""
    tops = [top for top, _ in boxes["pictures"]]
    return (boxes["above"] + min(tops)) / screen if tops else float("inf")


def rows(pages: Iterable[str]) -> Iterable[tuple[str, Measures]]:
    """Open pages one after the other, and measure them."""
    with serving(HTML) as site, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=FLAGS)
        for path in pages:
            with browser.new_context(viewport=WIDE, reduced_motion="reduce") as context:
                yield path, measure(opened(context, site + path).page)
        browser.close()


def main() -> int:
    """Print a table."""
    titles = ("screens", "pictures", "code", "first", "on phone", "apart", "cut")
    print(f"{'page':42}", *(f"{title:>8}" for title in titles))
    for path, found in rows(sys.argv[1:] or [page for page in PAGES if page not in NO_ARTICLES]):
        numbers = (found.screens, found.pictures, found.code, found.first, found.first_on_phone)
        print(f"{path:42}", *(f"{n:8.2f}" for n in (*numbers, found.apart)), f"{found.cut:8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
