"""Tell readers, and those who lead them here, what a page is: in a line, a number, a list.

The gap: Sphinx writes no description of a page, does not say how long it takes nor where
in its chapter it stands, and knows no robots.txt. sphinx-sitemap lists only the pages that
are written in a build, in the order in which they happen to be.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

from extensions.shared import PerPage

DESCRIPTIONS = PerPage("descriptions")
WORDS_PER_MINUTE = 200
LONGEST = 200  # what search engines show of a description


def describe(doctree: nodes.document) -> str:
    """Return the first sentences of a page, as many as make a description."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split()).removeprefix("In one sentence. ")
        sentences = re.split(r"(?<=[.?]) (?=[A-Z])", text)
        said = sentences[0]
        for sentence in sentences[1:]:
            if len(said) + len(sentence) >= LONGEST:
                break
            said += f" {sentence}"
        if len(said) > LONGEST:
            said = said[: said.rfind(" ", 0, LONGEST)] + " …"
        return said
    return ""


def note(app: Sphinx, doctree: nodes.document) -> None:
    """Keep a page's description for the list of all."""
    DESCRIPTIONS.of(app.env)[app.env.docname] = describe(doctree)


def minutes(doctree: nodes.document) -> int:
    """Return about how long a page takes: its words and code, and what its exercises promise."""
    kinds = (nodes.paragraph, nodes.literal_block, nodes.title)
    parts = [node for node in doctree.findall(nodes.TextElement) if isinstance(node, kinds)]
    reading = round(sum(len(part.astext().split()) for part in parts) / WORDS_PER_MINUTE)
    promised = (
        re.search(r", (\d+) minutes\.$", e.astext()) for e in doctree.findall(nodes.emphasis)
    )
    return max(1, reading + sum(int(found[1]) for found in promised if found))


def chapters(app: Sphinx) -> dict[str, tuple[str, int, int]]:
    """Return for each page its chapter, its number in it, and how many pages that has."""
    root = app.env.get_doctree(app.config.root_doc)
    found: dict[str, tuple[str, int, int]] = {}
    for toctree in root.findall(addnodes.toctree):
        pages = [page for name in toctree["includefiles"] for page in _with_pages_below(app, name)]
        if toctree["caption"]:
            found |= {
                name: (toctree["caption"], number, len(pages))
                for number, name in enumerate(pages, start=1)
            }
    return found


def _with_pages_below(app: Sphinx, name: str) -> list[str]:
    """Return a page and those that its own lists name, in the order of reading."""
    below = app.env.toctree_includes.get(name, [])
    return [name, *(page for child in below for page in _with_pages_below(app, child))]


def add_facts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give a page's template its description, reading time and place."""
    description = describe(doctree) if doctree else ""
    title = re.sub(r"<[^>]+>", "", context.get("title") or "Search")
    description = description or f"{title} of {app.config.project}"
    tag = f'<meta name="description" content="{html.escape(description)}"/>\n'
    context["metatags"] = context.get("metatags", "") + tag
    if doctree:
        known: Any = app
        if not hasattr(app, "attn_chapters"):
            known.attn_chapters = chapters(app)
        context["meta"] = (context.get("meta") or {}) | {"og:description": description}
        context["page_minutes"] = minutes(doctree)
        context["page_chapter"] = known.attn_chapters.get(page)


def write_for_machines(app: Sphinx, exception: Exception | None) -> None:
    """Let every machine read everything; list the pages if the site's address is known."""
    if exception or app.builder.format != "html":
        return
    lines = ["User-agent: *", "Allow: /"]
    if base := app.config.html_baseurl:
        lines += [f"Sitemap: {base}sitemap.xml"]
        pages = [f"<url><loc>{base}{name}.html</loc></url>" for name in sorted(app.env.found_docs)]
        sitemap = ['<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">', *pages]
        text = "\n".join([*sitemap, "</urlset>", ""])
        Path(app.outdir, "sitemap.xml").write_text(text, encoding="utf-8")
    Path(app.outdir, "robots.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    DESCRIPTIONS.connect(app)
    app.connect("doctree-read", note, priority=900)  # after those who change what it says
    app.connect("html-page-context", add_facts, priority=400)  # before Open Graph's
    app.connect("build-finished", write_for_machines)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
