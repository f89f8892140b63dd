"""Positions that describe a place by a vector, to be added to what stands there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attn_examples.checks import (
    check_count,
    check_number,
    check_whole,
    refuse_below,
    refuse_not_positive,
)

__all__ = ["LearnedPositions", "sinusoidal"]

MECHANISMS = (
    {
        "name": "sinusoidal positions",
        "call": "sinusoidal",
        "changes": "sines and cosines",
        "page": "formulas/positional-encoding",
        "papers": ["vaswani2017"],
        "oracles": {
            "by hand": "test_sinusoidal_equals_transformers_and_the_loop",
            "transformers.models.xlm.modeling_xlm.create_sinusoidal_embeddings": (
                "test_sinusoidal_equals_transformers_and_the_loop"
            ),
        },
        "words": ["positional encoding", "position encoding", "absolute positions"],
        "cost": "more: a vector added to each token",
        "used_in": {"Transformer": "vaswani2017"},
        "thumbnail": "sinusoidal(8, 8)",
    },
    {
        "name": "learned positions",
        "call": "LearnedPositions",
        "changes": "one learned vector for each position",
        "page": "formulas/positional-encoding#learned-position-vectors",
        "papers": ["gehring2017"],
        "oracles": {
            "torch.nn.functional.embedding": "test_learned_positions_equal_torch",
            "x_transformers.x_transformers.AbsolutePositionalEmbedding": (
                "test_learned_positions_equal_x_transformers"
            ),
        },
        "words": ["position embeddings", "positional embeddings"],
        "cost": "more: max_len · D parameters, and a vector added to each token",
        "used_in": {"BERT": "devlin2018"},
        "thumbnail": "LearnedPositions(8, 8)(8)",
    },
)


def sinusoidal(
    length: int,
    embed_dim: int,
    *,
    start: int = 0,
    base: float = 10000.0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Describe each position by sines and cosines of many wavelengths.

    Parameters
    ----------
    length : int
        Number of positions.
    embed_dim : int
        Width of a description; an even number.
    start : int, default 0
        The position of the first row; it may be negative, as distances are.
    base : float, default 10000
        The wavelengths grow from 2 pi towards 2 pi * base positions.
    dtype : torch.dtype, optional
        By default torch's default dtype.
    device : torch.device or str, optional
        Where to make the table.

    Returns
    -------
    Tensor, shape (length, embed_dim)
        The row of position t, the first of which is `start`, holds at 2i
        sin(t / base**(2i / embed_dim)), and at 2i + 1 the cosine of the same. Add it to
        the embeddings.

    Raises
    ------
    ValueError
        If `embed_dim` is odd, `length` negative, `base` not positive or `dtype` not
        floating point.
    TypeError
        If a size is not a whole number, `base` not a number or `dtype` no dtype.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, section 3.5.

    Examples
    --------
    Position 0 is sin 0, cos 0, sin 0, cos 0; position 1 begins with sin 1, cos 1:

    >>> from attn_examples import sinusoidal
    >>> sinusoidal(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    check_count("length", length, least=0)
    check_count("embed_dim", embed_dim)
    if embed_dim % 2:
        raise ValueError(
            f"embed_dim ({embed_dim}) must be even: sines and cosines come in pairs"
        )
    check_whole("start", start)
    check_number("base", base)
    refuse_not_positive("base", base)
    dtype = torch.get_default_dtype() if dtype is None else dtype
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype ({dtype!r}) must be a torch.dtype")
    if not dtype.is_floating_point:
        raise ValueError(f"dtype ({dtype}) must be floating point")
    # in float64: a float32 angle of 1e5 radians is off by about 4e-3
    positions = torch.arange(start, start + length, dtype=torch.float64, device=device)
    exponents = (
        torch.arange(0, embed_dim, 2, dtype=torch.float64, device=device) / embed_dim
    )
    angles = positions.unsqueeze(-1) / base**exponents  # (length, embed_dim / 2)
    table = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)
    return table.to(dtype)


class LearnedPositions(nn.Module):
    """Describe each position by a vector that is learned.

    Parameters
    ----------
    max_len : int
        Number of positions that get a vector.
    embed_dim : int
        Width of a vector.

    Raises
    ------
    ValueError
        If a size is less than 1; when called, if more positions are asked for than
        there are.
    TypeError
        If a size is not a whole number.

    References
    ----------
    Gehring et al., "Convolutional Sequence to Sequence Learning", 2017,
    arXiv:1705.03122; in Transformers, Devlin et al., "BERT", 2018, arXiv:1810.04805.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import LearnedPositions
    >>> positions = LearnedPositions(max_len=8, embed_dim=4)
    >>> x = torch.randn(2, 5, 4)
    >>> (x + positions(5)).shape
    torch.Size([2, 5, 4])
    >>> positions(9)
    Traceback (most recent call last):
    ...
    ValueError: length (9) must be at most max_len (8): no vector was learned beyond it
    """

    def __init__(self, max_len: int, embed_dim: int) -> None:
        super().__init__()
        check_count("max_len", max_len)
        check_count("embed_dim", embed_dim)
        # BERT's and GPT-2's spread; nn.Embedding's own, 1, would drown the tokens
        self.weight = nn.Parameter(torch.randn(max_len, embed_dim) * 0.02)

    def forward(self, length: int) -> Tensor:
        """Return the vectors of the first `length` positions, (length, embed_dim)."""
        check_whole("length", length)
        refuse_below("length", length, 0)
        if length > len(self.weight):
            raise ValueError(
                f"length ({length}) must be at most max_len ({len(self.weight)}): no "
                "vector was learned beyond it"
            )
        return self.weight[:length]
