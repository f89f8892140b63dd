"""One example of each figure that moves: what `test_every_figure.py` looks at."""

from __future__ import annotations

import torch

from attn_examples.figures import Moving, explore, step_through, walk_heads


def explorer() -> Moving:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 5, 5, dtype=torch.float64).softmax(-1)
    return explore(maps, ["[CLS]", "the", "cat", "##s", "القطة"], chosen=2)


def explorer_across() -> Moving:
    torch.manual_seed(1)
    return explore(
        torch.randn(4, 6).softmax(-1), "die katze saß da".split(), "the cat sat on it .".split()
    )


def stepper() -> Moving:
    query = 2 * torch.tensor([[3.0, 2.0, 4.0, 1.0], [2.0, 2.0, 4.0, 1.0]]).log()
    value = torch.tensor([[10.0], [20.0], [40.0]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    return step_through(query, torch.eye(3, 4), value, ["The", "cat", "sat"], mask=mask)


def stepper_long() -> Moving:
    torch.manual_seed(2)
    value = torch.tensor([[28.19], [-999.0], [5.76], [0.0], [29.0], [29.5]])
    tokens = ["[CLS]", "القطة", "##ing", "cat", "cat", "supercalifragilistic"]
    return step_through(3 * torch.randn(1, 4), torch.randn(6, 4), value, tokens)


def head_walk() -> Moving:
    return walk_heads(384, 12, head=3)


EXAMPLES = {
    make.__name__: make for make in (explorer, explorer_across, stepper, stepper_long, head_walk)
}
