"""Send readers what a page uses, under a strict policy: the last change of its pages.

The gap: the theme sends with every page 2.5 MB in 28 files, of which 1.6 MB draw a dozen
icons, and scripts inside the page that no strict Content-Security-Policy allows. Here all
stylesheets become one, all scripts become one, icons become SVG, and each page gets its
policy; each of these is a file beside this one.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from sphinx.application import Sphinx

from attn_examples.figures.moving import element
from extensions.render.moving import is_moving
from extensions.slim import bundle, fonts, icons, policy, used_css

# What a page says that misleads a screen reader
AMENDMENTS = {
    r'<th class="head[^>]*>\s*(?:<p>\s*</p>)?\s*</th>': "<td></td>",
    r'<th class="head': '<th scope="col" class="head',
    r' role="doc-biblioentry"': ' role="listitem"',
    r' aria-label="Toggle hidden content"': "",  # what the line says names it
    r'<summary>(?=<span class="toctree-toggle")': '<summary aria-label="Pages below">',
}
REDIRECT = 'http-equiv="refresh"'
BUNDLED = re.compile(r"_static/site-[0-9a-f]{8}\.((?:plain\.|text\.|math\.)?css|(?:moving\.)?js)")
BESIDE = re.compile(r"_(?:downloads|images|sources)/[^\s\"'<>#?]+")
STATIC = re.compile(r"_static/([^\s\"'<>]+)")
# Made by scripts of the theme for what this site does not have
NEVER = re.compile(r"fa-|dropdown-|tooltip|modal|bd-header-ann|version-|pst-button|list-group")


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Go over the pages that were written."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    files = [file for file in sorted(out.rglob("*.html")) if "_static" not in file.parts]
    pages = {file: file.read_text(encoding="utf-8") for file in files}
    _clear_left_over(out, pages.values())
    if app.config.slim_keep:  # so that the next build writes only what has changed
        shutil.rmtree(app.config.slim_keep, ignore_errors=True)
        shutil.copytree(out, app.config.slim_keep)
    styles: dict[Path, None] = {}
    scripts: dict[Path, None] = {}
    for file, text in pages.items():
        if REDIRECT not in text:
            text = icons.draw_icons(text)
            text = bundle.collect(text, out, styles, scripts)
            for pattern, better in AMENDMENTS.items():
                text = re.sub(pattern, better, text)
            if app.config.slim_policy:
                text = policy.with_policy(text)
            pages[file] = text
    if not styles:
        return  # nothing was written in this build
    bundles = {"js": bundle.join_scripts(list(scripts)), "css": ""}
    if any(map(is_moving, pages.values())):
        bundles["moving.js"] = element.script(*element.names())
    made = {name for name in used_css.names_in_script(bundles["js"]) if not NEVER.match(name)}
    names = made.union(*(used_css.names_in_page(text) for text in pages.values()))
    characters = set().union(*(fonts.drawn_characters(text) for text in pages.values()))
    known = Path(app.config.slim_keep).with_name("styles") if app.config.slim_keep else None
    css = bundle.make_styles(list(styles), out / "_static", names, characters, known)
    bundles |= fonts.apart(css, out / "_static")
    bundles["plain.css"] = used_css.without_scripts(bundles["css"])
    bundled = {}
    for kind, content in bundles.items():
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        bundled[kind] = f"_static/site-{digest}.{kind}"
        (out / bundled[kind]).write_text(content, encoding="utf-8")
    for file, text in pages.items():
        text = BUNDLED.sub(lambda match: bundled[match[1]], text)
        file.write_text(text, encoding="utf-8")
        pages[file] = text
    named = {name for text in pages.values() for name in STATIC.findall(text)}
    _clear(out, " ".join(sorted(named)) + bundles["css"] + bundles["js"])


def _clear_left_over(out: Path, pages: Iterable[str]) -> None:
    """Delete what pages of an earlier build named, and none names now."""
    named = {unquote(name) for text in pages for name in BESIDE.findall(text)}
    for folder in ("_downloads", "_images", "_sources"):
        for file in sorted((out / folder).rglob("*")):
            if file.is_file() and file.relative_to(out).as_posix() not in named:
                file.unlink()


def _clear(out: Path, used: str) -> None:
    """Delete the static files that are not named where they are used."""
    for file in sorted((out / "_static").rglob("*"), reverse=True):
        if file.is_dir():
            if not any(file.iterdir()):
                file.rmdir()
        elif file.name not in used and file.name != "LICENSE":
            file.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_config_value("slim_policy", True, "html", types=frozenset({bool}))
    app.add_config_value("slim_keep", "", "", types=frozenset({str}))
    app.connect("build-finished", finish, priority=900)  # after those who write pages
    return {"parallel_read_safe": True, "parallel_write_safe": True}
