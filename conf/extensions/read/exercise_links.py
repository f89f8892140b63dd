"""Link the reports of the exercises to the pages that they name.

The gap: MyST-NB puts the HTML of an output into a page as it is, so that an address in it
can be right for one folder alone, and is wrong in a downloaded notebook. A report names a
page in plain text; here that becomes a link with the page's title.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

logger = logging.getLogger(__name__)

NAMED = re.compile(r'<cite data-page="([^"#]+)\.html(#[^"]*)?">[^<]*</cite>')


def title_of(env: BuildEnvironment, docname: str, anchor: str) -> str:
    """Return the title of a page, and of the section in it; "" if there is none."""
    if docname not in env.titles:
        return ""
    title = env.titles[docname].astext()
    if not anchor:
        return title
    sections = {
        entry["anchorname"]: entry.astext() for entry in env.tocs[docname].findall(nodes.reference)
    }
    return f"{title}: {sections[anchor]}" if anchor in sections else ""


def link(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Turn each page that a report names into a link."""
    env: Any = app.env

    def linked(named: re.Match[str]) -> str:
        docname, anchor = named[1], named[2] or ""
        title = title_of(env, docname, anchor)
        if not title:
            if len(env.found_docs) > 2:  # not a page that is built alone
                logger.warning("a report names %s.html%s, which is nowhere", docname, anchor)
            return named[0]
        return f'<a href="{escape(context["pathto"](docname) + anchor)}">{escape(title)}</a>'

    if "data-page" in context.get("body", ""):
        context["body"] = NAMED.sub(linked, context["body"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("html-page-context", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
