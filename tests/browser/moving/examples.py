"""One example of each figure that moves: what `test_every_figure.py` looks at."""

from __future__ import annotations

import torch

from attn_examples.figures import (
    Moving,
    compose_masks,
    explore,
    explore_heads,
    step_through,
    try_softmax,
    turn_positions,
    walk_cache,
    walk_heads,
    walk_tiles,
)


def explorer() -> Moving:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 5, 5, dtype=torch.float64).softmax(-1)
    maps[..., 1, :] = 0  # a row that may look at nothing
    return explore(maps, ["[CLS]", "the", "cat", "##s", "القطة"], chosen=2)


def explorer_across() -> Moving:
    torch.manual_seed(1)
    mask = torch.ones(4, 1).index_fill(0, torch.tensor(1), 0)
    return explore(
        torch.randn(4, 6).softmax(-1) * mask,
        ["die", "katze", "saß", "da"],
        ["the", "cat", "sat", "on", "it", "."],
    )


def positions() -> Moving:
    return turn_positions()


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


def lab() -> Moving:
    scores = torch.tensor([1.5, -0.5, -torch.inf, 2.25], dtype=torch.float64)
    return try_softmax(scores, ["[CLS]", "القطة", "supercalifragilistic", "##ing"])


def tiles() -> Moving:
    torch.manual_seed(2)
    scores = torch.randn(7)
    scores[3] = -torch.inf
    return walk_tiles(scores, torch.randn(7, 2), tile=3, labels=["[CLS]", "القطة", *"abcde"])


def mask_composer() -> Moving:
    return compose_masks()


def cache_walk() -> Moving:
    return walk_cache(tokens=["[CLS]", "the", "cat", "##s", "القطة", "supercalifragilistic"])


def heads() -> Moving:
    torch.manual_seed(2)
    tokens = [
        ["[CLS]", "the", "cat", "sat", "[SEP]"],
        ["[CLS]", "القطة", "##s", "incomprehensibilities", "on", "mat", "🐈", "[SEP]"],
        ["[CLS]", "why", "?", "[SEP]"],
    ]
    maps = [(2 * torch.randn(2, 12, len(t), len(t))).softmax(-1) for t in tokens]
    maps[2] = torch.randn(2, 12, 4, 4).masked_fill(~torch.ones(4, 4).tril().bool(), -torch.inf)
    maps[2] = maps[2].softmax(-1)
    mine = {"my own": torch.randn(2, 12)}
    return explore_heads(maps, tokens, measures=mine, head=(1, 3), framed=[(0, 2)], link="heads")


EXAMPLES = {
    name: make
    for name, make in globals().items()
    if getattr(make, "__module__", "") == __name__ and not name.startswith("_")
}
