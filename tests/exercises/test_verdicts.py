"""No wrong answer passes, no right one is refused, and what is said of either is true."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import OrderedDict, deque
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attn_examples.__main__ import main
from attn_examples.exercises import Report, check
from tests.exercises.learners import (
    ADDITIVE,
    ATTENTION,
    CACHE,
    CAUSAL,
    CROSS,
    FOUR,
    IMPORTS,
    LOOK,
    MERGE,
    MULTI,
    POSITIONS,
    SCORES,
    SELF,
    SOFTMAX,
    SPLIT,
    WINDOW,
    written,
)


def judged(name: str, text: str, *changes: str) -> Report:
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new)
    return check(name, written(text))


def mistakes(report: Report) -> tuple[str, ...]:
    return tuple(name for finding in report.findings for name in finding.mistakes)


# Right numbers that nothing can be learned through: cut off whole, in part, or through NumPy.
CUT: tuple[tuple[str, ...], ...] = (
    ("softmax", SOFTMAX, "torch.exp(scores)", "torch.exp(scores).detach()"),
    ("softmax", SOFTMAX, "return p.m", "p = torch.from_numpy(p.detach().numpy())\n    return p.m"),
    ("scaled-scores", SCORES, "    return query", "    with torch.no_grad(): return query"),
    ("scaled-scores", SCORES, "query @ key", "query @ key.detach()"),
    ("scaled-scores", SCORES, "query @ key.transpose(-2, -1)",
     "torch.from_numpy(query.numpy() @ key.mT.numpy())"),
    ("scaled-dot-product", ATTENTION, "weights @ value", "weights.detach() @ value"),
    ("scaled-dot-product", ATTENTION, "weights @ value", "weights @ value.data"),
    ("repair-mask", ATTENTION, "weights @ value", "weights.detach() @ value"),
    ("four-steps", FOUR, ".softmax(-1)", ".softmax(-1).detach()"),
    ("self-attention", SELF, "softmax(dim=-1)", "softmax(dim=-1).detach()"),
    ("repair-transpose", SELF, "softmax(dim=-1)", "softmax(dim=-1).detach()"),
    ("cross-attention", CROSS, ".nan_to_num(0.0)", ".nan_to_num(0.0).detach()"),
    ("split-heads", SPLIT, "return x", "return x.data"),
    ("merge-heads", MERGE, "return heads", "return heads.detach()"),
    ("multi-head", MULTI, "heads = weights @ v", "heads = weights.detach() @ v"),
    ("repair-scale", MULTI, "heads = weights @ v", "heads = weights @ v.detach()"),
    ("kv-cache-step", CACHE, "scores.softmax(dim=-1)", "scores.softmax(dim=-1).detach()"),
    ("repair-cache", CACHE, "scores.softmax(dim=-1)", "scores.softmax(dim=-1).detach()"),
    ("additive-scores", ADDITIVE, "torch.tanh(q", "torch.tanh(q.detach()"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "text", "old", "new"), CUT)
def test_right_numbers_without_their_gradient_do_not_pass(
    name: str, text: str, old: str, new: str
) -> None:
    report = judged(name, text, old, new)
    assert not report.passed, report
    assert "right" in report.findings[0].sentence or "No gradient" in report.findings[0].sentence


@pytest.mark.parametrize(
    ("name", "text", "old", "new"),
    [
        # what is only returned to be looked at, and weights that are copied into a module
        ("scaled-dot-product", ATTENTION, "output, weights", "output, weights.detach()"),
        ("kv-cache-step", CACHE, "output, keys, values", "output, keys.detach(), values.detach()"),
        ("self-attention", SELF, "@ w_q.T", "@ w_q.data.T"),
    ],
)
def test_what_is_cut_off_beside_the_output_is_a_remark(
    name: str, text: str, old: str, new: str
) -> None:
    report = judged(name, text, f"return {old}" if "output" in old else old,
                    f"return {new}" if "output" in old else new)  # fmt: skip
    assert report.passed, report
    assert "no-gradient" in mistakes(report)


ROOT = "torch.sqrt(torch.tensor({}))"


@pytest.mark.parametrize(
    ("name", "text", "old", "new"),
    [
        ("scaled-scores", SCORES, "math.sqrt(d)", ROOT.format("d")),
        ("scaled-dot-product", ATTENTION, "math.sqrt(d)", ROOT.format("d")),
        ("four-steps", FOUR, "query.shape[-1] ** 0.5", ROOT.format("query.shape[-1]")),
        ("self-attention", SELF, "math.sqrt(q.size(-1))", ROOT.format("q.size(-1)")),
        ("cross-attention", CROSS, "q.shape[2] ** 0.5", ROOT.format("q.shape[2]")),
        ("multi-head", MULTI, "math.sqrt(D)", ROOT.format("D")),
        ("kv-cache-step", CACHE, "math.sqrt(query.shape[3])", ROOT.format("query.shape[3]")),
        ("softmax", SOFTMAX, "keepdim=True)\n    return", "keepdim=True) + 1e-8\n    return"),
    ],
)
def test_a_number_rounded_to_float32_is_a_remark_wherever_it_stands(
    name: str, text: str, old: str, new: str
) -> None:
    if name == "softmax":
        old, new = "e / e.sum(dim=dim, keepdim=True)", "e / (e.sum(dim, keepdim=True) + 1e-8)"
    report = judged(name, text, old, new)
    assert report.passed, report
    (finding,) = (f for f in report.findings if "rounded" in f.mistakes)
    assert "digits" in finding.sentence
    assert "keep the dtype" not in finding.sentence


def test_something_small_that_is_added_is_not_called_float32() -> None:
    for name, text, old, new in (
        ("scaled-scores", SCORES, "math.sqrt(d)", "(math.sqrt(d) + 1e-5)"),
        ("softmax", SOFTMAX, "e.sum(dim=dim, keepdim=True)", "(e.sum(dim, keepdim=True) + 1e-5)"),
    ):
        report = judged(name, text, old, new)
        assert not report.passed
        assert mistakes(report) == ("inexact",)
        assert "more than rounding" in report.findings[0].sentence


@pytest.mark.parametrize(
    "text",
    [
        # row 0 has no token before it: index -1 is the last column
        "def look(maps):\n    T = maps.shape[-1]\n"
        "    s = sum(maps[:, :, i, i - 1] for i in range(T))\n"
        "    return divmod(s.argmax().item(), maps.shape[1])\n",
        "def look(maps):\n    s = maps.diagonal(-1, -2, -1).median(-1).values\n"
        "    return divmod(s.argmax().item(), maps.shape[1])\n",
        "def look(maps):\n    before = torch.arange(maps.shape[-1]) - 1\n"
        "    s = (maps.argmax(-1) == before).sum(-1)\n"
        "    return divmod(s.argmax().item(), maps.shape[1])\n",
        "def look(maps):\n    s = maps.diagonal(-1, -2, -1).prod(-1)\n"
        "    return divmod(s.argmax().item(), maps.shape[1])\n",
        "def look(maps):\n    s = maps.diagonal(-1, -2, -1).quantile(0.75, -1)\n"
        "    return divmod(s.argmax().item(), maps.shape[1])\n",
        "def look(maps):\n    s = maps.diagonal(-1, -2, -1).square().mean(-1)\n"
        "    return divmod(s.argmax().item(), maps.shape[1])\n",
        "def look(maps):\n    s = maps.diagonal(-1, -2, -1)[..., 1:].mean(-1)\n"
        "    return divmod(s.argmax().item(), maps.shape[1])\n",
        "def look(maps):\n    s = maps.diagonal(-1, -2, -1)[..., :-1].mean(-1)\n"
        "    return divmod(s.argmax().item(), maps.shape[1])\n",
    ],
    ids=[
        "wrapped",
        "median",
        "most-often",
        "product",
        "quantile",
        "squares",
        "not-the-first",
        "not-the-last",
    ],
)
def test_a_statistic_that_is_not_the_average_never_finds_the_head(text: str) -> None:
    for _ in range(10):
        assert not check("look-by-code", written(text)).passed


def test_numbers_of_numpy_are_numbers() -> None:
    for end in (
        "np.unravel_index(int(s.argmax()), s.shape)",
        "np.array(np.unravel_index(int(s.argmax()), s.shape))",
        "np.argwhere(s.numpy() == s.numpy().max())[0]",
    ):
        text = f"def look(maps):\n    s = maps.diagonal(-1, -2, -1).mean(-1)\n    return {end}\n"
        assert check("look-by-code", written(text)).passed, end
    unordered = LOOK.replace("return found", "return set(found)")
    assert not check("look-by-code", written(unordered)).passed


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("predict-zero-rows", range(2)),
        ("predict-zero-rows", deque([0, 1])),
        ("predict-zero-rows", {0: "all", 1: "all"}.keys()),
        ("predict-zero-rows", np.arange(2)),
        ("predict-zero-rows", [np.int64(0), np.float32(1)]),
        ("predict-zero-rows", (torch.tensor(1), torch.tensor(0))),
        ("predict-weight", np.float32(0.75)),
        ("predict-weight", np.array(0.75)),
        ("predict-weight", Fraction(3, 4)),
        ("predict-weight", Decimal("0.75")),
        ("predict-weight", "75e-2"),
        ("predict-parameters", np.int32(624)),
        ("predict-zeros", np.array([10])),
        ("measure-cost", {np.int64(n): np.int64(6 * n * n) for n in (128, 256, 512)}),
        ("measure-cost", {str(n): 6 * n * n for n in (128, 256, 512)}),
        ("measure-cost", OrderedDict((n, 6 * n * n) for n in (512, 128, 256))),
        ("explain-scale", np.array([True, True, False, False, False])),
        ("explain-scale", (np.bool_(True), np.True_, False, 0, 0.0)),
        ("explain-scale", torch.tensor([1, 1, 0, 0, 0])),
    ],
)
def test_a_right_value_is_right_in_any_container(name: str, answer: Any) -> None:
    assert check(name, answer).passed, check(name, answer)


def test_keys_that_are_not_the_lengths_are_told_as_such() -> None:
    report = check("measure-cost", {"a": 1, "b": 2, "c": 3})
    sentence = report.findings[0].sentence
    assert "128, 256, 512" in sentence
    assert "'a', 'b', 'c'" in sentence
    assert "not with" not in sentence  # it is a dict


@pytest.mark.parametrize(
    "end",
    [
        "os._exit(0)",
        "os.kill(os.getpid(), 9)",
        "os.abort()",
        "os.execv(sys.executable, [sys.executable, '-c', ''])",
        "sys.exit(0)",
        "raise SystemExit",
        "getattr(__import__(os.name), '_exit')(0)",
        "signal.raise_signal(signal.SIGTERM)",
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_what_ends_the_program_is_told_and_does_not_pass(
    end: str, inside: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "softmax.py"
    line = f"import os, signal, sys\n{'def softmax(scores, dim):' if inside else 'if True:'}\n    "
    file.write_text(f"{line}{end}\n")
    assert main(["check", "softmax", str(file)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("softmax: not passed")
    assert "Your code ends the program" in said
    assert "running.py" not in said  # but what is the learner's


def test_a_program_that_ends_itself_has_not_passed(tmp_path: Path) -> None:
    file = tmp_path / "softmax.py"
    file.write_text(IMPORTS + SOFTMAX + "\nfrom os import _exit\n_exit(0)\n")
    command = [sys.executable, "-m", "attn_examples", "check", "softmax", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ends the program" in done.stdout


@pytest.mark.parametrize(
    ("name", "text"), [("scaled-dot-product", ATTENTION), ("repair-mask", ATTENTION)]
)
def test_keys_are_no_values_though_they_are_as_wide(name: str, text: str) -> None:
    swapped = "key if key.shape == value.shape else value"
    for _ in range(3):
        report = judged(name, text, "weights @ value", f"weights @ ({swapped})")
        assert not report.passed
        assert not judged("four-steps", FOUR, "weights, value)", f"weights, {swapped})").passed
        guarded = "key.mT if L != D else key"
        text_ = text.replace("    d = ", "    L, D = key.shape[-2:]\n    d = ")
        assert not judged(name, text_, "key.transpose(-2, -1)", guarded).passed


def test_what_divides_additive_scores_is_named_as_what_it_is() -> None:
    for width, said in (("query.shape[-1]", "the query"), ("key.shape[-1]", "the key")):
        report = judged("additive-scores", ADDITIVE, "@ v\n", f"@ v / {width} ** 0.5\n")
        assert said in report.findings[0].sentence, report
        assert "hidden width" not in report.findings[0].sentence


def test_a_one_that_is_taken_off_is_not_called_a_mask_that_is_added() -> None:
    filled = 'scores.masked_fill(~mask, float("-inf"))'
    report = judged("scaled-dot-product", ATTENTION, filled, "scores - (~mask).float()")
    assert set(mistakes(report)) == {"mask-added", "mask-subtracted"}
    assert "consistent with 2 mistakes" in report.findings[0].sentence
    filled = "torch.where(mask, scores, -torch.inf)"
    assert mistakes(judged("four-steps", FOUR, filled, "scores - (~mask).float()")) == (
        "mask-subtracted",
    )
    assert mistakes(judged("four-steps", FOUR, filled, "scores + mask")) == ("mask-added",)


ONLY_OWN = 'scores.masked_fill(~mask, float("-inf"))'
COMMON: tuple[tuple[str, ...], ...] = (
    ("window-mask", WINDOW, "return (j <= i) & (j > i - window)",
     "m = torch.ones(L, S).bool()\n    return m.tril(S - L) & m.triu(-window + 1)",
     "window-corner"),
    ("window-mask", WINDOW, "return (j <= i) & (j > i - window)",
     "m = torch.ones(L, S).bool()\n    return m.tril() & m.triu(S - L - window + 1)",
     "mask-corner-window"),
    ("self-attention", SELF, "math.sqrt(q.size(-1))", "math.sqrt(4)", "hard-coded"),
    ("self-attention", SELF, "math.sqrt(q.size(-1))", "8", "hard-coded"),
    ("multi-head", MULTI, "math.sqrt(D)", "2", "hard-coded"),
    ("cross-attention", CROSS, "q.shape[2] ** 0.5", "4 ** 0.5", "hard-coded"),
    ("kv-cache-step", CACHE, "math.sqrt(query.shape[3])", "math.sqrt(64)", "hard-coded"),
    ("kv-cache-step", CACHE, 'scores.masked_fill(~mask, -float("inf"))', "scores + mask.float()",
     "mask-added"),
    ("kv-cache-step", CACHE, 'scores.masked_fill(~mask, -float("inf"))', "scores * mask",
     "mask-multiplied"),
    ("kv-cache-step", CACHE, '-float("inf")', "0.0", "mask-zero"),
    ("multi-head", MULTI, "    N, L, E = x.shape\n    D = E // num_heads",
     "    N, L, E = x.shape\n    D = E // num_heads\n    width, num_heads = D, 1\n    D = E",
     "heads-ignored"),
    ("scaled-dot-product", ATTENTION, "if mask is not None", "if mask", "mask-truth"),
    ("multi-head", MULTI, "if mask is not None", "if mask", "mask-truth"),
    ("cross-attention", CROSS, "v), weights", "v), weights.mT", "return-transposed"),
    ("cross-attention", CROSS, "v), weights", "v), scores", "return-scores"),
    ("cross-attention", CROSS, "v), weights", "v), weights.mean(0)", "return-batch"),
    ("scaled-dot-product", ATTENTION, "output, weights", "output, weights.mean(0)", "return-batch"),
    ("scaled-dot-product", ATTENTION, "= weights @ value", "= weights @ value + query",
     "mix-residual"),
    ("self-attention", SELF, "weights @ v", "weights @ v + x", "residual"),
    ("cross-attention", CROSS, "torch.bmm(weights, v),", "torch.bmm(weights, v) + x,", "residual"),
    ("multi-head", MULTI, "scores.masked_fill(mask", "scores.masked_fill(mask.tril(-1)",
     "mask-strict"),
    ("multi-head", MULTI, "scores.masked_fill(mask",
     "scores.masked_fill(torch.ones(L, L).tril(-1).bool()", "mask-own-strict"),
    ("multi-head", MULTI, "scores.masked_fill(mask",
     "scores.masked_fill(torch.ones(L, L).tril(1).bool()", "mask-own-next"),
    ("multi-head", MULTI, "scores.masked_fill(mask",
     "scores.masked_fill(torch.ones(L, L).tril().bool()", "mask-own"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "text", "old", "new", "called"), COMMON)
def test_a_common_mistake_has_a_name(name: str, text: str, old: str, new: str, called: str) -> None:
    if called == "heads-ignored":  # one head, but the scale of the narrow ones
        text = text.replace("math.sqrt(D)", "math.sqrt(width)")
    report = judged(name, text, old, new)
    assert not report.passed
    assert called in mistakes(report), report


def test_one_judgement_is_told_at_a_time_and_the_key_at_the_end() -> None:
    wrong = [False, False, True, True, False, True]
    report = check("explain-long-sequences", wrong)
    (finding,) = report.findings
    assert finding.sentence.startswith("Statement 1, ")
    assert "and 5 more" not in finding.sentence
    right = check("explain-long-sequences", [not one for one in wrong])
    assert right.passed
    assert "A good answer contains" in repr(right)


def test_a_file_is_not_said_to_be_left_out_for_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "softmax.py").write_text(IMPORTS + SOFTMAX)
    (tmp_path / "causal-mask.py").write_text(IMPORTS + CAUSAL)
    assert main(["exercises", str(tmp_path)]) == 0
    assert "was not checked" not in capsys.readouterr().out


def test_an_answer_that_is_far_too_large_is_not_copied() -> None:
    began = time.process_time()
    report = judged("softmax", SOFTMAX, "return p.masked_fill(hidden, 0.0)",
                    "return p.expand(10**6, *scores.shape)")  # fmt: skip
    assert "(1000000, 2, 5, 7)" in report.findings[0].sentence
    for value in (torch.zeros(1).expand(10**8), range(10**12), np.broadcast_to(0.0, 10**8)):
        for name in ("predict-zero-rows", "predict-weight", "explain-scale"):
            assert not check(name, value).passed
        assert not check("look-by-code", lambda maps, value=value: value).passed
    assert time.process_time() - began < 10  # seconds of work, where a copy takes twice as many


@pytest.mark.parametrize(
    ("name", "text", "old", "new"),
    [
        # a dimension of size 1 is dropped
        ("softmax", SOFTMAX, "p.masked_fill(hidden, 0.0)", "p.masked_fill(hidden, 0.0).squeeze()"),
        # as near to 10000 as a few positions cannot tell
        ("sinusoidal-positions", POSITIONS, "10000 **", "9999 **"),
        ("sinusoidal-positions", POSITIONS, "10000 **", "10001 **"),
        ("sinusoidal-positions", POSITIONS, "embed_dim)\n    for", "embed_dim).half()\n    for"),
    ],
)
def test_what_shows_in_few_sizes_alone_is_found(name: str, text: str, old: str, new: str) -> None:
    assert not judged(name, text, old, new).passed
