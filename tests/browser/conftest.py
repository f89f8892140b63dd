"""What the tests in a browser share: the built site, served, and Chromium.

Run them with `nox -s browser`, after `nox -s docs`. The fixtures:

`site`
    the address of the site in build/html, served below a sub-path, ending in "/"
`root_site`
    the same where it was built for, as the page for lost readers, 404.html, must know it
`browser`
    Chromium, one for all tests
`visit`
    `visit("types/masks/causal.html", scheme="dark", width=320)` opens a page of the site in a
    browser that has seen none of it, waits until it stands, and returns a `Visit`:
    `.page` is Playwright's page, `.requests` what it asked for with the bytes that came,
    `.errors` what went wrong (console, scripts, answers). Other keywords go to Playwright's
    `new_context`, such as `java_script_enabled=False` or `permissions=[...]`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    Response,
    sync_playwright,
)

from tests.browser.server import serving

HTML = Path(__file__).parent.parent.parent / "build" / "html"
# Documents of the theme that are no pages, and addresses that only lead on
PAGES = sorted(
    name
    for file in HTML.rglob("*.html")
    if not (name := file.relative_to(HTML).as_posix()).startswith("_static/")
    and 'http-equiv="refresh"' not in file.read_text(encoding="utf-8")
)
ONE_OF_EACH_KIND = [
    "index.html",
    "types/masks/causal.html",  # formulas, code, figures, a hidden solution
    "practice/bert.html",  # the heaviest
    "reference/api/scores.html",
    "search.html",
    "404.html",
]
# Scripts load after the first picture, however late that is; the dialog is the site's own
SCRIPTS_RAN = """() => document.querySelector("dialog.large-figure")
  || !document.querySelector("script[data-src]")"""
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium() -> str:
    """Find the browser: `ATTN_CHROMIUM`, or a Chromium or Chrome that is installed.

    First the Chromium without windows: the same engine, which opens a page for a third.
    """
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    for name in (os.environ.get("ATTN_CHROMIUM"), *names):
        if name and (found := shutil.which(name)):
            return found
    raise FileNotFoundError(
        "there is no Chromium here: run `sudo apt-get install chromium-headless-shell`, "
        "or name one in the variable ATTN_CHROMIUM"
    )


@dataclass
class Visit:
    """One page as it stands in a browser, with what happened on the way."""

    page: Page
    requests: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Write down from now on what the page asks for and what goes wrong."""

        def answered(response: Response) -> None:
            if response.status >= 400:
                self.errors.append(f"{response.status} {response.url}")

        def done(request: Request) -> None:
            self.requests[request.url] = request.sizes()["responseBodySize"]

        def asked(request: Request) -> None:
            self.requests.setdefault(request.url, 0)

        self.page.on("request", asked)
        self.page.on("requestfinished", done)
        self.page.on("response", answered)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    if not (HTML / "index.html").exists():
        pytest.exit("there is no site in build/html: run `nox -s docs` first", returncode=1)
    with serving(HTML) as address:
        yield address


@pytest.fixture(scope="session")
def root_site() -> Iterator[str]:
    lost = (HTML / "404.html").read_text(encoding="utf-8")
    prefix = re.search(r'href="([^"]*)_static/site-', lost)
    with serving(HTML, prefix=prefix[1] if prefix else "/") as address:
        yield address


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
    yield browser
    browser.close()


def opened(context: BrowserContext, address: str, *, scripts: bool = True) -> Visit:
    """Open a page, and wait until it stands."""
    seen = Visit(context.new_page())
    seen.watch()
    seen.page.goto(address)
    if scripts:
        seen.page.wait_for_function(SCRIPTS_RAN)
    seen.page.wait_for_load_state("networkidle")
    return seen


@pytest.fixture
def visit(site: str, root_site: str, browser: Browser) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def visit(path: str, *, scheme: Any = "light", width: int = 1440, **settings: Any) -> Visit:
        settings.setdefault("reduced_motion", "reduce")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **settings
        )
        contexts.append(context)
        base = root_site if path == "404.html" else site
        address = path if "://" in path else base + path
        return opened(context, address, scripts=settings.get("java_script_enabled", True))

    yield visit
    for context in contexts:
        context.close()
