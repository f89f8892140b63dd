"""Linear attention: the same sum, associated the other way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from attn_examples.checks import (
    check_callable,
    check_count,
    check_float,
    check_value,
    check_widths,
    refuse_state,
)

__all__ = ["elu_plus_one", "linear_attention"]

MECHANISMS = (
    {
        "name": "linear attention",
        "call": "linear_attention",
        "changes": "keys and values are added up before a query asks: a state, and no pairs",
        "page": "types/mixes/linear",
        "papers": ["katharopoulos2020"],
        "oracles": {
            "by hand": "test_linear_attention_equals_equations_16_to_20",
            "torch.nn.functional.scaled_dot_product_attention": (
                "test_linear_attention_equals_torch_with_the_logarithm_as_mask"
            ),
        },
        "words": [
            "linear transformer",
            "kernel attention",
            "recurrent attention",
            "RNN",
            "fast autoregressive transformer",
            "chunkwise",
        ],
        "cost": "less: L · F · Ev, for L above F, no square of the length; a state of fixed size",
        "thumbnail": (
            "attention(elu_plus_one(query), elu_plus_one(key), value, score=dot, "
            "normalize=lambda s: s / s.sum(-1, keepdim=True))[1]"
        ),
    },
    {
        "name": "elu + 1",
        "call": "elu_plus_one",
        "changes": "the feature map: makes all numbers of queries and keys positive",
        "page": "types/mixes/linear#feature-map",
        "papers": ["katharopoulos2020"],
        "oracles": {
            "torch.nn.functional.elu": "test_elu_plus_one_equals_torch",
            "by hand": "test_elu_plus_one_by_hand",
        },
        "words": ["feature map", "kernel feature", "phi"],
        "cost": "more: an exponential for each number of a query or key",
        "thumbnail": "elu_plus_one(torch.linspace(-3, 3, 12).unsqueeze(0))",
    },
)


def elu_plus_one(x: Tensor) -> Tensor:
    """Make every number positive: x + 1 above zero, e**x below.

    Parameters
    ----------
    x : Tensor, any shape

    Returns
    -------
    Tensor, shape of x
        elu(x) + 1, computed so that a small result keeps its digits.

    Raises
    ------
    ValueError
        If `x` is not floating point.
    TypeError
        If `x` is not a tensor.

    References
    ----------
    Katharopoulos et al., "Transformers are RNNs: Fast Autoregressive Transformers with
    Linear Attention", 2020, arXiv:2006.16236, equation 7.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import elu_plus_one
    >>> elu_plus_one(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([0.3679, 1.0000, 3.0000])
    """
    check_float("x", x)
    return x.clamp(max=0.0).exp() + x.relu()


def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    feature_map: Callable[[Tensor], Tensor] = elu_plus_one,
    is_causal: bool = False,
    chunk_size: int | None = None,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weigh by a product of features, added up before a query asks.

    The weight of key j for query i is phi(q_i) . phi(k_j), divided by the sum of the row.

    Parameters
    ----------
    query : Tensor, shape (..., L, E)
    key : Tensor, shape (..., S, E)
    value : Tensor, shape (..., S, Ev)
    feature_map : callable, default `elu_plus_one`
        phi, applied to queries and keys alike: (..., length, E) to (..., length, F). What
        it returns must not be negative.
    is_causal : bool, default False
        Query i sees the keys up to i. Each query comes with its key: L and S are equal.
    chunk_size : int, optional
        How many causal queries are answered at once. By default all: the parallel form,
        with a map of all pairs. With 1 it is the recurrent form, one pair at a time; in
        between, maps of `chunk_size` by `chunk_size`. The results differ by rounding alone.
    state : Tensor, shape (..., F, Ev + 1), optional
        What an earlier call returned: its keys are seen as well.

    Returns
    -------
    output : Tensor, shape (..., L, Ev)
        0 where the weights of a query sum to 0, as without keys.
    state : Tensor, shape (..., F, Ev + 1)
        The sum of phi(k) v over all keys so far. The last column is the sum of phi(k).

    Raises
    ------
    ValueError
        If shapes, dtypes or devices do not fit together, `chunk_size` is less than 1, or
        with `is_causal` L and S differ.
    TypeError
        If an argument is not a tensor, or `feature_map` cannot be called.

    References
    ----------
    Katharopoulos et al., "Transformers are RNNs: Fast Autoregressive Transformers with
    Linear Attention", 2020, arXiv:2006.16236, equations 4 to 7 and 16 to 20.

    Examples
    --------
    Two tokens at once, or one after the other:

    >>> import torch
    >>> from attn_examples import linear_attention
    >>> q, k, v = torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([[1.0], [3.0]])
    >>> linear_attention(q, k, v, is_causal=True)[0].flatten()
    tensor([1., 2.])
    >>> first, state = linear_attention(q[:1], k[:1], v[:1])
    >>> linear_attention(q[1:], k[1:], v[1:], state=state)
    (tensor([[2.]]), tensor([[4., 2.]]))
    """
    check_callable("feature_map", feature_map)
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)
    check_widths(query, key)
    check_value(query, key, value)
    query, key = feature_map(query), feature_map(key)  # (..., L, F), (..., S, F)
    # what a value of 1 sums to is what the others are divided by
    value = torch.cat([value, value.new_ones(*value.shape[:-1], 1)], dim=-1)
    if state is None:
        state = key[..., :0, :].mT @ value[..., :0, :]  # a sum of nothing: (F, Ev + 1)
    refuse_state(state, key, value)
    if not is_causal:
        state = state + key.mT @ value
        mixed = query @ state
    elif query.shape[-2] != key.shape[-2]:
        raise ValueError(
            f"key has {key.shape[-2]} positions but query has {query.shape[-2]}: with "
            "is_causal each query comes with its key, and earlier keys are in the state"
        )
    elif chunk_size is None:
        mixed, state = _chunk(query, key, value, state)
    else:
        parts = []
        for start in range(0, max(query.shape[-2], 1), chunk_size):
            chunk = slice(start, start + chunk_size)
            q, k, v = query[..., chunk, :], key[..., chunk, :], value[..., chunk, :]
            part, state = _chunk(q, k, v, state)
            parts.append(part)
        mixed = torch.cat(parts, dim=-2)
    total = mixed[..., -1:]
    return mixed[..., :-1] / total.masked_fill(total == 0, 1.0), state


def _chunk(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return what tokens mix of their own and of earlier keys, and the state."""
    return (q @ k.mT).tril() @ v + q @ state, state + k.mT @ v
