"""The softmax lab without its script: its still picture, its numbers, what it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from attn_examples.figures import try_softmax
from tests.conftest import says

INF = torch.inf


def test_its_numbers_are_those_of_torch() -> None:
    scores = torch.tensor([0.5, -1.0, -INF, 2.0], dtype=torch.float64)
    html = try_softmax(scores, ["a", "b", "c", "d"])._repr_html_()
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', html)
    cells = [[name, *re.findall(r"<td>(.*?)</td>", row)] for name, row in rows]
    weights = [(scores / T).softmax(-1) for T in (0.5, 1.0, 2.0)]
    for i, name in enumerate("abcd"):
        assert cells[i] == [name, f"{scores[i]:.3f}", *(f"{w[i]:.3f}" for w in weights)]
    entropies = [f"{torch.special.entr(w).sum():.3f}" for w in weights]
    assert cells[4] == ["entropy", "", *entropies]


def test_the_still_picture_has_the_scores_and_the_weights_at_three_temperatures() -> None:
    figure = try_softmax(torch.tensor([1.0, 2.0, 5.0]).log()).still
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["score", "weight, T = ½", "weight, T = 1", "weight, T = 2"]
    texts = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert texts[0] == ["0.00", "0.69", "1.61"]
    assert texts[2] == ["0.12", "0.25", "0.63"]


def test_scores_stand_in_the_page_as_they_are() -> None:
    html = try_softmax(torch.tensor([1 / 3, -INF], dtype=torch.float64))._repr_html_()
    assert f'value="{1 / 3!r}"' in html
    assert try_softmax(torch.tensor([-7.5])).data["largest"] == 8


def test_all_keys_may_be_masked() -> None:
    assert try_softmax(torch.tensor([-INF, -INF])).data["masked"] == [True, True]


ROW = torch.tensor([0.0, 1.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0, 1.0],), "scores (list) must be a torch.Tensor"),
        (
            (torch.tensor([0, 1]),),
            "scores (torch.int64) must be a floating-point tensor: embed token numbers "
            "first, or call scores.float()",
        ),
        (
            (torch.zeros(1, 3),),
            "scores has shape (1, 3) but must be (S,), one row of at most 8 keys",
        ),
        ((torch.zeros(9),), "scores has shape (9,) but must be (S,), one row of at most 8 keys"),
        ((torch.zeros(0),), "scores has shape (0,) but must be (S,), one row of at most 8 keys"),
        (
            (torch.tensor([0.0, torch.nan]),),
            "scores holds NaN or infinity: each must be finite, or -inf for a masked key",
        ),
        (
            (torch.tensor([0.0, INF]),),
            "scores holds NaN or infinity: each must be finite, or -inf for a masked key",
        ),
        ((ROW, ["a"]), "labels has 1 labels but the map has 2 of them"),
        ((ROW, 3), "labels (int) must be a sequence of labels"),
    ],
)
def test_it_refuses(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=says(message)):
        try_softmax(*arguments)
