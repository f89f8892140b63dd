"""What several rooms need: to name contents, to write whole files, to know each page."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
UNSEARCHED = "unsearched"  # a class of what the search leaves out, such as tables of hashes


def digest(*parts: str | bytes) -> str:
    """Name some contents: other parts, or other borders between them, another name."""
    state = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        state.update(f" {len(content)}\n".encode())
        state.update(content)
    return state.hexdigest()[:32]


def write_whole(file: Path, text: str) -> None:
    """Write a file whole or not at all, even if the machine stops."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=file.parent, suffix=".tmp", delete=False
    ) as temporary:
        temporary.write(text)
        temporary.flush()
        os.fsync(temporary.fileno())
    os.replace(temporary.name, file)


def cores() -> int:
    """Return how many processors to use: what noxfile.py has counted, or else all."""
    if told := os.environ.get("ATTN_CORES"):
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class PerPage:
    """What an extension knows of each page, kept with all else that Sphinx has read.

    Pages are read in one process (`execute.hook`), so that nothing is ever merged.
    """

    def __init__(self, name: str) -> None:
        self._name = f"attn_{name}"

    def of(self, env: Any) -> dict[str, Any]:
        """Return what is known, by page."""
        known: dict[str, Any] = vars(env).setdefault(self._name, {})
        return known

    def connect(self, app: Any) -> None:
        """Forget a page that is read again or gone."""
        app.connect("env-purge-doc", lambda app, env, name: self.of(env).pop(name, None))
