"""Say how far the pages are; know which take longest."""

from __future__ import annotations

import heapq
import json
import sys
import time
from collections.abc import Sequence

from extensions.execute.store import Page, Store
from extensions.shared import cores, write_whole

RECORD = "docs/reference/record.json"  # made by `nox -s record`


class Progress:
    """Say which pages are done, running and left, and how long it may still take."""

    def __init__(self, pages: Sequence[Page], store: Store) -> None:
        self.file = store.folder / "seconds.json"
        self.last: dict[str, float] = {}
        for file in (store.root / RECORD, self.file):
            if file.exists():
                seconds = json.loads(file.read_text(encoding="utf-8"))
                self.last |= seconds.get("seconds", seconds)
        self.left = sorted(pages, key=self.expected, reverse=True)
        self.running: dict[str, float] = {}
        self.total = len(pages)

    def expected(self, page: Page) -> float:
        """Return the seconds that a page took last, or a guess: training takes longest."""
        code = "".join(cell["source"] for cell in page.code_cells)
        return self.last.get(page.name, 60.0 if ".backward()" in code else len(code) / 2000)

    def ends(self) -> dict[str, float]:
        """Return when each page may be done, if they start in order, the longest first."""
        free, found = [0.0] * cores(), {}
        for page in self.left:
            found[page.name] = free[0] + self.expected(page)
            heapq.heapreplace(free, found[page.name])
        return found

    def started(self, page: Page) -> None:
        """Note that a page runs now."""
        self.running[page.name] = time.monotonic()

    def done(self, page: Page) -> None:
        """Note that a page is finished, well or not, and say what is left."""
        self.left.remove(page)
        del self.running[page.name]
        if not page.error:
            self.last[page.name] = page.seconds
            write_whole(self.file, json.dumps(self.last, indent=1, sort_keys=True))
        text = f"{self.total - len(self.left):{len(str(self.total))}}/{self.total} pages"
        text += f", {page.name} in {page.seconds:.1f} s"
        if self.left:
            now = time.monotonic()
            rest = [self.expected(p) - now + self.running.get(p.name, now) for p in self.left]
            remaining = max(sum(rest) / cores(), *rest, 0.0)
            text += f"; running {', '.join(self.running) or 'none'}, about {remaining:.0f} s left"
        print(text, file=sys.stderr, flush=True)
