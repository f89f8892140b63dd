"""Write what the search asks: the sections of all pages, with the engine, as one script.

The gap: Sphinx's own search finds pages, not sections, knows no typing errors and no other
names of a thing, shows TeX in what it finds, and loses words of pages that are not written
in a build. Here a page is cut into sections as it is written; glossary terms, API objects
and cited sources are sections too. `search.js` at the root of the site holds them, with
MiniSearch and what types into it (static/searching.js), so that it works from disk; a page asks
for it when a reader first searches (static/site.js).

What people call a thing comes from three places: the registry of mechanisms, the glossary,
and conf/synonyms.txt, where each line holds words that mean the same.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx_design.dropdown import dropdown_main

from attn_examples.registry import mechanisms
from extensions.render.folding import Opener
from extensions.shared import UNSEARCHED, write_whole
from extensions.slim.bundle import join_scripts

CONF = Path(__file__).parent.parent.parent
SCRIPTS = ("minisearch/minisearch.js", "searching.js")
NOTICE = "/*! With MiniSearch, (c) Luca Ongaro, MIT licence: _static/minisearch/LICENSE */\n"

# How much what is found counts, by where it stands: the longest beginning that fits.
# Explanations come before names of objects, exercises and sources.
WEIGHTS = {
    "": 1.0,
    "exercises/": 0.25,
    "reference/": 0.8,
    "reference/about-build": 0.2,
    "reference/api": 0.45,
    "reference/bibliography": 0.5,
    "reference/glossary": 0.9,
    "reference/transforms": 0.4,
    "verify": 0.6,
}
LEFT_OUT = {"Exercises", "Sources"}  # sections that say nothing that is not said elsewhere
# What a page says of others: "You need: softmax" is no answer to "softmax"
POINTERS = re.compile(
    r"^You need:.*|^[^.]*minutes\. Read first:.*|^In one sentence\. |\bSee [^.]*\.$"
)
# No explanation is in them: code, results of checks, hints, formulas that are drawn
SKIPPED = (
    nodes.comment, nodes.doctest_block, nodes.field_list, nodes.image, nodes.label,
    nodes.literal_block, nodes.math_block, nodes.raw, nodes.rubric, nodes.thead, nodes.title,
    addnodes.index, addnodes.only, addnodes.toctree, dropdown_main, Opener,
)  # fmt: skip

FUNCTIONS = {"sqrt": "√", "text": "", "operatorname": "", "bar": "", "lfloor": "⌊", "rfloor": "⌋"}
SIGNS = {
    "cdot": "·", "times": "×", "infty": "∞", "top": "ᵀ", "dots": "…", "ldots": "…", "le": "≤",
    "ge": "≥", "ne": "≠", "approx": "≈", "sum": "Σ", "lVert": "‖", "rVert": "‖", "pi": "π",
    "alpha": "α", "beta": "β", "delta": "δ", "omega": "ω", "sigma": "σ", "theta": "θ",  # noqa: RUF001
}  # fmt: skip


class Section(NamedTuple):
    """A part of a page that a link can lead to, and what is said there."""

    anchor: str  # "" for the beginning of the page
    labels: list[str]  # all places in it that have a name
    title: str
    text: list[str]  # sentences and paragraphs
    words: list[str]  # what it is found by, too


def cut(doctree: nodes.document, sources: dict[str, str]) -> list[Section]:
    """Cut a page into its sections, in their order; `sources` names those of a bibliography."""
    found: list[Section] = []

    def begin(node: nodes.Element, title: str) -> Section:
        anchor = node["ids"][0] if found and node["ids"] else ""
        found.append(Section(anchor, list(node["ids"]), title, [], []))
        return found[-1]

    def walk(node: nodes.Element, here: Section | None) -> None:
        inside: list[Any] = node.children
        if UNSEARCHED in node["classes"]:
            return
        if isinstance(node, nodes.section):
            title = say(inside[0])
            if title in LEFT_OUT:
                return
            here = begin(node, title)
        elif isinstance(node, addnodes.desc):
            signature = inside[0]
            name = next(signature.findall(addnodes.desc_name)).astext()
            owner = signature.get("class")  # of a method
            here = begin(signature, f"{owner}.{name}" if owner else name)
            parameters = signature.findall(addnodes.desc_parameter)
            here.words.extend(parameter.astext().partition("=")[0] for parameter in parameters)
        elif isinstance(node, nodes.definition_list_item) and inside[0]["ids"]:
            *terms, definition = inside
            here = begin(terms[0], ", ".join(say(t) for t in terms if isinstance(t, nodes.term)))
            inside = [definition]
        elif isinstance(node, nodes.citation):
            here = begin(node, sources.get(node["ids"][0], ""))
        elif isinstance(node, SKIPPED):
            return
        elif isinstance(node, (nodes.row, nodes.TextElement)):
            cells = inside if isinstance(node, nodes.row) else [node]
            text = POINTERS.sub("", "; ".join(filter(None, map(say, cells)))).strip()
            if here:
                here.labels.extend(node["ids"])
                here.text.extend([text] * bool(text))
            return
        elif here:
            here.labels.extend(node["ids"])
        for child in inside:
            if isinstance(child, nodes.Element):
                walk(child, here)

    walk(doctree, None)
    return found


def say(node: nodes.Node) -> str:
    """Return what is read of a node, in one line; formulas as plain signs."""
    return " ".join("".join(_said(node)).split())


def _said(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.math):
        yield plain(node.astext())
    elif isinstance(node, nodes.Text):
        yield node.astext()
    elif not isinstance(node, SKIPPED) or isinstance(node, nodes.title):
        for child in node.children:
            yield from _said(child)
        if isinstance(node, nodes.paragraph):
            yield " "


def plain(formula: str) -> str:
    """Write a short formula in plain signs; "…" for one that cannot be."""
    text = re.sub(r"\\[dt]?frac *(\d)(\d)", r"\1/\2", formula)
    text = re.sub(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text)
    text = re.sub(r"\\([,;! ]|quad)", " ", text).replace("\\_", "_")
    text = re.sub(r"\\([A-Za-z]+) *", _sign, text)
    text = re.sub(r"\{([\w√]*|)\}", r"\1", text)
    text = re.sub(r"(?<=[_^√])\{([^{}]*)\}", r"(\1)", text)
    text = re.sub(r"[{}]", "", text).replace("^ᵀ", "ᵀ")
    return "…" if "\\" in text else " ".join(text.split())


def _sign(match: re.Match[str]) -> str:
    name = match[1]
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if name in SIGNS:
        return SIGNS[name] + " " * match[0].endswith(" ")
    known = name in {"log", "ln", "tanh", "sin", "cos", "max", "min", "exp"}
    return f"{name} " if known else "\\"


def note(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Cut a page that is about to be written."""
    if app.builder.format == "html":
        cited: Any = app.env.get_domain("cite")
        sources = {
            source.citation_id: re.sub(r"[{}\\]", "", source.entry.fields["title"])
            for source in cited.citations
        }
        vars(app).setdefault("attn_sections", {})[page] = cut(doctree, sources)


def weight(page: str) -> float:
    """Return how much a page counts."""
    return WEIGHTS[max((start for start in WEIGHTS if page.startswith(start)), key=len)]


def synonyms(file: Path = CONF / "synonyms.txt") -> list[list[str]]:
    """Return the words that mean the same, a list for each line."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [
        [word.strip() for word in line.split(",")]
        for line in lines
        if line.strip() and not line.startswith("#")
    ]


def tell(pages: dict[str, list[Section]]) -> list[Any]:
    """Return all pages as the script wants them: arrays, in an order of their own."""
    words: dict[tuple[str, str], list[str]] = {}
    for mechanism in mechanisms():
        known = words.setdefault((mechanism.docname, mechanism.label), [])
        known += [mechanism.name, mechanism.object, *mechanism.words]
    told = []
    for page, sections in sorted(pages.items()):
        rows = []
        for number, section in enumerate(sections):
            labels = section.labels + [""] * (number == 0)
            own = [word for label in labels for word in words.get((page, label), ())]
            text = unicodedata.normalize("NFC", "\n".join(section.text))
            found_by = ", ".join(dict.fromkeys([*own, *section.words]))
            rows.append([section.anchor, section.title, text, found_by])
        told.append([f"{page}.html", weight(page), rows])
    return told


def write(app: Sphinx, exception: Exception | None) -> None:
    """Write the script; keep the sections of pages that the next build need not write."""
    if exception or app.builder.format != "html":
        return
    kept = Path(app.doctreedir, "sections.json")
    pages = {}
    if kept.exists():
        known = json.loads(kept.read_text(encoding="utf-8"))
        pages = {page: [Section(*section) for section in known[page]] for page in known}
    pages |= vars(app).get("attn_sections", {})
    pages = {page: pages[page] for page in sorted(app.env.found_docs) if page in pages}
    write_whole(kept, json.dumps(pages, ensure_ascii=False))
    data = ",\n".join(
        json.dumps(part, ensure_ascii=False, separators=(",", ":"))
        for part in (tell(pages), synonyms())
    )
    code = join_scripts([CONF / "static" / name for name in SCRIPTS])
    text = f"{NOTICE}{code}startSearch(\n{data},\n);\n"
    Path(app.outdir, "search.js").write_text(text, encoding="utf-8")


def own_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Add the page that shows what is found."""
    yield "search", {"title": "Search"}, "search.html"


def replace(app: Any) -> None:
    """Turn off Sphinx's own."""
    app.builder.search = False


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", replace)
    app.connect("doctree-resolved", note)
    app.connect("html-collect-pages", own_page)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
