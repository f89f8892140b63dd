"""Serve the site while it is written: `nox -s serve`.

The gap: sphinx-autobuild starts a Python for each build, which imports for longer than it
builds. Here a build is a fork of this process, which has imported what is not ours; what is
ours each build imports anew, as it may have been edited.
"""

from __future__ import annotations

import importlib
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path

from sphinx.cmd.build import build_main
from sphinx_autobuild import __main__ as autobuild
from sphinx_autobuild.build import Builder
from sphinx_autobuild.utils import show_message

SLOW = (
    "fontTools.subset", "jupytext", "matplotlib.pyplot", "myst_nb", "nbclient", "numpydoc",
    "sphinx_book_theme", "sphinxcontrib.bibtex", "torch",
)  # fmt: skip


class ForkingBuilder(Builder):  # type: ignore[misc]  # untyped
    """Builds without a new Python."""

    def __call__(self, *, changed_paths: Sequence[Path]) -> None:
        """Build, and say where the site is."""
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=_build, args=(self.sphinx_args,))
        process.start()
        process.join()
        if process.exitcode:
            show_message("The build failed, see above: what is served is the one before.")
        show_message(f"Serving on {self.uri}")


def _build(arguments: list[str]) -> None:
    sys.exit(build_main(arguments))


if __name__ == "__main__":
    for name in SLOW:
        importlib.import_module(name)
    autobuild.Builder = ForkingBuilder
    autobuild.main(sys.argv[1:])
