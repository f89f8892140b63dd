"""The online softmax without its script: its numbers, its picture, what it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from attn_examples.figures import walk_tiles
from tests.conftest import says

INF = torch.inf
ROW = torch.tensor([0.0, 1.0, 2.0])


@pytest.mark.parametrize("tile", [1, 2, 3, 7])
@pytest.mark.parametrize("width", [1, 3])
def test_its_last_tile_gives_the_plain_softmax(tile: int, width: int) -> None:
    torch.manual_seed(tile)
    scores, values = torch.randn(7).double(), torch.randn(7, width).double()
    scores[:2] = -INF
    html = walk_tiles(scores, values, tile=tile)._repr_html_()
    table = html[html.index('<details class="numbers">') :]
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', table)
    cells = {name: re.findall(r"<td>(.*?)</td>", row) for name, row in rows}
    tiles = -(-7 // tile)
    assert list(cells) == [*(f"tile {t + 1}" for t in range(tiles)), "plain softmax"]
    wanted = [f"{number:.3f}" for number in scores.softmax(-1) @ values]
    assert cells[f"tile {tiles}"][3:] == wanted == cells["plain softmax"][3:]
    total = (scores - scores.max()).exp().sum()
    assert cells[f"tile {tiles}"][2] == f"{total:.3f}"


def test_the_still_picture_has_four_tiles_at_most() -> None:
    figure = walk_tiles(torch.zeros(12), torch.zeros(12), tile=1).still
    titles = [ax.get_title().split(":")[0] for ax in figure.axes]
    assert titles == ["tile 1", "tile 5", "tile 8", "tile 12"]
    assert len(walk_tiles(ROW, ROW, tile=3).still.axes) == 2


def test_all_keys_may_be_masked() -> None:
    figure = walk_tiles(torch.tensor([-INF, -INF]), torch.ones(2))
    assert figure.data["masked"] == [True, True]
    assert "nan" not in figure._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, 1.0], ROW), "scores (list) must be a torch.Tensor"),
        ((ROW, [0.0, 1.0]), "values (list) must be a torch.Tensor"),
        (
            (torch.zeros(1), torch.zeros(1)),
            "scores has shape (1,) but must be (S,), one row of 2 to 12 keys",
        ),
        (
            (torch.zeros(13), torch.zeros(13)),
            "scores has shape (13,) but must be (S,), one row of 2 to 12 keys",
        ),
        (
            (ROW, torch.zeros(2)),
            "values has shape (2,) but must be (3,) or (3, Ev) with Ev from 1 to 3",
        ),
        (
            (ROW, torch.zeros(3, 4)),
            "values has shape (3, 4) but must be (3,) or (3, Ev) with Ev from 1 to 3",
        ),
        (
            (torch.tensor([0.0, torch.nan]), torch.zeros(2)),
            "scores holds NaN or infinity: each must be finite, or -inf for a masked key",
        ),
        (
            (ROW, torch.tensor([0.0, INF, 1.0])),
            "values holds NaN or infinity: each must be finite",
        ),
    ],
)
def test_it_refuses(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says(message)):
        walk_tiles(*arguments)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"tile": 0}, "tile (0) must be at least 1"),
        ({"tile": 4}, "tile (4) must be at most the number of keys (3)"),
        ({"tile": 1.5}, "tile (1.5) must be a whole number"),
        ({"labels": ["a"]}, "labels has 1 labels but the map has 3 of them"),
    ],
)
def test_it_refuses_keywords(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says(message)):
        walk_tiles(ROW, ROW, **keywords)
