"""What holds for every figure that moves."""

from __future__ import annotations

import gzip
import json

import pytest
from playwright.sync_api import Browser, Frame, Page

from attn_examples.figures.moving import element
from tests.browser.moving.conftest import KIT, PAGE, Showing
from tests.browser.moving.examples import EXAMPLES
from tests.browser.moving.states import STATES
from tests.browser.test_pages import SIDEWAYS, axe

each = pytest.mark.parametrize("name", EXAMPLES)
PLACES = """() => [...document.querySelectorAll("main > *, .stage, form, .still, output")]
  .map((element) => Object.values(element.getBoundingClientRect().toJSON()).join())"""
SMALL = """() => [...document.querySelectorAll("button:not([hidden]), select, label, summary")]
  .map((element) => [element.getBoundingClientRect(), element.outerHTML.slice(0, 100)])
  .filter(([box]) => box.width < 24 || box.height < 24).map(([, name]) => name)"""
STOPS = """() => [...document.querySelectorAll("main form *")].filter((element) =>
  element.tabIndex >= 0 && /^(BUTTON|INPUT|SELECT|TEXTAREA)$/.test(element.tagName)
  && !(element.type === "radio" && !element.checked)).length"""
# How programs for notebooks show HTML: in what is left of the page, and in what may run there.
# VS Code sets it and runs the text of each script in a script of its own, which it takes away;
# Colab shows it in a frame, and here one that may not even keep anything, as a stranger's page.
HOSTS = {
    "VS Code": """(html) => {
      const output = document.querySelector("main").appendChild(document.createElement("div"));
      output.innerHTML = html;
      for (const script of output.querySelectorAll("script")) {
        const again = document.createElement("script");
        again.text = script.innerText;
        output.appendChild(again).remove();
      }
    }""",
    "Colab": """(html) => {
      const frame = document.createElement("iframe");
      Object.assign(frame, { sandbox: "allow-scripts", srcdoc: `<!doctype html>${html}` });
      Object.assign(frame.style, { width: "100%", height: "60rem" });
      document.querySelector("main").append(frame);
    }""",
}


def test_every_figure_has_an_example() -> None:
    assert {make().name for make in EXAMPLES.values()} == set(element.names()) == set(STATES)


def test_all_of_them_together_are_small() -> None:
    code = element.script(*element.names()).encode()
    size = len(gzip.compress(code, mtime=0))
    print(f"the script of all figures: {size} bytes")
    assert size <= 20_000


@each
def test_its_data_are_small(name: str) -> None:
    data = json.dumps(EXAMPLES[name]().data).encode()
    assert len(gzip.compress(data, mtime=0)) <= 25_000


@each
@pytest.mark.parametrize(
    "context",
    [
        {"color_scheme": "dark"},
        {"color_scheme": "light", "width": 360, "has_touch": True, "is_mobile": True},
        {"forced_colors": "active"},
    ],
    ids=["dark", "phone", "forced colours"],
)
def test_axe_finds_nothing(show: Showing, name: str, context: dict[str, object]) -> None:
    page = show(EXAMPLES[name](), **context)
    assert axe(page) == []
    assert page.evaluate(SMALL) == []
    page.locator("summary").first.click()
    assert axe(page) == []
    assert page.evaluate(SIDEWAYS) == []


@each
def test_axe_finds_nothing_in_any_state(show: Showing, name: str) -> None:
    example = EXAMPLES[name]()
    page = show(example, color_scheme="dark", width=390, reduced_motion="reduce")
    figure = page.locator(".moving")
    seen = {state(page)}
    for where, go in STATES[example.name].items():
        figure.evaluate("(figure) => figure.form.reset()")
        settle(page)
        go(figure)
        settle(page)
        assert state(page) not in seen, f"{where} is as before"
        seen.add(state(page))
        assert axe(page) == [], where
        assert page.evaluate(SMALL) == [], where
        assert page.evaluate(SIDEWAYS) == [], where
        page.emulate_media(color_scheme="light")
        assert axe(page, rules="contrast") == [], where
        page.emulate_media(color_scheme="dark")


@each
def test_nothing_moves_when_the_script_arrives(show: Showing, name: str) -> None:
    figure = EXAMPLES[name]()
    code = KIT.findall(figure._repr_html_())[0]
    for width in (360, 900):
        page = show(figure, width=width, script=False)
        before = page.evaluate(PLACES)
        page.add_script_tag(content=code)
        page.wait_for_function("() => document.querySelector('output').textContent")
        assert page.evaluate(PLACES) == before


@each
def test_without_scripts_there_are_the_picture_and_the_numbers(show: Showing, name: str) -> None:
    page = show(EXAMPLES[name](), java_script_enabled=False)
    assert page.locator(".still svg[role=img][aria-label]").is_visible()
    assert not page.locator("form").is_visible()
    page.locator("summary").click()
    assert page.locator(".numbers table").is_visible()


@each
def test_the_keyboard_comes_to_all_of_it_and_leaves_it(show: Showing, name: str) -> None:
    page = show(EXAMPLES[name]())
    stops = page.evaluate(STOPS)
    met = []
    for _ in range(stops):
        page.keyboard.press("Tab")
        met.append(page.evaluate("document.activeElement.closest('form') !== null"))
    assert met == [True] * stops
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


@each
def test_escape_sets_it_back(show: Showing, name: str) -> None:
    page = show(EXAMPLES[name](), reduced_motion="reduce")
    first = state(page)
    for locator in page.locator("form :is(input[type=range], input[type=checkbox])").all():
        locator.focus()
        page.keyboard.press("Space")
        page.keyboard.press("ArrowRight")
    for locator in page.locator("form button[type=button]:visible").all()[-3:]:
        locator.click()
    settle(page)
    assert state(page) != first
    page.locator("form :is(button, input)").first.focus()
    page.keyboard.press("Escape")
    settle(page)
    assert state(page) == first


@each
@pytest.mark.parametrize("host", HOSTS)
def test_it_answers_where_programs_for_notebooks_put_it(
    browser: Browser, name: str, host: str
) -> None:
    example = EXAMPLES[name]()
    errors: list[str] = []
    with browser.new_context(reduced_motion="reduce") as context:
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        page.set_content(PAGE.format(figure=""))
        for _ in range(2):  # as two cells, each with the whole script
            page.evaluate(HOSTS[host], example._repr_html_())
        place = page.frames[-1]
        figure = place.locator(".moving").last
        page.locator("main > :last-child").scroll_into_view_if_needed()  # else a frame rests
        place.wait_for_function("() => document.querySelector('output')?.textContent")
        seen = {state(place)}
        for where, go in STATES[example.name].items():
            go(figure)
            settle(place)
            assert state(place) not in seen, f"{where} is as before"
            seen.add(state(place))
    assert errors == []


def state(page: Page | Frame) -> str:
    """Return what a figure says, and what its drawings hold."""
    return str(
        page.evaluate("""() => document.querySelector("output").textContent
      + [...document.querySelectorAll("svg.live, form button")].map((e) => e.outerHTML
        .replace(/ (tabindex|class)="[^"]*"/g, "")).join("")""")
    )


def settle(page: Page | Frame) -> None:
    """Wait until what was done is drawn."""
    page.evaluate("() => new Promise((done) => setTimeout(() => requestAnimationFrame(done), 60))")
