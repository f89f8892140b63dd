"""Run the pages under other conditions, and compare the numbers that they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
RUN = """\
import json, os, sys
from pathlib import Path
sys.path[:0] = [{conf!r}, {root!r}]
from extensions.execute import kernels, settings
from extensions.execute.runner import Runs
from extensions.execute.store import Page, Store
settings.apply()
os.environ["OMP_NUM_THREADS"] = {threads!r}
from myst_nb.core.config import NbParserConfig
from myst_nb.core.read import create_nb_reader, is_myst_markdown_notebook
from myst_parser.config.main import MdParserConfig
import nbformat
docs = Path({root!r}, "docs")
pages = {{}}
for file in sorted(docs.rglob("*.md")):
    text = file.read_text()
    if is_myst_markdown_notebook(text):
        markdown = MdParserConfig(enable_extensions={{"colon_fence", "dollarmath", "amsmath"}})
        notebook = create_nb_reader(str(file), markdown, NbParserConfig(), text).read(text)
        notebook.cells.insert(0, nbformat.v4.new_code_cell({first!r}))
        name = file.relative_to(docs).with_suffix("").as_posix()
        pages[name] = Page(name, file.parent, notebook)
store = Store(settings.EXECUTED, Path({root!r}), "stable")
for page in pages.values():
    store.find(page)
with kernels.AFTERWARDS:
    Runs(pages, list(pages), store, 300).wait(*pages)
pages = list(pages.values())
def show(output):
    data = output.get("data", {{}})
    return output.get("text") or data.get("image/svg+xml") or data.get("text/plain", "")

stopped = [
    f"{{page.name}}, cell {{number}}: {{output['evalue']}}"
    for page in pages
    for number, cell in enumerate(page.code_cells)
    for output in cell["outputs"]
    if output["output_type"] == "error"
    if "raises-exception" not in cell["metadata"].get("tags", ())
]
stopped += [f"{{page.name}}: {{page.error}}" for page in pages if page.error]
if stopped:
    sys.exit("\\n".join(stopped))
found = {{
    page.name: [[show(output) for output in cell["outputs"]] for cell in page.code_cells[1:]]
    for page in pages
}}
Path({out!r}).write_text(json.dumps(found))
"""


# All draws are of float32, so that they are the same whatever the pages then compute in
DRAW = """\
import torch

def draw_float32(name, library=torch.library.Library("aten", "IMPL"), float32=torch.float32):
    kernel = torch.library.get_kernel("aten::" + name, "CPU")

    def draw(keys, x, *args, **kwargs):
        few_digits = torch.empty_like(x, dtype=float32)
        kernel.call_boxed(keys, few_digits, *args, **kwargs)
        return x.copy_(few_digits)

    library.impl(name, draw, "CPU", with_keyset=True, allow_override=True)

for name in ("normal_", "uniform_", "exponential_"):
    draw_float32(name)
"""
FLOAT64 = """
from attn_examples import pretrained

def load_bert(*args, load=pretrained.load_bert):
    model, tokenizer = load(*args)
    return model.double(), tokenizer

pretrained.load_bert = load_bert
torch.set_default_dtype(torch.float64)
"""
NUMBER = re.compile(r"-?\d+\.?\d*(e[+-]?\d+)?")
TYPE = re.compile(r",? ?dtype=torch\.float(32|64)|torch\.float(32|64)")
NAME = re.compile(r"(?<=#)\w{11}|(?<=id=\")\w{11}")  # in a figure: of what is drawn
LABEL = re.compile(r">([^<]*)</text>")
COLOUR = re.compile(r"#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})\b")
DRAWN = 0.1  # of a point: the site rounds figures to that; and near a level of a colour
# Pages that train models in float32, whose figures show what training makes of a rounding. What
# they print and assert must hold in any case.
TRAINED = {
    f"practice/{name}"
    for name in (
        "hearing", "induction-heads", "recommending", "seeing", "small-gpt", "translating-dates",
    )
}  # fmt: skip


def outputs(folder: Path, threads: int = 1, float64: bool = False) -> dict[str, list[list[str]]]:
    """Return what each cell of each page prints and draws."""
    folder.mkdir(parents=True)
    settings: dict[str, Any] = {"conf": str(ROOT / "conf"), "root": str(ROOT)}
    settings |= {"threads": str(threads), "first": DRAW + FLOAT64 * float64}
    settings["out"] = str(folder / "outputs.json")
    env = os.environ | {"ATTN_BUILD_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", RUN.format(**settings)], env=env, check=True)
    found: dict[str, list[list[str]]] = json.loads((folder / "outputs.json").read_text())
    return found


def differences(folder: Path, setting: dict[str, Any]) -> list[str]:
    """Name the cells that print or draw something else."""
    first, other = outputs(folder / "first"), outputs(folder / "other", **setting)
    found = []
    for name, cells in first.items():
        for number, (one, two) in enumerate(zip(cells, other[name], strict=True), start=1):
            if name in TRAINED:
                one, two = undrawn(one), undrawn(two)
            if len(one) != len(two) or not all(map(alike, one, two)):
                found.append(f"{name}, cell {number}: {one!r} and {two!r}")
    return found


def undrawn(outputs: list[str]) -> list[str]:
    """Leave figures out."""
    return [text for text in outputs if "</svg>" not in text]


def alike(one: str, two: str) -> bool:
    """Tell whether two outputs show the same: 6.0000 and 6. are the same number."""
    figure = "</svg>" in one
    if LABEL.findall(one) != LABEL.findall(two):
        return False
    (words, numbers), (others, other) = parts(one, figure), parts(two, figure)
    close = all(abs(a - b) <= DRAWN * figure for a, b in zip(numbers, other, strict=False))
    return words == others and close


def parts(text: str, figure: bool) -> tuple[list[str], list[float]]:
    """Take words and numbers apart, without the names of types."""
    if figure:
        text = COLOUR.sub(_levels, NAME.sub("", text))
    text = TYPE.sub("", text)
    return NUMBER.sub("0", text).split(), [float(number[0]) for number in NUMBER.finditer(text)]


def _levels(colour: re.Match[str]) -> str:
    return " ".join(str(int(level, 16) / 11) for level in colour.groups())
