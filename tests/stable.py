"""Run the pages under other conditions, and compare the numbers that they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RUN = """\
import json, os, sys
from pathlib import Path
sys.path[:0] = [{conf!r}, {root!r}]
from extensions import execution, kernel_settings, runner
kernel_settings.apply()
os.environ["OMP_NUM_THREADS"] = {threads!r}
from myst_nb.core.config import NbParserConfig
from myst_nb.core.read import create_nb_reader, is_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
import nbformat
docs = Path({root!r}, "docs")
pages = []
for file in sorted(docs.rglob("*.md")):
    text = file.read_text()
    if is_myst_markdown_notebook(text):
        markdown = MdParserConfig(enable_extensions={{"colon_fence", "dollarmath", "amsmath"}})
        notebook = create_nb_reader(str(file), markdown, NbParserConfig(), text).read(text)
        if {first!r}:
            notebook.cells.insert(0, nbformat.v4.new_code_cell({first!r}))
        name = file.relative_to(docs).with_suffix("").as_posix()
        pages.append(runner.Page(name, file.parent, notebook))
store = runner.Store(kernel_settings.BUILD / "executed", Path({root!r}), "stable")
runner.run([page for page in pages if page.code_cells], store, 300, Path({log!r}))
printed = {{
    page.name: ["".join(o.get("text", "") or o.get("data", {{}}).get("text/plain", "")
                for o in cell["outputs"]) for cell in page.code_cells]
    for page in pages
}}
Path({out!r}).write_text(json.dumps(printed))
"""


# The same numbers are drawn, and then computed with twice as many digits
FLOAT64 = """\
import torch

def draw_float32():
    def new(draw):
        def drawn(*args, dtype=None, **kwargs):
            made = draw(*args, dtype=dtype or torch.float32, **kwargs)
            return made if dtype else made.double()
        return drawn

    def like(draw):
        return lambda x, *args, **kwargs: draw(x.float(), *args, **kwargs).to(x.dtype)

    def inside(draw):
        def drawn(x, *args, **kwargs):
            with torch.no_grad():
                return x.copy_(draw(x.float(), *args, **kwargs))
        return drawn

    for name in ("randn", "rand"):
        setattr(torch, name, new(getattr(torch, name)))
        setattr(torch, name + "_like", like(getattr(torch, name + "_like")))
    for name in ("normal_", "uniform_", "exponential_", "bernoulli_"):
        setattr(torch.Tensor, name, inside(getattr(torch.Tensor, name)))
    dropout = torch.nn.functional.dropout
    torch.nn.functional.dropout = lambda x, *args, **kwargs: x * dropout(
        torch.ones(x.shape, dtype=torch.float32), *args, **kwargs)

torch.set_default_dtype(torch.float64)
draw_float32()
"""


def printed(folder: Path, threads: int = 1, float64: bool = False) -> dict[str, list[str]]:
    """Return what each cell of each page prints."""
    import json

    folder.mkdir(parents=True)
    settings: dict[str, Any] = {"conf": str(ROOT / "conf"), "root": str(ROOT)}
    settings |= {"threads": str(threads), "first": FLOAT64 if float64 else ""}
    settings |= {"log": str(folder / "log"), "out": str(folder / "printed.json")}
    env = os.environ | {"ATTN_BUILD_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", RUN.format(**settings)], env=env, check=True)
    found: dict[str, list[str]] = json.loads((folder / "printed.json").read_text())
    return found


def differences(folder: Path, setting: dict[str, Any]) -> list[str]:
    """Name the cells that print something else, names of types left out."""
    first, other = printed(folder / "first"), printed(folder / "other", **setting)
    named = re.compile(r",? ?dtype=torch\.float(32|64)|torch\.float(32|64)")
    found = []
    for name, cells in first.items():
        others = other[name][1:] if setting.get("float64") else other[name]
        found += [
            f"{name}, cell {number}: {one!r} and {two!r}"
            for number, (one, two) in enumerate(zip(cells, others, strict=True), start=1)
            if named.sub("", one) != named.sub("", two)
        ]
    return found
