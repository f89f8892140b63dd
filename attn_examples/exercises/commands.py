"""The exercises in a terminal: `check NAME FILE` and `exercises [FOLDER]`."""

from __future__ import annotations

import argparse
import inspect
import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attn_examples.exercises.checking import (
    ALL_EXERCISES,
    check,
    exercises,
    find_exercise,
    list_states,
)
from attn_examples.exercises.report import Finding, Report, State
from attn_examples.exercises.running import Ran, run_quietly, undisturbed
from attn_examples.exercises.spec import Exercise, FunctionExercise

__all__ = ["add_commands"]


def add_commands(subparsers: Any) -> None:
    """Add the commands to the subparsers of an argparse parser.

    Parameters
    ----------
    subparsers
        What `ArgumentParser.add_subparsers` returns. Each command sets `run`: a function
        that takes the options and returns the exit status: 0 passed, 1 not passed, 2
        wrong use.

    Raises
    ------
    ArgumentError
        If a command of that name is there already.
    """
    checking = subparsers.add_parser("check", help="check your answer to an exercise")
    checking.add_argument("name", help="the exercise, for example softmax")
    checking.add_argument(
        "file", type=Path, help="defines the function, or for a value the variable `answer`"
    )
    checking.set_defaults(run=run_check)
    listing = subparsers.add_parser("exercises", help="list the exercises, with what is done")
    listing.add_argument(
        "folder", type=Path, nargs="?", help="with files named after exercises: checks each"
    )
    listing.set_defaults(run=run_exercises)


def run_check(options: argparse.Namespace) -> int:
    """Check one file and print the report."""
    try:
        exercise = find_exercise(options.name)
        report = check_file(exercise, options.file)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(report)
    return 0 if report.passed else 1


def run_exercises(options: argparse.Namespace) -> int:
    """Print the list; with a folder, check what lies in it."""
    folder: Path | None = options.folder
    if folder is None:
        print(exercises())
        return 0
    if not folder.is_dir():
        print(f"folder ({folder}) must be a folder", file=sys.stderr)
        return 2
    states: dict[str, str] = {}
    left: list[str] = []
    for exercise in ALL_EXERCISES:
        names = dict.fromkeys((exercise.name, exercise.name.replace("-", "_")))
        files = [file for name in names if (file := folder / f"{name}.py").is_file()]
        states[exercise.name] = _state_of(exercise, files[0]) if files else "no file"
        left += [f"{file.name} was not checked: {files[0].name} was" for file in files[1:]]
    print(list_states(states))
    for line in left:
        print(line)
    return 0


def _state_of(exercise: Exercise, file: Path) -> str:
    try:
        return check_file(exercise, file).state
    except ValueError:
        return "not yet"


def check_file(exercise: Exercise, file: Path, seconds: float = 10.0) -> Report:
    """Run a file and check what it defines; ValueError where it does not define it."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"file ({file}) cannot be read: {error}") from error
    with undisturbed():
        # a value is measured in the file itself, which may first load a model
        factor = 1 if isinstance(exercise, FunctionExercise) else 6
        names, ran = _defined(text, str(file), factor * seconds)
    if ran.trouble:
        state: State = "not yet" if ran.unfinished else "not passed"
        sentence = ran.trouble if ran.trouble.endswith("?") else f"{ran.trouble}."
        return Report(exercise.name, state, (Finding("essential", sentence),))
    return check(exercise.name, _answer(exercise, file, names), seconds=seconds)


def _defined(text: str, filename: str, seconds: float) -> tuple[dict[str, Any], Ran]:
    """Run a file's text and return the names that it defines."""
    names: dict[str, Any] = {"__name__": "answer", "__file__": filename}

    linecache.checkcache(filename)
    compiled = run_quietly(compile, (text, filename, "exec"), seconds)
    ran = compiled if compiled.trouble else run_quietly(exec, (compiled.value, names), seconds)
    return names, ran


def _answer(exercise: Exercise, file: Path, names: dict[str, Any]) -> Any:
    wanted = exercise.name.replace("-", "_")
    if not isinstance(exercise, FunctionExercise):
        if "answer" not in names:
            raise ValueError(f"file ({file}) must define the variable `answer`")
        return names["answer"]
    if wanted in names:
        return names[wanted]
    own: list[Callable[..., Any]] = [
        thing
        for name, thing in names.items()
        if inspect.isfunction(thing) and thing.__module__ == "answer" and name[0] != "_"
    ]
    if len(own) != 1:
        raise ValueError(f"file ({file}) must define a function `{wanted}`")
    return own[0]
