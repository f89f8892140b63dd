"""KV cache: text written token by token with and without one, and the bytes it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.patches import Rectangle

from attn_examples.checks import check_count, check_kind, labels_of
from attn_examples.figures.moving.element import (
    Moving,
    controls,
    drawing,
    menu,
    table,
)
from attn_examples.figures.style import INK, LIT, new_figure

__all__ = ["walk_cache"]

_CACHED = "#21918c"


class _Model(NamedTuple):
    """The sizes of a model, as its paper gives them; no window is 0."""

    name: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    window: int
    source: str

    def kind(self) -> str:
        if self.kv_heads == self.heads:
            return "MHA"
        return "MQA" if self.kv_heads == 1 else "GQA"

    def nbytes(self, tokens: int) -> int:
        """Bytes of the cache of one sequence in bfloat16, two bytes a number."""
        kept = min(tokens, self.window or tokens)
        return 2 * self.layers * self.kv_heads * self.head_dim * kept * 2


_MODELS = (
    _Model("GPT-3 175B", 96, 96, 96, 128, 0, "arXiv:2005.14165, Table 2.1"),
    _Model("LLaMA 7B", 32, 32, 32, 128, 0, "arXiv:2302.13971, Table 2"),
    _Model("Llama 3 8B", 32, 32, 8, 128, 0, "arXiv:2407.21783, Table 3"),
    _Model("Llama 3 70B", 80, 64, 8, 128, 0, "arXiv:2407.21783, Table 3"),
    _Model("Mistral 7B", 32, 32, 8, 128, 4096, "arXiv:2310.06825, Table 1"),
    _Model("Gemma 2B", 18, 8, 1, 256, 0, "arXiv:2403.08295, Table 1"),
    _Model("PaLM 540B", 118, 48, 1, 256, 0, "arXiv:2204.02311, section 2"),
)


def walk_cache(
    model: str = "Llama 3 8B",
    tokens: Sequence[str] | None = None,
    *,
    step: int = 5,
    power: int = 13,
) -> Moving:
    """Show text written token by token, with and without a KV cache.

    Above, what each step computes and what is kept, in one head. Below, how many bytes
    the cache of a published model holds in bfloat16: 2 for keys and values, times
    layers, key heads, head_dim, tokens and 2 bytes; beside it what it would hold with a
    key head for each query head (MHA) and with one for all (MQA: Shazeer, 2019,
    arXiv:1911.02150; GQA lies between: Ainslie et al., 2023, arXiv:2305.13245).

    Parameters
    ----------
    model : str, default "Llama 3 8B"
        The model whose cache is shown first: "GPT-3 175B", "LLaMA 7B", "Llama 3 8B",
        "Llama 3 70B", "Mistral 7B", "Gemma 2B" or "PaLM 540B".
    tokens : sequence of str, optional
        What is written, from 2 to 12 tokens.
    step : int, default 5
        The step that is shown first; step t adds token t.
    power : int, default 13
        The number of tokens whose cache is shown first, as a power of 2, up to 17.

    Returns
    -------
    Moving

    Raises
    ------
    ValueError
        If the model is not there, or a number is out of its range.
    TypeError
        If an argument is not of its kind.

    Examples
    --------
    >>> from attn_examples.figures import walk_cache
    >>> figure = walk_cache("Gemma 2B")
    """
    check_kind("model", model, str, "the name of a model")
    names = [one.name for one in _MODELS]
    if model not in names:
        raise ValueError(f"model ({model!r}) must be one of {names}")
    if isinstance(tokens, str):
        raise TypeError("tokens (str) must be a sequence of tokens: call .split()")
    given = ["the", "cat", "sat", "on", "the", "mat", "and", "slept"]
    if tokens is not None:
        given = labels_of("tokens", tokens, len(tokens)) or []
    if not 2 <= len(given) <= 12:
        raise ValueError(f"tokens has {len(given)} tokens but must have from 2 to 12")
    check_count("step", step)
    if step > len(given):
        raise ValueError(f"step ({step}) must be at most {len(given)}, one a token")
    check_count("power", power, least=0)
    if power > 17:
        raise ValueError(f"power ({power}) must be at most 17, {2**17} tokens")

    chosen = names.index(model)
    data = {
        "tokens": given,
        "step": step,
        # without the methods: a row for each model
        "models": [list(one) for one in _MODELS],
    }
    models = menu("model", "Model", [f"{m.name} ({m.kind()})" for m in _MODELS], chosen)
    live = (
        '<div class="controls"><button type="button" class="back">Back</button>'
        '<button type="button" class="next">Write the next token</button>'
        '<span class="text" dir="auto"></span></div>'
        f"{drawing(92 + 18 * (len(given) + 2), 'walk')}"
        f"{controls(models, _CACHE_LENGTH.format(power=power))}"
        f'<p class="sum"></p>{drawing(72, "bytes")}'
    )
    length = 2**power
    cells = [
        [str(part) for part in (m.layers, m.heads, m.kv_heads, m.head_dim)]
        + [_write_bytes(m.nbytes(n)) for n in (1, length)]
        + [m.source]
        for m in _MODELS
    ]
    columns = ["layers", "heads", "key heads", "head_dim", "a token"]
    columns += [f"{length} tokens", "sizes from"]
    held = _write_bytes(_MODELS[chosen].nbytes(length))
    alt = (
        f"Step {step} of {len(given)}: without a cache {step} tokens are projected and "
        f"{step**2} scores computed, with one 1 and {step}. The cache of {model} holds "
        f"{held} at {length} tokens."
    )
    still = _draw_cache(len(given), step, length)
    return Moving("cache_walk", data, still, alt, live, table(names, columns, cells))


_CACHE_LENGTH = (
    '<label>Tokens in the cache <input type="range" name="size" min="0" max="17" '
    'step="1" value="{power}"></label>'
)


def _write_bytes(count: float) -> str:
    """Write a number of bytes with three digits, as the script does."""
    unit = 0
    while count >= 1024 and unit < 4:
        count, unit = count / 1024, unit + 1
    digits = 0 if unit == 0 or count >= 99.95 else 1 if count >= 9.995 else 2
    # a half is rounded up
    return f"{count + 1e-9:.{digits}f} {('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


def _draw_cache(T: int, step: int, length: int) -> Any:
    figure, axes = new_figure(7.2, 3.0, per_line=3)
    for ax, cached in zip(axes[0, :2], (False, True), strict=True):
        kept = step - 1 if cached else 0
        for y, name in ((-3.4, "keys"), (-2.4, "values")):
            ax.text(-0.3, y + 0.5, name, ha="right", va="center", fontsize=9)
            for j in range(T):
                _draw_cell(ax, j, y, "kept" if j < kept else "now" if j < step else "")
        ax.text(-0.3, step - 0.5, "scores", ha="right", va="center", fontsize=9)
        for i in range(T):
            for j in range(T):
                now = i < step and j < step and (i == step - 1 or not cached)
                _draw_cell(ax, j, i, ("masked" if j > i else "now") if now else "")
        ax.set(xlim=(-3, T + 0.2), ylim=(T + 0.2, -3.6), aspect="equal")
        ax.set_axis_off()
        ax.set_title(f"one head, {'with a' if cached else 'no'} cache", fontsize=10)
    ax = axes[0, 2]
    for y, one in enumerate(_MODELS):
        held = one.nbytes(length)
        ax.barh(y, held, color=_CACHED, height=0.35)
        ax.text(
            0, y - 0.28, f"{one.name} ({one.kind()}): {_write_bytes(held)}", fontsize=9
        )
    ax.invert_yaxis()
    ax.set_axis_off()
    ax.set_title(f"the cache at {length} tokens", fontsize=10)
    return figure


def _draw_cell(ax: Any, x: float, y: float, what: str) -> None:
    fill = {"now": LIT, "masked": LIT, "kept": _CACHED}.get(what, "none")
    faint = what == ""
    ax.add_patch(Rectangle((x, y), 0.9, 0.9, fc=fill, ec=INK, lw=0.3 if faint else 0.7))
    if what in ("now", "masked"):
        mark = "." if what == "now" else "x"
        ax.plot(x + 0.45, y + 0.45, mark, color="#000000", ms=4, mew=0.8)
