"""Every page, in both modes, at three widths: light, whole, and nothing fetched from elsewhere."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.conftest import ONE_OF_EACH_KIND, PAGES, Visit, opened
from tests.browser.measures import UNCUT, WIDE, beyond_bounds, measure

Rules = Literal["all", "contrast", "all but contrast"]
WIDTHS = (320, 768, 1440)
FIRST = "types/masks/causal.html"  # has formulas, and their fonts
KB = 1000

# What the keyboard comes to, in what a screen reader is not told of
FOCUSED = "xpath=descendant-or-self::*[self::a or self::button or @tabindex]"
# What stands on a page and is shown: headings in order, and what lacks something
LOOK = """() => {
  const shown = (element) => element.checkVisibility();
  const say = (element) => element.outerHTML.slice(0, 120);
  const all = (selector) => [...document.querySelectorAll(selector)];
  return {
    levels: all("h1, h2, h3, h4, h5, h6").filter(shown).map((h) => Number(h.tagName[1])),
    unnamed: all("img:not([alt]), svg[role=img]:not([aria-label])").map(say),
    broken: all("img").filter((img) => !img.complete || !img.naturalWidth).map(say),
    unsized: all("img:not([width][height])").map(say),
    boxed: all("article img, article svg").filter(
      (image) => getComputedStyle(image).backgroundColor !== "rgba(0, 0, 0, 0)").map(say),
    unscoped: all("th:not([scope])").map(say),
    tableless: all("article table").filter((table) => !table.querySelector("th")).map(say),
    twice: all("[id]").map((e) => e.id).filter((id, i, ids) => ids.indexOf(id) !== i),
    policy: document.querySelector("meta[http-equiv=Content-Security-Policy]")?.content,
  };
}"""
SIDEWAYS = """() => {
  const page = document.documentElement;
  if (page.scrollWidth <= page.clientWidth) return [];
  const wide = [...document.querySelectorAll("body *")]
    .filter((element) => element.getBoundingClientRect().right > page.clientWidth + 1);
  return wide.slice(0, 3).map((element) => element.outerHTML.slice(0, 120));
}"""

# Each word of code is an element, for its colour alone: axe walks through all of them each time
WITHOUT_COLOURS = """() => {
  for (const span of document.querySelectorAll("pre span:not([id], [role], [tabindex])")) {
    span.replaceWith(...span.childNodes);
  }
}"""

# What scripts do at another width they do before the frame that shows it
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# The mode has changed, and so has what fades
IS_LIGHT = """() => document.documentElement.dataset.theme === "light"
  && document.getAnimations().length === 0"""


def axe(page: Page, *, without: tuple[str, ...] = (), rules: Rules = "all") -> list[str]:
    """Return what axe finds, a line each."""
    chosen: dict[Rules, dict[str, Any]] = {
        "all": {},
        "contrast": {"runOnly": ["color-contrast"]},
        "all but contrast": {"rules": {"color-contrast": {"enabled": False}}},
    }
    loaded = page.evaluate("() => 'axe' in window")
    found = (Axe("") if loaded else Axe()).run(
        page,
        context={"exclude": [[selector] for selector in without]},
        options={"resultTypes": ["violations"], **chosen[rules]},
    )
    return [
        f"{rule['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]


def moving(page: Page) -> list[int]:
    """Return how many bytes the data of each figure that moves take, compressed."""
    data = "() => [...document.querySelectorAll('.moving')].map((figure) => figure.dataset.figure)"
    return [len(gzip.compress(text.encode(), mtime=0)) for text in page.evaluate(data)]


def look(page: Page) -> None:
    """Check what stands on a page, in the mode that it has, and that no width is too narrow."""
    found = page.evaluate(LOOK)
    levels = found.pop("levels")
    assert levels.count(1) == 1, levels
    assert levels[0] == 1, levels
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    policy = found.pop("policy") or ""
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert not re.search(r"script-src [^;]*unsafe-inline", policy)
    assert not any(found.values()), found
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(SIDEWAYS) == [], f"sideways at {width}"


@pytest.fixture(scope="session")
def known(site: str, browser: Browser) -> set[str]:
    """Return what a browser has that has read a page with formulas."""
    with browser.new_context() as context:
        return set(opened(context, site + FIRST).requests)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_and_for_everyone(
    visit: Callable[..., Visit], known: set[str], path: str
) -> None:
    seen = visit(path, scheme="dark")
    page = seen.page
    hosts = {urlsplit(address).netloc for address in seen.requests if address[:5] != "data:"}
    assert hosts == {urlsplit(page.url).netloc}
    first = sum(seen.requests.values())
    further = sum(size for address, size in seen.requests.items() if address not in known)
    figures = moving(page)  # what moves has a budget of its own: 25 kB each, 20 for the script
    further -= sum(figures)
    print(f"{path}: {first / KB:.1f} kB, and after {FIRST} {further / KB:.1f}")
    assert first <= (160 if figures else 150) * KB
    assert all(size <= 25 * KB for size in figures)
    assert further <= 60 * KB
    look(page)
    if path.startswith(UNCUT):
        assert beyond_bounds(path, measure(page)) == []
        page.set_viewport_size(WIDE)
    # The colours of code come from one stylesheet, and take axe as long as all else together;
    # the sidebar is the same everywhere, and longer with each page
    without: tuple[str, ...] = (".katex-html",)
    if path not in ONE_OF_EACH_KIND:
        without += ("pre", ".bd-sidebar-primary")
        page.evaluate(WITHOUT_COLOURS)
    assert axe(page, without=without) == []
    # The same visit, in the other mode: the colours at this width, all else at a phone's
    page.emulate_media(color_scheme="light")
    page.wait_for_function(IS_LIGHT)
    look(page)
    assert axe(page, without=without, rules="contrast") == []
    page.set_viewport_size({"width": 320, "height": 900})
    page.evaluate(DRAWN)
    assert axe(page, without=(".katex-html",), rules="all but contrast") == []
    assert page.locator("[aria-hidden=true]").locator(FOCUSED).all() == []
    assert seen.errors == []
