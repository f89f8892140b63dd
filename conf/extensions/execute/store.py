"""What pages gave, kept from build to build, each under the key of what it depends on."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from extensions.execute import cache_key
from extensions.shared import digest, write_whole

KEPT = ("execution_count", "outputs")


@dataclass
class Page:
    """A page with cells, and what is known of its run."""

    name: str
    folder: Path
    notebook: Any
    key: str = ""
    began: float = 0.0  # by the clock that files have
    seconds: float = 0.0
    cached: bool = False
    kept: bool = False  # for the next build
    error: str = ""  # why the kernel gave no answer; an exception stands in the outputs
    cell: int = 0  # the code cell that ran last, from 1
    times: list[float] = field(default_factory=list)

    @property
    def code_cells(self) -> list[Any]:
        """The cells that run."""
        return [cell for cell in self.notebook.cells if cell["cell_type"] == "code"]

    @property
    def known(self) -> bool:
        """Whether it need not run."""
        return self.cached or not self.code_cells


class Store:
    """What pages gave, by key; with it the files that they opened and how long they took."""

    def __init__(self, folder: Path, root: Path, shared: str) -> None:
        self.folder, self.root, self.shared = folder, root, shared
        self.reached: dict[str, cache_key.Reached] = {}  # last what was used last
        self.package = cache_key.read_package(root)  # once for all pages, which are many
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob("*.tmp"):  # of a build that was killed
            if left_over.stat().st_mtime < time.time() - 3600:
                left_over.unlink()

    def find(self, page: Page) -> bool:
        """Give a page its key, and its outputs where they are known."""
        self._give_key(page)
        file = self.folder / f"{page.key}.json"
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return False
        for cell, ran in zip(page.code_cells, known["cells"], strict=True):
            cell.update(nbformat.from_dict(ran))
        page.notebook.metadata.language_info = known["language_info"]
        page.seconds, page.times, page.cached = known["seconds"], known["times"], True
        return True

    def keep(self, page: Page, opened: set[str]) -> None:
        """Keep what a page gave, together with the files that it opened.

        If a source was written meanwhile, nobody knows which state of it the page has seen.
        """
        files = self._files(page)
        read = (self.root / name for name in opened)
        late = any(file.exists() and file.stat().st_mtime > page.began for file in read)
        if late or self._key(page, files) != page.key:
            return
        page.kept = True
        if not opened <= files:
            write_whole(self._list_of_files(page), json.dumps(sorted(files | opened)))
            self._give_key(page)
        known = {
            "page": page.name,
            "seconds": page.seconds,
            "times": page.times,
            "language_info": page.notebook.metadata.get("language_info", {}),
            "cells": [{name: cell[name] for name in KEPT} for cell in page.code_cells],
        }
        write_whole(self.folder / f"{page.key}.json", json.dumps(known, indent=1))

    def forget(self, pages: dict[str, Page]) -> None:
        """Drop what was kept of pages that are not among these any more."""
        keys = {page.key for page in pages.values()}
        for file in self.folder.glob("?" * 32 + ".json"):
            if file.stem in keys:
                continue
            # the page's name comes first, see `keep`
            with file.open(encoding="utf-8", errors="replace") as lines:
                page = re.match(r'\{\s+"page": (".*")', lines.read(400))
            if not page or json.loads(page[1]) not in pages:
                file.unlink()

    def _give_key(self, page: Page) -> None:
        page.key = self._key(page, self._files(page), self.package)

    def _key(self, page: Page, files: set[str], package: cache_key.Package | None = None) -> str:
        return cache_key.page_key(
            self.root, page.folder, page.code_cells, files, self.shared, self.reached, package
        )

    def _list_of_files(self, page: Page) -> Path:
        """Name the list of files that these very cells were seen to open."""
        code = json.dumps([cell["source"] for cell in page.code_cells])
        return self.folder / f"{digest(code, str(page.folder.relative_to(self.root)))}.files"

    def _files(self, page: Page) -> set[str]:
        try:
            return set(json.loads(self._list_of_files(page).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return set()
