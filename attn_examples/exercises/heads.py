"""Exercises: split into heads, merge them, and multi-head attention as a whole."""

from __future__ import annotations

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
    SOFTMAX_HEADS,
    SOFTMAXES,
    TWO_AT_ONCE,
    changed_attention,
    from_options,
    in_pairs,
    never_allowed,
)

__all__: list[str] = []

_VIEW = f"{PITFALLS}/projections-and-shapes.html#view-where-transpose-was-needed"
_AVERAGED = f"{PITFALLS}/weights-and-heads.html#heads-averaged-not-joined"
_PROJECTION = f"{PITFALLS}/weights-and-heads.html#no-output-projection"
_WHO_DOES = "concepts/queries-keys-values.html#who-does-what"
_STEP = "concepts/multi-head-step-by-step.html#step-6-join-the-heads-and-project-once-more"
_SPLITS = "concepts/multi-head-step-by-step.html#step-2-queries-keys-and-values-for-each-head"


def split_otherwise(how: str, x: Tensor, num_heads: int) -> Tensor:
    """Split (N, L, D) into heads, right for `how` "" and wrong in a known way for others."""
    N, L, D = x.shape
    H, E = num_heads, D // num_heads
    if how == "three":
        H, E = 3, D // 3
    if how == "four-wide":
        H, E = D // 4, 4
    if how == "fixed":
        N, L, H, E = 2, 5, 3, 4
    if how == "view":
        return x.reshape(N, H, L, E)
    if how == "interleaved":
        return x.view(N, L, E, H).permute(0, 3, 1, 2)
    if how == "not-moved":
        return x.view(N, L, H, E)
    if how == "mixed":
        return x.view(N, L, H, E).permute(2, 0, 1, 3)
    if how == "folded":
        return x.view(N, L, H, E).transpose(1, 2).reshape(N * H, L, E)
    if how == "width-last":
        return x.view(N, L, H, E).permute(0, 2, 3, 1)
    if how == "swapped-numbers":
        return x.view(N, L, E, H).transpose(1, 2)
    if how == "count":
        return x.view(N, L, E, H).permute(0, 3, 1, 2).flip(1)
    if how == "batch":
        return x.transpose(0, 1).reshape(N, L, H, E).transpose(1, 2)
    return x.view(N, L, H, E).transpose(1, 2)


def _split_case(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return draw.normal(sizes["N"], sizes["L"], sizes["H"] * sizes["E"]), sizes["H"]


SPLIT_HEADS = FunctionExercise(
    name="split-heads",
    kind="write",
    task="Split vectors into heads: (N, L, D) becomes (N, H, L, D / H).",
    parameters=("x", "num_heads"),
    returns=("heads",),
    right=partial(split_otherwise, ""),
    groups=("with one head", "with three heads", "with other sizes"),
    cases=(
        Case(0, _split_case, {"N": 2, "L": 5, "H": 1, "E": 12}),
        Case(1, _split_case, {"N": 2, "L": 5, "H": 3, "E": 4}),
        Case(1, _split_case, {"N": 2, "L": 3, "H": 3, "E": 3}),
        Case(1, _split_case, {"N": 3, "L": 3, "H": 3, "E": 3}),
        Case(2, _split_case, {"N": 3, "L": 4, "H": 2, "E": 5}),
        Case(2, _split_case, {"N": 1, "L": 1, "H": 2, "E": 1}),
    ),
    mistakes=tuple(
        Mistake(name, cause, partial(split_otherwise, how), page)
        for name, how, cause, page in (
            (
                "split-view",
                "view",
                "`view` or `reshape` makes the heads without a transpose: tokens and heads mix",
                _VIEW,
            ),
            (
                "split-interleaved",
                "interleaved",
                "the heads are interleaved: each takes every H-th number, where a head is a "
                "block of neighbours",
                _VIEW,
            ),
            (
                "split-not-moved",
                "not-moved",
                "the heads stay behind the positions, (N, L, H, E): swap dimensions 1 and 2",
                _SPLITS,
            ),
            ("split-first", "mixed", "the heads stand before the batch, (H, N, L, E)", _SPLITS),
            ("split-folded", "folded", "the heads are folded into the batch", _SPLITS),
            ("split-width", "width-last", "the positions come last, (N, H, E, L)", _SPLITS),
            (
                "split-numbers",
                "swapped-numbers",
                "the number of heads and their width are swapped, (N, E, L, H)",
                _SPLITS,
            ),
            ("split-batch", "batch", "batch and positions are swapped first", _VIEW),
            *(
                ("hard-coded", how, "sizes are written into the code as numbers", _SPLITS)
                for how in ("three", "four-wide", "fixed")
            ),
        )
    ),
    page=_SPLITS,
)


def merge_otherwise(how: str, heads: Tensor) -> Tensor:
    """Merge (N, H, L, E), right for `how` "" and wrong in a known way for others."""
    N, H, L, E = heads.shape
    if how == "view":
        return heads.reshape(N, L, H * E)
    if how == "interleaved":
        return heads.permute(0, 2, 3, 1).reshape(N, L, H * E)
    if how == "mean":
        return heads.mean(1)
    if how == "sum":
        return heads.sum(1)
    if how == "mean-repeated":
        return heads.mean(1).repeat(1, 1, H)
    if how == "sum-repeated":
        return heads.sum(1).repeat(1, 1, H)
    if how == "length":
        return heads.reshape(N, H * L, E)
    if how == "swapped":
        return heads.transpose(1, 2)
    if how == "first":
        return heads[:, 0]
    if how == "reversed":
        return heads.flip(1).transpose(1, 2).reshape(N, L, H * E)
    if how == "flat":
        return heads.transpose(1, 2).reshape(N * L, H * E)
    return heads.transpose(1, 2).reshape(N, L, H * E)


def _merge_case(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return (draw.normal(*(sizes[letter] for letter in "NHLE")),)


MERGE_HEADS = FunctionExercise(
    name="merge-heads",
    kind="write",
    task="Join heads again: (N, H, L, E) becomes (N, L, H * E).",
    parameters=("heads",),
    returns=("joined",),
    right=partial(merge_otherwise, ""),
    groups=("with one head", "with three heads", "with other sizes"),
    cases=(
        Case(0, _merge_case, {"N": 2, "H": 1, "L": 5, "E": 12}),
        Case(1, _merge_case, {"N": 2, "H": 3, "L": 5, "E": 4}),
        Case(1, _merge_case, {"N": 2, "H": 3, "L": 3, "E": 3}),
        Case(1, _merge_case, {"N": 3, "H": 3, "L": 3, "E": 3}),
        Case(2, _merge_case, {"N": 3, "H": 2, "L": 4, "E": 5}),
        Case(2, _merge_case, {"N": 1, "H": 2, "L": 1, "E": 1}),
    ),
    mistakes=tuple(
        Mistake(name, cause, partial(merge_otherwise, how), page)
        for name, how, cause, page in (
            (
                "merge-view",
                "view",
                "`view` or `reshape` joins the heads without a transpose: tokens and heads mix",
                _VIEW,
            ),
            (
                "merge-interleaved",
                "interleaved",
                "the heads are interleaved: number 0 of each head, then number 1 of each",
                _VIEW,
            ),
            ("heads-averaged", "mean", "the heads are averaged, not joined", _AVERAGED),
            ("heads-summed", "sum", "the heads are summed, not joined", _AVERAGED),
            ("heads-averaged", "mean-repeated", "the heads are averaged, not joined", _AVERAGED),
            ("heads-summed", "sum-repeated", "the heads are summed, not joined", _AVERAGED),
            ("merge-length", "length", "the heads are joined along the length", _STEP),
            (
                "merge-unflattened",
                "swapped",
                "the heads are moved behind the positions, and not joined yet: flatten the last "
                "two dimensions",
                _STEP,
            ),
            ("merge-first", "first", "only the first head is kept", _STEP),
            (
                "merge-reversed",
                "reversed",
                "the heads are joined from the last to the first",
                _STEP,
            ),
            ("merge-flat", "flat", "batch and positions are joined too, (N * L, H * E)", _STEP),
        )
    ),
    page=_STEP,
)


def changed_multi_head(
    style: str,
    options: dict[str, Any],
    x: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    num_heads: int,
    mask: Tensor | None = None,
) -> Tensor:
    """Multi-head attention, right unless one of the options says otherwise."""
    rest = dict(options)
    project, split = rest.pop("project", ""), rest.pop("split", "")
    merge, out = rest.pop("merge", ""), rest.pop("out", "")
    if project == "across-batch":  # batch and positions change places, and back again
        arguments = (x.transpose(0, 1), w_q, w_k, w_v, w_o, num_heads, mask)
        return changed_multi_head(style, rest, *arguments).transpose(0, 1)
    query, key, value = _three(project, x, w_q, w_k, w_v, num_heads)
    if split == "scaled":
        split, rest["divisor"] = "ignored", lambda q, k: (q.shape[-1] / num_heads) ** 0.5
    H = 1 if split == "ignored" else num_heads
    if split == "positions":  # heads meet heads, within a position
        q, k, v = (split_otherwise("not-moved", part, H) for part in (query, key, value))
        heads = changed_attention(q, k, v, mask, style=style, **rest)["output"]
        if merge == "moved":
            heads = heads.transpose(1, 2)
        return F.linear(heads.reshape(x.shape), w_o)
    how = "" if split == "ignored" else split
    query, key, value = (split_otherwise(how, part, H) for part in (query, key, value))
    heads = changed_attention(query, key, value, mask, style=style, **rest)["output"]
    joined = merge_otherwise(merge, heads)
    if out == "none":
        return joined
    if out == "transposed":
        return joined @ w_o
    if out == "w_v":
        return F.linear(joined, w_v)
    if out == "twice":
        return F.linear(F.linear(joined, w_o), w_o)
    if out == "residual":
        return F.linear(joined, w_o) + x
    if out == "columns":
        return F.linear(joined, w_o[:, : joined.shape[-1]])
    if out == "rows":
        return F.linear(joined, w_o[: joined.shape[-1], : joined.shape[-1]])
    return F.linear(joined, w_o)


def _three(
    project: str, x: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, num_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Project to queries, keys and values, (N, L, D), not yet split into heads."""
    own = {"q": w_q, "k": w_k, "v": w_v}
    used = {
        "shared-all": "qqq",
        "shared-qk": "qqv",
        "shared-kq": "kkv",
        "shared-kv": "qkk",
        "shared-vk": "qvv",
        "shared-qv": "qkq",
        "swapped-qk": "kqv",
        "swapped-kv": "qvk",
        "swapped-qv": "vkq",
        "raw-query": "-kv",
        "raw-key": "q-v",
        "raw-value": "qk-",
        "raw-qk": "--v",
        "raw-all": "---",
    }.get(project, "qkv")
    if project == "transposed":
        return x @ w_q, x @ w_k, x @ w_v
    if project == "small":  # one small matrix for the slice of each head
        E = x.shape[-1] // num_heads
        slices = split_otherwise("not-moved", x, num_heads)
        q, k, v = (F.linear(slices, w[:E, :E]).flatten(-2) for w in (w_q, w_k, w_v))
        return q, k, v
    q, k, v = (x if letter == "-" else F.linear(x, own[letter]) for letter in used)
    return q, k, v


_AROUND: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "split-view",
        "`view` or `reshape` makes the heads without a transpose: tokens and heads mix",
        _VIEW,
        {"split": "view"},
    ),
    (
        "split-interleaved",
        "the heads are interleaved: each takes every H-th number, where a head is a block of "
        "neighbours",
        _VIEW,
        {"split": "interleaved"},
    ),
    (
        "split-merge-interleaved",
        "the heads are interleaved at the split and at the merge",
        _VIEW,
        {"split": "interleaved", "merge": "interleaved"},
    ),
    (
        "split-merge-view",
        "`view` or `reshape` makes the heads and joins them, without a transpose: tokens and "
        "heads mix",
        _VIEW,
        {"split": "view", "merge": "view"},
    ),
    *(
        (
            "split-positions",
            "the heads are never moved before the positions: within each token its heads look at "
            "each other",
            _VIEW,
            {"split": "positions", "merge": merge},
        )
        for merge in ("", "moved")
    ),
    (
        "merge-view",
        "`view` or `reshape` joins the heads without a transpose: tokens and heads mix",
        _VIEW,
        {"merge": "view"},
    ),
    (
        "merge-interleaved",
        "the heads are joined interleaved: number 0 of each head, then number 1 of each",
        _VIEW,
        {"merge": "interleaved"},
    ),
    (
        "heads-ignored",
        "num_heads is ignored: there is one head as wide as the input",
        f"{PITFALLS}/projections-and-shapes.html#num-heads-is-accepted-and-ignored",
        {"split": "ignored"},
    ),
    (
        "heads-ignored",
        "there is one head as wide as the input, though its scale is that of num_heads",
        f"{PITFALLS}/projections-and-shapes.html#num-heads-is-accepted-and-ignored",
        {"split": "scaled"},
    ),
    # before the next two, which with one head are the same
    ("output-missing", "there is no output projection", _PROJECTION, {"out": "none"}),
    *(
        ("heads-averaged", "the heads are averaged, not joined", _AVERAGED, options)
        for options in (
            {"merge": "mean", "out": "none"},
            {"merge": "mean", "out": "columns"},
            {"merge": "mean", "out": "rows"},
            {"merge": "mean-repeated"},
        )
    ),
    *(
        ("heads-summed", "the heads are summed, not joined", _AVERAGED, options)
        for options in (
            {"merge": "sum", "out": "none"},
            {"merge": "sum", "out": "columns"},
            {"merge": "sum", "out": "rows"},
            {"merge": "sum-repeated"},
        )
    ),
    (
        "output-transposed",
        "w_o is used transposed: `nn.Linear` holds (out, in) and computes x @ w.T",
        "concepts/queries-keys-values.html#where-they-come-from",
        {"out": "transposed"},
    ),
    (
        "output-shared",
        "the output is projected with w_v and not with w_o",
        _PROJECTION,
        {"out": "w_v"},
    ),
    ("output-twice", "the output projection is applied twice", _PROJECTION, {"out": "twice"}),
    (
        "output-residual",
        "the input is added to the output: a residual connection comes after the layer",
        _PROJECTION,
        {"out": "residual"},
    ),
    (
        "projection-transposed",
        "w_q, w_k and w_v are used transposed: `nn.Linear` holds (out, in) and computes x @ w.T",
        "concepts/queries-keys-values.html#where-they-come-from",
        {"project": "transposed"},
    ),
    (
        "projections-all-transposed",
        "all four weights are used transposed: `nn.Linear` holds (out, in) and computes x @ w.T",
        "concepts/queries-keys-values.html#where-they-come-from",
        {"project": "transposed", "out": "transposed"},
    ),
    (
        "projection-small",
        "one small projection serves the slice of each head, where the whole vector is projected",
        f"{PITFALLS}/projections-and-shapes.html#one-small-projection-for-all-heads",
        {"project": "small"},
    ),
    *(
        (name, cause, _WHO_DOES, {"project": name})
        for name, cause in (
            ("shared-all", "one projection, w_q, serves queries, keys and values"),
            ("shared-qk", "the keys are projected with w_q"),
            ("shared-kq", "the queries are projected with w_k"),
            ("shared-kv", "the keys are used as values, projected with w_k and not with w_v"),
            ("shared-vk", "the values are used as keys, projected with w_v and not with w_k"),
            ("shared-qv", "the queries are used as values, projected with w_q and not with w_v"),
            ("swapped-qk", "w_q and w_k are swapped, or queries and keys"),
            ("swapped-kv", "w_k and w_v are swapped, or keys and values"),
            ("swapped-qv", "w_q and w_v are swapped, or queries and values"),
            ("raw-query", "the queries are not projected"),
            ("raw-key", "the keys are not projected"),
            ("raw-value", "the values are not projected"),
            ("raw-qk", "queries and keys are not projected"),
            ("raw-all", "queries, keys and values are not projected"),
        )
    ),
    (
        "across-batch",
        "batch and positions are swapped: each token looks at the other sequences of the batch",
        f"{PITFALLS}/projections-and-shapes.html#batch-and-sequence-swapped",
        {"project": "across-batch"},
    ),
)


def _multi_case(masked: str, draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    N, L, H = sizes["N"], sizes["L"], sizes.get("H", 1)
    D = H * sizes["E"]
    weights = tuple(draw.weight(D, D) for _ in range(4))
    mask = None
    if masked == "causal":
        mask = draw.mask(L, L)
    elif masked in ("both", "nothing"):
        mask = draw.mask(L, L, N, 1)
    if masked == "nothing" and mask is not None:
        mask = mask.clone()
        mask[..., 0, :] = False
    # small numbers too: a softmax that is nearly one-hot makes many mistakes look alike
    return draw.normal(N, L, D) * (0.3 if masked == "quiet" else 1.0), *weights, H, mask


_HEADS_SIZES = {"N": 2, "L": 5, "H": 3, "E": 4}
# the first scale of SCORINGS, "swapped", is w_q and w_k swapped: it is in _AROUND
_HEADS_TABLE = (
    *SCALES[:4],
    *FIXED_SCALES,
    *HEAD_SCALES,
    LATE_SCALE,
    *SOFTMAXES,
    SOFTMAX_HEADS,
    *MASKINGS,
    MASK_HEADS,
    MIXINGS[2],
    MIXINGS[3],
    KEYS_RESHAPED,
    *_AROUND,
    *TWO_AT_ONCE,
)
MULTI_HEAD = FunctionExercise(
    name="multi-head",
    kind="write",
    task="Write multi-head attention: project, split, attend, join, project.",
    parameters=("x", "w_q", "w_k", "w_v", "w_o", "num_heads", "mask"),
    returns=("output",),
    right=partial(changed_multi_head, "zero", {}),
    groups=(
        "with one head and no mask",
        "with several heads and no mask",
        "with a mask",
        "with other sizes",
    ),
    cases=(
        Case(0, partial(_multi_case, ""), {"N": 2, "L": 5, "E": 12}),
        Case(0, partial(_multi_case, "quiet"), {"N": 2, "L": 5, "E": 12}),
        Case(1, partial(_multi_case, ""), _HEADS_SIZES),
        Case(1, partial(_multi_case, "quiet"), _HEADS_SIZES),
        Case(1, partial(_multi_case, ""), {"N": 4, "L": 4, "H": 2, "E": 2}),
        Case(2, partial(_multi_case, "both"), {"N": 4, "L": 4, "H": 2, "E": 2}),
        Case(2, partial(_multi_case, "causal"), _HEADS_SIZES),
        Case(2, partial(_multi_case, "both"), _HEADS_SIZES),
        Case(2, partial(_multi_case, "both"), _HEADS_SIZES | {"N": 3}),
        Case(3, partial(_multi_case, ""), {"N": 3, "L": 4, "H": 2, "E": 5}),
        Case(3, partial(_multi_case, "both"), {"N": 3, "L": 4, "H": 2, "E": 5}),
        Case(3, partial(_multi_case, "both"), {"N": 1, "L": 1, "H": 2, "E": 1}),
    ),
    mistakes=from_options(_HEADS_TABLE, changed_multi_head),
    pairs=in_pairs(_AROUND, (*SCALES[:4], *HEAD_SCALES), changed_multi_head),
    page="formulas/multi-head.html#the-formula",
    traps=(
        Trap(
            "Where a query may look at nothing, your function fails: its output should be 0.",
            partial(_multi_case, "nothing"),
            _HEADS_SIZES,
            never_allowed(lambda style: partial(changed_multi_head, style, {})),
            f"{PITFALLS}/empty-rows-and-corners.html#every-key-of-a-row-is-masked",
        ),
    ),
)
REPAIR_SCALE = FunctionExercise(
    name="repair-scale",
    kind="repair",
    task="Repair multi-head attention.",
    parameters=MULTI_HEAD.parameters,
    returns=MULTI_HEAD.returns,
    right=MULTI_HEAD.right,
    groups=MULTI_HEAD.groups,
    cases=MULTI_HEAD.cases,
    mistakes=MULTI_HEAD.mistakes,
    # what the given function lacks is to be found one after the other
    pairs=tuple(pair for pair in MULTI_HEAD.pairs if "output-missing" not in pair.name),
    page=MULTI_HEAD.page,
    traps=MULTI_HEAD.traps,
)
