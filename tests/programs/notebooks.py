"""Run every notebook that the site offers, as one who downloaded it would.

`nox -s notebooks` calls this in an environment that holds Jupyter's parts and nothing else.
The built site is served; each notebook is fetched from the link on its page and executed from
top to bottom in an empty folder. Its first cell installs what it needs: of notebooks whose first
cells have the same text, one runs that cell. Each cell must print what the downloaded notebook
says that it printed.
"""

from __future__ import annotations

import functools
import http.server
import os
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbclient import NotebookClient


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serve files without a line for each."""

    def log_message(self, *arguments: object) -> None:
        pass


def links(page: str, address: str) -> list[str]:
    """Return the notebooks that a page offers."""
    with urllib.request.urlopen(f"{address}/{page}") as answer:
        soup = BeautifulSoup(answer.read(), "html.parser")
    found = [a["href"] for a in soup.select("a[href$='.ipynb']")]
    return sorted({urllib.parse.urljoin(f"{address}/{page}", str(link)) for link in found})


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what each cell of a page printed; what installs and writes files comes before."""
    return [
        "".join(out["text"] for out in cell.outputs if out.get("name") == "stdout").rstrip()
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.get("id") not in {"install", "files"}
    ]


def install(notebook: nbformat.NotebookNode) -> str:
    """Return the text of the cell that installs what a notebook needs."""
    return "".join(cell.source for cell in notebook.cells if cell.get("id") == "install")


def execute(notebook: nbformat.NotebookNode, *, installed: bool) -> tuple[str, float]:
    """Execute one notebook; return what went wrong, or "ok", and the seconds."""
    start = time.monotonic()
    return _problem(notebook, installed) or "ok", time.monotonic() - start


def _problem(notebook: nbformat.NotebookNode, installed: bool) -> str | None:
    before = printed(notebook)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": folder}})
        try:
            with client.setup_kernel():
                for number, cell in enumerate(notebook.cells):
                    if not (installed and cell.get("id") == "install"):
                        client.execute_cell(cell, number)
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    for number, (then, now) in enumerate(zip(before, printed(notebook), strict=True), start=1):
        if then != now:
            return f"cell {number} printed {now[-300:]!r} and not {then[-300:]!r}"
    return None


def together(notebooks: dict[str, nbformat.NotebookNode]) -> Iterator[tuple[str, str, float]]:
    """Run notebooks that install the same: the first from its first cell, and pip with it.

    The others begin below that cell, side by side, each in a kernel of its own.
    """
    first, *others = notebooks
    yield first, *execute(notebooks[first], installed=False)
    run = functools.partial(execute, installed=True)
    with ThreadPoolExecutor(int(os.environ.get("ATTN_CORES", 1))) as pool:
        results = pool.map(run, [notebooks[url] for url in others])
        for url, result in zip(others, results, strict=True):
            yield url, *result


def main() -> int:
    """Serve the site, run its notebooks, and say which fail."""
    root = Path(sys.argv[1])
    only = sys.argv[2:]
    handler = functools.partial(Quiet, directory=os.fspath(root))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    pages = [file.relative_to(root).as_posix() for file in sorted(root.rglob("*.html"))]
    found = [link for page in pages for link in links(page, address)]
    found = [link for link in dict.fromkeys(found) if not only or any(o in link for o in only)]
    groups: dict[str, dict[str, nbformat.NotebookNode]] = {}
    for url in found:
        with urllib.request.urlopen(url) as answer:
            notebook = nbformat.reads(answer.read().decode(), as_version=4)
        groups.setdefault(install(notebook), {})[url] = notebook
    failed = 0
    for text in sorted(groups, key=lambda text: text.count("==")):  # the least first
        for url, said, seconds in together(groups[text]):
            failed += said != "ok"
            print(f"{url.removeprefix(f'{address}/')}: {said} ({seconds:.0f} s)", flush=True)
    print(f"{len(found) - failed} of {len(found)} notebooks run, which install {len(groups)} times")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
