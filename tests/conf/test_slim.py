"""What is sent to readers: nothing needless, and nothing missing."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from docutils.core import publish_doctree

from extensions.render import facts, svg
from extensions.slim import bundle, fonts, icons, policy, used_css

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'


def drawn(inside: str) -> str:
    root = ElementTree.fromstring(f"{SVG}{inside}</svg>")
    svg.simplify(root)
    text = "".join(ElementTree.tostring(child, encoding="unicode") for child in root)
    return re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("ns0:", "").replace(" />", "/>")


# Stylesheets


def test_rules_stay_that_a_page_can_use() -> None:
    names = used_css.names_in_page('<div class="a b" id="c"><p title="e">d</p></div>')
    assert names == {"div", "a", "b", "c", "p"}
    css = """
    .a { color: red } .b > p:hover, .gone p { color: blue }
    #c :is(.gone, p) { margin: 0 } .gone { top: 0 } section { top: 0 }
    [data-x="gone"] { left: 0 } :root { --used: 1px; --unused: 2px; --only-unused: var(--unused) }
    @media print { .a { top: var(--used) } .gone { top: 0 } } @media screen { .gone { top: 0 } }
    """
    kept = used_css.purge(css, names)
    assert kept == (
        ".a{color:red}.b > p:hover{color:blue}#c :is(.gone, p){margin:0}"
        '[data-x="gone"]{left:0}:root{--used:1px}@media print{.a{top:var(--used)}}'
    )


def test_without_scripts_the_colours_are_those_of_the_systems_mode() -> None:
    css = """
    p{top:0}html[data-theme=light]{--a:1}html[data-theme="dark"] p,b,a[data-theme=light]{left:0}
    @media print{html[data-theme=dark]{--a:2}p{top:0}}
    """
    assert used_css.without_scripts(css) == (
        "html[data-theme=auto]{--a:1}a[data-theme=auto]{left:0}"
        "@media (prefers-color-scheme: dark){"
        "html[data-theme=auto] p{left:0}@media print{html[data-theme=auto]{--a:2}}}"
    )


def test_what_a_script_names_may_be_used() -> None:
    names = used_css.names_in_script("""e.classList.add('shown', "a-b"); const lost = `x y`""")
    assert names == {"shown", "a-b", "x", "y"}


def test_licences_stay_and_other_comments_go() -> None:
    assert used_css.purge("/*! MIT */ /* why */ p { top: 0 }", {"p"}) == "/*! MIT */\np{top:0}"


def test_addresses_in_a_stylesheet_follow_it(tmp_path: Path) -> None:
    (tmp_path / "katex").mkdir()
    (tmp_path / "basic.css").write_text("p{top:0}")
    (tmp_path / "katex" / "k.css").write_text(
        '@import "../basic.css";a{b:url(fonts/a.woff2)}c{d:url(data:x)}'
    )
    assert bundle.read_css(tmp_path / "katex" / "k.css", tmp_path) == (
        "p{top:0}a{b:url(katex/fonts/a.woff2)}c{d:url(data:x)}"
    )


# Pages


def test_the_policy_allows_the_scripts_that_are_there_and_no_other() -> None:
    code = "\n  alert(1);\n"
    page = f'<meta charset="utf-8"/><script>{code}</script><script defer src="a.js"></script>'
    policed = policy.with_policy(page)
    (content,) = re.findall(r'content="([^"]*)"', policed)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in content
    assert content.startswith("default-src 'none';")
    assert policed.index("Content-Security-Policy") < policed.index("<script")


def test_icons_are_drawn_and_an_unknown_one_is_refused() -> None:
    drawing = icons.draw_icons('<i class="theme-switch fa-solid fa-sun" data-mode="light"></i>')
    assert drawing.startswith('<svg class="icon theme-switch" data-mode="light"')
    assert "<path" in drawing
    with pytest.raises(ValueError, match="there is no icon for class 'fa-solid fa-unicorn'"):
        icons.draw_icons('<span class="fa-solid fa-unicorn"></span>')


# Figures


def test_cells_of_one_colour_become_one_path() -> None:
    cells = "".join(
        f'<g clip-path="url(#c)"><use xlink:href="#s" x="{x}" y="{y}" style="fill: {fill}"/></g>'
        for x, y, fill in [
            *((10.5, 20.5, "red"), (15.5, 20.5, "blue"), (10.5, 25.5, "blue")),
            *((15.5, 25.5, "blue"), (10.5, 30.5, "red"), (20.5, 30.5, "red")),
        ]
    )
    shape = '<defs><path id="s" d="M -2.5 2.5 L 2.5 2.5 L 2.5 -2.5 L -2.5 -2.5 z"/></defs>'
    clip = '<defs><clipPath id="c"/></defs>'
    assert drawn(f"{shape}<g>{cells}</g>{clip}") == (
        '<defs/><g transform="translate(8 18) scale(5 5)" shape-rendering="crispEdges">'
        '<path fill="red" d="M0 0h1v1h-1zM0 2h1v1h-1zM2 2h1v1h-1z"/>'
        '<path fill="blue" d="M1 0h1v1h-1zM0 1h2v1h-2z"/></g><defs/>'
    )


def test_lines_of_one_style_become_one_path_and_other_shapes_stay_apart() -> None:
    line = '<path d="M 1.04 2.0 L 3.0 4.0" style="fill: none; stroke: red"/>'
    assert drawn(line * 2) == '<path d="M1 2l2 2M1 2l2 2" fill="none" stroke="red"/>'
    area = '<path d="M 0 0 L 4.5 4.5 L 0 4.5 z" style="fill: red; stroke: blue"/>'
    assert drawn(area * 2).count("<path") == 2


def test_numbers_are_short_and_text_has_the_pages_font() -> None:
    style = "font-family: Arial; font-size: 10px"
    text = f'<text x="1.26" y="2.0" transform="rotate(-0 1.26 2.0)" style="{style}">a</text>'
    assert drawn(text) == '<text x="1.3" y="2" font-size="10px">a</text>'
    curve = '<path d="M 10.0 10.0 C 10.1 10.2 10.25 10.3 9.5 9.5" style="stroke: red"/>'
    assert drawn(curve) == '<path d="M10 10c.1 .2 .2 .3-.5-.5" stroke="red"/>'


# What a page is


def test_a_page_is_described_by_its_first_sentences() -> None:
    first = "In one sentence. It does this. " + "And it does that. " * 20
    said = facts.describe(publish_doctree(f"Title\n=====\n\n{first}\n\nMore."))
    assert said.startswith("It does this. And it does that.")
    assert said.endswith("that.")
    assert len(said) <= facts.LONGEST
    endless = facts.describe(publish_doctree("word " * 100))
    assert endless.endswith("word …")
    assert facts.describe(publish_doctree("")) == ""


def test_reading_time_counts_words() -> None:
    assert facts.minutes(publish_doctree("word " * 600)) == 3
    assert facts.minutes(publish_doctree("")) == 1


def test_fonts_keep_what_formulas_draw() -> None:
    page = (
        '<p>prose</p><span class="katex"><span class="katex-mathml">m</span>'
        '<span aria-hidden="true" class="katex-html"><span>a<span>&lt;</span></span>'
        "<svg><path/></svg>b</span></span>z"
        '<span class="katex-html"><span>c</span></span>'
    )
    assert fonts.drawn_characters(page) == set("a<bc")


def test_fonts_of_a_few_signs_are_in_the_stylesheet(tmp_path: Path) -> None:
    (tmp_path / "small.woff2").write_bytes(b"few")
    (tmp_path / "large.woff2").write_bytes(b"x" * 3000)
    css = "a{src:url(small.woff2)format('woff2')}b{src:url(large.woff2)}"
    assert fonts.with_fonts(css, tmp_path) == (
        "a{src:url(data:font/woff2;base64,ZmV3)format('woff2')}b{src:url(large.woff2)}"
    )


def test_common_fonts_are_stylesheets_of_their_own(tmp_path: Path) -> None:
    (name, sign), (other, _) = fonts.COMMON_FONTS.values()
    for file in (name, other):
        (tmp_path / file).write_bytes(b"xxx" * 1000)
    face = "@font-face{font-family:K;src:url(%s)}"
    assert fonts.apart(f"a{{top:0}}{face % name}{face % other}b{{top:0}}", tmp_path) == {
        "css": "a{top:0}b{top:0}",
        "text.css": face % f"data:font/woff2;base64,{'eHh4' * 1000}",
        "math.css": face % f"data:font/woff2;base64,{'eHh4' * 1000}",
    }
    page = '<head><link rel="stylesheet" href="../_static/a.css"></head>'
    with_formula = bundle.collect(page + f"<span {sign}>", tmp_path, {}, {})
    assert "../_static/site-00000000.text.css" in with_formula
    assert "math.css" not in with_formula
    assert "text.css" not in bundle.collect(page, tmp_path, {}, {})


def test_styles_are_made_again_when_pages_use_others(tmp_path: Path) -> None:
    sheet, known = tmp_path / "a.css", tmp_path / "known"
    fonts = tmp_path / "katex" / "fonts"
    fonts.mkdir(parents=True)

    def make(*names: str) -> str:
        return bundle.make_styles([sheet], tmp_path, set(names), set(), known)

    sheet.write_text(".a{color:red}.b{color:blue}")
    assert make("a") == make("a", "unknown") == ".a{color:red}"
    (mark,) = (file for file in known.iterdir() if file.is_file())
    mark.write_text("kept")
    assert make("a") == "kept"
    assert make("a", "b") == ".a{color:red}.b{color:blue}"
    sheet.write_text(".a{color:green}")
    assert make("a", "b") == ".a{color:green}"


def test_what_another_sheet_reads_is_kept(tmp_path: Path) -> None:
    sets, reads = tmp_path / "a.css", tmp_path / "b.css"
    (tmp_path / "katex" / "fonts").mkdir(parents=True)
    sets.write_text(".a{--ink:red;--gone:blue}")
    reads.write_text(".a{color:var(--ink)}")
    made = bundle.make_styles([sets, reads], tmp_path, {"a"}, set(), None)
    assert made == ".a{--ink:red}.a{color:var(--ink)}"
