"""Pages show the idea first: how long they are, and how much of them is pictures."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import PAGES, opened
from tests.browser.measures import WIDE, Measures, measure

# By where a page stands: the most screens of 1440 x 900, and the least share that is pictures
BOUNDS = {"concepts/": (7.0, 0.25), "formulas/": (9.0, 1 / 6), "types/": (9.0, 1 / 6)}
APART = 3.0  # screens from one picture to the next, on a concept page


def faults(path: str, found: Measures) -> list[str]:
    """Say in which of its measures a page is beyond its bounds."""
    folder = path[: path.index("/") + 1]
    screens, pictures = BOUNDS[folder]
    return [
        sentence
        for sentence, wrong in {
            f"{found.screens:.2f} screens, {screens:g} at most": found.screens > screens,
            f"pictures {found.pictures:.3f}, {pictures:.3f} at least": found.pictures < pictures,
            f"the first picture begins at screen {found.first:.2f}": found.first >= 1,
            f"on a phone it begins at screen {found.first_on_phone:.2f}": found.first_on_phone >= 1,
            f"{found.apart:.2f} screens without a picture": found.apart > APART
            and folder == "concepts/",
            f"{found.cut} blocks of code are cut at 1280": found.cut > 0,
        }.items()
        if wrong
    ]


@pytest.mark.parametrize("path", [page for page in PAGES if page.startswith(tuple(BOUNDS))])
def test_a_page_shows_before_it_says(site: str, browser: Browser, path: str) -> None:
    with browser.new_context(viewport=WIDE, reduced_motion="reduce") as context:
        assert faults(path, measure(opened(context, site + path).page)) == []


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("concepts/a.html", {"screens": 7.1}),
        ("types/a.html", {"screens": 9.1}),
        ("concepts/a.html", {"pictures": 0.24}),
        ("formulas/a.html", {"pictures": 0.16}),
        ("types/a.html", {"first": float("inf")}),
        ("types/a.html", {"first_on_phone": 1.2}),
        ("concepts/a.html", {"apart": 3.1}),
        ("types/a.html", {"cut": 1}),
    ],
)
def test_what_is_beyond_its_bounds_is_said(path: str, changed: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "screens": 7.0, "pictures": 0.25, "code": 0.5, "first": 0.9, "first_on_phone": 0.9,
        "apart": 3.0, "cut": 0,
    }  # fmt: skip
    assert faults(path, Measures(**good)) == []
    assert len(faults(path, Measures(**good | changed))) == 1
