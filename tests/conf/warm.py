"""Builds in forks of a process that has loaded what is not ours.

The gap: a small site is built in less time than Python takes to load Sphinx and torch.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

from commands.serve import OURS, SLOW

FORKS = multiprocessing.get_context("forkserver")
# matplotlib reads a file of settings as it is loaded, which each project has
LOADED = {*SLOW, "sphinx.cmd.build", "torch._dynamo"} - {"matplotlib.pyplot"}
FORKS.set_forkserver_preload(sorted(LOADED))


def build(root: Path, *options: str, env: Mapping[str, str]) -> tuple[int, str]:
    """Run the build of a project; return its status and what it printed."""
    printed = root / "printed.txt"
    process = FORKS.Process(target=_build, args=(root, options, dict(env), printed))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode, printed.read_text()


def _build(root: Path, options: tuple[str, ...], env: dict[str, str], printed: Path) -> None:
    with printed.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(root)
    program = root / "conf" / "commands" / "build.py"
    sys.argv = [str(program), *options]
    here = Path(__file__).parent.parent.parent  # another project than the one that is built
    ours = {"", *map(str, (here, here / "conf", here / "conf" / "commands"))}
    sys.path[:] = [str(program.parent), *(path for path in sys.path if path not in ours)]
    for name in [n for n in sys.modules if n.split(".")[0] in OURS]:
        del sys.modules[name]
    runpy.run_path(str(program), run_name="__main__")
