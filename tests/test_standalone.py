"""Code that uses the package, made to run without it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import attn_examples
from attn_examples.__main__ import main
from attn_examples.standalone import inline, names_in, one_file, rewrite, shortened, split
from tests.conftest import WITHOUT

ROOT = Path(__file__).parent.parent


def run(code: str, *, checks: bool = False) -> dict[str, Any]:
    """Inline a program, run it with the package out of reach, and return its names."""
    piece = "\n".join(inline(split(code), checks=checks))
    assert "attn_examples import" not in piece
    names: dict[str, Any] = {"__name__": "piece"}
    exec(compile(piece, "piece", "exec"), names)
    return names


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with every mechanism as one file, and all of them as one."""
    folder = tmp_path_factory.mktemp("copies")
    for name in attn_examples.__all__:
        for checks in (False, True):
            (folder / f"copy_{name}_{checks}.py").write_text(one_file(name, checks=checks))
    for checks in (False, True):
        text = one_file(*attn_examples.__all__, checks=checks)
        (folder / f"copy_all_{checks}.py").write_text(text)
    three = one_file("scaled_dot_product_attention", "MultiHeadAttention", "causal_mask")
    (folder / "copy_three.py").write_text(three)
    return folder


def test_each_mechanism_runs_as_one_file(copies: Path) -> None:
    program = WITHOUT + (
        "import runpy, torch\nbefore = torch.get_rng_state()\n"
        "for file in sys.argv[1:]: runpy.run_path(file)\n"
        "assert (torch.get_rng_state() == before).all()\nprint('examples')\n"
        "for file in sys.argv[1:]: runpy.run_path(file, run_name='__main__')\n"
    )
    files = sorted(copies.glob("*.py"))
    for file in files:
        imported = {
            module.partition(".")[0]
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for module in (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        }
        assert imported - sys.stdlib_module_names == {"torch"}, file.name
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, files)],
        cwd=copies, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, _, printed = done.stdout.partition("examples\n")
    assert before == ""  # an import prints nothing, and draws no random number
    assert printed.count("\n") >= 2 * len(attn_examples.__all__)  # each prints what its use gives


def test_copies_pass_mypy(copies: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache")]
    done = subprocess.run([*command, "."], cwd=copies, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["check", "--extend-select", "E501", "--line-length", "88"],
        ["check", "--extend-select", "E501", "--line-length", "100"],
        ["format", "--check", "--line-length", "88"],  # laid out for 100 it would be another
    ],
)
def test_copies_pass_ruff(copies: Path, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--isolated"],
        cwd=copies, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_file_ends_with_a_short_use_and_says_what_it_needs() -> None:
    text = one_file("MultiHeadAttention")
    assert "SPDX-License-Identifier: MIT" in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (torch_needed,) = project["dependencies"]
    assert f"# Needs Python{project['requires-python']} and {torch_needed}.\n" in text
    assert text.splitlines()[-4:] == [
        'if __name__ == "__main__":',
        "    x = torch.randn(2, 5, 12)  # batch, length, width",
        "    output, weights = MultiHeadAttention(embed_dim=12, num_heads=3)(x)",
        "    print(output.shape, weights.shape)  # one map for each head",
    ]
    assert "check_" not in text
    assert "check_count" in one_file("MultiHeadAttention", checks=True)
    for name in attn_examples.__all__:
        use = one_file(name).rpartition("\n\n\n")[2].splitlines()
        assert use[0] == 'if __name__ == "__main__":'
        assert len(use) <= 7, name


def test_what_true_means_is_said_where_there_is_a_mask() -> None:
    sentence = "# In a mask True means allowed: the opposite of nn.MultiheadAttention."
    for name in ("MultiHeadAttention", "SelfAttention", "attention", "padding_mask"):
        assert one_file(name).splitlines().count(sentence) == 1
    for name in ("dot", "softmax", "sinusoidal"):
        assert sentence not in one_file(name)
    assert sentence in inline(["from attn_examples import attention"])
    assert sentence not in inline(["from attn_examples import dot", "def f(mask): return mask"])


def test_several_names_make_one_file_without_repeating() -> None:
    text = one_file("attention", "MultiHeadAttention", "causal_mask", "attention")
    assert text.startswith("# attention, MultiHeadAttention, causal_mask, from Attention by")
    defined = [
        node.name
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    assert len(defined) == len(set(defined))
    assert {"attention", "MultiHeadAttention", "causal_mask"} <= set(defined)
    assert "__main__" not in text


def test_overloads_are_kept() -> None:
    tree = ast.parse(one_file("scaled_dot_product_attention"))
    name = "scaled_dot_product_attention"
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert [[ast.unparse(d) for d in node.decorator_list] for node in found] == [
        ["overload"],
        ["overload"],
        [],
    ]


# What without a guard would be wrong and say nothing; x and q have the sizes of a test
MISUSES = {
    "mask and is_causal": "scaled_dot_product_attention(q, q, q, attn_mask=m, is_causal=True)",
    "add_bias_kv": (
        "MultiHeadAttention.from_torch("
        "torch.nn.MultiheadAttention(12, 3, add_bias_kv=True, batch_first=True))"
    ),
    "add_zero_attn": (
        "MultiHeadAttention.from_torch("
        "torch.nn.MultiheadAttention(12, 3, add_zero_attn=True, batch_first=True))"
    ),
    "float mask": "MultiHeadAttention(12, 3)(x, mask=m.float(), need_weights=False)",
    "float mask, weights": "MultiHeadAttention(12, 3)(x, mask=m.float())",
    "integer mask": "MultiHeadAttention(12, 3)(x, mask=m.int(), need_weights=False)",
    "float mask of one head": "SelfAttention(12)(x, m.float(), need_weights=False)",
    "float mask, crossing": "CrossAttention(12)(x, x, m.float(), need_weights=False)",
    "float mask, causal": "CausalSelfAttention(12)(x, m.float(), need_weights=False)",
    "float mask of four steps": "attention(q, q, q, mask=m.float())",
    "zeros and ones": "scaled_dot_product_attention(q, q, q, m.float())",
    "zeros and ones in sixteen bits": "scaled_dot_product_attention(q, q, q, m.half())",
    "integers": "scaled_dot_product_attention(q, q, q, m.long())",
    "division": "MultiHeadAttention(10, 3)",
    "division of key heads": "MultiHeadAttention(12, 3, 2)",
    "1 for 2 heads": (
        "scaled_dot_product_attention(q[:, :1], q[:, :2], q[:, :2], enable_gqa=True)"
    ),
    "beyond the end": "padding_mask([9], 5)",
    "before the start": "padding_mask([-1], 5)",
    "negative length": "LearnedPositions(8, 4)(-1)",
    "beyond the table": "LearnedPositions(8, 4)(9)",
    "no window": "sliding_window_mask(4, 4, 0)",
    "odd width": "sinusoidal(3, 5)",
    "corner": "causal_mask(2, 3, align='upper-right')",
    "values beyond the keys": (
        "MultiHeadAttention(12, 3)(x, x, torch.randn(2, 7, 12), need_weights=False)"
    ),
    "mask that repeats the batch": ("attention(q[:1], q[:1], q[:1], mask=m.expand(4, 1, 5, 5))"),
    "mask that repeats the output": "MultiHeadAttention(12, 3)(x[:1], mask=m.expand(4, 5, 5))",
    "bias that repeats the batch": (
        "with_bias(lambda a, b: a @ b.mT, torch.zeros(4, 1, 5, 5))(q[:1], q[:1])"
    ),
    "score that drops the batch": "attention(q, q, q, score=lambda a, b: (a @ b.mT)[0])",
    "normalizer that drops the batch": "attention(q, q, q, normalize=lambda s: s.softmax(-1)[0])",
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_what_would_be_wrong_in_silence_is_refused_in_a_copy_too(misuse: str) -> None:
    name = re.split(r"\W", MISUSES[misuse])[0]
    there: dict[str, Any] = {"__name__": "copy"}
    exec(one_file(name), there)
    refused = []
    for names in (vars(attn_examples), there):
        names = {
            "torch": torch, name: names[name], "x": torch.randn(2, 5, 12),
            "q": torch.randn(2, 3, 5, 4), "m": torch.ones(5, 5).tril().bool(),
        }  # fmt: skip
        with pytest.raises((TypeError, ValueError)) as caught:
            eval(MISUSES[misuse], names)
        refused.append((caught.type, str(caught.value)))
    assert refused[0] == refused[1]


def test_an_unknown_name_gets_the_closest_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy", "MultiheadAtention"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "name ('MultiheadAtention') must be one that attn_examples exports: "
        "the closest are MultiHeadAttention, MultiHeadLatentAttention, tiled_attention\n"
    )
    assert main(["copy", "zzz"]) == 2
    assert capsys.readouterr().err.endswith("`list` shows all of them\n")


def test_copying_nothing_takes_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "names is empty but must name a mechanism: `list` shows all of them\n"


@pytest.mark.parametrize("arguments", [["list"], ["exercises"], ["copy", "attention"]])
def test_a_closed_pipe_ends_it_quietly(arguments: list[str]) -> None:
    reads, writes = os.pipe()
    os.close(reads)  # as `head` does, but always in time
    done = subprocess.run(
        [sys.executable, "-m", "attn_examples", *arguments],
        cwd=ROOT, stdout=writes, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writes)
    assert done.stderr == ""
    assert done.returncode == 141


def test_an_interruption_ends_it_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*names: str, checks: bool) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("attn_examples.__main__.one_file", interrupted)
    assert main(["copy", "dot"]) == 130
    assert capsys.readouterr() == ("", "")


def test_list_and_copy_print(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(names) == sorted(attn_examples.__all__)
    assert main(["copy", "softmax"]) == 0
    assert capsys.readouterr().out == one_file("softmax")
    assert main(["copy", "softmax", "dot", "--checks"]) == 0
    assert capsys.readouterr().out == one_file("softmax", "dot", checks=True)


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
    with pytest.raises(ValueError, match="they need equal widths"):
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
    source = "if a:\n    c = 1\nelse:\n    assert b\nif a:\n    c = 1\nelif d:\n    assert b\ne = 1"
    assert rewrite(source, drop) == "if a:\n    c = 1\nif a:\n    c = 1\ne = 1"


def test_docstrings_are_shortened() -> None:
    source = 'def f():\n    """First.\n\n    More.\n    """\n    return 1'
    assert shortened(source) == "def f():\n    return 1"
    assert shortened(source, summary=True) == 'def f():\n    """First."""\n    return 1'
    source = 'def f():\n    """First."""\n\n    # why\n    return 1  # shape'
    assert shortened(source) == "def f():\n    # why\n    return 1  # shape"


def test_guards_that_keep_a_meaning_outlive_checks() -> None:
    source = "def f(x):\n    check_count(x)\n    refuse_low(x)\n    if x:\n        raise ValueError"
    kept = "def f(x):\n    refuse_low(x)\n    if x:\n        raise ValueError"
    assert shortened(source, checks=False) == kept
    method = "class A:\n    def _check(self): ...\n\n    def f(self):\n        self._check()"
    kept = "class A:\n    def f(self):\n        pass"
    assert shortened(method, checks=False) == kept
