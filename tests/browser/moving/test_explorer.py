"""The attention explorer: every number it shows against torch, and all ways to touch it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from playwright.sync_api import Locator, Page
from torch import Tensor

from attn_examples.figures import explore
from tests.browser.moving.conftest import Showing
from tests.browser.moving.test_every_figure import settle

STEP = 1 / 65535
WORDS = ["[CLS]", "the", "cat", "sat", "on", "it"]
# What the figure takes for its numbers, its pictures and its sentence, and where it stands
FIGURE = "document.querySelector('attn-explorer')"
STANDS = f"() => {{ const {{ place, side, over }} = {FIGURE}; return [place, side, over]; }}"


def maps(*shape: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return (2 * torch.randn(*shape, dtype=torch.float64)).softmax(-1)


def tokens(page: Page, kind: str = "asks") -> Locator:
    return page.locator(f".tokens.{kind} > button")


def smalls(page: Page, kind: str = "asks") -> list[str]:
    settle(page)
    return page.locator(f".tokens.{kind} small").all_text_contents()


def pressed(page: Page) -> list[str]:
    settle(page)
    found: list[str] = page.locator("button[aria-pressed=true]").evaluate_all(
        "(all) => all.map((one) => one.firstChild.data)"
    )
    return found


def said(page: Page) -> str:
    settle(page)
    return (page.locator("output").text_content() or "").translate({0x2068: None, 0x2069: None})


def on_the_map(page: Page, i: int, j: int) -> tuple[float, float]:
    """Return where a cell of the map is, from the drawing's corner."""
    frame = page.evaluate(f"{FIGURE}.frame")
    across, down = (frame["size"] * (place + 0.5) for place in (j, i))
    return frame["left"] + across, frame["top"] + down


def written(weight: float) -> str:
    """Return a weight as the site writes it; only what is exactly 0 is written 0."""
    if weight == 0:
        return "0"
    if weight < 0.005:
        return "<.01"
    return f"{weight:.2f}".removeprefix("0")


def close(shown: str, weight: float) -> bool:
    """Tell whether a text is that of a weight that 16 bits may have moved by half a step."""
    return shown in {written(weight), *(written(weight + step) for step in (STEP, -STEP) if weight)}


def test_each_weight_of_each_head_in_both_directions_is_that_of_torch(show: Showing) -> None:
    weights = maps(2, 3, 6, 6)
    weights[:, :, 1, 4] = 0
    weights[:, :, 2, 5] = 1e-9  # small, and not nothing
    weights[:, :, 3] = 0
    page = show(explore(weights, WORDS))
    numbers = f"() => Array.from({{ length: 36 }}, (_, at) => {FIGURE}.weight(at / 6 | 0, at % 6))"
    for layer in range(2):
        page.locator("select[name=layer]").select_option(str(layer))
        for head in range(3):
            page.locator("select[name=head]").select_option(str(head))
            settle(page)
            map_ = weights[layer, head]
            found = torch.tensor(page.evaluate(numbers), dtype=torch.float64).reshape(6, 6)
            torch.testing.assert_close(found, map_, rtol=0, atol=STEP)
            assert torch.equal(found == 0, map_ == 0)
            for turn in ("asks", "answers"):
                page.locator(f"input[name=turn][value={turn}]").check()
                for place in range(6):
                    tokens(page).nth(place).click()
                    line = map_[place] if turn == "asks" else map_[:, place]
                    shown = smalls(page)
                    assert all(map(close, shown, line.tolist())), (shown, line)
                    assert pressed(page) == [WORDS[place]]
                    check_sentence(said(page), WORDS[place], line, turn)


def check_sentence(sentence: str, me: str, line: Tensor, turn: str) -> None:
    largest = [at for at in line.argsort(descending=True).tolist() if line[at] > 0][:3]
    if not largest:
        assert sentence == f"“{me}” may look at nothing: all its weights are 0."
        return
    named = [f"“{WORDS[at]}” " for at in largest]
    assert [sentence.index(name, len(me) + 2) for name in named] == sorted(
        sentence.index(name, len(me) + 2) for name in named
    )
    ways = {
        "asks": ("looks at", "Its row sums to"),
        "answers": ("is looked at by", "this one sums to"),
    }
    way, of_sum = ways[turn]
    assert sentence.startswith(f"“{me}” {way} {named[0]}")
    total = float(sentence.rsplit(f"{of_sum} ")[-1].removesuffix("."))
    assert abs(total - line.sum().item()) <= 0.005 + 6 * STEP


def test_exact_zeros_are_told_from_small_weights(show: Showing) -> None:
    weights = torch.tensor([[0.999, 1e-9, 0.001, 0.0]]).expand(4, 4)
    page = show(explore(weights, ["a", "b", "c", "d"]))
    assert smalls(page) == ["1.00", "<.01", "<.01", "0"]
    clear = """async () => { const image = new Image();
      image.src = document.querySelector(".map image").getAttribute("href");
      await image.decode();
      const canvas = Object.assign(document.createElement("canvas"), { width: 4, height: 4 });
      const context = canvas.getContext("2d"); context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, 4, 1);
      return [0, 1, 2, 3].map((at) => data[4 * at + 3]); }"""
    assert page.evaluate(clear) == [255, 255, 255, 0]
    assert page.locator(".sentence path").count() == 1  # small ones have no arc


def test_a_row_of_zeros_may_look_at_nothing(show: Showing) -> None:
    weights = maps(3, 3)
    weights[1] = 0
    weights[:, 2] = 0
    page = show(explore(weights, ["a", "b", "c"], chosen=1))
    assert said(page) == "“b” may look at nothing: all its weights are 0."
    assert smalls(page) == ["0", "0", "0"]
    assert page.locator(".sentence path").count() == 0
    page.locator("input[value=answers]").check()
    tokens(page).nth(2).click()
    assert said(page) == "Nobody looks at “c”."


def test_hovering_lights_a_row_and_leaving_puts_it_back(show: Showing) -> None:
    weights = maps(6, 6)
    page = show(explore(weights, WORDS, chosen=2))
    first = smalls(page), said(page), pressed(page)
    for place in (4, 0):
        tokens(page).nth(place).hover()
        assert all(map(close, smalls(page), weights[place].tolist()))
        assert said(page).startswith(f"“{WORDS[place]}” looks at")
        assert pressed(page) == [WORDS[place]]
    page.mouse.move(5, 5)
    assert (smalls(page), said(page), pressed(page)) == first
    assert page.evaluate(STANDS) == [2, 0, None]


def test_the_map_answers_the_pointer(show: Showing) -> None:
    weights = maps(6, 6)
    page = show(explore(weights, WORDS, chosen=2))
    first = smalls(page), said(page), pressed(page)
    svg = page.locator(".map svg")
    x, y = on_the_map(page, 4, 1)
    svg.hover(position={"x": x, "y": y})
    assert said(page) == f"“on” looks at “the”: {written(weights[4, 1].item())}."
    box = page.locator(".map svg > rect").last
    row = {name: float(box.get_attribute(name) or -1) for name in ("y", "height", "width")}
    frame = page.evaluate(f"{FIGURE}.frame")
    assert row == pytest.approx(
        {"y": frame["top"] + 4 * frame["size"], "height": frame["size"], "width": 6 * frame["size"]}
    )
    page.mouse.move(5, 5)
    assert (smalls(page), said(page), pressed(page)) == first
    svg.click(position={"x": x, "y": y})
    page.mouse.move(5, 5)
    assert pressed(page) == ["on"]
    assert said(page).startswith("“on” looks at")
    svg.click(position={"x": 2, "y": 2})  # beside the cells: nothing
    page.mouse.move(5, 5)
    assert pressed(page) == ["on"]
    page.locator("input[value=answers]").check()
    svg.click(position={"x": x, "y": y})
    page.mouse.move(5, 5)
    assert pressed(page) == ["the"]
    assert said(page).startswith("“the” is looked at by")
    assert all(map(close, smalls(page), weights[:, 1].tolist()))


def test_the_keyboard_alone(show: Showing) -> None:
    weights = maps(2, 6, 6)
    page = show(explore(weights, WORDS, chosen=2))
    for _ in range(4):  # the head, the turn, Reset, the tokens
        page.keyboard.press("Tab")
    keys = {
        "": 2,
        "ArrowRight": 3,
        "End": 5,
        "ArrowDown": 5,
        "ArrowLeft": 4,
        "Home": 0,
        "ArrowUp": 0,
    }
    for key, place in keys.items():
        if key:
            page.keyboard.press(key)
        assert all(map(close, smalls(page), weights[0, place].tolist())), key
        assert pressed(page) == [WORDS[place]]
        assert page.evaluate("document.activeElement.firstChild.data") == WORDS[place]
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Shift+Tab")  # back to where one was
    assert page.evaluate("document.activeElement.firstChild.data") == "it"
    for _ in range(2):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    assert said(page).startswith("“it” is looked at by")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    assert all(map(close, smalls(page), weights[1, :, 5].tolist()))
    page.keyboard.press("Escape")
    assert all(map(close, smalls(page), weights[0, 2].tolist()))


def test_tab_comes_to_the_token_that_is_chosen(show: Showing) -> None:
    page = show(explore(maps(6, 6), WORDS, chosen=2))
    x, y = on_the_map(page, 4, 1)
    page.locator(".map svg").click(position={"x": x, "y": y})
    page.mouse.move(5, 5)
    settle(page)
    page.keyboard.press("Shift+Tab")  # from the map, which comes after the tokens
    assert page.evaluate("document.activeElement.firstChild.data") == "on"
    assert pressed(page) == ["on"]
    page.keyboard.press("Escape")
    settle(page)
    assert pressed(page) == ["cat"]
    page.locator("button[type=reset]").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.firstChild.data") == "cat"


def test_arrows_follow_the_script_from_right_to_left(show: Showing) -> None:
    page = show(explore(maps(3, 3), ["القطة", "جلست", "هنا"]))
    page.locator("html").evaluate("(root) => { root.dir = 'rtl'; }")
    settle(page)
    boxes = [token.bounding_box() for token in tokens(page).all()]
    lefts = [box["x"] for box in boxes if box]
    assert lefts == sorted(lefts, reverse=True)
    tokens(page).first.focus()
    page.keyboard.press("ArrowLeft")
    settle(page)
    assert pressed(page) == ["جلست"]
    page.keyboard.press("ArrowRight")
    settle(page)
    assert pressed(page) == ["القطة"]


def test_a_tap_on_a_phone(show: Showing) -> None:
    weights = maps(6, 6)
    page = show(explore(weights, WORDS), width=360, has_touch=True, is_mobile=True)
    tokens(page).nth(3).tap()
    assert all(map(close, smalls(page), weights[3].tolist()))
    assert pressed(page) == ["sat"]
    assert page.evaluate(STANDS) == [3, 0, None]
    x, y = on_the_map(page, 5, 2)
    page.locator(".map svg").tap(position={"x": x, "y": y})
    assert all(map(close, smalls(page), weights[5].tolist()))
    assert pressed(page) == ["it"]
    assert page.evaluate(STANDS) == [5, 0, None]


def test_two_sequences_in_both_directions(show: Showing) -> None:
    weights = maps(2, 4, 6)
    german = ["die", "katze", "saß", "da"]
    page = show(explore(weights, german, WORDS))
    for head in range(2):
        page.locator("select[name=head]").select_option(str(head))
        for i in range(4):
            tokens(page).nth(i).click()
            assert all(map(close, smalls(page, "answers"), weights[head, i].tolist()))
            assert smalls(page, "asks") == [""] * 4
            assert pressed(page) == [german[i]]
            assert f"“{german[i]}” looks at" in said(page)
        for j in range(6):
            tokens(page, "answers").nth(j).click()
            assert all(map(close, smalls(page, "asks"), weights[head, :, j].tolist()))
            assert smalls(page, "answers") == [""] * 6
            assert pressed(page) == [WORDS[j]]
            assert f"“{WORDS[j]}” is looked at by" in said(page)
    page.mouse.move(5, 5)
    tokens(page).first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert pressed(page) == [WORDS[page.evaluate(STANDS)[0]]]
    assert "is looked at by" in said(page)


def test_arcs_are_as_thick_as_the_weights(show: Showing) -> None:
    weights = maps(6, 6)
    page = show(explore(weights, WORDS, chosen=3))
    widths = page.locator(".sentence path").evaluate_all(
        "(arcs) => arcs.filter((arc) => !arc.matches('[display=none]'))"
        ".map((arc) => Number(arc.getAttribute('stroke-width')))"
    )
    wanted = [1 + 7 * weight for weight in weights[3].tolist() if weight >= 0.005]
    assert widths == pytest.approx(wanted, abs=7 * STEP)


def test_tokens_stay_and_arcs_end_at_them(show: Showing) -> None:
    weights = torch.tensor([[0.0, 1, 0, 0], [0, 0, 0.997, 0.003], [0, 0, 1, 0], [1, 0, 0, 0]])
    page = show(explore(weights, ["WWWWWW", "mmmmmm", "i", "."]))
    places = "(all) => all.map((one) => one.getBoundingClientRect().toJSON())"
    before = tokens(page).evaluate_all(places)
    for place, found in ((0, 1), (1, 2), (3, 0)):
        tokens(page).nth(place).hover()
        settle(page)
        boxes = tokens(page).evaluate_all(places)
        assert boxes == before
        d = page.locator(".sentence path").first.get_attribute("d") or ""
        left = page.locator(".sentence > svg").evaluate("(svg) => svg.getBoundingClientRect().left")
        starts, ends = (float(d.replace("M", "").replace("C", " ").split()[at]) for at in (0, -2))
        for at, box in ((starts, boxes[place]), (ends, boxes[found])):
            assert at + left == pytest.approx(box["left"] + box["width"] / 2, abs=0.01)


OBSERVE = """() => {
  window.met = [0];
  new PerformanceObserver((list) => window.met.push(...list.getEntries().map(
    ({ duration }) => duration))).observe({ type: "event", durationThreshold: 16 });
}"""
# What was done is drawn and told; then the longest time from an event to the paint after it
LONGEST = """() => new Promise((done) => {
  const tell = () => done(Math.max(...window.met.splice(0), 0));
  requestAnimationFrame(() => setTimeout(() =>
    requestAnimationFrame(() => setTimeout(tell, 40))));
})"""


@pytest.mark.quiet
def test_128_tokens_and_144_heads_answer_within_100_ms(show: Showing) -> None:
    """At a quarter of the processor's speed, from an event to the next paint.

    Other work on the machine only adds, so each act counts by the best of its rounds, and
    the slowest act decides.
    """
    page = show(explore(maps(12, 12, 128, 128), [f"token{i}" for i in range(128)]))
    mouse, key = page.mouse, page.keyboard
    boxes = [box for token in tokens(page).all()[:9] if (box := token.bounding_box())]
    svg = page.locator(".map svg").bounding_box()
    radio = page.locator("input[value=answers]").bounding_box()
    assert svg
    assert radio
    x, y = on_the_map(page, 60, 50)
    cell = svg["x"] + x, svg["y"] + y
    turned = radio["x"] + 8, radio["y"] + 8
    menus = [page.locator(f"select[name={name}]") for name in ("layer", "head")]
    acts: dict[str, Callable[[], None]] = {
        "hover over a token": lambda: mouse.move(boxes[3]["x"] + 9, boxes[3]["y"] + 9),
        "hover over the next": lambda: mouse.move(boxes[4]["x"] + 9, boxes[4]["y"] + 9),
        "click on a token": lambda: mouse.click(boxes[5]["x"] + 9, boxes[5]["y"] + 9),
        "arrow": lambda: key.press("ArrowRight"),
        "End": lambda: key.press("End"),
        "Home": lambda: key.press("Home"),
        "who looks at it": lambda: mouse.click(*turned),
        "hover over the map": lambda: mouse.move(*cell),
        "click on the map": lambda: mouse.click(*cell),
        "to the layer": lambda: menus[0].focus(),
        "another layer": lambda: key.press("ArrowDown"),
        "to the head": lambda: menus[1].focus(),
        "another head": lambda: key.press("ArrowDown"),
        "reset": lambda: key.press("Escape"),
    }
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 4})
    page.evaluate(OBSERVE)
    best = dict.fromkeys(acts, 1e9)
    for _ in range(6):
        for act, do in acts.items():
            do()
            best[act] = min(best[act], page.evaluate(LONGEST))
            if act == "another head":  # all of it happened
                assert page.evaluate(f"{FIGURE}.offset") == 13 * 128 * 128
                assert page.evaluate(STANDS) == [50, 1, None]
        if max(best.values()) <= 50:
            break
    print(best)
    assert page.evaluate(f"{FIGURE}.layers * {FIGURE}.heads") == 144
    assert max(best.values()) <= 100, best
