"""What `walk_heads` takes, refuses and draws; what its script does is in tests/browser."""

from __future__ import annotations

from typing import Any

import pytest

from attn_examples.figures import walk_heads


def test_the_still_picture_and_the_numbers_show_each_shape() -> None:
    figure = walk_heads(12, 3, length=5, batch=2)
    texts = [text.get_text() for text in figure.still.axes[0].texts]
    for text in ("1 x", "2 Q, K, V", "(2, 3, 5, 4)", "3 scores", "(2, 3, 5, 5)", "(2, 5, 12)"):
        assert text in texts
    assert "<td>(N, H, L, E)</td><td>(2, 3, 5, 4)</td>" in figure._repr_html_()
    assert figure.alt == "3 heads of width 4 make (2, 5, 12) of (2, 5, 12)."


@pytest.mark.parametrize("width", [1, 7, 12, 45, 100, 384, 768, 1000])
def test_the_width_it_starts_with_can_be_chosen_again(width: int) -> None:
    html = walk_heads(width, 1)._repr_html_()
    slider = html.split('name="D"')[1].split(">")[0]
    found = {k: int(v.strip('"')) for k, v in (pair.split("=") for pair in slider.split()[:4])}
    assert found["value"] == width <= found["max"]
    assert (found["value"] - found["min"]) % found["step"] == 0
    assert (found["max"] - found["min"]) % found["step"] == 0


@pytest.mark.parametrize(
    ("changed", "error", "sentence"),
    [
        ({"num_heads": 10}, ValueError, r"embed_dim \(384\) must be divisible by num_heads \(10"),
        ({"num_heads": 24}, ValueError, r"num_heads \(24\) must be at most 16"),
        ({"num_heads": 0}, ValueError, r"num_heads \(0\) must be at least 1"),
        ({"embed_dim": 1.5}, TypeError, r"embed_dim \(1.5\) must be a whole number"),
        ({"length": 0}, ValueError, r"length \(0\) must be at least 1"),
        ({"batch": "2"}, TypeError, r"batch \('2'\) must be a whole number"),
        ({"head": 12}, ValueError, r"head \(12\) must be from 0 to 11"),
        ({"head": None}, TypeError, r"head \(None\) must be a whole number"),
    ],
)
def test_refuses(changed: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        walk_heads(**({"embed_dim": 384, "num_heads": 12} | changed))
