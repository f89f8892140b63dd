"""The search, used: what readers ask is answered, by keyboard, and leaves nothing behind."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import HTML, Visit

Visiting = Callable[..., Visit]
QUESTIONS: list[dict[str, Any]] = sum(
    tomllib.loads(Path(__file__).with_name("questions.toml").read_text("utf-8")).values(), []
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
    missed = []
    for question in QUESTIONS:
        ask(seen.page, question["type"])
        first = links(seen.page, site)[:3]
        if not any(answers(link, place) for link in first for place in question["found"]):
            missed.append(f"{question['type']}: {', '.join(first) or 'nothing'}")
    print(*missed, sep="\n")
    assert len(QUESTIONS) >= 60
    assert len(QUESTIONS) - len(missed) >= 57, missed
    assert seen.errors == []
