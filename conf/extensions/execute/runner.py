"""Run the cells of many pages at the same time, while Sphinx reads those that are done.

The gap: MyST-NB runs a page when Sphinx reads it, in series or with races between
readers, says nothing meanwhile, and ends at the first kernel that dies. Here a process of
its own runs all pages that need it, on all cores and the longest first; what a page gave is
kept (see `store`) and sent to the builder.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import pickle
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from traitlets.config import Config

from extensions.execute import cache_key, kernels, settings
from extensions.execute.progress import Progress
from extensions.execute.store import Page, Store
from extensions.shared import cores


class Runs:
    """Pages that run in a process of their own.

    Parameters
    ----------
    pages : dict of str to Page
        All pages; one that has run takes its place here.
    names : collection of str
        Which of them to run.
    store : Store
        Keeps what they give.
    timeout : int
        The seconds that a cell may take.
    """

    def __init__(
        self, pages: dict[str, Page], names: Collection[str], store: Store, timeout: int
    ) -> None:
        self.pages, self.missing = pages, set(names)
        waiting = [pages[name] for name in names]
        self.ends = Progress(waiting, store).ends()
        if not waiting:
            return
        if kernels.WORKS:
            kernels.register(lambda _: kernels.load(settings.LOG))
        self._room = Path(tempfile.mkdtemp(prefix="attn-"))  # short, as sockets need it
        self._names, sender = multiprocessing.Pipe(duplex=False)
        work = (waiting, store, timeout, self._room, sender)
        self._process = multiprocessing.get_context("fork").Process(target=_work, args=work)
        self._process.start()
        sender.close()
        kernels.AFTERWARDS.callback(self._end)

    def wait(self, *names: str) -> None:
        """Wait until pages are done; what goes wrong with one is noted at the page."""
        while self.missing & set(names):
            try:
                name = self._names.recv()
            except EOFError:
                raise RuntimeError("the process that runs pages has died") from None
            if isinstance(name, Exception):
                raise name
            self.pages[name] = pickle.loads(_result(self._room, name).read_bytes())
            self.missing.remove(name)

    def _end(self) -> None:
        self._process.kill()  # its kernels end with the process that they are copies of
        self._process.join()
        shutil.rmtree(self._room, ignore_errors=True)


def _work(pages: Sequence[Page], store: Store, timeout: int, room: Path, names: Any) -> None:
    os.setsid()  # Ctrl-C is for the builder to handle
    try:
        asyncio.run(_run_all(pages, store, timeout, room, names))
    except Exception as error:
        names.send(error)


async def _run_all(
    pages: Sequence[Page], store: Store, timeout: int, room: Path, names: Any
) -> None:
    progress = Progress(pages, store)
    waiting = list(progress.left)

    async def worker() -> None:
        while waiting:
            page = waiting.pop(0)
            progress.started(page)
            opened = await _run_page(page, timeout, room)
            if opened is not None:
                store.keep(page, {name for file in opened if (name := _below(file, store.root))})
            progress.done(page)
            _result(room, page.name).write_bytes(pickle.dumps(page))
            names.send(page.name)  # not the page: its size could fill the pipe

    await asyncio.gather(*(worker() for _ in range(min(len(pages), cores()))))


def _result(room: Path, name: str) -> Path:
    return room / f"{name.replace('/', '-')}.pickle"


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
    if any(re.search(r"transformers|load_bert", cell["source"]) for cell in page.code_cells):
        env[kernels.MORE] = kernels.HEAVY
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


def _below(file: str, root: Path) -> str | None:
    """Name a file as seen from the project, if it is a source that is no module."""
    path = Path(os.path.normpath(file))
    if not path.is_relative_to(root):
        return None
    name = path.relative_to(root).as_posix()
    package = f"{cache_key.PACKAGE}/"
    return None if name.startswith((package, "build/", ".")) else name
