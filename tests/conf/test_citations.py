"""Citations are formatted again when something of them has changed, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sphinx.testing.util import SphinxTestApp
from sphinxcontrib.bibtex.domain import BibtexDomain

CONF = """
extensions = ["myst_parser", "extensions.read.citations"]
bibtex_bibfiles = ["some.bib"]
bibtex_reference_style = "author_year"
"""
BOOK = """
@book{%s,
  author = {%s, Ann},
  title = {On %s},
  publisher = {Press},
  year = {%d},
}
"""
PAGES = {
    "index.md": "# Home\n\n```{toctree}\none\ntwo\nlist\n```\n",
    "one.md": "# One\n\nAs {cite:t}`first` says.\n",
    "two.md": "# Two\n\nAs {cite:t}`first` says.\n",
    "list.md": "# List\n\n```{bibliography}\n```\n",
}


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """Build after changes to a small site, and tell whether entries were formatted."""
    formatted: list[str] = []
    theirs = BibtexDomain.env_updated

    def env_updated(self: BibtexDomain) -> object:
        formatted.append("now")
        return theirs(self)

    monkeypatch.setattr(BibtexDomain, "env_updated", env_updated)
    books = BOOK % ("first", "First", "Things", 1901) + BOOK % ("second", "Second", "Others", 1902)
    for name, text in {"conf.py": CONF, "some.bib": books, **PAGES}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")

    def run(**changes: str) -> bool:
        for name, text in changes.items():
            file = tmp_path / f"{name}{'' if name == 'some.bib' else '.md'}"
            file.write_text(text, encoding="utf-8")
        before = len(formatted)
        app = SphinxTestApp("html", srcdir=tmp_path)
        app.build()
        warned = app.warning.getvalue()
        app.cleanup()
        assert not warned
        return len(formatted) > before

    return run


def test_prose_leaves_them(build: Callable[..., bool], tmp_path: Path) -> None:
    assert build()
    assert not build(index=PAGES["index.md"] + "\nMore.\n")
    assert not build(one="# One\n\nMore.\n\nAs {cite:t}`first` says.\n")
    page = (tmp_path / "_build" / "html" / "one.html").read_text(encoding="utf-8")
    assert "1901" in page
    assert 'href="list.html#' in page


def test_another_citation_is_formatted(build: Callable[..., bool], tmp_path: Path) -> None:
    assert build()
    assert build(two="# Two\n\n{cite:t}`second` says.\n")
    page = (tmp_path / "_build" / "html" / "two.html").read_text(encoding="utf-8")
    assert "1902" in page
    assert 'href="list.html#' in page
    assert build(two="# Two\n\nNobody says.\n")
    assert not build(two="# Two\n\nSomebody says.\n")


def test_another_file_of_entries_is_formatted(build: Callable[..., bool], tmp_path: Path) -> None:
    assert build()
    assert build(**{"some.bib": BOOK % ("first", "Other", "Things", 1903)})
    assert build(list="# The list\n\n```{bibliography}\n```\n")
    assert not build(two="# Two\n\nSo {cite:t}`first` says.\n")
    page = (tmp_path / "_build" / "html" / "list.html").read_text(encoding="utf-8")
    assert "1903" in page
    assert "1901" not in page
