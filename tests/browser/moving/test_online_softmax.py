"""The online softmax in Chromium: its numbers against torch, tile by tile."""

from __future__ import annotations

from typing import Any

import torch
from playwright.sync_api import Page
from torch import Tensor

from attn_examples.figures import walk_tiles
from tests.browser.moving.conftest import Showing
from tests.browser.moving.test_every_figure import settle
from tests.browser.moving.test_softmax_lab import SET, said
from tests.browser.test_pages import SIDEWAYS, axe

INF = torch.inf
LESS = "\u2212∞"
# JSON has no infinity
FOUND = """() => {
  const { now, plain, rescaled, scale, own } = document.querySelector("attn-online_softmax").found;
  const kept = ({ m, l, o }) => [m, l, ...o].map(String);
  return { now: kept(now), plain: kept(plain), rescaled: kept(rescaled), own: kept(own), scale };
}"""


def kept(scores: Tensor, values: Tensor) -> Tensor:
    """Return maximum, sum and mix of keys, by torch."""
    m = scores.max() if len(scores) else torch.tensor(-INF).double()
    terms = torch.where(scores == -INF, 0.0, (scores - m).exp())
    return torch.cat([m[None], terms.sum()[None], terms @ values])


def close(found: list[str], wanted: Tensor) -> bool:
    numbers = [float(text.replace("Infinity", "inf")) for text in found]
    return torch.allclose(torch.tensor(numbers, dtype=torch.float64), wanted, rtol=0, atol=1e-6)


def put(page: Page, **controls: Any) -> None:
    for name, value in controls.items():
        page.evaluate(SET, [name, value])
    settle(page)


def step(page: Page, name: str = "Next tile") -> None:
    # also where it is the last, which Playwright would not press
    page.get_by_role("button", name=name).evaluate("(button) => button.click()")
    settle(page)


def test_after_each_tile_its_numbers_are_those_of_torch(show: Showing) -> None:
    for seed in range(6):
        torch.manual_seed(seed)
        S = 4 + seed
        scores, values = 3 * torch.randn(S).double(), torch.randn(S, 1 + seed % 3).double()
        if seed % 2:
            scores[[0, 2]] = -INF
        page = show(walk_tiles(scores, values, tile=1 + seed % 3))
        for order in (0, 1, 2) if not seed % 2 else (0,):
            put(page, order=str(order))
            by = scores.argsort(descending=order == 2) if order else torch.arange(S)
            s, v = scores[by], values[by]
            for tile in (1, 2, 3, S):
                put(page, tile=str(tile))
                page.evaluate("document.querySelector('attn-online_softmax').change({ at: 0 })")
                before = kept(s[:0], v[:0])
                for end in range(tile, S + tile, tile):
                    step(page)
                    found, wanted = page.evaluate(FOUND), kept(s[:end], v[:end])
                    assert close(found["now"], wanted)
                    if wanted[0] > -INF:
                        assert abs(found["scale"] - (before[0] - wanted[0]).exp()) < 1e-6
                        rescaled = before[1:] * (before[0] - wanted[0]).exp()
                        assert close(found["rescaled"][1:], rescaled)
                    before = wanted
                # exact at the end
                wanted = s.softmax(-1) @ v
                assert close(found["plain"], kept(s, v))
                assert torch.allclose(before[2:] / before[1], wanted, rtol=0, atol=1e-12)
                _, total, *mix = map(float, found["now"])
                assert close([str(part / total) for part in mix], wanted)


SCORES = torch.tensor([0.5, 1.0, -0.5, 2.0, 1.5, 0.0, 3.0, 1.0])
VALUES = torch.arange(1.0, 9.0)


def test_it_says_when_the_maximum_rises_and_when_it_stays(show: Showing) -> None:
    page = show(walk_tiles(SCORES, VALUES))
    assert said(page) == "Tile 1 of 4: the first maximum. Output so far: 1.622."
    step(page)
    assert "the maximum rises by 1.00, so both sums are multiplied" in said(page)
    assert page.locator(".ledger thead th").nth(1).inner_text() == "× .37"
    step(page)
    assert "the maximum stays, and nothing is rescaled" in said(page)
    step(page)
    output = f"{SCORES.softmax(-1) @ VALUES:.3f}"
    assert f"All are read: {output}, and the plain softmax gives {output}." in said(page)
    last = page.locator(".ledger tbody tr").last.locator("td").all_inner_texts()
    assert last[3:] == [output, output]
    step(page)  # there is no other
    assert said(page).startswith("Tile 4 of 4")
    put(page, order="2")
    assert "the maximum stays" in said(page)


def test_before_the_first_tile_nothing_is_kept(show: Showing) -> None:
    page = show(walk_tiles(SCORES, VALUES))
    step(page, "Back")
    assert said(page) == f"Nothing is read yet: the maximum is {LESS}, and both sums are 0."
    assert page.get_by_role("button", name="Back").get_attribute("aria-disabled") == "true"
    assert axe(page) == []


def test_all_of_it_by_keyboard(show: Showing) -> None:
    page = show(walk_tiles(SCORES, VALUES))
    page.get_by_role("button", name="Next tile").focus()
    page.keyboard.press("Enter")
    settle(page)
    assert said(page).startswith("Tile 2 of 4")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    settle(page)
    assert said(page).startswith("Tile 2 of 3")
    for _ in range(3):  # order, reset, the first key
        page.keyboard.press("Tab")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "Space"):
        page.keyboard.press(key)
    settle(page)
    focused = page.evaluate(
        "[document.activeElement.ariaLabel, document.activeElement.ariaPressed]"
    )
    assert focused == ["mask 4", "true"]
    left = SCORES.double().index_fill(0, torch.tensor([3]), -INF)
    assert close(page.evaluate(FOUND)["now"], kept(left[:6], VALUES[:6, None].double()))


def test_by_touch_on_a_phone(show: Showing) -> None:
    page = show(
        walk_tiles(SCORES.repeat(2)[:12], torch.ones(12, 3)),
        width=360,
        has_touch=True,
        is_mobile=True,
    )
    page.locator(".keys button").nth(1).tap()
    page.get_by_role("button", name="Next tile").tap()
    settle(page)
    assert said(page).startswith("Tile 2 of 6: the maximum rises by 1.50")
    assert page.evaluate(SIDEWAYS) == []
    assert axe(page) == []


def test_masked_tiles_say_what_has_no_value(show: Showing) -> None:
    scores = torch.tensor([-INF, -INF, 1.0])
    page = show(walk_tiles(scores, torch.tensor([1.0, 2.0, 3.0])), color_scheme="dark")
    assert f"{LESS} \u2212 ({LESS}) has no value" in said(page)
    assert page.evaluate(FOUND)["now"] == ["-Infinity", "0", "0"]
    step(page)
    assert said(page).startswith("Tile 2 of 2: the first maximum. All are read: 3.000")
    page.locator(".keys button").last.click()
    settle(page)
    assert "this site gives 0. All are read: 0, and the plain softmax gives 0." in said(page)
    assert axe(page) == []


def test_the_tile_glides_unless_motion_is_unwanted(show: Showing) -> None:
    for motion, wanted in (("no-preference", "0.4s"), ("reduce", "0s")):
        page = show(walk_tiles(SCORES, VALUES), reduced_motion=motion)
        time = "getComputedStyle(document.querySelector('svg.live rect')).transitionDuration"
        assert page.evaluate(time).split(",")[0] == wanted
