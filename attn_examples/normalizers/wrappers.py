"""What wraps a normalizer, and is a normalizer again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from attn_examples.checks import (
    check_callable,
    check_device,
    check_float,
    check_probability,
    shape_of,
)

__all__ = ["dropped", "with_sink"]

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
    {
        "name": "learned sink",
        "call": "with_sink",
        "changes": "any normalizer, with one more score in each row, learned, that has no value",
        "page": "types/normalizers/sinks",
        "papers": ["openai2025", "xiao2023"],
        "oracles": {
            "transformers.models.gpt_oss.modeling_gpt_oss.eager_attention_forward": (
                "test_with_sink_equals_gpt_oss"
            ),
            "x_transformers.attend.Attend": "test_with_sink_equals_x_transformers",
        },
        "words": ["attention sink", "sink logit", "learned bias in the denominator"],
        "cost": "more: one parameter for each head; one more key for each query",
        "used_in": {"gpt-oss": "openai2025"},
        "thumbnail": "with_sink(softmax, torch.tensor(1.0))(scaled_dot(query, key))",
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
        1 - dropout_p, so a row keeps its sum on average, not each time.

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


def with_sink(
    normalize: Callable[[Tensor], Tensor], sink: Tensor
) -> Callable[[Tensor], Tensor]:
    """Wrap a normalizer so that a part of each row can go to no key.

    Parameters
    ----------
    normalize : callable
        Any normalizer. `sigmoid` and `relu_over_length` count the sink as one more key.
    sink : Tensor, shape (H,) or ()
        The score of the sink in each head, or in all: one more score at the end of each
        row, whose weight is thrown away. To learn it, make it an `nn.Parameter`.

    Returns
    -------
    callable
        A normalizer; an `nn.Module`, so that `sink` and the parameters of `normalize` are
        found. With `sink` 0 and softmax it is `softmax_one`.

    Raises
    ------
    ValueError
        If `sink` is not floating point; when called, if it has not one number for each head,
        or is on another device than the scores. (It takes their dtype.)
    TypeError
        If `sink` is not a tensor, or `normalize` cannot be called.

    References
    ----------
    OpenAI, "gpt-oss-120b & gpt-oss-20b Model Card", 2025, arXiv:2508.10925, where it is
    learned; that heads need a place for their weight: Xiao et al., "Efficient Streaming
    Language Models with Attention Sinks", 2023, arXiv:2309.17453.

    Examples
    --------
    Two heads. At equal scores of 0 the sink of the first counts as one key, that of the
    second as two:

    >>> import torch
    >>> from attn_examples import softmax, with_sink
    >>> sink = torch.nn.Parameter(torch.tensor([1.0, 2.0]).log())
    >>> with_sink(softmax, sink)(torch.zeros(2, 1, 2)).detach()
    tensor([[[0.3333, 0.3333]],
    <BLANKLINE>
            [[0.2500, 0.2500]]])
    """
    check_callable("normalize", normalize)
    check_float("sink", sink)
    return _WithSink(normalize, sink)


class _WithSink(nn.Module):
    sink: Tensor

    def __init__(self, normalize: Callable[[Tensor], Tensor], sink: Tensor) -> None:
        super().__init__()
        self.normalize = normalize
        if isinstance(sink, nn.Parameter):
            self.sink = sink
        else:
            self.register_buffer("sink", sink)

    def forward(self, scores: Tensor) -> Tensor:
        check_float("scores", scores)
        if self.sink.dim() and self.sink.shape != scores.shape[-3:-2]:
            raise ValueError(
                f"sink has shape {shape_of(self.sink)} but the scores have "
                f"{shape_of(scores)}: give one number for each head, or one for all"
            )
        check_device("sink", self.sink, scores.device)
        sink = self.sink[..., None, None].to(scores.dtype)  # (H, 1, 1)
        column = sink.expand(*scores.shape[:-1], 1)  # (..., L, 1)
        return self.normalize(torch.cat([scores, column], -1))[..., :-1]
