"""What the tests of figures that move share: a figure on a page of its own, in Chromium.

`show(figure, width=360, color_scheme="dark")` opens it as a notebook shows it, and returns
Playwright's page; other keywords go to `new_context`. Errors of scripts fail the test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from attn_examples.figures import Moving

PAGE = """\
<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A figure</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root {{ color-scheme: light dark; }} body {{ font-family: sans-serif; margin: 0.5rem auto;
max-width: 46rem; padding: 0 0.5rem; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14181f; color: #ced6dd; }} }}
</style></head><body><main><h1>A figure</h1>{figure}<p>After it.</p></main></body></html>"""
KIT = re.compile(r"<script data-kit>(.*?)</script>", re.DOTALL)
Showing = Callable[..., Page]


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Showing]:
    contexts = []
    errors: list[str] = []

    def show(figure: Moving, *, width: int = 900, script: bool = True, **context: Any) -> Page:
        opened = browser.new_context(viewport={"width": width, "height": 800}, **context)
        contexts.append(opened)
        page = opened.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        html = figure._repr_html_()
        file = tmp_path / f"{figure.name}.html"
        text = PAGE.format(figure=html if script else KIT.sub("", html))
        file.write_text(text, encoding="utf-8")
        page.goto(file.as_uri())
        if script and context.get("java_script_enabled", True):
            page.wait_for_function("() => document.querySelector('output').textContent")
        return page

    yield show
    for context in contexts:
        context.close()
    assert errors == []
