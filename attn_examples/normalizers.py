"""Step 3, normalize: turn the scores of one query into weights.

A normalizer takes scores (..., L, S) and returns weights of the same shape. It keeps
one promise: a score of minus infinity gets exactly the weight 0, also where a whole
row is minus infinity.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from attn_examples.checks import check_float, check_probability

__all__ = ["dropped", "softmax"]


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


def dropped(normalize: Callable[[Tensor], Tensor], dropout_p: float) -> Callable[[Tensor], Tensor]:
    """Wrap a normalizer so that weights are dropped at random.

    Parameters
    ----------
    normalize : callable
        Any normalizer.
    dropout_p : float
        Probability of setting a weight to 0. Those that stay are divided by
        1 - dropout_p, so a row sums to 1 on average, not each time.

    Returns
    -------
    callable
        A normalizer. With `dropout_p` 0 it is `normalize` itself.

    Raises
    ------
    ValueError
        If `dropout_p` is not a probability.
    TypeError
        If it is not a number.

    References
    ----------
    Srivastava et al., "Dropout", JMLR 15, 2014; on attention weights in Vaswani et
    al.'s own implementation of arXiv:1706.03762.

    Examples
    --------
    Each of four equal weights, 0.25, is either dropped or doubled:

    >>> import torch
    >>> from attn_examples import dropped, softmax
    >>> weights = dropped(softmax, 0.5)(torch.zeros(100, 4))
    >>> weights.unique()
    tensor([0.0000, 0.5000])
    """
    check_probability("dropout_p", dropout_p)
    if dropout_p == 0.0:
        return normalize
    return lambda scores: F.dropout(normalize(scores), dropout_p)
