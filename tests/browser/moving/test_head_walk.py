"""The multi-head walk: shapes against torch's, every size there is, and what cannot be."""

from __future__ import annotations

import pytest
import torch
from playwright.sync_api import Page
from torch import nn

from attn_examples import MultiHeadAttention
from attn_examples.figures import walk_heads
from tests.browser.moving.conftest import Showing
from tests.browser.moving.examples import head_walk
from tests.browser.moving.test_every_figure import settle, state

SIZES = "(sizes) => document.querySelector('attn-head_walk').sizes(sizes)"
SET = """(sizes) => { const form = document.querySelector("form");
  for (const [name, size] of Object.entries(sizes)) form.elements[name].value = size;
  form.dispatchEvent(new Event("input")); }"""
OUTSIDE = """() => { const box = (element) => element.getBoundingClientRect();
  const frame = box(document.querySelector("svg.live"));
  return [...document.querySelectorAll("svg.live *")].filter((mark) =>
    box(mark).right > frame.right + 1 || box(mark).left < frame.left - 1
    || box(mark).bottom > frame.bottom + 1)
    .map((mark) => mark.outerHTML); }"""
DRAWN = "[...document.querySelectorAll('svg.live text')].map((text) => text.textContent)"


def said(page: Page) -> str:
    settle(page)
    return page.locator("output").inner_text()


def drawn(page: Page) -> list[str]:
    settle(page)
    texts: list[str] = page.evaluate(DRAWN)
    return texts


def lit(page: Page) -> int:
    settle(page)
    return page.locator("svg.live rect[fill='#ffd24d']").count()


def made(N: int, L: int, D: int, H: int) -> list[tuple[int, ...]]:
    """Return the shapes that a layer makes, as torch counts them."""
    x = torch.empty(N, L, D, device="meta")
    layer = nn.Linear(D, D, device="meta")
    Q, K, V = (layer(x).unflatten(-1, (H, -1)).transpose(1, 2) for _ in range(3))
    scores = Q @ K.mT
    weights = scores.softmax(-1)
    heads = weights @ V
    joined = heads.transpose(1, 2).flatten(-2)
    return [tuple(t.shape) for t in (x, Q, scores, weights, heads, joined, layer(joined))]


def test_all_shapes_equal_torchs(show: Showing) -> None:
    page = show(head_walk())
    for D in range(32, 577, 32):
        for H in range(1, 17):
            for N, L in ((1, 10), (3, 1), (8, 16)):
                found = page.evaluate(SIZES, {"N": N, "L": L, "D": D, "H": H})
                assert found["rest"] == D % H
                if D % H:
                    with pytest.raises(ValueError, match=r"embed_dim .* must be divisible by"):
                        MultiHeadAttention(D, H)
                    assert found["shapes"] == [[N, L, D]]
                else:
                    assert [tuple(shape) for shape in found["shapes"]] == made(N, L, D, H)
                    assert found["scores"] == torch.Size(found["shapes"][2]).numel()


def test_its_parameters_are_those_of_a_layer(show: Showing) -> None:
    page = show(head_walk())
    for H in (1, 4, 12):
        layer = MultiHeadAttention(96, H, bias=False)
        found = page.evaluate(SIZES, {"N": 1, "L": 5, "D": 96, "H": H})
        assert found["parameters"] == sum(p.numel() for p in layer.parameters())


def test_what_is_drawn_follows_the_sizes(show: Showing) -> None:
    page = show(head_walk())
    assert "(N, H, L, E) = (1, 12, 10, 32)" in drawn(page)
    assert lit(page) == 3 + 3 + 1  # of Q, K, V; scores, weights, heads; joined
    page.evaluate(SET, {"N": 3, "L": 7, "D": 256, "H": 8})
    texts = drawn(page)
    assert texts.count("(N, L, D) = (3, 7, 256)") == 4
    assert texts.count("(N, H, L, L) = (3, 8, 7, 7)") == 2
    assert texts.count("(N, H, L, E) = (3, 8, 7, 32)") == 2
    blocks = page.locator("svg.live rect:not([fill=none])").count()
    assert blocks == 7 * 8 + 2  # seven lines of eight heads, x and output


def test_a_width_that_heads_do_not_divide_says_so(show: Showing) -> None:
    page = show(head_walk())
    page.evaluate(SET, {"H": 10})
    assert said(page) == (
        "384 numbers cannot be cut into 10 equal heads: 38 each leave 4 over. "
        "embed_dim (384) must be divisible by num_heads (10)."
    )
    assert "4 left over" in drawn(page)
    assert drawn(page).count("none") == 6
    assert lit(page) == 3  # pieces that do not come out even, and nothing after them
    page.evaluate(SET, {"D": 320})
    assert "none" not in drawn(page)


def test_each_step_says_what_it_makes(show: Showing) -> None:
    page = show(head_walk())
    page.locator("[name=step]").first.focus()
    expected = [
        "1 sequence of 10 tokens", "12 pieces of 32", "1 × 12 × 10 × 10 = 1200 scores",
        "Each of the 120 rows sums to 1", "10 rows of 32", "hold 589824 numbers",
    ]  # fmt: skip
    for step, text in enumerate(expected):
        assert said(page).startswith(f"Step {step + 1}: ")
        assert text in said(page)
        page.keyboard.press("ArrowRight")


def test_by_keyboard_alone(show: Showing) -> None:
    page = show(head_walk())
    for name, key in [("H", "Home"), ("N", "End"), ("L", "ArrowRight"), ("D", "ArrowLeft")]:
        page.locator(f"[name={name}]").focus()
        page.keyboard.press(key)
    assert "(N, H, L, E) = (8, 1, 11, 352)" in drawn(page)
    assert page.locator("[data-of=head]").inner_text() == "0"  # there is no other
    page.keyboard.press("Escape")
    settle(page)
    assert "(N, H, L, E) = (1, 12, 10, 32)" in drawn(page)
    assert page.locator("[data-of=head]").inner_text() == "3"


def test_by_pointer(show: Showing) -> None:
    page = show(head_walk())
    before = page.locator("svg.live rect[fill='#ffd24d']").last.bounding_box()
    last_of_joined = page.locator("svg.live rect[fill='#21918c']").nth(-2)
    last_of_joined.click()
    assert said(page).startswith("Step 6: ")
    assert page.locator("[data-of=head]").inner_text() == "11"
    after = page.locator("svg.live rect[fill='#ffd24d']").last.bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] > before["x"]


def test_by_touch_on_a_phone(show: Showing) -> None:
    page = show(head_walk(), width=360, has_touch=True, is_mobile=True)
    first = state(page)
    page.locator("label", has_text="4").first.tap()
    assert said(page).startswith("Step 4: ")
    assert "(1, 12, 10, 32)" in drawn(page)  # numbers alone, where there is little room
    page.get_by_role("button", name="Reset").tap()
    settle(page)
    assert state(page) == first


def test_nothing_leaves_the_drawing(show: Showing) -> None:
    for width in (360, 900):
        page = show(walk_heads(1536, 16, length=64, batch=32), width=width)
        page.evaluate(SET, {"D": 9999, "L": 64, "N": 32})
        settle(page)
        assert page.evaluate(OUTSIDE) == []


def test_the_frame_moves_unless_motion_is_reduced(show: Showing) -> None:
    for wish, some in (("no-preference", True), ("reduce", False)):
        page = show(head_walk(), reduced_motion=wish)
        page.locator("[name=step]").nth(3).check()
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        assert (page.evaluate("document.getAnimations().length") > 0) == some
