"""The role {repository}`words`: words that lead to the repository, where its address is known.

The gap: pages say "the repository", and only who hosts the site knows where that is. The
address is that of `ATTN_REPOSITORY_URL`, or the one that Read the Docs cloned. Without one
the words stay words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

# git@host:owner/name.git, and the same with a scheme, with who logs in before the host
CLONED = re.compile(
    r"(?:(?:https?|ssh|git)://)?(?:[^@/]+@)?([^/:]+)(?::\d+/|[:/])(.+?)(?:\.git)?/?"
)


class Repository(SphinxRole):
    """Words that are a link if the address of the repository is known."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Make a link of the words, or leave them."""
        address = self.config.repository_url
        if not address:
            return [nodes.Text(self.text)], []
        return [nodes.reference(self.rawtext, self.text, refuri=address)], []


def address(given: Mapping[str, str]) -> str:
    """Return the address of the repository from the environment's variables, or "".

    Parameters
    ----------
    given : mapping of str to str
        The environment. `ATTN_REPOSITORY_URL` is taken as it is; what was cloned becomes the
        address of a page.
    """
    if own := given.get("ATTN_REPOSITORY_URL"):
        return own
    cloned = CLONED.fullmatch(given.get("READTHEDOCS_GIT_CLONE_URL", ""))
    return f"https://{cloned[1]}/{cloned[2]}" if cloned else ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_config_value("repository_url", "", "env", types=frozenset({str}))
    app.add_role("repository", Repository())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
