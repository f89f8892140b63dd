"""Exercises: look into attention maps, by eye and by code."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from attn_examples.exercises.answers import read_whole_numbers
from attn_examples.exercises.spec import (
    Case,
    Draw,
    FunctionExercise,
    Mistake,
    Sizes,
    ValueExercise,
    WrongValue,
)
from attn_examples.pretrained import attention_maps, load_bert

__all__: list[str] = []

_BACK = "practice/bert.html#a-head-that-looks-one-word-back"
_MAP_ROWS = "concepts/reading-maps.html#rows-are-queries-columns-are-keys"
SENTENCE = "The cat sat on the mat"


def chosen_head(how: str, maps: Tensor) -> list[int]:
    """Return (layer, head) of the previous-token head, or of another for other `how`."""
    layers, heads, T = maps.shape[:3]
    score = {
        "next": lambda: maps.diagonal(1, -2, -1).mean(-1),
        "own": lambda: maps.diagonal(0, -2, -1).mean(-1),
        "largest": lambda: maps.diagonal(-1, -2, -1).amax(-1),
        "smallest": lambda: maps.diagonal(-1, -2, -1).amin(-1),
        "first": lambda: maps[..., 0].mean(-1),
        "last": lambda: maps[..., -1].mean(-1),
        "least": lambda: -maps.diagonal(-1, -2, -1).mean(-1),
        "two-back": lambda: maps.diagonal(-2, -2, -1).mean(-1),
        "sharpest": lambda: maps.amax(-1).mean(-1),
        "no-dims": lambda: maps.diagonal(-1).mean(-1),
        "median": lambda: maps.diagonal(-1, -2, -1).median(-1).values,
        "most-often": lambda: (maps.argmax(-1) == torch.arange(T, device="cpu") - 1).sum(-1),
        "wrapped": lambda: maps.diagonal(-1, -2, -1).sum(-1) + maps[..., 0, -1],
        "any": lambda: maps.flatten(-2).amax(-1),
    }.get(how, lambda: maps.diagonal(-1, -2, -1).mean(-1))()
    index = int(score.argmax())
    layer, head = divmod(index, heads)
    if how == "from-1":
        return [layer + 1, head + 1]
    if how == "swapped":
        return [head, layer]
    if how == "divided-by-layers":
        return list(divmod(index, layers))
    if how == "by-layer":
        return [int(score.mean(1).argmax()), int(score.mean(0).argmax())]
    if how == "flat":
        return [0, index]
    return [layer, head]


_CHOICES = (
    ("next", "the head that looks at the NEXT token: rows are queries, so the token before stands "
     "left of the diagonal, `diagonal(-1)`", _MAP_ROWS),
    ("own", "the head whose tokens look at themselves, on the diagonal itself", _MAP_ROWS),
    ("largest", "the head with the largest single weight on a token before: average over the "
     "tokens", _BACK),
    ("first", "the head that looks at the first token", _BACK),
    ("last", "the head that looks at the last token", _BACK),
    ("any", "the head with the largest weight anywhere", _BACK),
    ("sharpest", "the head whose tokens give most weight to any one token, wherever it stands",
     _BACK),
    ("no-dims", "what `diagonal(-1)` gives without `dim1=-2, dim2=-1`: it runs over layers and "
     "heads, the first two dimensions", _BACK),
    ("least", "the head that looks LEAST at the token before", _BACK),
    ("two-back", "the head that looks two tokens back", _BACK),
    ("from-1", "the right head, counted from 1: count layers and heads from 0", _BACK),
    ("swapped", "the right head, with layer and head in the other order", _BACK),
    ("flat", "the place in the flattened list: `divmod(index, heads)` makes layer and head of it",
     _BACK),
    ("divided-by-layers", "the place in the flattened list, divided by the number of layers and "
     "not of heads", _BACK),
    ("by-layer", "the best layer on average and the best head on average, found apart", _BACK),
    ("median", "the head with the largest MEDIAN weight on a token before: take the mean", _BACK),
    ("most-often", "the head in which the token before comes first most often: average the weights",
     _BACK),
    ("wrapped", "the head that is found when the first token, which has none before it, is counted "
     "too: index -1 is the last column", _BACK),
    ("smallest", "the head whose smallest weight on a token before is largest: average instead",
     _BACK),
)  # fmt: skip


@cache
def _bert_maps() -> Tensor:
    with redirect_stderr(io.StringIO()):  # a progress bar
        return attention_maps(*load_bert(), SENTENCE)[1]


def _wrong_heads() -> tuple[WrongValue, ...]:
    maps = _bert_maps()
    right = chosen_head("", maps)
    return tuple(
        WrongValue(name, value, cause, _MAP_ROWS)
        for name, cause, _ in _CHOICES
        if (value := chosen_head(name, maps)) != right
    )


LOOK_PREVIOUS_TOKEN = ValueExercise(
    name="look-previous-token",
    kind="look",
    task=f'Send "{SENTENCE}" through the trained BERT of `load_bert()`: in which head does each '
    f"token but the first give most of its weight to the token before it?",
    form="(layer, head), counted from 0",
    right=lambda: chosen_head("", _bert_maps()),
    read=read_whole_numbers,
    wrong=_wrong_heads,
    page=_MAP_ROWS,  # the page about BERT holds the answer
    praise="You can read a map of a trained model.",
)


def _maps(draw: Draw, sizes: Sizes) -> tuple[Any, ...]:
    """Random maps with heads of each kind that could be taken for the right one."""
    layers, heads, T = sizes["layers"], sizes["heads"], sizes["T"]
    scores = draw.normal(layers * heads, T, T)
    order = torch.randperm(layers * heads, generator=draw.generator, device="cpu").tolist()
    steps = torch.arange(T, device="cpu")
    distance = steps.unsqueeze(-1) - steps  # queries after keys
    for place, head in enumerate(order[:12]):
        boosted = (
            distance == 0,  # the head that is looked for, in the rows where it looks elsewhere
            (distance == 1) & (steps.unsqueeze(-1) == T - 1),
            distance == -1,
            distance == 0,
            (steps == 0).expand(T, T),
            distance == 2,
            (steps == T - 1).expand(T, T),
            (distance == 3) & (steps.unsqueeze(-1) == T - 1),
            (steps == T - 2).expand(T, T),
            distance != 0,
            distance < -T,
            distance == 1 - T,
        )[place]
        # drawn, so that which of them looks least at any place is left to chance
        strength = 5.0 + 3.0 * draw.integers(0, 100, 1).item() / 100
        scores[head] += {1: 12.0, 7: 24.0}.get(place, strength) * boosted
    maps = scores.softmax(-1)
    # Weights on the token before: in two rows, and in the others. On average the head that is
    # looked for has the most. The second is more even than it, or less even, which other
    # averages prefer; the third has more only with what row 0 gives to the last token.
    high = torch.randperm(T - 1, generator=draw.generator, device="cpu")[:2] + 1
    even = bool(draw.integers(0, 2, 1))
    pairs = ((0.5, 0.5), (0.98, 0.05)) if even else ((0.98, 0.22), (0.42, 0.42))
    for head, (top, low) in zip((order[0], *order[10:12]), (*pairs, (0.45, 0.35)), strict=False):
        given = torch.where(torch.isin(steps, high), top, low).unsqueeze(-1)
        rest = maps[head] * (distance != 1)
        rest = rest / rest.sum(-1, keepdim=True)
        maps[head] = torch.where(steps.unsqueeze(-1) == 0, maps[head],
                                 (1 - given) * rest + given * (distance == 1))  # fmt: skip
    return (maps.view(layers, heads, T, T),)


LOOK_BY_CODE = FunctionExercise(
    name="look-by-code",
    kind="look",
    task="Find by code the head whose tokens give on average most weight to the token before.",
    parameters=("maps",),
    returns=("(layer, head)",),
    right=partial(chosen_head, ""),
    groups=("in 3 layers of 4 heads", "with other sizes"),
    cases=(
        *(Case(0, _maps, {"layers": 3, "heads": 4, "T": 7}) for _ in range(6)),
        *(Case(1, _maps, {"layers": 6, "heads": 2, "T": 6}) for _ in range(6)),
        *(Case(1, _maps, {"layers": 2, "heads": 6, "T": 8}) for _ in range(6)),
    ),
    mistakes=tuple(
        Mistake(name, f"you return {cause}", partial(chosen_head, name), page)
        for name, cause, page in _CHOICES
    ),
    page=_BACK,
    dtype="index",
    differentiable=False,
)
