"""Measure what a further page costs in each session, by adding copies of pages.

`nox -s growth` calls this, after `nox -s docs`; it takes half an hour, and is no part of
`nox`. The project is copied three times, with a few copies of some pages; with more copies of
pages of mechanisms, formulas and concepts; and with more copies of pages of exercises. Each session
runs on all three, on the copied pages alone where it can, and the differences are what the
further copies cost: seconds that the processors of this machine work, so let it do nothing else
(and be Linux).

    nox -s growth                           all sessions
    nox -s growth -- docs snippets          these sessions
    nox -s growth -- --more 3 browser       more copies: a better figure, and more time
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# None of which trains a model, for that is its own cost; a page of a type could not be copied,
# since two may not be of one mechanism
PAGES = ("concepts/four-steps", "concepts/reading-maps", "formulas/cost", "formulas/masks")
BEFORE = 3  # copies to begin with: of so many notebooks that install the same, one is first
EXERCISES = ("exercises/masks", "exercises/attention")
TREE = ("attn_examples", "conf", "docs", "tests", "pyproject.toml", "README.md", "LICENSE")
TESTS = ("tests/browser", "-k", "copy", "-n", os.environ.get("ATTN_CORES", "1"))
COMMANDS = {
    "docs": ("conf/commands/build.py",),
    "doctest": ("conf/commands/build.py", "--builder", "doctest"),
    "snippets": ("tests/programs/snippets.py", "build/html", "--page", "*-copy-*"),
    "notebooks": ("tests/programs/notebooks.py", "build/html", "-copy-"),
    "browser": ("-m", "pytest", "-q", "--dist", "worksteal", *TESTS),
}
SIZES = ((35, 0), (60, 0), (100, 0), (100, 60))  # pages, and exercises that are more than today's


def main() -> int:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sessions", nargs="*", help=f"of {', '.join(COMMANDS)}")
    parser.add_argument("--more", type=int, default=1, help="how many further copies of each page")
    parser.add_argument("--today", help="CPU-seconds of today, such as docs=150,snippets=300")
    options = parser.parse_args()
    if unknown := set(options.sessions) - set(COMMANDS):
        parser.error(f"sessions ({', '.join(unknown)}) must be of {', '.join(COMMANDS)}")
    chosen = [name for name in COMMANDS if name in (options.sessions or COMMANDS)]
    count = sum(len(re.findall(r"(?m)^\(ex-", source(page))) for page in EXERCISES)
    today = dict(item.split("=") for item in (options.today or "").split(",") if item)
    costs: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder, name) for name in ("before", "pages", "exercises")]
        for tree, pages, exercises in zip(
            trees,
            (BEFORE, BEFORE + options.more, BEFORE),
            (BEFORE, BEFORE, BEFORE + options.more),
            strict=True,
        ):
            make(tree, pages, exercises)
        print(f"{'CPU-seconds':12}{'a further page':>16}{'a further exercise':>20}", flush=True)
        for name in dict.fromkeys(["docs", *chosen]):  # the others read the site
            before, more_pages, more_exercises = (measure(name, tree) for tree in trees)
            page = (more_pages - before) / len(PAGES) / options.more
            exercise = (more_exercises - before) / count / options.more
            costs[name] = page, exercise
            print(f"{name:12}{page:16.1f}{exercise:20.1f}", flush=True)
    page, exercise = (sum(column) for column in zip(*costs.values(), strict=True))
    print(f"{'all':12}{page:16.1f}{exercise:20.1f}")
    if today:
        show(today, costs)
    return 0


def show(today: dict[str, str], costs: dict[str, tuple[float, float]]) -> None:
    """Print what each session would take with more pages, in minutes of two cores."""
    now = len(list((ROOT / "docs").rglob("*.md")))
    titles = [f"{pages} p." + f" {more} e." * (more > 0) for pages, more in SIZES]
    print(f"\n{'min, 2 cores':12}" + "".join(f"{title:>14}" for title in titles))
    rows = {
        name: [
            (float(seconds) + max(0, pages - now) * page + more * exercise) / 120
            for pages, more in SIZES
        ]
        for name, seconds in today.items()
        for page, exercise in [costs.get(name, (0.0, 0.0))]
    }
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    for name, row in rows.items():
        print(f"{name:12}" + "".join(f"{minutes:14.1f}" for minutes in row))


def source(page: str) -> str:
    """Return the source of a page."""
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def make(tree: Path, pages: int, exercises: int) -> None:
    """Copy the project, with what its cells gave, and add copies of pages to it."""
    for name in TREE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        tree.mkdir(exist_ok=True)
        copy(ROOT / name, tree / name)
    if (known := ROOT / "build" / "executed").exists():
        shutil.copytree(known, tree / "build" / "executed")
    copies = add(tree, PAGES, pages) + add(tree, EXERCISES, exercises)
    with (tree / "docs" / "index.md").open("a", encoding="utf-8") as index:
        print("\n```{toctree}", ":hidden:", "", *copies, "```", sep="\n", file=index)


def add(tree: Path, pages: Sequence[str], copies: int) -> list[str]:
    """Add copies of pages, with cells and labels of their own; return their names."""
    names = [f"{page}-copy-{number}" for number in range(1, copies + 1) for page in pages]
    for name in names:
        page, _, number = name.rpartition("-copy-")
        text = re.sub(r"(?m)^\((.+)\)=$", rf"(\1-copy-{number})=", source(page))
        text = re.sub(r"(?m)^\$\$ \((.+)\)$", rf"$$ (\1-copy-{number})", text)
        # on the last line of each cell: another cell, and a page of the same length
        text = re.sub(r"(?m)^(```\{code-cell\}[^`]+?)\n```", rf"\1 #{number}\n```", text)
        (tree / "docs" / f"{name}.md").write_text(text, encoding="utf-8")
    return names


def measure(session: str, tree: Path) -> float:
    """Run a session on a tree; return the seconds that processors worked meanwhile."""
    python = sys.executable
    if session == "notebooks":
        python = str(ROOT / ".nox" / "notebooks" / "bin" / "python")
    before = worked()
    done = subprocess.run(
        [python, "-W", "ignore", *COMMANDS[session]],
        cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{done.stdout[-3000:]}\nsession {session} fails with copies of pages")
    return worked() - before


def worked() -> float:
    """Return the seconds that all processors have worked: nobody waits for Chromium's processes."""
    times = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq = map(int, times[:7])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
