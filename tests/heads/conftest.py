"""What tests of heads share: inputs, misfitting masks, and positions to plug in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaAttention

from attn_examples import MultiHeadAttention
from tests.conftest import randn

N, L, S, H, G, E, D = 2, 5, 7, 6, 2, 12, 4


@pytest.fixture
def x() -> Tensor:
    return randn(N, L, E)


@pytest.fixture
def context() -> Tensor:
    return randn(N, S, E)


def misfit(shape: tuple[int, ...], wanted: str) -> tuple[Any, type[Exception], str]:
    sentence = f"mask has shape {shape} but must have {wanted}, with 1 where it repeats"
    return torch.ones(shape, dtype=torch.bool), ValueError, sentence


WRONG_KIND = [
    ([[True]], TypeError, "mask (list) must be a torch.Tensor of dtype torch.bool"),
    *(
        (
            torch.ones(L, L, dtype=dtype),
            ValueError,
            f"mask ({dtype}) must be torch.bool, True where attention is allowed: call "
            f"mask.bool(), or use with_bias(score, bias) for numbers to add to the scores",
        )
        for dtype in (torch.float32, torch.int64)
    ),
    (
        torch.ones(L, L, dtype=torch.bool, device="meta"),
        ValueError,
        "mask is on meta but the scores are on cpu: move it there",
    ),
]


class Rotary:
    """Turn the pair (i, i + D / 2) of a vector at position t by the angle t * base**(-2i / D)."""

    def angles(self, positions: Tensor) -> Tensor:
        exponents = torch.arange(0, D, 2, dtype=torch.float64) / D
        return positions.unsqueeze(-1) / 10000.0**exponents  # (length, D / 2)

    def turned(self, x: Tensor, positions: Tensor) -> Tensor:
        pairs = torch.complex(*x.chunk(2, -1))
        pairs = pairs * torch.polar(torch.ones(()).double(), self.angles(positions))
        return torch.cat((pairs.real, pairs.imag), -1)

    def __call__(self, query: Tensor, key: Tensor, offset: int) -> tuple[Tensor, Tensor, None]:
        keys = torch.arange(offset, offset + key.shape[-2])
        queries = torch.arange(-query.shape[-2], 0) + offset + key.shape[-2]
        return self.turned(query, queries), self.turned(key, keys), None


class Bias(nn.Module):
    """A learned bias for each head and distance, T5's without its buckets."""

    def __init__(self, num_heads: int, reach: int = 9) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_heads, 2 * reach + 1))
        self.reach = reach

    def forward(self, num_heads: int, query_len: int, key_len: int, **_: Any) -> Tensor:
        queries = torch.arange(key_len - query_len, key_len).unsqueeze(-1)
        return self.weight[:, queries - torch.arange(key_len) + self.reach]


def llama() -> tuple[MultiHeadAttention, Any]:
    settings: Any = {"attn_implementation": "sdpa"}  # the eager one normalizes in float32
    config = LlamaConfig(
        hidden_size=E, num_attention_heads=H, num_key_value_heads=G, head_dim=D, **settings
    )
    theirs = LlamaAttention(config, layer_idx=0).double().eval()
    ours = MultiHeadAttention(E, H, G, head_dim=D, positions=Rotary(), bias=False).double()
    state = {name.replace("o_proj", "out_proj"): p for name, p in theirs.state_dict().items()}
    ours.load_state_dict(state)
    return ours, theirs


def cos_and_sin(positions: Tensor) -> tuple[Tensor, Tensor]:
    angles = Rotary().angles(positions).repeat(1, 2).expand(N, -1, -1)
    return angles.cos(), angles.sin()
