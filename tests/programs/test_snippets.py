"""The program that runs pieces: what it shares, what it keeps apart, and what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

import pytest

from tests.programs import snippets

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Done:
    """What the program has said of a site, and the folder in which statements leave traces."""

    status: int
    said: str
    traces: Path


def page(*pieces: tuple[list[str], str]) -> str:
    """Make a page of pieces, each with its texts and what the page shows of it."""
    cells = "".join(
        f'<div class="cell"><div class="cell_input"><pre>{escape(texts[-1])}</pre></div>'
        f'<div class="output stream"><pre>{escape(shown)}</pre></div></div>'
        for texts, shown in pieces
    )
    texts = list(dict.fromkeys(text for piece, _ in pieces for text in piece))
    data = {"texts": texts, "cells": [[texts.index(t) for t in piece] for piece, _ in pieces]}
    return f'{cells}<script type="application/json" id="pieces">{json.dumps(data)}</script>'


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Run the program on pages that hold, and on pages that do not."""
    folder = tmp_path_factory.mktemp("site")
    trace = f"with open({str(folder)!r} + '/trace', 'a') as file:\n    file.write('ran ')"
    draws = ["import torch", "torch.manual_seed(0)", trace]
    show = "print(torch.randint(10 ** 9, (1,)).item())"
    shown = str(draw())
    finds = "from pathlib import Path\nprint(Path('left').exists(), 'left' in globals())"
    pages = {
        "shared": page(
            ([*draws, show + "\nleft = open('left', 'w')"], shown),
            ([*draws, "import math", show], shown),
            ([*draws, finds], "False False"),
        ),
        "meanings": page(
            (["def f():\n    return 1", "print(f())"], "1"),
            (["def f():\n    return 2", "print(f())"], "2"),
            (["x = 1", "x = x + 1", "print(x)"], "2"),
            (["x = 1", "print(x)"], "1"),
        ),
        "hoisted": page((["import math", "print(math.pi > 3)"], "True"), (["math.e > 2"], "")),
        "later": page((["def g():\n    return 1", "g()"], ""), (["def f():\n    g()", "f"], "")),
        "ours": page((["import attn_examples", "print(1)"], "1")),
        "hidden": page((["__import__('attn_examples')", "print(1)"], "1")),
        "foreign": page((["import sphinx", "print(1)"], "1")),
        "dead": page((["x = 1", "import os\nos._exit(3)"], ""), (["x = 1", "print(x)"], "1")),
        "wrong": page((["x = 1", "print(x)"], "2")),
        "raises": page((["x = [1]", "x[1]"], "")),
        "common": page((["print(f())"], "1")).replace("[0]", "[-2, 0]").replace(
            '"cells"', '"shared": "_static/shared.js", "cells"'
        ),
    }  # fmt: skip
    html = folder / "html"
    (html / "_static").mkdir(parents=True)
    (html / "_static" / "shared.js").write_text(
        'sharedTexts=["1 / 0", "def f():\\n    return 1"]\n'
    )
    for name, text in pages.items():
        (html / f"{name}.html").write_text(text)
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "tests/programs/snippets.py", html],
        cwd=ROOT, env=os.environ | {"ATTN_CORES": "2"}, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return Done(ran.returncode, ran.stdout, folder)


def draw() -> int:
    """Draw what a piece draws first."""
    import torch

    torch.manual_seed(0)
    return int(torch.randint(10**9, (1,)).item())


def test_what_pieces_share_runs_once_and_the_rest_apart(done: Done) -> None:
    assert "shared, cell" not in done.said
    assert (done.traces / "trace").read_text() == "ran "


def test_a_name_may_mean_different_things_in_different_pieces(done: Done) -> None:
    assert "meanings, cell" not in done.said


@pytest.mark.parametrize(
    ("place", "problem"),
    [
        ("hoisted, cell 2", "it uses what it does not define: math"),
        ("later, cell 2", "it uses what it does not define: g"),
        ("ours, cell 1", "it imports what a reader is not told to install: attn_examples"),
        ("hidden, cell 1", "a piece must run without attn_examples"),
        ("foreign, cell 1", "it imports what a reader is not told to install: sphinx"),
        ("dead, cell 1", "the process ended early"),
        ("wrong, cell 1", "printed '1'\n    page    '2'"),
        ("raises, cell 1", "IndexError: list index out of range"),
    ],
)
def test_a_piece_that_does_not_run_alone_is_named(done: Done, place: str, problem: str) -> None:
    assert done.status == 1
    said = done.said.split(f"{place}\n")[1]
    assert problem in said.split(", cell ")[0], done.said


def test_only_what_passed_is_noted(done: Done) -> None:
    noted = json.loads((done.traces / "snippets.json").read_text())
    assert noted.keys() == {"shared", "meanings", "common"}  # with texts that pages share
    assert noted["shared"]["pieces"] == 3


def test_a_page_whose_pieces_repeat_what_is_dear_is_refused() -> None:
    dear = {"train()": [20.0] * 6, "print(1)": [0.5]}
    assert snippets.too_dear("a/page", 7, dear) == (
        "a/page: its 7 pieces cost 120 CPU-seconds, which is more than 30 and more than 4 times "
        "the 20 that their statements cost once: let cells need less of what is dear, or need it "
        "from the same cells"
    )
    assert snippets.too_dear("a/page", 7, {"train()": [20.0] * 4}) is None  # once for a few
    assert snippets.too_dear("a/page", 7, {"read()": [0.5] * 50}) is None  # cheap
