"""Make one stylesheet and one script of all that pages name.

The stylesheet holds the rules that some page can use; the script delays nothing. Where no
script runs, none can set the mode, and a second, small stylesheet has its colours.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import shutil
from pathlib import Path

from attn_examples.figures.moving import element
from extensions.render.moving import is_moving
from extensions.shared import write_whole
from extensions.slim import fonts, used_css

TAG = re.compile(r"<link\b[^>]*>\s*|<script\b[^>]*>.*?</script>\s*", re.DOTALL)
FIGURE = re.compile(r'<attn-(\w+) class="moving"')
ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')
# Tabs switch without theirs, which only keeps several in step; no page is a general index or
# shows what was searched for
NEEDLESS = re.compile(r"(bootstrap|fontawesome|design-tabs|doctools|sphinx_highlight)\.js$")
# The script is fetched when the page has come and been painted: before, it delays what is read
LOADER = """\
((src) => addEventListener("load", () => {
  requestAnimationFrame(() => setTimeout(() => {
    document.head.append(Object.assign(document.createElement("script"), { src }));
  }));
}))(document.currentScript.dataset.src);
"""


def collect(text: str, out: Path, styles: dict[Path, None], scripts: dict[Path, None]) -> str:
    """Take a page's stylesheets and scripts out of it, and put in the two that hold all."""
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
        if match[0].startswith("<script") and url:
            scripts[file] = None
            return ""
        return match[0]

    text = TAG.sub(take, text)
    links = f'<link rel="stylesheet" href="{root}_static/site-00000000.css"/>\n'
    for kind, (_, sign) in fonts.COMMON_FONTS.items():
        if sign in text:
            links += f'<link rel="stylesheet" href="{root}_static/site-00000000.{kind}"/>\n'
    plain = f'<link rel="stylesheet" href="{root}_static/site-00000000.plain.css"/>'
    links += f"<noscript>{plain}</noscript>\n"
    kinds = ["js"]
    if is_moving(text):
        kinds.append("moving.js")
        here = sorted(set(FIGURE.findall(text)))
        links += f"<style>{element.styles(*here)}</style>\n"  # no request more
    for kind in kinds:
        links += f'<script data-src="{root}_static/site-00000000.{kind}">\n{LOADER}</script>\n'
    return text.replace("</head>", links + "</head>", 1)


def join_scripts(files: list[Path]) -> str:
    """Join scripts, without the comments and indentation that nobody reads."""
    pieces = []
    for file in files:
        code = file.read_text(encoding="utf-8")
        code = re.sub(r"^\s*//.*$", "", code, flags=re.MULTILINE)
        code = re.sub(r"^\s*/\*(?:(?!\*/)[^!])*\*/\s*$", "", code, flags=re.MULTILINE)
        pieces.append(re.sub(r"\n\s*", "\n", code).strip())
    return "\n;\n".join(pieces) + "\n"


def make_styles(
    files: list[Path],
    static: Path,
    names: set[str],
    characters: set[str],
    known: Path | None,
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
    folder = static / "katex" / "fonts"
    made_from = [*Path(__file__).parent.glob("*.py"), *folder.glob("*.woff2")]
    contents = [file.read_bytes() for file in sorted(made_from)]
    state = hashlib.sha256(repr([sheets, counting, sorted(characters), contents]).encode())
    mark = known / state.hexdigest() if known else static
    if mark.is_file():
        shutil.copytree(mark.parent / "fonts", folder, dirs_exist_ok=True)
        return mark.read_text(encoding="utf-8")
    css = used_css.purge("".join(sheets), names)  # one may read what another sets
    fonts.subset_fonts(folder, characters)
    css = fonts.with_fonts(css, static)
    if known:
        if known.exists():  # all of it or nothing, if a build is killed here
            shutil.rmtree(known.rename(known.with_name(".styles-old")))
        shutil.copytree(folder, known / "fonts")
        write_whole(mark, css)  # a build may be killed here, and the next one reads it
    return css


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
