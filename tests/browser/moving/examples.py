"""One example of each figure that moves: what `test_every_figure.py` looks at."""

from __future__ import annotations

import torch

from attn_examples.figures import Moving, compose_masks, explore, walk_cache


def explorer() -> Moving:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 5, 5, dtype=torch.float64).softmax(-1)
    return explore(maps, ["[CLS]", "the", "cat", "##s", "القطة"], chosen=2)


def explorer_across() -> Moving:
    torch.manual_seed(1)
    return explore(
        torch.randn(4, 6).softmax(-1), "die katze saß da".split(), "the cat sat on it .".split()
    )


def mask_composer() -> Moving:
    return compose_masks()


def cache_walk() -> Moving:
    return walk_cache(tokens=["[CLS]", "the", "cat", "##s", "القطة", "supercalifragilistic"])


EXAMPLES = {make.__name__: make for make in (explorer, explorer_across, mask_composer, cache_walk)}
