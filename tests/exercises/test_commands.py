"""The terminal: exit codes, what is printed, and nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from attn_examples.__main__ import main
from attn_examples.exercises.checking import find_exercise
from attn_examples.exercises.commands import check_file
from attn_examples.standalone import inline
from tests.conftest import WITHOUT
from tests.exercises.learners import CAUSAL, IMPORTS, SOFTMAX


def test_check_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text(IMPORTS + SOFTMAX)
    assert main(["check", "softmax", str(file)]) == 0
    assert capsys.readouterr().out.startswith("softmax: passed")

    file.write_text(IMPORTS + SOFTMAX.replace("torch.exp(scores)", "torch.exp(scores) / 0"))
    assert main(["check", "softmax", str(file)]) == 1
    assert "softmax: not passed" in capsys.readouterr().out

    file.write_text("def softmax(scores, dim):\n    raise NotImplementedError\n")
    assert main(["check", "softmax", str(file)]) == 1
    assert capsys.readouterr().out.startswith("softmax: not yet")

    file.write_text("def helper(x):\n    return x\n\nanswer = 3 / 4\n")
    assert main(["check", "predict-weight", str(file)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_file_that_measures_a_value_may_compute_longer(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import time\nbegan = time.process_time()\nwhile time.process_time() - began < 0.6:\n"
        "    pass\nanswer = 0.75\ndef softmax(scores, dim):\n    return scores\n"
    )
    assert check_file(find_exercise("predict-weight"), file, seconds=0.3).passed
    late = check_file(find_exercise("softmax"), file, seconds=0.3).findings[0].sentence
    assert "did not finish" in late


def test_the_learners_own_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def softmax(scores, dim):\n    return scores.nowhere()\n")
    assert main(["check", "softmax", str(file)]) == 1
    assert "(mine.py, line 2: `return scores.nowhere()`)" in capsys.readouterr().out
    file.write_text("import torch\ntorch.nowhere\n")
    assert main(["check", "softmax", str(file)]) == 1
    assert "(mine.py, line 2: `torch.nowhere`)" in capsys.readouterr().out
    file.write_text("def softmax(scores, dim:\n    return 1\n")
    assert main(["check", "softmax", str(file)]) == 1
    assert "SyntaxError" in capsys.readouterr().out


def test_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    assert main(["check", "softmax", str(file)]) == 2
    assert "cannot be read" in capsys.readouterr().err
    file.write_text("x = 1\n")
    assert main(["check", "softmax", str(file)]) == 2
    assert "must define a function `softmax`" in capsys.readouterr().err
    assert main(["check", "predict-weight", str(file)]) == 2
    assert "must define the variable `answer`" in capsys.readouterr().err
    assert main(["check", "sofmax", str(file)]) == 2
    assert "did you mean 'softmax'" in capsys.readouterr().err
    assert main(["exercises", str(tmp_path / "nowhere")]) == 2
    assert "must be a folder" in capsys.readouterr().err


def test_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "softmax.py").write_text(IMPORTS + SOFTMAX)
    (tmp_path / "causal_mask.py").write_text(IMPORTS + CAUSAL.replace("S - L", "0"))
    (tmp_path / "multi-head.py").write_text("x = 1\n")
    assert main(["exercises", str(tmp_path)]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert " passed " in lines["softmax"]
    assert " not passed " in lines["causal-mask"]
    assert " not yet " in lines["multi-head"]
    assert " no file " in lines["four-steps"]
    assert main(["exercises"]) == 0
    assert "no file" not in capsys.readouterr().out


def test_as_a_program(tmp_path: Path) -> None:
    file = tmp_path / "causal-mask.py"
    file.write_text(IMPORTS + CAUSAL.replace("S - L", "0"))
    command = [sys.executable, "-m", "attn_examples", "check", "causal-mask", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "upper left corner" in done.stdout
    assert done.stderr == ""


def test_a_copied_piece_checks_without_the_package(tmp_path: Path) -> None:
    piece = inline(
        ["from attn_examples.exercises import check",
         "print(check('softmax', lambda s, dim: s.softmax(0)))",
         "print(check('softmax', lambda s, dim: s.nowhere()))",
         "print(check('multi-head', ...))"]
    )  # fmt: skip
    file = tmp_path / "piece.py"
    file.write_text("\n".join(piece))
    program = WITHOUT + "import runpy\nrunpy.run_path(sys.argv[1])\n"
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert "`dim` is ignored and the softmax runs over the first dimension" in done.stdout
    assert "AttributeError" in done.stdout
    assert "(piece.py, line " in done.stdout
    assert done.stdout.splitlines()[-3].startswith("multi-head: not yet")
