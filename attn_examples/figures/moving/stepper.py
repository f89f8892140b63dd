"""Four-step stepper: one small example, its numbers followed from score to output."""

from __future__ import annotations

from html import escape

import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor

from attn_examples.checks import check_float, labels_of, shape_of
from attn_examples.core import attention
from attn_examples.figures.moving.element import (
    Moving,
    choice,
    controls,
    drawing,
    table,
)
from attn_examples.figures.style import INK, LIT, new_figure
from attn_examples.scores import scaled_dot

__all__ = ["step_through"]

_MOST_ON_SHEET = {"queries": 4, "keys": 6, "score": 99, "value": 999}
_SHEET_STEPS = ("1 score", "2 mask", "3 normalize", "4 mix")
_SHEET_MADE = (
    "query · key / √E",
    "score or \N{MINUS SIGN}∞",
    "e<sup>score</sup> / sum",
    "weight × value",
)


def step_through(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tokens: ArrayLike | None = None,
    *,
    mask: Tensor | None = None,
    asks: ArrayLike | None = None,
    alt: str | None = None,
) -> Moving:
    """Follow the numbers of a small example through the four steps, there and back.

    A score, a cell of the mask and a value can be changed, and all that comes after
    them follows.

    Parameters
    ----------
    query : Tensor, shape (L, E)
        At most 4 queries.
    key : Tensor, shape (S, E)
        At most 6 keys.
    value : Tensor, shape (S, 1)
        One number for each key.
    tokens : sequence of str or numbers, array or Tensor, optional
        The tokens of the keys, by default their numbers.
    mask : Tensor of bool, shape (L, S), optional
        True where attention is allowed.
    asks : sequence of str or numbers, array or Tensor, optional
        The tokens of the queries; by default the last L of `tokens`.
    alt : str, optional
        What the still picture shows, for who cannot see it; by default its size
        and the outputs.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If the tensors do not fit together or are larger than a pencil's example; if
        there is not one label for each; or if a score is beyond 99 or a value beyond
        999, which would not fit.
    TypeError
        If an argument is not of its kind.

    Examples
    --------
    >>> import torch
    >>> from attn_examples.figures import step_through
    >>> query = 2 * torch.tensor([[3.0, 2.0, 4.0, 1.0]]).log()  # (L, E)
    >>> key = torch.eye(3, 4)  # (S, E)
    >>> value = torch.tensor([[10.0], [20.0], [40.0]])  # (S, 1)
    >>> step_through(query, key, value, "The cat sat".split())
    <Moving stepper: 1 query and 3 keys in four steps, which give 25.56.>
    """
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        check_float(name, tensor)
        if tensor.dim() != 2 or not tensor.numel():
            raise ValueError(
                f"{name} has shape {shape_of(tensor)} but must be (length, width): "
                "pick one sequence and one head"
            )
    query, key, value = (t.detach().double().cpu() for t in (query, key, value))
    mask = mask.cpu() if isinstance(mask, Tensor) else mask
    output, weights = attention(query, key, value, mask=mask)
    L, S = weights.shape
    if value.shape[1] != 1:
        raise ValueError(
            f"value has shape {shape_of(value)} but must be (S, 1): one number for "
            "each key"
        )
    _check_most("query", "queries", L)
    _check_most("key", "keys", S)
    scores = scaled_dot(query, key)
    _check_most("the scores", "score", scores)
    _check_most("value", "value", value)
    seen = torch.ones(L, S, dtype=torch.bool) if mask is None else mask.expand(L, S)
    keys = labels_of("tokens", tokens, S) or [str(j) for j in range(S)]
    if asks is None and L > S:
        raise ValueError(
            f"query has {L} positions and key has {S}: give asks, the tokens of the "
            "queries"
        )
    queries = labels_of("asks", asks, L) or keys[S - L :]
    data = {
        "asks": queries,
        "keys": keys,
        "scores": scores.tolist(),
        "mask": seen.int().tolist(),
        "values": value[:, 0].tolist(),
    }
    options = {str(i): token for i, token in enumerate(queries)}
    arrows = "".join(
        f'<button type="button">{name}</button>' for name in ("Back", "Next")
    )
    hint = "<span>Press Next, or change a number or a tick.</span>"
    asking = choice("query", "Asks:", options, "0") if L > 1 else ""
    line = controls(hint, asking, arrows)
    live = f"{line}{_sheet(keys, scores, seen, value)}{drawing(62)}"
    if alt is None:
        counts = f"{L} quer{'y' if L == 1 else 'ies'} and {S} key{'s'[: S > 1]}"
        ends = ", ".join(_two_digits(number) for number in output[:, 0].tolist())
        alt = f"{counts} in four steps, which give {ends}."
    columns = [f"weight of {token}" for token in keys] + ["output"]
    rows = torch.cat([weights, output], -1).tolist()
    cells = [[f"{number:.4g}" for number in row] for row in rows]
    still = _draw_sheet(queries, keys, scores, seen, weights, value, output)
    return Moving("stepper", data, still, alt, live, table(queries, columns, cells))


def _check_most(name: str, what: str, found: int | Tensor) -> None:
    """Raise unless an example is as small as its sheet of paper."""
    most = _MOST_ON_SHEET[what]
    if isinstance(found, int):
        if found > most:
            raise ValueError(
                f"{name} has {found} positions but may have {most}: step_through is "
                "for a small example"
            )
    elif not (found.abs() <= most).all():
        worst = found.flatten()[found.flatten().abs().nan_to_num(torch.inf).argmax()]
        raise ValueError(
            f"{name} hold{'s' * (name == 'value')} {worst:g}, which must be from "
            f"-{most} to {most}"
        )


def _sheet(keys: list[str], scores: Tensor, seen: Tensor, value: Tensor) -> str:
    """Return the table that a reader can change: a row a key, a column a step."""
    heads = "".join(
        f'<th scope="col"><label><input type="radio" name="step" value="{i}"'
        f"{' checked' * (i == 0)}>{step}</label><small>{made}</small></th>"
        for i, (step, made) in enumerate(zip(_SHEET_STEPS, _SHEET_MADE, strict=True))
    )
    lines = []
    for j, token in enumerate(keys):
        of = escape(token if keys.count(token) == 1 else f"{token}, key {j}")
        score = _number_box(
            f"Score of {of}", f"{scores[0, j]:.2f}", _MOST_ON_SHEET["score"]
        )
        paid = _number_box(
            f"Value of {of}", _two_digits(value[j].item()), _MOST_ON_SHEET["value"]
        )
        tick = (
            f'<input type="checkbox"{" checked" * bool(seen[0, j])} '
            f'aria-label="{of} may be seen">'
        )
        lines.append(
            f'<tr><th scope="row" dir="auto">{escape(token)}</th><td>{score}</td>'
            f"<td><label>{tick}<b></b></label></td><td><small></small><b></b></td>"
            f"<td><span><small></small>{paid}</span><b></b></td></tr>"
        )
    return (
        f'<table class="sheet"><thead><tr><td></td>{heads}</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody><tfoot><tr><th scope="row">sum</th><td></td>'
        "<td></td><td><small></small><b></b></td><td><small></small><b></b></td></tr></tfoot></table>"
    )


def _number_box(label: str, value: str, most: int) -> str:
    return (
        f'<input type="number" step="0.1" min="-{most}" max="{most}" value="{value}" '
        f'aria-label="{label}">'
    )


def _draw_sheet(
    queries: list[str],
    keys: list[str],
    scores: Tensor,
    seen: Tensor,
    weights: Tensor,
    value: Tensor,
    output: Tensor,
) -> Figure:
    """Draw the sheet of each query with all four steps done."""
    S, block = len(keys), len(keys) + 1.5  # lines of one query
    lines = 1.2 + block * len(queries)
    figure, ax = new_figure(5.4, 0.23 * lines)
    ax.set(xlim=(0, 5.4), ylim=(lines - 0.3, -0.5))
    ax.set_axis_off()
    ends = (1.6, 2.25, 3.65, 5.35)  # where each column ends
    for end, step in zip(ends, _SHEET_STEPS, strict=True):
        ax.text(end, 0, step, ha="right", va="center", weight="bold")
    for i, token in enumerate(queries):
        top = 1.2 + block * i
        ax.axhline(top - 0.6, color=INK, linewidth=0.6)
        ax.text(0, top, f"“{_cut_token(token)}” asks", va="center", weight="bold")
        powers = scores[i].exp() * seen[i]
        for j in range(S):
            w, v = weights[i, j].item(), value[j].item()
            texts = (
                f"{scores[i, j]:.2f}",
                f"{scores[i, j]:.2f}" if seen[i, j] else "-∞",
                f"{powers[j]:.3g}/{powers.sum():.3g} {'=' if seen[i].any() else '→'} {w:.2f}",
                f"{w:.2f} × {_two_digits(v)} = {_two_digits(w * v)}",
            )
            y = top + 1 + j
            ax.text(0.15, y, _cut_token(keys[j]), va="center")
            for end, text in zip(ends, texts, strict=True):
                ax.text(
                    end, y, text.replace("-", "\N{MINUS SIGN}"), ha="right", va="center"
                )
        text = f"output {_two_digits(output[i].item())}".replace("-", "\N{MINUS SIGN}")
        box = {"boxstyle": "round,pad=0.15", "fc": LIT, "ec": INK, "lw": 0.6}
        ax.text(5.35, top, text, ha="right", va="center", color="#000000", bbox=box)
    return figure


def _cut_token(token: str) -> str:
    return token if len(token) <= 12 else f"{token[:11]}…"


def _two_digits(number: float) -> str:
    """Write a number with at most two digits after the point: 14, 27.5."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
