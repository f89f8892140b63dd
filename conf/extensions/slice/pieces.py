"""Let every cell be copied as a piece that runs alone, and every mechanism as one file.

The gap: sphinx-copybutton copies what is shown, which needs the cells before it and the
package. The pieces of a page share their texts, which stand in the page once, as JSON. Those
that draw, and those of the exercises' checker, are long and the same on many pages: they stand
in a file that all pages share, a script, since from disk a page may load nothing else.
static/copying.js adds the buttons, and loads that file when a reader turns to one that needs
it. The first mechanism that a page has as one file is offered at its top, too.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from attn_examples.standalone import inline, is_import, needs, one_file, split
from extensions.execute.cache_key import files_behind
from extensions.execute.settings import BUILD
from extensions.shared import ROOT, PerPage, digest, write_whole
from extensions.slice.slicing import STATE, Page, Statement, quiet

logger = logging.getLogger(__name__)

KEPT = BUILD / "shared.json"  # what is found in the package, which takes longer than a page
PIECES = PerPage("pieces")  # of each page: for each cell the texts of its piece, or None
# What many pages need to run alone, most often needed first; it is taken with checks where a
# piece meets an error
SHARED = (
    ("from attn_examples.figures import *", False),
    ("from attn_examples.figures import *", True),
    ("from attn_examples.exercises import check, exercises", True),
)
COMPOUND = (
    ast.ClassDef, ast.For, ast.FunctionDef, ast.If, ast.Match, ast.Try, ast.While, ast.With,
)  # fmt: skip


def runnable(
    sources: Sequence[str],
    raising: Set[int],
    folder: Path,
    origin: str,
    hidden: Set[int] = frozenset(),
) -> list[Any]:
    """Return for each cell the texts that make it run alone, or None where it does so as it is.

    Parameters
    ----------
    sources : sequence of str
        The code cells of a page.
    raising : set of int
        Cells that show an error on purpose: their pieces keep the checks of input.
    folder : Path
        Where the page stands, and the files that it reads.
    origin : str
        What the piece says it is from.
    hidden : set of int
        Cells that the page folds away: no other may need what they define.
    """
    page = Page(sources)
    pieces: list[list[str] | None] = []
    for number, source in enumerate(sources):
        needed = page.slice(number)
        if needed is not None:
            before = [quiet(statement.text) for statement in needed]
            shown = [s for s in page.statements if s.cell == number]
            folded = _missed([*needed, *shown], hidden)
            if folded and number not in hidden:
                line = folded[0].text.strip().splitlines()[0]
                where = f"cell {number + 1} uses what hidden cell {folded[0].cell + 1} defines"
                raise ValueError(f"{where}: {line}")
        else:
            before = [quiet(text) for cell in sources[:number] for text in split("\n" + cell)]
        own = split("\n" + source)
        catches = any(map(_catches, (*before, *own)))
        texts = inline([*before, *own], checks=catches or number in raising)
        files = read_files_of([*before, *own], folder)
        if not before and not files and "\n".join(texts).split() == source.split():
            pieces.append(None)
            continue
        pieces.append([*header(texts, origin), *files, *pasteable(texts)])
    return pieces


def _missed(statements: Sequence[Statement], hidden: Set[int]) -> list[Statement]:
    """Return what is folded and binds a name that something shown below it uses.

    What is needed for its draws alone, or for settings, no reader misses.
    """
    used: set[str] = set()
    missed = []
    for statement in reversed(statements):
        if statement.cell in hidden and statement.binds & used - STATE:
            missed.append(statement)
        used -= statement.binds
        if statement.cell not in hidden:
            used |= statement.uses
    return [statement for statement in reversed(missed) if not is_import(statement.text)]


def header(texts: Sequence[str], origin: str) -> list[str]:
    """Say where a piece is from, and name what it needs besides torch (PEP 723)."""
    found = dependencies(*texts)
    lines = [f"# From {origin}. SPDX-License-Identifier: MIT", ""]
    if set(found) <= {"torch"}:
        return lines
    pins = ", ".join(f'"{name}=={version}"' for name, version in found.items())
    python = f'# requires-python = "{needs()[0]}"'
    block = ["# /// script", python, f"# dependencies = [{pins}]", "# ///"]
    return ["\n".join(block), *lines]


def dependencies(*texts: str) -> dict[str, str]:
    """Return the distributions that a piece imports, with the versions this site is built on."""
    modules = set().union(*map(_modules, texts))
    names = {_distribution(module) for module in modules - set(sys.stdlib_module_names)}
    return {name: _version(name) for name in sorted(names, key=str.lower)}


@cache
def _version(name: str) -> str:
    return metadata.version(name).partition("+")[0]


@cache
def _modules(text: str) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("resources.files"):
            modules |= {str(a.value) for a in node.args if isinstance(a, ast.Constant)}
    return modules


@cache
def _distribution(module: str) -> str:
    try:
        return str(metadata.metadata(module)["Name"])
    except metadata.PackageNotFoundError:  # of another name; to look through all takes long
        return metadata.packages_distributions()[module][0]


def read_files_of(texts: Sequence[str], folder: Path) -> list[str]:
    """Return statements that write the files a piece reads, where they are not there yet."""
    found = []
    for name in sorted(set().union(*map(_strings, texts))):
        if Path(name).suffix == ".json" and (folder / name).is_file():
            content = json.dumps(json.loads((folder / name).read_text()), separators=(",", ":"))
            found.append(
                f"from pathlib import Path\n\n"
                f"if not Path({name!r}).exists():  # the measurements that are read below\n"
                f"    Path({name!r}).write_text({content!r})\n"
            )
    return found


@cache
def _strings(text: str) -> set[str]:
    nodes = ast.walk(ast.parse(text))
    return {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}


@cache
def _catches(text: str) -> bool:
    return any(isinstance(node, ast.Try) for node in ast.walk(ast.parse(text)))


def pasteable(texts: Sequence[str]) -> list[str]:
    """Make texts fit for Python's prompt, where an empty line ends a block and must end it.

    Empty lines within a block get its indentation, and each block gets one after it.
    """
    pasted: list[str] = []
    ends_block = False
    for text in texts:
        if ends_block and text and not text.startswith("\n"):
            pasted.append("")
        joined, ends_block = _without_empty_lines(text)
        pasted.append(joined)
    return pasted


@cache
def _without_empty_lines(text: str) -> tuple[str, bool]:
    """Indent the empty lines within blocks; say whether a block comes last."""
    tree = ast.parse(text)
    lines = text.splitlines() if text else [""]
    strings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant | ast.JoinedStr)
        for line in range(node.lineno, node.end_lineno or 0)
    }
    for node in tree.body:
        if isinstance(node, COMPOUND):
            for number in range(node.lineno, node.end_lineno or 0):
                if not lines[number - 1].strip() and number not in strings:
                    following = next(line for line in lines[number:] if line.strip())
                    indent = len(following) - len(following.lstrip())
                    lines[number - 1] = " " * max(indent, 4)
    return "\n".join(lines), bool(tree.body) and isinstance(tree.body[-1], COMPOUND)


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Make the pieces of a page as it was just read."""
    env: Any = app.env
    cells = [n for n in doctree.findall(nodes.container) if n.get("nb_element") == "cell_code"]
    inputs = [code_of(cell) for cell in cells]
    about = [cell.get("cell_metadata") or {} for cell in cells]
    tags = [set(given.get("tags", ())) for given in about]
    raising = {number for number, found in enumerate(tags) if "raises-exception" in found}
    hidden = {
        number
        for number, found in enumerate(tags)
        if {"hide-cell", "hide-input"} & found or "check" in about[number]
    }
    folder = Path(env.doc2path(env.docname)).parent
    origin = f"{app.config.project}, {env.docname}"
    try:
        pieces = runnable([block.astext() for block in inputs], raising, folder, origin, hidden)
    except (SyntaxError, ValueError) as error:
        pieces = []
        logger.warning("a cell cannot be made to run alone: %s", error, location=env.docname)
    # interned: each text is kept once, however many pieces have it
    PIECES.of(env)[env.docname] = [piece and [*map(sys.intern, piece)] for piece in pieces]


def code_of(cell: nodes.Element) -> nodes.literal_block:
    """Return the code of a cell, wherever in it that stands."""
    (source,) = (n for n in cell.findall(nodes.container) if "cell_input" in n["classes"])
    return next(iter(source.findall(nodes.literal_block)))


def placed(pieces: Sequence[Sequence[str] | None]) -> dict[str, Any]:
    """Say of what texts the pieces of a page are made, each text once.

    Parameters
    ----------
    pieces : sequence of sequences of str, or None
        For each cell the texts of its piece.

    Returns
    -------
    dict
        The page's own `texts`; for each cell in `cells` their places, from -1 downward those in
        the shared file; and in `lines` how long a piece is.
    """
    present = [piece for piece in pieces if piece]
    alone = set().union(*(piece for piece in present if only_shared().isdisjoint(piece)))
    place = {t: -1 - n for n, t in enumerate(shared()) if t not in alone}
    # sorted: what is nearly alike stands together, and takes less when it is compressed
    texts = sorted(set().union(*present) - place.keys())
    place |= {text: number for number, text in enumerate(texts)}
    return {
        "texts": texts,
        "cells": [piece and [place[text] for text in piece] for piece in pieces],
        "lines": [piece and sum(text.count("\n") + 1 for text in piece) for piece in pieces],
    }


@cache
def shared() -> tuple[str, ...]:
    """Return the texts of the file that pages share."""
    return tuple(_of_package()["shared"])


@cache
def only_shared() -> frozenset[str]:
    """Return those that no mechanism needs: a piece without any of them waits for no file."""
    return frozenset(_of_package()["only"])


@cache
def _of_package() -> dict[str, list[str]]:
    """Find the texts to share, or read what an earlier build found in the same package."""
    sources = sorted([*(ROOT / "attn_examples").rglob("*.py"), *Path(__file__).parent.glob("*.py")])
    state = digest(sys.version, *(file.read_bytes() for file in sources))
    with suppress(OSError, ValueError):
        known: dict[str, list[str]] = json.loads(KEPT.read_text(encoding="utf-8"))
        if known.pop("state") == [state]:
            return known
    found = dict.fromkeys(text for code, checks in SHARED for text in _definitions(code, checks))
    code = "from attn_examples import *"
    needed = {text for checks in (False, True) for text in _definitions(code, checks)}
    made = {"shared": list(found), "only": [text for text in found if text not in needed]}
    KEPT.parent.mkdir(parents=True, exist_ok=True)  # a test may ask before anything is built
    write_whole(KEPT, _json(made | {"state": [state]}))
    return made


def prepare(app: Sphinx, env: Any) -> None:
    """Find the texts once, and not in each process that writes pages."""
    if any(PIECES.of(env).values()):
        _of_package()


def _definitions(code: str, checks: bool) -> Iterable[str]:
    """Return what an import brings into a piece, without what that imports in turn."""
    for text in pasteable(inline([code], checks=checks)):
        nodes = ast.parse(text).body
        if not all(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes):
            yield text


def add_pieces(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Put the pieces at the end of the page, and offer at its top what stands as one file."""
    files = tree.findall(nodes.raw) if tree else ()
    context["one_file"] = next((node["one_file"] for node in files if "one_file" in node), None)
    pieces = PIECES.of(app.env).get(page)
    if pieces and any(pieces):
        found = placed(pieces)
        if any(number < 0 for piece in found["cells"] for number in piece or ()):
            found["shared"] = context["pathto"](write_shared(Path(app.outdir)), 1)
        data = _json(found).replace("</", "<\\/")
        context["body"] += f'<script type="application/json" id="pieces">{data}</script>'


def write_shared(out: Path) -> str:
    """Write the file that pages share, if it is not there; return its address on the site."""
    content = f"sharedTexts={_json(shared())}\n"
    name = f"_static/shared-{hashlib.sha256(content.encode()).hexdigest()[:8]}.js"
    if not (out / name).exists():
        write_whole(out / name, content)
    return name


def _json(thing: Any) -> str:
    return json.dumps(thing, ensure_ascii=False, separators=(",", ":"))


class OneFile(SphinxDirective):
    """The directive `{one-file} MultiHeadAttention`: as one file, folded; more names may follow."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Make a disclosure with the file in it."""
        names = self.arguments[0].split()
        try:
            text = one_file(*names).rstrip()
        except ValueError as error:
            raise self.error(f"one-file: {error}") from error
        for file in files_behind(ROOT, f"from attn_examples import {', '.join(names)}"):
            self.env.note_dependency(str(file))
        block = nodes.literal_block(text, text, language="python", source=" ".join(names))
        self.set_source_info(block)
        lines = len(text.splitlines())
        command = f"<code>python -m attn_examples copy {' '.join(names)}</code>"
        titles = ", ".join(f"<code>{name}</code>" for name in names)
        summary = f"{titles} as one file, {lines} lines, that needs torch alone"
        place = f"one-file-{'-'.join(names)}".lower()
        opening = f'<details class="one-file" id="{place}"><summary>{summary}</summary>'
        about = {"id": place, "lines": lines, "needs": needs()[1].replace(">=", " ≥ ")}
        return [
            nodes.raw("", f"{opening}<p>Also: {command}</p>", format="html", one_file=about),
            block,
            nodes.raw("", "</details>", format="html"),
        ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("one-file", OneFile)
    PIECES.connect(app)
    app.connect("doctree-read", collect)
    app.connect("env-updated", prepare)
    app.connect("html-page-context", add_pieces)
    app.add_js_file("copying.js", loading_method="defer")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
