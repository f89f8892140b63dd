"""What is beyond the bounds of a page's measures is said; test_pages measures the pages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.measures import Measures, beyond_bounds


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
        ("practice/a.html", {"cut": 1}),
    ],
)
def test_what_is_beyond_its_bounds_is_said(path: str, changed: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "screens": 7.0, "pictures": 0.25, "code": 0.5, "first": 0.9, "first_on_phone": 0.9,
        "apart": 3.0, "cut": 0,
    }  # fmt: skip
    assert beyond_bounds(path, Measures(**good)) == []
    assert len(beyond_bounds(path, Measures(**good | changed))) == 1
