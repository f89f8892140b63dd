"""The figure of positions: what it refuses, and what its rotary positions are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attn_examples.figures import turn_positions
from attn_examples.figures.moving.positions import _placed

REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"head_dim": 7},
        ValueError,
        "head_dim (7) must be even and at most 128: two numbers for each",
    ),
    ({"head_dim": 130}, ValueError, "head_dim (130) must be even and at most 128"),
    ({"head_dim": 0}, ValueError, "head_dim (0) must be at least 1"),
    ({"head_dim": 8.0}, TypeError, "head_dim (8.0) must be a whole number"),
    ({"length": 1}, ValueError, "length (1) must be at least 2"),
    ({"length": 129}, ValueError, "length (129) must be at most 128"),
    ({"base": 0.5}, ValueError, "base (0.5) must be at least 1: hand 0 is the fastest"),
    ({"base": float("inf")}, ValueError, "base (inf) must be positive and finite"),
    ({"base": "10"}, TypeError, "base ('10') must be a number"),
    ({"kind": "learned"}, ValueError, "kind ('learned') must be one of sinusoidal, rotary"),
    ({"places": (0, 41)}, ValueError, "places[1] (41) must be from 0 to 40"),
    ({"places": (-1, 0)}, ValueError, "places[0] (-1) must be from 0 to 40"),
    ({"places": (0.5, 0)}, TypeError, "places[0] (0.5) must be a whole number"),
    ({"places": (1, 2, 3)}, ValueError, "places has 3 numbers but must have 2, of query and key"),
    ({"places": 3}, TypeError, "places (int) must be a pair of whole numbers"),
    ({"query": [0.0] * 16}, TypeError, "query (list) must be a torch.Tensor"),
    ({"key": torch.zeros(8)}, ValueError, "key has shape (8,) but must have (16,), as wide as"),
    ({"key": torch.full((16,), torch.inf)}, ValueError, "key holds what is not finite"),
]


@pytest.mark.parametrize(("given", "error", "message"), REFUSED)
def test_what_is_wrong_is_refused(given: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error) as raised:
        turn_positions(**given)
    assert message in str(raised.value)


def test_rotary_positions_equal_llama() -> None:
    """transformers turns features r and E / 2 + r together, we turn 2r and 2r + 1."""
    modeling = pytest.importorskip("transformers.models.llama.modeling_llama")
    torch.manual_seed(0)
    token = torch.randn(8, dtype=torch.float64)
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    angles = torch.arange(9).unsqueeze(-1) / 500.0 ** (torch.arange(0, 8, 2).double() / 8)
    angles = angles.repeat(1, 2)[None]
    x = token[order].expand(1, 1, 9, 8)
    theirs, _ = modeling.apply_rotary_pos_emb(x, x, angles.cos(), angles.sin())
    ours = _placed("rotary", token, 9, 500.0)[:, order]
    torch.testing.assert_close(ours, theirs[0, 0], rtol=0, atol=1e-12)


def test_another_base_and_other_tokens_are_taken() -> None:
    figure = turn_positions(4, base=500.0, query=torch.ones(4), key=torch.arange(4.0))
    assert figure.data["bases"] == [1.0, 10.0, 100.0, 500.0, 1e3, 1e4, 1e5, 1e6]
    assert figure.data["tokens"] == [[1.0] * 4, [0.0, 1.0, 2.0, 3.0]]
    assert repr(figure).startswith("<Moving positions: Score against distance")
