"""Check an answer, whatever it is, and list the exercises."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from attn_examples.exercises.additive import ADDITIVE_SCORES
from attn_examples.exercises.answers import alike, holds_a_gap, plain_value
from attn_examples.exercises.cache import KV_CACHE_STEP, REPAIR_CACHE
from attn_examples.exercises.compare import describe
from attn_examples.exercises.diagnose import Examiner, NotYetError, callable_problem, evaluated
from attn_examples.exercises.dot_product import (
    CROSS_ATTENTION,
    FOUR_STEPS,
    REPAIR_MASK,
    REPAIR_TRANSPOSE,
    SCALED_DOT_PRODUCT,
    SCALED_SCORES,
    SELF_ATTENTION,
)
from attn_examples.exercises.explain import (
    EXPLAIN_LONG_SEQUENCES,
    EXPLAIN_QUERY_KEY_VALUE,
    EXPLAIN_SCALE,
)
from attn_examples.exercises.heads import MERGE_HEADS, MULTI_HEAD, REPAIR_SCALE, SPLIT_HEADS
from attn_examples.exercises.look import LOOK_BY_CODE, LOOK_PREVIOUS_TOKEN
from attn_examples.exercises.masks import CAUSAL_MASK, PADDING_MASK, WINDOW_MASK
from attn_examples.exercises.measure import MEASURE_COST, MEASURE_DEPENDENCE, MEASURE_VARIANCE
from attn_examples.exercises.positions import SINUSOIDAL_POSITIONS
from attn_examples.exercises.predict import (
    PREDICT_PARAMETERS,
    PREDICT_SCORES_SHAPE,
    PREDICT_WEIGHT,
    PREDICT_ZERO_ROWS,
    PREDICT_ZEROS,
)
from attn_examples.exercises.report import Finding, Listing, Report, State
from attn_examples.exercises.running import undisturbed
from attn_examples.exercises.softmax import SOFTMAX
from attn_examples.exercises.spec import (
    Exercise,
    FunctionExercise,
    StatementExercise,
    ValueExercise,
)

__all__ = ["check", "exercises"]

# From easy to hard; a new exercise is one more line here.
ALL_EXERCISES: tuple[Exercise, ...] = (
    PREDICT_SCORES_SHAPE,
    PREDICT_WEIGHT,
    PREDICT_ZEROS,
    PREDICT_ZERO_ROWS,
    PREDICT_PARAMETERS,
    SOFTMAX,
    CAUSAL_MASK,
    PADDING_MASK,
    WINDOW_MASK,
    SCALED_SCORES,
    SCALED_DOT_PRODUCT,
    FOUR_STEPS,
    SELF_ATTENTION,
    CROSS_ATTENTION,
    SPLIT_HEADS,
    MERGE_HEADS,
    MULTI_HEAD,
    SINUSOIDAL_POSITIONS,
    ADDITIVE_SCORES,
    KV_CACHE_STEP,
    REPAIR_TRANSPOSE,
    REPAIR_SCALE,
    REPAIR_MASK,
    REPAIR_CACHE,
    MEASURE_VARIANCE,
    MEASURE_COST,
    MEASURE_DEPENDENCE,
    LOOK_PREVIOUS_TOKEN,
    LOOK_BY_CODE,
    EXPLAIN_LONG_SEQUENCES,
    EXPLAIN_QUERY_KEY_VALUE,
    EXPLAIN_SCALE,
)
_passed_here: set[str] = set()


def check(name: str, answer: Any, *, seconds: float = 10.0) -> Report:
    """Check an answer to an exercise, and name the mistake where it is a known one.

    Parameters
    ----------
    name : str
        The exercise; `exercises()` lists them.
    answer
        A function, a value, or a list of judgements, as the exercise asks.
    seconds : float, default 10
        How long one call of a function may compute; six times as long may it wait. In
        the main thread it is then interrupted; elsewhere it can only be left behind.

    Returns
    -------
    Report
        `passed`, and `findings` that say what was found. Random states, and torch's
        default dtype, device, threads and gradient mode are as they were before.

    Raises
    ------
    ValueError
        If there is no such exercise. An answer is never a reason to raise.

    Examples
    --------
    >>> from attn_examples.exercises import check
    >>> check("predict-weight", 0.25)
    predict-weight: not passed
      Essential: That is the weight of the second key.
        got: 0.25
        read: formulas/softmax-and-scale.html#smallest-example
    >>> check("predict-weight", 0.75).passed
    True
    """
    exercise = find_exercise(name)
    with undisturbed():
        try:
            if isinstance(exercise, FunctionExercise):
                report = _check_function(exercise, answer, seconds)
            elif isinstance(exercise, ValueExercise):
                report = _check_value(exercise, answer)
            else:
                report = _check_statements(exercise, answer)
        except Exception as error:  # whatever an answer may do when it is looked at
            sentence = (
                f"The checker could not make sense of this answer ({type(error).__name__}): "
                f"return plain torch tensors, as the task says."
            )
            report = Report(exercise.name, "not passed", (Finding("actionable", sentence),))
    if report.passed:
        _passed_here.add(exercise.name)
    return report


def exercises() -> Listing:
    """List the exercises, with those that passed since Python was started.

    Returns
    -------
    Listing
        A table of name, kind, state and task, from easy to hard.
    """
    return list_states(dict.fromkeys(_passed_here, "passed"))


def list_states(states: dict[str, str]) -> Listing:
    """Make the table, with these states; an exercise without one has an empty cell."""
    return Listing(tuple((e.name, e.kind, states.get(e.name, ""), e.task) for e in ALL_EXERCISES))


def find_exercise(name: str) -> Exercise:
    """Return the exercise of that name, or raise ValueError with the closest names."""
    for exercise in ALL_EXERCISES:
        if isinstance(name, str) and exercise.name == name.replace("_", "-"):
            return exercise
    names = [exercise.name for exercise in ALL_EXERCISES]
    close = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "exercises() lists them"
    raise ValueError(f"name ({name!r}) must be an exercise: {hint}")


def _not_yet(exercise: Exercise, sentence: str) -> Report:
    return Report(exercise.name, "not yet", (Finding("task", sentence, page=exercise.page),))


def _check_function(exercise: FunctionExercise, answer: Any, seconds: float) -> Report:
    if answer is None or answer is ...:
        return _not_yet(exercise, exercise.task)
    problem = callable_problem(answer)
    if problem:
        return Report(exercise.name, "not passed", (Finding("essential", f"{problem}."),))
    training = evaluated(answer)
    try:
        examiner = Examiner(exercise, answer, seconds)
        try:
            findings = examiner.findings()
        except NotYetError:
            return _not_yet(exercise, exercise.task)
    finally:
        for module, mode in training.items():
            module.training = mode
    return _report(exercise, findings, "")


def _report(exercise: Exercise, findings: Sequence[Finding], praise: str) -> Report:
    wrong = any(finding.kind == "essential" for finding in findings)
    state: State = "not passed" if wrong else "passed"
    right = () if wrong else (Finding("celebratory", f"Right. {praise}".strip()),)
    return Report(exercise.name, state, (*right, *sorted(findings, key=_weight)))


def _weight(finding: Finding) -> int:
    return ("essential", "actionable", "informative", "celebratory").index(finding.kind)


def _check_value(exercise: ValueExercise, answer: Any) -> Report:
    if answer is None or holds_a_gap(answer):
        return _not_yet(exercise, f"{exercise.task} Answer with {exercise.form}.")
    try:
        value = exercise.read(answer)
    except (ValueError, TypeError) as error:
        sentence = f"Answer with {exercise.form}: {error}. Yours is {describe(answer)}."
        return Report(exercise.name, "not passed", (Finding("essential", sentence),))
    try:
        right = exercise.right()
    except (ImportError, OSError, RuntimeError) as error:
        sentence = f"It cannot be checked here: {error}."
        return Report(exercise.name, "not passed", (Finding("essential", sentence),))
    if alike(value, right, exercise.tolerance):
        return _report(exercise, (), exercise.praise)
    fitting = [w for w in exercise.wrong() if alike(value, w.value, exercise.tolerance)]
    names = tuple(wrong.name for wrong in fitting)
    page = fitting[0].page if fitting else exercise.page
    if len(fitting) == 1:
        sentence = f"That is {fitting[0].cause}."
    elif fitting:
        sentence = f"That could be {'; or '.join(wrong.cause for wrong in fitting)}."
    elif exercise.near and alike(value, right, 0.5):
        sentence, names = f"That is near. {exercise.near}", ("near",)
    else:
        sentence = "That is not it."
    got = str(value) if len(str(value)) < 80 else ""
    finding = Finding("essential", sentence, got=got, page=page, mistakes=names)
    return Report(exercise.name, "not passed", (finding,))


def _check_statements(exercise: StatementExercise, answer: Any) -> Report:
    count = len(exercise.statements)
    how = f"{count} times True or False, one for each statement"
    if answer is None or holds_a_gap(answer):
        numbered = "\n".join(f"{i}. {s.text}" for i, s in enumerate(exercise.statements, 1))
        return _not_yet(
            exercise,
            f"{exercise.task} Write your own answer first. Then judge, {how}:\n{numbered}",
        )
    try:
        judged = plain_value(answer)
        if not isinstance(judged, list) or any(j not in (0, 1) for j in judged):
            raise ValueError("each judgement is True or False")
        if len(judged) != count:
            raise ValueError(f"there are {len(judged)} judgements")
    except ValueError as error:
        sentence = f"Answer with a list, {how}: {error}."
        return Report(exercise.name, "not passed", (Finding("essential", sentence),))
    for number, (statement, said) in enumerate(zip(exercise.statements, judged, strict=True), 1):
        if bool(said) != statement.true:  # the first alone: all of them would be the answer
            sentence = (
                f"Statement {number}, `{statement.text}`, is "
                f"{'true' if statement.true else 'false'}: {statement.because}."
            )
            name = (f"statement-{number}",)
            wrong = Finding("essential", sentence, page=statement.page, mistakes=name)
            return Report(exercise.name, "not passed", (wrong,))
    key = Finding(
        "informative",
        "Nobody graded your own words. A good answer contains:\n"
        + "\n".join(f"- {point}" for point in exercise.key),
        page=exercise.page,
    )
    return _report(exercise, [key], "You judged every statement as it is.")
