"""Attention explorer: where each token looks, in every head of a model."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from attn_examples.checks import (
    check_float,
    check_kind,
    check_place,
    labels_of,
    shape_of,
)
from attn_examples.figures.maps import heatmap
from attn_examples.figures.moving.element import (
    Moving,
    choice,
    controls,
    drawing,
    menu,
    pack,
    table,
)
from attn_examples.figures.style import new_figure

__all__ = ["explore"]


def explore(
    maps: Tensor | Sequence[Tensor],
    tokens: ArrayLike | None = None,
    answers: ArrayLike | None = None,
    *,
    chosen: int = 0,
    head: tuple[int, int] = (0, 0),
    titles: ArrayLike | None = None,
    show_map: bool = True,
    still: Figure | None = None,
    alt: str | None = None,
) -> Moving:
    """Show attention maps so that a token can be asked where it looks.

    Hover over a token, tap it or go to it by keyboard: arcs and the map show its weights,
    which stand below the tokens with their sum. Turned round, it shows who looks at the
    token. With several heads or layers there is a menu of them.

    Parameters
    ----------
    maps : Tensor, shape (L, S), (H, L, S) or (layers, H, L, S), or a sequence of Tensors
        Weights from 0 to 1. A sequence holds one tensor for each layer, as models of
        transformers give with `output_attentions=True`; a batch of one is taken as it is.
    tokens : sequence of str or numbers, array or Tensor, optional
        The tokens that ask, by default their numbers.
    answers : sequence of str or numbers, array or Tensor, optional
        The tokens that answer, in cross-attention; by default the same tokens.
    chosen : int, default 0
        The token that is asked first.
    head : tuple of two int, default (0, 0)
        The layer and the head that are shown first.
    titles : sequence of str or numbers, array or Tensor, optional
        A name for each head, by default its number.
    show_map : bool, default True
        Whether the map stands beside the sentence.
    still : Figure, optional
        Another still picture than the map that is shown first.
    alt : str, optional
        What the still picture shows, for who cannot see it; by default its size.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If the maps have another number of dimensions, hold what is no weight, are empty,
        or differ in shape; if there is not one label for each position; or if `chosen` or
        `head` is not there.
    TypeError
        If an argument is not of its kind.

    Examples
    --------
    >>> import torch
    >>> from attn_examples.figures import explore
    >>> maps = torch.rand(2, 3, 5, 5).softmax(-1)  # (layers, heads, L, S)
    >>> explore(maps, "the cat sat down .".split(), chosen=1)
    <Moving explorer: Attention of 5 tokens to 5 tokens, as a map.>
    """
    weights = _stack(maps)
    layers, heads, L, S = weights.shape
    asks = labels_of("tokens", tokens, L) or [str(i) for i in range(L)]
    if answers is None and L != S:
        raise ValueError(
            f"maps has shape {shape_of(weights)}, so {L} tokens ask and {S} answer: give "
            "answers, the labels of those that answer"
        )
    others = None if answers is None else labels_of("answers", answers, S)
    check_place("chosen", chosen, L)
    check_kind("head", head, Sequence, "a pair of whole numbers")
    if len(head) != 2:
        raise ValueError(
            f"head has {len(head)} numbers but must have 2, of layer and head"
        )
    check_place("head[0]", head[0], layers)
    check_place("head[1]", head[1], heads)
    names = labels_of("titles", titles, heads)
    check_kind("show_map", show_map, bool, "True or False")
    check_kind("still", still, Figure | None, "a matplotlib Figure")
    check_kind("alt", alt, str | None, "a str")
    if still is not None and alt is None:
        raise ValueError("alt (None) must say what the picture in still shows")
    answering = others or asks
    shown = weights[head[0], head[1]]
    data = {
        "shape": [layers, heads, L, S],
        # 16 bits a weight; only what is exactly 0 becomes 0
        "weights": pack(_sixteen_bits(weights)),
        "asks": asks,
        "answers": others,
        "chosen": chosen,
    }
    parts = []
    if layers > 1:
        parts.append(menu("layer", "Layer", map(str, range(layers)), head[0]))
    if names and heads <= 3:
        options = dict(zip(map(str, range(heads)), names, strict=True))
        parts.append(choice("head", "Map:", options, str(head[1])))
    elif heads > 1:
        numbered = names or map(str, range(heads))
        parts.append(menu("head", "Map" if names else "Head", numbered, head[1]))
    if others is None:
        ways = {"asks": "where it looks", "answers": "who looks at it"}
        parts.append(choice("turn", "A token:", ways, "asks"))
    groups = _tokens("asks", asks)
    if others is not None:
        groups += _tokens("answers", others)
    high = drawing(90 + 25 * min(L, 12))
    map_ = f'<div class="map">{high}</div>' if show_map else ""
    live = (
        f'{controls(*parts)}<div class="parts"><div class="sentence">'
        f'<svg class="live" aria-hidden="true"></svg>{groups}</div>'
        f"{map_}</div>"
    )
    numbers = ""
    if L * S <= 400:
        cells = [[f"{weight:.3f}" for weight in row] for row in shown.tolist()]
        numbers = table(asks, answering, cells)
    if still is None:
        still = _draw(shown, asks, answering)
    if alt is None:
        alt = f"Attention of {L} tokens to {S} tokens, as a map."
    return Moving("explorer", data, still, alt, live, numbers)


def _draw(weights: Tensor, asks: list[str], answers: list[str]) -> Figure:
    """Draw one map as large as what moves: the still picture."""
    L, S = weights.shape
    cell = 0.3 if max(L, S) <= 12 else max(0.03, 3.6 / max(L, S))  # inches
    figure, ax = new_figure(1.4 + cell * S, 1.0 + cell * L)
    if max(L, S) <= 24:
        heatmap(weights, asks, answers, vmax=1.0, ax=ax)
    else:
        heatmap(weights, vmax=1.0, ax=ax)
    ax.collections[0].set_rasterized(L * S > 1600)  # as a picture, of one size
    return figure


def _stack(maps: Any) -> Tensor:
    """Return maps as (layers, H, L, S)."""
    if not isinstance(maps, Tensor):
        if not isinstance(maps, Sequence) or not maps:
            raise TypeError(
                f"maps ({type(maps).__name__}) must be a Tensor or a sequence of one "
                "Tensor for each layer"
            )
        for layer in maps:
            check_float("maps", layer)
        if len({layer.shape for layer in maps}) > 1:
            shapes = sorted({shape_of(layer) for layer in maps})
            raise ValueError(
                f"maps has layers of shapes {shapes}, which must be one shape"
            )
        maps = torch.stack([_without_batch(layer) for layer in maps])
    check_float("maps", maps)
    if not 2 <= maps.dim() <= 4:
        raise ValueError(
            f"maps has shape {shape_of(maps)} but must be (L, S), (H, L, S) or "
            "(layers, H, L, S): pick one batch entry"
        )
    weights: Tensor = maps.detach().double().cpu()
    if not weights.numel():
        raise ValueError(f"maps has shape {shape_of(maps)}, which holds nothing")
    if not ((weights >= 0) & (weights <= 1 + 1e-6)).all():
        raise ValueError("maps holds what is no weight: each must be from 0 to 1")
    return weights.reshape(*(1,) * (4 - weights.dim()), *weights.shape)


def _without_batch(layer: Tensor) -> Tensor:
    """Take the batch of one away that a model adds."""
    if layer.dim() == 4:
        if layer.shape[0] != 1:
            raise ValueError(
                f"maps has a layer of shape {shape_of(layer)}, a batch of "
                f"{layer.shape[0]}: pick one batch entry"
            )
        return layer[0]
    return layer if layer.dim() == 3 else layer[None]


def _sixteen_bits(weights: Tensor) -> Tensor:
    steps = (weights * 65535).round().clamp(max=65535)
    steps = torch.where((weights > 0) & (steps == 0), 1, steps)
    return steps.to(torch.uint16)


def _tokens(kind: str, tokens: list[str]) -> str:
    """Return the tokens as buttons: a group with one Tab stop."""
    buttons = "".join(
        f'<button type="button" aria-pressed="false" dir="auto">{escape(token)}'
        '<small dir="ltr"></small></button>'
        for token in tokens
    )
    return f'<div class="tokens {kind}" role="group" aria-label="Tokens: {kind}">{buttons}</div>'
