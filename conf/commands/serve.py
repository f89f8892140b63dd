"""Serve the site while it is written: `nox -s serve`.

The gap: sphinx-autobuild starts a Python for each build, which imports for longer than it
builds. Here a build is a fork of this process, which has imported what is not ours; what is
ours each build imports anew, as it may have been edited.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import soupsieve
from sphinx.application import builtin_extensions
from sphinx.config import Config
from sphinx.util.tags import Tags
from sphinx_autobuild import __main__ as autobuild
from sphinx_autobuild.build import Builder
from sphinx_autobuild.utils import show_message

sys.path.insert(0, str(Path(__file__).parent.parent))  # for commands.*, extensions.*
INTO = Path("build", "serve")
SLOW = (
    "fontTools.subset", "jupyter_cache", "jupytext", "matplotlib.pyplot", "myst_nb.sphinx_ext",
    "nbclient", "numpydoc", "sphinx_book_theme", "sphinx_codeautolink", "sphinx_design",
    "sphinx_markdown_builder", "sphinxcontrib.bibtex", "tinycss2", "torch",
)  # fmt: skip
OURS = ("__main__", "attn_examples", "commands", "extensions")  # they may be edited


class ForkingBuilder(Builder):  # type: ignore[misc]  # untyped
    """Builds a draft as conf/commands/build.py does, without a new Python."""

    def __call__(self, *, changed_paths: Sequence[Path]) -> None:
        """Build, say where the site is, and load what the build had to load."""
        names, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=_build, args=(sender,))
        process.start()
        sender.close()
        try:
            loaded = names.recv()
        except EOFError:  # it ended before its time
            loaded = []
        process.join()
        show_message(f"Serving on {self.uri}")
        for name in loaded:
            with suppress(Exception):  # it may be there for some other platform
                importlib.import_module(name)


def _build(sender: Connection) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in OURS[1:]]:
        del sys.modules[name]
    from commands import build

    before = set(sys.modules)
    status = build.main(["--draft", "--into", str(INTO)])
    sender.send([n for n in sys.modules if n not in before and n.split(".")[0] not in OURS])
    sys.exit(status)


if __name__ == "__main__":
    from commands import build

    build.end_with_parent()  # this goes for what sphinx-autobuild starts, too
    extensions = Config.read(Path("conf").resolve(), overrides={}, tags=Tags()).extensions
    for name in (*SLOW, *builtin_extensions, *extensions):
        if name.split(".")[0] not in OURS:
            importlib.import_module(name)
    soupsieve.compile("code")  # its own patterns are compiled at first use
    gc.collect()
    gc.freeze()  # what is loaded stays shared with the builds
    autobuild.Builder = ForkingBuilder
    autobuild.main([*sys.argv[1:], "docs", str(INTO / "html")])
