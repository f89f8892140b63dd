"""What the search is told of pages: sections in plain words, with what else they are found by."""

from __future__ import annotations

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from docutils.utils import new_document

from extensions.render import search
from extensions.shared import UNSEARCHED

PAGE = """\
Masks
=====

In one sentence. What a *query* may see.

**You need:** softmax.

Padding
-------

Filler has ``False``. See the glossary.

.. _windows:

A window is short::

    window(3)

========  =====
key       seen
========  =====
0         no
========  =====

Sources
-------

A paper.
"""


def test_a_page_is_cut_into_sections_that_say_what_is_to_be_read() -> None:
    whole, padding = search.cut(publish_doctree(PAGE, settings_overrides={"doctitle_xform": 0}), {})
    assert whole == ("", ["masks"], "Masks", ["What a query may see."], [])
    assert padding[0] == "padding"
    assert padding.text == ["Filler has False.", "A window is short:", "0; no"]
    assert "windows" in padding.labels


def test_terms_and_sources_are_sections_and_tables_of_hashes_are_none() -> None:
    item = nodes.definition_list_item(
        "",
        nodes.term("", "rotary", ids=["term-rotary"]),
        nodes.term("", "RoPE", ids=["term-RoPE"]),
        nodes.definition("", nodes.paragraph("", "Turns queries and keys.")),
    )
    source = nodes.citation("", nodes.label("", "7"), nodes.paragraph("", "By us."), ids=["id7"])
    table = nodes.container("", nodes.paragraph("", "0a1b2c"), classes=[UNSEARCHED])
    page = nodes.section("", nodes.title("", "Words"), item, source, table, ids=["words"])
    document = new_document("")
    document += page
    found = search.cut(document, {"id7": "A paper"})
    assert [(each.anchor, each.title, each.text) for each in found] == [
        ("", "Words", []),
        ("term-rotary", "rotary, RoPE", ["Turns queries and keys."]),
        ("id7", "A paper", ["By us."]),
    ]


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (r"\sqrt{d_k}", "√d_k"),
        (r"e^{-\infty} = 0", "e^(-∞) = 0"),
        (r"\tfrac34 (8, 0)", "3/4 (8, 0)"),
        (r"\operatorname{softmax}(QK^\top / \sqrt{d_k})\, V", "softmax(QKᵀ / √d_k) V"),
        (r"\text{head\_dim} / \text{embed\_dim}", "head_dim / embed_dim"),
        (r"\begin{cases} a \end{cases}", "…"),
    ],
)
def test_formulas_are_said_in_plain_signs(formula: str, said: str) -> None:
    assert search.plain(formula) == said


@pytest.mark.parametrize(
    ("page", "weight"),
    [
        ("types/masks/causal", 1.0),
        ("exercises/masks", 0.25),
        ("reference/glossary", 0.9),
        ("reference/api/heads", 0.45),
        ("reference/bibliography", 0.5),
    ],
)
def test_explanations_come_first(page: str, weight: float) -> None:
    assert search.weight(page) == weight


def test_no_word_has_two_lines_of_synonyms() -> None:
    groups = search.synonyms()
    words = [word.lower() for group in groups for word in group]
    assert len(words) == len(set(words))
    assert min(map(len, groups)) > 1


def test_a_mechanism_is_found_by_its_words_where_its_label_stands() -> None:
    section = search.Section("fewer", ["fewer", "grouped-query"], "Fewer heads", [], [])
    top = search.Section("", ["shared"], "Shared keys and values", [], [])
    ((page, _, rows),) = search.tell({"types/heads/grouped-query": [top, section]})
    assert page == "types/heads/grouped-query.html"
    assert "GQA" not in rows[0][3]
    assert "GQA" in rows[1][3]
