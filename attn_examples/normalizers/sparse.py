"""Weights of which many may be exactly 0, found by sorting."""

from __future__ import annotations

import torch
from torch import Tensor

from attn_examples.checks import check_float

__all__ = ["entmax15", "sparsemax"]

MECHANISMS = (
    {
        "name": "sparsemax",
        "call": "sparsemax",
        "changes": "the nearest weights that sum to 1, none negative: low scores get exactly 0",
        "page": "types/normalizers/sparse",
        "papers": ["martins2016"],
        "oracles": {
            "entmax.sparsemax": "test_sparsemax_equals_entmax",
            "entmax.sparsemax_bisect": "test_sparsemax_equals_bisection",
            "by hand": "test_sparsemax_equals_the_loop",
        },
        "words": [
            "sparse attention weights",
            "projection onto the simplex",
            "exact zeros",
        ],
        "cost": "more: no parameters; a sort of each row",
        "thumbnail": "attention(query, key, value, normalize=sparsemax)[1]",
    },
    {
        "name": "1.5-entmax",
        "call": "entmax15",
        "changes": "half-way from softmax to sparsemax: a square in place of the exponential",
        "page": "types/normalizers/sparse#entmax",
        "papers": ["peters2019", "correia2019"],
        "oracles": {
            "entmax.entmax15": "test_entmax15_equals_entmax",
            "entmax.entmax_bisect": "test_entmax15_equals_bisection",
            "by hand": "test_entmax15_equals_the_loop",
        },
        "words": ["entmax", "alpha-entmax", "Tsallis entropy"],
        "cost": "more: no parameters; a sort of each row",
        "thumbnail": "attention(query, key, value, normalize=entmax15)[1]",
    },
)


def sparsemax(scores: Tensor) -> Tensor:
    """Turn each row of scores into the nearest weights that sum to 1, none negative.

    Parameters
    ----------
    scores : Tensor, shape (..., L, S)
        Minus infinity marks a key that may not be looked at.

    Returns
    -------
    Tensor, shape (..., L, S)
        Scores less a threshold, and 0 where that is negative. A key whose score lies 1 or
        more below the row's largest has exactly the weight 0, and a row of nothing but minus
        infinity the weights 0. Computed in float32 where the scores have fewer digits.

    Raises
    ------
    ValueError
        If the scores are not floating point.
    TypeError
        If they are not a tensor.

    References
    ----------
    Martins and Astudillo, "From Softmax to Sparsemax: A Sparse Model of Attention and
    Multi-Label Classification", 2016, arXiv:1602.02068, algorithm 1.

    Examples
    --------
    The threshold is 0.1. Keep the difference of the first two; drop the third:

    >>> import torch
    >>> from attn_examples import sparsemax
    >>> sparsemax(torch.tensor([[0.8, 0.4, 0.0]]))
    tensor([[0.7000, 0.3000, 0.0000]])
    """
    check_float("scores", scores)
    gaps, top, k = _below_the_largest(scores)
    # a key stays if those above it, measured from it, do not sum to 1
    stays = top.cumsum(-1) - k * top < 1.0
    total = top.masked_fill(~stays, 0.0).sum(-1, keepdim=True)
    threshold = (total - 1.0) / stays.sum(-1, keepdim=True)  # (..., L, 1)
    weights = (gaps - threshold).relu()
    return weights.masked_fill(scores == float("-inf"), 0.0).to(scores.dtype)


def entmax15(scores: Tensor) -> Tensor:
    """Turn each row of scores into sparse weights that fall off as a square.

    Parameters
    ----------
    scores : Tensor, shape (..., L, S)
        Minus infinity marks a key that may not be looked at.

    Returns
    -------
    Tensor, shape (..., L, S)
        The squares of half the scores less a threshold, 0 where that is negative; each row
        sums to 1. A key whose score lies 2 or more below the row's largest has exactly the
        weight 0, and a row of nothing but minus infinity the weights 0. Computed in float32
        where the scores have fewer digits.

    Raises
    ------
    ValueError
        If the scores are not floating point.
    TypeError
        If they are not a tensor.

    References
    ----------
    Peters, Niculae and Martins, "Sparse Sequence-to-Sequence Models", 2019,
    arXiv:1905.05702, whose exact algorithm sorts, too; in the heads of a Transformer: Correia
    et al., "Adaptively Sparse Transformers", 2019, arXiv:1909.00015.

    Examples
    --------
    Half the scores less the threshold -0.8 are 0.8, 0.6 and less than 0:

    >>> import torch
    >>> from attn_examples import entmax15
    >>> entmax15(torch.tensor([[0.0, -0.4, -2.0]]))
    tensor([[0.6400, 0.3600, 0.0000]])
    """
    check_float("scores", scores)
    gaps, top, k = _below_the_largest(scores / 2)
    # a key stays if the squares of those above it, measured from it, do not sum to 1
    squares = top.square().cumsum(-1) - 2 * top * top.cumsum(-1) + k * top.square()
    stays = squares < 1.0
    count = stays.sum(-1, keepdim=True, dtype=top.dtype)
    top = top.masked_fill(~stays, 0.0)
    mean = top.sum(-1, keepdim=True) / count
    variance = top.square().sum(-1, keepdim=True) / count - mean.square()
    threshold = mean - (1.0 / count - variance).sqrt()  # (..., L, 1)
    weights = (gaps - threshold).relu().square()
    return weights.masked_fill(scores == float("-inf"), 0.0).to(scores.dtype)


def _below_the_largest(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores less their row's largest, the same in order, and 1 to S.

    What lies more than 1 below has no weight, however far it lies: so -1 stands for it.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    top = scores.sort(-1, descending=True).values
    largest = top[..., :1]
    largest = largest.masked_fill(largest == float("-inf"), 0.0)  # no key: no NaN
    k = torch.arange(1, scores.shape[-1] + 1, dtype=top.dtype, device=top.device)
    return (scores - largest).clamp(min=-1.0), (top - largest).clamp(min=-1.0), k
