"""Let a page be built without the others: `nox -s docs -- --page docs/types/heads/self.md`.

The gap: for Sphinx what is not among the pages of a build is nowhere, so that each right
reference to another page is a warning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import docname_join


def is_elsewhere(app: Sphinx, domain: Any, node: Any) -> bool | None:
    """Say no word about what another page may define; a page that is not there is a fault."""
    if node["reftype"] != "doc":
        return True
    name = docname_join(node["refdoc"], node["reftarget"])
    return Path(app.srcdir, f"{name}.md").is_file() or None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("warn-missing-reference", is_elsewhere, priority=400)  # before Sphinx warns
    return {"parallel_read_safe": True, "parallel_write_safe": True}
