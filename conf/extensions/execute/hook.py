"""Run the pages that need it before Sphinx reads them, and hand MyST-NB what they gave.

The gap: MyST-NB runs a page while it is read (see `runner`), and Sphinx takes a page for
unchanged when its file is older than its last reading, whatever else it depends on.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

from myst_nb.core.config import NbParserConfig
from myst_nb.core.read import create_nb_reader, is_myst_markdown_notebook
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from extensions.execute import settings
from extensions.execute.cache_key import shared_state
from extensions.execute.runner import Runs
from extensions.execute.store import Page, Store
from extensions.shared import ROOT, digest

logger = logging.getLogger(__name__)

PAGES: dict[str, Page] = {}  # the pages with cells, as they are in this build
RUNS: list[Runs] = []  # the one of this build


def find_outdated(
    app: Sphinx, env: Any, added: set[str], changed: set[str], removed: set[str]
) -> list[str]:
    """Name the pages whose text, outputs or other files are not those that were read."""
    store = Store(settings.EXECUTED, ROOT, shared_state(ROOT, settings.FILES))
    store.reached = getattr(env, "attn_reached", {})
    app.attn_store = store  # type: ignore[attr-defined]
    PAGES.clear()
    before = getattr(env, "attn_notebooks", {})
    env.attn_notebooks = {}
    for name in sorted(env.found_docs):
        path = Path(env.doc2path(name))
        text = path.read_text(encoding="utf-8")
        notebook = (
            before[name][1] if before.get(name, ("",))[0] == text else _parse(env, path, text)
        )
        env.attn_notebooks[name] = text, copy.deepcopy(notebook)
        if notebook:
            PAGES[name] = Page(name, path.parent, notebook)
            store.find(PAGES[name])
    env.attn_reached = dict(list(store.reached.items())[-len(PAGES) :])
    known = getattr(env, "attn_digests", {})
    env.attn_digests = known
    return [
        name
        for name in env.found_docs
        if known.get(name) != _digest(env, name) or (name in PAGES and not PAGES[name].known)
    ]


def execute(app: Any, env: BuildEnvironment, docnames: list[str]) -> None:
    """Run what is about to be read and is not known; read what may be done first."""
    missing = [name for name in docnames if name in PAGES and not PAGES[name].known]
    RUNS[:] = [Runs(PAGES, missing, app.attn_store, app.config.nb_execution_timeout)]
    docnames.sort(key=lambda name: RUNS[0].ends.get(name, 0.0))
    app.attn_jobs, app.parallel = app.parallel, 1  # read in this process: others run pages


def wait_for(*names: str) -> None:
    """Wait until pages have run, if they are to."""
    RUNS[0].wait(*names)


def hand_over(app: Any, docname: str, source: list[str]) -> None:
    """Point MyST-NB's reader at the page that has run, or leave a page without cells to it."""
    env: Any = app.env
    wait_for(docname)
    formats = {".md": ("extensions.execute.hook.read", {"name": docname}, False)}
    given = {**env.mystnb_config.custom_formats, **formats}
    if docname not in PAGES:
        del given[".md"]
    env.mystnb_config = env.mystnb_config.copy(custom_formats=given)


def read(text: str, name: str) -> Any:
    """Return a page's notebook with its outputs; called by MyST-NB."""
    return copy.deepcopy(PAGES[name].notebook)


def _parse(env: Any, path: Path, text: str) -> Any:
    """Parse a page as MyST-NB does; None if it says nowhere that it has cells to run."""
    if not is_myst_markdown_notebook(text):
        return None
    reader = create_nb_reader(str(path), env.myst_config, NbParserConfig(), text)
    assert reader is not None
    notebook = reader.read(text)
    for number, cell in enumerate(notebook.cells, start=1):
        cell["id"] = f"cell-{number}"  # by default a random one
    return notebook


def forget(app: Any, exception: Exception | None) -> None:
    """Drop what was kept of pages that are gone."""
    if not exception and app.config.include_patterns == ["**"]:
        app.attn_store.forget(PAGES)


def _digest(env: Any, name: str) -> str:
    """Name all that the reading of a page depends on."""
    text, _ = env.attn_notebooks[name]  # not the file: it may have been edited meanwhile
    contents = [text]
    for file in sorted(map(str, env.dependencies.get(name, ()))):
        path = Path(env.srcdir, file)
        contents.append(path.read_bytes().hex() if path.is_file() else "(not there)")
    return digest(PAGES[name].key if name in PAGES else "", *contents)


def note_digests(app: Any, env: Any) -> list[str]:
    """Note what was read; have all pages written again if others can see a difference."""
    app.parallel = app.attn_jobs
    env.attn_digests = {name: _digest(env, name) for name in env.found_docs}
    before, env.attn_seen = getattr(env, "attn_seen", None), _seen_by_others(env)
    env.attn_same = before == env.attn_seen
    if before is None or env.attn_same:
        return []
    shutil.rmtree(Path(app.outdir, "_modules"), ignore_errors=True)  # viewcode writes them anew
    return sorted(env.found_docs)


def write_changed_alone(app: Sphinx, builder: Any) -> None:
    """Leave the pages that list a changed page as they are, if they would show the same.

    The gap: Sphinx writes them anew, whatever has changed.
    """
    if builder.env.attn_same:
        builder.env.files_to_rebuild = {}  # in this process: what is kept was saved before


def _seen_by_others(env: Any) -> str:
    """Name all of the pages that other pages can show: their sections, targets and sources."""
    sections = [f"{name} {env.tocs[name].pformat()}" for name in sorted(env.tocs)]
    # as text: what Sphinx has just translated, and what it has loaded, are of two types
    objects = [found for domain in env.domains.sorted() for found in domain.get_objects()]
    targets = [repr([str(part) for part in found]) for found in objects]
    equations = map(repr, env.get_domain("math").equations.items())
    cited = [
        f"{c.citation_id} {c.key} {c.formatted_entry.label}"
        for c in env.get_domain("cite").citations
    ]
    return digest(*sections, *sorted([*targets, *equations]), *cited)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("env-get-outdated", find_outdated)
    app.connect("env-before-read-docs", execute)
    app.connect("source-read", hand_over)
    app.connect("env-updated", note_digests, priority=900)
    app.connect("write-started", write_changed_alone)
    app.connect("build-finished", forget)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
