"""Attention mechanisms, each as short as its idea.

Needs torch alone. Figures are in `attn_examples.figures`, which needs matplotlib; the
trained model is in `attn_examples.pretrained`, which needs transformers.
"""

from attn_examples.core import attention, scaled_dot_product_attention
from attn_examples.heads import (
    CausalSelfAttention,
    CrossAttention,
    MultiHeadAttention,
    SelfAttention,
)
from attn_examples.masks import causal_mask, padding_mask, sliding_window_mask
from attn_examples.normalizers import dropped, softmax
from attn_examples.positions import LearnedPositions, sinusoidal
from attn_examples.scores import Additive, Bilinear, cosine, dot, scaled_dot, with_bias

__all__ = [
    "Additive",
    "Bilinear",
    "CausalSelfAttention",
    "CrossAttention",
    "LearnedPositions",
    "MultiHeadAttention",
    "SelfAttention",
    "attention",
    "causal_mask",
    "cosine",
    "dot",
    "dropped",
    "padding_mask",
    "scaled_dot",
    "scaled_dot_product_attention",
    "sinusoidal",
    "sliding_window_mask",
    "softmax",
    "with_bias",
]
