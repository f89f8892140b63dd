"""Step 2: what masks of several families do alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from attn_examples import causal_mask, padding_mask, sliding_window_mask


def test_empty_masks() -> None:
    assert causal_mask(0).shape == (0, 0)
    assert causal_mask(0, 3).shape == sliding_window_mask(0, 3, 1).shape == (0, 3)
    assert padding_mask([], 3).shape == padding_mask(torch.tensor([]), 3).shape == (0, 1, 3)
    assert padding_mask([0], 0).shape == (1, 1, 0)


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    size: Any = np.int64(3)
    assert torch.equal(causal_mask(size), causal_mask(3))
    counts: Any = np.array([1, 3])
    assert torch.equal(padding_mask(counts, size), padding_mask([1, 3], 3))
