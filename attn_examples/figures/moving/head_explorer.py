"""Head explorer: what each head of a model does, over several sentences."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from torch import Tensor

from attn_examples.checks import (
    check_float,
    check_kind,
    check_place,
    check_whole,
    labels_of,
    shape_of,
)
from attn_examples.figures.moving.element import (
    Moving,
    controls,
    drawing,
    menu,
    table,
)
from attn_examples.figures.style import INK, new_figure

__all__ = ["explore_heads"]

_ROW = 26  # pixels: a token's button and its row of the map
_ABOVE = 60  # pixels: the tokens above the map
_FRAME = "#d95f02"
_HINT = "<span>Open a head, then ask a token.</span>"
_NOTE = "<small>Numbers are within .01 of the weights; none stands below that.</small>"
_SPECIAL = ("[CLS]", "[SEP]", "<s>", "</s>")


def explore_heads(
    maps: Sequence[Tensor],
    tokens: Sequence[ArrayLike],
    *,
    measures: Mapping[str, Tensor] | None = None,
    head: tuple[int, int] = (0, 0),
    chosen: Sequence[int] | None = None,
    framed: Sequence[tuple[int, int]] = (),
    link: str | None = None,
    alt: str | None = None,
) -> Moving:
    """Show what each head of a model does, over several sentences.

    Every head is a button with its map of the first of two sentences. The heads can be
    sorted by their mean weight on the token before, on the token after, and on [CLS] and
    [SEP], or <s> and </s>, where every sentence holds them; by how broadly they spread
    it; and by your own measures. One head opens, for two sentences side by side.

    A measure is the mean over the rows of a sentence that have such a token, then over
    sentences. How broad a head is: the entropy of a row, as a share of the largest that
    it could have, the logarithm of T. Weights are kept as hundredths that sum to 1 in
    each row, each less than .01 from the true one.

    Parameters
    ----------
    maps : sequence of Tensor, each of shape (layers, heads, T, T)
        The weights of each sentence, each row with the sum 1.
    tokens : sequence of sequences of str
        The tokens of each sentence.
    measures : dict of str to Tensor, shape (layers, heads), optional
        Your own measures: a name, and a number for each head.
    head : tuple of two int, default (0, 0)
        The layer and the head that is open first.
    chosen : sequence of int, optional
        For each sentence the token that is asked first; by default the one in the middle.
    framed : sequence of tuples of two int, optional
        Heads to put a frame around.
    link : str, optional
        A name under which the page's address keeps what is shown, so that it can be
        shared; by default it is not kept.
    alt : str, optional
        What the still picture shows, for who cannot see it.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If the maps have another number of dimensions, hold what are no weights of rows
        that sum to 1, or differ in layers or heads; if the tokens of a sentence or a
        measure do not fit them; or if `head`, `chosen` or `framed` names what is not
        there.
    TypeError
        If an argument is not of its kind.

    References
    ----------
    Vig, "A Multiscale Visualization of Attention in the Transformer Model", 2019,
    arXiv:1906.05714.

    Examples
    --------
    >>> import torch
    >>> from attn_examples.figures import explore_heads
    >>> tokens = ["[CLS] it rains [SEP]".split(), "[CLS] why ? [SEP]".split()]
    >>> maps = [torch.randn(2, 3, 4, 4).softmax(-1) for _ in tokens]
    >>> explore_heads(maps, tokens, measures={"my own": torch.rand(2, 3)})
    <Moving head_explorer: Maps of 2 layers of 3 heads, for “it rains”.>
    """
    weights = _weights(maps)
    layers, heads = weights[0].shape[:2]
    words = _words(tokens, weights)
    _check_head("head", head, layers, heads)
    check_kind("framed", framed, Sequence, "a sequence of layers and heads")
    for one in framed:
        _check_head("framed", one, layers, heads)
    if chosen is None:
        chosen = [len(sentence) // 2 for sentence in words]
    check_kind("chosen", chosen, Sequence, "a sequence of one token for each sentence")
    if len(chosen) != len(words):
        raise ValueError(
            f"chosen has {len(chosen)} tokens but there are {len(words)} sentences"
        )
    for place, sentence in zip(chosen, words, strict=True):
        check_whole("chosen", place)
        if not 0 <= place < len(sentence):
            raise ValueError(
                f"chosen holds {place} but that sentence has tokens 0 to "
                f"{len(sentence) - 1}"
            )
    if link is not None:
        check_kind("link", link, str, "a str")
        if not re.fullmatch(r"[\w-]+", link):
            raise ValueError(f"link ({link!r}) must be letters, digits and hyphens")
    found = _measures(weights, words) | _own(measures, layers, heads)
    numbers = [f"{k}.{h}" for k, h in product(range(layers), range(heads))]
    flat = {name: each.flatten().tolist() for name, each in found.items()}
    longest = max(map(len, words))
    data = {
        "heads": numbers,
        "tokens": words,
        "weights": "".join(_written(each) for each in weights),
        "measures": [[round(x, 3) for x in each] for each in flat.values()],
        "names": list(flat),
        "head": head[0] * heads + head[1],
        "chosen": list(chosen),
        "framed": [k * heads + h for k, h in framed],
        "link": link,
    }
    texts = [_text(sentence) for sentence in words]
    across = heads if heads <= 12 else 8
    tiles = "".join(
        '<button type="button" aria-pressed="false"><canvas width="8" height="8">'
        f"</canvas><span>{number}<small></small></span></button>"
        for number in numbers
    )
    live = (
        f"{controls(menu('by', 'Sort by', ['layer', *flat]), _HINT)}"
        f'<div class="heads" role="group" aria-label="Heads" style="--across: {across}">'
        f'{tiles}</div><div class="panes">'
        + "".join(
            _pane(side, texts, side, longest) for side in range(min(len(words), 2))
        )
        + f"</div>{_NOTE}"
    )
    cells = [
        [f"{round(x, 2) + 0.0:.2f}" for x in line]
        for line in zip(*flat.values(), strict=True)
    ]
    if alt is None:
        alt = f"Maps of {layers} layers of {heads} heads, for “{texts[0]}”."
    still = _still(weights[0], framed)
    rows = table(numbers, list(flat), cells) if flat else ""
    return Moving("head_explorer", data, still, alt, live, rows)


def _weights(maps: Any) -> list[Tensor]:
    """Return the maps in double precision, after a look at them."""
    if isinstance(maps, Tensor) or not isinstance(maps, Sequence) or not maps:
        raise TypeError(
            f"maps ({type(maps).__name__}) must be a sequence of one Tensor for each "
            "sentence"
        )
    found = []
    for i, one in enumerate(maps):
        name = f"maps[{i}]"
        check_float(name, one)
        if one.dim() != 4 or one.shape[2] != one.shape[3] or not one.numel():
            raise ValueError(
                f"{name} has shape {shape_of(one)} but must be (layers, heads, T, T)"
            )
        if one.shape[:2] != maps[0].shape[:2]:
            raise ValueError(
                f"{name} has shape {shape_of(one)} but maps[0] has "
                f"{shape_of(maps[0])}: layers and heads must be the same"
            )
        weights = one.detach().double().cpu()
        if not (
            (weights >= 0) & ((weights.sum(-1) - 1).abs() < 0.005)[..., None]
        ).all():
            raise ValueError(
                f"{name} holds what are no weights: none may be below 0, and each row "
                "must sum to 1"
            )
        found.append(weights)
    return found


def _words(tokens: Any, weights: list[Tensor]) -> list[list[str]]:
    check_kind("tokens", tokens, Sequence, "a sequence of the tokens of each sentence")
    if len(tokens) != len(weights):
        raise ValueError(
            f"tokens has {len(tokens)} sentences but maps has {len(weights)} of them"
        )
    return [
        labels_of(f"tokens[{i}]", each, len(one[0, 0])) or []
        for i, (each, one) in enumerate(zip(tokens, weights, strict=True))
    ]


def _check_head(name: str, head: Any, layers: int, heads: int) -> None:
    check_kind(name, head, Sequence, "a layer and a head")
    if len(head) != 2:
        raise ValueError(f"{name} ({head!r}) must be a layer and a head")
    for which, place, count in zip(
        ("layer", "head"), head, (layers, heads), strict=True
    ):
        check_place(f"{name}: {which}", place, count)


def _measures(weights: list[Tensor], words: list[list[str]]) -> dict[str, Tensor]:
    """Return what each head does, as a number from 0 to 1: (layers, heads) each."""

    def over(measure: Any) -> Tensor:
        """Return the mean over sentences, and over the rows that a measure returns."""
        each = [measure(m, w).mean(-1) for m, w in zip(weights, words, strict=True)]
        return torch.stack(each).mean(0)

    found = {}
    if min(map(len, words)) > 1:
        found["token before"] = over(lambda m, _: m.diagonal(-1, -2, -1))
        found["token after"] = over(lambda m, _: m.diagonal(1, -2, -1))
    for special in _SPECIAL:
        if all(special in sentence for sentence in words):
            found[special] = over(
                lambda m, w, s=special: m[..., [t == s for t in w]].sum(-1)
            )
    if min(map(len, words)) > 1:
        found["breadth"] = over(
            lambda m, w: torch.special.entr(m).sum(-1) / math.log(len(w))
        )
    return found


def _own(measures: Any, layers: int, heads: int) -> dict[str, Tensor]:
    if measures is None:
        return {}
    check_kind("measures", measures, Mapping, "a dict of names and tensors")
    for name, measure in measures.items():
        check_kind("a name in measures", name, str, "a str")
        check_float(f"measures[{name!r}]", measure)
        if measure.shape != (layers, heads):
            raise ValueError(
                f"measures[{name!r}] has shape {shape_of(measure)} but must be "
                f"{(layers, heads)}: a number for each head"
            )
        if not measure.isfinite().all():
            raise ValueError(f"measures[{name!r}] holds what is not finite")
    return {name: each.detach().double().cpu() for name, each in measures.items()}


def _hundredths(weights: Tensor) -> Tensor:
    """Return weights as whole hundredths, 100 in each row: the largest rests round up."""
    exact = 100 * weights / weights.sum(-1, keepdim=True)
    whole = exact.floor()
    missing = (100 - whole.sum(-1, keepdim=True)).round()
    rank = (exact - whole).argsort(dim=-1, descending=True, stable=True).argsort(-1)
    return (whole + (rank < missing)).int()


def _written(weights: Tensor) -> str:
    """Return all weights as a text, a letter for each but the first of each row.

    The first is what the others leave of 1: mostly a sink, it would be the dearest to
    write. "!" is a weight of exactly 0; small ones are ASCII, without what pages escape.
    """
    levels = _hundredths(weights)
    codes = levels + torch.where(levels < 66, 61, 95)
    codes[weights == 0] = ord("!")
    return "".join(map(chr, codes[..., 1:].flatten().tolist()))


def _text(tokens: list[str]) -> str:
    """Return a sentence for a menu, without what a tokenizer put around it."""
    text = " ".join(token for token in tokens if token not in _SPECIAL)
    text = text.replace(" ##", "") or " ".join(tokens)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _pane(side: int, texts: list[str], chosen: int, rows: int) -> str:
    """Return a menu of sentences, tokens as buttons, and the place of the map."""
    buttons = rows * '<button type="button" aria-pressed="false" dir="auto"></button>'
    name, label = (("first", "Sentence"), ("second", "Beside it"))[side]
    return (
        f'<div class="pane">{menu(name, label, texts, chosen)}<div class="grid">'
        f'<div class="rows" role="group" aria-label="Tokens, {name}">{buttons}</div>'
        f"{drawing(_ABOVE + _ROW * rows)}</div></div>"
    )


def _still(maps: Tensor, framed: Sequence[tuple[int, int]]) -> Figure:
    """Draw a tile for each head: layers down, heads across."""
    layers, heads, T = maps.shape[:3]
    gap = max(1, T // 6)
    pitch = T + gap
    sheet = torch.full((layers * pitch - gap, heads * pitch - gap), math.nan)
    for k, h in product(range(layers), range(heads)):
        sheet[k * pitch : k * pitch + T, h * pitch : h * pitch + T] = maps[k, h]
    figure, ax = new_figure(6.4, 0.8 + 5.9 * layers / heads)
    quarters = (4 * sheet).round() / 4  # a smaller image
    ax.imshow(quarters.numpy(), cmap="viridis", vmin=0, vmax=1, interpolation="none")
    for k, h in framed:
        corner = (h * pitch - 0.5 - gap / 2, k * pitch - 0.5 - gap / 2)
        frame = Rectangle(corner, pitch, pitch, fill=False, ec=_FRAME, lw=2.2)
        frame.set_clip_on(False)
        ax.add_patch(frame)
    ax.set_xticks([h * pitch + (T - 1) / 2 for h in range(heads)], range(heads))
    ax.set_yticks([k * pitch + (T - 1) / 2 for k in range(layers)], range(layers))
    ax.set_xlabel("head", color=INK)
    ax.set_ylabel("layer", color=INK)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return figure
