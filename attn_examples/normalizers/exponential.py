"""Weights of exponentials."""

from __future__ import annotations

from torch import Tensor

from attn_examples.checks import check_float

__all__ = ["softmax"]

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
