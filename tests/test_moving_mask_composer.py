"""The mask composer refuses what cannot be, and its still picture holds the same mask."""

from __future__ import annotations

from typing import Any

import pytest

from attn_examples.figures import compose_masks


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ({"length": 1}, ValueError, r"length \(1\) must be at least 2"),
        ({"length": 13}, ValueError, r"length \(13\) must be at most 12"),
        ({"length": 4.0}, TypeError, r"length \(4.0\) must be a whole number"),
        ({"window": 0}, ValueError, r"window \(0\) must be at least 1"),
        ({"prefix": 9}, ValueError, r"prefix \(9\) must be at most 8"),
        ({"document": True}, TypeError, r"document \(True\) must be a whole number"),
        ({"real": 9}, ValueError, r"real \(9\) must be at most 8"),
        ({"chosen": ["causal"]}, TypeError, r"chosen \(list\) must be a mapping"),
        ({"chosen": {"casual": "&"}}, ValueError, "chosen has 'casual' but the masks are"),
        ({"chosen": {"causal": "and"}}, ValueError, "chosen has 'causal': 'and' but a sign"),
    ],
)
def test_it_refuses_what_cannot_be(
    call: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        compose_masks(**call)


def test_the_still_picture_says_how_masks_are_joined() -> None:
    figure = compose_masks(4, {"padding": "&", "causal": "|", "documents": "|"}, document=2)
    assert "(causal | documents) & padding: 8 of 16 pairs" in figure.alt
    assert "no mask: 16 of 16 pairs" in compose_masks(4, {}).alt
