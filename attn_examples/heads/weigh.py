"""Steps 1 to 3 in the memory of one matrix."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

__all__: list[str] = []


def weigh(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """Return the weights of `attention`, with `scaled_dot` and `softmax`.

    There score, mask and softmax each write a matrix of their own, since others may hold
    what they are given. Here nobody does, so mask and softmax write over the scores: at
    great lengths new memory costs more than the arithmetic.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
    key : Tensor, shape (..., S, E)
        S is at least 1, and the leading dimensions are those of `query`.
    mask : Tensor of bool, broadcastable to (..., L, S), or None
        True where attention is allowed.

    Returns
    -------
    Tensor, shape (..., L, S)
    """
    scale = 1.0 / math.sqrt(max(query.shape[-1], 1))
    weights: Tensor = _Weigh.apply(query * scale, key, mask)  # type: ignore[no-untyped-call]
    return weights


def step_by_step(query: Tensor, key: Tensor) -> bool:
    """Tell whether something follows each step, so that `weigh` cannot replace them."""
    return (
        key.shape[-2] == 0  # no key, and no largest score
        or query.is_meta
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or torch.is_autocast_enabled(query.device.type)
        or torch._C._are_functorch_transforms_active()  # torch.func: vmap, jvp, ...
        or any(unpack_dual(x)[1] is not None for x in (query, key))  # type: ignore[no-untyped-call]
    )


class _Weigh(torch.autograd.Function):
    """The weights of queries that are already scaled, and their derivative."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
        scores = query @ key.transpose(-2, -1)  # new: (..., L, S)
        if mask is not None:
            scores.masked_fill_(~mask, float("-inf"))
        nothing = scores.amax(-1, keepdim=True) == float("-inf")  # (..., L, 1)
        first = scores[..., :1]
        # one finite score keeps a hopeless row free of NaN
        first.masked_fill_(nothing, 0.0)
        torch.softmax(scores, -1, out=scores)
        first.masked_fill_(nothing, 0.0)  # all the weight of that row was there
        return scores

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        query, key, _ = inputs
        ctx.save_for_backward(query, key, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        query, key, weights = ctx.saved_tensors
        # of softmax alone: where a weight is 0, so is the gradient of its score
        scores = torch._softmax_backward_data(grad, weights, -1, weights.dtype)
        return scores @ key, scores.transpose(-2, -1) @ query, None
