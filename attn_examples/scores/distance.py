"""Scores of a distance: how near two vectors lie."""

from __future__ import annotations

from torch import Tensor

from attn_examples.checks import check_widths

__all__ = ["l2_distance"]

MECHANISMS = (
    {
        "name": "L2 distance",
        "call": "l2_distance",
        "changes": "minus the squared distance, over the root of the width",
        "page": "types/scores/distance",
        "papers": ["kim2020"],
        "oracles": {
            "torch.cdist": "test_l2_distance_equals_cdist",
            "x_transformers.x_transformers.Attention": "test_l2_distance_equals_x_transformers",
            "by hand": "test_l2_distance_is_the_loop_of_the_paper",
        },
        "words": [
            "Euclidean attention",
            "L2 attention",
            "Lipschitz attention",
            "RBF kernel attention",
        ],
        "cost": "more: a squared length for each query and each key",
        "thumbnail": "attention(query, key, value, score=l2_distance)[1]",
    },
)


def l2_distance(query: Tensor, key: Tensor) -> Tensor:
    """Score by nearness: minus the squared distance, over the root of the width.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
    key : Tensor, shape (..., S, E)

    Returns
    -------
    Tensor, shape (..., L, S)
        `-|q - k|**2 / sqrt(E)`, computed as `(2 q . k - |q|**2 - |k|**2) / sqrt(E)`: no
        difference of each pair is held. Where a query equals a key, rounding may leave a
        number a little off 0, on either side. With several heads E is the width of one.

    Raises
    ------
    ValueError
        If query and key differ in width or do not fit in their leading dimensions, or
        are not floating point.
    TypeError
        If one of the two is not a tensor.

    References
    ----------
    Kim et al., "The Lipschitz Constant of Self-Attention", 2020, arXiv:2006.04710,
    section 3. For a Lipschitz constant the paper also takes queries, keys and values through
    one matrix.

    Examples
    --------
    The key that equals the query scores most, though the other has the larger dot product.
    The widths are 4, so the squared distance 36 is divided by 2:

    >>> import torch
    >>> from attn_examples import l2_distance
    >>> keys = torch.stack([torch.ones(4), 4 * torch.ones(4)])
    >>> l2_distance(torch.ones(1, 4), keys)
    tensor([[  0., -18.]])
    """
    check_widths(query, key)
    # scaled first: float16 overflows at 65504
    root = max(query.shape[-1], 1) ** -0.25
    query, key = query * root, key * root
    lengths = query.square().sum(-1).unsqueeze(-1), key.square().sum(-1).unsqueeze(-2)
    return 2 * query @ key.transpose(-2, -1) - lengths[0] - lengths[1]
