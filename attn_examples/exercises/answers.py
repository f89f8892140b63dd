"""Read answers that are values, however they are written: numbers, shapes, lists, tables."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from numbers import Integral, Real
from typing import Any

__all__: list[str] = []

_LONGEST = 1000  # numbers in a row


def plain_value(answer: Any, depth: int = 0) -> Any:
    """Turn tensors, arrays, tuples and text into numbers, lists and dicts of them.

    Raises ValueError for anything else.
    """
    if depth > 6:
        raise ValueError("it is nested too deeply")
    if isinstance(answer, str):
        try:
            return plain_value(ast.literal_eval(answer.strip()), depth + 1)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            if re.fullmatch(r"\s*\d{1,9} */ *[1-9]\d{0,8}\s*", answer):
                return float(Fraction(answer.replace(" ", "")))
            raise ValueError("this text is not written as Python numbers") from error
    if isinstance(answer, Integral):
        return int(answer)
    if isinstance(answer, (Real, Decimal)):
        return float(answer)
    if isinstance(answer, Mapping):
        return {key: plain_value(item, depth + 1) for key, item in answer.items()}
    if isinstance(answer, Set):
        return sorted(plain_value(item, depth + 1) for item in islice(answer, _LONGEST))
    if isinstance(answer, Sequence):
        return [plain_value(item, depth + 1) for item in islice(answer, _LONGEST)]
    if hasattr(answer, "tolist") and not isinstance(answer, type):  # tensors and arrays
        if math.prod(getattr(answer, "shape", ())) > _LONGEST:
            raise ValueError("it holds too many numbers")
        return plain_value(answer.tolist(), depth + 1)
    raise ValueError("it is not made of numbers")


def read_number(answer: Any) -> float | int:
    """Read one number; a list or tensor that holds one alone will do."""
    value = plain_value(answer)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if type(value) not in (int, float):
        raise ValueError("one number is wanted")
    number: float | int = value
    return number


def read_whole_numbers(answer: Any) -> list[int]:
    """Read a row of whole numbers."""
    value = plain_value(answer)
    if not isinstance(value, list) or not all(
        type(item) is int or (type(item) is float and item.is_integer()) for item in value
    ):
        raise ValueError("whole numbers are wanted, in a tuple or list")
    return [int(item) for item in value]


def read_rows(answer: Any) -> list[int]:
    """Read row numbers in any order; a number alone is one row."""
    value = plain_value(answer)
    return sorted(set(read_whole_numbers(value if isinstance(value, list) else [value])))


def read_measured(keys: tuple[int, ...], answer: Any) -> list[float]:
    """Read a dict with a number for each of the keys."""
    value = plain_value(answer)
    wanted = f"the keys {', '.join(map(str, keys))}"
    if not isinstance(value, dict):
        raise ValueError(f"a dict is wanted with {wanted}")
    numbers = {int(k) if str(k) in map(str, keys) else k: number for k, number in value.items()}
    if set(numbers) != set(keys):
        raise ValueError(f"{wanted} are wanted")
    return [read_number(numbers[key]) for key in keys]


def read_tables(keys: tuple[str, ...], size: int, answer: Any) -> list[list[list[int]]]:
    """Read a dict with a square table of zeros and ones for each of the keys."""
    if not isinstance(answer, Mapping) or set(answer) != set(keys):
        raise ValueError(f"a dict is wanted with the keys {', '.join(map(repr, keys))}")
    tables = [plain_value(answer[key]) for key in keys]
    for table in tables:
        if not isinstance(table, list) or [_width(row) for row in table] != [size] * size:
            raise ValueError(f"each table needs {size} rows of {size} numbers")
        if any(cell not in (0, 1) for row in table for cell in row):
            raise ValueError("a table holds 1 where an output changes with an input, and else 0")
    return tables


def holds_a_gap(answer: Any) -> bool:
    """Whether an answer is, or has inside, the `...` of a stub."""
    parts = answer.values() if type(answer) is dict else answer
    return answer is ... or (type(answer) in (dict, list, tuple) and any(p is ... for p in parts))


def _width(row: Any) -> int:
    return len(row) if isinstance(row, list) else -1


def alike(answer: Any, other: Any, tolerance: float) -> bool:
    """Whether two values as the functions above return them are equal, but for rounding."""
    if isinstance(answer, list) and isinstance(other, list):
        same = len(answer) == len(other)
        return same and all(alike(a, o, tolerance) for a, o in zip(answer, other, strict=True))
    if isinstance(answer, list) or isinstance(other, list):
        return False
    return math.isfinite(answer) and abs(answer - other) <= tolerance * max(1.0, abs(other))
