"""Read what an answer gave, whatever it is, and compare it in float64."""

from __future__ import annotations

from collections.abc import Set
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from attn_examples.checks import shape_of
from attn_examples.exercises.answers import read_whole_numbers
from attn_examples.exercises.spec import TOLERANCE, FunctionExercise

__all__: list[str] = []

PITFALLS = "concepts/pitfalls"
_LARGEST = 10**5  # numbers in a part of an answer: none that is right has as many


class UnreadableError(Exception):
    """The answer is of another kind than the exercise asks for; the message says how."""


def describe(value: Any) -> str:
    """Name a value in a few words, without trusting it."""
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return f"a tensor of shape {shape_of(value)}"
    if type(value) in (tuple, list):
        inside = ", ".join(type(item).__name__ for item in value[:4])
        dots = ", ..." if len(value) > 4 else ""
        return f"a {type(value).__name__} of {len(value)} ({inside}{dots})"
    if type(value) is dict:
        return f"a dict with the keys {', '.join(f'{key!r:.20}' for key in islice(value, 6))}"
    if type(value) in (bool, int, float):
        return f"the number {value!r:.40}" if type(value) is not bool else f"{value}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"a value of type {type(value).__name__}"


def with_verb(name: str, one: str = "is", several: str = "are") -> str:
    """Put a part and its verb as they stand in a sentence."""
    spoken = "masked scores" if name == "masked" else name
    return f"{spoken} {several if spoken.endswith('s') else one}"


def read_parts(exercise: FunctionExercise, value: Any) -> dict[str, Tensor]:
    """Return the parts that a learner's function gave, by name, as float64 on the CPU.

    Raises `UnreadableError` with one sentence where they are not what the exercise asks for.
    """
    names = exercise.returns
    if exercise.dtype == "index":
        return {names[0]: read_index(value)}
    wanted = f"`({', '.join(names)})`" if len(names) > 1 else f"one tensor, {names[0]}"
    if value is None:
        raise UnreadableError(
            f"Your function returned None, not {wanted}: is there a `return` on every way through?"
        )
    if len(names) == 1:
        if isinstance(value, (tuple, list)) and any(isinstance(v, Tensor) for v in value):
            raise UnreadableError(
                f"Your function returned {describe(value)}, not {wanted}: return that one alone"
            )
        return {names[0]: read_tensor(value, names[0], exercise)}
    if isinstance(value, Tensor) or not isinstance(value, (tuple, list)):
        raise UnreadableError(f"Your function returned {describe(value)}, not {wanted}")
    if len(value) != len(names):
        raise UnreadableError(
            f"Your function returned {len(value)} things, but {len(names)} are wanted: {wanted}"
        )
    return {
        name: read_tensor(part, name, exercise) for name, part in zip(names, value, strict=True)
    }


def read_tensor(value: Any, name: str, exercise: FunctionExercise) -> Tensor:
    """Return a plain float64 tensor with the same numbers, or raise `UnreadableError`."""
    called = f"The {with_verb(name)}"
    holds = f"The {with_verb(name, 'holds', 'hold')}"
    if not isinstance(value, Tensor):
        hint = ": build it with torch" + ", so that gradients can flow through it" * (
            exercise.differentiable
        )
        raise UnreadableError(f"{called} {describe(value)}, not a torch tensor{hint}")
    if value.device.type != "cpu":
        raise UnreadableError(f"{called} on the device {value.device}, the input is not")
    if value.numel() > _LARGEST:
        raise UnreadableError(f"{called} {describe(value)}, much larger than the input calls for")
    if value.layout != torch.strided or value.is_quantized or value.is_nested:
        raise UnreadableError(f"{called} not a plain (dense) tensor: {value.layout}")
    if value.is_complex():
        raise UnreadableError(f"{holds} complex numbers ({value.dtype})")
    wants_bool = exercise.dtype == "bool"
    if wants_bool and value.dtype != torch.bool:
        raise UnreadableError(
            f"{holds} {value.dtype} and not torch.bool: a mask is "
            f"True where attention is allowed; `~mask` and `masked_fill` rely on it"
        )
    if value.is_floating_point() and torch.finfo(value.dtype).eps > TOLERANCE:
        raise UnreadableError(f"{holds} {value.dtype}, which rounds to three digits")
    if not wants_bool and not value.is_floating_point():
        raise UnreadableError(f"{holds} {value.dtype} and not floating-point numbers")
    return torch.Tensor.detach(value).as_subclass(Tensor).double()


def read_index(value: Any) -> Tensor:
    """Return a pair of whole numbers as a tensor, or raise `UnreadableError`."""
    try:
        if isinstance(value, (str, Set)):  # a set has no order
            raise ValueError
        layer, head = read_whole_numbers(value)
    except (ValueError, TypeError, OverflowError):
        raise UnreadableError(
            f"Your function returned {describe(value)}, not two whole numbers, `(layer, head)`"
        ) from None
    return torch.tensor((layer, head), dtype=torch.float64, device="cpu")


def agree(got: Tensor, want: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Whether two tensors have the same shape and numbers; NaN equals NaN."""
    return got.shape == want.shape and torch.allclose(
        got.double(), want.double(), rtol=tolerance, atol=tolerance, equal_nan=True
    )


def show(value: Any) -> str:
    """Print a value compactly, as Python that a reader can paste."""
    if isinstance(value, Tensor):
        return _numbers(value.tolist())
    return repr(value)


def show_named(name: str, value: Any) -> str:
    """Print a value with its name; of a large tensor the shape alone."""
    if not isinstance(value, Tensor):
        return f"{name} = {show(value)}"
    return f"{name} {shape_of(value)}" + (f" = {show(value)}" if value.numel() <= 36 else "")


def _numbers(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_numbers, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else repr(value)


def show_parts(parts: dict[str, Tensor], other: dict[str, Tensor]) -> str:
    """Print the parts that differ from those of `other`, with their names and shapes."""
    lines = []
    for name, part in parts.items():
        if name in other and agree(part, other[name]) and len(parts) > 1:
            continue
        lines.append(show_named(name, part))
    return "\n".join(lines)
