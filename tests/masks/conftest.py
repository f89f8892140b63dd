"""What tests of masks share: torch's maker of masks, and its sizes."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.attention.flex_attention import create_mask

N, L, S = 2, 5, 7


def flex(rule: Any) -> Tensor:
    mask: Tensor = create_mask(rule, N, None, L, S, device="cpu")
    return mask[:, 0]
