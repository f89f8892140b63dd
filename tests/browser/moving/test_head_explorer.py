"""The head explorer: its numbers against torch's, its order, its link; pointer, keys, touch."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from playwright.sync_api import Page
from torch import Tensor

from attn_examples.figures import Moving, explore_heads
from tests.browser.moving.conftest import Showing
from tests.browser.moving.examples import heads
from tests.browser.moving.test_every_figure import settle
from tests.browser.test_pages import axe

WEIGHTS = """() => { const figure = document.querySelector(".moving");
  return figure.data.tokens.map(({ length }, sentence) => figure.data.heads.map((_, head) =>
    Array.from({ length }, (_, i) => Array.from({ length }, (_, j) =>
      figure.weight(sentence, head, i, j))))); }"""


def maps_of(
    *lengths: int, heads: int = 3, sharp: float = 3.0, causal: bool = False
) -> list[Tensor]:
    """Return random maps of two layers, from even to nearly one-hot."""
    found = []
    for T in lengths:
        scores = sharp * torch.randn(2, heads, T, T, dtype=torch.float64)
        if causal:
            scores = scores.masked_fill(~torch.ones(T, T).tril().bool(), -torch.inf)
        found.append(scores.softmax(-1))
    return found


def figure_of(maps: list[Tensor], **options: Any) -> Moving:
    tokens = [[f"t{i}" for i in range(m.shape[-1])] for m in maps]
    return explore_heads(maps, tokens, **options)


def shown(page: Page) -> list[str]:
    """Return the heads in the order of their tiles."""
    settle(page)
    names: list[str] = page.evaluate(
        "() => [...document.querySelectorAll('.heads span')].map((e) => e.firstChild.data)"
    )
    return names


def said(page: Page) -> str:
    settle(page)
    text = page.locator("output").text_content() or ""
    return text.replace("\u2068", "").replace("\u2069", "")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("causal", [False, True])
def test_the_weights_are_the_hundredths_of_torch(show: Showing, seed: int, causal: bool) -> None:
    torch.manual_seed(seed)
    maps = maps_of(1, 2, 7, 30, sharp=[0.1, 2.0, 20.0][seed], causal=causal)
    for drawn, true in zip(show(figure_of(maps)).evaluate(WEIGHTS), maps, strict=True):
        weights = torch.tensor(drawn, dtype=torch.float64).view_as(true)
        torch.testing.assert_close(
            weights.sum(-1), torch.ones_like(weights[..., 0]), rtol=0, atol=1e-6
        )
        torch.testing.assert_close(weights, (100 * weights).round() / 100, rtol=0, atol=1e-6)
        assert (weights - true).abs().max() < 0.01
        if causal:  # what is masked is exactly 0, and what is small is not
            assert torch.equal(weights[..., 1:] == 0, true[..., 1:] == 0)


def test_what_it_does_sorts_the_heads(show: Showing) -> None:
    torch.manual_seed(0)
    maps = maps_of(4, 6, heads=4)
    mine = torch.randn(2, 4)
    page = show(figure_of(maps, measures={"mine": mine}))
    names = [f"{k}.{h}" for k, h in product(range(2), range(4))]
    assert shown(page) == names
    before = torch.stack([m[..., range(1, len(m[0, 0])), range(len(m[0, 0]) - 1)].mean(-1)
                          for m in maps]).mean(0)  # fmt: skip
    breadth = torch.stack([
        -torch.xlogy(m, m).sum(-1).mean(-1) / torch.tensor(len(m[0, 0])).log()
        for m in maps
    ]).mean(0)  # fmt: skip
    for label, measure in {"token before": before, "breadth": breadth, "mine": mine}.items():
        page.get_by_label("Sort by").select_option(label=label)
        order = measure.flatten().argsort(descending=True).tolist()
        assert shown(page) == [names[at] for at in order]
        values = page.locator(".heads small").all_text_contents()
        wanted = measure.flatten()[order].tolist()
        for value, number in zip(values, wanted, strict=True):
            assert float(value.lstrip("<")) == pytest.approx(number, abs=0.0056)


def test_the_pointer_opens_a_head_and_asks_a_token(show: Showing) -> None:
    page = show(heads())
    assert said(page).startswith("Head 1.3: “cat” looks at ")
    page.locator(".heads button").nth(2).click()
    assert said(page).startswith("Head 0.2: ")
    assert page.locator(".heads [aria-pressed=true]").get_attribute("aria-label") == "0.2, framed"
    second = page.locator(".pane").nth(1)
    second.locator(".rows button").nth(2).click()
    assert "beside it “##s” looks at" in said(page)
    box = page.locator(".pane svg").first.bounding_box()
    row = page.locator(".rows button").nth(3).bounding_box()
    assert box
    assert row
    page.mouse.move(box["x"] + 20, row["y"] + 10)
    assert "“sat” looks at" in said(page)
    page.mouse.move(5, 5)
    assert "“cat” looks at" in said(page)
    page.mouse.click(box["x"] + 20, row["y"] + 10)
    page.mouse.move(5, 5)
    assert "“sat” looks at" in said(page)


def test_the_keyboard_does_it_all(show: Showing) -> None:
    page = show(heads())
    page.keyboard.press("Tab")  # the menu of measures
    page.keyboard.press("Tab")  # reset
    page.keyboard.press("Tab")  # the open head
    assert said(page).startswith("Head 1.3: ")
    page.keyboard.press("ArrowUp")
    assert said(page).startswith("Head 0.3: ")
    page.keyboard.press("ArrowRight")
    assert said(page).startswith("Head 0.4: ")
    page.keyboard.press("Tab")  # the first sentence
    page.keyboard.type("why")
    assert "“?” looks at" in said(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "?"
    page.keyboard.press("End")  # not to the tokens that this sentence does not have
    assert "“[SEP]” looks at" in said(page)
    page.keyboard.press("Escape")
    assert said(page).startswith("Head 1.3: “cat” looks at ")
    assert page.locator(".rows").first.locator("[tabindex='0']").text_content() == "cat"


def test_a_masked_map_says_what_it_may_not_see(show: Showing) -> None:
    page = show(heads())
    page.get_by_label("Sentence").select_option(label="why ?")
    page.locator(".rows button").first.click()
    assert "“[CLS]” looks at “[CLS]” 1.00; beside it" in said(page)
    drawn = page.locator(".pane").first.locator("svg g text").all_text_contents()
    assert drawn == ["1.0", "0", "0", "0"]


def test_a_finger_is_enough_on_a_phone(show: Showing) -> None:
    page = show(heads(), width=360, has_touch=True, is_mobile=True)
    page.locator(".heads button").nth(23).tap()
    assert said(page).startswith("Head 1.11: ")
    page.locator(".rows button").nth(1).tap()
    assert "“the” looks at" in said(page)
    page.get_by_label("Sort by").select_option(label="breadth")
    page.get_by_label("Beside it").select_option(label="why ?")
    settle(page)
    assert axe(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_address_holds_what_is_shown(show: Showing) -> None:
    page = show(heads())
    bare = page.url
    assert "#" not in bare
    page.get_by_label("Sort by").select_option(label="breadth")
    page.get_by_label("Sentence").select_option(label="why ?")
    page.locator(".heads button").nth(4).click()
    page.locator(".rows button").nth(1).click()
    text, order = said(page), shown(page)
    address = page.url
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("history.length") == 2  # nothing to go back through
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_function("() => document.querySelector('output').textContent")
    assert (said(page), shown(page), page.url) == (text, order, address)
    page.get_by_role("button", name="Reset").click()
    assert said(page) != text
    assert page.url == bare
    page.evaluate("(hash) => { location.hash = hash; }", address.partition("#")[2])
    assert said(page) == text


@pytest.mark.parametrize(
    "told", ["heads=9.9", "heads=0.1&by=77&first=length&second=&rows=1.5-x", "heads=&rows=99-99"]
)
def test_an_address_that_says_what_is_not_there_is_not_followed(show: Showing, told: str) -> None:
    page = show(heads())
    page.evaluate("(hash) => { location.hash = hash; }", told)
    head = "0.1" if "0.1" in told else "1.3"
    assert said(page).startswith(f"Head {head}: “cat” looks at ")


def test_the_address_of_others_stays(show: Showing) -> None:
    page = show(heads())
    page.evaluate("location.hash = 'a-heading'")
    settle(page)
    assert page.url.endswith("#a-heading")
    page = show(figure_of(maps_of(3, 3)))  # without a link
    page.locator(".heads button").last.click()
    assert said(page).startswith("Head 1.2: ")
    assert "#" not in page.url


def test_a_frame_without_an_address_breaks_nothing(show: Showing) -> None:
    html = heads()._repr_html_()
    page = show(heads())
    page.evaluate(
        """(html) => { const frame = document.createElement("iframe");
        frame.srcdoc = html; frame.width = 700; frame.height = 700;
        document.body.replaceChildren(frame); }""",
        html,
    )
    frame = page.frame_locator("iframe")
    frame.locator(".heads button").nth(2).click()
    frame.locator("output").filter(has_text="Head 0.2").wait_for()


def test_one_sentence_stands_alone(show: Showing) -> None:
    page = show(figure_of(maps_of(5)))
    assert page.locator(".pane").count() == 1
    page.locator(".rows button").last.click()
    assert said(page).startswith("Head 0.0: “t4” looks at ")


@pytest.mark.quiet
def test_it_answers_soon_on_a_slow_machine(show: Showing) -> None:
    torch.manual_seed(0)
    page = show(figure_of(maps_of(12, 12, 12, heads=12)))
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.evaluate("""() => { window.slowest = 0; new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) slowest = Math.max(slowest, duration);
    }).observe({ type: "event", durationThreshold: 16 }); }""")
    rounds = []
    for _ in range(3):  # other programs of this machine only ever slow it down
        page.evaluate("window.slowest = 0")
        for at in range(5):
            page.locator(".heads button").nth(3 * at).click()
            page.locator(".rows button").nth(at).click()
        page.get_by_label("Sort by").select_option("0")
        page.get_by_label("Sort by").focus()
        for _ in range(3):
            page.keyboard.press("ArrowDown")
            settle(page)
        page.wait_for_timeout(300)
        rounds.append(page.evaluate("slowest"))
    print(f"slowest interactions: {rounds} ms")
    assert 0 < min(rounds) <= 100
