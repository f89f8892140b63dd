"""Format the bibliography where something of it has changed, instead of in every build.

The gap: sphinxcontrib-bibtex formats all entries anew, each twice, before a page can show an
edit of its prose.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sphinx.application import Sphinx
from sphinxcontrib.bibtex.domain import BibtexDomain, get_docnames

from extensions.shared import digest


class KeptCitations(BibtexDomain):
    """Citations that stay formatted while what they are made of stays."""

    def clear_doc(self, docname: str) -> None:
        """Forget a page that is read again or gone, and with a bibliography what it gave."""
        if any(key.docname == docname for key in self.bibliographies):
            self.data.pop("made_of", None)
        super().clear_doc(docname)

    def env_updated(self) -> Iterable[str]:
        """Format all entries, if pages cite others now or a page with a bibliography was read."""
        refs = sorted(self.citation_refs, key=lambda ref: ref.docname)  # not as read
        cited = [(ref.docname, [target.key for target in ref.targets]) for ref in refs]
        names = [*get_docnames(self.env)]  # type: ignore[no-untyped-call]
        parts = (cited, list(self.bibliographies), names)
        made_of = digest(*map(repr, parts))
        if self.data.get("made_of") == made_of:
            return []
        updated = [*super().env_updated()]
        self.data["made_of"] = made_of
        return updated


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.setup_extension("sphinxcontrib.bibtex")
    app.add_domain(KeptCitations, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
