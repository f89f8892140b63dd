"""Modules of one head: project, attend."""

from __future__ import annotations

from torch import Tensor, nn

from attn_examples.checks import (
    check_cache,
    check_count,
    check_projected,
    check_same_batch,
    refuse_mask,
    refuse_mask_of_heads,
)
from attn_examples.heads.cache import Cache, seen_before
from attn_examples.heads.four_steps import four_steps

__all__ = ["CausalSelfAttention", "CrossAttention", "SelfAttention"]

MECHANISMS = (
    {
        "name": "self-attention",
        "call": "SelfAttention",
        "changes": "all three come from one sequence",
        "page": "types/heads/self",
        "papers": ["cheng2016", "lin2017"],
        "oracles": {
            "torch.nn.functional.scaled_dot_product_attention": "test_one_head_equals_torch",
            "transformers.models.bert.modeling_bert.BertSelfAttention": "test_one_head_equals_bert",
        },
        "words": [
            "intra-attention",
            "bidirectional attention",
            "encoder self-attention",
        ],
        "cost": "the same",
        "used_in": {"Transformer": "vaswani2017", "BERT": "devlin2018"},
        "thumbnail": "attention(value, value, value)[1]",
    },
    {
        "name": "causal self-attention",
        "call": "CausalSelfAttention",
        "changes": "the same, with the causal mask built in",
        "page": "types/masks/causal",
        "papers": ["vaswani2017"],
        "oracles": {
            "torch.nn.functional.scaled_dot_product_attention": "test_one_head_equals_torch",
            "torch.nn.MultiheadAttention": "test_one_head_equals_a_module_of_torch",
        },
        "words": ["masked self-attention", "decoder self-attention", "GPT"],
        "cost": "less: about half of the scores, where a kernel skips the others",
        "used_in": {"Transformer": "vaswani2017"},
        "thumbnail": "attention(query, key, value, mask=causal_mask(8))[1]",
    },
    {
        "name": "cross-attention",
        "call": "CrossAttention",
        "changes": "keys and values come from another sequence",
        "page": "types/heads/cross",
        "papers": ["bahdanau2014", "vaswani2017"],
        "oracles": {
            "torch.nn.functional.scaled_dot_product_attention": "test_one_head_equals_torch",
            "torch.nn.MultiheadAttention": "test_one_head_equals_a_module_of_torch",
        },
        "words": ["encoder-decoder attention", "source-target attention"],
        "cost": "the same: a score for each pair of the two sequences",
        "used_in": {"Transformer": "vaswani2017"},
        "thumbnail": "attention(query, key[:5], value[:5])[1]",
    },
)


class SelfAttention(nn.Module):
    """Let each position of a sequence attend to every position of the same sequence.

    Parameters
    ----------
    embed_dim : int
        Width of the input.
    head_dim : int, optional
        Width of queries, keys and values, and of the output; by default `embed_dim`.
    bias : bool, default True
        Whether the projections add a learned vector.

    Raises
    ------
    ValueError
        If a width is less than 1; when called, if the input does not fit.
    TypeError
        If a width is not a whole number.

    References
    ----------
    Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762, sections
    3.2.1 and 3.2.3; before it Cheng et al., 2016, arXiv:1601.06733, and Lin et al., 2017,
    arXiv:1703.03130.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import SelfAttention
    >>> x = torch.randn(2, 5, 12)  # batch, length, width
    >>> output, weights = SelfAttention(embed_dim=12, head_dim=4)(x)
    >>> output.shape, weights.shape
    (torch.Size([2, 5, 4]), torch.Size([2, 5, 5]))
    """

    is_causal = False

    def __init__(
        self, embed_dim: int, head_dim: int | None = None, *, bias: bool = True
    ) -> None:
        super().__init__()
        head_dim = embed_dim if head_dim is None else head_dim
        check_count("embed_dim", embed_dim)
        check_count("head_dim", head_dim)
        self.embed_dim = embed_dim
        self.q_proj = nn.Linear(embed_dim, head_dim, bias)
        self.k_proj = nn.Linear(embed_dim, head_dim, bias)
        self.v_proj = nn.Linear(embed_dim, head_dim, bias)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        cache: Cache | None = None,
        need_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend within `x`, (..., L, embed_dim); the mask is as in `attention`.

        With a cache of earlier keys and values, those of `x` are appended to it.
        """
        refuse_mask(mask)
        check_cache(cache)
        check_projected("x", x, "embed_dim", self.embed_dim, self.q_proj)
        offset, held = seen_before(cache)
        refuse_mask_of_heads(mask, x, held + x.shape[-2])
        query, key, value = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if cache is not None:
            key, value = cache.append(key, value)
        return four_steps(
            query,
            key,
            value,
            mask=mask,
            is_causal=self.is_causal,
            square=offset == 0,
            need_weights=need_weights,
        )


class CausalSelfAttention(SelfAttention):
    """Let each position attend to itself and to the positions before it.

    Takes the parameters of `SelfAttention`. A mask given to it forbids further keys. With a
    cache the last query stands where the last key does, as in `causal_mask`.

    References
    ----------
    Vaswani et al., 2017, arXiv:1706.03762, section 3.2.3.

    Examples
    --------
    >>> import torch
    >>> from attn_examples import CausalSelfAttention
    >>> x = torch.randn(1, 3, 4)
    >>> _, weights = CausalSelfAttention(embed_dim=4)(x)
    >>> weights[0, 0]  # the first position has only itself
    tensor([1., 0., 0.], grad_fn=<SelectBackward0>)
    """

    is_causal = True


class CrossAttention(nn.Module):
    """Let each position of one sequence attend to the positions of another.

    Parameters
    ----------
    embed_dim : int
        Width of the sequence that asks.
    context_dim : int, optional
        Width of the sequence that answers; by default `embed_dim`.
    head_dim : int, optional
        Width of queries, keys and values, and of the output; by default `embed_dim`.
    bias : bool, default True
        Whether the projections add a learned vector.

    Raises
    ------
    ValueError
        If a width is less than 1; when called, if the input does not fit.
    TypeError
        If a width is not a whole number.

    References
    ----------
    Bahdanau et al., 2014, arXiv:1409.0473, with another score; in this form Vaswani
    et al., 2017, arXiv:1706.03762, section 3.2.3, "encoder-decoder attention".

    Examples
    --------
    >>> import torch
    >>> from attn_examples import CrossAttention
    >>> target, source = torch.randn(2, 5, 12), torch.randn(2, 7, 6)
    >>> output, weights = CrossAttention(embed_dim=12, context_dim=6)(target, source)
    >>> output.shape, weights.shape
    (torch.Size([2, 5, 12]), torch.Size([2, 5, 7]))
    """

    def __init__(
        self,
        embed_dim: int,
        context_dim: int | None = None,
        head_dim: int | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        context_dim = embed_dim if context_dim is None else context_dim
        head_dim = embed_dim if head_dim is None else head_dim
        check_count("embed_dim", embed_dim)
        check_count("context_dim", context_dim)
        check_count("head_dim", head_dim)
        self.embed_dim = embed_dim
        self.context_dim = context_dim
        self.q_proj = nn.Linear(embed_dim, head_dim, bias)
        self.k_proj = nn.Linear(context_dim, head_dim, bias)
        self.v_proj = nn.Linear(context_dim, head_dim, bias)

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        mask: Tensor | None = None,
        *,
        need_weights: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `x`, (..., L, embed_dim), to `context`, (..., S, context_dim)."""
        refuse_mask(mask)
        check_projected("x", x, "embed_dim", self.embed_dim, self.q_proj)
        check_projected(
            "context", context, "context_dim", self.context_dim, self.k_proj
        )
        check_same_batch("context", context, "x", x)
        refuse_mask_of_heads(mask, x, context.shape[-2])
        query, key, value = self.q_proj(x), self.k_proj(context), self.v_proj(context)
        return four_steps(query, key, value, mask=mask, need_weights=need_weights)
