"""Find out what is wrong with a function: compare it with the right one, then with known mistakes.

A mistake is named only where everything that the function gave, on all inputs of random
numbers, is what code with that mistake gives.
"""

from __future__ import annotations

import inspect
import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn

from attn_examples.checks import shape_of
from attn_examples.exercises.compare import (
    PITFALLS,
    UnreadableError,
    agree,
    describe,
    read_parts,
    show_named,
    show_parts,
    with_verb,
)
from attn_examples.exercises.report import Finding
from attn_examples.exercises.running import Ran, run_quietly, watch
from attn_examples.exercises.spec import TOLERANCE, Case, Draw, FunctionExercise, Mistake, Trap

__all__: list[str] = []

_SEARCH = 2.0  # seconds to look for a smaller input
_AT_MOST = 4  # mistakes named together
_FLOAT32 = 1e-6  # how far from float64 a few numbers rounded to float32 lead
_SIMPLER = (
    "Your function runs where its input has no dimension of the heads: `transpose(-2, -1)` and "
    "`dim=-1` count from the end and work for any number of dimensions."
)


class NotYetError(Exception):
    """The function is a stub."""


@dataclass
class Tried:
    """One case, tried: what was wanted, and what came."""

    group: int
    arguments: tuple[Any, ...]
    want: dict[str, Tensor]
    got: dict[str, Tensor] | None  # None: it raised
    trouble: str = ""
    kind: str = ""  # what was raised, without numbers

    @property
    def fine(self) -> bool:
        """Whether every part is right."""
        return self.got is not None and same_parts(self.got, self.want, tuple(self.want))

    def differs(self, step: str) -> bool:
        """Whether this part is wrong; without a name, whether any is."""
        if not step or self.got is None:
            return not self.fine
        return not agree(self.got[step], self.want[step])


def same_parts(
    got: dict[str, Tensor] | None,
    want: dict[str, Tensor] | None,
    names: Sequence[str],
    tolerance: float = TOLERANCE,
) -> bool:
    """Whether the named parts are equal; to raise equals to raise."""
    if got is None or want is None:
        return got is want
    return all(agree(got[name], want[name], tolerance) for name in names)


class Examiner:
    """Tries one function of a learner's, and keeps what it notices on the way."""

    def __init__(
        self, exercise: FunctionExercise, function: Callable[..., Any], seconds: float
    ) -> None:
        self.exercise, self.function, self.seconds = exercise, function, seconds
        self.simpler = False  # whether the arguments go through the exercise's fallback
        self.printed = ""
        self.warned: dict[str, None] = {}
        self.changed: dict[str, None] = {}
        self.overwritten: dict[str, None] = {}

    def findings(self) -> list[Finding]:
        """Return what is wrong, and what is worth knowing; raise `NotYetError` for a stub."""
        try:
            found = self._wrong()
        except UnreadableError as error:
            page = (
                f"{PITFALLS}/masks.html#a-mask-of-zeros-and-ones-is-added"
                if "a mask is" in str(error)
                else ""
            )
            found = [Finding("essential", _ended(str(error)), page=page)]
        return [*found, *self._noticed()]

    def _wrong(self) -> list[Finding]:
        problem = self._call_differs()
        if problem:
            return [problem]
        first = self._try(self.exercise.cases[0])
        if first.trouble and self.exercise.fallback:
            self.simpler = True
            if self._try(self.exercise.cases[0]).trouble:
                self.simpler = False
            elif not self.exercise.lenient:
                self.simpler = False
                sentence = f"{_ended(first.trouble)} {_SIMPLER}"
                page = self.exercise.page
                return [self._with_example("essential", sentence, page, [first], ("no-heads",))]
        problem = self._random()
        if problem:
            return [problem]
        tried = [self._try(case) for case in self.exercise.cases]
        if not all(case.fine for case in tried):
            return self._named(tried) or self._unnamed(tried)
        for trap in self.exercise.traps:
            problem = self._caught(trap)
            if problem:
                return [problem]
        found = self._precision()
        if self.exercise.differentiable and not any(f.kind == "essential" for f in found):
            found += self._gradient()
        return found

    # Calls

    def _run(self, arguments: tuple[Any, ...]) -> Ran:
        given = tuple(a.clone() if isinstance(a, Tensor) else a for a in arguments)
        while given and given[-1] is None:
            given = given[:-1]  # mask=None is left out
        ran = run_quietly(self.function, given, self.seconds)
        self.printed = self.printed or ran.printed
        self.warned.update(dict.fromkeys(ran.warned))
        self.changed.update(dict.fromkeys(ran.changed))
        for name, now, before in zip(self.exercise.parameters, given, arguments, strict=False):
            if isinstance(now, Tensor) and not _untouched(now, before):
                self.overwritten[name] = None
        if ran.hopeless:
            raise UnreadableError(ran.trouble)
        if ran.unfinished or (ran.value is None and not ran.trouble and _is_empty(self.function)):
            raise NotYetError
        return ran

    def _tried(self, group: int, arguments: tuple[Any, ...]) -> Tried:
        ran = self._run(arguments)
        got = None if ran.trouble else read_parts(self.exercise, ran.value)
        return Tried(group, arguments, self._right(arguments), got, ran.trouble, ran.kind)

    def _right(self, arguments: tuple[Any, ...]) -> dict[str, Tensor]:
        return self._wanted(self.exercise.right(*map(_doubled, arguments)))

    def _wanted(self, value: Any) -> dict[str, Tensor]:
        return _named_parts(self.exercise, value)

    def _made(self, case: Case | Trap, draw: Draw, sizes: dict[str, int]) -> tuple[Any, ...]:
        arguments = case.make(draw, sizes)
        if self.simpler and self.exercise.fallback:
            arguments = self.exercise.fallback(arguments)
        return arguments

    def _try(self, case: Case) -> Tried:
        return self._tried(case.group, self._made(case, Draw(), case.sizes))

    # What is wrong

    def _call_differs(self) -> Finding | None:
        """Tell where the function cannot take what it will be given."""
        called: Any = self.function
        try:
            # a module's own call takes anything, and hands it to forward
            signature = inspect.signature(
                called.forward if isinstance(called, nn.Module) else called
            )
        except (TypeError, ValueError):
            return None  # some built-in functions do not tell
        case = self.exercise.cases[0]
        names = self.exercise.parameters
        # all of them, and without a mask that is left out
        for count in (len(names), len(_trimmed(case.make(Draw(), case.sizes)))):
            try:
                signature.bind(*names[:count])
            except TypeError as error:
                return Finding(
                    "essential",
                    f"Your function takes `{signature}`, but it is called with {count} values by "
                    f"position, `({', '.join(names[:count])})`: {error}.",
                )
        return None

    def _reordered(self) -> str:
        """Return the learner's own order of the arguments, if it is another one."""
        try:
            own = tuple(inspect.signature(self.function).parameters)
        except (TypeError, ValueError):
            return ""
        wanted = self.exercise.parameters
        singular = {name: name.rstrip("s") for name in own}
        mapped = tuple(singular[n] if n not in wanted and singular[n] in wanted else n for n in own)
        reordered = sorted(mapped) == sorted(wanted) and mapped != wanted
        return ", ".join(own) if reordered else ""

    def _random(self) -> Finding | None:
        """Tell where two calls with the same input disagree."""
        case = self.exercise.cases[0]
        arguments = self._made(case, Draw(), case.sizes)
        once, again = self._tried(0, arguments).got, self._tried(0, arguments).got
        if once is None or same_parts(once, again, tuple(once)):
            return None
        return Finding(
            "essential",
            "Two calls with the same input disagree, as they do when dropout is left on or "
            "random numbers are drawn: at evaluation the same input must give the same output.",
            page=f"{PITFALLS}/weights-and-heads.html#dropout-at-evaluation",
            mistakes=("dropout",),
        )

    def _fitting(
        self, mistakes: tuple[Mistake, ...], tried: list[Tried], parts: Sequence[str]
    ) -> list[Mistake]:
        """Return the known mistakes that give in every case just what the function gave."""
        wrong_first = sorted(tried, key=lambda case: case.fine)  # they tell the most apart
        fitting = {
            mistake.name: mistake
            for mistake in mistakes
            if all(
                same_parts(
                    self._mistaken(mistake, case.arguments), case.got, parts, mistake.tolerance
                )
                for case in wrong_first
            )
        }
        return list(fitting.values())

    def _mistaken(self, mistake: Mistake, arguments: tuple[Any, ...]) -> dict[str, Tensor] | None:
        try:
            return self._wanted(mistake.make(*map(_doubled, arguments)))
        except (RuntimeError, IndexError, ValueError, TypeError):
            return None  # this mistake raises here, and so may the learner's

    def _named(self, tried: list[Tried]) -> list[Finding]:
        """Name the known mistakes that fit, if any do and are not too many."""
        own = self._reordered()
        if own:
            wanted = ", ".join(self.exercise.parameters)
            sentence = (
                f"Your function takes `({own})`, but it is called by position with "
                f"`({wanted})`, torch's order."
            )
            page = f"{PITFALLS}/projections-and-shapes.html#arguments-in-another-order"
            return [self._with_example("essential", sentence, page, tried, ("argument-order",))]
        steps = self.exercise.steps or self.exercise.returns
        groups = self.exercise.groups
        first = next(case.group for case in tried if not case.fine)
        until = [case for case in tried if case.group <= first]
        wrong = next(
            (s for s in steps for c in tried if c.got and not agree(c.got[s], c.want[s])), steps[-1]
        )
        known = self.exercise.mistakes
        attempts = [(tried, steps, known), (tried, steps, self.exercise.pairs)]
        if first + 1 < len(groups) and self.exercise.dtype == "float":
            attempts.append((until, steps, known))  # a few whole numbers would agree by chance
        for count in range(len(steps) - 1, steps.index(wrong), -1):  # as many as it explains
            attempts += [(tried, steps[:count], known), (until, steps[:count], known)]
        for cases, parts, mistakes in attempts:
            if not any(case.got is not None and not case.fine for case in cases):
                continue  # to raise, as a mistake raises, is no sign that it is that mistake
            fitting = self._fitting(mistakes, cases, parts)
            if 0 < len(fitting) <= _AT_MOST:
                start = "" if cases is tried else f"{groups[first].capitalize()}, "
                if parts == steps:
                    sentence = _sentence(f"{start}your output is", fitting)
                    others = "; ".join(self._unlike(tried, fitting, steps))
                    if others:
                        sentence += f" In other cases ({others}) something else differs too."
                else:
                    late = [s for s in steps if self._unlike(cases, fitting, (s,))]
                    sentence = _first_step(f"{start}the {with_verb(wrong)}", fitting, late)
                names = tuple(name for m in fitting for name in m.name.split("+"))
                page, step = fitting[0].page, "" if parts == steps else wrong
                sentence = sentence[0].upper() + sentence[1:]
                return [self._with_example("essential", sentence, page, tried, names, step=step)]
        return []

    def _unlike(
        self, tried: list[Tried], fitting: list[Mistake], parts: Sequence[str]
    ) -> list[str]:
        """Return the groups in which some case is not what any of these mistakes gives."""
        unlike = {
            case.group
            for case in tried
            if not any(
                same_parts(self._mistaken(m, case.arguments), case.got, parts, m.tolerance)
                for m in fitting
            )
        }
        return [self.exercise.groups[group] for group in sorted(unlike)]

    def _unnamed(self, tried: list[Tried]) -> list[Finding]:
        """Say where it goes wrong first, without claiming to know why."""
        groups = self.exercise.groups
        bad = next(case for case in tried if not case.fine)
        right = [
            label
            for index, label in enumerate(groups)
            if all(case.fine for case in tried if case.group == index)
        ]
        so_far = f" It is right {', and '.join(right)}." if right else ""
        page = self.exercise.page
        mistakes: tuple[str, ...] = ()
        if groups[bad.group] == "with other sizes" and len(right) == len(groups) - 1:
            if all(1 in _sizes(case.arguments) for case in tried if not case.fine):
                so_far += " It is wrong where a size is 1: is that dimension dropped?"
            elif self.exercise.dtype != "index":  # a few whole numbers are right by chance
                so_far += " That is consistent with a size written into the code as a number."
                mistakes = ("hard-coded",)
        if bad.got is None:
            hint, hinted = _hint(bad.trouble, self.function)
            if "view size is not compatible" in bad.trouble:
                page = f"{PITFALLS}/projections-and-shapes.html#view-where-transpose-was-needed"
            joined = re.search(r"must match except in dimension (\d)", bad.trouble)
            if "past_key" in self.exercise.parameters and joined and joined[1] != "2":
                hint = " Only the positions may grow: join along dim=-2."
            mistakes = mistakes or hinted
            raised = {case.group for case in tried if case.got is None}
            where = f" This happened {groups[bad.group]}." if len(raised) < len(groups) else ""
            sentence = f"{_ended(bad.trouble)}{where}{so_far}{hint}"
            warned = _known_warning(self.warned)
            page = warned.page if warned else page
            return [self._with_example("essential", sentence, page, [bad], mistakes)]
        steps = self.exercise.steps or self.exercise.returns
        wrong = next(name for name in steps if not agree(bad.got[name], bad.want[name]))
        got, want = bad.got[wrong], bad.want[wrong]
        if got.shape != want.shape:
            fact = f"the shape is {shape_of(got)} and should be {shape_of(want)}"
        elif bool((got.isnan() & ~want.isnan()).any()):
            fact = "there is NaN where numbers are wanted"
        elif self.exercise.dtype == "index":
            fact = _right_half([case for case in tried if not case.fine])
        else:
            fact = "the numbers differ"
        place = "the first step that differs" if len(steps) > 1 else "wrong"
        sentence = f"The {with_verb(wrong)} {place}, {groups[bad.group]}: {fact}.{so_far}"
        step = wrong if len(steps) > 1 else ""
        return [self._with_example("essential", sentence, page, tried, mistakes, step=step)]

    def _caught(self, trap: Trap) -> Finding | None:
        """Tell where code that is otherwise right fails on a special input."""
        case = Case(0, trap.make, trap.sizes)
        tried = [self._try(case), self._try(case)]
        if all(one.fine for one in tried):
            return None
        steps = self.exercise.steps or self.exercise.returns
        fitting = self._fitting(trap.mistakes, tried, steps)
        raised = next((one.trouble for one in tried if one.trouble), "")
        page = trap.page or self.exercise.page
        if fitting and not raised:
            sentence = f"{trap.sentence} {_sentence('There your output is', fitting)}"
            page = fitting[0].page
        else:
            sentence = f"{trap.sentence} {_ended(raised)}" if raised else trap.sentence
        names = tuple(mistake.name for mistake in fitting) if not raised else ()
        shown = [one for one in tried if one.trouble] or tried
        return self._with_example("essential", sentence, page, shown, names, (case,))

    def _precision(self) -> list[Finding]:
        """Tell where float64 input does not give float64 output."""
        remark: list[Finding] = []
        page = self.exercise.page
        for case in self.exercise.cases:
            arguments = tuple(map(_doubled, self._made(case, Draw(), case.sizes)))
            if self.exercise.dtype == "index" or not any(map(_floating, arguments)):
                return []
            ran = self._run(arguments)
            values = ran.value if isinstance(ran.value, (tuple, list)) else (ran.value,)
            dtypes = sorted({str(getattr(v, "dtype", "")) for v in values})
            if ran.trouble or dtypes != ["torch.float64"]:
                fact = ran.trouble or f"it gives {', '.join(dtypes)}"
                sentence = (
                    f"With float64 input: {_ended(fact)} Somewhere another dtype is forced: keep "
                    f"that of the input."
                )
                return [Finding("essential", sentence, page=page, mistakes=("float32",))]
            right, got = self._right(arguments), read_parts(self.exercise, ran.value)
            if not same_parts(got, right, tuple(right), _FLOAT32):
                sentence = (
                    "In float64 the numbers differ by more than rounding to float32 explains: is "
                    "something small added that the formula does not have, such as 1e-5?"
                )
                return [Finding("essential", sentence, page=page, mistakes=("inexact",))]
            if not same_parts(got, right, tuple(right), 1e-9):
                sentence = (
                    "In float64 it is right to 6 digits, not to 9: a number is rounded to float32, "
                    "as `torch.sqrt(torch.tensor(5))` rounds it and `5 ** 0.5` does not, or "
                    "something as small as 1e-8 is added."
                )
                remark = [Finding("actionable", sentence, page=page, mistakes=("rounded",))]
        return remark

    def _gradient(self) -> list[Finding]:
        """Tell where gradients do not arrive, or not the right ones."""
        remark: list[Finding] = []
        page, main = self.exercise.page, self.exercise.returns
        if "output" in main:  # what is returned beside it is often only looked at
            main = ("output",)
        tried: list[Case | Trap] = [*self.exercise.cases, *self.exercise.traps]
        for case in tried:
            arguments = tuple(map(_doubled, self._made(case, Draw(), case.sizes)))
            mine, right = _followed(arguments), _followed(arguments)
            with torch.enable_grad():
                ran = run_quietly(self.function, _trimmed(mine), self.seconds)
                if ran.trouble:
                    if self.overwritten and "in-place operation" in ran.trouble:  # told already
                        return remark
                    trouble = ran.trouble[0].lower() + _ended(ran.trouble)[1:]
                    sentence = f"The output is right, but with gradients: {trouble}"
                    return [Finding("essential", sentence, page=page, mistakes=("no-gradient",))]
                got, want = _parts(ran.value), _parts(self.exercise.right(*right))
                try:
                    found = _gradients(got, mine)
                except RuntimeError as error:
                    return [self._backward(error)]
                names = [n for n, a in zip(self.exercise.parameters, mine, strict=False)
                         if _floating(a)]  # fmt: skip
                spoilt = [n for n, g in zip(names, found, strict=True)
                          if g is not None and bool(g.isnan().any())]  # fmt: skip
                if spoilt or (isinstance(case, Trap) and _nan_on_the_way(got, mine)):
                    return [*remark, self._nan_gradient(spoilt)]
                for parts in (main, self.exercise.returns):
                    chosen = [self.exercise.returns.index(name) for name in parts]
                    given, wanted = (
                        _gradients([values[i] for i in chosen], inputs)
                        for values, inputs in ((got, mine), (want, right))
                    )
                    lost = {
                        name: g is None
                        for name, g, w in zip(names, given, wanted, strict=True)
                        if w is not None and not agree(torch.zeros_like(w) if g is None else g, w,
                                                       1e-6)
                    }  # fmt: skip
                    # weights may be copied into a module, which then learns in their place
                    copied = all(
                        missing and (name.startswith("w_") or name == "v")
                        for name, missing in lost.items()
                    )
                    if lost and (parts == main) and not copied:
                        return [_cut_off("essential", lost, given, page)]
                    if lost:
                        remark = remark or [_cut_off("actionable", lost, given, page)]
        return remark

    def _nan_gradient(self, spoilt: list[str]) -> Finding:
        """Tell of NaN in the gradients of the named arguments, or on the way to them."""
        if spoilt:
            where = f"the gradient of the {' and the '.join(spoilt)} is NaN"
        else:
            where = "on the way to the gradient there is NaN"
        return Finding(
            "essential" if spoilt and self.exercise.finite_gradients else "actionable",
            f"The values are right, but {where} where a row has nothing allowed: replacing NaN in "
            f"the output does not take it out of the gradient. Put 0 in place of that row before "
            f"the softmax.",
            page="formulas/masks.html#a-row-with-nothing-allowed",
            mistakes=("nan-gradient",),
        )

    def _backward(self, error: RuntimeError) -> Finding:
        """Tell why the backward pass raises, though the values are right."""
        text = str(error).strip().split("\n")[0]
        if "modified by an inplace operation" in text:
            sentence = (
                "The values are right, but gradients cannot flow: your function writes in place "
                "(`w[...] = 0`, `w /= s`, `masked_fill_`) into a result that the backward pass "
                "needs. Make a new tensor, with `w / s` or `masked_fill`."
            )
            names: tuple[str, ...] = ("in-place-backward",)
        else:
            sentence, names = f"The values are right, but the backward pass raises: {text}", ()
        return Finding("essential", _ended(sentence), page=self.exercise.page, mistakes=names)

    # What is worth knowing beside that

    def _noticed(self) -> Iterator[Finding]:
        if self.overwritten:
            names = " and ".join(f"`{name}`" for name in self.overwritten)
            yield Finding(
                "essential",
                f"Your function changes the caller's {names} in place: compute a new tensor; "
                f"methods that end in _ and assignments to a slice write into it.",
                page=self.exercise.page,
                mistakes=("in-place",),
            )
        if self.changed:
            names = " and ".join(self.changed)
            yield Finding(
                "essential",
                f"Your function changes {names} for the whole program; it was put back.",
                mistakes=("global-state",),
            )
        known = _known_warning(self.warned)
        if known:
            yield known
        elif self.warned:
            text = next(iter(self.warned)).strip().split("\n")[0][:200]
            yield Finding("informative", f"Your code causes a warning: {text}")
        if self.printed:
            line = self.printed.strip().split("\n")[0][:80]
            yield Finding("informative", f"Your code prints, beginning with: {line!r}.")
        if self.simpler:
            yield Finding(
                "actionable",
                f"{_SIMPLER} It was checked without it.",
            )

    # The smallest input

    def _with_example(
        self,
        kind: Any,
        sentence: str,
        page: str,
        tried: list[Tried],
        mistakes: tuple[str, ...],
        cases: tuple[Case, ...] = (),
        step: str = "",
    ) -> Finding:
        """Make a finding with the smallest input on which the function, or one step, is wrong."""
        wrong = [case for case in tried if not case.fine]
        bad = next(
            (case for case in wrong if case.got is not None and case.differs(step)), wrong[0]
        )
        cases = cases or tuple(c for c in self.exercise.cases if c.group == bad.group)
        small = self._smallest(cases, bad.kind, step) or bad
        if bad.trouble:
            sentence = sentence.replace(bad.trouble, small.trouble)
        names = self.exercise.parameters
        shown = "\n".join(
            show_named(name, a)
            for name, a in zip(names, small.arguments, strict=False)
            if a is not None
        )
        if small.got is None:
            expected = show_parts(self._shown(small.want), {})
            return Finding(kind, sentence, shown, expected, "", page, mistakes)
        ours, theirs = self._shown(small.want), self._shown(small.got)
        if step:
            ours, theirs = {step: ours[step]}, {step: theirs[step]}
        expected, got = show_parts(ours, theirs), show_parts(theirs, ours)
        if expected == got:  # too large to be printed
            expected = got = ""
        return Finding(kind, sentence, shown, expected, got, page, mistakes)

    def _shown(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the parts in the dtype that the exercise asks for."""
        dtype = {"bool": torch.bool, "index": torch.long, "float": torch.float64}
        return {name: part.to(dtype[self.exercise.dtype]) for name, part in parts.items()}

    def _smallest(self, cases: tuple[Case, ...], kind: str, step: str) -> Tried | None:
        """Try smaller sizes and plain numbers, from the smallest on, until one is wrong."""
        passed = watch(_SEARCH)
        for case in cases:
            ranges = [
                range(0 if letter == "extra" else 1, min(size, 3) + 1)
                for letter, size in case.sizes.items()
            ]
            for sizes in sorted(itertools.product(*ranges), key=_volume):
                for _ in range(3):
                    if passed():
                        return None
                    smaller = dict(zip(case.sizes, sizes, strict=True))
                    tried = self._retry(self._made(case, Draw(whole=True), smaller), kind, step)
                    if tried is not None:
                        return self._emptied(tried, passed, step)
        return None

    def _retry(self, arguments: tuple[Any, ...], kind: str, step: str) -> Tried | None:
        """Return the case if the function is wrong on it, or raises the same as before."""
        try:
            tried = self._tried(0, arguments)
        except UnreadableError:
            return None
        return tried if tried.kind == kind and tried.differs(step) else None

    def _emptied(self, tried: Tried, passed: Callable[[], str], step: str) -> Tried:
        """Put 0 in place of every number that is not needed to see it."""
        for index, argument in enumerate(tried.arguments):
            if not isinstance(argument, Tensor) or not argument.is_floating_point():
                continue
            for entry in range(argument.numel()):
                if passed():
                    return tried
                value = tried.arguments[index].clone()
                if value.view(-1)[entry] == 0 or not value.view(-1)[entry].isfinite():
                    continue
                value.view(-1)[entry] = 0.0
                changed = (*tried.arguments[:index], value, *tried.arguments[index + 1 :])
                tried = self._retry(changed, tried.kind, step) or tried
        return tried


def _is_empty(function: Callable[..., Any]) -> bool:
    """Whether a function does nothing: `...`, `pass`, a docstring, or `return None`."""
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    starred = (code.co_flags & inspect.CO_VARARGS > 0) + (
        code.co_flags & inspect.CO_VARKEYWORDS > 0
    )
    arguments = code.co_argcount + code.co_kwonlyargcount + starred
    return code.co_nlocals == arguments and not code.co_names


def _sizes(arguments: tuple[Any, ...]) -> set[int]:
    tensors = [a for a in arguments if isinstance(a, Tensor)]
    numbers = {a for a in arguments if type(a) is int}
    return numbers.union(*(shape_of(tensor) for tensor in tensors))


def _volume(sizes: tuple[int, ...]) -> tuple[int, int]:
    product = 1
    for size in sizes:
        product *= size + 1
    return product, max(sizes, default=0)


def _named_parts(exercise: FunctionExercise, value: Any) -> dict[str, Tensor]:
    parts = value if len(exercise.returns) > 1 else (value,)
    return {
        name: torch.as_tensor(part, device="cpu").detach().double()
        for name, part in zip(exercise.returns, parts, strict=True)
    }


def _floating(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.is_floating_point()


def _doubled(argument: Any) -> Any:
    return argument.double() if _floating(argument) else argument


def _untouched(now: Tensor, before: Tensor) -> bool:
    return now.shape == before.shape and torch.equal(
        torch.nan_to_num(now.detach()), torch.nan_to_num(before.detach())
    )


def _trimmed(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    while arguments and arguments[-1] is None:
        arguments = arguments[:-1]
    return arguments


def _followed(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Let the floating-point arguments record gradients."""
    return tuple(a.clone().requires_grad_() if _floating(a) else a for a in arguments)


def _parts(value: Any) -> Sequence[Tensor]:
    return value if isinstance(value, (tuple, list)) else (value,)


def _gradients(parts: Sequence[Tensor], arguments: tuple[Any, ...]) -> list[Tensor | None]:
    """Differentiate a weighted sum of the parts; None where no gradient arrives."""
    total = torch.zeros((), dtype=torch.float64, device="cpu")
    for part in parts:
        finite = part[part.isfinite()].double()  # scores of -inf add nothing
        total = total + (finite * torch.linspace(1, 2, finite.numel(), dtype=torch.float64)).sum()
    inputs = [a for a in arguments if _floating(a)]
    if not total.requires_grad:
        return [None for _ in inputs]
    return list(torch.autograd.grad(total, inputs, allow_unused=True, retain_graph=True))


def _nan_on_the_way(parts: Sequence[Tensor], arguments: tuple[Any, ...]) -> bool:
    """Whether NaN comes up in the backward pass, even where a mask hides it from the end."""
    try:
        with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("ignore")
            _gradients(parts, arguments)
    except RuntimeError as error:
        return "nan values" in str(error)
    return False


def _cut_off(kind: Any, lost: dict[str, bool], given: list[Tensor | None], page: str) -> Finding:
    """Tell which inputs get no gradient, or not the right one."""
    if all(gradient is None for gradient in given):
        start = "No gradient flows through your output, so nothing could be trained"
    else:
        of = " and ".join(f"`{name}`" for name in lost)
        start = f"The numbers are right, but the gradient of {of} is not: a part is cut off"
    cutters = "`detach`, `.data`, `.tolist()`, `.numpy()` or `no_grad`"
    sentence = f"{start}; {cutters} does that, and so does a copy of a weight."
    return Finding(kind, sentence, page=page, mistakes=("no-gradient",))


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "?")) else f"{sentence}."


def _right_half(wrong: list[Tried]) -> str:
    """Say which of layer and head is right wherever the pair is wrong."""
    pairs = [(case.got or {}, case.want) for case in wrong]
    halves = [[bool(g[n][i] == w[n][i]) for g, w in pairs for n in g] for i in (0, 1)]
    if all(halves[0]):
        return "the layer is right, the head is not"
    return "the head is right, the layer is not" if all(halves[1]) else "the numbers differ"


def _sentence(start: str, fitting: list[Mistake]) -> str:
    """Name the mistakes; one alone is named without reserve."""
    if len(fitting) == 1:
        return f"{start} what you get when {fitting[0].cause}."
    return f"{start} consistent with {_several(fitting)}."


def _first_step(start: str, fitting: list[Mistake], late: list[str]) -> str:
    """Name the mistakes of the first step that differs, which leave later ones unexplained."""
    if len(fitting) == 1:
        sentence, alone = f"as when {fitting[0].cause}", "That alone does not explain"
        sentence = f"{start} the first step that differs, {sentence}."
    else:
        sentence = f"{start} the first step that differs, consistent with {_several(fitting)}."
        alone = "None of them alone explains"
    return f"{sentence} {alone} the {' and the '.join(late)}." if late else sentence


def _several(fitting: list[Mistake]) -> str:
    causes = "; or ".join(mistake.cause for mistake in fitting)
    return f"{len(fitting)} mistakes, which give the same numbers here: {causes}"


def _hint(trouble: str, function: Callable[..., Any]) -> tuple[str, tuple[str, ...]]:
    """Say what an error of torch's is consistent with, as far as the code shows it."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = ""
    sizes = re.search(r"(view|reshape|unflatten|expand)\([^`]*\b([2-9]|\d\d)", trouble)
    if sizes and ("invalid for input of size" in trouble or "don't multiply" in trouble):
        hint = " That is consistent with a size written into the code as a number."
        return hint, ("hard-coded",)
    lines = re.findall(r".*\.(?:sum|mean|amax|max)\((?!\)).*", source)
    lost = any("keepdim" not in line for line in lines)
    if lost and "must match the size of tensor" in trouble:
        hint = (
            " That is consistent with a sum or a largest number that lost the dimension over which "
            "it was taken: `keepdim=True` keeps it with size 1."
        )
        return hint, ("keepdim",)
    if "Boolean value of Tensor" in trouble:
        hint = " A tensor of several entries is neither true nor false: ask `if mask is not None`."
        return hint, ("mask-truth",)
    if re.search(r"(@ *|matmul\([^`]*)\w+\.transpose\(1, ?2\)", trouble):
        hint = (
            " In four dimensions `transpose(1, 2)` swaps heads and positions: `transpose(-2, -1)`."
        )
        return hint, ("no-heads",)
    return "", ()


def _known_warning(warned: dict[str, None]) -> Finding | None:
    """Explain the two warnings of torch that name a mistake."""
    for text in warned:
        if ".T` on tensors of dimension other than 2" in text or "The use of `x.T`" in text:
            return Finding(
                "actionable",
                "torch warns of `.T` on a tensor that has not two dimensions: it turns all of "
                "them around, the batch included; `.transpose(-2, -1)` swaps the last two.",
                page=f"{PITFALLS}/projections-and-shapes.html#t-on-a-tensor-with-three-dimensions",
                mistakes=("T",),
            )
        if "Implicit dimension choice" in text:
            return Finding(
                "actionable",
                "torch warns of a softmax without `dim`: it guesses one, not the last; "
                "write `dim=-1`.",
                page=f"{PITFALLS}/weights-and-heads.html#softmax-over-the-wrong-dimension",
                mistakes=("softmax-no-dim",),
            )
    return None


def callable_problem(answer: Any) -> str:
    """Say why an answer is no function that can be checked; "" if it is one."""
    if isinstance(answer, type):
        return (
            f"This is the class {answer.__name__}, not a function: pass a function, or an "
            f"instance whose call takes the same arguments"
        )
    if not callable(answer):
        return f"This exercise asks for a function, but got {describe(answer)}"
    return ""


def evaluated(answer: Any) -> dict[nn.Module, bool]:
    """Put a module into evaluation mode; return how it and each of its parts was."""
    if not isinstance(answer, nn.Module):
        return {}
    were = {module: module.training for module in answer.modules()}
    answer.eval()
    return were
