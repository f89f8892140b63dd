"""Build the site: execute every page, check it, and put it in place only when whole.

`nox -s docs` calls this in the environment that has what it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Build, report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="build this page alone, without cross-references")
    parser.add_argument("--into", type=Path, default=ROOT / "build", help="where to build")
    options = parser.parse_args()
    into = options.into.resolve()
    fresh = into / ".html-new"
    for left_over in (into / "doctrees", fresh):
        shutil.rmtree(left_over, ignore_errors=True)
    into.mkdir(parents=True, exist_ok=True)
    (into / "report.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-c", "conf", "-q"]
    command += ["-d", str(into / "doctrees")]
    if options.page:
        page = options.page.resolve().relative_to(ROOT / "docs")
        command += ["-D", f"include_patterns={page.as_posix()},reference/bibliography.md"]
        command += ["-D", f"root_doc={page.with_suffix('').as_posix()}"]
    else:
        command += ["-n", "-W", "--keep-going"]
    command += ["docs", str(fresh)]
    status = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"ATTN_BUILD_DIR": str(into)}, check=False
    ).returncode
    failures = print_report(into / "report.json")
    if status or failures:
        print("\n".join(failures) or "The build failed: see the warnings above.", flush=True)
        return 1
    put_in_place(fresh, into / "html")
    print(f"The site is in {into / 'html' / 'index.html'}", flush=True)
    return 0


def print_report(file: Path) -> list[str]:
    """Print each page with its cells and seconds; return what failed, to be printed last."""
    if not file.exists():
        return []
    report = json.loads(file.read_text(encoding="utf-8"))
    pages = report["pages"]
    width = max((len(name) for name in pages), default=4)
    print(f"\n{'page':{width}}  cells  seconds")
    for name, page in pages.items():
        how = "  from the cache" if page["cached"] else ""
        print(f"{name:{width}}  {page['cells']:5}  {page['seconds']:7.2f}{how}")
    cells = sum(page["cells"] for page in pages.values())
    seconds = sum(page["seconds"] for page in pages.values())
    print(f"{len(pages)} pages, {cells} cells run, {seconds:.1f} seconds in cells\n")
    failures = [failure for page in pages.values() for failure in page["failures"]]
    lines = []
    for failure in failures:
        cell = f", cell {failure['cell']}" if failure["cell"] else ""
        lines += ["", f"FAILED {failure['file']}, line {failure['line']}{cell}", failure["error"]]
    if report["crash"]:
        lines += ["", f"FAILED {report['crash']}"]
    return lines


def put_in_place(fresh: Path, html: Path) -> None:
    """Swap the new site for the old one: a reader never meets half a site."""
    old = html.with_name(".html-old")
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        html.rename(old)
    fresh.rename(html)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
