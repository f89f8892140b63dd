"""Weights of exponentials."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from attn_examples.checks import check_float

__all__ = ["softmax", "softmax_one"]

MECHANISMS = (
    {
        "name": "softmax",
        "call": "softmax",
        "changes": "exponentials, divided by their sum (the default)",
        "page": "formulas/softmax-and-scale",
        "papers": ["bridle1989"],
        "oracles": {
            "by hand": "test_softmax_equals_the_loop",
            "torch.nn.functional.softmax": (
                "test_softmax_works_along_the_last_dimension_of_any_tensor"
            ),
        },
        "words": ["normalized exponential", "Boltzmann distribution"],
        "cost": "the same",
        "used_in": {"Transformer": "vaswani2017"},
        "thumbnail": "softmax(4 * scaled_dot(query, key))",
    },
    {
        "name": "softmax with one added",
        "call": "softmax_one",
        "changes": "one more in the sum of the exponentials: a row may give less than 1",
        "page": "types/normalizers/sinks#softmax-one",
        "papers": ["miller2023"],
        "oracles": {
            "torch.nn.MultiheadAttention": "test_softmax_one_equals_torch",
            "x_transformers.attend.Attend": "test_softmax_one_equals_x_transformers",
            "by hand": "test_softmax_one_equals_the_loop",
        },
        "words": [
            "softmax1",
            "softmax plus one",
            "attention is off by one",
            "quiet attention",
            "add_zero_attn",
        ],
        "cost": "more: no parameters; one more key for each query",
        "thumbnail": "softmax_one(scaled_dot(query, key) - 2)",
    },
)


def softmax(scores: Tensor) -> Tensor:
    """Turn each row of scores into weights from 0 to 1 that sum to 1.

    Parameters
    ----------
    scores : Tensor, shape (..., L, S)
        Minus infinity marks a key that may not be looked at.

    Returns
    -------
    Tensor, shape (..., L, S)
        A row of nothing but minus infinity gets the weights 0 (a plain softmax gives
        NaN there), and its gradients are 0.

    Raises
    ------
    ValueError
        If the scores are not floating point.
    TypeError
        If they are not a tensor.

    References
    ----------
    Bridle, "Training Stochastic Model Recognition Algorithms as Networks can Lead to
    Maximum Mutual Information Estimation of Parameters", 1989, which names it.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import softmax
    >>> inf = float("inf")
    >>> softmax(torch.tensor([[0.0, 0.0, -inf], [-inf, -inf, -inf]]))
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.0000, 0.0000]])
    """
    check_float("scores", scores)
    nothing = (scores == float("-inf")).all(-1, keepdim=True)  # (..., L, 1)
    # 0 in place of a hopeless row keeps softmax, and its gradient, free of NaN
    return scores.masked_fill(nothing, 0.0).softmax(-1).masked_fill(nothing, 0.0)


def softmax_one(scores: Tensor) -> Tensor:
    """Turn scores into weights with one more in the sum of the exponentials.

    Parameters
    ----------
    scores : Tensor, shape (..., L, S)
        Minus infinity marks a key that may not be looked at.

    Returns
    -------
    Tensor, shape (..., L, S)
        Weights whose sum is less than 1, up to rounding: 0 in the limit where all
        scores of a row go to minus infinity. It is the softmax of the scores and one more,
        0, whose weight is thrown away, and so stable for all scores.

    Raises
    ------
    ValueError
        If the scores are not floating point.
    TypeError
        If they are not a tensor.

    References
    ----------
    Miller, "Attention Is Off By One", 2023, an essay.

    Examples
    --------
    Two keys of score 0, then two of score log 2, in whose row the one weighs less:

    >>> import torch
    >>> from attn_examples import softmax_one
    >>> softmax_one(torch.tensor([[1.0, 1.0], [2.0, 2.0]]).log())
    tensor([[0.3333, 0.3333],
            [0.4000, 0.4000]])
    """
    check_float("scores", scores)
    return F.pad(scores, (0, 1)).softmax(-1)[..., :-1]  # exp(0) is the one
