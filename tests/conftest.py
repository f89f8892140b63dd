"""What every test shares: a fixed seed, one thread, and one idea of equality."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from torch import Tensor

torch.set_num_threads(1)
# derandomize: the same examples at every run and on every machine
settings.register_profile("site", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("site")


# The beginning of a program that has torch and refuses the package
WITHOUT = """\
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "attn_examples":
            raise ImportError("the piece imports attn_examples")

sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


largest: dict[str, float] = {}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process of pytest-xdist has found."""
    for test, distance in node.workeroutput["largest"].items():
        largest[test] = max(largest.get(test, 0.0), distance)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["largest"] = largest
        return
    folder = Path(__file__).parent.parent / "build"
    folder.mkdir(exist_ok=True)
    (folder / "oracles.json").write_text(json.dumps(largest, indent=1, sort_keys=True))


def same(actual: Tensor, expected: Tensor, *, atol: float = 1e-12) -> None:
    """Assert equality, by default to the last digits of float64, in values, shape and dtype.

    The largest difference of each test is kept for `nox -s record`.
    """
    torch.testing.assert_close(actual, expected, rtol=0, atol=atol)
    test = os.environ["PYTEST_CURRENT_TEST"].split("[")[0].split(" ")[0]
    difference = (actual.detach().double() - expected.detach().double()).abs().nan_to_num()
    distance = float(difference.max()) if difference.numel() else 0.0
    largest[test] = max(largest.get(test, 0.0), distance)


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
