"""What wraps a score, and is a score again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attn_examples.checks import (
    check_callable,
    check_float,
    check_number,
    refuse_bias_shape,
    refuse_not_positive,
    refuse_scores,
)

__all__ = ["softcapped", "with_bias"]

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
            "x_transformers.attend.Attend": "test_with_bias_equals_x_transformers",
        },
        "words": ["attention bias", "additive mask", "float mask"],
        "cost": "more: an addition for each score",
        "thumbnail": "torch.arange(8.0).expand(8, 8)",
    },
    {
        "name": "soft cap",
        "call": "softcapped",
        "changes": "any score, bent so that none lies beyond a limit",
        "page": "types/scores/soft-cap",
        "papers": ["gemma2024"],
        "oracles": {
            "transformers.models.gemma2.modeling_gemma2.eager_attention_forward": (
                "test_softcapped_equals_gemma2"
            ),
            "x_transformers.attend.Attend": "test_softcapped_equals_x_transformers",
        },
        "words": ["logit soft-capping", "softcap", "tanh clipping", "Gemma 2"],
        "cost": "more: a tanh for each score",
        "used_in": {"Gemma 2": "gemma2024"},
        "thumbnail": "attention(query, key, value, score=softcapped(scaled_dot, 1.0))[1]",
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
        A score; an `nn.Module`, so that the parameters of `score`, and a bias that is one,
        are found.

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
    return _WithBias(score, bias)


class _WithBias(nn.Module):
    def __init__(self, score: Callable[[Tensor, Tensor], Tensor], bias: Tensor) -> None:
        super().__init__()
        self.score = score
        self.bias = bias

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        scores: Tensor = self.score(query, key)
        refuse_scores(scores, query, key)  # else the bias could repeat them
        refuse_bias_shape(self.bias, scores)
        return scores + self.bias.to(scores.dtype)


def softcapped(
    score: Callable[[Tensor, Tensor], Tensor], cap: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """Wrap a score so that no score lies beyond `cap`: cap * tanh(score / cap).

    Parameters
    ----------
    score : callable
        Any score: takes queries and keys, returns (..., L, S).
    cap : float
        A positive number. Scores much smaller than it stay nearly as they are. Two scores
        may still differ by almost twice the cap: where it is large, weights may still be sharp.

    Returns
    -------
    callable
        A score; an `nn.Module`, so that the parameters of `score` are found. The mask comes
        after it, as it must: minus infinity under a cap is no more than -cap. For the same
        reason a bias that forbids goes around it, `with_bias(softcapped(score, 50.0), bias)`.

    Raises
    ------
    ValueError
        If `cap` is not positive.
    TypeError
        If `cap` is not a number, or `score` cannot be called.

    References
    ----------
    Gemma Team, "Gemma 2", 2024, arXiv:2408.00118, section 2, with 50 for attention. An
    earlier relative is cap * tanh(score), which multiplies small scores by the cap: Bello et
    al., 2016, arXiv:1611.09940.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import dot, softcapped
    >>> query, key = torch.tensor([[1.0]]), torch.tensor([[1.0], [100.0]])
    >>> softcapped(dot, 50.0)(query, key)
    tensor([[ 0.9999, 48.2014]])
    """
    check_callable("score", score)
    check_number("cap", cap)
    refuse_not_positive("cap", cap)
    return _Softcapped(score, cap)


class _Softcapped(nn.Module):
    def __init__(self, score: Callable[[Tensor, Tensor], Tensor], cap: float) -> None:
        super().__init__()
        self.score = score
        self.cap = cap

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return self.cap * torch.tanh(self.score(query, key) / self.cap)
