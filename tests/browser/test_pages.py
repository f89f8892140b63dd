"""Every page, in both modes, at three widths: nothing is fetched from elsewhere or broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from tests.browser.conftest import ONE_OF_EACH_KIND, PAGES, Visit

WIDTHS = (320, 768, 1440)

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


# The rules of axe that look at colours, and so may differ between the modes and no widths. To find
# what lies behind each word takes them half of the time of all rules together.
COLOURS = ("color-contrast", "link-in-text-block")
# What is on a page, how wide and high, but for the mode, which stands outside of head and body.
# The theme gives a tabindex to what scrolls, some time after the width has changed.
TREE = """() => [
  document.head.outerHTML,
  document.body.outerHTML.replaceAll(/ tabindex="-?\\d"/g, ""),
  [...document.querySelectorAll("body *")].map((element) => {
    const { x, width, height } = element.getBoundingClientRect(); // y goes by what is scrolled
    return [x, width, height].map(Math.round);
  }).join(" "),
]"""


def axe(page: Page, *, without: tuple[str, ...] = (), **options: Any) -> list[str]:
    """Return what axe finds, a line each."""
    found = page.evaluate(
        "([context, options]) => axe.run(context, options)",
        [
            {"exclude": [[selector] for selector in without]},
            {"resultTypes": ["violations"], "selectors": False, "preload": False, **options},
        ],
    )
    return [
        f"{rule['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_whole_and_for_everyone(visit: Callable[..., Visit], path: str) -> None:
    seen = visit(path)
    page = seen.page
    hosts = {urlsplit(address).netloc for address in seen.requests if address[:5] != "data:"}
    assert hosts == {urlsplit(page.url).netloc}
    check_what_stands(page)
    light = page.evaluate(TREE)
    page.evaluate(AXE_SCRIPT)
    # The colours of code come from one stylesheet, and take axe as long as all else together
    without = (".katex-html",) if path in ONE_OF_EACH_KIND else (".katex-html", "pre")
    assert axe(page, without=without) == []
    page.set_viewport_size({"width": 320, "height": 900})
    others = {rule: {"enabled": False} for rule in COLOURS}
    assert axe(page, without=(".katex-html",), rules=others) == []
    assert page.locator("[aria-hidden=true]").locator(FOCUSED).all() == []

    page.set_viewport_size({"width": 1440, "height": 900})
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    check_what_stands(page)
    assert page.evaluate(TREE) == light  # so all rules but those of colours say the same
    assert axe(page, without=without, runOnly=COLOURS) == []
    if path in ONE_OF_EACH_KIND:  # what comes in the dark is what is there when it gets dark
        page.reload(wait_until="networkidle")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        for _ in range(100):  # scripts may not have ended
            if page.evaluate(TREE) == light:
                break
            page.wait_for_timeout(100)
        assert page.evaluate(TREE) == light
    assert seen.errors == []


def check_what_stands(page: Page) -> None:
    """Check the headings, what may lack something, and that no width scrolls sideways."""
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
