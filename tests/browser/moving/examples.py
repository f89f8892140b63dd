"""One example of each figure that moves: what `test_every_figure.py` looks at."""

from __future__ import annotations

import torch

from attn_examples.figures import (
    Moving,
    explore,
    turn_positions,
)


def explorer() -> Moving:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 5, 5, dtype=torch.float64).softmax(-1)
    return explore(maps, ["[CLS]", "the", "cat", "##s", "القطة"], chosen=2)


def explorer_across() -> Moving:
    torch.manual_seed(1)
    return explore(
        torch.randn(4, 6).softmax(-1), ["die", "katze", "saß", "da"], ["the", "cat", "sat", "on", "it", "."]
    )


def positions() -> Moving:
    return turn_positions()


EXAMPLES = {
    name: make
    for name, make in globals().items()
    if getattr(make, "__annotations__", {}).get("return") == "Moving"
}
