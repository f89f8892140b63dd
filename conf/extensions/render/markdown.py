"""Write each page as plain Markdown, with a list of them all: llms.txt.

The gap: sphinx-markdown-builder leaves out what figures show and the names of listings,
and marks cells with languages that only Pygments knows.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx_markdown_builder.translator import MarkdownTranslator

from extensions.render.facts import DESCRIPTIONS, chapters
from extensions.render.folding import Opener

LANGUAGES = {"ipython3": "python", "myst-ansi": "text", "none": "text", "default": "text"}


class Translator(MarkdownTranslator):  # type: ignore[misc]  # untyped
    """The builder's translator, with what our pages have."""

    def visit_raw(self, node: nodes.raw) -> None:
        """Say what a figure shows; it was drawn for a browser."""
        if node.get("format") == "html" and node.get("figure"):
            self.add(f"*Figure: {node['figure']}*", prefix_eol=2, suffix_eol=2)
        raise nodes.SkipNode

    def visit_Opener(self, node: Opener) -> None:  # noqa: N802  # docutils' way
        """Say what a cell finds; nothing is folded here."""
        if node["kind"] != "check":
            raise nodes.SkipNode
        self.add("", prefix_eol=2)

    def depart_Opener(self, node: Opener) -> None:  # noqa: N802
        """End what a cell finds."""
        self.add("", suffix_eol=2)

    def visit_caption(self, node: nodes.caption) -> None:
        """Name the file that a listing is from, or say what a figure's caption says."""
        self.add(f"*{node.astext()}*", prefix_eol=2, suffix_eol=1)
        raise nodes.SkipNode

    def visit_literal_block(self, node: nodes.literal_block) -> None:
        """Mark code with a language that others know."""
        language = node.get("language", "text")
        node["language"] = LANGUAGES.get(language, language)
        super().visit_literal_block(node)

    def _through(self, node: nodes.Element) -> None:
        """Say what is inside."""

    visit_abbreviation = depart_abbreviation = _through
    visit_citation = depart_citation = _through
    visit_PassthroughTextElement = depart_PassthroughTextElement = _through  # noqa: N815

    def visit_label(self, node: nodes.label) -> None:
        """Begin a source without its number: pages name it by authors and year."""
        raise nodes.SkipNode

    def visit_classifier(self, node: nodes.classifier) -> None:
        """Give the type of a parameter after its name."""
        self.add(f" ({node.astext()})")
        raise nodes.SkipNode


def write(app: Any, exception: Exception | None) -> None:
    """Write the pages that were just written for browsers once more, as Markdown, and a list."""
    wanted = app.config.plain_markdown and app.config.include_patterns == ["**"]
    if exception or app.builder.name != "html" or not wanted:
        return
    app.set_translator("markdown", Translator, override=True)  # earlier the theme would mind
    html, plain = app.builder, app.create_builder("markdown")
    plain.parallel_ok = html.parallel_ok
    try:
        _use(app, plain)
        for sources in app.env.get_domain("cite").bibliographies.values():
            for node in sources.citation_nodes.values():
                node.clear()  # each writing of the list fills them
        plain.init()
        plain.write(filter(functools.partial(_is_older, app), app.env.found_docs), ())
    finally:
        _use(app, html)
    write_list(app)


def _use(app: Any, builder: Builder) -> None:
    """Have what asks for the builder find this one."""
    app.builder = builder
    app.env._builder_cls = type(builder)  # where Sphinx's own transforms ask


def _is_older(app: Sphinx, name: str) -> bool:
    """Tell whether the Markdown of a page is older than what browsers get."""
    page, plain = (Path(app.outdir, f"{name}.{kind}") for kind in ("html", "md"))
    return not plain.exists() or plain.stat().st_mtime_ns < page.stat().st_mtime_ns


def write_list(app: Sphinx) -> None:
    """Write llms.txt: what the site is, and each page with its address and description."""
    about = DESCRIPTIONS.of(app.env)
    lines = [f"# {app.config.project}", "", f"> {about[app.config.root_doc]}"]
    chapter = ""
    for name, (caption, _, _) in chapters(app).items():
        if caption != chapter:
            chapter = caption
            lines += ["", f"## {chapter}", ""]
        title = app.env.titles[name].astext()
        lines.append(f"- [{title}]({app.config.html_baseurl}{name}.md): {about[name]}")
    Path(app.outdir, "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.setup_extension("sphinx_markdown_builder")
    app.add_config_value("plain_markdown", True, "html", types=frozenset({bool}))
    app.connect("build-finished", write)  # before slim keeps what was written
    return {"parallel_read_safe": True, "parallel_write_safe": True}
