"""What learners write: right answers, and what goes wrong in them, one line at a time.

A mistake is a change of the text of a right answer. Nothing here is taken from the
checker: its own wrong variants are other code.
"""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

IMPORTS = """
import math
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
"""


@dataclass(frozen=True)
class Slip:
    """One change of a text, and the names of the mistake that it may be called."""

    old: str
    new: str
    names: tuple[str, ...]  # any of them is right; none: it only has to be rejected


def slip(old: str, new: str, *names: str) -> Slip:
    return Slip(old, new, names)


def written(text: str, name: str = "answer") -> Callable[..., Any]:
    """Run a learner's text and return the function that it defines last."""
    filename = f"<cell {abs(hash(text))}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    names: dict[str, Any] = {}
    exec(compile(IMPORTS, "<imports>", "exec"), names)
    before = set(names)
    exec(compile(text, filename, "exec"), names)
    functions = [thing for key, thing in names.items() if key not in before and callable(thing)]
    function: Callable[..., Any] = functions[-1]
    return function


SOFTMAX = """
def softmax(scores, dim):
    hidden = (scores == -math.inf).all(dim=dim, keepdim=True)
    scores = scores.masked_fill(hidden, 0.0)
    scores = scores - scores.amax(dim=dim, keepdim=True)
    e = torch.exp(scores)
    p = e / e.sum(dim=dim, keepdim=True)
    return p.masked_fill(hidden, 0.0)
"""
SOFTMAX_SLIPS = (
    slip("def softmax(scores, dim):", "def softmax(scores, dim):\n    dim = -1", "dim-last"),
    slip("def softmax(scores, dim):", "def softmax(scores, dim):\n    dim = 0", "dim-first"),
    slip("def softmax(scores, dim):", "def softmax(scores, dim):\n    dim = min(1, "
         "scores.dim() - 1)",
         "dim-second"),
    slip("def softmax(scores, dim):", "def softmax(scores, dim):\n    dim = dim - 1 if dim > 0 else"
         " scores.dim() - 1 if dim == 0 else (dim - 1) % scores.dim()", "dim-before"),
    slip("def softmax(scores, dim):", "def softmax(scores, dim):\n    dim = (dim + 1) % "
         "scores.dim()",
         "dim-after"),
    slip("def softmax(scores, dim):", "def softmax(scores, dim):\n    dim = -2 if scores.dim() > 1"
         " else -1", "dim-queries"),
    slip("e / e.sum(dim=dim, keepdim=True)", "e / e.sum()", "softmax-total", "softmax-all"),
    slip("e / e.sum(dim=dim, keepdim=True)", "e", "softmax-exp"),
    slip("e / e.sum(dim=dim, keepdim=True)", "e / e.amax(dim=dim, keepdim=True)",
         "softmax-largest", "softmax-exp"),
    slip("e / e.sum(dim=dim, keepdim=True)", "e / e.mean(dim=dim, keepdim=True)", "softmax-mean"),
    slip("e / e.sum(dim=dim, keepdim=True)",
         "torch.softmax(e / e.sum(dim=dim, keepdim=True), dim)", "softmax-twice"),
    slip("    scores = scores - scores.amax(dim=dim, keepdim=True)\n    e = torch.exp(scores)",
         "    e = scores", "softmax-sum"),
    slip("torch.exp(scores)", "torch.exp2(scores)", "softmax-base"),
    slip("    scores = scores - scores.amax", "    scores = scores.clamp(min=0)\n    scores = "
         "scores - scores.amax", "softmax-positive"),
    slip("torch.exp(scores)", "torch.sigmoid(scores)"),
    slip("    scores = scores - scores.amax", "    scores = -scores\n    scores = scores - "
         "scores.amax", "softmax-negative"),
    slip("return p.masked", "p = p.log()\n    return p.masked", "softmax-log"),
    slip("    scores = scores - scores.amax(dim=dim, keepdim=True)\n", "", "overflow"),
    slip("    scores = scores.masked_fill(hidden, 0.0)\n", "    hidden = hidden & False\n",
         "masked-row-nan"),
    slip("return p.masked_fill(hidden, 0.0)", "return p", "masked-row-even"),
    slip("    scores = scores.masked_fill(hidden, 0.0)\n", "    scores.masked_fill_(hidden, 0.0)\n",
         "in-place"),
    slip("scores - scores.amax(dim=dim, keepdim=True)", "scores - scores.max()", "global-largest"),
    slip("e.sum(dim=dim, keepdim=True)", "e.sum(dim)", "keepdim"),
    slip("    scores = scores - scores.amax(dim=dim, keepdim=True)\n    e = torch.exp(scores)\n"
         "    p = e / e.sum(dim=dim, keepdim=True)", "    p = torch.exp(scores - scores.max())",
         "softmax-exp"),
    slip("    e = torch.exp(scores)", "    e = torch.exp(scores.float())", "float32"),
    slip("    e = torch.exp(scores)", "    e = torch.exp(F.dropout(scores, 0.1))", "dropout"),
)  # fmt: skip

CAUSAL = """
def causal_mask(L, S):
    return torch.ones(L, S, dtype=torch.bool).tril(diagonal=S - L)
"""
CAUSAL_SLIPS = (
    slip("S - L)", "0)", "mask-corner"),
    slip(".tril(diagonal=S - L)", ".tril()", "mask-corner"),
    slip("S - L)", "S - L - 1)", "mask-strict"),
    slip("S - L)", "S - L + 1)", "mask-next"),
    slip("S - L)", "-1)", "mask-strict-corner"),
    slip("S - L)", "1)", "mask-next-corner"),
    slip("S - L)", "L - S)", "mask-sign"),
    slip(".tril(diagonal=S - L)", ".triu(diagonal=S - L)", "mask-upper"),
    slip(".tril(diagonal=S - L)", ".triu()", "mask-upper"),
    slip(".tril(diagonal=S - L)", ".triu(diagonal=S - L + 1)", "mask-inverted"),
    slip(".tril(diagonal=S - L)", ".triu(diagonal=1)", "mask-inverted-corner"),
    slip("S - L)", "max(S - L, 0))", "mask-clamped"),
    slip("return torch.ones(L, S, dtype=torch.bool).tril(diagonal=S - L)",
         "return [[j <= i + S - L for j in range(S)] for i in range(L)]"),
    slip("return torch.ones(L, S", "return ~torch.ones(L, S", "mask-inverted"),
    slip("ones(L, S", "ones(S, L", "mask-shape"),
    slip("ones(L, S, dtype=torch.bool).tril(diagonal=S - L)",
         "ones(S, L, dtype=torch.bool).tril(diagonal=L - S)", "mask-shape"),
    slip("ones(L, S, dtype=torch.bool).tril(diagonal=S - L)",
         "ones(L, L, dtype=torch.bool).tril()", "mask-square"),
    slip("    return torch.ones(L, S, dtype=torch.bool).tril(diagonal=S - L)",
         "    i = torch.arange(L)[:, None]\n    j = torch.arange(S)\n    return j <= i",
         "mask-corner"),
    slip("    return torch.ones(L, S, dtype=torch.bool).tril(diagonal=S - L)",
         "    i = torch.arange(L)[:, None]\n    j = torch.arange(S)\n    return j < i + S - L",
         "mask-strict"),
    slip(".tril(diagonal=S - L)", "", "mask-all"),
    slip("ones(L, S", "ones(5, S"),
)  # fmt: skip

PADDING = """
def padding_mask(lengths, S):
    mask = torch.arange(S)[None, :] < lengths[:, None]
    return mask[:, None, :]
"""
PADDING_SLIPS = (
    slip("< lengths", ">= lengths", "mask-inverted"),
    slip("< lengths", "<= lengths", "padding-more"),
    slip("torch.arange(S)", "torch.arange(1, S + 1)", "padding-less"),
    slip("mask[:, None, :]", "mask", "padding-shape"),
    slip("mask[:, None, :]", "mask[:, :, None]", "padding-queries"),
    slip("mask[:, None, :]", "mask[None, :, :]", "padding-batch"),
    slip("mask[:, None, :]", "mask[:, None, None, :]", "padding-heads"),
    slip("mask[:, None, :]", "mask[:, None, :].repeat(1, S, 1)", "padding-full"),
    slip("mask[:, None, :]", "mask[:, None, :] & mask[:, :, None]", "padding-both"),
    slip("mask[:, None, :]", "mask[:, None, :].flip(-1)", "padding-left"),
    slip("lengths[:, None]", "lengths.max()", ),
    slip("lengths[:, None]", "lengths.max().expand(len(lengths))[:, None]", "padding-longest"),
    slip("lengths[:, None]", "lengths[0].expand(len(lengths))[:, None]", "padding-first"),
    slip("mask[:, None, :]", "mask.T[:, None, :]", "padding-transposed"),
    slip("torch.arange(S)", "torch.arange(7)", "hard-coded"),
    slip("return mask[:, None, :]", "return mask[:, None, :].float()"),
)  # fmt: skip

WINDOW = """
def window_mask(L, S, window):
    i = torch.arange(L).reshape(L, 1) + S - L
    j = torch.arange(S).reshape(1, S)
    return (j <= i) & (j > i - window)
"""
WINDOW_SLIPS = (
    slip("j > i - window", "j >= i - window", "window-more"),
    slip("j > i - window", "j > i - window + 1", "window-less"),
    slip("j <= i", "j < i", "window-strict"),
    slip("(j <= i) & (j > i - window)", "(j - i).abs() < window", "window-both"),
    slip("(j <= i) & (j > i - window)", "j > i - window", "window-not-causal"),
    slip("(j <= i) & (j > i - window)", "j <= i", "window-ignored"),
    slip("return (j <= i) & (j > i - window)", "return (j > i) | (j <= i - window)",
         "mask-inverted"),
    slip("& (j > i - window)", "| (j > i - window)", "window-or"),
    slip(" + S - L", "", "mask-corner"),
    slip(" + S - L", " + max(S - L, 0)", "mask-clamped"),
    slip("(j <= i) & (j > i - window)", "(j >= i) & (j < i + window)", "window-forward"),
    slip("i - window)", "i - 3)"),
)  # fmt: skip

SCORES = """
def scaled_scores(query, key):
    d = query.shape[-1]
    return query @ key.transpose(-2, -1) / math.sqrt(d)
"""
SCORES_SLIPS = (
    slip(" / math.sqrt(d)", "", "scale-none"),
    slip("/ math.sqrt(d)", "/ d", "scale-d"),
    slip("/ math.sqrt(d)", "* math.sqrt(d)", "scale-multiplied"),
    slip("math.sqrt(d)", "math.sqrt(key.shape[-2])", "scale-length"),
    slip("math.sqrt(d)", "math.sqrt(query.shape[-2])", "scale-query-length"),
    slip("math.sqrt(d)", "math.sqrt(query.shape[1])", "scale-heads"),
    slip("math.sqrt(d)", "math.sqrt(d * query.shape[1])", "scale-embed"),
    slip("math.sqrt(d)", "2.0", "hard-coded"),
    slip("key.transpose(-2, -1)", "key.transpose(1, 2)", "no-heads"),
    slip("query @ key.transpose(-2, -1)", "key @ query.transpose(-2, -1)", "scores-transposed"),
    slip("query @ key.transpose(-2, -1)", "key @ key.transpose(-2, -1)", "scores-key-key"),
    slip("query @ key.transpose(-2, -1)", "query @ query.transpose(-2, -1)", "scores-query-query"),
    slip("return query @ key.transpose(-2, -1) / math.sqrt(d)",
         "return F.softmax(query @ key.transpose(-2, -1) / math.sqrt(d), -1)", "scores-softmax"),
    slip("return query @ key.transpose(-2, -1) / math.sqrt(d)",
         "return F.cosine_similarity(query.unsqueeze(-2), key.unsqueeze(-3), dim=-1)",
         "scores-cosine"),
    slip("return query", "query /= 1.5\n    return 1.5 * query", "in-place"),
)  # fmt: skip

ATTENTION = """
def scaled_dot_product(query, key, value, mask=None):
    d = query.shape[-1]
    scores = query @ key.transpose(-2, -1) / math.sqrt(d)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = F.softmax(scores, dim=-1)
    weights = torch.nan_to_num(weights)
    output = weights @ value
    return output, weights
"""
ATTENTION_SLIPS = (
    slip(" / math.sqrt(d)", "", "scale-none"),
    slip("/ math.sqrt(d)", "/ d", "scale-d"),
    slip("/ math.sqrt(d)", "* math.sqrt(d)", "scale-multiplied"),
    slip("math.sqrt(d)", "math.sqrt(key.shape[-2])", "scale-length"),
    slip("math.sqrt(d)", "math.sqrt(query.size(1))", "scale-heads"),
    slip("math.sqrt(d)", "math.sqrt(query.size(1) * d)", "scale-embed"),
    slip("math.sqrt(d)", "math.sqrt(4)", "hard-coded"),
    slip("    weights = torch.nan_to_num(weights)", "    weights = torch.nan_to_num(weights)\n"
         "    weights = weights / math.sqrt(d)"),
    slip("/ math.sqrt(d)\n", "\n    weights = None\n", "scale-none"),
    slip("dim=-1", "dim=-2", "softmax-queries"),
    slip("dim=-1", "dim=1", "softmax-heads"),
    slip("dim=-1", "dim=0", "softmax-batch"),
    slip("dim=-1", "dim=2", "softmax-queries"),
    slip("F.softmax(scores, dim=-1)", "F.softmax(F.softmax(scores, dim=-1), dim=-1)",
         "softmax-twice"),
    slip("    weights = F.softmax(scores, dim=-1)\n    weights = torch.nan_to_num(weights)",
         "    weights = scores", "softmax-none"),
    slip("F.softmax(scores, dim=-1)", "torch.exp(scores)", "softmax-exp"),
    slip("F.softmax(scores, dim=-1)", "torch.sigmoid(scores)", "softmax-sigmoid"),
    slip("    weights = torch.nan_to_num(weights)\n", "", "masked-row-nan"),
    slip("~mask", "mask", "mask-inverted"),
    slip('scores = scores.masked_fill(~mask, float("-inf"))', "pass", "mask-ignored"),
    slip('float("-inf")', "0.0", "mask-zero", "mask-multiplied", "mask-tiny"),
    slip('scores.masked_fill(~mask, float("-inf"))', "scores * mask", "mask-multiplied",
         "mask-zero", "mask-tiny"),
    slip('scores.masked_fill(~mask, float("-inf"))', "scores + mask", "mask-added"),
    slip('float("-inf")', "1e-9", "mask-tiny", "mask-zero", "mask-multiplied"),
    slip('float("-inf")', "-1e-9", "mask-tiny", "mask-zero", "mask-multiplied"),
    slip('float("-inf")', "-1e9", "masked-row-even"),
    slip('float("-inf")', "-1", "mask-weak"),
    slip('float("-inf")', "-100.0", "masked-row-even", "mask-hundreds"),
    slip("~mask", "~mask.transpose(-2, -1)", "mask-transposed"),
    slip("~mask", "~(mask.transpose(0, 1) if mask.dim() == 4 else mask)", "mask-axis"),
    slip("    if mask is not None:\n        scores = scores.masked_fill(~mask, float(\"-inf\"))\n"
         "    weights = F.softmax(scores, dim=-1)",
         "    weights = F.softmax(scores, dim=-1)\n    if mask is not None:\n"
         "        weights = weights.masked_fill(~mask, 0.0)", "mask-after"),
    slip("    if mask is not None:\n        scores = scores.masked_fill(~mask, float(\"-inf\"))\n"
         "    weights = F.softmax(scores, dim=-1)\n    weights = torch.nan_to_num(weights)",
         "    weights = F.softmax(scores, dim=-1)\n    if mask is not None:\n"
         "        weights = weights * mask\n"
         "    weights = weights / weights.sum(-1, keepdim=True)", "mask-late-sum"),
    slip("    if mask is not None:\n        scores = scores.masked_fill(~mask, float(\"-inf\"))\n"
         "    weights = F.softmax(scores, dim=-1)\n    weights = torch.nan_to_num(weights)",
         "    weights = F.softmax(scores, dim=-1)\n    if mask is not None:\n"
         "        weights = weights.masked_fill(~mask, 0.0)\n"
         "    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-9)", "mask-late-sum"),
    slip("F.softmax(scores, dim=-1)", "(scores - scores.max()).exp()\n"
         "    weights = weights / weights.sum(-1, keepdim=True)", "global-largest"),
    slip("F.softmax(scores, dim=-1)", "scores.exp()\n"
         "    weights = weights / weights.sum(-1, keepdim=True)", "overflow"),
    slip("weights @ value", "weights @ key", "mix-key"),
    slip("weights @ value", "weights.transpose(-2, -1) @ value", "mix-transposed"),
    slip("query @ key.transpose(-2, -1)", "key @ query.transpose(-2, -1)", "scores-swapped"),
    slip("query @ key.transpose(-2, -1)", "key @ key.transpose(-2, -1)", "scores-key-key"),
    slip("query @ key.transpose(-2, -1)", "query @ query.transpose(-2, -1)", "scores-query-query"),
    slip("(query, key, value, mask=None)", "(value, key, query, mask=None)", "argument-order"),
    slip("(query, key, value, mask=None)", "(key, query, value, mask=None)", "argument-order"),
    slip("return output, weights", "return weights, output", "return-order"),
    slip("return output, weights", "return output, scores", "return-scores"),
    slip("return output, weights", "return output, weights.mT", "return-transposed"),
    slip("return output, weights", "return output, weights.mean(dim=1)", "return-averaged"),
    slip("return output, weights", "return output"),
    slip("return output, weights", "return output, weights, scores"),
    slip("F.softmax(scores, dim=-1)", "F.dropout(F.softmax(scores, dim=-1), 0.3)", "dropout"),
    slip("output = weights @ value", "weights = weights.float()\n    output = weights @ "
         "value.float()", "float32"),
    slip("    scores = query @", "    query /= math.sqrt(2)\n    scores = math.sqrt(2) * query @",
         "in-place"),
    slip("    d = query.shape[-1]\n    scores = query @ key.transpose(-2, -1) / math.sqrt(d)",
         "    query /= math.sqrt(query.shape[-1])\n    scores = query @ key.transpose(-2, -1)",
         "in-place"),
    slip("    output = weights @ value", "    value[..., 0] += 0.0\n    output = weights @ value\n"
         "    value.mul_(2)", "in-place"),
    slip("    d = query.shape[-1]", "    d = query.shape[-1]\n    torch.set_default_dtype("
         "torch.float64)", "global-state"),
    slip("    d = query.shape[-1]", "    d = query.shape[-1]\n    torch.manual_seed(0)",
         "global-state"),
    slip("key.transpose(-2, -1)", "key.T"),
    slip("query @ key.transpose(-2, -1)", "query.view(2, 3, 5, 4) @ key.transpose(-2, -1)"),
)  # fmt: skip

FOUR = """
def four_steps(query, key, value, mask):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    masked = torch.where(mask, scores, -torch.inf)
    dead = ~mask.any(-1, keepdim=True)
    weights = masked.masked_fill(dead, 0).softmax(-1).masked_fill(dead, 0)
    output = torch.einsum("nhls,nhsv->nhlv", weights, value)
    return scores, masked, weights, output
"""
FOUR_SLIPS = (
    slip(" / query.shape[-1] ** 0.5", "", "scale-none"),
    slip("** 0.5", "", "scale-d"),
    slip("torch.where(mask,", "torch.where(~mask,"),
    slip("torch.where(mask, scores, -torch.inf)", "scores.masked_fill_(~mask, -torch.inf)",
         "scores-overwritten"),
    slip("masked.masked_fill(dead, 0).softmax(-1).masked_fill(dead, 0)", "scores.softmax(-1)",
         "weights-unmasked"),
    slip("masked.masked_fill(dead, 0).softmax(-1).masked_fill(dead, 0)",
         "scores.softmax(-1) * mask", "weights-mask-after"),
    slip("query @ key.mT", "query @ key.transpose(1, 2)", "no-heads"),
    slip("-torch.inf", "-1e9", "masked-finite"),
    slip("-torch.inf", "torch.zeros_like(scores)", "mask-zero", "mask-multiplied", "mask-tiny"),
    slip(".softmax(-1)", ".softmax(-2)"),
    slip("nhls,nhsv->nhlv\", weights, value", "nhls,nhsv->nhlv\", weights, key", "mix-key"),
    slip("masked.masked_fill(dead, 0).softmax(-1).masked_fill(dead, 0)", "masked.softmax(-1)",
         "masked-row-nan"),
    slip("query @ key.mT", "query @ query.mT", "scores-query-query"),
    slip("(dead, 0).softmax(-1).masked_fill(dead, 0)",
         "(dead, 0).softmax(-1).masked_fill(dead, 0).softmax(-1)", "softmax-twice"),
    slip("return scores, masked", "return masked, scores"),
)  # fmt: skip

SELF = """
def self_attention(x, w_q, w_k, w_v):
    q = x @ w_q.T
    k = x @ w_k.T
    v = x @ w_v.T
    scores = q @ k.transpose(1, 2) / math.sqrt(q.size(-1))
    weights = scores.softmax(dim=-1)
    return weights @ v
"""
SELF_SLIPS = (
    slip("q.size(-1)", "x.size(-1)", "scale-embed"),
    slip(" / math.sqrt(q.size(-1))", "", "scale-none"),
    slip("math.sqrt(q.size(-1))", "q.size(-1)", "scale-d"),
    slip("math.sqrt(q.size(-1))", "math.sqrt(x.size(1))", "scale-length", "scale-query-length"),
    slip("dim=-1", "dim=1", "softmax-queries"),
    slip("dim=-1", "dim=0", "softmax-batch"),
    slip("x @ w_k.T", "x @ w_q.T", "shared-qk"),
    slip("x @ w_v.T", "x @ w_k.T", "shared-kv"),
    slip("weights @ v", "weights @ k", "shared-kv", "mix-key"),
    slip("weights @ v", "weights @ x", "raw-value"),
    slip("weights @ v", "weights.mT @ v", "mix-transposed"),
    slip("weights @ v", "scores @ v", "softmax-none"),
    slip("w_q.T\n    k = x @ w_k.T\n    v = x @ w_v.T", "w_q\n    k = x @ w_k\n    v = x @ w_v",
         "projection-transposed"),
    slip("k.transpose(1, 2)", "k.T", "T"),
    slip("q @ k.transpose(1, 2)", "k @ q.transpose(1, 2)", "scores-swapped", "swapped-qk"),
)  # fmt: skip

CROSS = """
def cross_attention(x, context, w_q, w_k, w_v, mask=None):
    q = F.linear(x, w_q)
    k = F.linear(context, w_k)
    v = F.linear(context, w_v)
    scores = torch.bmm(q, k.transpose(1, 2)) / q.shape[2] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(mask == False, -math.inf)
    weights = torch.softmax(scores, 2).nan_to_num(0.0)
    return torch.bmm(weights, v), weights
"""
CROSS_SLIPS = (
    slip(" / q.shape[2] ** 0.5", "", "scale-none"),
    slip("q.shape[2]", "x.shape[2]", "scale-embed"),
    slip("F.linear(context, w_k)", "F.linear(x, w_k)", "own-keys-only"),
    slip("F.linear(context, w_k)\n    v = F.linear(context, w_v)",
         "F.linear(x, w_k)\n    v = F.linear(x, w_v)", "own-keys"),
    slip("F.linear(context, w_v)", "F.linear(x, w_v)", "own-values"),
    slip("F.linear(context, w_v)", "F.linear(context, w_k)", "shared-kv"),
    slip("mask == False", "mask", "mask-inverted"),
    slip("scores = scores.masked_fill(mask == False, -math.inf)", "pass", "mask-ignored"),
    slip("-math.inf", "-1e9", "masked-row-even"),
    slip(".nan_to_num(0.0)", "", "masked-row-nan"),
    slip("torch.softmax(scores, 2)", "torch.softmax(scores, 1)", "softmax-queries"),
    slip("return torch.bmm(weights, v), weights", "return weights, torch.bmm(weights, v)",
         "return-order"),
    slip("(x, context, w_q", "(context, x, w_q", "argument-order"),
    slip("F.linear(x, w_q)\n    k = F.linear(context, w_k)",
         "F.linear(context, w_q)\n    k = F.linear(x, w_k)"),
)  # fmt: skip

SPLIT = """
def split_heads(x, num_heads):
    N, L, E = x.shape
    x = x.view(N, L, num_heads, E // num_heads)
    return x.transpose(1, 2)
"""
SPLIT_SLIPS = (
    slip("    x = x.view(N, L, num_heads, E // num_heads)\n    return x.transpose(1, 2)",
         "    return x.reshape(N, num_heads, L, E // num_heads)", "split-view"),
    slip("    x = x.view(N, L, num_heads, E // num_heads)\n    return x.transpose(1, 2)",
         "    return torch.stack([x[..., h::num_heads] for h in range(num_heads)], dim=1)",
         "split-interleaved"),
    slip("return x.transpose(1, 2)", "return x", "split-not-moved"),
    slip("x.transpose(1, 2)", "x.permute(2, 0, 1, 3)", "split-first"),
    slip("x.transpose(1, 2)", "x.permute(0, 2, 3, 1)", "split-width"),
    slip("x.transpose(1, 2)", "x.transpose(1, 2).flatten(0, 1)", "split-folded"),
    slip("num_heads, E // num_heads", "E // num_heads, num_heads", "split-numbers"),
    slip("num_heads, E // num_heads", "3, E // 3", "hard-coded"),
    slip("view(N, L, num_heads, E // num_heads)", "view(2, 5, 3, 4)", "hard-coded"),
    slip("view(N, L, num_heads, E // num_heads)", "view(2, 5, num_heads, -1)", "hard-coded"),
    slip("num_heads, E // num_heads", "E // 4, 4", "hard-coded"),
)  # fmt: skip

MERGE = """
def merge_heads(heads):
    N, H, L, D = heads.shape
    return heads.transpose(1, 2).reshape(N, L, H * D)
"""
MERGE_SLIPS = (
    slip(".transpose(1, 2).reshape", ".reshape", "merge-view"),
    slip("heads.transpose(1, 2)", "heads.permute(0, 2, 3, 1)", "merge-interleaved"),
    slip("heads.transpose(1, 2).reshape(N, L, H * D)", "heads.mean(dim=1)", "heads-averaged"),
    slip("heads.transpose(1, 2).reshape(N, L, H * D)", "heads.sum(dim=1)", "heads-summed"),
    slip("heads.transpose(1, 2).reshape(N, L, H * D)", "torch.cat(list(heads.unbind(1)), dim=1)",
         "merge-length"),
    slip(".reshape(N, L, H * D)", "", "merge-unflattened"),
    slip(".reshape(N, L, H * D)", ".view(N, L, H * D)"),
    slip("heads.transpose(1, 2).reshape(N, L, H * D)", "heads[:, 0]", "merge-first"),
    slip("reshape(N, L, H * D)", "reshape(2, L, 12)"),
    slip("reshape(N, L, H * D)", "reshape(-1, H * D)", "merge-flat"),
)  # fmt: skip

MULTI = """
def multi_head(x, w_q, w_k, w_v, w_o, num_heads, mask=None):
    N, L, E = x.shape
    D = E // num_heads
    q, k, v = x @ w_q.T, x @ w_k.T, x @ w_v.T
    q = q.view(N, L, num_heads, D).transpose(1, 2)
    k = k.view(N, L, num_heads, D).transpose(1, 2)
    v = v.view(N, L, num_heads, D).transpose(1, 2)
    scores = q @ k.transpose(-2, -1) / math.sqrt(D)
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), float("-inf"))
    weights = torch.softmax(scores, dim=-1).nan_to_num(0.0)
    heads = weights @ v
    joined = heads.transpose(1, 2).reshape(N, L, E)
    return joined @ w_o.T
"""
_VIEWS = "".join(f"    {n} = {n}.view(N, L, num_heads, D).transpose(1, 2)\n" for n in "qkv")
_JOIN = "heads.transpose(1, 2).reshape(N, L, E)"
MULTI_SLIPS = (
    slip("math.sqrt(D)", "math.sqrt(E)", "scale-embed"),
    slip(" / math.sqrt(D)", "", "scale-none"),
    slip("math.sqrt(D)", "D", "scale-d"),
    slip("/ math.sqrt(D)", "* math.sqrt(D)", "scale-multiplied"),
    slip("math.sqrt(D)", "math.sqrt(L)", "scale-length", "scale-query-length"),
    slip("math.sqrt(D)", "math.sqrt(num_heads)", "scale-heads"),
    slip(_VIEWS, _VIEWS.replace("L, num_heads, D).transpose(1, 2)", "num_heads, L, D)"),
         "split-view"),
    slip(_VIEWS,
         _VIEWS.replace("num_heads, D).transpose(1, 2)", "D, num_heads).permute(0, 3, 1, 2)"),
         "split-interleaved"),
    slip(_VIEWS + "", _VIEWS.replace(".transpose(1, 2)", "") + "    mask = None\n",
         "split-positions"),
    slip(_JOIN, "heads.reshape(N, L, E)", "merge-view"),
    slip(_JOIN, "heads.permute(0, 2, 3, 1).reshape(N, L, E)", "merge-interleaved"),
    slip(_JOIN, "heads.mean(1).repeat(1, 1, num_heads)", "heads-averaged"),
    slip(_JOIN, "heads.sum(1).repeat(1, 1, num_heads)", "heads-summed"),
    slip(f"{_JOIN}\n    return joined @ w_o.T", "heads.mean(1)\n    return joined",
         "heads-averaged"),
    slip(f"{_JOIN}\n    return joined @ w_o.T", "heads.sum(1)\n    return joined @ w_o[:, :D].T",
         "heads-summed"),
    slip("return joined @ w_o.T", "return joined", "output-missing"),
    slip("joined @ w_o.T", "joined @ w_o", "output-transposed"),
    slip("x @ w_q.T, x @ w_k.T, x @ w_v.T", "x @ w_q, x @ w_k, x @ w_v", "projection-transposed"),
    slip("x @ w_q.T, x @ w_k.T, x @ w_v.T", "x, x, x", "raw-all"),
    slip("x @ w_v.T", "x", "raw-value"),
    slip("x @ w_k.T", "x", "raw-key"),
    slip("x @ w_q.T,", "x,", "raw-query"),
    slip("x @ w_q.T, x @ w_k.T, x @ w_v.T", "x @ w_q.T, x @ w_q.T, x @ w_q.T", "shared-all"),
    slip("x @ w_k.T", "x @ w_q.T", "shared-qk"),
    slip("x @ w_v.T", "x @ w_k.T", "shared-kv"),
    slip("x @ w_q.T, x @ w_k.T", "x @ w_k.T, x @ w_q.T", "swapped-qk", "scores-swapped"),
    slip("weights @ v", "weights @ k", "shared-kv", "mix-key"),
    slip("weights @ v", "weights.transpose(-2, -1) @ v", "mix-transposed"),
    slip("dim=-1", "dim=-2", "softmax-queries"),
    slip("dim=-1", "dim=1", "softmax-heads"),
    slip("dim=-1", "dim=0", "softmax-batch"),
    slip("torch.softmax(scores, dim=-1)", "scores", "softmax-none"),
    slip("torch.softmax(scores, dim=-1)", "torch.softmax(scores, -1).softmax(-1)", "softmax-twice"),
    slip("mask.logical_not()", "mask", "mask-inverted"),
    slip("    if mask is not None:\n        scores = scores.masked_fill(mask.logical_not(), "
         "float(\"-inf\"))\n", "", "mask-ignored"),
    slip('float("-inf")', "0", "mask-zero", "mask-multiplied", "mask-tiny"),
    slip('float("-inf")', "-1e-9", "mask-zero", "mask-multiplied", "mask-tiny"),
    slip('float("-inf")', "-1e9", "masked-row-even"),
    slip('scores.masked_fill(mask.logical_not(), float("-inf"))', "scores + mask.float()",
         "mask-added"),
    slip('scores.masked_fill(mask.logical_not(), float("-inf"))', "scores * mask",
         "mask-multiplied", "mask-zero", "mask-tiny"),
    slip("mask.logical_not()", "~mask.transpose(-1, -2)", "mask-transposed"),
    slip("mask.logical_not()", "~(mask.squeeze(1) if mask.dim() == 4 else mask)", "mask-axis"),
    slip("mask.logical_not()", "~(mask if mask.dim() == 2 else mask.transpose(0, 1))", "mask-axis"),
    slip(".nan_to_num(0.0)", "", "masked-row-nan"),
    slip("heads = weights @ v", "weights = F.dropout(weights, 0.2)\n    heads = weights @ v",
         "dropout"),
    slip("heads = weights @ v", "weights = nn.Dropout(0.5)(weights)\n    heads = weights @ v",
         "dropout"),
    slip("    N, L, E = x.shape", "    N, L, E = x.shape\n    x -= 0.5", "in-place"),
    slip("    N, L, E = x.shape", "    x = x.float()\n    w_q, w_k, w_v, w_o = (w.float() for w in "
         "(w_q, w_k, w_v, w_o))\n    N, L, E = x.shape", "float32"),
    slip("    N, L, E = x.shape", "    N, L, E = 2, 5, 12"),
    slip("    N, L, E = x.shape", "    N, L, E = x.shape\n    num_heads = 1", "heads-ignored"),
    slip("return joined @ w_o.T", "return joined @ w_o.T + x", "output-residual"),
    slip("math.sqrt(D)", "2", ),
)  # fmt: skip

CACHE = """
def kv_cache_step(query, key, value, past_key, past_value):
    keys = torch.cat([past_key, key], dim=2)
    values = torch.cat([past_value, value], dim=2)
    L, S = query.shape[2], keys.shape[2]
    scores = query @ keys.transpose(2, 3) / math.sqrt(query.shape[3])
    mask = torch.ones(L, S, dtype=torch.bool).tril(S - L)
    scores = scores.masked_fill(~mask, -float("inf"))
    output = scores.softmax(dim=-1) @ values
    return output, keys, values
"""
CACHE_SLIPS = (
    slip(".tril(S - L)", ".tril()", "cache-corner"),
    slip("    scores = scores.masked_fill(~mask, -float(\"inf\"))\n", "", "cache-unmasked"),
    slip("S - L", "S - L - 1", "cache-strict"),
    slip("S - L", "S - L + 1", "cache-next"),
    slip("~mask", "mask"),
    slip("[past_key, key]", "[key, past_key]"),
    slip("[past_key, key], dim=2)\n    values = torch.cat([past_value, value]",
         "[key, past_key], dim=2)\n    values = torch.cat([value, past_value]", "cache-new-first"),
    slip("return output, keys, values", "return output, past_key, past_value",
         "cache-not-updated"),
    slip("return output, keys, values", "return output, key, value", "cache-forgotten"),
    slip("return output, keys, values", "return output, values, keys", "cache-swapped"),
    slip("return output, keys, values", "return output"),
    slip("math.sqrt(query.shape[3])", "query.shape[3]", "scale-d"),
    slip(" / math.sqrt(query.shape[3])", "", "scale-none"),
    slip("@ values", "@ keys", "mix-key"),
    slip("[past_key, key], dim=2", "[past_key, key], dim=1"),
    slip("keys.transpose(2, 3)", "keys.transpose(1, 2)", "no-heads"),
    slip("    keys = torch.cat([past_key, key], dim=2)", "    past_key *= 1.0001\n    keys = "
         "torch.cat([past_key / 1.0001, key], dim=2)", "in-place"),
)  # fmt: skip

POSITIONS = """
def sinusoidal_positions(length, embed_dim):
    table = torch.zeros(length, embed_dim)
    for pos in range(length):
        for i in range(embed_dim // 2):
            angle = pos / 10000 ** (2 * i / embed_dim)
            table[pos, 2 * i] = math.sin(angle)
            table[pos, 2 * i + 1] = math.cos(angle)
    return table
"""
POSITIONS_SLIPS = (
    slip("(2 * i / embed_dim)", "(i / embed_dim)", "positions-halved"),
    slip("10000", "1000", "positions-base-1000"),
    slip("table[pos, 2 * i] = math.sin(angle)\n            table[pos, 2 * i + 1] = math.cos(angle)",
         "table[pos, 2 * i] = math.cos(angle)\n            table[pos, 2 * i + 1] = math.sin(angle)",
         "positions-swapped"),
    slip("[pos, 2 * i]", "[pos, i]", ),
    slip("table[pos, 2 * i] = math.sin(angle)\n            table[pos, 2 * i + 1]",
         "table[pos, i] = math.sin(angle)\n            table[pos, embed_dim // 2 + i]",
         "positions-half-split"),
    slip("pos / 10000", "(pos + 1) / 10000", "positions-from-1"),
    slip("math.cos(angle)", "math.sin(angle)", "positions-sines"),
    slip("pos / 10000", "pos * 10000", "positions-negative"),
    slip("pos / 10000 ** (2 * i / embed_dim)",
         "(torch.tensor(pos) * torch.tensor(10000.0) ** torch.tensor(2 * i / embed_dim)).item()",
         "positions-negative"),
    slip("return table", "return table.tolist()"),
    slip("(2 * i / embed_dim)", "0", "positions-one-frequency"),
    slip("return table", "return table.T", "positions-transposed"),
    slip("(2 * i / embed_dim)", "(4 * i / embed_dim)", "positions-doubled"),
    slip("torch.zeros(length, embed_dim)", "torch.zeros(5, 12)", "hard-coded"),
)  # fmt: skip

ADDITIVE = """
def additive_scores(query, key, w_q, w_k, v):
    q = query @ w_q.T
    k = key @ w_k.T
    hidden = torch.tanh(q[:, :, None, :] + k[:, None, :, :])
    return hidden @ v
"""
ADDITIVE_SLIPS = (
    slip("torch.tanh(q[:, :, None, :] + k[:, None, :, :])", "q[:, :, None, :] + k[:, None, :, :]",
         "additive-no-tanh"),
    slip("torch.tanh(q[:, :, None, :] + k[:, None, :, :])",
         "torch.tanh(q)[:, :, None, :] + torch.tanh(k)[:, None, :, :]", "additive-tanh-each"),
    slip("return hidden @ v", "return q @ k.transpose(1, 2)", "additive-dot"),
    slip("return hidden @ v", "return q @ k.mT / math.sqrt(q.shape[-1])", "additive-dot"),
    slip("return hidden @ v", "return query @ key.transpose(1, 2)", "additive-dot"),
    slip("torch.tanh(q[:, :, None, :] + k[:, None, :, :])", "q[:, :, None, :] * k[:, None, :, :]",
         "additive-product-plain"),
    slip("None, :] + k", "None, :] * k", "additive-product"),
    slip("None, :] + k", "None, :] - k", "additive-difference"),
    slip("torch.tanh", "torch.sigmoid", "additive-sigmoid"),
    slip("torch.tanh", "torch.relu", "additive-relu"),
    slip("return hidden @ v", "return hidden.sum(-1)", "additive-no-v"),
    slip("return hidden @ v", "return hidden.mean(-1)", "additive-mean"),
    slip("return hidden @ v", "return torch.softmax(hidden @ v, -1)", "additive-softmax"),
    slip("return hidden @ v", "return (hidden @ v) / math.sqrt(len(v))", "additive-scaled"),
    slip("return hidden @ v", "return (hidden @ v).transpose(1, 2)", "additive-transposed"),
    slip("q[:, :, None, :] + k[:, None, :, :]", "q[:, None, :, :] + k[:, :, None, :]",
         "additive-transposed"),
    slip("query @ w_q.T\n    k = key @ w_k.T", "query @ w_k.T\n    k = key @ w_q.T",
         "additive-weights-swapped"),
    slip("query @ w_q.T\n    k = key @ w_k.T", "query @ w_q\n    k = key @ w_k",
         "additive-weights-transposed"),
    slip("key @ w_k.T", "key @ w_q.T", "additive-weights-shared"),
    slip("return hidden @ v", "return hidden @ v.unsqueeze(-1)"),
)  # fmt: skip

LOOK = """
def look_by_code(maps):
    best, found = -1.0, None
    for layer in range(maps.shape[0]):
        for head in range(maps.shape[1]):
            weight = maps[layer, head].diagonal(-1).mean().item()
            if weight > best:
                best, found = weight, (layer, head)
    return found
"""
LOOK_AT_ONCE = """
def look_by_code(maps):
    average = maps.diagonal(-1, dim1=-2, dim2=-1).mean(-1)
    return divmod(average.argmax().item(), maps.shape[1])
"""
LOOK_AT_ONCE_SLIPS = (
    slip("-1, dim1=-2, dim2=-1", "-1", "no-dims"),
    slip("mean(-1)", "amax(-1)", "largest"),
    slip("maps.diagonal(-1, dim1=-2, dim2=-1)", "maps.amax(-1)", "sharpest"),
    slip("maps.shape[1]", "maps.shape[0]", "divided-by-layers"),
)  # fmt: skip
LOOK_SLIPS = (
    slip("diagonal(-1)", "diagonal(1)", "next"),
    slip("diagonal(-1)", "diagonal()", "own"),
    slip("diagonal(-1).mean()", "diagonal(-1).max()", "largest"),
    slip("diagonal(-1).mean()", "max()", "any"),
    slip("diagonal(-1).mean()", "amax(-1).mean()", "sharpest"),
    slip("diagonal(-1)", "diagonal(-2)", "two-back"),
    slip("diagonal(-1)", "select(1, 0)", "first"),
    slip("weight > best", "best == -1.0 or weight < best", "least"),
    slip("return found", "return found[0] + 1, found[1] + 1", "from-1"),
    slip("return found", "return found[1], found[0]", "swapped"),
    slip("return found", "return found[0]"),
)  # fmt: skip

# exercise, a right answer, what goes wrong in it
FAMILIES: tuple[tuple[str, str, tuple[Slip, ...]], ...] = (
    ("softmax", SOFTMAX, SOFTMAX_SLIPS),
    ("causal-mask", CAUSAL, CAUSAL_SLIPS),
    ("padding-mask", PADDING, PADDING_SLIPS),
    ("window-mask", WINDOW, WINDOW_SLIPS),
    ("scaled-scores", SCORES, SCORES_SLIPS),
    ("scaled-dot-product", ATTENTION, ATTENTION_SLIPS),
    ("repair-mask", ATTENTION, ATTENTION_SLIPS),
    ("four-steps", FOUR, FOUR_SLIPS),
    ("self-attention", SELF, SELF_SLIPS),
    ("repair-transpose", SELF, SELF_SLIPS),
    ("cross-attention", CROSS, CROSS_SLIPS),
    ("split-heads", SPLIT, SPLIT_SLIPS),
    ("merge-heads", MERGE, MERGE_SLIPS),
    ("multi-head", MULTI, MULTI_SLIPS),
    ("repair-scale", MULTI, MULTI_SLIPS),
    ("kv-cache-step", CACHE, CACHE_SLIPS),
    ("repair-cache", CACHE, CACHE_SLIPS),
    ("sinusoidal-positions", POSITIONS, POSITIONS_SLIPS),
    ("additive-scores", ADDITIVE, ADDITIVE_SLIPS),
    ("look-by-code", LOOK, LOOK_SLIPS),
    ("look-by-code", LOOK_AT_ONCE, LOOK_AT_ONCE_SLIPS),
)


def wrong(text: str, slip: Slip) -> str:
    assert text.count(slip.old) >= 1, slip
    return text.replace(slip.old, slip.new)


def pairs(text: str, slips: tuple[Slip, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Two mistakes at once, where they are in different places of the text."""
    for one, two in itertools.combinations(slips, 2):
        at_one, at_two = text.find(one.old), text.find(two.old)
        apart = at_one + len(one.old) <= at_two or at_two + len(two.old) <= at_one
        once = text.count(one.old) == text.count(two.old) == 1
        if apart and once and one.names and two.names:
            yield wrong(wrong(text, one), two), one.names + two.names
