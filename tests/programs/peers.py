"""Compare the build with plain Sphinx and MyST-NB, and with jupyter-cache's executor.

`python tests/programs/peers.py --rounds 3` takes each in turn, so that a busy machine slows all
alike, and prints the ratio of times with its spread. Plain is: the same pages and the same
look, MyST-NB running each page when it is read, nothing kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent.parent
PLAIN = """
from pathlib import Path
__file__ = {conf!r}
exec(compile(Path(__file__).read_text(), __file__, "exec"))
needed = ("figures", "listing")  # pages use what they define
extensions = [name for name in extensions if name.rpartition(".")[2] in needed
              or not name.startswith("extensions.")]
extensions.append("sphinx_codeautolink")
nb_execution_mode = "force"
bibtex_bibfiles = [str(CONF / "references.bib")]
html_static_path = [str(CONF / "static")]
suppress_warnings = ["*"]
katex.KaTeXServer.start_server_process = katex.KaTeXServer.start_network_socket
katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0
"""
CACHE = """
import sys
from pathlib import Path
from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor
cache = get_cache(sys.argv[1])
for file in sorted(Path(sys.argv[2]).rglob("*.md")):
    if "file_format: mystnb" in file.read_text()[:200]:
        cache.add_nb_to_project(str(file), read_data={"name": "myst_nb_md", "type": "plugin"})
load_executor("local-parallel", cache).run_and_cache(timeout=600)
"""


def main() -> None:
    """Run each peer in turn, and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    times: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name, run in peers(Path(folder)).items():
                began = time.monotonic()
                run()
                times.setdefault(name, []).append(time.monotonic() - began)
                print(f"{name:32}{times[name][-1]:8.1f} s", flush=True)
    ours = times["ours, cold"]
    print(f"\n{'':32}  median s  ratio to ours, cold (least to most)")
    for name, taken in times.items():
        ratios = sorted(theirs / mine for theirs, mine in zip(taken, ours, strict=True))
        spread = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"{name:32}{median(taken):10.1f}  {spread}")


def peers(folder: Path) -> dict[str, Callable[[], None]]:
    """Return what is compared, in the order in which it runs."""
    site = folder / "site"
    page = site / "docs" / "types" / "causal.md"
    for name in ("attn_examples", "conf", "docs"):
        shutil.copytree(ROOT / name, site / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):  # the wheel has them
        shutil.copy(ROOT / name, site)
    plain = folder / "plain"
    plain.mkdir()
    (plain / "conf.py").write_text(PLAIN.format(conf=str(site / "conf" / "conf.py")))
    (folder / "cache.py").write_text(CACHE)
    environment = os.environ | {"PYTHONPATH": str(site)}

    def run(*command: object) -> None:
        subprocess.run(
            [sys.executable, *map(str, command)], cwd=site, check=True, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def edited(old: str, new: str) -> Callable[[], None]:
        def build() -> None:
            page.write_text(page.read_text().replace(old, new))
            run("conf/commands/build.py")

        return build

    def sphinx(*more: object) -> Callable[[], None]:
        return lambda: run("-m", "sphinx", "-q", "-E", "-c", plain, "docs", folder / "out", *more)

    return {
        "ours, cold": lambda: run("conf/commands/build.py"),
        "plain Sphinx + MyST-NB": sphinx(),
        "plain Sphinx + MyST-NB, -j 2": sphinx("-j", "2"),
        "jupyter-cache, cells alone": lambda: run(folder / "cache.py", folder / "cache", "docs"),
        "ours, nothing changed": lambda: run("conf/commands/build.py"),
        "ours, prose of one page changed": edited("Exactly zero", "Just zero"),
        "ours, one cell changed": edited("torch.manual_seed(0)", "torch.manual_seed(1)"),
    }


if __name__ == "__main__":
    main()
