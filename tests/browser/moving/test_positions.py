"""The figure of positions: its numbers against torch, and what it says when touched."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from playwright.sync_api import Page, expect
from torch import Tensor

from attn_examples import sinusoidal
from attn_examples.figures import turn_positions
from tests.browser.moving.conftest import Showing
from tests.browser.moving.test_every_figure import settle, state

NUMBERS = """() => {
  const figure = document.querySelector("attn-positions");
  const hands = Array.from({ length: figure.E / 2 }, (_, r) => r);
  return [figure.scores, figure.scores.map((line, i) =>
    line.map((_, j) => hands.map((r) => figure.share(i, j, r)))), figure.spans];
}"""
SET = """(given) => {
  const figure = document.querySelector("attn-positions");
  for (const [name, value] of Object.entries(given)) {
    const control = figure.form.elements[name];
    control.value = value;
    (control.length && control.tagName !== "SELECT" ? control[0] : control)
      .dispatchEvent(new Event("input", { bubbles: true }));
  }
}"""


def put(page: Page, **given: object) -> None:
    page.evaluate(SET, {name: str(value) for name, value in given.items()})
    settle(page)


def at(page: Page) -> tuple[int, int]:
    places = page.evaluate(
        """() => ["query", "key"].map((name) => document.forms[0].elements[name].valueAsNumber)"""
    )
    return places[0], places[1]


def by_torch(kind: str, q: Tensor, k: Tensor, n: int, base: float) -> Tensor:
    """Return what each hand adds to the scores, (n, n, E / 2), in complex numbers."""
    E = len(q)
    if kind == "sinusoidal":
        table = sinusoidal(n, E, base=base, dtype=torch.float64)
        hands = [torch.view_as_complex((x + table).reshape(n, -1, 2)) for x in (q, k)]
    else:
        speeds = base ** (-torch.arange(0, E, 2, dtype=torch.float64) / E)
        angles = torch.arange(n).unsqueeze(-1) * speeds
        turns = torch.polar(torch.ones_like(angles), angles)
        hands = [torch.view_as_complex(x.reshape(-1, 2)) * turns for x in (q, k)]
    shares: Tensor = (hands[0].unsqueeze(1) * hands[1].conj()).real / E**0.5
    return shares


@pytest.mark.parametrize("size", [(2, 9, 500.0), (16, 41, 10000.0), (64, 24, 10000.0)])
def test_the_scores_are_those_of_torch(show: Showing, size: tuple[int, int, float]) -> None:
    E, n, base = size
    torch.manual_seed(E)
    q, k = 2 * torch.randn(2, E, dtype=torch.float64)
    figure = turn_positions(E, length=n, base=base, places=(1, 0), query=q, key=k)
    page = show(figure)
    bases = figure.data["bases"]
    states = itertools.product(("sinusoidal", "rotary"), range(3), range(len(bases)))
    for kind, tokens, where in states:
        put(page, kind=kind, tokens=tokens, base=where)
        nothing = torch.zeros(E).double()
        if kind == "rotary":
            nothing[::2] = 1  # all hands up
        mine, other = ((nothing, nothing), (q, q), (q, k))[tokens]
        shares = by_torch(kind, mine, other, n, bases[where])
        scores, parts, spans = page.evaluate(NUMBERS)
        for found, wanted in ((scores, shares.sum(-1)), (parts, shares)):
            found = torch.tensor(found, dtype=torch.float64)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
        assert page.locator(".base").text_content() == f"{bases[where]:.15g}"
        widths = torch.tensor([high - low for low, high in spans], dtype=torch.float64)
        one_line = bool((widths < 1e-9).all())
        assert one_line == (kind == "rotary" or tokens == 0)


def test_the_sentence_says_the_score(show: Showing) -> None:
    figure = turn_positions(8, places=(24, 18))
    page = show(figure)
    q, k = (torch.tensor(token, dtype=torch.float64) for token in figure.data["tokens"])
    output = page.locator("output")
    for kind in ("sinusoidal", "rotary"):
        scores = by_torch(kind, q, k, 41, 10000.0).sum(-1)
        put(page, kind=kind)
        expect(output).to_contain_text("Query at 24, the key 6 back: score ")
        said = re.search(r"score (\u2212?[\d.]+)\. ", output.text_content() or "")
        assert said
        score = float(said[1].replace("\u2212", "-"))
        assert abs(score - scores[24, 18].item()) <= 0.005
        same = scores.diagonal(-6)
        assert len(same) == 35
        if kind == "rotary":
            expect(output).to_contain_text("All 35 pairs at this distance have this score")
        else:
            expect(output).to_contain_text(
                f"The 35 pairs at this distance score from {same.min():.2f} to {same.max():.2f}"
            )
    put(page, query=0, key=40)
    expect(output).to_contain_text("the key 40 ahead")
    expect(output).to_contain_text("No other pair here is so far apart.")
    put(page, query=40, base=0)
    expect(output).to_contain_text("the key there too")
    expect(output).to_contain_text("With base 1 all hands turn at one speed.")
    assert page.locator("input[name=base]").get_attribute("aria-valuetext") == "1"


def test_both_move_together_and_keep_their_distance(show: Showing) -> None:
    page = show(turn_positions(places=(24, 18), kind="rotary"))
    curve = page.locator("svg.live > circle")
    before = [curve.get_attribute(name) for name in ("cx", "cy")]
    page.locator("input[name=both]").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+Tab")  # the key
    page.keyboard.press("ArrowRight")
    settle(page)
    assert at(page) == (25, 19)
    page.keyboard.press("Home")
    settle(page)
    assert at(page) == (6, 0)
    after = [curve.get_attribute(name) for name in ("cx", "cy")]
    assert float(before[0] or 0) == float(after[0] or 1)
    assert abs(float(before[1] or 0) - float(after[1] or 9)) < 1e-9
    page.keyboard.press("End")
    settle(page)
    assert at(page) == (40, 34)  # the query can go no further
    page.keyboard.press("Shift+Tab")  # the query
    page.keyboard.press("Home")
    settle(page)
    assert at(page) == (6, 0)
    assert page.locator("[data-of=key]").text_content() == "0"
    page.locator("input[name=both]").uncheck()
    page.locator("input[name=query]").press("Home")  # now the key is ahead
    page.locator("input[name=key]").press("End")
    page.locator("input[name=key]").press("ArrowLeft")
    settle(page)
    page.locator("input[name=both]").check()
    page.locator("input[name=query]").press("End")
    settle(page)
    assert at(page) == (1, 40)
    page.locator("input[name=both]").uncheck()
    page.locator("input[name=key]").press("Home")
    page.locator("input[name=query]").press("Home")
    settle(page)
    assert at(page) == (0, 0)
    page.locator("input[name=both]").check()
    page.locator("input[name=query]").press("End")
    settle(page)
    assert at(page) == (40, 40)


def test_moved_together_a_sum_changes_and_a_turn_does_not(show: Showing) -> None:
    page = show(turn_positions(places=(24, 18)))
    put(page, both="on")
    page.locator("input[name=both]").check()
    for kind, changes in (("sinusoidal", True), ("rotary", False)):
        put(page, kind=kind, query=24)
        first = page.evaluate("document.querySelector('attn-positions').share(24, 18, 0)")
        said = page.locator("output").text_content() or ""
        put(page, query=11)
        assert at(page) == (11, 5)
        second = page.evaluate("document.querySelector('attn-positions').share(11, 5, 0)")
        assert (abs(first - second) > 1e-6) == changes
        now = (page.locator("output").text_content() or "").replace("at 11", "at 24")
        assert (said != now) == changes


@pytest.mark.parametrize("width", [900, 360])
def test_a_click_or_a_tap_on_the_curve_moves_the_key(show: Showing, width: int) -> None:
    page = show(turn_positions(places=(24, 18)), width=width, has_touch=width == 360)
    svg = page.locator("svg.live")
    x, y = page.evaluate("""() => { const { middle, step, top } =
      document.querySelector("attn-positions"); return [middle + 9 * step, top + 20]; }""")
    (svg.tap if width == 360 else svg.click)(position={"x": x, "y": y})
    settle(page)
    assert at(page) == (24, 15)
    expect(page.locator("output")).to_contain_text("the key 9 back")
    before = state(page)
    svg.click(position={"x": 20, "y": 20})  # on a clock: nothing
    settle(page)
    assert state(page) == before


def test_a_slider_answers_a_tap_on_a_phone(show: Showing) -> None:
    page = show(turn_positions(), width=360, has_touch=True, is_mobile=True)
    slider = page.locator("input[name=query]")
    box = slider.bounding_box()
    assert box
    slider.tap(position={"x": 2, "y": box["height"] / 2})
    settle(page)
    assert at(page)[0] == 0
    expect(page.locator("output")).to_contain_text("Query at 0")


def test_the_hands_point_where_they_stand(show: Showing) -> None:
    page = show(turn_positions(places=(3, 0)))
    put(page, tokens=0)
    circles = page.evaluate("""() => {
      const found = document.querySelectorAll("svg.live > g:first-child > circle");
      return [...found].map((circle) =>
        ["cx", "cy", "r"].map((name) => Number(circle.getAttribute(name))));
    }""")
    face, key, query = torch.tensor(circles, dtype=torch.float64)
    three = torch.tensor(3.0, dtype=torch.float64)
    hand = torch.stack((three.sin(), -three.cos())) * face[2]
    torch.testing.assert_close(query[:2], hand)
    torch.testing.assert_close(key[:2], torch.stack((0 * face[2], -face[2])))


def test_tokens_of_zeros_score_zero_and_break_nothing(show: Showing) -> None:
    page = show(turn_positions(kind="rotary", query=torch.zeros(16), key=torch.zeros(16)))
    expect(page.locator("output")).to_contain_text("score .00. All 35 pairs")
    assert "NaN" not in page.locator("svg.live").evaluate("(svg) => svg.outerHTML")
    assert "Infinity" not in page.locator("svg.live").evaluate("(svg) => svg.outerHTML")
