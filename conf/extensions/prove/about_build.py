"""The directive `{about-build} part`: what this site was built from, as tables.

The gap: Sphinx says when a site was built, not from what. The parts are `sources`,
`versions`, `pages`, `oracles` and `licences`, and `proof`, a line with their counts. Nothing
here differs between two builds of the same sources: what cannot repeat is read from a file
that `nox -s record` writes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from extensions.execute import hook
from extensions.shared import ROOT, UNSEARCHED, PerPage, digest

TABLES = PerPage("tables")  # the pages with such tables
RECORD = ROOT / "docs" / "reference" / "record.json"
PINS = ROOT / "conf" / "pins.txt"
SHOWN = (
    *("torch", "numpy", "matplotlib", "transformers", "x-transformers"),
    *("ipykernel", "nbclient", "myst-nb", "sphinx", "sphinx-book-theme"),
)
SHIPPED = (  # what puts files of its own into the site
    *("Sphinx", "pydata-sphinx-theme", "sphinx-book-theme", "sphinx-design"),
    *("sphinx-copybutton", "sphinx-codeautolink", "sphinxcontrib-katex", "myst-nb"),
)
WITHIN = (  # files in them that have authors of their own
    ("KaTeX: formulas and their fonts", "MIT, SIL OFL 1.1"),
    ("MiniSearch: the engine of the search", "MIT"),
    ("Bootstrap, in pydata-sphinx-theme", "MIT"),
    ("Font Awesome Free, in pydata-sphinx-theme", "CC BY 4.0, SIL OFL 1.1, MIT"),
    ("clipboard.js, in sphinx-copybutton", "MIT"),
)
WITH_COMMIT = ("docs", "conf", "attn_examples", "LICENSE", "README.md", "pyproject.toml")

Rows = list[tuple[str, ...]]


class AboutBuild(SphinxDirective):
    """One of the tables."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the table that the argument names."""
        part = self.arguments[0]
        if part == "proof":
            TABLES.of(self.env)[self.env.docname] = True
            return self.parse_text_to_nodes(proof())
        tables = {
            "sources": lambda: sources(named(self.env.app)), "versions": versions, "pages": pages,
            "oracles": oracles, "licences": licences,
        }  # fmt: skip
        if part not in tables:
            raise self.error(f"about-build: part ({part}) must be one of {', '.join(tables)}")
        TABLES.of(self.env)[self.env.docname] = True
        hook.wait_for(*ran())
        head, *rows = tables[part]()
        return [_table(head, rows)]


def sources(which: str) -> Rows:
    """Name the commit, and hash what was built."""
    return [
        ("what", "which"),
        ("commit", which),
        ("all executed cells and outputs", digest(*(outputs(name) for name in ran()))),
        ("pins", digest(PINS.read_text(encoding="utf-8"))),
    ]


def versions() -> Rows:
    """Name the versions that made the outputs and the pages."""
    python = ".".join(map(str, sys.version_info[:3]))
    return [
        ("software", "version"),
        ("Python", python),
        *((name, metadata.version(name)) for name in SHOWN),
    ]


def pages() -> Rows:
    """List each page with cells: how many, what they gave, and how long they took."""
    seconds = recorded("seconds")
    return [
        ("page", "cells", "hash of code and outputs", "seconds, recorded"),
        *(
            (name, str(len(hook.PAGES[name].code_cells)), outputs(name)[:12],
             f"{seconds[name]:.1f}" if name in seconds else "")
            for name in ran()
        ),
    ]  # fmt: skip


def oracles() -> Rows:
    """List each test against another implementation, with the largest difference seen."""
    found = recorded("oracles")
    rows: Rows = [
        (test.removeprefix("tests/").replace("::", ", "), f"{largest:.0e}" if largest else "0")
        for test, largest in sorted(found.items())
    ]
    return [("test", "largest difference, float64"), *rows]


def proof() -> str:
    """Count what was run and compared, in one line of Markdown."""
    cells = [len(hook.PAGES[name].code_cells) for name in ran()]
    return (
        f"{sum(cells)} cells on {len(cells)} pages ran for this site, and the code was compared "
        f"with that of others and with formulas written out in {len(recorded('oracles'))} tests: "
        f"torch {metadata.version('torch')}, {{doc}}`the rest </reference/about-build>`."
    )


def licences() -> Rows:
    """List whose files the site ships, and under which licence."""
    rows: Rows = [("shipped", "licence"), ("this site and attn_examples", "MIT")]
    for name in SHIPPED:
        about: Any = metadata.metadata(name)
        licence = about.get("License-Expression") or next(
            (c.rpartition(" :: ")[2] for c in about.get_all("Classifier", []) if "License" in c),
            about.get("License", "see its package").partition("\n")[0],
        )
        rows.append((f"{name} {metadata.version(name)}", licence))
    return [*rows, *WITHIN]


def ran() -> list[str]:
    """Name the pages with code cells."""
    return sorted(name for name, page in hook.PAGES.items() if page.code_cells)


def outputs(name: str) -> str:
    """Hash the code of a page and what it gave."""
    cells = hook.PAGES[name].code_cells
    return digest(json.dumps([[c["source"], c.get("outputs", [])] for c in cells], sort_keys=True))


def recorded(what: str) -> dict[str, float]:
    """Read a part of the record, empty where there is none."""
    if not RECORD.exists():
        return {}
    found: dict[str, float] = json.loads(RECORD.read_text(encoding="utf-8"))[what]
    return found


def named(app: Any) -> str:
    """Name the commit; not in a draft, where the first edit would change it."""
    return "not named in a draft" if app.tags.has("draft") else commit(ROOT)


def commit(root: Path) -> str:
    """Name the commit of a checkout, and say if something is changed in it."""
    if not (root / ".git").exists():
        return "not known: not built from a git checkout"
    names = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", *WITH_COMMIT)
    return f"{names}, with changes that are not committed" if changed else names


def _git(root: Path, *command: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True)
    return done.stdout.strip()


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> nodes.table:
    group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in head), cols=len(head))
    body = nodes.tbody("", *(_row(row) for row in rows))
    group += [nodes.thead("", _row(head)), body]
    return nodes.table("", group, classes=[UNSEARCHED])


def _row(texts: tuple[str, ...]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph(t, t)) for t in texts))


def outdated(app: Sphinx, env: Any, added: Any, changed: Any, removed: Any) -> list[str]:
    """Read the pages with such a table again when one of the facts has changed, or a page runs."""
    keys = {name: hook.PAGES[name].key for name in ran()}  # of all that it depends on
    kept = [file.read_text(encoding="utf-8") for file in (PINS, RECORD) if file.exists()]
    facts = digest(json.dumps([keys, named(app), versions(), licences()]), *kept)
    before, env.attn_facts = getattr(env, "attn_facts", None), facts
    same = before == facts and all(hook.PAGES[name].known for name in ran())
    return [] if same else sorted(TABLES.of(env).keys() & env.found_docs)


def come_last(app: Sphinx, env: Any, docnames: list[str]) -> None:
    """Have the pages with such a table read when all others have run."""
    docnames.sort(key=lambda name: "{about-build}" in Path(env.doc2path(name)).read_text())


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("about-build", AboutBuild)
    app.connect("env-get-outdated", outdated, priority=600)  # after extensions.execute.hook
    app.connect("env-before-read-docs", come_last, priority=600)
    TABLES.connect(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
