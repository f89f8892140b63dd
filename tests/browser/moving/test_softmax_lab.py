"""The softmax lab in Chromium: its numbers against torch, by pointer, keyboard and touch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from playwright.sync_api import Page

from attn_examples.figures import try_softmax
from tests.browser.moving.conftest import Showing
from tests.browser.moving.test_every_figure import settle
from tests.browser.test_pages import SIDEWAYS, axe

INF = math.inf
PENCIL = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).log()
FOUND = "() => document.querySelector('attn-softmax_lab').found"
SET = """([name, value]) => {
  const control = document.querySelector("form").elements[name];
  control[control.type === "checkbox" ? "checked" : "value"] = value;
  control.dispatchEvent(new Event("input", { bubbles: true }));
}"""


def put(page: Page, **controls: Any) -> None:
    for name, value in controls.items():
        page.evaluate(SET, [name, value])
    settle(page)


def said(page: Page) -> str:
    return page.locator("output").inner_text()


def close(found: list[float], wanted: torch.Tensor) -> bool:
    return torch.allclose(torch.tensor(found, dtype=torch.float64), wanted, rtol=0, atol=1e-6)


def check(page: Page, scores: torch.Tensor, factor: float, chosen: int) -> None:
    """Compare what the figure shows with torch, to 1e-6."""
    found = page.evaluate(FOUND)
    z = (scores.double() * factor).requires_grad_()
    weights = z.softmax(-1)
    (gradient,) = torch.autograd.grad(weights[chosen], z)
    entropy = torch.special.entr(weights.detach()).sum().item()
    assert close(found["weights"], weights)
    assert close(found["gradient"], gradient)
    assert abs(found["entropy"] - entropy) < 1e-6


def test_its_numbers_are_those_of_torch(show: Showing) -> None:
    page = show(try_softmax(PENCIL))
    check(page, PENCIL, 1.0, 0)
    generator = torch.Generator().manual_seed(0)
    for i in range(40):
        more = bool(i % 2)
        scores = 6 * torch.rand(3 + more, generator=generator, dtype=torch.float64) - 3
        temperature = 0.05 * torch.randint(1, 101, (), generator=generator).item()
        width, scaled = i % 6, i % 4 < 2
        bars = {f"score{j}": repr(score) for j, score in enumerate(scores.tolist())}
        put(page, temperature=str(temperature), width=str(width), scaled=scaled, more=more, **bars)
        chosen = page.evaluate("document.querySelector('attn-softmax_lab').chosen")
        factor = (1.0 if scaled else 2.0**width) / temperature
        check(page, scores, factor, chosen)


@pytest.mark.parametrize("first", range(4))
def test_masked_keys_have_no_weight(show: Showing, first: int) -> None:
    torch.manual_seed(first)
    scores = torch.randn(5).clamp(-2.9, 2.9)
    page = show(try_softmax(scores))
    gone: list[int] = []
    for at in [(first + 2 * i) % 5 for i in range(4)]:
        page.locator(".masks button").nth(at).click()
        settle(page)
        gone.append(at)
        left = scores.double().index_fill(0, torch.tensor(gone), -INF)
        found = page.evaluate(FOUND)
        assert close(found["weights"], left.softmax(-1))
        assert all(found["weights"][i] == 0 == found["gradient"][i] for i in gone)


def test_a_bar_follows_the_pointer(show: Showing) -> None:
    page = show(try_softmax(PENCIL))
    box = page.locator(".scores input").first.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0], middle[1] - 54, steps=5)  # 54 pixels: the largest score
    page.mouse.up()
    settle(page)
    assert page.locator(".scores input").first.input_value() == "3"
    scores = PENCIL.clone()
    scores[0] = 3
    check(page, scores, 1.0, 0)
    top = page.locator("svg.live rect").first.bounding_box()
    assert top is not None
    assert abs(top["y"] - (middle[1] - 54)) < 2  # the bar drawn ends where the pointer is


def test_all_of_it_by_keyboard(show: Showing) -> None:
    page = show(try_softmax(PENCIL))
    page.locator("select").focus()
    page.keyboard.press("Tab")  # divided by the root
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # one more key
    page.keyboard.press("Tab")  # reset
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "score of key 1"
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "ArrowDown"):
        page.keyboard.press(key)
        settle(page)
    scores = torch.cat([PENCIL, torch.tensor([0.1])])
    check(page, scores, 1.0, 3)
    assert page.evaluate("document.activeElement.ariaValueText") == ".10"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    settle(page)
    assert page.evaluate("document.activeElement.ariaPressed") == "true"
    assert page.evaluate(FOUND)["weights"][3] == 0
    page.keyboard.press("Escape")
    settle(page)
    check(page, PENCIL, 1.0, 0)


def test_the_last_key_taken_away_leaves_a_tab_stop(show: Showing) -> None:
    page = show(try_softmax(PENCIL))
    put(page, more=True)
    page.locator(".masks button").last.click()
    put(page, more=False)
    stops = page.locator(".lab :is(input, button)[tabindex='0']:visible")
    assert stops.count() == 2


def test_by_touch_on_a_phone(show: Showing) -> None:
    page = show(try_softmax(torch.zeros(8)), width=360, has_touch=True, is_mobile=True)
    box = page.locator(".scores input").nth(5).bounding_box()
    assert box is not None
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + 14)
    settle(page)
    assert float(page.locator(".scores input").nth(5).input_value()) > 2.5
    page.locator(".masks button").nth(5).tap()
    settle(page)
    assert page.evaluate(FOUND)["weights"][5] == 0
    put(page, width="5", scaled=False, more=True)
    assert page.evaluate(SIDEWAYS) == []
    assert axe(page) == []


def test_the_temperature_zero_is_the_limit(show: Showing) -> None:
    page = show(try_softmax(PENCIL), color_scheme="dark")
    put(page, temperature="0")
    assert page.evaluate(FOUND)["weights"] == [0, 0, 1]
    assert "would divide by 0" in said(page)
    assert "left to key 3" in said(page)
    put(page, score0=repr(PENCIL[2].item()))  # a tie
    assert page.evaluate(FOUND)["weights"] == [0.5, 0, 0.5]
    assert "left to key 1 and key 3" in said(page)
    assert axe(page) == []


def test_all_masked_is_said(show: Showing) -> None:
    page = show(try_softmax(torch.tensor([0.0, -INF])))
    page.locator(".masks button").first.click()
    for temperature in ("0", "1"):
        put(page, temperature=temperature)
        found = page.evaluate(FOUND)
        assert found["weights"] == found["gradient"] == [0, 0]
        assert found["entropy"] == 0
        assert "0 ÷ 0 has no value" in said(page)
    assert axe(page) == []


def test_the_width_multiplies_and_the_root_takes_it_back(show: Showing) -> None:
    page = show(try_softmax(PENCIL))
    before = page.evaluate(FOUND)["weights"]
    put(page, width="3")
    assert page.evaluate(FOUND)["weights"] == before
    assert "√64 times as far at width 64" in said(page)
    put(page, scaled=False)
    check(page, PENCIL, 8.0, 0)
    assert "z = score × √64 ÷ 1.00" in page.locator("svg.live").first.inner_html()
