"""Show a piece of the package from its file, without its docstrings.

The gap: literalinclude shows an object with its docstring, which here is longer than the
code; the docstring stands in the reference.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import attn_examples
from attn_examples.standalone import shortened

PACKAGE = Path(attn_examples.__file__).parent


class Listing(SphinxDirective):
    """The directive `{listing} attn_examples.core.attention`; several names may follow."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Read the source of each object, and depend on its file."""
        pieces, files = [], []
        for name in self.arguments[0].split():
            try:
                found = find(name)
            except (ImportError, AttributeError) as error:
                raise self.error(f"listing: there is no {name}: {error}") from error
            file = Path(inspect.getfile(found))
            self.env.note_dependency(str(file))
            files.append(file.relative_to(PACKAGE).as_posix())
            pieces.append(shortened(textwrap.dedent(inspect.getsource(found))))
        text = "\n\n\n".join(pieces)
        block = nodes.literal_block(text, text, language="python", source=self.arguments[0])
        self.set_source_info(block)
        caption = ", ".join(dict.fromkeys(files)) + ", docstrings left out"
        container = nodes.container("", literal_block=True, classes=["literal-block-wrapper"])
        container += nodes.caption(caption, "", nodes.Text(caption))
        container += block
        return [container]


def find(name: str) -> Any:
    """Import the object with a full dotted name, a method included."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("listing", Listing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
