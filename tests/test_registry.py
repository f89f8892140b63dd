"""The registry: nothing lacks a page, a source, an oracle or a test, and what does is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import attn_examples
from attn_examples.registry import ROOMS, Mechanism, mechanisms
from extensions.read.mechanisms import by_cost, by_model, by_year, facts, faults, table

ROOT = Path(__file__).parent.parent
DOT = "attn_examples/scores/dot_product.py"
PAGE = "docs/types/scores/dot-product.md"
COSINE = "docs/types/scores/cosine.md"
TEST = "tests/scores/test_dot_product.py"


def test_nothing_is_missing(found: list[str]) -> None:
    assert not found, "\n".join(["what is missing, and where:", *found])


def test_every_object_is_at_the_step_where_it_stands() -> None:
    for mechanism in mechanisms():
        thing = getattr(attn_examples, mechanism.object)
        assert thing.__module__.replace(".", "/") + ".py" == mechanism.file
    assert {mechanism.object for mechanism in mechanisms()} == set(attn_examples.__all__)
    assert {mechanism.step for mechanism in mechanisms()} == set(ROOMS)


@pytest.fixture(scope="module")
def found() -> list[str]:
    return faults()


@pytest.fixture
def project(tmp_path: Path, found: list[str]) -> Path:
    """Copy what the registry looks at, of a project that lacks nothing."""
    if found:
        pytest.skip("test_nothing_is_missing says what is")
    for name in ("attn_examples", "docs", "tests"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.json", "__pycache__")
        )
    (tmp_path / "conf").mkdir()
    shutil.copy(ROOT / "conf" / "references.bib", tmp_path / "conf")
    return tmp_path


def change(project: Path, file: str, old: str, new: str) -> None:
    text = (project / file).read_text(encoding="utf-8")
    assert old in text
    (project / file).write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        (
            DOT,
            '"call": "cosine"',
            '"call": "cosinus"',
            [
                f"{DOT} exports cosine, which no entry of its MECHANISMS calls: add one.",
                f"{DOT}: “cosine” calls cosinus, which __all__ there lacks.",
            ],
        ),
        (
            "attn_examples/normalizers/__init__.py",
            " + wrappers.__all__",
            "",
            [
                "attn_examples/normalizers/wrappers.py is not in __init__.py beside it: import it "
                "there, and add its __all__ to the sum."
            ],
        ),
        (
            DOT,
            '"page": "types/scores/cosine"',
            '"page": ""',
            [f"{DOT}: “cosine” has no page: write docs/types/scores/<its name>.md."],
        ),
        (
            DOT,
            "types/scores/cosine",
            "types/scores/angle",
            [f"{DOT}: “cosine” has no page: write docs/types/scores/angle.md."],
        ),
        (
            PAGE,
            "(bilinear)=",
            "(general)=",
            [f"{PAGE} has no line (bilinear)= for “general, or bilinear”: add it."],
        ),
        (
            DOT,
            "types/scores/dot-product#bilinear",
            "types/scores/dot-product",
            [
                f"{DOT}: “general, or bilinear” and “dot” have one page, types/scores/dot-product: "
                f"give one of them a label of its own."
            ],
        ),
        (
            COSINE,
            "graves2014",
            "henry2020",
            [f"{COSINE} does not cite graves2014, the paper of “cosine”: cite it."],
        ),
        (
            DOT,
            '"papers": ["graves2014"],',
            "",
            [
                f"{DOT}: “cosine” has no source: add keys of conf/references.bib as “papers”, or "
                f"say in “without_paper” why there is none."
            ],
        ),
        (
            "conf/references.bib",
            "{graves2014,",
            "{graves2015,",
            [
                f"{DOT}: “cosine” names the paper graves2014: add it to conf/references.bib.",
                f"{DOT}: “cosine” names the report graves2014: add it to conf/references.bib.",
            ],
        ),
        (
            DOT,
            '"papers": ["graves2014"],',
            '"papers": ["graves2014"], "without_paper": "old",',
            [f"{DOT}: “cosine” has papers and says why it has none: drop “without_paper”."],
        ),
        (
            DOT,
            '"torch.nn.functional.cosine_similarity": "test_cosine",',
            "",
            [
                f"{DOT}: “cosine” has 1 of 2 oracles: compare it in {TEST} with an "
                f"implementation that is not ours, and name both in “oracles”."
            ],
        ),
        (
            DOT,
            "torch.nn.functional.cosine_similarity",
            "attn_examples.dot",
            [f"{DOT}: “cosine” has an oracle of ours, attn_examples.dot: name another's."],
        ),
        (
            TEST,
            "def test_cosine(",
            "def check_cosine(",
            [f"{DOT}: “cosine” names the test test_cosine: write it in {TEST}."],
        ),
        (
            TEST,
            "F.cosine_similarity(",
            "ours(",
            [
                f"{TEST} does not use torch.nn.functional.cosine_similarity in test_cosine: "
                f"compare with it there."
            ],
        ),
        (
            DOT,
            '"words": ["cosine similarity", "content-based addressing"],',
            "",
            [f"{DOT}: “cosine” has no words that people search for: add “words”."],
        ),
        (
            DOT,
            '"name": "cosine"',
            '"name": "dot"',
            [f"{DOT}: “dot” has the name of another mechanism: change one of them."],
        ),
        (
            DOT,
            '"name": "cosine",',
            "",
            [f"{DOT}: “cosine” has no name: add “name”."],
        ),
        (
            DOT,
            '"changes": "the cosine of the angle between them",',
            "",
            [f"{DOT}: “cosine” does not say what it changes: add “changes”."],
        ),
        (
            DOT,
            '"cost": "more: a norm for each query and each key",',
            '"cost": "a norm for each query and each key",',
            [
                f"{DOT}: “cosine” does not say what it costs: begin “cost” with one of less, the "
                f"same, more, and a colon if more is to be said."
            ],
        ),
        (
            DOT,
            '"used_in": {"Neural Turing Machine": "graves2014"},',
            '"used_in": {"Neural Turing Machine": "graves1914"},',
            [f"{DOT}: “cosine” names the report graves1914: add it to conf/references.bib."],
        ),
        (
            DOT,
            '"thumbnail": "attention(query, key, value, score=cosine)[1]",',
            "",
            [f"{DOT}: “cosine” has no thumbnail: add an expression as “thumbnail”."],
        ),
        (
            DOT,
            '"attention(query, key, value, score=cosine)[1]"',
            '"attention(query, key, value, score=cosine)"',
            [
                f"{DOT}: “cosine” has no thumbnail: “thumbnail” gives tuple, and must give a "
                f"matrix of at most 12 by 12."
            ],
        ),
        (
            "docs/reference/api/scores.md",
            "{mechanisms} reference",
            "{mechanisms} scores",
            [
                "attn_examples.scores has no page in the reference: begin "
                "docs/reference/api/scores.md with '(api-scores)=\\n# Step 1: scores\\n\\n"
                "```{mechanisms} reference\\n```\\n'."
            ],
        ),
        (DOT, '"papers"', '"paper"', [f"MECHANISMS in {DOT} has the unknown field 'paper'."]),
        (
            DOT,
            '"call": "dot"',
            '"call": dot',
            [f"MECHANISMS in {DOT} must be a tuple of plain literals."],
        ),
    ],
)
def test_what_is_missing_is_told(
    project: Path, file: str, old: str, new: str, sentence: list[str]
) -> None:
    change(project, file, old, new)
    assert faults(project) == sentence


def test_a_page_needs_a_mechanism_and_a_step(project: Path) -> None:
    shutil.copy(project / PAGE, project / "docs/types/scores/more.md")
    shutil.copytree(project / "docs/types/scores", project / "docs/types/other")
    change(project, DOT, "types/scores/dot-product#bilinear", "types/other/dot-product#bilinear")
    assert faults(project) == [
        "docs/types/other/dot-product.md stands in no step's folder: move it to "
        "docs/types/scores/.",
        *(
            f"docs/types/other/{name}.md is the page of no mechanism: name it in a file of "
            f"attn_examples/other/."
            for name in sorted(file.stem for file in (project / "docs/types/scores").glob("*.md"))
            if name != "dot-product"
        ),
        "docs/types/scores/more.md is the page of no mechanism: name it in a file of "
        "attn_examples/scores/.",
    ]


def test_all_that_is_missing_is_told_at_once(project: Path) -> None:
    change(project, DOT, '"papers": ["graves2014"],', "")
    (project / TEST).unlink()
    (project / "docs/types/heads/self.md").unlink()
    found = faults(project)
    tests = sum(len(mechanism.oracles) for mechanism in mechanisms() if mechanism.file == DOT)
    assert len([fault for fault in found if "names the test" in fault]) == tests
    assert [fault for fault in found if "names the test" not in fault] == [
        "attn_examples/heads/single_head.py: “self-attention” has no page: "
        "write docs/types/heads/self.md.",
        f"{DOT}: “cosine” has no source: add keys of conf/references.bib as “papers”, or "
        f"say in “without_paper” why there is none.",
    ]


MADE = Mechanism(
    step="scores",
    family="made_up",
    name="made up",
    call="made_up(2)",
    changes="nothing",
    page="types/scores/made-up#label",
    papers=["vaswani2017", "luong2015"],
    oracles={"torch.dot": "test_dot", "by hand": "test_loop", "torch.einsum": "test_einsum"},
    cost="more: words",
    used_in={"GPT": "radford2018"},
)


def test_a_row_of_the_index() -> None:
    (row,) = table([MADE], "what")[2:]
    assert row == (
        "| {ref}`made up <label>` {py:obj}`made_up(2) <attn_examples.scores.made_up>` | nothing "
        "| more: words | GPT {cite:p}`radford2018` | {cite:t}`vaswani2017`, {cite:t}`luong2015` |"
    )


def test_a_row_of_facts_says_how_far_each_oracle_is() -> None:
    place = "tests/scores/test_made_up.py::"
    (row,) = facts([MADE], {f"{place}test_dot": 0.0, f"{place}test_loop": 2e-16})[2:]
    assert row == (
        "| {ref}`made up <label>` | more: words | GPT {cite:p}`radford2018` "
        "| `torch.dot`: none; a loop written from the paper: 2e-16; `torch.einsum` |"
    )


def test_lists_by_year_model_and_cost() -> None:
    other = Mechanism("masks", "order", "plain", page="types/masks/x", cost="the same")
    made, plain = "{ref}`made up <label>`", "{doc}`plain </types/masks/x>`"
    assert by_year([MADE, other]) == ["2015", f": {made}", ""]
    assert by_model([MADE, other]) == ["GPT {cite:p}`radford2018`", f": {made}", ""]
    assert by_cost([other, MADE])[3:] == [
        "The same", f": {plain}", "", "More", f": {made}", "",
    ]  # fmt: skip
