"""Wrong answers are rejected and named; two mistakes at once are never taken for another one."""

from __future__ import annotations

import itertools
import random

import pytest

from attn_examples.exercises import Report, check
from tests.exercises.learners import FAMILIES, Slip, pairs, written, wrong

# Two mistakes that together are, number for number, a mistake with a name of its own.
EQUAL_TO = {
    ("softmax-exp", "softmax-sum"): {"softmax-none"},
    ("mask-corner", "mask-inverted"): {"mask-inverted-corner"},
    ("mask-strict", "mask-inverted"): {"mask-upper"},
    ("mask-strict-corner", "mask-inverted"): {"mask-upper"},
    ("mask-upper", "mask-inverted"): {"mask-strict", "mask-strict-corner"},
    ("mask-inverted-corner", "mask-inverted"): {"mask-corner"},
    ("own-keys-only", "own-values"): {"own-keys"},
    ("split-view", "merge-view"): {"split-merge-view"},
    ("split-interleaved", "merge-interleaved"): {"split-merge-interleaved"},
    ("output-transposed", "projection-transposed"): {"projections-all-transposed"},
    ("raw-key", "raw-query"): {"raw-qk"},
    ("shared-qk", "shared-kv"): {"shared-all"},
    ("additive-product-plain", "additive-no-v"): {"additive-dot"},
    ("largest", "sharpest"): {"any"},
    # named as the two that they are
    ("softmax-queries", "mix-transposed"): {"softmax-queries-and-transposed"},
    ("softmax-queries", "scores-swapped"): {"swapped-and-softmax-queries"},
    ("mix-transposed", "scores-swapped"): {"swapped-and-transposed"},
    ("scores-swapped", "mask-transposed"): {"swapped-and-mask-transposed"},
    ("mix-transposed", "mask-transposed"): {"transposed-and-mask-transposed"},
    ("softmax-queries", "mask-transposed"): {"softmax-queries-and-mask-transposed"},
}
# Two mistakes that undo each other.
RIGHT_AGAIN = (
    {"mask-inverted"},
    {"padding-more", "padding-less"},
    {"scores-swapped", "argument-order"},
    {"additive-transposed"},
)


def names_in(report: Report) -> set[str]:
    return {name for finding in report.findings for name in finding.mistakes}


def composite(names: set[str]) -> set[str]:
    return {called for pair, result in EQUAL_TO.items() if set(pair) <= names for called in result}


@pytest.mark.parametrize(
    ("name", "text", "slips"), FAMILIES, ids=[family[0] for family in FAMILIES]
)
def test_one_mistake_is_rejected_and_named(name: str, text: str, slips: tuple[Slip, ...]) -> None:
    accepted: list[Slip] = []
    unnamed: list[tuple[Slip, str]] = []
    misnamed: list[tuple[Slip, str]] = []
    for slip in slips:
        report = check(name, written(wrong(text, slip)))
        found = names_in(report)
        assert all(finding.sentence.strip() for finding in report.findings)
        if report.passed:
            accepted.append(slip)
        elif slip.names and not found & set(slip.names):
            (misnamed if found else unnamed).append((slip, report.findings[0].sentence))
    single = sum(bool(slip.names) for slip in slips)
    named = single - len(unnamed) - len(misnamed)
    TABLE.append((name, len(slips) - len(accepted), named, single, len(slips)))
    assert not accepted
    assert not misnamed
    assert named >= 0.95 * single, unnamed


TABLE: list[tuple[str, int, int, int, int]] = []


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Print the table; `-s` is not needed."""
    if len(TABLE) < len(FAMILIES):
        pytest.skip("the tests above did not all run")
    with capsys.disabled():
        print(f"\n{'exercise':22}{'rejected':>9}{'named':>7}{'single':>8}{'total':>7}")
        for name, rejected, named, single, total in TABLE:
            print(f"{name:22}{rejected:9}{named:7}{single:8}{total:7}")
        rejected, named, single, total = (sum(c) for c in list(zip(*TABLE, strict=True))[1:])
        print(f"{'sum':22}{rejected:9}{named:7}{single:8}{total:7}")


def sampled(text: str, slips: tuple[Slip, ...], most: int) -> list[tuple[str, tuple[str, ...]]]:
    every = list(pairs(text, slips))
    return random.Random(0).sample(every, min(most, len(every)))


@pytest.mark.parametrize(
    ("name", "text", "slips"),
    [family for family in FAMILIES if not family[0].startswith("repair")],
    ids=[family[0] for family in FAMILIES if not family[0].startswith("repair")],
)
def test_two_mistakes_are_not_taken_for_another(
    name: str, text: str, slips: tuple[Slip, ...]
) -> None:
    for code, names in sampled(text, slips, 60):
        report = check(name, written(code))
        made, found = set(names), names_in(report)
        if report.passed:
            assert made in RIGHT_AGAIN, code
        if found:
            assert found & (made | composite(made)), (names, report)


def test_a_mistake_is_found_whatever_the_seed() -> None:
    text, slips = next((t, s) for n, t, s in FAMILIES if n == "scaled-dot-product")
    inverted = next(slip for slip in slips if slip.names == ("mask-inverted",))
    shown = set()
    for _ in range(5):
        report = check("scaled-dot-product", written(wrong(text, inverted)))
        assert names_in(report) == {"mask-inverted"}
        shown.add(report.findings[0].shown)
    assert all(len(text) < 300 for text in shown)  # small enough to follow


def test_the_first_step_that_differs_is_named() -> None:
    text, slips = next((t, s) for n, t, s in FAMILIES if n == "four-steps")
    scale = next(slip for slip in slips if slip.names == ("scale-none",))
    later = next(slip for slip in slips if slip.names == ("mix-key",))
    report = check("four-steps", written(wrong(wrong(text, scale), later)))
    assert "The scores are the first step that differs, as when" in report.findings[0].sentence
    assert names_in(report) == {"scale-none"}


def test_what_changes_the_input_is_told_without_what_follows_from_it() -> None:
    text, slips = next((t, s) for n, t, s in FAMILIES if n == "scaled-dot-product")
    divided = next(s for s in slips if s.new.startswith("    query /= math.sqrt(query"))
    first, *others = check("scaled-dot-product", written(wrong(text, divided))).findings
    assert first.mistakes == ("in-place",)
    assert not any("with gradients" in other.sentence for other in others)


def test_the_broken_function_of_repair_scale_lacks_the_projection_first() -> None:
    text, _ = next((t, s) for n, t, s in FAMILIES if n == "repair-scale")
    text = text.replace("math.sqrt(D)", "math.sqrt(E)").replace("return joined @ w_o.T",
                                                               "return joined")  # fmt: skip
    finding = check("repair-scale", written(text)).findings[0]
    assert finding.mistakes[0] == "output-missing"
    assert finding.page.endswith("#no-output-projection")


def test_every_mistake_of_the_list_is_among_them() -> None:
    """The mistakes that learners are known to make, each met in at least one exercise."""
    met = set(itertools.chain.from_iterable(s.names for _, _, slips in FAMILIES for s in slips))
    assert met >= {
        "softmax-queries", "softmax-heads", "softmax-batch", "scale-none", "scale-embed",
        "scale-d", "scale-multiplied", "scale-length", "scale-heads", "split-view",
        "merge-view", "split-interleaved", "merge-interleaved", "mask-inverted",
        "mask-ignored", "mask-after", "mask-zero", "mask-multiplied", "mask-added",
        "mask-tiny", "mask-next", "mask-strict", "mask-transposed", "mask-axis",
        "return-transposed", "mix-transposed", "swapped-qk", "scores-swapped", "shared-kv",
        "mix-key", "raw-all", "projection-transposed", "shared-all", "heads-averaged",
        "heads-summed", "softmax-twice", "softmax-none", "dropout", "float32", "in-place",
        "mask-corner", "cache-corner", "masked-row-nan", "hard-coded", "T", "output-missing",
        "return-averaged", "argument-order", "heads-ignored",
    }  # fmt: skip
