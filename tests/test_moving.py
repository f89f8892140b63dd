"""Figures that move, as Python sees them: what `explore` refuses, and what a notebook gets."""

from __future__ import annotations

import base64
import html
import json
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

from attn_examples.figures import explore, new_figure
from attn_examples.figures.moving import Moving, element
from attn_examples.figures.style import INK

EVEN = torch.full((2, 3, 4, 4), 0.25)
WORDS = ["a", "b", "c", "d"]
REFUSED: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((None,), {}, TypeError, "maps (NoneType) must be a Tensor or a sequence of one Tensor for"),
    (([],), {}, TypeError, "maps (list) must be a Tensor or a sequence of one Tensor for each"),
    (([[1.0]],), {}, TypeError, "maps (list) must be a torch.Tensor"),
    (([EVEN[0], EVEN[0, :2]],), {}, ValueError, "maps has layers of shapes [(2, 4, 4), (3, 4, 4)]"),
    (([EVEN],), {}, ValueError, "maps has a layer of shape (2, 3, 4, 4), a batch of 2: pick one"),
    (
        (torch.ones(2, 2, dtype=torch.long),),
        {},
        ValueError,
        "maps (torch.int64) must be a floating",
    ),
    ((torch.ones(3),), {}, ValueError, "maps has shape (3,) but must be (L, S), (H, L, S) or"),
    ((EVEN[None],), {}, ValueError, "maps has shape (1, 2, 3, 4, 4) but must be (L, S)"),
    ((torch.ones(0, 4), [], WORDS), {}, ValueError, "maps has shape (0, 4), which holds nothing"),
    ((-EVEN,), {}, ValueError, "maps holds what is no weight: each must be from 0 to 1"),
    ((EVEN + 0.76,), {}, ValueError, "maps holds what is no weight: each must be from 0 to 1"),
    ((EVEN * torch.nan,), {}, ValueError, "maps holds what is no weight: each must be from 0 to 1"),
    ((EVEN, WORDS[:3]), {}, ValueError, "tokens has 3 labels but the map has 4 of them"),
    ((EVEN, WORDS, WORDS[:3]), {}, ValueError, "answers has 3 labels but the map has 4 of them"),
    ((EVEN, [None] * 4), {}, TypeError, "tokens holds None but a label must be a text or a number"),
    ((EVEN[..., :3], WORDS), {}, ValueError, "so 4 tokens ask and 3 answer: give answers, the"),
    ((EVEN,), {"chosen": 4}, ValueError, "chosen (4) must be from 0 to 3"),
    ((EVEN,), {"chosen": -1}, ValueError, "chosen (-1) must be from 0 to 3"),
    ((EVEN,), {"chosen": 0.5}, TypeError, "chosen (0.5) must be a whole number"),
    ((EVEN,), {"head": (2, 0)}, ValueError, "head[0] (2) must be from 0 to 1"),
    ((EVEN,), {"head": (0, 3)}, ValueError, "head[1] (3) must be from 0 to 2"),
    ((EVEN,), {"head": (True, 0)}, TypeError, "head[0] (True) must be a whole number"),
    ((EVEN,), {"head": (0,)}, ValueError, "head has 1 numbers but must have 2, of layer and head"),
    ((EVEN,), {"head": 0}, TypeError, "head (int) must be a pair of whole numbers"),
]


@pytest.mark.parametrize(("given", "options", "error", "message"), REFUSED)
def test_explore_refuses(
    given: tuple[Any, ...], options: dict[str, Any], error: Any, message: str
) -> None:
    with pytest.raises(error) as raised:
        explore(*given, **options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def held(figure: Moving) -> np.ndarray[Any, Any]:
    """Return the weights that a figure's data hold, as the script reads them."""
    data = data_of(figure._repr_html_())
    numbers = np.frombuffer(base64.b64decode(data["weights"]), dtype="<u2")
    return numbers.reshape(data["shape"]) / 65535


def data_of(text: str) -> dict[str, Any]:
    quoted = re.search(r"data-figure='([^']*)'", text)
    assert quoted
    data: dict[str, Any] = json.loads(html.unescape(quoted[1]))
    return data


def test_explore_takes_what_models_give() -> None:
    torch.manual_seed(0)
    layers = torch.randn(2, 3, 4, 4).softmax(-1)
    wanted = held(explore(layers, WORDS))
    np.testing.assert_allclose(wanted, layers.numpy(), rtol=0, atol=1 / 65535)
    given = (
        tuple(layers[:, None]),  # as transformers gives them, with a batch of one
        list(layers),
        layers.requires_grad_(),
    )
    for maps in given:
        np.testing.assert_array_equal(held(explore(maps, WORDS)), wanted)
    one = layers.detach()[0, 0].to(torch.bfloat16)
    assert held(explore(one, range(4))).shape == (1, 1, 4, 4)
    assert held(explore([one, one])).shape == (2, 1, 4, 4)


def test_only_what_is_exactly_0_becomes_0() -> None:
    weights = torch.tensor([[1.0, 0.0], [1e-30, 1.0]])
    assert (held(explore(weights)) == 0).tolist() == [[[[False, True], [False, False]]]]


def test_a_notebook_gets_the_element_and_a_picture() -> None:
    figure = explore(EVEN, WORDS)
    bundle, _ = DisplayFormatter().format(figure)
    assert set(bundle) == {"text/html", "image/svg+xml", "text/plain"}
    assert bundle["text/plain"] == "<Moving explorer: Attention of 4 tokens to 4 tokens, as a map.>"
    root = ElementTree.fromstring(bundle["image/svg+xml"])
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = bundle["text/html"]
    assert text.startswith('<attn-explorer class="moving"')
    assert text.endswith("</attn-explorer>")
    assert data_of(text) == figure.data
    assert f"<script data-kit>{element.script('explorer')}</script>" in text
    assert f"<style data-kit>{element.styles('explorer')}</style>" in text
    assert text.index("<form") < text.index("<script")
    assert "</script" not in element.script("explorer")
    # nothing is asked of any host, and the drawing takes the page's colour
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text.split("<svg")[0])
    assert "import(" not in text
    assert "currentColor" in text
    assert INK not in text.split('class="still')[1].split("</svg>")[0]


def test_labels_cannot_leave_their_place() -> None:
    bad = ["<b>", "'\"", "</script>", "&amp;"]
    text = explore(EVEN, bad)._repr_html_()
    assert data_of(text)["asks"] == bad
    before, _ = text.split("<style data-kit>")
    assert "<b>" not in before
    assert "</script>" not in before
    assert "&amp;amp;<small" in before


def test_the_numbers_are_those_of_the_head_that_is_shown() -> None:
    weights = torch.eye(4).repeat(2, 3, 1, 1)
    weights[1, 2] = 0.25
    text = explore(weights, WORDS, head=(1, 2))._repr_html_()
    assert text.count("<td>0.250</td>") == 16
    assert "<td>1.000</td>" not in text
    assert '<option value="2" selected>2</option>' in text
    assert "<td>" not in explore(torch.rand(21, 21) / 21)._repr_html_()  # too many to read


def test_a_figure_saves_itself_and_says_what_it_shows() -> None:
    still, _ = new_figure(2, 1)
    figure = Moving("explorer", {"a": "'<&"}, still, 'a "map"', "<button>Go</button>")
    text = figure._repr_html_()
    assert data_of(text) == {"a": "'<&"}
    assert 'aria-label="a &quot;map&quot;"' in text
    assert "<details" not in text
    assert explore(EVEN, alt="It looks back.").alt == "It looks back."
