"""Run what the copy buttons copy, cell by cell, where `attn_examples` is not installed.

`nox -s snippets` calls this. It reads the built pages, not their sources: the piece behind
each button, and the output that the page shows. Each piece runs in a process of its own,
forked from one that has torch imported and nothing else done, in an empty folder. It must
end as the page says, print what the page shows, and make a figure where the page has one.

What has passed is noted beside the site, and is not run again while piece, page and versions
are the same.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import hashlib
import importlib.util
import io
import json
import multiprocessing
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag

LIMIT = 600  # seconds for one piece


@dataclass
class Shown:
    """A cell as the page shows it: what is copied, and what came of it."""

    page: str
    name: str
    code: str
    text: str | None = ""  # None: not compared
    figures: int = 0
    error: str = ""


@dataclass
class Ran:
    """What came of running a piece alone."""

    text: str = ""
    figures: int = 0
    error: str = ""
    trace: list[str] = field(default_factory=list)


def cells(file: Path, root: Path) -> Iterator[Shown]:
    """Read the pieces of a built page."""
    soup = BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
    page = file.relative_to(root).with_suffix("").as_posix()
    data = soup.find(id="pieces")
    pieces = json.loads(data.get_text()) if data else {"texts": [], "cells": []}
    shared = (
        json.loads((file.parent / pieces["checker"]).read_text()) if "checker" in pieces else []
    )
    texts = dict(enumerate(pieces["texts"]))
    texts |= {-1 - n: text for n, text in enumerate(shared)}
    for number, cell in enumerate(soup.select("div.cell"), start=1):
        code = cell.select_one("div.cell_input pre")
        assert code is not None, f"{page} has a cell without code"
        piece = pieces["cells"][number - 1] if pieces["cells"] else None
        source = "\n".join(texts[t] for t in piece) if piece else code.get_text().rstrip()
        yield Shown(page, f"cell {number}", source + "\n", *outputs(cell))
    for block in soup.select("details.one-file pre"):
        yield Shown(page, "one file", block.get_text(), None)


def outputs(cell: Tag) -> tuple[str, int, str]:
    """Return the text, the number of figures and the error that a cell shows."""
    texts = [pre.get_text() for pre in cell.select(".output.stream pre, .output.text_plain pre")]
    texts += [words(block) for block in cell.select(".output.text_html")]
    errors = cell.select(".output.traceback pre")
    last = errors[-1].get_text().strip().splitlines()[-1] if errors else ""
    return "\n".join(text.rstrip("\n") for text in texts), len(cell.select("svg[role=img]")), last


def words(html: Tag) -> str:
    """Return the words of a report, but for the links, which only the site can make."""
    for link in html.select("a, cite"):
        link.decompose()
    return " ".join(html.get_text(" ").split())


def run(shown: Shown) -> Ran:
    """Run a piece in this process, which is a fork made for it."""
    signal.alarm(LIMIT)
    ran, printed = Ran(), io.StringIO()
    value = None
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        try:
            value = execute(shown.code)
        except BaseException as error:
            ran.error = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
            ran.trace = traceback.format_exc().strip().splitlines()[-3:]
    ran.figures = sys.modules["matplotlib.figure"].Figure.made
    parts = [printed.getvalue().rstrip("\n")]
    if value is not None and type(value).__name__ != "Figure":
        from IPython.lib.pretty import pretty

        if hasattr(value, "_repr_html_"):
            parts.append(words(BeautifulSoup(value._repr_html_(), "html.parser")))
        else:
            parts.append(pretty(value))
    ran.text = "\n".join(part for part in parts if part)
    return ran


def execute(code: str) -> Any:
    """Run a program as `python` does, and return the value of its last line."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    names: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
    main, own = type(sys)("__main__"), sys.modules["__main__"]
    main.__dict__.update(names)
    sys.modules["__main__"] = main
    try:
        exec(compile(tree, "piece.py", "exec"), main.__dict__)
        if isinstance(last, ast.Expr):
            return eval(compile(ast.Expression(last.value), "piece.py", "eval"), main.__dict__)
        return None
    finally:
        sys.modules["__main__"] = own  # which the result needs on its way to the parent


def what_differs(shown: Shown, ran: Ran) -> str | None:
    """Say in what a run differs from what the page shows, if it does."""
    if ran.error != shown.error:
        place = "\n    ".join(ran.trace) or "nothing was raised"
        return f"{place}\n    (the page shows {shown.error or 'no error'})"
    if (
        shown.text is not None
        and not shown.error
        and ran.text.strip("\n") != shown.text.strip("\n")
    ):
        return f"printed {ran.text[-300:]!r}\n    page    {shown.text[-300:]!r}"
    if shown.figures and not ran.figures:
        return "no figure was made"
    return None


def state(shown: Shown) -> str:
    """Name a piece, what the page shows of it, and the versions that it runs with."""
    return hashlib.sha256(repr((shown, versions())).encode()).hexdigest()


@cache
def versions() -> list[str]:
    """Return what is installed here."""
    return [sys.version, *sorted(f"{d.name} {d.version}" for d in metadata.distributions())]


def preload() -> None:
    """Import what nearly every piece imports, and count the figures that are made."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.figure
    import matplotlib.pyplot
    import torch

    torch.set_num_threads(1)
    made = mpl.figure.Figure
    first = made.__init__

    def counting(self: Any, *arguments: Any, **options: Any) -> None:
        made.made += 1  # type: ignore[attr-defined]
        first(self, *arguments, **options)

    made.made = 0  # type: ignore[attr-defined]
    made.__init__ = counting  # type: ignore[method-assign]


def main() -> int:
    """Run all pieces and say which do not run alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("html", type=Path, help="the folder of the built site")
    parser.add_argument(
        "--page", help="run the pieces of this page alone, such as types/masks/causal"
    )
    options = parser.parse_args()
    noted = options.html.parent / "snippets.json"
    passed = set(json.loads(noted.read_text())) if noted.exists() else set()
    if importlib.util.find_spec("attn_examples"):
        print("attn_examples is installed here: the pieces must run without it")
        return 2
    files = sorted(options.html.rglob("*.html"))
    found = [shown for file in files for shown in cells(file, options.html)]
    current = {state(shown) for shown in found}
    found = [shown for shown in found if options.page in (None, shown.page)]
    if not found:
        print(f"html ({options.html}) has no cells: build the site first, nox -s docs")
        return 2
    todo = [shown for shown in found if state(shown) not in passed]
    preload()
    context = multiprocessing.get_context("fork")
    failures = []
    with context.Pool(maxtasksperchild=1) as pool:
        for shown, ran in zip(todo, pool.imap(run, todo, chunksize=1), strict=True):
            problem = what_differs(shown, ran)
            if not problem:
                passed.add(state(shown))
            else:
                failures.append(f"{shown.page}, {shown.name}\n    {problem}")
                print(failures[-1], flush=True)
    partial = noted.with_suffix(".tmp")
    partial.write_text(json.dumps(sorted(passed & current)))
    partial.replace(noted)  # whole or not at all
    of_cells = [shown for shown in found if shown.name != "one file"]
    failed = [failure for failure in failures if ", one file" not in failure]
    print(f"{len(of_cells) - len(failed)} of {len(of_cells)} cells run alone", end="")
    print(f", and {len(found) - len(of_cells)} mechanisms as one file")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
