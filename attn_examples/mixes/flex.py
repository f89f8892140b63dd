"""What FlexAttention is told, so that a kernel of torch computes the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from attn_examples.checks import refuse_mask, shape_of
from attn_examples.scores import scaled_dot
from attn_examples.scores.dot_product import _as_scaled_dot
from attn_examples.scores.wrappers import _Softcapped, _WithBias

__all__ = ["to_flex"]

MECHANISMS = (
    {
        "name": "FlexAttention",
        "call": "to_flex",
        "changes": "score and mask are handed to a kernel that torch compiles",
        "page": "types/mixes/flex",
        "papers": ["dong2024"],
        "oracles": {
            "torch.nn.attention.flex_attention.flex_attention": (
                "test_to_flex_gives_what_four_steps_give"
            ),
            "torch.nn.functional.scaled_dot_product_attention": (
                "test_to_flex_equals_torch_with_a_float_mask"
            ),
        },
        "words": ["flex_attention", "score_mod", "block_mask", "mask_mod", "BlockMask"],
        "cost": "less: compiled, it skips blocks without a pair, and keeps no map of scores",
        "thumbnail": "causal_mask(8)",
    },
)


def to_flex(
    score: Callable[[Tensor, Tensor], Tensor] = scaled_dot, mask: Tensor | None = None
) -> dict[str, Any]:
    """Say a score and a mask as torch's FlexAttention wants them said.

    Parameters
    ----------
    score : callable, default `scaled_dot`
        `dot`, `scaled_dot` or `functools.partial(scaled_dot, scale=...)`, which may stand
        in any number of `softcapped` and `with_bias`.
    mask : Tensor of bool, shape (L, S) or (N, H, L, S), optional
        True where attention is allowed. N and H may be 1 where it repeats, L and S are the
        lengths: a mask that repeats along them, such as `padding_mask`, is expanded first.

    Returns
    -------
    dict
        The arguments `scale`, `score_mod` and `block_mask` of
        `torch.nn.attention.flex_attention.flex_attention`, which takes query
        (N, H, L, E), key (N, H, S, E) and value (N, H, S, Ev).

    Raises
    ------
    ValueError
        If the score is another, the mask is not boolean or has other dimensions, or a bias
        has more than four.
    TypeError
        If the mask is not a tensor.

    References
    ----------
    Dong et al., "Flex Attention: A Programming Model for Generating Optimized Attention
    Kernels", 2024, arXiv:2412.05496.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import causal_mask, dot, softcapped, to_flex
    >>> told = to_flex(softcapped(dot, 50.0), causal_mask(5))
    >>> told["scale"], told["score_mod"](torch.tensor(100.0), 0, 0, 0, 0)
    (1.0, tensor(48.2014))
    >>> told["block_mask"].shape
    (1, 1, 5, 5)
    """
    scale, score_mod = _said(score)
    block_mask = None if mask is None else _block_mask(mask)
    return {"scale": scale, "score_mod": score_mod, "block_mask": block_mask}


_ScoreMod = Callable[[Tensor, Any, Any, Any, Any], Tensor]


def _said(score: Any) -> tuple[float | None, _ScoreMod | None]:
    """Return the factor of the dot product, and what is done to it afterwards."""
    if isinstance(score, _Softcapped):
        cap = score.cap
        return _then(score.score, lambda scores, *_: cap * torch.tanh(scores / cap))
    if isinstance(score, _WithBias):
        bias = _by_place("bias", score.bias)
        return _then(
            score.score, lambda scores, *place: scores + bias(*place).to(scores.dtype)
        )
    if (keywords := _as_scaled_dot(score)) is not None:
        return keywords.get("scale"), None
    name = getattr(score, "__name__", type(score).__name__)
    raise ValueError(
        f"score ({name}) cannot be said in FlexAttention: it must be dot or "
        "scaled_dot, which softcapped and with_bias may wrap"
    )


def _then(inner: Any, outer: _ScoreMod) -> tuple[float | None, _ScoreMod]:
    """Do something to the scores, after what is done to them inside."""
    scale, first = _said(inner)
    if first is None:
        return scale, outer

    def both(scores: Tensor, n: Any, h: Any, i: Any, j: Any) -> Tensor:
        return outer(first(scores, n, h, i, j), n, h, i, j)

    return scale, both


def _by_place(name: str, tensor: Tensor) -> Callable[..., Tensor]:
    """Read a tensor at a batch, a head, a query and a key; a dimension of 1 repeats."""
    if tensor.dim() > 4:
        raise ValueError(
            f"{name} has shape {shape_of(tensor)} but FlexAttention has four "
            "dimensions, (N, H, L, S)"
        )
    sizes = (1,) * (4 - tensor.dim()) + shape_of(tensor)
    varied = [dim for dim, size in enumerate(sizes) if size != 1]
    table = tensor.squeeze()
    if not varied:
        return lambda *_: table
    return lambda *place: table[tuple(place[dim] for dim in varied)]


def _block_mask(mask: Tensor) -> Any:
    """Find the blocks of pairs that a mask forbids as a whole."""
    # takes a second to import, and is needed here alone
    from torch.nn.attention.flex_attention import create_block_mask

    refuse_mask(mask)
    if mask.dim() not in (2, 4):
        raise ValueError(
            f"mask has shape {shape_of(mask)} but must be (L, S) or (N, H, L, S), with "
            "1 where batch or heads repeat"
        )
    N, H, L, S = (1,) * (4 - mask.dim()) + shape_of(mask)
    allowed = _by_place("mask", mask)

    def mask_mod(n: Any, h: Any, i: Any, j: Any) -> Tensor:
        return allowed(n, h, i, j)

    return create_block_mask(mask_mod, N, H, L, S, device=str(mask.device))
