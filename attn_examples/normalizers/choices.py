"""From weights that spread to weights that choose: sharper, one key, one key by lot."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_examples.checks import (
    check_callable,
    check_float,
    check_number,
    refuse_not_positive,
)

__all__ = ["hardmax", "straight_through", "with_gumbel", "with_temperature"]

MECHANISMS = (
    {
        "name": "temperature",
        "call": "with_temperature",
        "changes": "any normalizer, of scores divided by a number: softmax is sharper below 1",
        "page": "types/normalizers/choices",
        "papers": ["hinton2015"],
        "oracles": {
            "torch.nn.functional.scaled_dot_product_attention": (
                "test_with_temperature_equals_torch"
            ),
            "by hand": "test_with_temperature_equals_the_loop",
        },
        "words": ["softmax temperature", "tau", "sharpness"],
        "cost": "more: no parameters; one division for each score",
        "thumbnail": "with_temperature(softmax, 0.25)(scaled_dot(query, key))",
    },
    {
        "name": "hard attention",
        "call": "hardmax",
        "changes": "the whole weight for the largest score",
        "page": "types/normalizers/choices#hard-attention",
        "papers": ["xu2015"],
        "oracles": {
            "x_transformers.attend.one_hot_straight_through": "test_hardmax_equals_x_transformers",
            "by hand": "test_hardmax_equals_the_loop",
        },
        "words": ["argmax attention", "one-hot", "hardmax", "winner takes all"],
        "cost": "the same: no parameters and no exponential; no gradient for queries and keys",
        "thumbnail": "attention(query, key, value, normalize=hardmax)[1]",
    },
    {
        "name": "Gumbel softmax",
        "call": "with_gumbel",
        "changes": "any normalizer, of scores with random numbers added: a key by lot",
        "page": "types/normalizers/choices#gumbel-softmax",
        "papers": ["jang2016", "maddison2016"],
        "oracles": {
            "torch.nn.functional.gumbel_softmax": "test_gumbel_softmax_equals_torch",
            "x_transformers.attend.Attend": "test_gumbel_softmax_equals_x_transformers",
        },
        "words": [
            "gumbel_softmax",
            "Concrete distribution",
            "Gumbel-max trick",
            "sampling",
        ],
        "cost": "more: no parameters; a random number for each score",
        "thumbnail": "with_gumbel(hardmax)(scaled_dot(query, key))",
    },
    {
        "name": "straight-through",
        "call": "straight_through",
        "changes": "the weights of one normalizer, the gradient of another",
        "page": "types/normalizers/choices#straight-through",
        "papers": ["bengio2013"],
        "oracles": {
            "x_transformers.attend.one_hot_straight_through": (
                "test_straight_through_equals_x_transformers"
            ),
            "torch.nn.functional.gumbel_softmax": "test_gumbel_softmax_equals_torch",
        },
        "words": ["straight-through estimator", "STE", "biased gradient"],
        "cost": "more: no parameters; both normalizers",
        "thumbnail": "straight_through(hardmax, softmax)(scaled_dot(query, key))",
    },
)


def with_temperature(
    normalize: Callable[[Tensor], Tensor], temperature: float
) -> Callable[[Tensor], Tensor]:
    """Wrap a normalizer so that it takes each score divided by `temperature`.

    Parameters
    ----------
    normalize : callable
        Any normalizer.
    temperature : float
        A positive number. Below 1 the gaps between the scores grow, and with softmax the
        weights go towards `hardmax`; above 1 they shrink, and the weights go towards equal
        shares.

    Returns
    -------
    callable
        A normalizer; an `nn.Module`, so that the parameters of `normalize` are found, and
        `temperature` can be lowered in training.

    Raises
    ------
    ValueError
        If `temperature` is not positive.
    TypeError
        If it is not a number, or `normalize` cannot be called.

    References
    ----------
    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015,
    arXiv:1503.02531, section 2.

    Examples
    --------
    The temperature 1/2 squares the exponentials, 1 and 3:

    >>> import torch
    >>> from attn_examples import softmax, with_temperature
    >>> with_temperature(softmax, 0.5)(torch.tensor([[1.0, 3.0]]).log())
    tensor([[0.1000, 0.9000]])
    """
    check_callable("normalize", normalize)
    check_number("temperature", temperature)
    refuse_not_positive("temperature", temperature)
    return _WithTemperature(normalize, temperature)


class _WithTemperature(nn.Module):
    def __init__(
        self, normalize: Callable[[Tensor], Tensor], temperature: float
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.temperature = temperature

    def forward(self, scores: Tensor) -> Tensor:
        check_float("scores", scores)
        return self.normalize(scores / self.temperature)


def hardmax(scores: Tensor) -> Tensor:
    """Give the largest score of each row the weight 1, and all others 0.

    Parameters
    ----------
    scores : Tensor, shape (..., L, S)
        Minus infinity marks a key that may not be looked at.

    Returns
    -------
    Tensor, shape (..., L, S)
        Equal largest scores share the 1: this is the limit of softmax for a temperature that
        goes to 0. A row of nothing but minus infinity gets the weights 0. The gradient is 0
        everywhere; see `straight_through`.

    Raises
    ------
    ValueError
        If the scores are not floating point.
    TypeError
        If they are not a tensor.

    References
    ----------
    Xu et al., "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention",
    2015, arXiv:1502.03044, section 4.1, whose hard attention draws the one key at random, as
    `with_gumbel(hardmax)` does.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import hardmax
    >>> hardmax(torch.tensor([[1.0, 3.0, 2.0], [3.0, 3.0, 2.0]]))
    tensor([[0.0000, 1.0000, 0.0000],
            [0.5000, 0.5000, 0.0000]])
    """
    check_float("scores", scores)
    # padded, so that a row without keys has a largest score too
    largest = F.pad(scores, (0, 1), value=float("-inf")).amax(-1, keepdim=True)
    largest = largest.masked_fill(largest == float("-inf"), 0.0)
    # sign, unlike ==, has a gradient: 0
    chosen = (scores - largest).sign() + 1.0
    return chosen / chosen.sum(-1, keepdim=True).clamp(min=1.0)


def with_gumbel(normalize: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Wrap a normalizer so that random numbers are added to the scores first.

    Parameters
    ----------
    normalize : callable
        Any normalizer. With `hardmax` one key gets the whole weight, and each key as often as
        its softmax weight says. With `with_temperature(softmax, ...)` this is the Gumbel
        softmax.

    Returns
    -------
    callable
        A normalizer that draws anew at each call, in training or not. The numbers are
        -log(-log(u)), for u uniform from 0 to 1.

    Raises
    ------
    TypeError
        If `normalize` cannot be called.

    References
    ----------
    Jang, Gu and Poole, "Categorical Reparameterization with Gumbel-Softmax", 2016,
    arXiv:1611.01144; Maddison, Mnih and Teh, "The Concrete Distribution: A Continuous
    Relaxation of Discrete Random Variables", 2016, arXiv:1611.00712.

    Examples
    --------
    The softmax weights are 1/4 and 3/4. Drawn 10,000 times:

    >>> import torch
    >>> from attn_examples import hardmax, with_gumbel
    >>> scores = torch.tensor([1.0, 3.0]).log().expand(10_000, 2)
    >>> shares = with_gumbel(hardmax)(scores).mean(0)
    >>> bool((shares - torch.tensor([0.25, 0.75])).abs().max() < 0.03)
    True
    """
    check_callable("normalize", normalize)
    return _WithGumbel(normalize)


class _WithGumbel(nn.Module):
    def __init__(self, normalize: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.normalize = normalize

    def forward(self, scores: Tensor) -> Tensor:
        check_float("scores", scores)
        # -log(u) is exponential
        noise = -torch.empty_like(scores).exponential_().log()
        return self.normalize(scores + noise)


def straight_through(
    hard: Callable[[Tensor], Tensor], soft: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Take the weights of one normalizer and the gradient of another.

    Parameters
    ----------
    hard : callable
        A normalizer that gives the weights, such as `hardmax`.
    soft : callable
        A normalizer whose gradient is taken in its place, such as `softmax`. It is not the
        gradient of what is computed: training with it is a heuristic.

    Returns
    -------
    callable
        A normalizer.

    Raises
    ------
    TypeError
        If one of the two cannot be called.

    References
    ----------
    Bengio, Léonard and Courville, "Estimating or Propagating Gradients Through Stochastic
    Neurons for Conditional Computation", 2013, arXiv:1308.3432, who name it; with the Gumbel
    softmax: Jang, Gu and Poole, 2016, arXiv:1611.01144, section 2.2.

    Examples
    --------
    One key, and the gradient of its softmax weight, 3/4 times 1/4:

    >>> import torch
    >>> from attn_examples import hardmax, softmax, straight_through
    >>> scores = torch.tensor([[1.0, 3.0]]).log().requires_grad_()
    >>> weights = straight_through(hardmax, softmax)(scores)
    >>> weights.tolist(), torch.autograd.grad(weights[0, 1], scores)[0]
    ([[0.0, 1.0]], tensor([[-0.1875,  0.1875]]))
    """
    check_callable("hard", hard)
    check_callable("soft", soft)
    return _StraightThrough(hard, soft)


class _StraightThrough(nn.Module):
    def __init__(
        self, hard: Callable[[Tensor], Tensor], soft: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.hard = hard
        self.soft = soft

    def forward(self, scores: Tensor) -> Tensor:
        soft = self.soft(scores)
        # in this order: soft - soft is exactly 0
        return soft - soft.detach() + self.hard(scores).detach()
