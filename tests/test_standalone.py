"""Code that uses the package, made to run without it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import attn_examples
from attn_examples.__main__ import main
from attn_examples.standalone import inline, names_in, one_file, rewrite, shortened, split

# A process that has torch and refuses the package
WITHOUT = """\
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "attn_examples":
            raise ImportError("the piece imports attn_examples")

sys.meta_path.insert(0, Refuse())
"""


def run(code: str, *, checks: bool = False) -> dict[str, Any]:
    """Inline a program, run it with the package out of reach, and return its names."""
    piece = "\n".join(inline(split(code), checks=checks))
    assert "attn_examples import" not in piece
    names: dict[str, Any] = {"__name__": "piece"}
    exec(compile(piece, "piece", "exec"), names)
    return names


@pytest.mark.parametrize("checks", [False, True])
def test_each_mechanism_runs_as_one_file(tmp_path: Path, checks: bool) -> None:
    program = WITHOUT + "import runpy\nfor file in sys.argv[1:]: runpy.run_path(file)\n"
    files = []
    for name in attn_examples.__all__:
        files.append(tmp_path / f"{name}.py")
        files[-1].write_text(one_file(name, checks=checks))
        imported = {
            module.partition(".")[0]
            for node in ast.walk(ast.parse(files[-1].read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for module in (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        }
        assert imported - sys.stdlib_module_names == {"torch"}, name
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, files)],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= len(files)  # each prints what its use gives


def test_a_file_ends_with_a_short_use_and_says_whose_it_is() -> None:
    text = one_file("MultiHeadAttention")
    assert "SPDX-License-Identifier: MIT" in text
    assert text.splitlines()[-3:] == [
        "x = torch.randn(2, 5, 12)  # batch, length, width",
        "output, weights = MultiHeadAttention(embed_dim=12, num_heads=3)(x)",
        "print(output.shape, weights.shape)  # one map for each head",
    ]
    assert "check_" not in text
    assert "check_count" in one_file("MultiHeadAttention", checks=True)
    for name in attn_examples.__all__:
        use = one_file(name).rpartition("\n\n\n")[2].splitlines()
        assert len(use) <= 4, name


def test_an_unknown_name_gets_the_closest_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", "MultiheadAtention"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "name ('MultiheadAtention') must be one that attn_examples exports: "
        "the closest are MultiHeadAttention, attention, SelfAttention\n"
    )
    assert main(["copy", "zzz"]) == 2
    assert capsys.readouterr().err.endswith("`list` shows all of them\n")


def test_list_and_copy_print(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(names) == sorted(attn_examples.__all__)
    assert main(["copy", "softmax"]) == 0
    assert capsys.readouterr().out == one_file("softmax")


def test_what_is_inlined_computes_the_same() -> None:
    names = run(
        "import torch\n"
        "from attn_examples import attention, causal_mask\n"
        "torch.manual_seed(0)\n"
        "x = torch.randn(2, 5, 12)\n"
        "output, weights = attention(x, x, x, mask=causal_mask(5))\n"
    )
    ours = attn_examples.attention(*[names["x"]] * 3, mask=attn_examples.causal_mask(5))
    assert (names["output"] == ours[0]).all()
    assert (names["weights"] == ours[1]).all()


def test_checks_are_kept_where_they_are_asked_for() -> None:
    code = "import torch\nfrom attn_examples import dot\ndot(torch.ones(1, 2), torch.ones(1, 3))\n"
    with pytest.raises(ValueError, match="a dot product needs equal widths"):
        run(code, checks=True)
    with pytest.raises(RuntimeError):  # torch's own
        run(code)


@pytest.mark.parametrize(
    "code",
    [
        "from attn_examples import softmax as ours\nresult = ours",
        "from attn_examples import *\nresult = softmax",
        "def late():\n    from attn_examples import softmax\n    return softmax\nresult = late()",
        "try:\n    from attn_examples import softmax\nexcept ImportError:\n    softmax = None\n"
        "result = softmax",
        "if True:\n    from attn_examples import softmax as ours\nresult = ours",
        # names of the code that the inlined source needs for itself
        "F = torch = max = 3\nfrom attn_examples import softmax as ours\nresult = ours",
        "from attn_examples import attention\ndef softmax(scores): return 0 * scores\n"
        "result = lambda scores: attention(scores.new_zeros(2, 1), scores.new_zeros(2, 1), "
        "scores, score=lambda q, k: scores)[1]",
    ],
)
def test_ways_to_import(code: str) -> None:
    import torch

    scores = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
    result = run(code)["result"](scores)
    assert (result == attn_examples.softmax(scores)).all()


def test_a_module_cannot_be_inlined() -> None:
    with pytest.raises(ValueError, match="imports a module, which cannot be inlined"):
        inline(["import attn_examples"])
    with pytest.raises(ValueError, match="has no nothing"):
        inline(["from attn_examples.core import nothing"])


def test_imports_go_to_the_top_only_where_that_changes_nothing() -> None:
    pieces = inline(split("from math import sqrt\nsqrt = abs\nx = sqrt(-2)\nimport os\n"))
    assert pieces[0] == "import os"
    assert pieces[-3:] == ["from math import sqrt", "sqrt = abs", "x = sqrt(-2)"]


def test_a_comment_outlives_the_import_that_it_stood_before() -> None:
    assert inline(["# why\nfrom attn_examples import dot"])[-1] == "# why"


def test_names() -> None:
    found = names_in(
        "@decorate\ndef f(x, y=default):\n    global g\n    g = x + outer\n    x += 1\n"
        "    return [i * inner for i in y]\n"
    )
    assert set(found[0]) == {"f", "g"}
    assert set(found[1]) == {"decorate", "default", "g", "inner", "outer"}
    for source, bound, used in (
        ("π = τ / 2", {"π"}, {"τ"}),
        ("total += 1", {"total"}, {"total"}),
        ("class A(B):\n    x = y\n    def m(self): return z", {"A"}, {"B", "y", "z"}),
    ):
        assert tuple(map(set, names_in(source))) == (bound, used)


def test_split_keeps_every_line() -> None:
    source = "# first\nx = 1; y = 2\n\n@f\ndef g(): pass\n# last\n"
    assert split(source) == ["# first\nx = 1; y = 2", "\n@f\ndef g(): pass\n# last"]


def test_rewrite_leaves_no_empty_block() -> None:
    def drop(node: ast.stmt) -> str | None:
        return "" if isinstance(node, ast.Assert) else None

    source = "def f(x):\n    assert x\n\nfor i in y:\n    assert i\n"
    source += "if a:\n    assert b\nelse:\n    c = 1"
    assert rewrite(source, drop) == "def f(x):\n    pass\n\nif a:\n    pass\nelse:\n    c = 1"


def test_docstrings_are_shortened() -> None:
    source = 'def f():\n    """First.\n\n    More.\n    """\n    return 1'
    assert shortened(source) == "def f():\n    return 1"
    assert shortened(source, summary=True) == 'def f():\n    """First."""\n    return 1'
