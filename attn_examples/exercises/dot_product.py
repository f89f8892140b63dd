"""Exercises: scores, scaled dot-product attention, and its four steps one at a time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from attn_examples.exercises.compare import PITFALLS
from attn_examples.exercises.spec import Case, Draw, FunctionExercise, Mistake, Sizes, Trap
from attn_examples.exercises.variations import (
    FIXED_SCALES,
    HEAD_SCALES,
    KEYS_RESHAPED,
    LATE_SCALE,
    MASK_HEADS,
    MASKINGS,
    MIXINGS,
    SCALES,
    SCORINGS,
    SOFTMAX_HEADS,
    SOFTMAXES,
    TWO_AT_ONCE,
    changed_attention,
    from_options,
    never_allowed,
)

__all__: list[str] = []

FOUR = ("scores", "masked", "weights", "output")
_PAGE = "formulas/scaled-dot-product.html#from-the-sentence-to-matrices"
_NOTHING = f"{PITFALLS}/empty-rows-and-corners.html#every-key-of-a-row-is-masked"


def _qkv(draw: Draw, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor]:
    """Draw queries, keys and values: as many keys as queries, and `extra`."""
    N, H, L, E = sizes["N"], sizes["H"], sizes["L"], sizes["E"]
    S = L + sizes.get("extra", 0) + sizes.get("more", 0)
    return draw.normal(N, H, L, E), draw.normal(N, H, S, E), draw.normal(N, H, S, sizes["Ev"])


def _without_mask(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return *_qkv(draw, sizes), None


def _with_mask(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    query, key, value = _qkv(draw, sizes)
    return query, key, value, draw.mask(query.shape[-2], key.shape[-2], sizes["N"], 1)


def _with_causal(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    query, key, value = _qkv(draw, sizes)
    return query, key, value, draw.mask(query.shape[-2], key.shape[-2])


def _nothing_allowed(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    query, key, value, mask = _with_mask(draw, sizes)
    mask = mask.clone()
    mask[..., 0, :] = False
    return query, key, value, mask


def _loud(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    query, key, value, mask = _with_mask(draw, sizes)
    return 100.0 * query, key, value, mask


def _overshadowed(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    """Give the last key, always forbidden, by far the largest score."""
    query, key, value, mask = _with_mask(draw, sizes)
    key[..., -1, :], mask[..., -1] = 300.0, False
    return query.abs() + 1.0, key, value, mask


def _late(how: str, replaced: float, *arguments: Any) -> Any:
    """Mask after the softmax, and divide what is left of each row by its sum."""
    query, key, value, mask = arguments
    steps = changed_attention(query, key, value, mask)
    weights = steps["scores"].float().softmax(-1) * mask
    weights = (weights / weights.sum(-1, keepdim=True)).nan_to_num(replaced)
    steps |= {"weights": weights, "output": weights @ value.float()}
    return tuple(steps[name] for name in (FOUR if how == "four" else ("output", "weights")))


def _late_trap(how: str) -> Trap:
    return Trap(
        "Where a forbidden key has by far the largest score, your function fails.",
        _overshadowed,
        _QKV_SIZES | {"more": 2},
        tuple(
            Mistake(
                "mask-late-sum",
                "the mask comes after the softmax and each row is divided by the sum of what is "
                "left: here that is 0, as it is where nothing is allowed",
                partial(_late, how, replaced),
                f"{PITFALLS}/masks.html#the-mask-comes-after-the-softmax",
            )
            for replaced in (float("nan"), 0.0)
        ),
        f"{PITFALLS}/masks.html#the-mask-comes-after-the-softmax",
    )


def _without_heads(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """(N, H, L, E) -> (N * H, L, E), and the mask with it."""
    query, key, value, mask = arguments
    heads = query.shape[1]
    if mask is not None and mask.dim() == 4:
        mask = mask.repeat_interleave(heads, dim=0).squeeze(1)
    return query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), mask


_QKV_SIZES = {"N": 2, "H": 3, "L": 5, "E": 4, "Ev": 6}
_ALIKE = dict.fromkeys(("N", "H", "L", "E", "Ev"), 3)
_LONGER = _QKV_SIZES | {"extra": 2}
_MASK_GROUPS = ("without a mask", "with a mask", "with other sizes")
_QKV_CASES = (
    Case(0, _without_mask, _QKV_SIZES),
    Case(0, _without_mask, _LONGER),
    Case(1, _with_causal, _QKV_SIZES),
    Case(1, _with_mask, _QKV_SIZES),
    Case(1, _with_mask, _LONGER),
    Case(1, _with_mask, _LONGER | {"N": 3}),
    Case(2, _without_mask, {"N": 3, "H": 2, "L": 4, "extra": 2, "E": 5, "Ev": 3}),
    Case(2, _with_mask, {"N": 3, "H": 2, "L": 4, "extra": 2, "E": 5, "Ev": 3}),
    Case(2, _with_mask, {"N": 1, "H": 1, "L": 1, "extra": 2, "E": 3, "Ev": 1}),
    Case(0, _without_mask, _ALIKE),  # what tells keys from values, or heads from the batch?
    Case(1, _with_mask, _ALIKE),
)


def right_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention: output and weights."""
    steps = changed_attention(query, key, value, mask)
    return steps["output"], steps["weights"]


def wrong_attention(
    style: str,
    options: dict[str, Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention with the mistake that the options make."""
    steps = changed_attention(query, key, value, mask, style=style, **options)
    return steps["output"], steps["weights"]


def _returned(
    what: str, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    steps = changed_attention(query, key, value, mask)
    output, weights = steps["output"], steps["weights"]
    if what == "swapped":
        return weights, output
    if what == "scores":
        return output, steps["scores"]
    if what == "masked":
        return output, steps["masked"]
    if what == "transposed":
        return output, weights.mT
    if what == "batch":
        return output, weights.mean(0)
    if what == "summed":
        return output, weights.sum(1)
    return output, weights.mean(1)


_RETURNED = tuple(
    Mistake(name, cause, partial(_returned, what), page)
    for name, what, cause, page in (
        ("return-order", "swapped", "weights and output are returned in the other order", _PAGE),
        (
            "return-scores",
            "scores",
            "the scores are returned in place of the weights: the softmax is missing there",
            _PAGE,
        ),
        (
            "return-scores",
            "masked",
            "the scores are returned in place of the weights: the softmax is missing there",
            _PAGE,
        ),
        (
            "return-transposed",
            "transposed",
            "the weights are returned transposed: row i belongs to query i",
            "concepts/reading-maps.html#rows-are-queries-columns-are-keys",
        ),
        (
            "return-averaged",
            "mean",
            "the weights are averaged over the heads, as torch's module does by default",
            f"{PITFALLS}/weights-and-heads.html#weights-averaged-over-heads",
        ),
        ("return-batch", "batch", "the weights are averaged over the batch", _PAGE),
        (
            "return-summed",
            "summed",
            "the weights are summed over the heads",
            f"{PITFALLS}/weights-and-heads.html#weights-averaged-over-heads",
        ),
    )
)

# without HEAD_SCALES where there are no heads
_ONE_MAP = (*SCALES, *FIXED_SCALES, LATE_SCALE, *SOFTMAXES, *MASKINGS, *MIXINGS, *SCORINGS)
_QKV_TABLE = (*_ONE_MAP, *HEAD_SCALES, SOFTMAX_HEADS, MASK_HEADS)


def _overflowing(
    *arguments: Any, replaced: float = float("nan"), shifted: bool = False
) -> tuple[Tensor, Tensor]:
    """Take the exponentials in float32, and of the scores as they are or less the largest."""
    masked = changed_attention(*arguments)["masked"]
    powers = (masked - (masked.max() if shifted else 0.0)).float().exp()
    weights = (powers / powers.sum(-1, keepdim=True)).nan_to_num(replaced)
    return weights.double() @ arguments[2], weights


_LOUD = Trap(
    "With scores of several hundred and a mask, your function fails.",
    _loud,
    _LONGER,
    (
        *(
            Mistake(
                "mask-hundreds",
                "forbidden scores are filled with a number such as -100, which large scores reach; "
                "use -inf",
                partial(wrong_attention, "zero", {"fill": fill}),
                f"{PITFALLS}/empty-rows-and-corners.html#a-large-negative-number-for-minus-infinity",
            )
            for fill in (-100.0, -50.0, -20.0, -1000.0)
        ),
        *(
            Mistake(
                name,
                f"{cause}; subtract the largest score of each row",
                partial(_overflowing, replaced=replaced, shifted=shifted),
                "formulas/softmax-and-scale.html#overflow-and-the-way-around-it",
            )
            for name, cause, shifted in (
                ("overflow", "the exponential is taken of large scores: it overflows", False),
                (
                    "global-largest",
                    "the largest score of all is subtracted, so that the exponentials of other "
                    "rows are rounded to 0",
                    True,
                ),
            )
            for replaced in (float("nan"), 0.0)
        ),
    ),
    "formulas/softmax-and-scale.html#overflow-and-the-way-around-it",
)


SCALED_DOT_PRODUCT = FunctionExercise(
    name="scaled-dot-product",
    kind="write",
    task="Write scaled dot-product attention, with a mask that is True where attention is allowed.",
    parameters=("query", "key", "value", "mask"),
    returns=("output", "weights"),
    steps=("weights", "output"),
    right=right_attention,
    groups=_MASK_GROUPS,
    cases=_QKV_CASES,
    mistakes=(*from_options(_QKV_TABLE, wrong_attention), *_RETURNED),
    page=_PAGE,
    traps=(
        _late_trap(""),
        Trap(
            "Where a query may look at nothing, your function fails: weights and output should "
            "be 0.",
            _nothing_allowed,
            _LONGER,
            never_allowed(lambda style: partial(wrong_attention, style, {})),
            _NOTHING,
        ),
        _LOUD,
    ),
    fallback=_without_heads,
    lenient=True,
)

REPAIR_MASK = FunctionExercise(
    name="repair-mask",
    kind="repair",
    task="Repair scaled dot-product attention.",
    parameters=SCALED_DOT_PRODUCT.parameters,
    returns=SCALED_DOT_PRODUCT.returns,
    steps=SCALED_DOT_PRODUCT.steps,
    right=right_attention,
    groups=_MASK_GROUPS,
    cases=_QKV_CASES,
    mistakes=SCALED_DOT_PRODUCT.mistakes,
    page=_PAGE,
    traps=SCALED_DOT_PRODUCT.traps,
    fallback=_without_heads,
)


def _four(
    style: str,
    options: dict[str, Any],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
) -> tuple[Tensor, ...]:
    steps = changed_attention(query, key, value, mask, style=style, **options)
    return steps["scores"], steps["masked"], steps["weights"], steps["output"]


def _four_torn(masking: str, *arguments: Any) -> tuple[Tensor, ...]:
    """Return right masked scores, with something wrong before or after them."""
    right = changed_attention(*arguments)
    if not masking:
        return right["masked"], right["masked"], right["weights"], right["output"]
    later = changed_attention(*arguments, masking=masking)
    return right["scores"], right["masked"], later["weights"], later["output"]


FOUR_STEPS = FunctionExercise(
    name="four-steps",
    kind="write",
    task="Write attention as four steps and return each: scores, masked scores, weights, output.",
    parameters=("query", "key", "value", "mask"),
    returns=FOUR,
    right=partial(_four, "zero", {}),
    groups=("with a causal mask", "with a causal and a padding mask", "with other sizes"),
    cases=(
        Case(0, _with_causal, _QKV_SIZES),
        Case(0, _with_causal, _LONGER),
        *(Case(1, case.make, case.sizes) for case in _QKV_CASES[3:6]),
        Case(2, _with_mask, _QKV_CASES[7].sizes),
        Case(2, _with_mask, _QKV_CASES[8].sizes),
        Case(1, _with_mask, _ALIKE),
    ),
    mistakes=(
        *from_options(_QKV_TABLE, _four),
        *from_options(
            (
                (
                    "masked-finite",
                    "forbidden scores are filled with a large negative number; -inf is wanted, "
                    "which no score can reach",
                    f"{PITFALLS}/empty-rows-and-corners.html#a-large-negative-number-for-minus-infinity",
                    {"fill": -1e9},
                ),
            ),
            _four,
        ),
        *(
            Mistake(name, cause, partial(_four_torn, how), page)
            for name, how, cause, page in (
                (
                    "scores-overwritten",
                    "",
                    "the scores that are returned hold -inf, too: a method that ends in _ writes "
                    "into them, or the masked scores are returned twice",
                    "concepts/four-steps.html#one-example-step-by-step",
                ),
                (
                    "weights-unmasked",
                    "ignored",
                    "the softmax is taken of the scores and not of the masked ones",
                    f"{PITFALLS}/masks.html#no-mask-at-all",
                ),
                (
                    "weights-mask-after",
                    "after",
                    "the softmax is taken of the unmasked scores, and the mask comes after it",
                    f"{PITFALLS}/masks.html#the-mask-comes-after-the-softmax",
                ),
            )
        ),
    ),
    page="concepts/four-steps.html#one-example-step-by-step",
    traps=(
        _late_trap("four"),
        Trap(
            "Where a query may look at nothing, your function fails: weights and output should "
            "be 0.",
            _nothing_allowed,
            _LONGER,
            never_allowed(lambda style: partial(_four, style, {}))[:1],
            _NOTHING,
        ),
        replace(_LOUD, mistakes=()),
    ),
    fallback=_without_heads,
)


def _pair(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return _qkv(draw, sizes | {"Ev": 1})[:2]


def _wrong_scores(
    style: str, options: dict[str, Any], query: Tensor, key: Tensor, value: Tensor | None = None
) -> Tensor:
    return changed_attention(query, key, key, **options)["scores"]


def _scores_otherwise(how: str, query: Tensor, key: Tensor) -> Tensor:
    scores = changed_attention(query, key, key)["scores"]
    if how == "softmax":
        return scores.softmax(-1)
    if how == "cosine":
        return F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT
    return scores.mT


def _pair_without_heads(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(argument.flatten(0, 1) for argument in arguments)


SCALED_SCORES = FunctionExercise(
    name="scaled-scores",
    kind="write",
    task="Score every query against every key by dot products, scaled by the width of a head.",
    parameters=("query", "key"),
    returns=("scores",),
    right=partial(_wrong_scores, "zero", {}),
    groups=("with as many queries as keys", "where L and S differ", "with other sizes"),
    cases=(
        Case(0, _pair, {"N": 2, "H": 3, "L": 5, "E": 4}),
        Case(0, _pair, _ALIKE),
        Case(1, _pair, {"N": 2, "H": 3, "L": 5, "extra": 2, "E": 4}),
        Case(2, _pair, {"N": 3, "H": 2, "L": 4, "extra": 3, "E": 5}),
        Case(2, _pair, {"N": 1, "H": 1, "L": 1, "extra": 2, "E": 3}),
    ),
    mistakes=(
        *from_options(
            (*SCALES, *FIXED_SCALES, *HEAD_SCALES, *SCORINGS[1:3], KEYS_RESHAPED), _wrong_scores
        ),
        Mistake(
            "scores-transposed",
            "the scores are transposed, or queries and keys swapped: row i belongs to query i",
            partial(_scores_otherwise, "transposed"),
            "concepts/reading-maps.html#rows-are-queries-columns-are-keys",
        ),
        Mistake(
            "scores-softmax",
            "the softmax is applied already: scores are wanted",
            partial(_scores_otherwise, "softmax"),
            "concepts/four-steps.html#one-example-step-by-step",
        ),
        Mistake(
            "scores-cosine",
            "queries and keys are brought to length 1 first: that is the cosine",
            partial(_scores_otherwise, "cosine"),
            "types/scores/dot-product.html#lengths",
        ),
    ),
    page="formulas/softmax-and-scale.html#why-the-square-root-of-head-dim",
    fallback=_pair_without_heads,
)


def _linear(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight.mT


def changed_projections(
    style: str,
    options: dict[str, Any],
    x: Tensor,
    context: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Project and attend, right unless one of the options says otherwise."""
    rest = dict(options)
    project, returned = rest.pop("project", ""), rest.pop("returned", "weights")
    if project == "width":
        rest["divisor"] = lambda q, k: x.shape[-1] ** 0.5
    query, key, value = _linear(x, w_q), _linear(context, w_k), _linear(context, w_v)
    if project == "transposed":
        query, key, value = x @ w_q, context @ w_k, context @ w_v
    elif project == "shared-qk":
        key = _linear(context, w_q)
    elif project == "shared-kv":
        value = _linear(context, w_k)
    elif project == "shared-vk":
        key = _linear(context, w_v)
    elif project == "shared-all":
        key, value = _linear(context, w_q), _linear(context, w_q)
    elif project == "swapped-qk":
        query, key = _linear(x, w_k), _linear(context, w_q)
    elif project == "swapped-kv":
        key, value = _linear(context, w_v), _linear(context, w_k)
    elif project == "raw-value":
        value = context
    elif project == "raw-query":
        query = x
    elif project == "raw-key":
        key = context
    elif project == "raw-qk":
        query, key = x, context
    elif project == "raw-all":
        query, key, value = x, context, context
    elif project == "own-keys":
        key, value = _linear(x, w_k), _linear(x, w_v)
    elif project == "own-keys-only":
        key = _linear(x, w_k)
    elif project == "own-values":
        value = _linear(x, w_v)
    elif project == "asked":
        query, key, value = _linear(context, w_q), _linear(x, w_k), _linear(x, w_v)
    steps = changed_attention(query, key, value, mask, style=style, **rest)
    if project == "residual":
        steps["output"] = steps["output"] + x
    steps |= {"transposed": steps["weights"].mT, "batch": steps["weights"].mean(0)}
    return steps["output"], steps[returned]


_WHO = "concepts/queries-keys-values.html#who-does-what"
PROJECTIONS: tuple[tuple[str, str, str, dict[str, Any]], ...] = tuple(
    (name, cause, page, {"project": project})
    for name, project, cause, page in (
        (
            "scale-embed",
            "width",
            "the scores are divided by the square root of the width of the input, embed_dim, and "
            "not of the queries",
            f"{PITFALLS}/scores.html#scaled-by-the-width-of-the-model",
        ),
        (
            "projection-transposed",
            "transposed",
            "the weights are used transposed: `nn.Linear` holds (out, in) and computes x @ w.T",
            "concepts/queries-keys-values.html#where-they-come-from",
        ),
        ("shared-qk", "shared-qk", "the keys are projected with w_q", _WHO),
        (
            "shared-kv",
            "shared-kv",
            "the keys are used as values, projected with w_k and not with w_v",
            _WHO,
        ),
        ("shared-vk", "shared-vk", "the values are used as keys, projected with w_v", _WHO),
        ("shared-all", "shared-all", "one projection, w_q, serves all three", _WHO),
        ("swapped-qk", "swapped-qk", "w_q and w_k are swapped", _WHO),
        ("swapped-kv", "swapped-kv", "w_k and w_v are swapped", _WHO),
        ("raw-value", "raw-value", "the values are not projected", _WHO),
        ("raw-query", "raw-query", "the queries are not projected", _WHO),
        ("raw-key", "raw-key", "the keys are not projected", _WHO),
        ("raw-qk", "raw-qk", "queries and keys are not projected", _WHO),
        ("raw-all", "raw-all", "nothing is projected: the input itself is used", _WHO),
        (
            "residual",
            "residual",
            "x is added to the output: a residual connection comes after the layer",
            "concepts/four-steps.html#each-output-is-a-weighted-sum",
        ),
    )
)
_CROSSED: tuple[tuple[str, str, str, dict[str, Any]], ...] = tuple(
    (name, cause, "types/heads/cross.html#formula", {"project": project})
    for name, project, cause in (
        ("own-keys", "own-keys", "keys and values come from x: that is self-attention"),
        (
            "own-keys-only",
            "own-keys-only",
            "the keys come from x, where keys and values come from the context",
        ),
        ("own-values", "own-values", "the values come from x and not from the context"),
        ("asked", "asked", "x and the context are swapped: the queries come from x"),
    )
)


def _self_wrong(
    style: str, options: dict[str, Any], x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor
) -> Tensor:
    return changed_projections(style, options, x, x, w_q, w_k, w_v)[0]


def _self_case(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    D, E = sizes["D"], sizes["E"]
    weights = (draw.weight(E, D), draw.weight(E, D), draw.weight(E, D))
    return draw.normal(sizes["N"], sizes["L"], D), *weights


def _self_square(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return _self_case(draw, sizes | {"E": sizes["D"]})


def _self_cubic(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return _self_case(draw, {"N": sizes["D"], "L": sizes["D"], "D": sizes["D"], "E": sizes["D"]})


def _reversed(query: Tensor, key: Tensor) -> Tensor:
    return query @ key.permute(2, 1, 0)


def _reversed_self(scale: bool, x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor) -> Tensor:
    query, key, value = _linear(x, w_q), _linear(x, w_k), _linear(x, w_v)
    width = x.shape[-1] if scale else query.shape[-1]
    weights: Tensor = (_reversed(query, key) / width**0.5).softmax(-1)
    return weights @ value


# no mask comes in
_NO_MASK = (*SCALES, *FIXED_SCALES, LATE_SCALE, *SOFTMAXES, *MIXINGS, *SCORINGS, *TWO_AT_ONCE[:3])
_SELF_MISTAKES = (
    *from_options((*_NO_MASK, *PROJECTIONS), _self_wrong),
    *(
        Mistake(
            "T",
            "`.T` turns all dimensions of the keys around, where the last two should be swapped",
            partial(_reversed_self, scale),
            f"{PITFALLS}/projections-and-shapes.html#t-on-a-tensor-with-three-dimensions",
        )
        for scale in (False, True)
    ),
)
_SELF_GROUPS = (
    "where queries are as wide as the input",
    "where queries are narrower than the input",
    "with other sizes",
)
_SELF_CASES = (
    Case(0, _self_square, {"N": 2, "L": 5, "D": 12}),
    Case(0, _self_cubic, {"D": 4}),
    Case(1, _self_case, {"N": 2, "L": 5, "D": 12, "E": 4}),
    Case(2, _self_case, {"N": 3, "L": 4, "D": 8, "E": 6}),
    Case(2, _self_case, {"N": 1, "L": 1, "D": 3, "E": 2}),
)

SELF_ATTENTION = FunctionExercise(
    name="self-attention",
    kind="write",
    task="Write self-attention from nothing: project, score, normalize, mix.",
    parameters=("x", "w_q", "w_k", "w_v"),
    returns=("output",),
    right=partial(_self_wrong, "zero", {}),
    groups=_SELF_GROUPS,
    cases=_SELF_CASES,
    mistakes=_SELF_MISTAKES,
    page="types/heads/self.html#formula",
)
REPAIR_TRANSPOSE = FunctionExercise(
    name="repair-transpose",
    kind="repair",
    task="Repair self-attention.",
    parameters=SELF_ATTENTION.parameters,
    returns=SELF_ATTENTION.returns,
    right=SELF_ATTENTION.right,
    groups=_SELF_GROUPS,
    cases=_SELF_CASES,
    mistakes=_SELF_MISTAKES,
    page=SELF_ATTENTION.page,
)


def _cross_case(masked: bool, draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    N, L, D, Dc, E = (sizes[name] for name in ("N", "L", "D", "Dc", "E"))
    S = L + sizes.get("extra", 0)
    x, context = draw.normal(N, L, D), draw.normal(N, S, Dc)
    weights = (draw.weight(E, D), draw.weight(E, Dc), draw.weight(E, Dc))
    mask = None
    if masked:
        mask = draw.mask(L, S, N)
    return x, context, *weights, mask


def _cross_equal(masked: bool, draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return _cross_case(masked, draw, sizes | {"Dc": sizes["D"], "E": sizes["D"]})


def _cross_padded(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    *rest, mask = _cross_case(True, draw, sizes)
    return *rest, mask[:, -1:]


def _cross_nothing(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    *rest, mask = _cross_case(True, draw, sizes)
    mask = mask.clone()
    mask[..., 0, :] = False
    return *rest, mask


_CROSS = {"N": 2, "L": 5, "extra": 2, "D": 12, "Dc": 6, "E": 4}
CROSS_ATTENTION = FunctionExercise(
    name="cross-attention",
    kind="write",
    task="Write cross-attention: x asks, the context answers.",
    parameters=("x", "context", "w_q", "w_k", "w_v", "mask"),
    returns=("output", "weights"),
    steps=("weights", "output"),
    right=partial(changed_projections, "zero", {}),
    groups=(
        "with x and context alike in shape",
        "where x and context differ in length and width",
        "with a mask",
        "with other sizes",
    ),
    cases=(
        Case(0, partial(_cross_equal, False), {"N": 2, "L": 5, "D": 12}),
        Case(0, partial(_cross_equal, False), {"N": 4, "L": 4, "D": 4}),
        Case(1, partial(_cross_case, False), _CROSS),
        Case(2, partial(_cross_equal, True), {"N": 2, "L": 5, "D": 12}),
        Case(2, partial(_cross_equal, True), {"N": 4, "L": 4, "D": 4}),
        Case(2, partial(_cross_case, True), _CROSS),
        Case(2, _cross_padded, _CROSS),
        Case(3, partial(_cross_case, False), {"N": 3, "L": 4, "extra": 3, "D": 8, "Dc": 5, "E": 6}),
        Case(3, partial(_cross_case, True), {"N": 1, "L": 1, "extra": 2, "D": 3, "Dc": 2, "E": 2}),
    ),
    mistakes=(
        *from_options((*_ONE_MAP, *PROJECTIONS, *_CROSSED), changed_projections),
        Mistake(
            "return-order",
            "weights and output are returned in the other order",
            lambda *a: changed_projections("zero", {}, *a)[::-1],
            _PAGE,
        ),
        *(
            Mistake(
                m.name, m.cause, partial(changed_projections, "zero", {"returned": what}), m.page
            )
            for what, m in zip(
                ("scores", "masked", "transposed", "", "batch"), _RETURNED[1:], strict=False
            )
            if what
        ),
    ),
    page="types/heads/cross.html#formula",
    traps=(
        Trap(
            "Where a query may look at nothing, your function fails: weights and output should "
            "be 0.",
            _cross_nothing,
            _CROSS,
            never_allowed(lambda style: partial(changed_projections, style, {})),
            _NOTHING,
        ),
    ),
)
