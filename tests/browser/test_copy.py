"""The copy buttons, used: what comes to the clipboard runs, and what is not code stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import HTML, Visit
from tests.conftest import WITHOUT

Visiting = Callable[..., Visit]
CLIPBOARD = ["clipboard-read", "clipboard-write"]


def paste(page: Any) -> str:
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text.replace("\r\n", "\n")


def said(page: Any, words: str) -> None:
    """Wait until the page has told a screen reader so."""
    expect(page.locator(".copying-announcer")).to_contain_text(words)


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "piece.py").write_text(program)
    return subprocess.run(
        [sys.executable, "piece.py"],
        cwd=folder, env=os.environ | {"MPLBACKEND": "agg"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "shows"),
    [
        ("concepts/five-minutes.html", "13.1"),
        ("formulas/cost.html", "bytes"),
        ("concepts/pitfalls/empty-rows-and-corners.html", "by hand"),
        ("reference/notation.html", "mask has shape"),
        ("practice/speed.html", "rounds"),  # reads a file, which comes along
        ("exercises/masks.html", "row"),  # and the checker
    ],
)
def test_both_buttons(visit: Visiting, tmp_path: Path, path: str, shows: str) -> None:
    page = visit(path, permissions=CLIPBOARD).page
    runnable = page.locator("div.cell:has(button.copy-runnable)")
    cell = runnable.filter(has=page.locator(".output.stream", has_text=shows)).first
    code = cell.locator(".cell_input pre").inner_text()

    cell.locator("button.copybtn").focus()
    page.keyboard.press("Enter")
    said(page, "shown")
    assert paste(page).strip() == code.strip()

    cell.locator("button.copy-runnable").focus()
    page.keyboard.press("Enter")
    said(page, "alone")
    piece = paste(page)
    copied = f"{len(piece.splitlines())} lines"
    expect(cell.locator("button.copy-runnable")).to_have_text(f"Copied {copied}")
    expect(cell.locator("button.copy-runnable")).to_have_text(f"Copy runnable · {copied}")
    assert len(piece) > len(code)
    done = run(WITHOUT + piece, tmp_path)
    assert done.returncode == 0, done.stderr
    shown = "\n".join(cell.locator(".output.stream pre").all_inner_texts()).strip()
    assert done.stdout.strip() == shown


COMMON = "/_static/shared-"


def buttons(page: Any, *, drawing: bool) -> Any:
    """Return those of cells that draw, with code that pages share, or of the others."""
    page.evaluate("document.querySelectorAll('details').forEach((folded) => folded.open = true)")
    cells = "div.cell:has(.cell_output svg)" if drawing else "div.cell:not(:has(.cell_output svg))"
    return page.locator(f"{cells} button.copy-runnable")


def test_a_cell_that_draws_is_copied_from_disk(visit: Visiting, tmp_path: Path) -> None:
    address = (HTML / "types/masks/causal.html").resolve().as_uri()
    seen = visit(address, permissions=CLIPBOARD)
    button = buttons(seen.page, drawing=True).first
    lines = int(button.inner_text().split()[-2])
    button.click()
    said(seen.page, "alone")
    piece = paste(seen.page)
    assert len(piece.splitlines()) == lines
    done = run(WITHOUT + piece, tmp_path)
    assert done.returncode == 0, done.stderr
    assert seen.errors == []


@pytest.mark.parametrize("turn", ["hover", "focus"])
def test_what_pages_share_is_loaded_when_a_reader_turns_to_it(visit: Visiting, turn: str) -> None:
    seen = visit("types/masks/causal.html", permissions=CLIPBOARD)
    draws = buttons(seen.page, drawing=True).first
    buttons(seen.page, drawing=False).first.click()
    said(seen.page, "alone")
    assert not any(COMMON in address for address in seen.requests)
    with seen.page.expect_response(lambda answer: COMMON in answer.url):
        getattr(draws, turn)()


def test_no_half_a_piece_is_copied(visit: Visiting) -> None:
    page = visit("types/masks/causal.html", permissions=CLIPBOARD).page
    page.evaluate("navigator.clipboard.writeText('as before')")
    page.route(f"**{COMMON}*", lambda route: route.abort())
    button = buttons(page, drawing=True).first
    label = button.inner_text()
    button.click()
    said(page, "Not copied: a part of it could not be loaded")
    expect(button).to_have_text("Not copied")
    assert paste(page) == "as before"
    expect(button).to_have_text(label)
    page.unroute(f"**{COMMON}*")  # the network is back
    button.click()
    said(page, "alone")
    assert "def data_flow(" in paste(page)


def test_pasting_into_the_prompt(visit: Visiting, tmp_path: Path) -> None:
    page = visit("concepts/five-minutes.html", permissions=CLIPBOARD).page
    page.locator("div.cell", has_text='what "it" looks for').locator(
        "button.copy-runnable"
    ).first.click()
    said(page, "alone")
    done = subprocess.run(
        [sys.executable, "-i", "-q"],  # -i: read standard input as if it were typed
        cwd=tmp_path, input=paste(page), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Error" not in done.stderr
    assert "0.7870" in done.stdout


def test_a_mechanism_is_copied_as_one_file(visit: Visiting, tmp_path: Path) -> None:
    page = visit("types/heads/cross.html", permissions=CLIPBOARD).page
    details = page.locator("details.one-file")
    assert not details.locator("pre").is_visible()
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    details.locator("pre").hover()
    details.locator("button.copybtn").click()
    said(page, "shown")
    done = run(WITHOUT + paste(page), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "torch.Size([2, 5, 12]) torch.Size([2, 5, 7])\n"


def test_a_mechanism_is_offered_at_the_top_of_its_page(visit: Visiting, tmp_path: Path) -> None:
    page = visit("types/masks/causal.html", permissions=CLIPBOARD).page
    offer = page.locator(".page-facts .copy-mechanism >> visible=true")
    label = offer.inner_text()
    offer.click()
    said(page, "alone")
    piece = paste(page)
    assert piece.strip() == (page.locator("details.one-file pre").text_content() or "").strip()
    assert label.startswith(f"Copy this mechanism · {len(piece.splitlines())} lines · torch ≥ ")
    assert run(WITHOUT + piece, tmp_path).returncode == 0
    page = visit("types/masks/causal.html", java_script_enabled=False).page
    page.locator(".page-facts .copy-mechanism >> visible=true").click()
    assert page.locator("details.one-file").evaluate("(e) => e.matches(':target')")


def test_prompts_and_output_stay_behind(visit: Visiting) -> None:
    page = visit("reference/api/scores.html", permissions=CLIPBOARD).page
    block = page.locator("div.highlight:has(span.gp):has(span.go)").first
    assert ">>> " in block.locator("pre").inner_text()
    block.hover()
    block.locator("button.copybtn").click()
    said(page, "shown")
    pasted = paste(page)
    assert ">>>" not in pasted
    assert "tensor(" not in pasted.splitlines()[-1]
    compile(pasted, "pasted", "exec")


@pytest.mark.parametrize("path", ["types/masks/causal.html", "practice/speed.html"])
def test_downloads(visit: Visiting, path: str) -> None:
    page = visit(path).page
    for suffix in (".ipynb", ".py"):
        link = page.locator(f"a[href$='{suffix}']").first.get_attribute("href")
        answer = page.request.get(page.evaluate("(l) => new URL(l, location).href", link))
        assert answer.ok, link
    assert page.locator("a[href*='colab']").count() == 0  # no public address, no button
