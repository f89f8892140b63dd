"""Exercise: additive scores."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from attn_examples.exercises.spec import Case, Draw, FunctionExercise, Mistake, Sizes

__all__: list[str] = []

_ADDITIVE = "formulas/additive.html#the-formula"


def changed_additive(
    how: str, query: Tensor, key: Tensor, w_q: Tensor, w_k: Tensor, v: Tensor
) -> Tensor:
    """Additive scores, right for `how` "" and wrong in a known way for others."""
    if how == "weights-swapped":
        w_q, w_k = w_k, w_q
    if how == "weights-shared":
        w_k = w_q
    if how == "weights-transposed":
        w_q, w_k = w_q.mT, w_k.mT
    if how in ("unprojected", "dot-raw", "dot-raw-scaled"):
        queries, keys = query.unsqueeze(-2), key.unsqueeze(-3)
    else:
        queries, keys = (query @ w_q.mT).unsqueeze(-2), (key @ w_k.mT).unsqueeze(-3)
    if how.startswith("dot"):
        dots = (queries * keys).sum(-1)
        return dots / queries.shape[-1] ** 0.5 if how.endswith("scaled") else dots
    hidden = torch.tanh(queries + keys)
    if how == "no-tanh":
        hidden = queries + keys
    elif how == "tanh-each":
        hidden = queries.tanh() + keys.tanh()
    elif how == "product":
        hidden = torch.tanh(queries * keys)
    elif how == "product-plain":
        hidden = queries * keys
    elif how == "difference":
        hidden = torch.tanh(queries - keys)
    elif how == "sigmoid":
        hidden = torch.sigmoid(queries + keys)
    elif how == "relu":
        hidden = torch.relu(queries + keys)
    elif how == "tanh-last":
        return torch.tanh((queries + keys) @ v)
    elif how == "no-v":
        return hidden.sum(-1)
    elif how == "mean":
        return hidden.mean(-1)
    scores: Tensor = hidden @ v
    if how == "tanh-twice":
        return scores.tanh()
    widths = {"scaled": v, "scaled-query": query, "scaled-key": key}
    if how in widths:
        width: float = widths[how].shape[-1] ** 0.5
        return scores / width
    if how == "softmax":
        return scores.softmax(-1)
    return scores.mT if how == "transposed" else scores


def _additive_case(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    N, L, Eq, Ek, U = (sizes[name] for name in ("N", "L", "Eq", "Ek", "U"))
    S = L + sizes.get("extra", 0)
    weights = draw.weight(U, Eq), draw.weight(U, Ek), draw.normal(U)
    return draw.normal(N, L, Eq), draw.normal(N, S, Ek), *weights


def _equal_case(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    return _additive_case(draw, sizes | {"Ek": sizes["Eq"], "U": sizes["Eq"]})


ADDITIVE_SCORES = FunctionExercise(
    name="additive-scores",
    kind="write",
    task="Score by a small network: v . tanh(w_q q + w_k k).",
    parameters=("query", "key", "w_q", "w_k", "v"),
    returns=("scores",),
    right=partial(changed_additive, ""),
    groups=("where all widths are equal", "where the widths differ", "with other sizes"),
    cases=(
        Case(0, _equal_case, {"N": 2, "L": 5, "Eq": 6}),
        Case(0, _equal_case, {"N": 4, "L": 4, "Eq": 4}),
        Case(0, _equal_case, {"N": 2, "L": 5, "extra": 2, "Eq": 6}),
        Case(1, _additive_case, {"N": 2, "L": 5, "extra": 2, "Eq": 12, "Ek": 6, "U": 8}),
        Case(2, _additive_case, {"N": 3, "L": 4, "extra": 1, "Eq": 5, "Ek": 7, "U": 3}),
        Case(2, _additive_case, {"N": 1, "L": 1, "extra": 1, "Eq": 2, "Ek": 3, "U": 1}),
    ),
    mistakes=tuple(
        Mistake(
            f"additive-{how[:3] if how[:3] == 'dot' else how}",
            cause,
            partial(changed_additive, how),
            _ADDITIVE,
        )
        for how, cause in (
            ("no-tanh", "the tanh is missing"),
            ("tanh-each", "tanh is taken of the query and of the key, and then they are added"),
            ("tanh-last", "tanh comes after v, not before it"),
            ("tanh-twice", "tanh is taken a second time, of the scores"),
            ("product", "query and key are multiplied, not added"),
            *(
                (how, "a dot product of query and key stands in place of the network with v")
                for how in ("dot", "dot-scaled", "dot-raw", "dot-raw-scaled")
            ),
            ("product-plain", "query and key are multiplied, not added, and the tanh is missing"),
            ("difference", "query and key are subtracted, not added"),
            ("sigmoid", "a sigmoid stands in place of tanh"),
            ("relu", "a ReLU stands in place of tanh"),
            ("no-v", "the hidden numbers are added up without the weights in v"),
            ("mean", "the hidden numbers are averaged without the weights in v"),
            ("weights-swapped", "w_q and w_k are swapped"),
            ("weights-shared", "w_q projects the keys too"),
            (
                "weights-transposed",
                "w_q and w_k are used transposed: `nn.Linear` holds (out, in) and computes x @ w.T",
            ),
            ("unprojected", "queries and keys are not projected"),
            ("scaled", "the scores are divided by the square root of the hidden width"),
            ("scaled-query", "the scores are divided by the square root of the query's width"),
            ("scaled-key", "the scores are divided by the square root of the key's width"),
            ("softmax", "the softmax is applied already: scores are wanted"),
            ("transposed", "the scores are transposed: row i belongs to query i"),
        )
    ),
    page=_ADDITIVE,
)
