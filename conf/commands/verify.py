"""Rebuild the site from source, and say page by page whether a published one is the same.

`nox -s verify -- https://example.org/site/` or `nox -s verify -- folder`. The gap: nothing
in Sphinx tells a reader whether the pages they see are what the sources give.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from html import unescape
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    """Build, fetch, compare, and return 0 if all is the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", help="the address of a published site, or a folder")
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "verify")
    options = parser.parse_args()
    folder = None if "://" in options.site else Path(options.site)
    fetch = from_folder(folder) if folder else from_address(options.site)
    home = fetch("index.html")
    if home is None:
        sys.exit(f"site ({options.site}) must be an address or a folder with an index.html")
    built = subprocess.run(
        [sys.executable, "conf/commands/build.py", "--into", options.into],
        cwd=ROOT, env=os.environ | settings(home.decode()),
    )  # fmt: skip
    if built.returncode:
        return built.returncode
    result = compare(options.into / "html", fetch)
    if folder:
        here = {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}
        extra = here - result.keys() - {".buildinfo"}
        result |= dict.fromkeys(extra, "not from these sources")
    return report(result)


def settings(home: str) -> dict[str, str]:
    """Read from a site's home page what its build was told by the environment."""
    address = re.search(r'<link rel="canonical" href="([^"]*)index\.html"', home)
    notebooks = re.search(r'"https://colab\.research\.google\.com/github/([^"]*)/index', home)
    repository = re.search(r'href="([^"]*)" aria-label="Repository"', home)
    return {
        "ATTN_REPOSITORY_URL": unescape(repository[1]) if repository else "",
        "READTHEDOCS_GIT_CLONE_URL": "",
        "ATTN_SITE_URL": address[1] if address else "",
        "ATTN_NOTEBOOKS_AT": notebooks[1] if notebooks else "",
        "READTHEDOCS_CANONICAL_URL": "",
    }


def compare(site: Path, fetch: Callable[[str], bytes | None]) -> dict[str, str]:
    """Compare each file of a site with what is published under its name."""
    result = {}
    for file in sorted(site.rglob("*")):
        name = file.relative_to(site).as_posix()
        if file.is_file() and name != ".buildinfo":  # servers hide it, and no reader sees it
            published = fetch(name)
            ours = hashlib.sha256(file.read_bytes()).digest()
            if published is None:
                result[name] = "missing"
            else:
                same = hashlib.sha256(published).digest() == ours
                result[name] = "same" if same else "differs"
    return result


def report(result: dict[str, str]) -> int:
    """Print each page, then any other file that is not the same."""
    pages = [name for name in sorted(result) if name.endswith(".html")]
    others = [name for name in sorted(result) if name not in pages]
    for name in pages:
        print(f"{result[name]:24}{name}")
    wrong = [name for name in others if result[name] not in {"same"}]
    for name in wrong:
        print(f"{result[name]:24}{name}")
    same = sum(result[name] == "same" for name in pages)
    print(f"{same} of {len(pages)} pages are what the sources give", end="")
    print(f", and {len(others) - len(wrong)} of {len(others)} other files")
    return 0 if all(state == "same" for state in result.values()) else 1


def from_folder(folder: Path) -> Callable[[str], bytes | None]:
    """Read published files from a folder."""

    def fetch(name: str) -> bytes | None:
        file = folder / name
        return file.read_bytes() if file.is_file() else None

    return fetch


def from_address(address: str) -> Callable[[str], bytes | None]:
    """Fetch published files from a server."""
    base = address.rstrip("/") + "/"

    def fetch(name: str) -> bytes | None:
        try:
            with urllib.request.urlopen(base + urllib.parse.quote(name), timeout=60) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            if error.code in {403, 404, 410}:
                return None
            raise

    return fetch


if __name__ == "__main__":
    sys.exit(main())
