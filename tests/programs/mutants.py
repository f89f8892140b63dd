"""Change one thing of the package at a time, and see whether a test notices.

`nox -s mutants` calls this; all of it takes hours, and is no part of `nox`. mutmut says what can
be changed (a sign, a comparison, a default, an argument left out), but for docstrings,
annotations and what stands behind `raise`. It would run such a change inside a function that
chooses it, which hides from torch, so the changed file is imported in place of the file here.
Torch, and all that is not ours, is imported once: each change is judged in a fork, by the tests
that mirror its file, then by those of tests/test_contract.py and tests/test_transforms.py that
call what the file offers. It is noticed where one fails, or they take a few times as long.
Nothing is written where the sources are.

    nox -s mutants                                      all, in random order; Ctrl-C: the table
    nox -s mutants -- --sample 300                      the same 300 each time
    nox -s mutants -- attn_examples/core.py             of one file
    nox -s mutants -- attn_examples/core.py#17          one change
"""

from __future__ import annotations

import argparse
import ast
import collections
import difflib
import functools
import importlib.util
import itertools
import multiprocessing
import random
import sys
import time
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType

import libcst
import pytest
from mutmut.mutation.file_mutation import Mutation, create_mutations

STEPS = ("scores", "masks", "normalizers", "positions", "heads", "mixes")
LEAST = 92  # per cent that tests must notice
SEED = 0
PYTEST = ("-x", "-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:xdist")
# What torch compiles is compared with the module that it was compiled from, changed as it is
WITHOUT = "not compile and not export"
ROOT = Path(__file__).resolve().parent.parent.parent
OURS = tuple(str(ROOT / folder) for folder in ("attn_examples", "tests", "conf"))
OF_ALL = ("tests/test_contract.py", "tests/test_transforms.py")


def main() -> int:
    """Judge changes, and say which were not noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wanted", nargs="*", help="files, or changes as FILE#NUMBER")
    parser.add_argument("--sample", type=int, help="how many changes, by default all")
    options = parser.parse_args()
    every = [f"{path}#{place}" for path in files() for place in range(len(changes(path)[1]))]
    wanted = [name for name in every if chosen(name, options.wanted)]
    names = random.Random(SEED).sample(wanted, min(options.sample or len(wanted), len(wanted)))
    print(f"{len(every)} changes, of which {len(names)} are tried", flush=True)
    warm()
    verdicts: dict[str, bool] = {}
    survivors = []
    try:
        for count, name in enumerate(names, 1):
            began = time.monotonic()
            verdicts[name] = noticed(name)
            word = "killed  " if verdicts[name] else "SURVIVED"
            print(f"{count:4} {word} {time.monotonic() - began:5.1f} s  {name}", flush=True)
            if not verdicts[name]:
                survivors.append(difference(name))
                print(survivors[-1], flush=True)
    except KeyboardInterrupt:
        print("stopped")
    print("\nSurvivors", *survivors, sep="\n\n")
    return table(verdicts)


def chosen(name: str, wanted: list[str]) -> bool:
    """Say whether a change is asked for, by its name or its file's."""
    return not wanted or name in wanted or name.partition("#")[0] in wanted


def files() -> list[Path]:
    """List what is changed."""
    steps = [path for step in STEPS for path in sorted(Path("attn_examples", step).glob("*.py"))]
    return [Path("attn_examples/core.py"), *(path for path in steps if path.stem != "__init__")]


@functools.cache
def changes(path: Path) -> tuple[libcst.Module, list[Mutation]]:
    """Return a file and what can be changed in its functions."""
    module, found, *_ = create_mutations(str(path), path.read_text(encoding="utf-8"))
    inside = [change for change in found if change.contained_by_top_level_function]
    return module, [change for change in inside if "-INF" not in text_of(change.mutated_node)]


def text_of(node: libcst.CSTNode) -> str:
    """Return a string as it is written: float reads "-INF" as it does "-inf"."""
    return node.value if isinstance(node, libcst.SimpleString) else ""


def changed(name: str) -> str:
    """Return the text of a file with one change."""
    path, _, place = name.partition("#")
    module, found = changes(Path(path))
    change = found[int(place)]
    new = module.deep_replace(change.original_node, change.mutated_node)
    assert isinstance(new, libcst.Module)
    return new.code


def difference(name: str) -> str:
    """Show a change, with the lines around it."""
    old, new = (text.splitlines() for text in (changes(file_of(name))[0].code, changed(name)))
    return "\n".join(itertools.islice(difflib.unified_diff(old, new, name, lineterm=""), 2, None))


def file_of(name: str) -> Path:
    """Return the file that a change is in."""
    return Path(name.partition("#")[0])


def mirrors(path: Path) -> tuple[list[str], list[str]]:
    """List the tests named as a file is and those of no one file, and the rest of the folder."""
    core = path.stem == "core"  # what it has for heads is tested with them
    step = Path("tests", "heads" if core else path.parent.name)
    every = sorted(str(test) for test in step.glob("test_*.py"))
    if core:
        return ["tests/test_core.py"], every
    others = {str(step / f"test_{other.stem}.py") for other in path.parent.glob("*.py")}
    first = [str(step / f"test_{path.stem}.py"), *(test for test in every if test not in others)]
    first = [test for test in first if test in every]
    return first, [test for test in every if test not in first]


def offered(path: Path) -> list[str]:
    """Read the names in a file's `__all__`."""
    for line in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(line.value)]
    return []


def warm() -> None:
    """Import what all tests import, and forget what is ours."""
    pytest.main([*PYTEST, "--collect-only", *(f"tests/{step}" for step in STEPS), *OF_ALL])
    for name, module in list(sys.modules.items()):
        if name != "__main__" and str(getattr(module, "__file__", "")).startswith(OURS):
            del sys.modules[name]


class Changed(SourceFileLoader):
    """Import one module from a text of our own."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(".".join(path.with_suffix("").parts), str(path.resolve()))
        self.text = text

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Answer for this module alone."""
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        """Compile the text, not the file."""
        return compile(self.text, self.path, "exec", dont_inherit=True)


def stages(path: Path) -> list[tuple[str, ...]]:
    """List what pytest is asked about a file, one after the other: few changes come to the end."""
    asked = [(*tests, "-k", WITHOUT) for tests in mirrors(path) if tests]
    if names := offered(path):
        asked += [(test, "-k", " or ".join(names)) for test in OF_ALL]
    return asked


def run(path: Path, text: str, stage: tuple[str, ...]) -> None:
    """Run tests with another text in a file's place, and exit as pytest does."""
    sys.meta_path.insert(0, Changed(path, text))
    sys.exit(int(pytest.main([*PYTEST, *stage])))


def judged(path: Path, text: str, stage: tuple[str, ...], seconds: float | None) -> bool:
    """Say whether tests pass, in a fork and in time."""
    fork = multiprocessing.get_context("fork").Process(target=run, args=(path, text, stage))
    fork.start()
    fork.join(seconds)
    if fork.is_alive():
        fork.kill()
        fork.join()
    if fork.exitcode == pytest.ExitCode.USAGE_ERROR:
        raise SystemExit(f"pytest cannot be asked about {path}: {' '.join(stage)}")
    return fork.exitcode in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


@functools.cache
def patience(path: Path, stage: tuple[str, ...]) -> float:
    """Run tests with a file as it is: they must pass. Changes get a few times as long."""
    began = time.monotonic()
    if not judged(path, path.read_text(encoding="utf-8"), stage, None):
        raise SystemExit(f"{path} does not pass as it is: {' '.join(stage)}")
    return 30 + 4 * (time.monotonic() - began)


def noticed(name: str) -> bool:
    """Say whether the tests notice a change."""
    path, text = file_of(name), changed(name)
    return not all(judged(path, text, stage, patience(path, stage)) for stage in stages(path))


def table(verdicts: dict[str, bool]) -> int:
    """Print how many changes were noticed in each file; fail where they are too few."""
    tried = collections.Counter(file_of(name) for name in verdicts)
    killed = collections.Counter(file_of(name) for name, found in verdicts.items() if found)
    print()
    for path in files():
        if path in tried:
            print(line(str(path), killed[path], tried[path]))
    total = sum(killed.values())
    print(line("all", total, len(verdicts)))
    return int(100 * total < LEAST * len(verdicts))


def line(what: str, killed: int, tried: int) -> str:
    """Say how many were killed."""
    return f"{what:44} {killed:4} of {tried:4} killed, {100 * killed / max(tried, 1):5.1f} %"


if __name__ == "__main__":
    sys.exit(main())
