"""What an exercise is made of: its task, the right answer, and the known wrong ones."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = [
    "Case",
    "Draw",
    "FunctionExercise",
    "Mistake",
    "Statement",
    "StatementExercise",
    "Trap",
    "ValueExercise",
    "WrongValue",
]

ExerciseKind = Literal["predict", "write", "repair", "measure", "look", "explain"]
Sizes = dict[str, int]
TOLERANCE = 2e-4  # float32, with room for another order of summation


class Draw:
    """Random tensors from a generator of its own, small whole numbers where asked for.

    Parameters
    ----------
    whole : bool, default False
        Draw numbers from -2 to 2, which a reader can follow, not from a bell curve.
    """

    def __init__(self, *, whole: bool = False) -> None:
        seed = random.SystemRandom().getrandbits(60)  # nobody's seed reaches it
        self.generator = torch.Generator().manual_seed(seed)
        self.whole = whole

    def normal(self, *shape: int) -> Tensor:
        """Draw numbers with mean 0 and variance 1."""
        if self.whole:
            return self.integers(-2, 3, *shape).float()
        return torch.randn(shape, generator=self.generator, dtype=torch.float32, device="cpu")

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Draw whole numbers from `low` to `high` - 1."""
        return torch.randint(low, high, shape, generator=self.generator, device="cpu")

    def weight(self, out: int, width: int) -> Tensor:
        """Draw a matrix as `nn.Linear` holds it, (out, in), that keeps the variance."""
        return self.normal(out, width) / (1.0 if self.whole else width**0.5)

    def mask(self, L: int, S: int, *batch: int) -> Tensor:
        """Draw a causal mask joined with padding: (*batch, L, S), no row without a key."""
        queries = torch.arange(L, device="cpu").unsqueeze(-1)
        causal = torch.arange(S, device="cpu") <= queries + max(S - L, 0)
        lengths = self.integers(max(S - 2, 1), S + 1, *batch)
        if lengths.numel():
            # so that the masks of a batch are never all the same
            lengths.view(-1)[-1], lengths.view(-1)[0] = S, max(S - 2, 1)
        return causal & (torch.arange(S, device="cpu") < lengths[..., None, None])


@dataclass(frozen=True)
class Mistake:
    """A known mistake: the cause, and code that makes it.

    Parameters
    ----------
    name : str
        Short, for programs.
    cause : str
        Completes "Your output is what you get when ...".
    make : callable
        Takes what the learner's function takes. It may raise, as the mistake would.
    page : str
        Where it is explained.
    tolerance : float
        How close the numbers have to be: wider where the mistake makes rounding matter.
    """

    name: str
    cause: str
    make: Callable[..., Any]
    page: str
    tolerance: float = TOLERANCE


@dataclass(frozen=True)
class Case:
    """Input to try, of random numbers in given sizes.

    Parameters
    ----------
    group : int
        Index in the groups of its exercise, from simple to hard.
    make : callable
        Takes a Draw and the sizes, returns the arguments.
    sizes : dict of int
        The sizes by letter; smaller ones are tried to find the smallest input.
    """

    group: int
    make: Callable[[Draw, Sizes], tuple[Any, ...]]
    sizes: Sizes


@dataclass(frozen=True)
class Trap:
    """Input on which code that is otherwise right may fail.

    Parameters
    ----------
    sentence : str
        What is wrong, where no known mistake fits.
    make, sizes
        As in `Case`.
    mistakes : tuple of Mistake
        The known ways to fail here.
    page : str
    """

    sentence: str
    make: Callable[[Draw, Sizes], tuple[Any, ...]]
    sizes: Sizes
    mistakes: tuple[Mistake, ...] = ()
    page: str = ""


@dataclass(frozen=True)
class FunctionExercise:
    """An exercise that a function answers.

    Parameters
    ----------
    name, kind, task
    parameters : tuple of str
        The names of its arguments, as the task gives them.
    returns : tuple of str
        The names of what it returns; more than one come as a tuple.
    right : callable
    groups : tuple of str
        When the cases of each group apply, such as "without a mask".
    cases : tuple of Case
    mistakes : tuple of Mistake
    page : str
        Where it is explained.
    pairs : tuple of Mistake
        Two known mistakes at once, their names joined by a +, tried where no single one fits.
    steps : tuple of str
        The names in `returns` in the order in which they are computed.
    traps : tuple of Trap
    fallback : callable, optional
        Changes the arguments of a case to a simpler shape, tried where the first raises.
    lenient : bool
        Whether the simpler shape is allowed, too.
    dtype : {"float", "bool", "index"}
        Of what it returns.
    differentiable : bool
        Whether gradients must reach the arguments that are floating point.
    finite_gradients : bool
        Whether the task asks that no gradient be NaN.
    """

    name: str
    kind: ExerciseKind
    task: str
    parameters: tuple[str, ...]
    returns: tuple[str, ...]
    right: Callable[..., Any]
    groups: tuple[str, ...]
    cases: tuple[Case, ...]
    mistakes: tuple[Mistake, ...]
    page: str
    pairs: tuple[Mistake, ...] = ()
    steps: tuple[str, ...] = ()
    traps: tuple[Trap, ...] = ()
    fallback: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None
    lenient: bool = False
    dtype: Literal["float", "bool", "index"] = "float"
    differentiable: bool = True
    finite_gradients: bool = False


@dataclass(frozen=True)
class WrongValue:
    """A known wrong value, and what it is the right answer to.

    Parameters
    ----------
    name : str
    value
    cause : str
        Completes "That is ...".
    page : str
    """

    name: str
    value: Any
    cause: str
    page: str


@dataclass(frozen=True)
class ValueExercise:
    """An exercise that a value answers.

    Parameters
    ----------
    name, kind, task
    form : str
        What an answer looks like.
    right : callable
        Returns the right value.
    read : callable
        Turns an answer into the form of `right`'s, or raises ValueError.
    wrong : callable
        Returns the known wrong values.
    page : str
    tolerance : float
        Relative.
    praise : str
        What a right answer shows.
    near : str
        What is to be done about an answer that misses by less than half.
    """

    name: str
    kind: ExerciseKind
    task: str
    form: str
    right: Callable[[], Any]
    read: Callable[[Any], Any]
    wrong: Callable[[], tuple[WrongValue, ...]]
    page: str
    tolerance: float = 1e-3
    praise: str = ""
    near: str = ""


@dataclass(frozen=True)
class Statement:
    """A statement to judge, and why it is true or false.

    Parameters
    ----------
    text : str
    true : bool
    because : str
    page : str
    """

    text: str
    true: bool
    because: str
    page: str


@dataclass(frozen=True)
class StatementExercise:
    """A question to answer in one's own words, with statements to judge afterwards.

    Parameters
    ----------
    name, task
    statements : tuple of Statement
    key : tuple of str
        What a good answer contains.
    page : str
    """

    name: str
    task: str
    statements: tuple[Statement, ...]
    key: tuple[str, ...]
    page: str
    kind: ExerciseKind = field(default="explain")


Exercise = FunctionExercise | ValueExercise | StatementExercise
