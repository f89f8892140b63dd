"""One example of each figure that moves: what `test_every_figure.py` looks at."""

from __future__ import annotations

import torch

from attn_examples.figures import Moving, explore, online_softmax, softmax_lab


def explorer() -> Moving:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 5, 5, dtype=torch.float64).softmax(-1)
    return explore(maps, ["[CLS]", "the", "cat", "##s", "القطة"], chosen=2)


def explorer_across() -> Moving:
    torch.manual_seed(1)
    return explore(
        torch.randn(4, 6).softmax(-1), "die katze saß da".split(), "the cat sat on it .".split()
    )


def lab() -> Moving:
    scores = torch.tensor([1.5, -0.5, -torch.inf, 2.25], dtype=torch.float64)
    return softmax_lab(scores, ["[CLS]", "القطة", "supercalifragilistic", "##ing"])


def tiles() -> Moving:
    torch.manual_seed(2)
    scores = torch.randn(7)
    scores[3] = -torch.inf
    return online_softmax(scores, torch.randn(7, 2), tile=3, labels=["[CLS]", "القطة", *"abcde"])


EXAMPLES = {make.__name__: make for make in (explorer, explorer_across, lab, tiles)}
