"""The pages of the exercises: each exercise once, with hints, a solution, and a time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from docutils.core import publish_doctree

from attn_examples.exercises.checking import ALL_EXERCISES
from attn_examples.exercises.spec import Exercise, FunctionExercise
from extensions.render.facts import minutes

FOLDER = Path(__file__).parents[2] / "docs" / "exercises"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.md"))}
PAGES = {name: text for name, text in TEXTS.items() if name != "index"}
each = pytest.mark.parametrize("exercise", ALL_EXERCISES, ids=lambda exercise: exercise.name)


def section(exercise: Exercise) -> tuple[str, str]:
    """Return the page of an exercise, and its text from its label to the next."""
    label = re.compile(rf"^\(ex-{exercise.name}\)=\n(.*?)(?=^\(ex-|\Z)", re.DOTALL | re.MULTILINE)
    found = [(name, part) for name, text in PAGES.items() for part in label.findall(text)]
    assert len(found) == 1
    return found[0]


def test_there_are_as_many_as_promised() -> None:
    assert len(ALL_EXERCISES) >= 24
    assert len(PAGES) >= 6
    kinds = {"predict", "write", "repair", "measure", "look", "explain"}
    assert {exercise.kind for exercise in ALL_EXERCISES} == kinds
    labels = [label for text in PAGES.values() for label in re.findall(r"^\(ex-(.+)\)=", text,
                                                                       re.MULTILINE)]  # fmt: skip
    assert sorted(labels) == sorted(exercise.name for exercise in ALL_EXERCISES)


@each
def test_it_has_hints_and_a_solution_and_says_how_long_it_takes(exercise: Exercise) -> None:
    page, text = section(exercise)
    line = re.search(r"^\*(\w+), (easy|middle|hard), (\d+) minutes\.\*", text, re.MULTILINE)
    assert line
    assert line[1].lower() == exercise.kind
    hints = re.findall(r"^:::\{dropdown\} Hint (\d)$", text, re.MULTILINE)
    assert len(hints) >= 2
    assert hints == [str(number) for number in range(1, len(hints) + 1)]
    stub, solution = re.split('code_prompt_show: "Show the (?:solution|judgements)', text)[:2]
    assert f'check("{exercise.name}", ' in stub
    assert f'check("{exercise.name}", ' in solution
    assert "assert" in solution
    row = (
        f"| {{ref}}`{exercise.name} <ex-{exercise.name}>` | {{doc}}`{page} <{page}>` "
        f"| {exercise.kind} | {line[2]} | {line[3]} |"
    )
    assert TEXTS["index"].count(row) == 1
    assert TEXTS["index"].count(f"<ex-{exercise.name}>") == 1


@each
def test_the_text_speaks_of_gradients_where_they_are_judged(exercise: Exercise) -> None:
    judged = isinstance(exercise, FunctionExercise) and exercise.differentiable
    page, text = section(exercise)
    introduction, task = PAGES[page].split("\n(ex-")[0], text.split("```")[0]
    assert "gradients" in introduction + task or not judged


def test_the_time_that_a_page_promises_is_that_of_its_exercises_too() -> None:
    text = "*Write, easy, 5 minutes.* Read this.\n\n*Write, hard, 20 minutes.* Read that.\n"
    assert minutes(publish_doctree(text)) == 25
