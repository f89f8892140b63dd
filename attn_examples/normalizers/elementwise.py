"""Weights that each follow from one score and the number of keys: no keys compete."""

from __future__ import annotations

import torch
from torch import Tensor

from attn_examples.checks import check_float, check_number

__all__ = ["relu_over_length", "sigmoid"]

MECHANISMS = (
    {
        "name": "sigmoid attention",
        "call": "sigmoid",
        "changes": "a sigmoid of each score alone, lowered by the logarithm of the number of keys",
        "page": "types/normalizers/elementwise",
        "papers": ["ramapuram2024"],
        "oracles": {
            "x_transformers.attend.Attend": "test_sigmoid_equals_x_transformers",
            "by hand": "test_sigmoid_equals_the_loop",
        },
        "words": ["sigmoid self-attention", "FlashSigmoid", "logistic function"],
        "cost": "the same: no parameters; a count instead of a sum for each row",
        "thumbnail": "attention(query, key, value, normalize=sigmoid)[1]",
    },
    {
        "name": "ReLU over length",
        "call": "relu_over_length",
        "changes": "the positive part of each score, divided by the number of keys",
        "page": "types/normalizers/elementwise#relu-over-length",
        "papers": ["wortsman2023"],
        "oracles": {
            "x_transformers.attend.Attend": "test_relu_over_length_equals_x_transformers",
            "by hand": "test_relu_over_length_equals_the_loop",
        },
        "words": ["ReLU attention", "rectified attention", "relu / seqlen"],
        "cost": "the same: no parameters and no exponential; a count instead of a sum for each row",
        "thumbnail": "attention(query, key, value, normalize=relu_over_length)[1]",
    },
)


def sigmoid(scores: Tensor, bias: float | None = None) -> Tensor:
    """Turn each score into a weight from 0 to 1, whatever the others are.

    Parameters
    ----------
    scores : Tensor, shape (..., L, S)
        Minus infinity marks a key that may not be looked at.
    bias : float, optional
        Added to the scores. By default minus the logarithm of the number of keys that the
        query may look at, n: at equal scores of 0 a row then sums to n / (n + 1), nearly 1
        if n is large.
        In the paper it is one number, minus the logarithm of the sequence's length. Without a
        mask this is the same; under one, give it: `partial(sigmoid, bias=-math.log(1024))`.

    Returns
    -------
    Tensor, shape (..., L, S)
        A row's sum is from 0 to S. Minus infinity gets exactly the weight 0.

    Raises
    ------
    ValueError
        If the scores are not floating point.
    TypeError
        If they are not a tensor, or `bias` is not a number.

    References
    ----------
    Ramapuram et al., "Theory, Analysis, and Best Practices for Sigmoid Self-Attention", 2024,
    arXiv:2409.04431.

    Examples
    --------
    Three keys, of which two may be seen. Raise the first: the second keeps its weight.

    >>> import torch
    >>> from attn_examples import sigmoid
    >>> inf = float("inf")
    >>> sigmoid(torch.tensor([[0.0, 0.0, -inf], [5.0, 0.0, -inf]]))
    tensor([[0.3333, 0.3333, 0.0000],
            [0.9867, 0.3333, 0.0000]])
    """
    check_float("scores", scores)
    if bias is None:
        return torch.sigmoid(scores - _count_seen(scores).log().to(scores.dtype))
    check_number("bias", bias)
    return torch.sigmoid(scores + bias)


def relu_over_length(scores: Tensor) -> Tensor:
    """Turn each score into its positive part, divided by the number of keys.

    Parameters
    ----------
    scores : Tensor, shape (..., L, S)
        Minus infinity marks a key that may not be looked at.

    Returns
    -------
    Tensor, shape (..., L, S)
        Not limited to 1. A score of 0 or less gets exactly the weight 0. The number of keys
        is that of those which the query may look at. The paper, on images, divides by the
        sequence's length; without a mask this is the same.

    Raises
    ------
    ValueError
        If the scores are not floating point.
    TypeError
        If they are not a tensor.

    References
    ----------
    Wortsman et al., "Replacing softmax with ReLU in Vision Transformers", 2023,
    arXiv:2309.08586.

    Examples
    --------
    Four keys, then three, since one may not be seen:

    >>> import torch
    >>> from attn_examples import relu_over_length
    >>> inf = float("inf")
    >>> relu_over_length(torch.tensor([[6.0, 3.0, 0.0, -2.0]]))
    tensor([[1.5000, 0.7500, 0.0000, 0.0000]])
    >>> relu_over_length(torch.tensor([[6.0, 3.0, 0.0, -inf]]))
    tensor([[2., 1., 0., 0.]])
    """
    check_float("scores", scores)
    return (torch.relu(scores) / _count_seen(scores)).to(scores.dtype)


def _count_seen(scores: Tensor) -> Tensor:
    """Return how many keys each query may look at, (..., L, 1), and at least 1."""
    count = (scores > float("-inf")).sum(-1, keepdim=True).clamp(min=1)
    # float16 ends at 65504
    return count.to(torch.promote_types(scores.dtype, torch.float32))
