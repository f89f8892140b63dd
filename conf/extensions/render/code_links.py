"""Link the names in code to their documentation while each page is written.

The gap: sphinx-codeautolink does so for all pages in one process, from the written files;
in a second build it knows nothing of the pages that were not read again, and resolves all
names anew; and to follow a name it imports all that the name's package has for type checkers,
which for transformers is everything, and no documentation to link to.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import sphinx_codeautolink
from sphinx.application import Sphinx
from sphinx_codeautolink.extension import SphinxCodeAutoLink, block

from extensions.shared import digest


class LinkedCode(SphinxCodeAutoLink):  # type: ignore[misc]
    """sphinx-codeautolink, with names resolved and linked where a page is written."""

    def create_references(self, app: Any, env: Any) -> None:
        """Resolve the names of the pages whose code has changed; remember those of all."""
        if self.do_nothing:
            return
        self.inventory = self.make_inventory(app)
        documented = {name.split(".")[0] for name in self.inventory}
        known = getattr(env, "attn_links", {})
        env.attn_links = {name: known[name] for name in known if name in env.found_docs}
        targets = digest(*sorted(self.inventory))
        for name, transforms in self.cache.transforms.items():
            for transform in transforms:  # to look into another package imports all of it
                transform.names = [
                    n for n in transform.names if n.import_components[0] in documented
                ]
            code = [(transform.source, transform.names) for transform in transforms]
            state = digest(repr(code), targets)
            if known.get(name, ("",))[0] != state:
                self.filter_and_resolve(transforms, set(), name)
                env.attn_links[name] = state, transforms

    def apply_links(self, app: Any, exception: Exception | None) -> None:
        """Do nothing: it is done."""

    def link_page(
        self, app: Any, pagename: str, template: str, context: dict[str, Any], doctree: Any
    ) -> None:
        """Put the links into the body of a page."""
        _, transforms = getattr(app.env, "attn_links", {}).get(pagename, ("", []))
        if self.do_nothing or not transforms or not doctree:
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"{pagename}.html")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(context["body"], encoding="utf-8")
            block.link_html(
                pagename,
                folder,
                transforms,
                self.inventory,
                self.custom_blocks,
                self.search_css_classes,
                disable_link_titles=self.disable_link_titles,
            )
            context["body"] = file.read_text(encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Set sphinx-codeautolink up with the class above."""
    state = LinkedCode()
    vars(block)["copy"] = lambda tag: tag  # to take line numbers out of it; there are none
    vars(sphinx_codeautolink)["SphinxCodeAutoLink"] = lambda: state
    app.setup_extension("sphinx_codeautolink")
    app.connect("html-page-context", state.link_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
