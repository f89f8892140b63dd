"""See to it that every code cell of every page has run, and say so.

The gaps: MyST-NB publishes a page whose cells did not run (a page without its front
matter, a failure that an earlier build already reported, a cell that was said to raise
and did not), and a Python fence in Markdown is never executed by anything.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypedDict

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from extensions.execute import hook, settings
from extensions.shared import ROOT, PerPage

logger = logging.getLogger(__name__)

FAILURES = PerPage("failures")  # what is wrong with each page
PYTHON = {"ipython", "ipython3", "py", "py3", "pycon", "python", "python3"}
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CELL = re.compile(r"^[ \t]*(`{3,}|:{3,})\{code-cell\}", re.MULTILINE)


class Failure(TypedDict):
    """One thing that is wrong with one page."""

    file: str
    line: int
    cell: int
    error: str


def check_page(app: Sphinx, doctree: nodes.document) -> None:
    """Look at a page as it was just read: has each cell run, and as it should?"""
    env: Any = app.env
    docname = app.env.docname
    source = Path(app.env.doc2path(docname))
    file = source.relative_to(ROOT).as_posix()
    failures: list[Failure] = []
    page = hook.PAGES.get(docname)
    cells = [n for n in doctree.findall(nodes.container) if n.get("nb_element") == "cell_code"]
    text = env.attn_notebooks[docname][0] if source.suffix == ".md" else ""
    lines = [text.count("\n", 0, fence.start(1)) + 1 for fence in CELL.finditer(text)]
    written = len(lines)
    for number, cell in enumerate(cells, start=1):
        error = _what_is_wrong(cell, page.error if page and page.cell == number else "")
        if error:
            line = lines[number - 1] if number <= written else 1
            failures.append({"file": file, "line": line, "cell": number, "error": error})
            break  # what comes after it did not run either
    if written != len(cells):
        failures.append(
            {
                "file": file,
                "line": 1,
                "cell": 0,
                "error": f"{written} code cells are written but {len(cells)} are on the page: "
                f"does its front matter say `file_format: mystnb`, and is none removed by a tag?",
            }
        )
    failures += _loose_python(doctree, file)
    FAILURES.of(env)[docname] = failures
    for failure in failures:
        place = f"{failure['file']}:{failure['line']}"
        logger.warning("%s", failure["error"].splitlines()[-1], location=place, type="executed")


def _what_is_wrong(cell: nodes.Element, crash: str) -> str | None:
    tracebacks = [
        n.astext() for n in cell.findall(nodes.literal_block) if "traceback" in n["classes"]
    ]
    should_raise = "raises-exception" in (cell.get("cell_metadata") or {}).get("tags", [])
    if tracebacks and not should_raise:
        return _last_lines(tracebacks[-1])
    if crash:
        return crash
    if cell.get("exec_count") is None:
        return "the cell did not run"
    if should_raise and not tracebacks:
        return "the cell is tagged raises-exception but raised nothing"
    return None


def _loose_python(doctree: nodes.document, file: str) -> list[Failure]:
    """Find Python that nothing executes: no cell, no doctest, not included from a file."""
    return [
        {
            "file": file,
            "line": block.line or block.parent.line or 0,
            "cell": 0,
            "error": "this Python fence is never executed: make it a {code-cell} or a {doctest}",
        }
        for block in doctree.findall(nodes.literal_block)
        if block.get("language") in PYTHON
        and "source" not in block  # literalinclude and listing: from a file
        and "testnodetype" not in block  # a doctest
        and "cell_input" not in block.parent["classes"]
    ]


def _last_lines(text: str, count: int = 8) -> str:
    lines = [line.rstrip() for line in ANSI.sub("", text).splitlines() if line.strip()]
    return "\n".join(lines[-count:])


def write_report(app: Sphinx, exception: Exception | None) -> None:
    """Leave the report where conf/commands/build.py looks for it."""
    failures: dict[str, list[Failure]] = FAILURES.of(app.env) if app.env else {}
    pages = {}
    for name in sorted(failures):
        page = hook.PAGES.get(name)
        pages[name] = {
            "cells": len(page.code_cells) if page else 0,
            "seconds": page.seconds if page else 0.0,
            "cached": bool(page and page.cached),
            "kept": not page or page.known or page.kept,
            "key": page.key if page else "",
            "failures": failures[name],
        }
    crash = f"{type(exception).__name__}: {exception}" if exception else None
    report = json.dumps({"pages": pages, "crash": crash}, indent=1)
    (settings.BUILD / "report.json").write_text(report, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    FAILURES.connect(app)
    app.connect("doctree-read", check_page)
    app.connect("build-finished", write_report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
