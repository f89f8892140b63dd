"""The search, used: what readers ask is answered, by keyboard, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Page, expect

from tests.browser.conftest import HTML, PAGES, Visit
from tests.browser.test_pages import axe, look

Visiting = Callable[..., Visit]
ASKED: dict[str, list[dict[str, Any]]] = tomllib.loads(
    Path(__file__).with_name("questions.toml").read_text(encoding="utf-8")
)
FOUND = ".search-found a"
KB = 1000


def answers(link: str, place: str) -> bool:
    """Tell whether a link leads to a place: a page, what is below it, or a section of it."""
    page, _, section = place.partition("#")
    there, _, anchor = link.partition("#")
    there = there.removesuffix(".html")
    return (there == page or there.startswith(f"{page}/")) and section in ("", anchor)


def links(page: Page, root: str) -> list[str]:
    """Return where the results lead, seen from the root of the site."""
    found: list[str] = page.locator(FOUND).evaluate_all("links => links.map((link) => link.href)")
    return [link.removeprefix(root) for link in found]


def ask(page: Page, words: str) -> None:
    """Type into the field that the page shows, once the search is there."""
    field = page.locator("form.bd-search input >> visible=true")
    field.fill(words)
    page.locator(".search-found:visible [role=status]:not(:empty)").wait_for()


def test_what_readers_ask_is_answered(visit: Visiting, site: str) -> None:
    seen = visit("search.html")
    missed: dict[str, list[str]] = {kind: [] for kind in ASKED}
    for kind, questions in ASKED.items():
        for question in questions:
            ask(seen.page, question["type"])
            first = links(seen.page, site)[:3]
            if not any(answers(link, place) for link in first for place in question["found"]):
                missed[kind].append(f"{question['type']}: {', '.join(first) or 'nothing'}")
    print(*(line for lines in missed.values() for line in lines), sep="\n")
    assert sum(map(len, ASKED.values())) >= 60
    assert sum(map(len, missed.values())) <= 3, missed
    assert missed["spellings"] == []
    assert seen.errors == []


def test_results_come_while_one_types_and_by_key(visit: Visiting, site: str) -> None:
    seen = visit("types/masks/causal.html")
    page = seen.page
    page.keyboard.press("Control+k")
    page.keyboard.type("grouped quer")
    page.locator(FOUND).first.wait_for()
    found = links(page, site)
    assert found[0].startswith("types/heads/grouped-query.html")
    focused = "document.activeElement.href ?? document.activeElement.name"
    ways = []
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
        ways.append(page.evaluate(focused).removeprefix(site))
    assert ways == [found[0], found[1], found[0], "q", "q", found[0]]
    page.keyboard.press("Enter")
    page.wait_for_url(site + found[0])
    assert seen.errors == []


def test_what_was_searched_for_leaves_nothing_behind(visit: Visiting, site: str) -> None:
    page = visit("index.html").page
    page.evaluate("localStorage.clear()")
    page.goto(f"{site}search.html?q=causal+mask")
    page.locator(FOUND).first.click()
    page.wait_for_load_state("networkidle")
    assert "?" not in page.url
    assert page.locator("article mark, article .highlighted, #searchbox > *").count() == 0
    assert (
        page.evaluate(
            "Object.keys(localStorage).filter((key) => key !== 'mode' && key !== 'theme')"
        )
        == []
    )
    page.go_back()
    page.locator(FOUND).first.wait_for()  # the question is still there
    assert page.locator(".bd-search-container input").input_value() == "causal mask"


def test_a_result_on_the_page_itself_closes_the_dialog(visit: Visiting, site: str) -> None:
    page = visit("reference/glossary.html").page
    dialog = page.locator("#pst-search-dialog")
    page.keyboard.press("Control+k")
    ask(page, "residual connection")
    page.locator(FOUND).first.click()
    expect(dialog).to_be_hidden()
    assert page.url == f"{site}reference/glossary.html#term-residual-connection"
    button = page.locator("button.search-button-field")
    button.press("Enter")
    expect(dialog).to_be_visible()
    page.locator(FOUND).first.focus()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()


@pytest.mark.parametrize("path", ["types/masks/causal.html", "search.html"])
def test_the_sections_are_fetched_when_they_are_asked_for(
    visit: Visiting, site: str, path: str
) -> None:
    seen = visit(path)
    address = f"{site}search.js"
    assert address not in seen.requests
    if path != "search.html":
        seen.page.keyboard.press("Control+k")
    seen.page.keyboard.type("softmax")
    seen.page.locator(FOUND).first.wait_for()
    seen.page.wait_for_load_state("networkidle")
    print(f"search.js: {seen.requests[address] / KB:.1f} kB")
    assert 0 < seen.requests[address] <= 1.7 * len(PAGES) * KB


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_results_are_for_everyone(visit: Visiting, scheme: str) -> None:
    page = visit("search.html?q=how+do+I+mask+padding", scheme=scheme).page
    said = page.get_by_role("status").filter(has_text="places")
    expect(said).to_have_text("12 places, the best first")
    look(page)
    assert axe(page) == []
    ask(page, "zyxwvut")
    expect(page.locator(".search-found")).to_have_text(re.compile("Nothing is found for “zyxwvut”"))
    assert axe(page) == []
    page = visit("types/masks/causal.html", scheme=scheme).page
    page.keyboard.press("Control+k")
    ask(page, "padding")
    assert axe(page, rules="contrast") == []
    page.set_viewport_size({"width": 320, "height": 600})
    assert axe(page, rules="all but contrast") == []


def test_a_search_that_does_not_come_says_so(visit: Visiting) -> None:
    page = visit("types/masks/causal.html").page
    page.route("**/search.js", lambda route: route.abort())
    page.keyboard.press("Control+k")
    ask(page, "softmax")
    expect(page.locator(".search-found:visible")).to_contain_text("could not be loaded")


def test_what_is_found_is_there_and_is_prose() -> None:
    script = (HTML / "search.js").read_text(encoding="utf-8")
    pages = json.loads(script.partition("startSearch(\n")[2].partition("\n")[0].rstrip(","))
    assert {page[0] for page in pages} == {
        name for file in HTML.rglob("*.html")
        if (name := file.relative_to(HTML).as_posix()) not in ("search.html", "404.html")
        and not name.startswith(("_modules/", "_static/"))
        and 'http-equiv="refresh"' not in file.read_text(encoding="utf-8")
    }  # fmt: skip
    for path, _, sections in pages:
        soup = BeautifulSoup((HTML / path).read_text(encoding="utf-8"), "html.parser")
        ids = {str(element["id"]) for element in soup.select("[id]")}
        assert [anchor for anchor, *_ in sections if anchor and anchor not in ids] == [], path
        assert [title for _, title, *_ in sections if not title] == [], path
        told = "\n".join(text for _, _, text, _ in sections)
        assert not re.search(r"\\[a-z]|\$|Show the (code|solution)|Download|import torch", told), (
            path
        )
