"""Positions that turn queries and keys: their dot product sees the distance alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from attn_examples.checks import (
    check_count,
    check_float,
    check_number,
    check_sequence,
    refuse_not_positive,
    refuse_places,
    refuse_turns,
    shape_of,
)

__all__ = ["Rotary", "axial_frequencies", "rotary_frequencies", "rotated"]

MECHANISMS = (
    {
        "name": "RoPE",
        "call": "Rotary",
        "changes": "queries and keys are turned by their positions",
        "page": "types/positions/rotary",
        "papers": ["su2021"],
        "oracles": {
            "transformers.models.llama.modeling_llama.LlamaAttention": (
                "test_rotary_equals_a_layer_of_llama"
            ),
            "rotary_embedding_torch.RotaryEmbedding": (
                "test_rotary_equals_rotary_embedding_torch"
            ),
            "x_transformers.x_transformers.RotaryEmbedding": (
                "test_rotary_equals_x_transformers"
            ),
        },
        "words": ["rotary position embedding", "rotary embeddings", "RoFormer"],
        "cost": "more: no parameters; queries and keys are turned once, whatever the length",
        "used_in": {
            "PaLM": "chowdhery2022",
            "LLaMA": "touvron2023",
            "Gemma": "mesnard2024",
            "Llama 3": "grattafiori2024",
        },
        "thumbnail": (
            "(lambda q: q @ q.T - (q @ q.T).min())"
            "(rotated(query[:1].expand(12, -1), rotary_frequencies(32)))"
        ),
    },
    {
        "name": "layouts of RoPE",
        "call": "rotated",
        "changes": "which two numbers are turned as a pair",
        "page": "types/positions/rotary#rotary-layouts",
        "papers": ["su2021"],
        "oracles": {
            "by hand": "test_rotary_equals_the_matrix_of_the_paper",
            "transformers.models.llama.modeling_llama.apply_rotary_pos_emb": (
                "test_rotary_equals_transformers"
            ),
            "rotary_embedding_torch.RotaryEmbedding": (
                "test_rotary_equals_rotary_embedding_torch"
            ),
        },
        "words": [
            "rotate_half",
            "apply_rotary_pos_emb",
            "interleaved",
            "half-split",
            "partial rotary",
        ],
        "cost": "more: no parameters; six operations for each pair of numbers",
        "thumbnail": (
            "rotated(torch.eye(8)[:, None].expand(8, 2, 8), rotary_frequencies(8))"
            "[:, 1].T.abs()"
        ),
    },
    {
        "name": "frequencies of RoPE",
        "call": "rotary_frequencies",
        "changes": "how fast each pair turns",
        "page": "types/positions/rotary#rotary-frequencies",
        "papers": ["su2021"],
        "oracles": {
            "by hand": "test_rotary_equals_the_matrix_of_the_paper",
            "transformers.models.llama.modeling_llama.LlamaRotaryEmbedding": (
                "test_frequencies_equal_transformers"
            ),
        },
        "words": ["inv_freq", "rope_theta", "RoPE base"],
        "cost": "the same: half as many numbers as a head is wide",
        "used_in": {"Llama 3": "grattafiori2024"},
        "thumbnail": "(torch.arange(8)[:, None] * rotary_frequencies(16)).cos()",
    },
    {
        "name": "RoPE on two axes",
        "call": "axial_frequencies",
        "changes": "half of the pairs turn with the row, half with the column",
        "page": "types/positions/rotary-two-axes",
        "papers": ["heo2024"],
        "oracles": {
            "transformers.models.qwen2_vl.modeling_qwen2_vl.apply_rotary_pos_emb_vision": (
                "test_two_axes_equal_qwen2_vl"
            ),
            "rotary_embedding_torch.RotaryEmbedding": (
                "test_two_axes_equal_rotary_embedding_torch"
            ),
        },
        "words": [
            "2D RoPE",
            "axial RoPE",
            "RoPE-Mixed",
            "images",
            "vision",
            "Qwen2-VL",
        ],
        "cost": "more: no parameters; as on one axis",
        "thumbnail": (
            "(lambda q: (q[40] @ q.T).view(9, 9))(rotated(query[:1].expand(81, -1), "
            "axial_frequencies(32), torch.cartesian_prod(torch.arange(9), torch.arange(9))))"
        ),
    },
)


def rotary_frequencies(
    head_dim: int,
    *,
    base: float = 10000.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Say how fast each pair of numbers turns, in radians a position.

    Parameters
    ----------
    head_dim : int
        Width of what is turned, E; an even number.
    base : float, default 10000
        Pair r turns by base**(-2 * r / E): the first by 1, each further one slower where base > 1.
        Llama 3 has 500000.
    device : torch.device or str, optional
        Where to make them.

    Returns
    -------
    Tensor, shape (head_dim / 2,)
        In float64: it is what they are multiplied with that makes angles large.

    Raises
    ------
    ValueError
        If `head_dim` is odd or less than 1, or `base` is not positive.
    TypeError
        If `head_dim` is not a whole number, or `base` not a number.

    References
    ----------
    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021,
    arXiv:2104.09864, section 3.2.2.

    Examples
    --------
    >>> from attn_examples import rotary_frequencies
    >>> rotary_frequencies(6, base=1000.0)
    tensor([1.0000, 0.1000, 0.0100], dtype=torch.float64)
    """
    check_count("head_dim", head_dim)
    if head_dim % 2:
        raise ValueError(f"head_dim ({head_dim}) must be even: numbers turn in pairs")
    check_number("base", base)
    refuse_not_positive("base", base)
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64, device=device)
    return base ** -(exponents / head_dim)


def axial_frequencies(
    head_dim: int,
    *,
    base: float = 100.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """Let half of the pairs turn with the first coordinate, half with the second.

    Parameters
    ----------
    head_dim : int
        Width of what is turned, E; a multiple of 4.
    base : float, default 100
        As in `rotary_frequencies`, for each half. It is small, since a picture has fewer
        rows than a text has words.
    device : torch.device or str, optional
        Where to make them.

    Returns
    -------
    Tensor, shape (2, head_dim / 2)
        What each pair turns by for one step along each axis. The positions that belong to
        it are (..., L, 2).

    Raises
    ------
    ValueError
        If `head_dim` is no multiple of 4 or less than 1, or `base` is not positive.
    TypeError
        If `head_dim` is not a whole number, or `base` not a number.

    References
    ----------
    Heo et al., "Rotary Position Embedding for Vision Transformer", 2024, arXiv:2403.13298,
    section 3.2. Its RoPE-Mixed learns all the entries: `Rotary(nn.Parameter(...))`.

    Examples
    --------
    >>> from attn_examples import axial_frequencies
    >>> axial_frequencies(8)
    tensor([[1.0000, 0.1000, 0.0000, 0.0000],
            [0.0000, 0.0000, 1.0000, 0.1000]], dtype=torch.float64)
    """
    check_count("head_dim", head_dim)
    if head_dim % 4:
        raise ValueError(
            f"head_dim ({head_dim}) must be divisible by 4: pairs for two axes"
        )
    each = rotary_frequencies(head_dim // 2, base=base, device=device)
    none = torch.zeros_like(each)
    return torch.stack((torch.cat((each, none)), torch.cat((none, each))))


def rotated(
    x: Tensor,
    frequencies: Tensor,
    positions: Tensor | None = None,
    *,
    interleaved: bool = False,
    attention_factor: float = 1.0,
) -> Tensor:
    """Turn pairs of numbers by angles that grow with the position.

    Parameters
    ----------
    x : Tensor, shape (..., L, E)
        Queries or keys.
    frequencies : Tensor, shape (R,) or (..., A, R)
        What each of R pairs turns by for one step, along each of A axes. Where 2 * R is
        less than E, the first 2 * R numbers are turned and the others stay as they are:
        partial rotary.
    positions : Tensor, shape (..., L) or (..., L, A), optional
        Where each row stands; by default row t stands at t.
    interleaved : bool, default False
        Which numbers are pairs: 0 and 1, 2 and 3, as in the paper; or by default r and
        R + r, half-split, as in Llama's code in transformers. Weights trained in one layout
        do not fit the other.
    attention_factor : float, default 1
        What the turned numbers are multiplied by; see `yarn_attention_factor`.

    Returns
    -------
    Tensor, shape (..., L, E)
        Angles are computed in float64, and their sines and cosines rounded once.

    Raises
    ------
    ValueError
        If `x` or `frequencies` is not floating point, there are more pairs than `x` has, or
        the positions do not fit.
    TypeError
        If an argument is not of its kind.

    References
    ----------
    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021,
    arXiv:2104.09864, section 3.4.2. Partial rotary is from GPT-J's code.

    Examples
    --------
    One vector at three positions, turned by 1 radian a step: the last row is cos 2, sin 2.

    >>> import torch
    >>> from attn_examples import rotated
    >>> rotated(torch.tensor([[1.0, 0.0]]).expand(3, 2), torch.ones(1))
    tensor([[ 1.0000,  0.0000],
            [ 0.5403,  0.8415],
            [-0.4161,  0.9093]])
    """
    check_sequence("x", x)
    check_float("frequencies", frequencies)
    check_number("attention_factor", attention_factor)
    refuse_turns(frequencies, x)
    if positions is None:
        positions = torch.arange(x.shape[-2], device=x.device)
    # in float64, as a float32 angle of 1e5 radians is off by about 4e-3
    places = positions.to(x.device, torch.float64)
    speeds = frequencies.to(x.device, torch.float64)
    # (..., L, R)
    angles = places.unsqueeze(-1) * speeds if speeds.dim() == 1 else places @ speeds
    refuse_places(angles, x)
    cos = (angles.cos() * attention_factor).to(x.dtype)
    sin = (angles.sin() * attention_factor).to(x.dtype)
    width = 2 * frequencies.shape[-1]
    x, rest = x[..., :width], x[..., width:]
    one, two = (x[..., ::2], x[..., 1::2]) if interleaved else x.chunk(2, dim=-1)
    turned = one * cos - two * sin, one * sin + two * cos
    if interleaved:
        return torch.cat((torch.stack(turned, dim=-1).flatten(-2), rest), dim=-1)
    return torch.cat((*turned, rest), dim=-1)


class Rotary(nn.Module):
    """Make positions for `MultiHeadAttention` that turn queries and keys.

    Parameters
    ----------
    frequencies : Tensor, shape (R,) or (..., A, R)
        As `rotated` takes them: `rotary_frequencies(head_dim)`, what makes them slower for
        longer texts, such as `yarn`, or `axial_frequencies(head_dim)`. They are kept in
        float64 when the module is converted; an `nn.Parameter` is learned, and converted.
    positions : Tensor, shape (T,) or (T, A), optional
        Where token t stands, for at most T tokens; by default token t stands at t.
    interleaved : bool, default False
        Whether pairs are 0 and 1, 2 and 3; by default they are r and R + r.
    attention_factor : float, default 1
        What turned queries and turned keys are multiplied by, both.

    Raises
    ------
    ValueError
        If `frequencies` is not floating point; when called, if there are more pairs than a
        head has, or more tokens than `positions` has.
    TypeError
        If an argument is not of its kind.

    References
    ----------
    Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021,
    arXiv:2104.09864.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import MultiHeadAttention, Rotary, rotary_frequencies
    >>> positions = Rotary(rotary_frequencies(4))  # heads are 4 wide
    >>> layer = MultiHeadAttention(embed_dim=12, num_heads=3, positions=positions)
    >>> output, weights = layer(torch.randn(2, 5, 12), is_causal=True)
    """

    frequencies: Tensor
    positions: Tensor | None

    def __init__(
        self,
        frequencies: Tensor,
        positions: Tensor | None = None,
        *,
        interleaved: bool = False,
        attention_factor: float = 1.0,
    ) -> None:
        super().__init__()
        check_float("frequencies", frequencies)
        check_number("attention_factor", attention_factor)
        if isinstance(frequencies, nn.Parameter):
            self.frequencies = frequencies
        else:
            self.register_buffer("frequencies", frequencies.double(), persistent=False)
        self.register_buffer("positions", positions, persistent=False)
        self.interleaved = interleaved
        self.attention_factor = attention_factor

    def forward(
        self, query: Tensor, key: Tensor, offset: int
    ) -> tuple[Tensor, Tensor, None]:
        """Turn queries (..., H, L, E) and new keys (..., G, S - offset, E)."""
        L, S = query.shape[-2], offset + key.shape[-2]
        table = self.positions
        if table is not None and (L > S or len(table) < S):
            raise ValueError(
                f"positions has shape {shape_of(table)} but there are {L} queries and "
                f"{S} keys: each needs a place"
            )
        turned = []
        for x, start in ((query, S - L), (key, offset)):
            places = torch.arange(start, S, device=x.device)
            turned.append(
                rotated(
                    x,
                    self.frequencies,
                    places if table is None else table[places],
                    interleaved=self.interleaved,
                    attention_factor=self.attention_factor,
                )
            )
        return turned[0], turned[1], None

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        exact = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, before in exact.items():
            after = self._buffers[name]
            # of bfloat16 frequencies the angles of far positions would be other ones
            if before is not None and after is not None and before.dtype != after.dtype:
                self._buffers[name] = before.to(after.device)
        return self
