"""Run every notebook that the site offers, as one who downloaded it would.

`nox -s notebooks` calls this in an environment that holds Jupyter's parts and nothing else.
The built site is served; each notebook is fetched from the link on its page and executed from
top to bottom in an empty folder. Its first cell installs what it needs, in an environment that
is there for those notebooks alone whose first cells have the same text: one of them runs that
cell. The kernels of the others are copies of a process that has loaded what it installed. Each
cell must print what the downloaded notebook says that it printed.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.parse
import urllib.request
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "conf"))

from extensions.execute import kernels  # needs the line above

# What ipykernel asks of matplotlib, which reads it when it is loaded
os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")


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


@dataclass
class Group:
    """Notebooks that install the same, and where they do: above what needs a part of it."""

    folder: Path
    needs: frozenset[str]
    below: Group | None
    notebooks: int = 0
    ready: threading.Event = field(default_factory=threading.Event)
    loaded: kernels.Loaded | None = None

    @property
    def packages(self) -> list[str]:
        """Folders that Python looks into."""
        name = f"python{sys.version_info.major}.{sys.version_info.minor}"
        windows = os.name == "nt"
        own = self.folder / ("Lib" if windows else f"lib/{name}") / "site-packages"
        return [str(own), *(self.below.packages if self.below else [sysconfig.get_path("purelib")])]

    def make(self) -> None:
        """Make an environment that sees this one, and the one below."""
        venv.create(self.folder, symlinks=os.name != "nt")
        own, *others = self.packages
        Path(own, "below.pth").write_text("\n".join(others), encoding="utf-8")

    def load(self) -> None:
        """Load what kernels here need, if they can be forked, and are so many that it pays."""
        if kernels.WORKS and self.notebooks > 2:
            self.loaded = kernels.load(self.folder / "kernels.log", self.python)

    @property
    def python(self) -> str:
        """The program that runs a kernel here."""
        return str(self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def grouped(notebooks: dict[str, nbformat.NotebookNode], folder: Path) -> dict[str, Group]:
    """Return the group of each notebook, in an environment of its own below a folder."""
    texts = {url: install(notebook) for url, notebook in notebooks.items()}
    groups: dict[str, Group] = {}
    for text in sorted(set(texts.values()), key=lambda text: (text.count("=="), text)):
        needs = frozenset(re.findall(r"[\w.-]+==[\w.]+", text))
        known = [group for group in groups.values() if group.needs < needs]
        below = max(known, key=lambda group: len(group.needs), default=None)
        number = list(texts.values()).count(text)
        groups[text] = Group(folder / f"{len(groups):03}", needs, below, number)
    return {url: groups[text] for url, text in texts.items()}


def execute(notebook: nbformat.NotebookNode, group: Group, *, first: bool) -> tuple[str, float]:
    """Execute one notebook; return what went wrong, or "ok", and the seconds.

    The first of a group makes its environment, and pip runs in it, as for one who downloaded
    it; the others wait for that and begin below that cell.
    """
    wanted = group.below if first else group
    if wanted:
        wanted.ready.wait()
    start = time.monotonic()
    try:
        if first:
            group.make()
        problem = _problem(notebook, group, first)
    finally:
        group.ready.set()  # or else those who wait would do so for ever
    return problem or "ok", time.monotonic() - start


def _problem(notebook: nbformat.NotebookNode, group: Group, first: bool) -> str | None:
    before = printed(notebook)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": folder}})
        kernel = client.create_kernel_manager().kernel_spec
        assert kernel is not None
        kernel.argv[0] = group.python
        try:
            with client.setup_kernel(env=os.environ | {kernels.MORE: kernels.HEAVY}):
                for number, cell in enumerate(notebook.cells):
                    if first or cell.get("id") != "install":
                        client.execute_cell(cell, number)
                    if cell.get("id") == "install":
                        group.load()  # for the others; this kernel is a Python of its own
                        group.ready.set()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    for number, (then, now) in enumerate(zip(before, printed(notebook), strict=True), start=1):
        if then != now:
            return f"cell {number} printed {now[-300:]!r} and not {then[-300:]!r}"
    return None


def seconds(root: Path) -> dict[str, float]:
    """Return how long each page ran when it was built, where that is known."""
    report = root.parent / "report.json"
    pages = json.loads(report.read_text())["pages"] if report.exists() else {}
    return {f"_sources/{name}.ipynb": page["seconds"] for name, page in pages.items()}


def together(notebooks: dict[str, nbformat.NotebookNode]) -> Iterator[tuple[str, str, float]]:
    """Run notebooks side by side in their order, but the first of each group before."""
    with tempfile.TemporaryDirectory() as folder, kernels.AFTERWARDS:
        groups = grouped(notebooks, Path(folder))
        of_python = {group.python: group for group in groups.values()}
        kernels.register(lambda python: of_python[python].loaded)
        firsts = {groups[url].folder: url for url in reversed(notebooks)}
        leaders = [firsts[place] for place in sorted(firsts)]  # what is below comes first
        order = [*leaders, *(url for url in notebooks if url not in leaders)]
        with ThreadPoolExecutor(int(os.environ.get("ATTN_CORES", 1))) as pool:
            started = {
                pool.submit(execute, notebooks[url], groups[url], first=url in leaders): url
                for url in order
            }
            for future in as_completed(started):
                yield started[future], *future.result()


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
    notebooks = {}
    for url in found:
        with urllib.request.urlopen(url) as answer:
            notebooks[url] = nbformat.reads(answer.read().decode(), as_version=4)
    known = seconds(root)
    path = f"{address}/"
    found.sort(key=lambda url: -known.get(url.removeprefix(path), 0.0))  # the longest first
    failed = 0
    for url, said, took in together({url: notebooks[url] for url in found}):
        failed += said != "ok"
        print(f"{url.removeprefix(path)}: {said} ({took:.0f} s)", flush=True)
    print(f"{len(found) - failed} of {len(found)} notebooks run, each group with what it installs")
    return 1 if failed or not found else 0


if __name__ == "__main__":
    sys.exit(main())
