"""What every test shares: a fixed seed, one thread, and one idea of equality."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor

torch.set_num_threads(1)
# derandomize: the same examples at every run and on every machine
settings.register_profile("site", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("site")


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def same(actual: Tensor, expected: Tensor) -> None:
    """Assert equality to the last digits of float64, in values, shape and dtype."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


def randn(*shape: int, grad: bool = False) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, requires_grad=grad)


def says(sentence: str) -> str:
    """Return a pattern for `pytest.raises(match=...)` that matches this sentence alone."""
    return rf"\A{re.escape(sentence)}\Z"


def gradients(output: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Differentiate a sum in which no two entries of the output weigh the same."""
    weighed = output * torch.linspace(1.0, 2.0, output.numel(), dtype=output.dtype).view_as(output)
    grads: tuple[Any, ...] = torch.autograd.grad(weighed.sum(), inputs)
    return grads
