"""Attention with one thing changed: the known mistakes of the exercises, made on purpose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from attn_examples.exercises.compare import PITFALLS
from attn_examples.exercises.spec import Mistake

__all__: list[str] = []

INFINITY = float("inf")
SOFTMAX_PAGE = "formulas/softmax-and-scale.html"
MASKS_PAGE = "formulas/masks.html"
NOTHING_DIVIDED = (
    "a row in which nothing is allowed is divided by its sum, which is 0, or -inf is subtracted "
    "from -inf, as torch's softmax does with a row of nothing but -inf: that is NaN"
)
# What may become of a row with nothing allowed, which is no part of these mistakes:
# plain softmax gives NaN, a large negative number spreads evenly, a careful one gives 0.
STYLES = ("nan", "even", "zero")


def safe_softmax(scores: Tensor, dim: int = -1) -> Tensor:
    """Softmax that gives 0 where there is nothing but minus infinity."""
    nothing = (scores == -INFINITY).all(dim, keepdim=True)
    return scores.masked_fill(nothing, 0.0).softmax(dim).masked_fill(nothing, 0.0)


def changed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    *,
    style: str = "zero",
    divisor: Callable[[Tensor, Tensor], float] | None = None,
    masking: str = "",
    fill: float = -INFINITY,
    normalizing: str = "",
    dim: int = -1,
    mixing: str = "",
    scoring: str = "",
) -> dict[str, Tensor]:
    """Return every step of attention, right unless one of the options says otherwise."""
    E = query.shape[-1]
    if scoring == "swapped":
        query, key = key, query
    elif scoring == "key-key":
        query = key
    elif scoring == "query-query":
        key = query
    elif scoring == "value":
        key = value
    turned = key.mT
    if scoring == "reshaped":
        turned = key.reshape(turned.shape)
    scores = query @ turned / (E**0.5 if divisor is None else divisor(query, key))
    masked = scores
    if masking == "always":
        mask = mask if mask is not None else scores.new_ones(scores.shape[-2:]).bool()
    if mask is not None:
        masked = _masked(scores, mask, masking, fill, style)
    weights = _normalized(masked, normalizing, dim, style)
    if mask is not None and masking == "after":
        weights = weights * mask
    if normalizing == "late-scale":
        weights = safe_softmax(masked * E**0.5, dim) / E**0.5
    mixed = {"key": key, "query": query}.get(mixing, value)
    if mixing == "transposed":
        output = weights.mT @ value
    elif mixing == "residual":
        output = weights @ value + query
    elif mixing == "mean":
        output = weights @ value / value.shape[-2]
    else:
        output = weights @ mixed
    return {"scores": scores, "masked": masked, "weights": weights, "output": output}


def _masked(scores: Tensor, mask: Tensor, masking: str, fill: float, style: str) -> Tensor:
    if style == "even" and fill == -INFINITY:
        fill = -1e9
    if masking in ("ignored", "after"):
        return scores
    if masking == "multiplied":
        return scores * mask
    if masking == "added":
        return scores + mask.to(scores.dtype)
    if masking == "subtracted":
        return scores - (~mask).to(scores.dtype)
    L, S = scores.shape[-2:]
    corner = {"strict": -1, "own-strict": -1, "own-next": 1}.get(masking, 0)
    causal = torch.ones(L, S, dtype=torch.bool, device="cpu").tril(S - L + corner)
    if masking == "strict":
        mask = mask & causal
    if masking.startswith("own") or masking == "always":
        mask = causal
    if masking == "heads":  # (N, 1, L, S) meets the heads
        mask = mask.transpose(0, 1) if mask.dim() == 4 else mask
    if masking == "transposed":
        mask = mask.mT
    if masking == "inverted":
        mask = ~mask
    if masking == "keys":  # each query is masked, not each key
        mask = mask.any(-2, keepdim=True).mT
    return scores.masked_fill(~mask, fill)


def _normalized(masked: Tensor, normalizing: str, dim: int, style: str) -> Tensor:
    if normalizing == "none":
        return masked
    if normalizing == "sigmoid":
        return masked.sigmoid()
    if normalizing == "exp":
        return masked.exp()
    if normalizing == "sum":
        return masked / masked.sum(dim, keepdim=True)
    if normalizing == "log":
        return masked.log_softmax(dim)
    if normalizing == "all":
        return masked.flatten(-2).softmax(-1).view_as(masked)
    softmax = torch.softmax if style == "nan" else safe_softmax
    weights = softmax(masked, dim)
    return weights.softmax(dim) if normalizing == "twice" else weights


Wrong = Callable[..., dict[str, Tensor]]

# name, cause, page, options of changed_attention
SCALES: tuple[tuple[str, str, str, dict[str, Any]], ...] = tuple(
    (name, cause, page, {"divisor": divisor})
    for name, cause, page, divisor in (
        (
            "scale-none",
            "the scores are not divided by the square root of head_dim",
            f"{SOFTMAX_PAGE}#what-happens-without-the-scale",
            lambda q, k: 1.0,
        ),
        (
            "scale-d",
            "the scores are divided by head_dim and not by its square root",
            f"{SOFTMAX_PAGE}#why-the-square-root-of-head-dim",
            lambda q, k: q.shape[-1],
        ),
        (
            "scale-multiplied",
            "the scores are multiplied by the square root of head_dim, not divided by it",
            f"{SOFTMAX_PAGE}#why-the-square-root-of-head-dim",
            lambda q, k: q.shape[-1] ** -0.5,
        ),
        (
            "scale-length",
            "the scores are divided by the square root of the number of keys, not of head_dim",
            f"{SOFTMAX_PAGE}#why-the-square-root-of-head-dim",
            lambda q, k: k.shape[-2] ** 0.5,
        ),
        (
            "scale-query-length",
            "the scores are divided by the square root of the number of queries, not of head_dim",
            f"{SOFTMAX_PAGE}#why-the-square-root-of-head-dim",
            lambda q, k: q.shape[-2] ** 0.5,
        ),
    )
)
HEAD_SCALES: tuple[tuple[str, str, str, dict[str, Any]], ...] = tuple(
    (name, cause, page, {"divisor": divisor})
    for name, cause, page, divisor in (
        (
            "scale-embed",
            "the scores are divided by the square root of embed_dim, the width of all heads "
            "together, and not of head_dim",
            f"{PITFALLS}/scores.html#scaled-by-the-width-of-the-model",
            lambda q, k: (q.shape[-1] * q.shape[-3]) ** 0.5,
        ),
        (
            "scale-heads",
            "the scores are divided by the square root of the number of heads, not of head_dim",
            f"{PITFALLS}/scores.html#scaled-by-the-width-of-the-model",
            lambda q, k: q.shape[-3] ** 0.5,
        ),
    )
)
FIXED_SCALES: tuple[tuple[str, str, str, dict[str, Any]], ...] = tuple(
    (
        "hard-coded",
        f"the scores are divided by the square root of {width}, a number written into the code, "
        f"and not of head_dim as it comes",
        f"{SOFTMAX_PAGE}#why-the-square-root-of-head-dim",
        {"divisor": lambda q, k, width=width: width**0.5},
    )
    for width in (2, 3, 4, 5, 6, 8, 10, 12, 16, 64)
)
LATE_SCALE = (
    "scale-after-softmax",
    "the division by the square root of head_dim comes after the softmax, not before it",
    f"{SOFTMAX_PAGE}#why-the-square-root-of-head-dim",
    {"normalizing": "late-scale"},
)
_DIMS = f"{PITFALLS}/weights-and-heads.html#softmax-over-the-wrong-dimension"
SOFTMAXES: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "softmax-queries",
        "the softmax runs over the queries (dim=-2): the columns sum to 1, not the rows",
        _DIMS,
        {"dim": -2},
    ),
    ("softmax-batch", "the softmax runs over the batch (dim=0)", _DIMS, {"dim": 0}),
    (
        "softmax-all",
        "one softmax runs over all queries and keys together",
        _DIMS,
        {"normalizing": "all"},
    ),
    (
        "softmax-none",
        "there is no softmax: the scores themselves are the weights",
        f"{SOFTMAX_PAGE}#smallest-example",
        {"normalizing": "none"},
    ),
    (
        "softmax-twice",
        "the softmax is applied twice",
        f"{SOFTMAX_PAGE}#smallest-example",
        {"normalizing": "twice"},
    ),
    (
        "softmax-exp",
        "the exponentials are not divided by their sum",
        f"{SOFTMAX_PAGE}#the-formula-derived",
        {"normalizing": "exp"},
    ),
    (
        "softmax-sum",
        "the scores are divided by their sum without the exponential",
        f"{SOFTMAX_PAGE}#the-formula-derived",
        {"normalizing": "sum"},
    ),
    (
        "softmax-sigmoid",
        "a sigmoid stands in place of the softmax: each weight by itself, the rows do not sum to 1",
        f"{SOFTMAX_PAGE}#smallest-example",
        {"normalizing": "sigmoid"},
    ),
    (
        "softmax-log",
        "log_softmax stands in place of softmax",
        f"{SOFTMAX_PAGE}#smallest-example",
        {"normalizing": "log"},
    ),
)
SOFTMAX_HEADS = ("softmax-heads", "the softmax runs over the heads (dim=1)", _DIMS, {"dim": 1})
MASKINGS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "mask-inverted",
        "the mask is inverted: what is True is hidden, but True means allowed",
        f"{PITFALLS}/masks.html#the-mask-is-inverted",
        {"masking": "inverted"},
    ),
    (
        "mask-ignored",
        "the mask is ignored",
        f"{PITFALLS}/masks.html#no-mask-at-all",
        {"masking": "ignored"},
    ),
    (
        "mask-after",
        "the mask comes after the softmax: the rows no longer sum to 1",
        f"{PITFALLS}/masks.html#the-mask-comes-after-the-softmax",
        {"masking": "after"},
    ),
    (
        "mask-zero",
        "forbidden scores are filled with 0, which still gets a weight, and not with -inf",
        f"{MASKS_PAGE}#before-the-softmax-or-after",
        {"fill": 0.0},
    ),
    (
        "mask-multiplied",
        "the scores are multiplied by the mask, which makes forbidden ones 0 and not -inf",
        f"{MASKS_PAGE}#before-the-softmax-or-after",
        {"masking": "multiplied"},
    ),
    (
        "mask-tiny",
        "forbidden scores are filled with a tiny number such as 1e-9 or -1e-9, where a large "
        "negative one, or -inf, is meant",
        f"{MASKS_PAGE}#is-1e9-as-good",
        {"fill": 1e-9},
    ),
    (
        "mask-added",
        "the mask is added to the scores as zeros and ones",
        f"{PITFALLS}/masks.html#a-mask-of-zeros-and-ones-is-added",
        {"masking": "added"},
    ),
    (
        "mask-subtracted",
        "1 is taken off the forbidden scores, which still get a weight; -inf is wanted",
        f"{PITFALLS}/masks.html#a-mask-of-zeros-and-ones-is-added",
        {"masking": "subtracted"},
    ),
    (
        "mask-weak",
        "forbidden scores are filled with -1, which still gets a weight, and not with -inf",
        f"{MASKS_PAGE}#is-1e9-as-good",
        {"fill": -1.0},
    ),
    (
        "mask-ten",
        "forbidden scores are filled with -10, which still gets a weight, and not with -inf",
        f"{MASKS_PAGE}#is-1e9-as-good",
        {"fill": -10.0},
    ),
    (
        "mask-plus-infinity",
        "forbidden scores are filled with +inf and not with -inf",
        f"{MASKS_PAGE}#the-formula",
        {"fill": INFINITY},
    ),
    (
        "mask-transposed",
        "the mask is transposed: its rows belong to the queries",
        "formulas/masks-of-batches.html#the-right-axis",
        {"masking": "transposed"},
    ),
    (
        "mask-queries",
        "padding hides queries, not keys",
        "formulas/masks-of-batches.html#the-right-axis",
        {"masking": "keys"},
    ),
    (
        "mask-strict",
        "the diagonal is hidden too: a query does not see its own position",
        "types/masks/causal.html#formula",
        {"masking": "strict"},
    ),
    *(
        (
            f"mask-{how}",
            f"a causal mask of your own stands in place of the mask that is given{also}",
            "types/masks/causal.html#formula",
            {"masking": how},
        )
        for how, also in (
            ("own", ""),
            ("own-strict", ", and it hides the diagonal"),
            ("own-next", ", and it is off by one: a query sees the next position"),
            ("always", ", and where none is given"),
        )
    ),
)
# what leaves a weight to what is forbidden, whatever the mask is
WEAK_MASKS = MASKINGS[2:11]
MASK_HEADS = (
    "mask-axis",
    "the batch of the mask meets the heads of the scores",
    f"{PITFALLS}/masks.html#the-mask-meets-the-wrong-axis",
    {"masking": "heads"},
)
MIXINGS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "mix-key",
        "the keys are averaged, not the values",
        "concepts/queries-keys-values.html#who-does-what",
        {"mixing": "key"},
    ),
    (
        "mix-query",
        "the queries are averaged, not the values",
        "concepts/queries-keys-values.html#who-does-what",
        {"mixing": "query"},
    ),
    (
        "mix-transposed",
        "the weights are transposed before they meet the values",
        "formulas/scaled-dot-product.html#from-the-sentence-to-matrices",
        {"mixing": "transposed"},
    ),
    (
        "mix-mean",
        "the weighted sum is divided by the number of keys once more",
        "concepts/four-steps.html#each-output-is-a-weighted-sum",
        {"mixing": "mean"},
    ),
    (
        "mix-residual",
        "the queries are added to the output: a residual connection comes after the layer",
        "concepts/four-steps.html#each-output-is-a-weighted-sum",
        {"mixing": "residual"},
    ),
)
KEYS_RESHAPED: tuple[str, str, str, dict[str, Any]] = (
    "keys-reshaped",
    "the keys are reshaped, not transposed: that cuts the same row of numbers at other places",
    f"{PITFALLS}/projections-and-shapes.html#view-where-transpose-was-needed",
    {"scoring": "reshaped"},
)
SCORINGS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "scores-swapped",
        "queries and keys are swapped",
        f"{PITFALLS}/projections-and-shapes.html#arguments-in-another-order",
        {"scoring": "swapped"},
    ),
    (
        "scores-key-key",
        "the keys are compared with the keys",
        "concepts/queries-keys-values.html#who-does-what",
        {"scoring": "key-key"},
    ),
    (
        "scores-query-query",
        "the queries are compared with the queries",
        "concepts/queries-keys-values.html#who-does-what",
        {"scoring": "query-query"},
    ),
    (
        "scores-value",
        "the queries are compared with the values, not with the keys",
        "concepts/queries-keys-values.html#who-does-what",
        {"scoring": "value"},
    ),
    KEYS_RESHAPED,
)
# Where only the output is seen, each of these gives the same numbers as another one, and
# without a mask as one mistake above, so that nobody can tell them apart.
TWO_AT_ONCE: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "softmax-queries-and-transposed",
        "the softmax runs over the queries and the weights are then transposed",
        _DIMS,
        {"dim": -2, "mixing": "transposed"},
    ),
    (
        "swapped-and-softmax-queries",
        "queries and keys are swapped and the softmax runs over dim=-2",
        _DIMS,
        {"scoring": "swapped", "dim": -2},
    ),
    (
        "swapped-and-transposed",
        "queries and keys are swapped and the weights are then transposed",
        f"{PITFALLS}/projections-and-shapes.html#arguments-in-another-order",
        {"scoring": "swapped", "mixing": "transposed"},
    ),
    (
        "swapped-and-mask-transposed",
        "queries and keys are swapped and the mask is transposed",
        f"{PITFALLS}/projections-and-shapes.html#arguments-in-another-order",
        {"scoring": "swapped", "masking": "transposed"},
    ),
    (
        "transposed-and-mask-transposed",
        "weights and mask are both transposed",
        "formulas/masks-of-batches.html#the-right-axis",
        {"mixing": "transposed", "masking": "transposed"},
    ),
    (
        "softmax-queries-and-mask-transposed",
        "the softmax runs over the queries and the mask is transposed",
        _DIMS,
        {"dim": -2, "masking": "transposed"},
    ),
)


def from_options(
    table: tuple[tuple[str, str, str, dict[str, Any]], ...],
    wrap: Callable[..., Any],
) -> tuple[Mistake, ...]:
    """Make a mistake of each line of a table.

    `wrap` takes the style, the options and the arguments of the exercise, and returns
    what the exercise returns. All styles of a mistake have its name.
    """
    return tuple(
        Mistake(name, cause, partial(wrap, style, options), page)
        for name, cause, page, options in table
        for style in (STYLES if name != "hard-coded" else STYLES[-1:])  # numbers enough
    )


def in_pairs(
    ones: tuple[tuple[str, str, str, dict[str, Any]], ...],
    others: tuple[tuple[str, str, str, dict[str, Any]], ...],
    wrap: Callable[..., Any],
) -> tuple[Mistake, ...]:
    """Make two mistakes at once of each line of one table with each of another."""
    return from_options(
        tuple(
            (f"{one[0]}+{other[0]}", f"{one[1]}, and {other[1]}", one[2], one[3] | other[3])
            for one in ones
            for other in others
        ),
        wrap,
    )


def never_allowed(mistakes_of: Callable[[str], Any]) -> tuple[Mistake, ...]:
    """Return the ways to treat a row with nothing allowed; `mistakes_of` takes the style."""
    page = f"{PITFALLS}/empty-rows-and-corners.html#every-key-of-a-row-is-masked"
    return (
        Mistake(
            "masked-row-nan",
            NOTHING_DIVIDED,
            mistakes_of("nan"),
            page,
        ),
        Mistake(
            "masked-row-even",
            "forbidden scores are filled with a large finite number such as -1e9: where all "
            "are forbidden, all are equal again",
            mistakes_of("even"),
            f"{PITFALLS}/empty-rows-and-corners.html#a-large-negative-number-for-minus-infinity",
        ),
    )


def projected(x: Tensor, weight: Tensor) -> Tensor:
    """Apply a weight as `nn.Linear` holds it."""
    return F.linear(x, weight)
