"""One example of each figure that moves: what `test_every_figure.py` looks at."""

from __future__ import annotations

import torch

from attn_examples.figures import Moving, explore, explore_heads


def explorer() -> Moving:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 5, 5, dtype=torch.float64).softmax(-1)
    return explore(maps, ["[CLS]", "the", "cat", "##s", "القطة"], chosen=2)


def explorer_across() -> Moving:
    torch.manual_seed(1)
    return explore(
        torch.randn(4, 6).softmax(-1), "die katze saß da".split(), "the cat sat on it .".split()
    )


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


EXAMPLES = {make.__name__: make for make in (explorer, explorer_across, heads)}
