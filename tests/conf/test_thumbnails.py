"""Pictures in little: what is drawn, and what is refused."""

from __future__ import annotations

import re

import pytest
import torch

from attn_examples.registry import Mechanism, mechanisms
from extensions.render.thumbnails import matrix, thumbnail


def drawn(svg: str) -> torch.Tensor:
    """Read the shades of the cells out of a picture."""
    box = re.search(r'viewBox="0 0 (\d+) (\d+)"', svg)
    assert box
    cells = torch.zeros(int(box[2]), int(box[1]))
    for opacity, paths in re.findall(r'fill-opacity="([\d.]+)" d="([^"]+)"', svg):
        for j, i, run in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", paths):
            cells[int(i), int(j) : int(j) + int(run)] += float(opacity)
    return cells


def test_each_cell_is_drawn_once_in_its_shade() -> None:
    assert torch.equal(drawn(thumbnail("causal_mask(3, 5)")), torch.ones(3, 5).tril(2))
    ramp = "torch.tensor([[0.0, 1.0, 1.0], [2.0, 3.0, 4.0]])"
    assert drawn(thumbnail(ramp)).tolist() == [[0, 0.25, 0.25], [0.5, 0.75, 1]]


def test_negative_numbers_count_from_the_least() -> None:
    assert matrix("torch.tensor([[-2.0, -1.0], [-2.0, 0.0]])").tolist() == [[0, 0.5], [0, 1]]
    assert matrix("torch.zeros(2, 2)").tolist() == [[0, 0], [0, 0]]


def test_random_numbers_are_the_same_each_time() -> None:
    assert torch.equal(matrix("torch.rand(4, 4)"), matrix("torch.rand(4, 4)"))


@pytest.mark.parametrize("mechanism", mechanisms(), ids=lambda found: found.name)
def test_each_mechanism_has_a_picture_that_shows_something(mechanism: Mechanism) -> None:
    cells = drawn(thumbnail(mechanism.thumbnail))
    assert cells.max() == 1


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("", "add an expression"),
        ("torch.zeros(3)", r"gives \(3,\), and must give a matrix"),
        ("torch.zeros(13, 2)", r"gives \(13, 2\)"),
        ("softmax", "gives function"),
        ("torch.tensor([[float('nan')]])", "not finite"),
    ],
)
def test_what_is_no_picture_is_refused(expression: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        thumbnail(expression)
