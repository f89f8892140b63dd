"""Keep the search index whole when only some pages are written.

The gap: Sphinx reads the old index back from the site, where what the pages' index entries
gave is no longer told apart, so that a second build loses those of every other page.
"""

from __future__ import annotations

import pickle
from collections.abc import Set
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder

PARTS = (
    "_all_titles", "_filenames", "_index_entries", "_mapping", "_title_mapping", "_titles",
)  # fmt: skip


class WholeIndexBuilder(StandaloneHTMLBuilder):
    """Sphinx's HTML builder, with the parts of the search index kept beside the doctrees."""

    def load_indexer(self, docnames: Set[str]) -> None:
        """Take the index of the pages that are not written now."""
        index: Any = self.indexer
        if self._parts.exists():
            for name, part in pickle.loads(self._parts.read_bytes()).items():
                setattr(index, name, part)
        keep = set(self.env.all_docs) - docnames
        index.prune(keep)
        index._index_entries = {k: v for k, v in index._index_entries.items() if k in keep}
        for name in ("_mapping", "_title_mapping"):  # words that no page has any more
            setattr(index, name, {word: on for word, on in getattr(index, name).items() if on})

    def dump_search_index(self) -> None:
        """Write the index, and keep its parts."""
        index: Any = self.indexer
        if index is not None:
            index._index_entries = dict(sorted(index._index_entries.items()))
            super().dump_search_index()
            self._parts.write_bytes(pickle.dumps({name: getattr(index, name) for name in PARTS}))

    @property
    def _parts(self) -> Path:
        return Path(self.doctreedir, "search-index.pickle")


def setup(app: Sphinx) -> dict[str, Any]:
    """Take the place of the builder of the same name."""
    app.add_builder(WholeIndexBuilder, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
