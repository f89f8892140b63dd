"""What wraps a normalizer, and is a normalizer again."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from attn_examples.checks import check_callable, check_probability

__all__ = ["dropped"]

MECHANISMS = (
    {
        "name": "dropout",
        "call": "dropped",
        "changes": "any normalizer, then some weights dropped at random",
        "page": "concepts/four-steps#attention-dropout",
        "papers": ["srivastava2014"],
        "oracles": {
            "torch.nn.functional.dropout": "test_dropped_equals_torch",
            "by hand": "test_dropped_is_each_weight_dropped_or_divided",
        },
        "words": ["attention dropout", "dropout_p"],
        "cost": "more: a random number for each weight, in training",
        "thumbnail": "dropped(softmax, 0.3)(scaled_dot(query, key))",
    },
)


def dropped(
    normalize: Callable[[Tensor], Tensor], dropout_p: float
) -> Callable[[Tensor], Tensor]:
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
        If it is not a number, or `normalize` cannot be called.

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
    >>> sorted(set(weights.flatten().tolist()))
    [0.0, 0.5]
    """
    check_callable("normalize", normalize)
    check_probability("dropout_p", dropout_p)
    if dropout_p == 0.0:
        return normalize
    return lambda scores: F.dropout(normalize(scores), dropout_p)
