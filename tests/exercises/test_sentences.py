"""What a report says is true, and helps: one test for each sentence that once was not so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from attn_examples.__main__ import main
from attn_examples.exercises import check
from attn_examples.exercises.report import Finding
from tests.exercises.learners import (
    ATTENTION,
    CACHE,
    CAUSAL,
    IMPORTS,
    LOOK,
    MULTI,
    SELF,
    SOFTMAX,
    written,
)

PLAIN = "def softmax(scores, dim):\n    w = scores.softmax(dim)\n"


def found(name: str, text: str) -> Finding:
    """Return the first finding on an answer that is not passed."""
    report = check(name, written(text))
    assert not report.passed
    return report.findings[0]


def changed(text: str, *changes: str) -> str:
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new)
    return text


@pytest.mark.parametrize(
    "ending",
    [
        "w[w.isnan()] = 0",
        "w.nan_to_num_(0)",
        "w.masked_fill_((scores == -math.inf).all(dim, keepdim=True), 0.0)",
    ],
)
def test_in_place_on_what_backward_needs_is_told(ending: str) -> None:
    finding = found("softmax", f"{PLAIN}    {ending}\n    return w\n")
    assert finding.mistakes == ("in-place-backward",)
    assert "The values are right, but gradients cannot flow" in finding.sentence
    assert "softmax" not in finding.sentence  # which result it was is not known


def test_in_place_division_is_told_and_a_wrong_answer_keeps_its_own_diagnosis() -> None:
    divided = changed(SOFTMAX, "p = e / e.sum(dim=dim, keepdim=True)", "s = e.sum(dim, True)\n"
                      "    e /= s\n    p = e")  # fmt: skip
    assert found("softmax", divided).mistakes == ("in-place-backward",)
    finding = found("softmax", changed(divided, "torch.exp(", "torch.exp2("))
    assert finding.mistakes == ("softmax-base",)


@pytest.mark.parametrize("ending", ["w.nan_to_num(0)", "torch.where(w.isnan(), 0.0, w)"])
def test_a_gradient_of_nan_is_not_passed_where_the_task_says_so(ending: str) -> None:
    finding = found("softmax", f"{PLAIN}    return {ending}\n")
    assert finding.kind == "essential"
    assert finding.mistakes == ("nan-gradient",)
    assert "the gradient of the scores is NaN" in finding.sentence
    assert check("scaled-dot-product", written(ATTENTION)).passed  # no task says so there


def test_heads_that_are_never_moved_are_one_mistake_whatever_the_merge() -> None:
    finding = found("multi-head", changed(MULTI, "num_heads, D).transpose(1, 2)", "num_heads, D)"))
    assert finding.mistakes == ("split-positions",)
    assert "something else" not in finding.sentence


def test_only_the_cases_that_really_differ_are_said_to() -> None:
    text = changed(
        ATTENTION,
        " / math.sqrt(d)", "",
        "weights = torch.nan_to_num(weights)",
        "weights = torch.nan_to_num(weights)\n    if query.shape[1] == 2: weights = weights ** 2",
    )  # fmt: skip
    finding = found("scaled-dot-product", text)
    assert "scale-none" in finding.mistakes
    assert "(with other sizes)" in finding.sentence


def test_an_inverted_mask_is_told_as_what_happens() -> None:
    sentence = found("causal-mask", changed(CAUSAL, ".tril(diagonal=S - L)", ".triu(S - L + 1)"))
    assert "what is True should be False, for True means allowed" in sentence.sentence
    sentence = found("scaled-dot-product", changed(ATTENTION, "~mask", "mask"))
    assert "what is True is hidden, but True means allowed" in sentence.sentence


def test_the_first_step_that_differs_is_the_one_shown() -> None:
    text = changed(
        CACHE,
        "[past_key, key]", "[key, past_key]",
        "[past_value, value]", "[value, past_value]",
        "S - L", "S - L - 1",
    )  # fmt: skip
    finding = found("kv-cache-step", text)
    assert finding.sentence == (
        "The keys are the first step that differs, as when the new keys and values are put before "
        "the old ones. That alone does not explain the output."
    )
    assert finding.expected.startswith("keys ")
    assert finding.got.startswith("keys ")
    assert "output" not in finding.got


def test_the_step_without_a_known_mistake_is_shown_alone_too() -> None:
    text = (
        "def four_steps(query, key, value, mask):\n"
        "    scores = query @ key.mT / query.shape[-1] ** 0.5\n"
        "    masked = scores.masked_fill(~mask, -5.0)\n"
        "    w = masked.softmax(-1)\n"
        "    return scores, masked, w, w @ value\n"
    )
    finding = found("four-steps", text)
    assert finding.sentence.startswith("The masked scores are the first step that differs")
    assert finding.got.startswith("masked ")
    assert "weights" not in finding.got


def test_where_it_happened_is_told_only_if_it_does_not_happen_elsewhere() -> None:
    always = changed(SELF, "scores.softmax", "scors.softmax")
    assert "This happened" not in found("self-attention", always).sentence
    sometimes = changed(
        SELF, "    q = x", "    if w_q.shape[0] < w_q.shape[1]: raise KeyError(1)\n    q = x"
    )
    assert "This happened where queries are narrower" in found("self-attention", sometimes).sentence


def test_an_input_changed_in_place_is_told_once() -> None:
    text = changed(ATTENTION, "    d = ", "    query /= math.sqrt(query.shape[-1])\n    d = ",
                   " / math.sqrt(d)", "")  # fmt: skip
    report = check("scaled-dot-product", written(text))
    assert [finding.mistakes for finding in report.findings] == [("in-place",)]
    raising = changed(ATTENTION, "    d = ", "    query.numpy()\n    d = ")
    sentence = found("scaled-dot-product", raising).sentence
    assert "with gradients: your code raised RuntimeError" in sentence


def test_parts_are_spoken_of_in_sentences() -> None:
    for name, text, said in (
        ("scaled-dot-product", changed(ATTENTION, "output, weights", "output, weights.tolist()"),
         "The weights are a list of 2 (list, list)"),
        ("causal-mask", changed(CAUSAL, ", dtype=torch.bool", ""),
         "The mask holds torch.float32"),
        ("scaled-scores", "def f(q, k):\n    return (q @ k.mT).long()\n",
         "The scores hold torch.int64"),
    ):  # fmt: skip
        assert found(name, text).sentence.startswith(said)


def test_a_cache_joined_along_another_dimension_is_told_which() -> None:
    finding = found("kv-cache-step", changed(CACHE, "key], dim=2", "key], dim=1"))
    assert "Only the positions may grow: join along dim=-2." in finding.sentence
    mixed = changed(CACHE, "[past_value, value]", "[past_value, key]")  # along the right one
    sentence = found("kv-cache-step", mixed).sentence
    assert "except in dimension 2" in sentence
    assert "join along" not in sentence


def test_a_view_that_torch_refuses_leads_to_the_page_on_view() -> None:
    finding = found("multi-head", changed(MULTI, ".reshape(N, L, E)", ".view(N, L, E)"))
    assert finding.page.endswith("#view-where-transpose-was-needed")


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("scaled-dot-product",
         changed(ATTENTION, "key.transpose(-2, -1)",
                 "key.reshape(*key.shape[:2], key.shape[3], key.shape[2])"),
         ("keys-reshaped",)),
        ("scaled-scores",
         "def f(q, k):\n    N, H, S, D = k.shape\n    return q @ k.view(N, H, D, S) / D ** 0.5\n",
         ("keys-reshaped",)),
        ("multi-head",
         changed(MULTI, "L, num_heads, D).transpose(1, 2)", "num_heads, L, D)", "sqrt(D)",
                 "sqrt(E)"),
         ("split-view", "scale-embed")),
        ("repair-scale", changed(MULTI, "w_o.T", "w_o", "sqrt(D)", "sqrt(E)"),
         ("output-transposed", "scale-embed")),
        ("kv-cache-step", changed(CACHE, "[past_value, value]", "[value, past_value]"),
         ("cache-values-first",)),
        ("kv-cache-step", changed(CACHE, "[past_key, key]", "[key, past_key]"),
         ("cache-keys-first",)),
    ],
)  # fmt: skip
def test_a_natural_mistake_has_a_name(name: str, text: str, names: tuple[str, ...]) -> None:
    assert found(name, text).mistakes == names


def test_which_part_of_a_pair_is_right_is_told() -> None:
    text = changed(LOOK, "return found", "return found[0], maps.shape[1] - 1 - found[1]")
    assert "the layer is right, the head is not" in found("look-by-code", text).sentence
    text = changed(LOOK, "return found", "return maps.shape[0] - 1 - found[0], found[1]")
    assert "the head is right, the layer is not" in found("look-by-code", text).sentence


def test_links_lead_to_what_explains_the_mistake() -> None:
    finding = found("multi-head", changed(MULTI, "w_o.T", "w_o"))
    assert finding.page == "concepts/queries-keys-values.html#where-they-come-from"
    finding = found("causal-mask", changed(CAUSAL, ", dtype=torch.bool", ""))
    assert finding.page.endswith("#a-mask-of-zeros-and-ones-is-added")


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("predict-weight", 0.7311, "the weight if the query were 1"),
        ("predict-weight", 0.617, "with logarithms to base 10"),
        ("predict-parameters", 144, "one matrix, without its bias"),
        ("predict-parameters", 208, "to one head's width"),
    ],
)
def test_a_natural_wrong_number_has_a_name(name: str, answer: Any, said: str) -> None:
    assert said in check(name, answer).findings[0].sentence


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("def softmax(scores, dim:\n    return 1\n", "line 1: `def softmax(scores, dim:`"),
        ("def softmax(scores, dim):\nreturn 1\n", "line 2: `return 1`"),
    ],
)
def test_a_syntax_error_shows_the_learners_line_alone(
    text: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    assert main(["check", "softmax", str(file)]) == 1
    said = capsys.readouterr().out
    assert f"(mine.py, {line})" in said
    assert "commands.py" not in said
    assert said.count("mine.py") == 1


def test_the_list_tells_failed_from_untouched_and_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "softmax.py").write_text("def softmax(scores, dim): ...\n")
    (tmp_path / "causal-mask.py").write_text(IMPORTS + changed(CAUSAL, "S - L", "0"))
    (tmp_path / "causal_mask.py").write_text(IMPORTS + CAUSAL)
    assert main(["exercises", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines()}
    assert " not yet " in lines["softmax"]
    assert " not passed " in lines["causal-mask"]
    assert "causal_mask.py was not checked" in said
