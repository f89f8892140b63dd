"""The notation: a letter has one meaning, and no page can give it another."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docutils import nodes
from docutils.utils import new_document

from extensions.read import notation

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
TABLE = """
| symbol | meaning | shape |
|---|---|---|
| $L$, $S$ | number of queries, number of keys | |
| $s_{ij}$ | score | `(L, S)` |

| letter | sound |
|---|---|
| $L$ | el |
"""


def test_a_row_is_found_by_each_of_its_symbols() -> None:
    rows = notation.rows(TABLE)
    assert set(rows) == {"L", "S", "s_{ij}"}
    assert rows["L"] is rows["S"]
    assert rows["s_{ij}"] == {"symbol": "$s_{ij}$", "meaning": "score", "shape": "`(L, S)`"}


def test_a_second_meaning_is_refused() -> None:
    second = TABLE.replace("$s_{ij}$", r"$s_{ i j }$, $\bar s$, $S$")
    with pytest.raises(ValueError, match=r"gives \$S\$ two meanings"):
        notation.rows(second)


def test_a_table_has_each_row_once_and_no_empty_column() -> None:
    rows = notation.rows(TABLE)
    assert notation.written([rows["S"], rows["L"]]) == [
        "| symbol | meaning |",
        "| --- | --- |",
        "| $L$, $S$ | number of queries, number of keys |",
    ]
    assert notation.written([rows["s_{ij}"]])[0] == "| symbol | meaning | shape |"


@pytest.mark.parametrize(
    ("formula", "symbol", "there"),
    [
        (r"\sqrt E", "E", True),
        (r"L S E_v", "E", False),
        (r"L S E_v", "E_v", True),
        (r"\operatorname{Self}(q)", "S", False),
        (r"\sum_{j=1}^{S}", "S", True),
        (r"Q K^\top", "K", True),
        (r"W_Q^h", "Q", False),
        (r"e^{\beta q}", r"\beta", True),
        (r"\bar{ O }", r"\bar O", False),
        (r"\bar  O", r"\bar O", True),
    ],
)
def test_a_symbol_is_known_in_a_formula(formula: str, symbol: str, there: bool) -> None:
    assert notation.uses(formula, symbol) is there


@pytest.mark.parametrize(
    ("formula", "by", "fault"),
    [
        (r"\sqrt{E}", ["symbols"], []),
        ("E_v", ["symbols"], ["no formula of this page has $E$: take it out of {symbols}"]),
        (
            "E",
            [],
            [
                "a table of symbols is made by {symbols}: name its rows in "
                "docs/reference/notation.md"
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_told(formula: str, by: list[str], fault: list[str]) -> None:
    head = nodes.row("", nodes.entry("", nodes.paragraph("", "symbol")))
    row = nodes.row("", nodes.entry("", nodes.math("E", "E")))
    table = nodes.table("", head, row, classes=by)
    page = new_document("page")
    page += [nodes.math_block(formula, formula), table]
    assert [told for _, told in notation.faults(page)] == fault


def test_every_symbol_of_a_page_is_in_the_notation() -> None:
    known = notation.rows((DOCS / f"{notation.PAGE}.md").read_text(encoding="utf-8"))
    asked = {
        notation.plain(symbol)
        for page in DOCS.rglob("*.md")
        for line in re.findall(r"^```{symbols} (.*)$", page.read_text("utf-8"), re.M)
        for symbol in notation.TEX.findall(line)
    }
    assert len(asked) > 40
    assert asked <= set(known)
