"""Draw a mechanism in little: a matrix of at most 12 by 12, as one small picture.

The gap: a figure of matplotlib takes some kilobytes, and home shows one for each mechanism.
Here the cells of one shade are one path, in the colour of the links around it.
"""

from __future__ import annotations

from functools import cache
from itertools import groupby

import torch
from torch import Tensor

import attn_examples
from attn_examples.pretrained import example_head

LARGEST = 12  # cells along a side
SHADES = 8  # that one can tell from each other


@cache
def thumbnail(expression: str) -> str:
    """Return the picture of what an expression gives, as SVG.

    Raises
    ------
    ValueError
        If it gives no matrix of at most 12 by 12 truth values or finite numbers.
    """
    if not expression:
        raise ValueError("add an expression as “thumbnail”.")
    found = matrix(expression)
    shades = (found * SHADES).ceil().int().tolist()
    paths: dict[int, list[str]] = {}
    for i, row in enumerate(shades):
        j = 0
        for shade, cells in groupby(row):
            run = len(list(cells))
            paths.setdefault(shade, []).append(f"M{j} {i}h{run}v1h-{run}z")
            j += run
    drawn = "".join(
        f'<path fill-opacity="{shade / SHADES:g}" d="{"".join(paths[shade])}"/>'
        for shade in sorted(paths)
        if shade
    )
    rows, columns = found.shape
    box = f'viewBox="0 0 {columns} {rows}"'
    return f'<svg class="thumbnail" {box} aria-hidden="true">{drawn}</svg>'


def matrix(expression: str) -> Tensor:
    """Return what an expression gives, from 0 to 1: negative numbers count from the least."""
    _, query, key, value = example_head()
    names = {"torch": torch, "query": query[:8], "key": key[:8], "value": value[:8]}
    torch.manual_seed(0)
    with torch.no_grad():
        found = eval(expression, vars(attn_examples) | names)  # ours, from the registry
    if not isinstance(found, Tensor) or found.dim() != 2 or not 0 < max(found.shape) <= LARGEST:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"“thumbnail” gives {what}, and must give a matrix of at most {LARGEST} by {LARGEST}."
        )
    found = found.double()
    if not found.isfinite().all():
        raise ValueError("“thumbnail” gives numbers that are not finite.")
    least = found.min().clamp(max=0.0)
    return (found - least) / (found.max() - least).clamp(min=1e-12)
