"""Run the cells of many pages at the same time, and keep what they gave.

The gap: MyST-NB runs a page when Sphinx reads it, in series or with races between
readers, says nothing meanwhile, and ends at the first kernel that dies. Here all pages
that need it run before Sphinx reads, on all cores. What a page gave is kept under its key
(see `dependencies`) in a file of its own, written whole or not at all.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

from extensions.execute import cache_key, kernels

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
            try:
                page = json.loads(file.read_text(encoding="utf-8"))["page"]
                gone = page not in pages and file.stem not in keys
            except ValueError:
                gone = True
            if gone:
                file.unlink()

    def _give_key(self, page: Page) -> None:
        page.key = self._key(page, self._files(page))

    def _key(self, page: Page, files: set[str]) -> str:
        cells = page.code_cells
        return cache_key.page_key(self.root, page.folder, cells, files, self.shared, self.reached)

    def _list_of_files(self, page: Page) -> Path:
        """Name the list of files that these very cells were seen to open."""
        code = json.dumps([cell["source"] for cell in page.code_cells])
        return (
            self.folder / f"{cache_key.digest(code, str(page.folder.relative_to(self.root)))}.files"
        )

    def _files(self, page: Page) -> set[str]:
        try:
            return set(json.loads(self._list_of_files(page).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError):
            return set()


def run(pages: Sequence[Page], store: Store, timeout: int, log: Path) -> None:
    """Run pages, as many at a time as there are cores, and keep what they give.

    What goes wrong with a page is noted at the page; the others run on.
    """
    if not pages:
        return
    room = Path(tempfile.mkdtemp(prefix="attn-"))  # its path is short: sockets need that
    loaded = None
    try:
        if kernels.WORKS:
            with log.open("wb") as file:
                loaded = kernels.Loaded(file)
            kernels.register(loaded)
        _in_a_thread(_run_all(pages, store, timeout, room))
    finally:
        if loaded:
            loaded.close()
        shutil.rmtree(room, ignore_errors=True)


def _in_a_thread(work: Any) -> None:
    """Run a coroutine where nbclient leaves the signals alone, so that Ctrl-C ends it all."""
    running: list[Any] = []
    failed: list[BaseException] = []

    async def main() -> None:
        running.extend((asyncio.get_running_loop(), asyncio.current_task()))
        await work

    def go() -> None:
        try:
            asyncio.run(main())
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=go, name="pages")
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except BaseException:
        if running:
            loop, task = running
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
        raise
    if failed:
        raise failed[0]


def cores() -> int:
    """Count the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


async def _run_all(pages: Sequence[Page], store: Store, timeout: int, room: Path) -> None:
    progress = Progress(pages, store)
    waiting = sorted(pages, key=progress.expected, reverse=True)  # the longest first

    async def worker() -> None:
        while waiting:
            page = waiting.pop(0)
            progress.started(page)
            opened = await _run_page(page, timeout, room)
            if opened is not None:
                store.keep(page, {name for file in opened if (name := _below(file, store.root))})
            progress.done(page)

    workers = min(len(pages), cores())
    await asyncio.gather(*(worker() for _ in range(workers)))


async def _run_page(page: Page, timeout: int, room: Path) -> set[str] | None:
    """Run one page; return the files that it opened, or None where it failed."""
    trace = room / f"{page.name.replace('/', '-')}.opened"
    page.began, started = time.time(), time.monotonic()
    marks: list[float] = []
    client = NotebookClient(
        page.notebook,
        timeout=timeout,
        kernel_name=page.notebook.metadata.kernelspec.name,
        config=Config(KernelManager={"transport": "ipc" if sys.platform != "win32" else "tcp"}),
        on_cell_execute=lambda cell, cell_index: marks.append(time.monotonic()),
        shutdown_kernel="immediate",
        record_timing=False,
    )
    client.log.setLevel("CRITICAL")  # what it would say is said at the end
    env = os.environ | {"ATTN_TRACE": str(trace), "JUPYTER_RUNTIME_DIR": str(room)}
    try:
        client.km = client.create_kernel_manager()
        client.km.connection_file = str(room / f"{trace.stem}.json")
        await client.async_execute(cwd=str(page.folder), env=env)
    except CellExecutionError:
        pass  # it stands in the outputs
    except CellTimeoutError:
        page.error = f"the cell ran longer than the limit of {timeout} seconds and was stopped"
    except DeadKernelError:
        page.error = "the kernel died in this cell: was it ended, or was there no memory left?"
    except RuntimeError as error:
        page.error = f"the kernel did not start: {error}"
    page.seconds = round(time.monotonic() - started, 2)
    page.cell = len(marks)
    marks.append(time.monotonic())
    page.times = [round(end - start, 2) for start, end in itertools.pairwise(marks)]
    failed = page.error or any(
        output["output_type"] == "error"
        for cell in page.code_cells
        if "raises-exception" not in cell["metadata"].get("tags", [])
        for output in cell["outputs"]
    )
    try:
        return None if failed else set(trace.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return set()


class Progress:
    """Say which pages are done, running and left, and how long it may still take."""

    def __init__(self, pages: Sequence[Page], store: Store) -> None:
        self.file = store.folder / "seconds.json"
        try:
            self.last: dict[str, float] = json.loads(self.file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            self.last = {}
        self.left = list(pages)
        self.running: dict[str, float] = {}
        self.total = len(pages)
        self.live = sys.stderr.isatty() and "CI" not in os.environ

    def expected(self, page: Page) -> float:
        """Return the seconds that a page took last, or a guess: training takes longest."""
        code = "".join(cell["source"] for cell in page.code_cells)
        return self.last.get(page.name, 60.0 if ".backward()" in code else len(code) / 2000)

    def started(self, page: Page) -> None:
        """Note that a page runs now."""
        self.running[page.name] = time.monotonic()
        self._say()

    def done(self, page: Page) -> None:
        """Note that a page is finished, well or not."""
        self.left.remove(page)
        del self.running[page.name]
        if not page.error:
            self.last[page.name] = page.seconds
            write_whole(self.file, json.dumps(self.last, indent=1, sort_keys=True))
        self._say(page)

    def _say(self, page: Page | None = None) -> None:
        if not self.live and page is None:
            return
        done = self.total - len(self.left)
        ran = {name: time.monotonic() - start for name, start in self.running.items()}
        rest = [max(self.expected(p) - ran.get(p.name, 0.0), 0.0) for p in self.left]
        remaining = max([sum(rest) / cores(), *rest])
        text = f"{done:{len(str(self.total))}}/{self.total} pages"
        if page:
            text += f", {page.name} in {page.seconds:.1f} s"
        if self.left:
            waiting = len(self.left) - len(self.running)
            text += f"; running {', '.join(self.running) or 'none'}; {waiting} left"
            text += f", about {remaining:.0f} s"
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            end = "" if self.left else "\r\033[K"
            print(f"\r\033[K{text[:width]}", end=end, file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


def _below(file: str, root: Path) -> str | None:
    """Name a file as seen from the project, if it is a source that is no module."""
    path = Path(os.path.normpath(file))
    if not path.is_relative_to(root):
        return None
    name = path.relative_to(root).as_posix()
    package = f"{cache_key.PACKAGE}/"
    return None if name.startswith((package, "build/", ".")) else name


def write_whole(file: Path, text: str) -> None:
    """Write a file whole or not at all, even if the machine stops."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=file.parent, suffix=".tmp", delete=False
    ) as temporary:
        temporary.write(text)
        temporary.flush()
        os.fsync(temporary.fileno())
    os.replace(temporary.name, file)
