"""Positions that meet queries and keys as vectors: how far one is from the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from attn_examples.checks import check_count, check_width, refuse_num_heads
from attn_examples.core import _head_width, _split_heads, share_heads
from attn_examples.masks.order import _behind
from attn_examples.positions.absolute import sinusoidal

__all__ = ["DisentangledPositions", "RelativePositions", "TransformerXLPositions"]

MECHANISMS = (
    {
        "name": "relative vectors",
        "call": "RelativePositions",
        "changes": "to each key a learned vector of its clipped distance",
        "page": "types/positions/relative",
        "papers": ["shaw2018"],
        "oracles": {
            "by hand": "test_relative_positions_equal_the_loop",
            "transformers.models.wav2vec2_bert.modeling_wav2vec2_bert"
            ".Wav2Vec2BertSelfAttention": "test_relative_positions_equal_transformers",
        },
        "words": [
            "Shaw",
            "relative position representations",
            "relative positions",
            "relative_key",
        ],
        "cost": "more: 2k + 1 vectors; one more product for each query and distance",
        "used_in": {"Music Transformer": "huang2018"},
        "thumbnail": (
            "(torch.arange(8) - torch.arange(8)[:, None]).clamp(-2, 2).float()"
        ),
    },
    {
        "name": "Transformer-XL positions",
        "call": "TransformerXLPositions",
        "changes": "four terms: content and distance, each met by the query and by a vector",
        "page": "types/positions/transformer-xl",
        "papers": ["dai2019"],
        "oracles": {
            "by hand": "test_transformer_xl_equals_the_loop",
            "transformers.models.xlnet.modeling_xlnet.XLNetRelativeAttention": (
                "test_transformer_xl_equals_xlnet"
            ),
            "transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer"
            ".Wav2Vec2ConformerSelfAttention": "test_transformer_xl_equals_conformer",
        },
        "words": ["relative sinusoids", "relative shift", "rel_shift", "XLNet"],
        "cost": "more: one projection, two vectors a head; a product for each query and distance",
        "used_in": {"XLNet": "yang2019"},
        "thumbnail": "sinusoidal(8, 32) @ sinusoidal(8, 32).mT",
    },
    {
        "name": "disentangled",
        "call": "DisentangledPositions",
        "changes": "three terms: content with content, with place, and place with content",
        "page": "types/positions/disentangled",
        "papers": ["he2020"],
        "oracles": {
            "by hand": "test_disentangled_equals_the_loop",
            "transformers.models.deberta_v2.modeling_deberta_v2"
            ".DisentangledSelfAttention": "test_disentangled_equals_deberta_v2",
            "transformers.models.deberta.modeling_deberta.DisentangledSelfAttention": (
                "test_disentangled_equals_deberta"
            ),
        },
        "words": ["DeBERTa", "disentangled attention", "c2p", "p2c"],
        "cost": "more: 2k vectors, two projections; each vector meets all queries and keys",
        "used_in": {"DeBERTa": "he2020"},
        "thumbnail": (
            "(key @ sinusoidal(16, 32, start=-8).mT).gather(-1, "
            "torch.arange(8) - torch.arange(8)[:, None] + 8).mT"
        ),
    },
)


class RelativePositions(nn.Module):
    """Add to each key a learned vector that says how far it is from the query.

    Positions for `MultiHeadAttention`, whose score is `scaled_dot`. The heads share the
    vectors, and a distance beyond `max_distance` has the vector of that.

    Parameters
    ----------
    head_dim : int
        Width of a key, E.
    max_distance : int
        The distance at which all others are clipped, k in the paper: 2k + 1 vectors.

    Raises
    ------
    ValueError
        If a size is less than 1; when called, if the queries have another width.
    TypeError
        If a size is not a whole number.

    References
    ----------
    Shaw et al., "Self-Attention with Relative Position Representations", 2018,
    arXiv:1803.02155, sections 3.1 and 3.2. That paper has such vectors for the values
    too, and finds that those for the keys may suffice (section 4.3).

    Examples
    --------
    >>> import torch
    >>> from attn_examples import MultiHeadAttention, RelativePositions
    >>> positions = RelativePositions(head_dim=4, max_distance=2)
    >>> layer = MultiHeadAttention(embed_dim=12, num_heads=3, positions=positions)
    >>> output, weights = layer(torch.randn(2, 7, 12))
    >>> positions.weight.shape  # of the distances -2, -1, 0, 1, 2
    torch.Size([5, 4])
    """

    def __init__(self, head_dim: int, max_distance: int) -> None:
        super().__init__()
        check_count("head_dim", head_dim)
        check_count("max_distance", max_distance)
        self.max_distance = max_distance
        self.weight = nn.Parameter(torch.randn(2 * max_distance + 1, head_dim) * 0.02)

    def forward(
        self, query: Tensor, key: Tensor, offset: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return query and key as they were, and q . r / sqrt(E), (..., H, L, S)."""
        check_width("query", query, "head_dim", self.weight.shape[-1])
        L, S, k = query.shape[-2], offset + key.shape[-2], self.max_distance
        ahead = -_behind(L, S, "lower-right", query.device)  # j - i: (L, S)
        # each query with each vector, once: (..., H, L, 2k + 1)
        met = query @ self.weight.mT / math.sqrt(query.shape[-1])
        return query, key, _entries(met, ahead.clamp(-k, k) + k)


class TransformerXLPositions(nn.Module):
    """Score content and distance apart, and let each be favoured whatever the query.

    Positions for `MultiHeadAttention`, whose score is `scaled_dot`: the query, plus u, meets
    the keys, and the query, plus v, meets a projection of the sines of the distance.

    Parameters
    ----------
    embed_dim : int
        Width of the sines, D; an even number.
    num_heads : int
        Number of heads, H.
    head_dim : int, optional
        Width of a head, E; by default embed_dim / num_heads.

    Raises
    ------
    ValueError
        If a size is less than 1, or does not divide as it must; when called, if the
        queries have another width or number of heads.
    TypeError
        If a size is not a whole number.

    References
    ----------
    Dai et al., "Transformer-XL: Attentive Language Models Beyond a Fixed-Length Context",
    2019, arXiv:1901.02860, section 3.3.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import MultiHeadAttention, TransformerXLPositions
    >>> positions = TransformerXLPositions(embed_dim=12, num_heads=3)
    >>> layer = MultiHeadAttention(embed_dim=12, num_heads=3, positions=positions)
    >>> output, weights = layer(torch.randn(2, 7, 12), is_causal=True)
    """

    def __init__(
        self, embed_dim: int, num_heads: int, *, head_dim: int | None = None
    ) -> None:
        super().__init__()
        E = _head_width(embed_dim, num_heads, head_dim)
        if embed_dim % 2:
            raise ValueError(f"embed_dim ({embed_dim}) must be even, as sines need it")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.r_proj = nn.Linear(embed_dim, num_heads * E, bias=False)
        self.u = nn.Parameter(torch.randn(num_heads, E) * 0.02)
        self.v = nn.Parameter(torch.randn(num_heads, E) * 0.02)

    def forward(
        self, query: Tensor, key: Tensor, offset: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return query + u, the key, and (q + v) . r / sqrt(E), (..., H, L, S)."""
        check_width("query", query, "head_dim", self.u.shape[-1])
        refuse_num_heads(query.shape[-3], self.num_heads)
        L, S = query.shape[-2], offset + key.shape[-2]
        # a row for each distance from -L to S - 1
        sines = sinusoidal(
            L + S, self.embed_dim, start=-L, dtype=query.dtype, device=query.device
        )
        r = _split_heads(self.r_proj(sines), self.num_heads)  # (H, L + S, E)
        u, v = self.u.unsqueeze(-2), self.v.unsqueeze(-2)  # (H, 1, E)
        met = (query + v) @ r.mT / math.sqrt(query.shape[-1])  # (..., H, L, L + S)
        return (
            query + u,
            key,
            _entries(met, _behind(L, S, "lower-right", query.device) + L),
        )


class DisentangledPositions(nn.Module):
    """Let content meet distance both ways: query with place, and key with place.

    Positions for `MultiHeadAttention`, whose score is `scaled_dot`. They were made for an
    encoder: each call needs all keys, and a cache hands over the new ones alone, so that it
    is refused once it holds some.

    Parameters
    ----------
    embed_dim : int
        Width of a vector of distance, D, before it is projected.
    num_heads : int
        Number of heads, H.
    max_distance : int
        The distance at which all others are clipped, k in the paper: 2k vectors. To share
        them, as DeBERTa's layers do, give the layers one `weight`.
    head_dim : int, optional
        Width of a head, E; by default embed_dim / num_heads.

    Raises
    ------
    ValueError
        If a size is less than 1, or does not divide as it must; when called, if the
        queries have another width or number of heads, or there are earlier keys.
    TypeError
        If a size is not a whole number.

    References
    ----------
    He et al., "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", 2020,
    arXiv:2006.03654, section 3.1. Its equation 4 gives place to content the vector of the
    distance from key to query; its authors' code that from query to key, as we do.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import DisentangledPositions, MultiHeadAttention
    >>> positions = DisentangledPositions(embed_dim=12, num_heads=3, max_distance=2)
    >>> layer = MultiHeadAttention(embed_dim=12, num_heads=3, positions=positions)
    >>> output, weights = layer(torch.randn(2, 7, 12))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        max_distance: int,
        *,
        head_dim: int | None = None,
    ) -> None:
        super().__init__()
        E = _head_width(embed_dim, num_heads, head_dim)
        check_count("max_distance", max_distance)
        self.num_heads = num_heads
        self.weight = nn.Parameter(torch.randn(2 * max_distance, embed_dim) * 0.02)
        self.k_proj = nn.Linear(embed_dim, num_heads * E)  # places as keys
        self.q_proj = nn.Linear(embed_dim, num_heads * E)  # places as queries

    def forward(
        self, query: Tensor, key: Tensor, offset: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return query / sqrt(3), the key, and both terms of place, (..., H, L, S)."""
        check_width(
            "query", query, "head_dim", self.q_proj.out_features // self.num_heads
        )
        refuse_num_heads(query.shape[-3], self.num_heads)
        if offset:
            raise ValueError(
                f"the cache holds {offset} keys but DisentangledPositions needs all "
                "keys at each call: run the whole sequence without a cache"
            )
        L, S, last = query.shape[-2], key.shape[-2], len(self.weight) - 1
        place = (_behind(L, S, "lower-right", query.device) + (last + 1) // 2).clamp(
            0, last
        )
        as_key = _split_heads(self.k_proj(self.weight), self.num_heads)  # (H, 2k, E)
        as_query = _split_heads(self.q_proj(self.weight), self.num_heads)
        to_place = _entries(query @ as_key.mT, place)  # (..., H, L, S)
        from_place = _entries(share_heads(query, key) @ as_query.mT, place.mT).mT
        scale = 1.0 / math.sqrt(3 * query.shape[-1])
        return query / math.sqrt(3), key, (to_place + from_place) * scale


def _entries(table: Tensor, columns: Tensor) -> Tensor:
    """Take from row i of the last two dimensions the entry columns[i, j]."""
    return table.gather(-1, columns.expand(*table.shape[:-1], -1))
