"""What readers do with the pages: by keyboard, in the dark, on paper, offline, without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import HTML, ONE_OF_EACH_KIND, PAGES, SCRIPTS_RAN, Visit

Visiting = Callable[..., Visit]
PUBLISHED = Path(__file__).with_name("published.txt").read_text(encoding="utf-8").split()
FOCUSED = """() => {
  const element = document.activeElement;
  if (element === document.body) return null;
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  const box = element.getBoundingClientRect();
  return {
    at: [...document.querySelectorAll("*")].indexOf(element),
    name: element.outerHTML.slice(0, 120),
    inside: box.bottom > 0 && box.top < innerHeight,
    outlined: outlineStyle !== "none" && parseFloat(outlineWidth) >= 1,
  };
}"""
# A group has one Tab stop: tests of figures that move go through the rest of it
CONTROLS = """() => [...document.querySelectorAll("a[href], button, summary, input")]
  .filter((element) => element.checkVisibility({ visibilityProperty: true })
    && element.tabIndex >= 0 && !(element.type === "radio" && !element.checked)).length"""


@pytest.mark.parametrize("path", ONE_OF_EACH_KIND)
def test_the_keyboard_reaches_and_shows_every_control(visit: Visiting, path: str) -> None:
    page = visit(path).page
    page.evaluate("document.activeElement.blur()")  # the search page starts in its field
    page.evaluate("document.body.tabIndex = -1, document.body.focus()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to main content"
    page.keyboard.press("Shift+Tab")
    seen: list[dict[str, Any]] = []  # each that can be reached, and what it looks like then
    while len(seen) < 1500:
        page.keyboard.press("Tab")
        now = page.evaluate(FOCUSED)
        if now is None or (seen and now["at"] == seen[0]["at"]):
            break
        seen.append(now)
    assert [at["at"] for at in seen] == sorted(at["at"] for at in seen)
    assert [at["name"] for at in seen if not (at["outlined"] and at["inside"])] == []
    assert len(seen) >= page.evaluate(CONTROLS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_mode_is_the_readers_and_stays(visit: Visiting, scheme: str) -> None:
    page = visit("types/masks/causal.html", scheme=scheme).page
    ground = "getComputedStyle(document.body).backgroundColor"
    theme = "document.documentElement.dataset.theme"
    assert page.evaluate(theme) == scheme
    grounds = {}
    for expected in ("light", "dark", scheme):
        page.click(".theme-switch-button")
        assert page.evaluate(theme) == expected
        grounds[expected] = page.evaluate(ground)
    assert grounds["light"] != grounds["dark"]
    page.click(".theme-switch-button")
    page.reload()
    assert page.evaluate(theme) == "light"


@pytest.mark.parametrize("path", ["index.html", "types/masks/causal.html", "search.html"])
def test_the_folder_opens_from_disk(visit: Visiting, path: str) -> None:
    seen = visit((HTML / path).resolve().as_uri(), scheme="dark")
    assert seen.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert {address.split(":")[0] for address in seen.requests} <= {"file", "data"}
    if path != "search.html":
        with seen.page.expect_navigation():
            seen.page.click("a.right-next")
        seen.page.wait_for_function(SCRIPTS_RAN)
        seen.page.keyboard.press("Control+k")
    seen.page.keyboard.type("causal mask")
    seen.page.locator(".search-found a").first.wait_for()
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**/search.html?q=causal+mask*")
    seen.page.locator(".search-found a[href*='types/masks/causal.html']").first.click()
    seen.page.wait_for_url("**/types/masks/causal.html*")
    assert seen.errors == []


@pytest.mark.parametrize("path", ONE_OF_EACH_KIND)
def test_reads_without_scripts(visit: Visiting, path: str) -> None:
    seen = visit(path, java_script_enabled=False)
    assert seen.errors == []
    assert seen.page.locator("article, .bd-search-container").first.inner_text()
    assert seen.page.locator(".theme-switch-button").is_hidden()
    assert seen.page.locator("details.menu > summary").count() in (0, 1)
    assert not any(field.is_visible() for field in seen.page.locator("input").all())


def test_without_scripts_the_mode_is_the_systems(visit: Visiting) -> None:
    colours = """() => [document.body, ...document.querySelectorAll("pre .k, pre .kn, pre .s2")]
      .map((element) => getComputedStyle(element)).map((s) => [s.backgroundColor, s.color])"""
    path = "types/masks/causal.html"
    seen = [
        visit(path, scheme=scheme, java_script_enabled=runs).page.evaluate(colours)
        for scheme in ("light", "dark")
        for runs in (True, False)
    ]
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]
    assert seen[0] != seen[2]
    assert len({str(colour) for colour in seen[1]}) >= 3  # code has several


def test_the_sidebar_shows_where_one_is(visit: Visiting) -> None:
    page = visit("practice/bert.html").page
    page.evaluate("document.querySelector('.bd-sidebar-primary').scrollTop = 1e6")
    page.locator("article a[href*='concepts/']").first.click()
    page.wait_for_function(SCRIPTS_RAN)
    page.wait_for_function("""() => {
      const bar = document.querySelector(".bd-sidebar-primary").getBoundingClientRect();
      const here = [...document.querySelectorAll(".bd-docs-nav li.active > a")].at(-1);
      const { top, bottom } = here.getBoundingClientRect();
      return bar.top <= top && bottom <= bar.bottom;
    }""")


def test_arrows_turn_pages_but_not_in_what_scrolls(visit: Visiting) -> None:
    page = visit("types/masks/causal.html", width=390).page
    first = page.url
    following = page.locator("a.right-next").get_attribute("href") or ""
    box = page.locator("article pre[tabindex='0'] >> visible=true").first
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert page.url == first
    box.blur()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(f"**/{following.removeprefix('../')}")
    page.wait_for_function(SCRIPTS_RAN)
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(first)


def test_the_copy_button_comes_before_the_links_in_code(visit: Visiting) -> None:
    page = visit("types/masks/causal.html").page
    page.locator("article pre:not([tabindex='0']) a >> visible=true").first.focus()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.matches('button.copybtn')")


@pytest.mark.parametrize("path", ONE_OF_EACH_KIND)
def test_fingers_find_what_they_press(visit: Visiting, path: str) -> None:
    page = visit(path, width=390, has_touch=True, is_mobile=True).page
    small = """() => [...document.querySelectorAll("button, summary, .page-facts a")]
      .filter((element) => element.checkVisibility() && !element.closest(".moving form"))
      .map((element) => [element.getBoundingClientRect(), element.outerHTML.slice(0, 120)])
      .filter(([box]) => box.width && (box.width < 24 || box.height < 32))
      .map(([, name]) => name)"""
    assert page.evaluate(small) == []
    covered = """() => [...document.querySelectorAll("div.highlight:has(> button.copybtn)")]
      .map((box) => [box.querySelector("pre"), box.querySelector("button")])
      .map((pair) => pair.map((element) => element.getBoundingClientRect()))
      .filter(([code, button]) => button.width && button.top < code.bottom).length"""
    assert page.evaluate(covered) == 0


@pytest.mark.parametrize(
    "path", ["types/masks/causal.html", "practice/bert.html", "reference/api/scores.html"]
)
def test_prints_whole(visit: Visiting, path: str) -> None:
    page = visit(path, width=794).page  # A4 at 96 dots an inch
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("article details:not([open])").count() == 0
    for gone in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer", ".enlarge"):
        assert not any(part.is_visible() for part in page.locator(gone).all()), gone
    cut = """() => [...document.querySelectorAll("article pre")]
      .filter((pre) => pre.scrollWidth > pre.clientWidth + 1).map((pre) => pre.textContent)"""
    assert page.evaluate(cut) == []
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_figure_is_enlarged_by_click_and_key(visit: Visiting) -> None:
    page = visit("types/masks/causal.html", width=320).page
    dialog = page.locator("dialog.large-figure")
    figure = page.locator(".figure-svg > svg").nth(1)
    alt = figure.get_attribute("aria-label")
    page.locator("button.enlarge").nth(1).focus()
    page.keyboard.press("Enter")
    assert dialog.locator("svg[role=img]").get_attribute("aria-label") == alt
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert figure.get_attribute("aria-label") == alt  # back in its place
    figure.click()
    assert dialog.is_visible()
    dialog.locator("button.close").click()
    assert dialog.is_hidden()


def test_a_link_previews_what_it_leads_to(visit: Visiting) -> None:
    page = visit("types/masks/causal.html").page
    card = page.get_by_role("tooltip")
    for target, text in (
        ("bibliography.html#", "Vaswani"),
        ("api/core.html#attn", "attention"),
    ):
        page.locator(f"article a[href*='reference/{target}'] >> visible=true").first.hover()
        card.wait_for(state="visible")
        assert text in card.inner_text()
        page.keyboard.press("Escape")
        assert card.is_hidden()
        page.mouse.move(0, 0)


def test_scrolls_at_four_times_the_size(visit: Visiting) -> None:
    page = visit("practice/bert.html", width=320, device_scale_factor=4).page
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(width) <= 0


def test_a_lost_reader_can_search(visit: Visiting, root_site: str) -> None:
    seen = visit(f"{root_site}no/such/page.html")
    assert seen.page.get_by_role("heading", level=1).inner_text() == "There is no such page"
    assert len(seen.errors) == 2, seen.errors  # its own 404, as answer and in the console
    seen.page.fill("article input[type=search]", "causal")
    seen.page.keyboard.press("Enter")
    seen.page.locator(".search-found a").first.wait_for()


@pytest.mark.parametrize("path", [path for path in PAGES if path != "404.html"])
def test_a_page_says_what_it_is(path: str) -> None:
    text = (HTML / path).read_text(encoding="utf-8")
    assert text.count('name="description"') == 1
    title = text.split("<title>")[1].split("</title>")[0]
    assert title.count("Attention by Example") == 1
    assert "favicon" in text
    if path in PUBLISHED and path not in ("index.html", "search.html"):
        markdown = path.replace(".html", ".md")
        # a page with a label begins with its anchor
        assert re.match(r'(<a id="[^"]*"></a>\s*)*# ', (HTML / markdown).read_text("utf-8"))
        assert f"({markdown})" in (HTML / "llms.txt").read_text(encoding="utf-8")


def test_addresses_once_published_lead_somewhere() -> None:
    assert [path for path in PUBLISHED if not leads_somewhere(*path.partition("#")[::2])] == []


def leads_somewhere(path: str, anchor: str) -> bool:
    file = HTML / path
    return file.is_file() and (not anchor or f'id="{anchor}"' in file.read_text(encoding="utf-8"))
