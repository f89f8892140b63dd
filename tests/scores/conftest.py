"""What tests of scores share: queries and keys, and their pairs as plain numbers."""

from __future__ import annotations

import pytest
from torch import Tensor

from tests.conftest import randn


@pytest.fixture
def query() -> Tensor:
    return randn(2, 3, 5, 4, grad=True)


@pytest.fixture
def key() -> Tensor:
    return randn(2, 3, 7, 4, grad=True)


def pairs(query: Tensor, key: Tensor) -> list[tuple[list[float], list[float]]]:
    """Each query with each key, in the order of the scores, as plain numbers."""
    sequences = zip(query.flatten(0, -3).tolist(), key.flatten(0, -3).tolist(), strict=True)
    return [(q, k) for queries, keys in sequences for q in queries for k in keys]
