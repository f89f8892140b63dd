"""What `step_through` takes, refuses and draws; what its script does is in tests/browser."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from attn_examples.figures import step_through

QUERY, KEY, VALUE = torch.ones(2, 4), torch.eye(3, 4), torch.tensor([[10.0], [20.0], [40.0]])


def test_without_names_keys_are_numbered_and_the_last_ones_ask() -> None:
    assert step_through(QUERY, KEY, VALUE).data["asks"] == ["1", "2"]
    assert step_through(QUERY, KEY, VALUE, ["a", "b", "c"]).data["asks"] == ["b", "c"]
    across = step_through(QUERY, KEY, VALUE, ["a", "b", "c"], asks=["x", "y"])
    assert across.data["asks"] == ["x", "y"]
    assert across.data["keys"] == ["a", "b", "c"]


def test_a_mask_that_repeats_is_spelled_out() -> None:
    mask = torch.tensor([[True, False, True]])
    assert step_through(QUERY, KEY, VALUE, mask=mask).data["mask"] == [[1, 0, 1]] * 2


def test_the_still_picture_shows_each_step_of_each_query() -> None:
    query = 2 * torch.tensor([[3.0, 2.0, 4.0, 1.0], [2.0, 2.0, 4.0, 1.0]]).log()
    mask = torch.tensor([[True, True, False], [True, True, True]])
    figure = step_through(query, KEY, VALUE, ["The", "cat", "sat"], mask=mask).still
    texts = [text.get_text() for text in figure.axes[0].texts]
    for text in ("“cat” asks", "\N{MINUS SIGN}∞", "3/5 = 0.60", "0.60 × 10 = 6", "output 14"):
        assert text in texts
    for text in ("“sat” asks", "4/8 = 0.50", "0.50 × 40 = 20", "output 27.5"):
        assert text in texts


def test_what_cannot_be_seen_at_all_has_no_nan() -> None:
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    figure = step_through(QUERY, KEY, VALUE, mask=nothing)
    texts = [text.get_text() for text in figure.still.axes[0].texts]
    assert "0.00 × 10 = 0" in texts
    assert not any("nan" in text for text in texts)
    assert "0/0 → 0.00" in texts
    assert "nan" not in figure._repr_html_()


def test_names_are_text_and_not_markup() -> None:
    html = step_through(QUERY, KEY, VALUE, ["<b>", '"', "a"])._repr_html_()
    assert "<b>&" not in html
    assert 'aria-label="Score of &lt;b&gt;"' in html


@pytest.mark.parametrize(
    ("changed", "error", "sentence"),
    [
        ({"query": [1.0]}, TypeError, r"query \(list\) must be a torch.Tensor"),
        ({"query": torch.ones(4)}, ValueError, r"query has shape \(4,\) but must be \(length, w"),
        ({"key": torch.ones(3, 5)}, ValueError, r"query has width 4 .* but key has width 5"),
        ({"value": torch.ones(3, 2)}, ValueError, r"value has shape \(3, 2\) but must be \(S, 1"),
        ({"value": torch.ones(2, 1)}, ValueError, r"value has 2 positions"),
        ({"value": VALUE * 100}, ValueError, "value holds 4000, which must be from -999 to 999"),
        ({"query": QUERY * 999}, ValueError, r"the scores hold 499.5, which must be from -99"),
        ({"query": QUERY * torch.nan}, ValueError, "the scores hold nan, which must be"),
        ({"query": torch.ones(5, 4)}, ValueError, "query has 5 positions but may have 4"),
        ({"query": torch.ones(4, 4)}, ValueError, r"query has 4 positions and key has 3: give as"),
        ({"key": torch.ones(7, 4), "value": torch.ones(7, 1)}, ValueError, "key has 7 positions"),
        ({"mask": torch.ones(2, 3)}, ValueError, r"mask \(torch.float32\) must be torch.bool"),
        ({"mask": torch.ones(2, 2) > 0}, ValueError, r"mask has shape \(2, 2\)"),
        ({"tokens": ["a"]}, ValueError, "tokens has 1 labels"),
        ({"asks": ["a"]}, ValueError, "asks has 1 labels"),
    ],
)
def test_refuses(changed: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        step_through(**({"query": QUERY, "key": KEY, "value": VALUE} | changed))
