"""What tests of positions share: others' code, in as many digits as ours."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have others compute in float64 where their code says float32."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(torch, "float32", torch.float64)
