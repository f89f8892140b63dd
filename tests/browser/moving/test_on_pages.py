"""Figures that move, on the pages of the site."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import HTML, PAGES, Visit, opened

Visiting = Callable[..., Visit]
MOVING = [page for page in PAGES if ' class="moving"' in (HTML / page).read_text(encoding="utf-8")]
each = pytest.mark.parametrize("path", MOVING)
ALIVE = """() => [...document.querySelectorAll(".moving")].every(
  (figure) => figure.matches(":defined") && figure.querySelector("output").textContent)"""
# What moves in a figure; what stands above it may, as when a formula gets its font
WATCH = """window.moved = [];
new PerformanceObserver((list) => list.getEntries().forEach(({ value, sources }) => {
  for (const { node } of sources) {
    const element = node?.parentElement;
    if (element?.closest(".moving")) window.moved.push(`${value} ${element.outerHTML}`);
  }
})).observe({ type: "layout-shift", buffered: true });"""


def test_there_are_such_pages() -> None:
    assert {"index.html", "types/heads/self.html"} <= set(MOVING)


@each
def test_it_comes_alive_without_moving_anything(site: str, browser: Browser, path: str) -> None:
    for width in (390, 1440):
        with browser.new_context(viewport={"width": width, "height": 900}) as context:
            context.add_init_script(WATCH)
            seen = opened(context, site + path)
            seen.page.wait_for_function(ALIVE)
            assert seen.page.evaluate("window.moved") == []
            assert seen.errors == []


@each
def test_it_is_a_picture_where_no_script_runs(visit: Visiting, path: str) -> None:
    page = visit(path, java_script_enabled=False).page
    for still in page.locator(".moving .still svg").all():
        assert still.is_visible()
    assert page.locator(".moving form:visible").count() == 0


def test_a_page_without_such_a_figure_does_not_ask_for_the_script(visit: Visiting) -> None:
    asked = visit("reference/glossary.html").requests
    assert not any("moving" in address for address in asked)
    assert any(".moving.js" in address for address in visit("index.html").requests)
