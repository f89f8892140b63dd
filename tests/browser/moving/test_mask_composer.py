"""The mask composer: its code makes the very mask, and the sentences say what it means."""

from __future__ import annotations

import random
from itertools import combinations, product
from typing import Any

import pytest
import torch
from playwright.sync_api import Locator, Page
from torch import Tensor

from attn_examples import attention
from attn_examples.figures import compose_masks
from attn_examples.figures.moving.mask_composer import _JOINABLE
from tests.browser.moving.conftest import Showing
from tests.browser.moving.test_every_figure import settle
from tests.browser.test_pages import SIDEWAYS

SET = """(figure, [signs, sizes]) => {
  for (const [name, sign] of Object.entries(signs)) {
    figure.querySelector(`[name="${name}"][value="${sign}"]`).checked = true;
  }
  for (const [name, size] of Object.entries(sizes)) {
    figure.querySelector(`[name="${name} size"]`).value = size;
  }
  figure.change();
}"""
SIGNS = ("off", "&", "|")


def figure(page: Page) -> Locator:
    return page.locator("main .moving")


def put(page: Page, signs: dict[str, str], sizes: dict[str, int] | None = None) -> None:
    figure(page).evaluate(SET, [dict.fromkeys(_JOINABLE, "off") | signs, sizes or {}])
    settle(page)


def mask_of(page: Page) -> Tensor:
    return torch.tensor(figure(page).evaluate("figure => figure.mask"))


def run(page: Page) -> Tensor:
    """Run the code that stands there, and return its mask."""
    names: dict[str, Any] = {}
    exec(page.locator("textarea").input_value(), names)
    mask: Tensor = names["mask"]
    return mask


def said(page: Page) -> str:
    return page.locator("output").inner_text()


def cell(page: Page, i: int, j: int) -> Locator:
    return page.get_by_label(f"token {i} looks at token {j}", exact=True)


def joined(length: int, signs: dict[str, str], sizes: dict[str, int]) -> Tensor:
    """Join by torch, from top to bottom."""
    mask = None
    for name, make in _JOINABLE.items():
        sign = signs.get(name, "off")
        if sign == "off":
            continue
        one = make(length, sizes.get(name, sizes["padding"])).expand(length, length)
        mask = one if mask is None else (mask & one if sign == "&" else mask | one)
    return torch.ones(length, length, dtype=torch.bool) if mask is None else mask


def test_its_masks_and_its_code_are_torchs(show: Showing) -> None:
    chance = random.Random(0)
    for length in (2, 7, 8, 12):
        page = show(compose_masks(length, window=1, prefix=1, document=1))
        pick = [dict.fromkeys(_JOINABLE, sign) for sign in SIGNS]
        pick += [{name: "|"} for name in _JOINABLE]
        pick += [{name: chance.choice(SIGNS) for name in _JOINABLE} for _ in range(20)]
        for signs in pick:
            sizes = {
                name: chance.randint(1, length)
                for name in ("window", "prefix", "documents", "padding")
            }
            put(page, signs, sizes)
            wanted = joined(length, signs, sizes)
            assert torch.equal(mask_of(page), wanted), (length, signs, sizes)
            assert torch.equal(run(page), wanted), page.locator("textarea").input_value()
            shown = [
                cell.get_attribute("aria-pressed") == "true"
                for cell in page.locator(".board button").all()[:length]
            ]
            assert shown == wanted[0].tolist()


def test_any_two_masks_join(show: Showing) -> None:
    page = show(compose_masks(3, {}))
    sizes = {"window": 2, "prefix": 2, "documents": 2, "padding": 2}
    for one, other in combinations(_JOINABLE, 2):
        for first, second in product("&|", "&|"):
            signs = {one: first, other: second}
            put(page, signs, sizes)
            assert torch.equal(mask_of(page), joined(3, signs, sizes))
            assert torch.equal(run(page), mask_of(page))


def test_a_pointer_paints_and_the_code_follows(show: Showing) -> None:
    page = show(compose_masks())
    start = mask_of(page)
    cell(page, 3, 5).hover()
    settle(page)
    assert said(page).startswith("Token 3 may not look at token 5 (causal: no, documents: yes).")
    cell(page, 3, 5).click()
    settle(page)
    assert said(page).startswith("Token 3 may look at token 5 (painted).")
    assert cell(page, 3, 5).get_attribute("aria-pressed") == "true"
    cell(page, 6, 0).hover()  # draw over three cells
    page.mouse.down()
    for j in (1, 2):
        cell(page, 6, j).hover()
    page.mouse.up()
    settle(page)
    wanted = start.clone()
    wanted[3, 5] = True
    wanted[6, :3] = True
    assert torch.equal(mask_of(page), wanted)
    assert torch.equal(run(page), wanted)
    cell(page, 3, 5).click()  # and back
    for j in range(3):
        cell(page, 6, j).click()
    settle(page)
    assert torch.equal(mask_of(page), start)
    assert "mask[" not in page.locator("textarea").input_value()


def test_a_stroke_that_comes_back_is_no_click(show: Showing) -> None:
    page = show(compose_masks(4, {}))
    cell(page, 1, 1).hover()
    page.mouse.down()
    cell(page, 1, 2).hover()
    cell(page, 1, 1).hover()
    page.mouse.up()
    settle(page)
    wanted = torch.ones(4, 4).bool()
    wanted[1, 1:3] = False
    assert torch.equal(mask_of(page), wanted)
    assert torch.equal(run(page), wanted)


def test_it_paints_by_keyboard_alone(show: Showing) -> None:
    page = show(compose_masks())
    page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Space"):
        page.keyboard.press(key)
    settle(page)
    assert said(page).startswith("Token 2 may not look at token 1 (painted).")
    assert not run(page)[2, 1]
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")  # causal: |
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")  # window: &
    settle(page)
    assert "sliding_window_mask(8, None, 3)" in page.locator("textarea").input_value()
    page.keyboard.press("Escape")
    settle(page)
    assert said(page).strip() == "causal & documents: 15 of 64 pairs are allowed."
    assert "mask[" not in page.locator("textarea").input_value()


def test_touch_at_360_pixels(show: Showing) -> None:
    page = show(compose_masks(12), width=360, has_touch=True, is_mobile=True)
    cell(page, 0, 11).tap()
    settle(page)
    assert said(page).startswith("Token 0 may look at token 11 (painted).")
    assert torch.equal(run(page), mask_of(page))
    assert mask_of(page)[0, 11]
    page.get_by_role("group", name="padded queries").get_by_label("|").last.tap()
    settle(page)
    assert torch.equal(run(page), mask_of(page))
    assert mask_of(page)[0].all()
    assert page.evaluate(SIDEWAYS) == []


def test_rows_that_allow_nothing_say_what_happens(show: Showing) -> None:
    page = show(compose_masks(8, {"window": "&", "padding": "&"}, window=2))
    assert "Row 7 (∅) may look at nothing" in said(page)
    assert "NaN" in said(page)
    mask = run(page)
    assert (~mask.any(-1)).nonzero().flatten().tolist() == [7]
    x = torch.randn(8, 4)
    assert torch.zeros(8, 8).masked_fill(~mask, -torch.inf).softmax(-1)[7].isnan().all()
    output, weights = attention(x, x, x, mask=mask)
    assert (output[7] == 0).all()
    assert (weights[7] == 0).all()
    put(page, {"window": "&", "padding": "&"}, {"window": 1, "padding": 5})
    assert "Rows 5, 6, 7 (∅)" in said(page)
    assert [label for label in page.locator(".board i").all_inner_texts() if "∅" in label] == [
        "5 ∅", "6 ∅", "7 ∅",
    ]  # fmt: skip


def test_what_it_is_made_of_is_said_with_brackets(show: Showing) -> None:
    page = show(compose_masks(8, {"causal": "&", "documents": "|", "padding": "&"}))
    assert said(page).startswith("(causal | documents) & padding: ")
    put(page, {})
    assert said(page).startswith("No mask: 64 of 64 pairs")


@pytest.mark.parametrize("allowed", [True, False])
def test_it_copies_where_it_may_and_selects_elsewhere(show: Showing, allowed: bool) -> None:
    page = show(compose_masks(), permissions=["clipboard-read", "clipboard-write"])
    if not allowed:
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_role("button", name="Copy the code").click()
    code = page.locator("textarea").input_value()
    if allowed:
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == code
    else:
        page.get_by_role("button", name="Selected").wait_for()
        assert page.evaluate("getSelection().toString()") == code
