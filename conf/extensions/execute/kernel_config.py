"""The configuration of IPython in each kernel; `settings` puts it where IPython looks for it."""

import os
import sys
from typing import Any

from ipykernel.iostream import OutStream

c: Any = get_config()  # type: ignore[name-defined]  # noqa: F821  # IPython defines it
c.InlineBackend.figure_formats = {"svg"}
c.HistoryManager.enabled = False
c.InteractiveShellApp.exec_PYTHONSTARTUP = False

# What a cell prints arrives in one piece, however busy the machine is
OutStream.flush_interval = 1e6


def note(
    event: str,
    arguments: tuple[Any, ...],
    seen: set[str] = set(),  # noqa: B006  # all that it needs is bound here: a page may change os
    root: str = os.environ.get("ATTN_ROOT", "") + os.sep,
    trace: str = os.environ.get("ATTN_TRACE", ""),
) -> None:
    """Note which files of the project the page opens."""
    if event == "open" and isinstance(arguments[0], str) and arguments[0] not in seen:
        seen.add(arguments[0])
        path = os.path.abspath(arguments[0])
        if path.startswith(root) and not set(arguments[1] or "r") & set("wax"):
            file = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, f"{path}\n".encode())
            os.close(file)


if "ATTN_TRACE" in os.environ:
    sys.addaudithook(note)
