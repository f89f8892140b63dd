"""The four-step stepper: numbers against torch, edits, and what cannot be."""

from __future__ import annotations

import json
from typing import Any

import torch
from playwright.sync_api import Page

from attn_examples import attention, softmax
from attn_examples.figures import step_through
from tests.browser.moving.conftest import Showing
from tests.browser.moving.examples import stepper, stepper_long
from tests.browser.moving.test_every_figure import settle, state

STEPS = "(i) => document.querySelector('attn-stepper').steps(i)"


def said(page: Page) -> str:
    settle(page)
    text: str = page.locator("output").inner_text()
    return text.replace("\u2068", "").replace("\u2069", "")


def cells(page: Page, column: int) -> list[str]:
    """Return the results in one column of the sheet."""
    settle(page)
    return page.locator(f".sheet tbody td:nth-child({column}) b").all_inner_texts()


def equal(found: dict[str, Any], scores: torch.Tensor, seen: torch.Tensor, values: Any) -> None:
    """Compare all numbers of one query with torch's."""
    masked = scores.masked_fill(~seen, float("-inf"))
    weights = softmax(masked)
    parts = weights * torch.tensor(values, dtype=torch.float64)
    expected = {
        "powers": masked.exp(), "sum": masked.exp().sum(), "weights": weights,
        "parts": parts, "output": parts.sum(),
    }  # fmt: skip
    for name, numbers in expected.items():
        ours = torch.tensor(found[name], dtype=torch.float64)
        torch.testing.assert_close(ours, numbers, rtol=1e-6, atol=1e-6)


def test_every_mask_of_the_pencils_example_equals_torch(show: Showing) -> None:
    figure = stepper()
    page = show(figure)
    scores = torch.tensor(figure.data["scores"], dtype=torch.float64)
    for i in range(2):
        page.locator(f"[name=query][value='{i}']").check()
        for code in range(8):
            seen = torch.tensor([bool(code >> j & 1) for j in range(3)])
            for box, on in zip(page.locator(".sheet [type=checkbox]").all(), seen, strict=True):
                box.set_checked(bool(on))
            settle(page)
            equal(page.evaluate(STEPS, i), scores[i], seen, [10.0, 20.0, 40.0])


def test_random_edits_equal_torch(show: Showing) -> None:
    page = show(stepper_long())
    torch.manual_seed(0)
    inputs = page.locator(".sheet input[type=number]").all()
    for case in range(12):
        scores = (torch.randn(6, dtype=torch.float64) * 4 ** (case % 4)).clamp(-99, 99)
        values = torch.randn(6, dtype=torch.float64) * 100
        for j in range(6):
            inputs[2 * j].fill(repr(scores[j].item()))
            inputs[2 * j + 1].fill(repr(values[j].item()))
        settle(page)
        equal(page.evaluate(STEPS, 0), scores, torch.ones(6, dtype=torch.bool), values.tolist())


def test_before_any_edit_it_is_attention(show: Showing) -> None:
    torch.manual_seed(3)
    query, key, value = torch.randn(3, 4), torch.randn(4, 4), torch.randn(4, 1)
    mask = torch.rand(3, 4) > 0.4
    mask[1] = False
    page = show(step_through(query, key, value, ["a", "b", "c", "d"], mask=mask))
    output, weights = attention(query.double(), key.double(), value.double(), mask=mask)
    for i in range(3):
        found = page.evaluate(STEPS, i)
        assert abs(found["output"] - output[i].item()) < 1e-6
        torch.testing.assert_close(torch.tensor(found["weights"]).double(), weights[i])


def test_next_and_back_walk_through_the_steps_of_each_query(show: Showing) -> None:
    page = show(stepper())
    following = page.get_by_role("button", name="Next")
    assert cells(page, 3) == cells(page, 4) == cells(page, 5) == ["", "", ""]
    assert said(page).startswith("Step 1, score: “cat” asks. It scores “sat” 1.39")
    following.click()
    assert cells(page, 3) == ["1.10", "0.69", "\N{MINUS SIGN}∞"]
    assert cells(page, 4) == ["", "", ""]
    assert "may not look at “sat”" in said(page)
    following.click()
    assert cells(page, 4) == [".60", ".40", "0"]
    assert cells(page, 5) == ["", "", ""]
    following.click()
    assert cells(page, 5) == ["= 6", "= 8", "= 0"]
    assert "sum to 14, the output of “cat”" in said(page)
    following.click()
    assert said(page).startswith("Step 1, score: “sat” asks")
    page.get_by_role("button", name="Back").click()
    assert "sum to 14" in said(page)


def test_by_keyboard_alone(show: Showing) -> None:
    page = show(stepper())
    page.locator("[name=step]").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert "sum to 14" in said(page)
    page.keyboard.press("Tab")  # the score of The
    assert page.evaluate("document.activeElement.ariaLabel") == "Score of The"
    page.keyboard.press("Control+a")
    page.keyboard.type("0")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # The may not be seen
    assert "sum to 20" in said(page)
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("-40")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.ariaLabel") == "Score of cat"
    assert "sum to 0," in said(page)  # weights 1/3 and 2/3 of -40
    assert 20
    page.keyboard.press("Escape")
    assert said(page).startswith("Step 1, score: “cat” asks. It scores “sat” 1.39")


def test_an_edit_shows_what_follows_and_what_is_typed_stays(show: Showing) -> None:
    page = show(stepper())
    score = page.get_by_label("Score of The")
    score.fill("1.2345")
    assert "Step 4" in said(page)
    assert score.input_value() == "1.2345"
    score.fill("")  # no number yet: the last one holds
    assert page.evaluate(STEPS, 0)["powers"][0] == page.evaluate("Math.exp(1.2345)")
    score.fill("1e9")  # more than fits on the sheet
    score.blur()
    settle(page)
    assert score.input_value() == "99.00"
    assert cells(page, 4) == ["1", "<.01", "0"]


def test_a_query_that_may_look_at_nothing(show: Showing) -> None:
    page = show(stepper())
    for box in page.locator(".sheet [type=checkbox]").all():
        box.uncheck()
    assert cells(page, 3) == ["\N{MINUS SIGN}∞"] * 3
    assert cells(page, 4) == ["0"] * 3
    assert said(page).endswith("“cat” may look at nothing, so its weights and its output are 0.")
    page.get_by_role("button", name="Back").click()
    assert "0/0 is no number. A plain softmax gives NaN; here the weights are 0." in said(page)
    assert "=" not in page.locator(".sheet tfoot").inner_text()


def test_by_touch_on_a_phone(show: Showing) -> None:
    page = show(stepper(), width=360, has_touch=True, is_mobile=True)
    first = state(page)
    page.locator("label", has_text="4 mix").tap()
    assert "sum to 14" in said(page)
    page.locator(".sheet label:has([type=checkbox])").nth(2).tap()
    assert "sum to 25.56" in said(page)  # 3, 2 and 4 ninths of 10, 20
    assert 40
    page.get_by_role("button", name="Reset").tap()
    settle(page)
    assert state(page) == first


def test_its_height_stays(show: Showing) -> None:
    height = "document.querySelector('.stage').offsetHeight"
    for width in (360, 900):
        for make in (stepper, stepper_long):
            page = show(make(), width=width)
            heights = {page.evaluate(height)}
            for _ in range(3):
                page.get_by_role("button", name="Next").click()
                settle(page)
                heights.add(page.evaluate(height))
            assert len(heights) == 1


def test_numbers_move_unless_motion_is_reduced(show: Showing) -> None:
    moving = "document.getAnimations().length"
    for wish, some in (("no-preference", True), ("reduce", False)):
        page = show(stepper(), reduced_motion=wish)
        page.get_by_role("button", name="Next").click()
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        assert (page.evaluate(moving) > 0) == some


def test_its_data_are_those_of_its_sheet(show: Showing) -> None:
    page = show(stepper())
    data = json.loads(page.evaluate("document.querySelector('attn-stepper').dataset.figure"))
    assert data["keys"] == ["The", "cat", "sat"]
    assert data["asks"] == ["cat", "sat"]
