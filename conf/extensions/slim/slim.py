"""Send readers what a page uses, under a strict policy: the last step of a build.

The gap: the theme sends with every page 2.5 MB in 28 files, of which 1.6 MB draw a dozen
icons, and scripts inside the page that no strict Content-Security-Policy allows. Here all
stylesheets become one that holds only the rules that some page can use, all scripts become
one that delays nothing, icons become SVG, and each page gets its policy.
"""

from __future__ import annotations

import base64
import hashlib
import html
import logging
import posixpath
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from fontTools import subset
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

from extensions.shared import write_whole
from extensions.slim import used_css

# Each drawn by a line on a square of 16
ICONS = {
    "angle-left": "M10 3 5 8l5 5",
    "angle-right": "M6 3l5 5-5 5",
    "bars": "M2 4h12M2 8h12M2 12h12",
    "circle-half-stroke": "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2v12M8 5h4M8 8h6M8 11h4",
    "download": "M8 2v8M4.5 6.5 8 10l3.5-3.5M2.5 13.5h11",
    "file": "M4 2h5l3 3v9H4zM9 2v3h3",
    "list": "M2 4h1M6 4h8M2 8h1M6 8h8M2 12h1M6 12h8",
    "magnifying-glass": "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 1 0 0-9M10.5 10.5 14 14",
    "moon": "M13 9.5A5.5 5.5 0 1 1 6.5 3 4.5 4.5 0 0 0 13 9.5z",
    "print": "M4 6V2h8v4M4 11H2V6h12v5h-2M4 9h8v5H4z",
    "sun": "M8 5a3 3 0 1 0 0 6 3 3 0 1 0 0-6M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15"
    "M3 3l1 1M12 12l1 1M3 13l1-1M12 4l1-1",
}
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "style-src-attr": "'unsafe-inline'",  # KaTeX places every sign by one
    "img-src": "'self' data:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
}
# What a page says that misleads a screen reader
AMENDMENTS = {
    r'<th class="head[^>]*>\s*(?:<p>\s*</p>)?\s*</th>': "<td></td>",
    r'<th class="head': '<th scope="col" class="head',
    r' role="doc-biblioentry"': ' role="listitem"',
    r' aria-label="Toggle hidden content"': "",  # what the line says names it
}
ICON = re.compile(r'<(i|span) class="([^"]*\bfa-[^"]*)"([^>]*)></\1>')
TAG = re.compile(r"<link\b[^>]*>\s*|<script\b[^>]*>.*?</script>\s*", re.DOTALL)
ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
CHARSET = re.compile(r'<meta charset="utf-8" ?/>')
SMALL_FONT = 2000  # bytes
PIECE = re.compile(r"<(/?)span\b[^>]*>|<[^>]*>|([^<]+)")  # of a page
REDIRECT = 'http-equiv="refresh"'
DONE = 'http-equiv="Content-Security-Policy"'
BUNDLED = re.compile(r"_static/site-[0-9a-f]{8}\.(css|js)")
BESIDE = re.compile(r"_(?:downloads|images|sources)/[^\s\"'<>#?]+")
STATIC = re.compile(r"_static/([^\s\"'<>]+)")
# For the search page alone, and large
APART = re.compile(r"(searchtools|language_data|-stemmer|searchindex)\.js$")
# Tabs switch without theirs, which only keeps several in step
NEEDLESS = re.compile(r"(bootstrap|fontawesome|design-tabs)\.js$")
# The scripts are fetched when the page has been painted: before, they delay what is read
LOADER = """\
((sources) => document.addEventListener("DOMContentLoaded", () => {
  requestAnimationFrame(() => setTimeout(() => {
    for (const src of sources) {
      document.head.append(Object.assign(document.createElement("script"), { src, async: false }));
    }
  }));
}))(document.currentScript.dataset.src.split(" "));
"""
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
        if DONE not in text and REDIRECT not in text:
            text = draw_icons(text)
            text = _collect(text, out, styles, scripts)
            for pattern, better in AMENDMENTS.items():
                text = re.sub(pattern, better, text)
            if app.config.slim_policy:
                text = with_policy(text)
            pages[file] = text
    if not styles:
        return  # nothing was written in this build
    bundles = {"js": _scripts(list(scripts)), "css": ""}
    made = {name for name in used_css.names_in_script(bundles["js"]) if not NEVER.match(name)}
    names = made.union(*(used_css.names_in_page(text) for text in pages.values()))
    characters = set().union(*(drawn_characters(text) for text in pages.values()))
    known = Path(app.config.slim_keep).with_name("styles") if app.config.slim_keep else None
    bundles["css"] = make_styles(list(styles), out / "_static", names, characters, known)
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


def make_styles(
    files: list[Path], static: Path, names: set[str], characters: set[str], known: Path | None
) -> str:
    """Make one stylesheet of several, with what some page uses; leave in fonts what is drawn.

    Parameters
    ----------
    files : list of Path
        The stylesheets.
    static : Path
        Where the one will stand.
    names, characters : set of str
        What pages have: elements, classes and ids, and what their formulas draw.
    known : Path or None
        A folder that keeps what was made, until it would be something else.
    """
    sheets = [read_css(file, static) for file in files]
    counting = sorted(names & set(re.findall(used_css.NAME, "".join(sheets))))
    fonts = static / "katex" / "fonts"
    made_from = [Path(__file__), Path(used_css.__file__), *sorted(fonts.glob("*.woff2"))]
    contents = [file.read_bytes() for file in made_from]
    state = hashlib.sha256(repr([sheets, counting, sorted(characters), contents]).encode())
    mark = known / state.hexdigest() if known else static
    if mark.is_file():
        shutil.copytree(mark.parent / "fonts", fonts, dirs_exist_ok=True)
        return mark.read_text(encoding="utf-8")
    css = "".join(used_css.purge(sheet, names) for sheet in sheets)
    _subset_fonts(fonts, characters)
    css = with_small_fonts(css, static)
    if known:
        if known.exists():  # all of it or nothing, if a build is killed here
            shutil.rmtree(known.rename(known.with_name(".styles-old")))
        shutil.copytree(fonts, known / "fonts")
        write_whole(mark, css)  # a build may be killed here, and the next one reads it
    return css


def draw_icons(text: str) -> str:
    """Put a drawing in the place of each element that Font Awesome would have filled."""

    def draw(match: re.Match[str]) -> str:
        classes = match[2].split()
        icon = next((name[3:] for name in classes if name[3:] in ICONS), None)
        if icon is None:
            raise ValueError(f"there is no icon for class {match[2]!r}: draw one in slim.ICONS")
        kept = " ".join(["icon", *(c for c in classes if not re.match(r"fa[srb]?(-|$)", c))])
        rest = re.sub(r' title="[^"]*"', "", match[3])
        open_tag = f'<svg class="{kept}"{rest} viewBox="0 0 16 16" aria-hidden="true">'
        return f'{open_tag}<path d="{ICONS[icon]}"/></svg>'

    return ICON.sub(draw, text)


def _collect(text: str, out: Path, styles: dict[Path, None], scripts: dict[Path, None]) -> str:
    """Take a page's stylesheets and scripts out of it, and put in the two that hold all."""
    apart: list[str] = []
    root = ""

    def take(match: re.Match[str]) -> str:
        nonlocal root
        attributes: dict[str, str] = dict(ATTRIBUTE.findall(match[0].partition(">")[0]))
        url = attributes.get("href", attributes.get("src", "")).split("?")[0]
        # the page for addresses that lead nowhere names its files from the root
        file = out / url[url.find("_static/") :]
        if attributes.get("rel") == "preload" or NEEDLESS.search(url):
            return ""
        if attributes.get("rel") == "stylesheet":
            styles[file] = None
            root = url[: url.index("_static/")]
            return ""
        if APART.search(url):
            apart.append(url)
            return ""
        if match[0].startswith("<script") and url:
            scripts[file] = None
            return ""
        return match[0]

    text = TAG.sub(take, text)
    links = f'<link rel="stylesheet" href="{root}_static/site-00000000.css"/>\n'
    sources = " ".join(dict.fromkeys([f"{root}_static/site-00000000.js", *apart]))
    links += f'<script data-src="{sources}">\n{LOADER}</script>\n'
    return text.replace("</head>", links + "</head>", 1)


def _scripts(files: list[Path]) -> str:
    pieces = []
    for file in files:
        code = file.read_text(encoding="utf-8")
        code = re.sub(r"^\s*//.*$", "", code, flags=re.MULTILINE)
        code = re.sub(r"^\s*/\*(?:(?!\*/)[^!])*\*/\s*$", "", code, flags=re.MULTILINE)
        pieces.append(re.sub(r"\n\s*", "\n", code).strip())
    return "\n;\n".join(pieces) + "\n"


def read_css(file: Path, target: Path) -> str:
    """Read a stylesheet with those it imports, its addresses made right for `target`."""

    def move(match: re.Match[str]) -> str:
        if match[1].startswith(("data:", "#")):
            return match[0]
        return f"url({posixpath.relpath(posixpath.join(file.parent, match[1]), target)})"

    def insert(match: re.Match[str]) -> str:
        return read_css(file.parent / match[1], target)

    css = file.read_text(encoding="utf-8")
    css = re.sub(r"""@import (?:url\()?["']?([^"')]+)["']?\)?;""", insert, css)
    return re.sub(r"""url\(["']?(?!\.\./_static)([^"')]+)["']?\)""", move, css)


def with_policy(text: str) -> str:
    """Write into a page what it may load: its own files, and its inline scripts as they are."""
    inline = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", text, re.DOTALL)
    hashes = {
        f" 'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
        for code in inline
    }
    policy = POLICY | {"script-src": POLICY["script-src"] + "".join(sorted(hashes))}
    content = "; ".join(f"{name} {value}" for name, value in policy.items())
    tag = f'<meta {DONE} content="{content}"/>'
    return CHARSET.sub(lambda match: f"{match[0]}\n{tag}", text, count=1)


def drawn_characters(text: str) -> set[str]:
    """Return the characters that the formulas of a page draw."""
    found: set[str] = set()
    for start in re.finditer(r'<span [^>]*class="katex-html"', text):
        depth = 0
        for piece in PIECE.finditer(text, start.start()):
            found.update(html.unescape(piece[2] or ""))
            if piece[0].startswith(("<span", "</span")):
                depth += -1 if piece[1] else 1
                if depth == 0:
                    break
    return found


def _subset_fonts(folder: Path, characters: set[str]) -> None:
    """Leave in the fonts of formulas the characters that some formula has."""
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # it tells of each table
    for file in folder.glob("*.woff2"):
        font = TTFont(file, recalcTimestamp=False)
        subsetter = subset.Subsetter(subset.Options(hinting=False, notdef_outline=True))
        subsetter.populate(text="".join(characters))
        subsetter.subset(font)
        font.save(file)


def with_small_fonts(css: str, folder: Path) -> str:
    """Write fonts of a few signs into the stylesheet: a request for each would take longer."""

    def write(match: re.Match[str]) -> str:
        content = (folder / match[1]).read_bytes()
        if len(content) > SMALL_FONT:
            return match[0]
        return f"url(data:font/woff2;base64,{base64.b64encode(content).decode()})"

    return re.sub(r"url\(([^()]+\.woff2)\)", write, css)


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
