"""What wraps a score, and is a score again."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from attn_examples.checks import check_bias, check_callable, check_float, refuse_scores

__all__ = ["with_bias"]

MECHANISMS = (
    {
        "name": "bias",
        "call": "with_bias",
        "changes": "any score, plus a number for each pair",
        "page": "concepts/four-steps#bias",
        "without_paper": "to add a number is nobody's invention",
        "oracles": {
            "torch.nn.functional.scaled_dot_product_attention": (
                "test_with_bias_equals_torch_with_a_float_mask"
            ),
        },
        "words": ["attention bias", "additive mask", "float mask"],
    },
)


def with_bias(
    score: Callable[[Tensor, Tensor], Tensor], bias: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Wrap a score so that `bias` is added to what it returns.

    Parameters
    ----------
    score : callable
        Any score: takes queries and keys, returns (..., L, S).
    bias : Tensor, broadcastable to (..., L, S)
        Floating point. Minus infinity forbids a key.

    Returns
    -------
    callable
        A score.

    Raises
    ------
    ValueError
        If the bias is not floating point; when called, if it does not broadcast to
        the scores, has another dtype or is on another device. (Under autocast the
        bias takes the dtype of the scores.)
    TypeError
        If the bias is not a tensor, or the score cannot be called.

    Examples
    --------
    Prefer near keys, as ALiBi does (Press et al., 2021, arXiv:2108.12409):

    >>> import torch
    >>> from attn_examples import dot, with_bias
    >>> distance = torch.tensor([[0.0, -1.0, -2.0]])
    >>> with_bias(dot, distance)(torch.ones(1, 2), torch.ones(3, 2))
    tensor([[2., 1., 0.]])
    """
    check_callable("score", score)
    check_float("bias", bias)

    def biased(query: Tensor, key: Tensor) -> Tensor:
        scores = score(query, key)
        refuse_scores(scores, query, key)  # else the bias could repeat them
        check_bias(bias, scores)
        return scores + bias.to(scores.dtype)

    return biased
