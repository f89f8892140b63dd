"""Modules of several heads that do not work alone: they talk, cancel or are gated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_examples.checks import (
    check_callable,
    check_count,
    check_float,
    check_number,
    check_weights,
    shape_of,
)
from attn_examples.heads.multi_head import MultiHeadAttention

__all__ = ["DifferentialAttention", "GatedAttention", "TalkingHeads"]

MECHANISMS = (
    {
        "name": "talking heads",
        "call": "TalkingHeads",
        "changes": "the heads' scores, or weights, are mixed with each other",
        "page": "types/heads/mixed#talking-heads",
        "papers": ["shazeer2020"],
        "oracles": {
            "x_transformers.x_transformers.Attention": "test_talking_heads_equal_x_transformers",
            "by hand": "test_talking_heads_are_the_loop_of_the_paper",
        },
        "words": ["talking-heads attention", "heads projection", "mix heads"],
        "cost": "more: H multiplications for each score, and again for each weight",
        "thumbnail": "torch.eye(6) + 0.4 * torch.rand(6, 6)",
    },
    {
        "name": "differential",
        "call": "DifferentialAttention",
        "changes": "the map of one head less λ times that of another",
        "page": "types/heads/mixed#differential",
        "papers": ["ye2024"],
        "oracles": {
            "transformers.models.diffllama.modeling_diffllama.DiffLlamaAttention": (
                "test_differential_equals_diffllama"
            ),
            "by hand": "test_differential_is_the_loop_of_the_paper",
        },
        "words": [
            "Diff Transformer",
            "differential transformer",
            "DiffAttn",
            "noise cancelling",
        ],
        "cost": "more: each map mixes values twice as wide as a head",
        "thumbnail": (
            "attention(query, key, value)[1] - 0.8 * attention(key, query, value)[1]"
        ),
    },
    {
        "name": "gated output",
        "call": "GatedAttention",
        "changes": "each number that the heads put out is let through in part, as the query says",
        "page": "types/heads/mixed#gated-output",
        "papers": ["qiu2025"],
        "oracles": {
            "x_transformers.x_transformers.Attention": "test_gated_equals_x_transformers",
            "transformers.models.qwen3_next.modeling_qwen3_next.Qwen3NextAttention": (
                "test_gated_equals_qwen3_next"
            ),
        },
        "words": ["gated attention", "output gate", "SDPA output gate"],
        "cost": "more: a projection as large as that of the queries",
        "thumbnail": "attention(query, key, value)[0][:, :8].mul(4).sigmoid()",
    },
)


class TalkingHeads(nn.Module):
    """Let the heads mix what a step gives each: their scores, or their weights.

    Put it around the score to mix before the softmax, around the normalizer to mix after it:
    `MultiHeadAttention(12, 3, score=TalkingHeads(scaled_dot, 3), normalize=TalkingHeads(softmax,
    3))`. At first it mixes nothing.

    Parameters
    ----------
    step : callable
        Any score or normalizer.
    num_heads : int
        Number of heads, H: the third dimension from the end of what the step gives.

    Raises
    ------
    ValueError
        If `num_heads` is less than 1; when called, if the step gives another number of heads.
    TypeError
        If `step` cannot be called.

    References
    ----------
    Shazeer et al., "Talking-Heads Attention", 2020, arXiv:2003.02436, with as many
    heads at each step. The mask comes between the two: a forbidden key has the weight 0 in
    every head, and in each mixture of them, if the mask is that of all heads.

    Examples
    --------
    Two heads, one query and two keys. Head 0 is to say what both say together:

    >>> import torch
    >>> from attn_examples import TalkingHeads, softmax
    >>> step = TalkingHeads(softmax, num_heads=2)
    >>> with torch.no_grad():
    ...     _ = step.weight.copy_(torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    >>> step(torch.tensor([[[0.0, -torch.inf]], [[0.0, 0.0]]])).detach().tolist()
    [[[0.75, 0.25]], [[0.5, 0.5]]]
    """

    def __init__(self, step: Callable[..., Tensor], num_heads: int) -> None:
        super().__init__()
        check_callable("step", step)
        check_count("num_heads", num_heads)
        self.step = step
        # Row h says how much head h takes of each
        self.weight = nn.Parameter(torch.eye(num_heads))

    def forward(self, *given: Tensor) -> Tensor:
        """Return what the step gives, (..., H, L, S), mixed along H."""
        found = self.step(*given)
        check_float("step", found)
        if found.dim() < 3 or found.shape[-3] != len(self.weight):
            raise ValueError(
                f"step gives {shape_of(found)}, which must have num_heads "
                f"({len(self.weight)}) heads: (..., heads, L, S)"
            )
        check_weights("step", found, self.weight)
        mixed = self.weight @ found.flatten(-2)  # (H, H) @ (..., H, L * S)
        return torch.unflatten(mixed, -1, found.shape[-2:])


class DifferentialAttention(MultiHeadAttention):
    """Let one head of a pair say what to take away from the other's map.

    Head h and head h + H / 2 are a pair; the output of a pair is twice as wide as a head.

    Parameters
    ----------
    embed_dim : int
        Width of the input and of the output.
    num_heads : int
        Number of maps, H: an even number.
    num_kv_heads : int, optional
        Number of key heads, by default `num_heads`: an even number.
    lambda_init : float, default 0.8
        About how much is taken away at first. The paper has 0.8 - 0.6 * exp(-0.3 * l) in layer l,
        counted from 0.
    **settings
        As for `MultiHeadAttention`.

    Raises
    ------
    ValueError
        If a number of heads is odd, and as `MultiHeadAttention` does.
    TypeError
        If `lambda_init` is not a number.

    References
    ----------
    Ye et al., "Differential Transformer", 2024, arXiv:2410.05258, section 2.1. Which heads
    are pairs is as in transformers' DiffLlama.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import DifferentialAttention
    >>> x = torch.randn(2, 5, 12)  # batch, length, width
    >>> output, weights = DifferentialAttention(embed_dim=12, num_heads=6)(x)
    >>> output.shape, weights.shape  # one map for each pair
    (torch.Size([2, 5, 12]), torch.Size([2, 3, 5, 5]))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        *,
        lambda_init: float = 0.8,
        **settings: Any,
    ) -> None:
        super().__init__(embed_dim, num_heads, num_kv_heads, **settings)
        check_number("lambda_init", lambda_init)
        if num_heads % 2 or self.num_kv_heads % 2:
            raise ValueError(
                f"num_heads ({num_heads}) and num_kv_heads ({self.num_kv_heads}) must "
                "be even: two heads make a pair"
            )
        self.lambda_init = lambda_init
        q1, k1, q2, k2 = torch.randn(4, self.head_dim).mul(0.1).unbind()
        self.lambda_q1, self.lambda_k1 = nn.Parameter(q1), nn.Parameter(k1)
        self.lambda_q2, self.lambda_k2 = nn.Parameter(q2), nn.Parameter(k2)

    def taken(self) -> Tensor:
        """Return lambda, how much of the second map is taken away."""
        first = (self.lambda_q1 * self.lambda_k1).sum().exp()
        second = (self.lambda_q2 * self.lambda_k2).sum().exp()
        taken: Tensor = first - second + self.lambda_init
        return taken

    def _attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, **steps: Any
    ) -> tuple[Tensor, Tensor | None]:
        both = torch.cat(values.chunk(2, -3), -1)  # (..., G / 2, S, 2 * head_dim)
        values = torch.cat((both, both), -3)  # the two heads of a pair mix the same
        heads, weights = super()._attend(queries, keys, values, **steps)
        first, second = heads.chunk(2, -3)  # (..., H / 2, L, 2 * head_dim)
        heads = first - self.taken() * second
        heads = (1 - self.lambda_init) * F.rms_norm(heads, heads.shape[-1:], eps=1e-5)
        if weights is not None:
            first, second = weights.chunk(2, -3)
            weights = first - self.taken() * second
        return heads, weights


class GatedAttention(MultiHeadAttention):
    """Let a gate decide how much of what the heads give comes out.

    The gate is a projection of the queries' input, `gate_proj`, between 0 and 1 by a
    sigmoid, times what the heads give, before `out_proj`.

    Parameters
    ----------
    embed_dim : int
        Width of the queries' input and of the output.
    num_heads : int
        Number of heads, H.
    num_kv_heads : int, optional
        Number of key and value heads, by default `num_heads`.
    bias : bool, default True
        Whether the five projections add a learned vector.
    **settings
        As for `MultiHeadAttention`.

    Raises
    ------
    ValueError
        As `MultiHeadAttention` does.

    References
    ----------
    Qiu et al., "Gated Attention for Large Language Models: Non-linearity, Sparsity, and
    Attention-Sink-Free", 2025, arXiv:2505.06708, position G1, elementwise.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import GatedAttention
    >>> x = torch.randn(2, 5, 12)  # batch, length, width
    >>> layer = GatedAttention(embed_dim=12, num_heads=3)
    >>> _ = layer.gate_proj.bias.data.fill_(-100.0)  # every gate is shut
    >>> output, _ = layer(x)
    >>> torch.allclose(output, layer.out_proj.bias)
    True
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        *,
        bias: bool = True,
        **settings: Any,
    ) -> None:
        super().__init__(embed_dim, num_heads, num_kv_heads, bias=bias, **settings)
        self.gate_proj = nn.Linear(embed_dim, self.num_heads * self.head_dim, bias)

    def _merged(self, merged: Tensor, query: Tensor) -> Tensor:
        gate: Tensor = self.gate_proj(query).sigmoid()
        return merged * gate
