"""Every way to build, check and verify: `nox -l` lists them, `nox` runs every check."""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2024.10.9"
nox.options.sessions = [
    "lint", "types", "tests", "docs", "doctest", "snippets", "notebooks", "browser", "lighthouse",
]  # fmt: skip
nox.options.default_venv_backend = "none"  # see environment()

ROOT = Path(__file__).parent
PINS = ROOT / "conf" / "pins.txt"
LOCK = ROOT / "conf" / "pins.lock"
# How many cores all programs may use: the one place that counts them
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
os.environ.setdefault("ATTN_CORES", str(min(CORES, 8)))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each program compiles what it imports
SIDE_BY_SIDE = ("-n", os.environ["ATTN_CORES"], "--dist", "worksteal")  # of pytest-xdist
# What code runs under when its output is compared with a page
KERNEL = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
NOTEBOOK = KERNEL | {"PIP_NO_COMPILE": "1"}  # Python compiles what is imported, then
SHARES: dict[str, tuple[float, float]] = {}  # of each session: seconds, and seconds of processors


def session(check: Callable[[nox.Session], None]) -> object:
    """Register a session, which says at its end how long it took and what that cost."""

    @functools.wraps(check)
    def measured(session: nox.Session) -> None:
        began, spent = time.monotonic(), processors()
        try:
            check(session)
        finally:
            SHARES[session.name] = time.monotonic() - began, processors() - spent
            print(share(session.name, *SHARES[session.name]), flush=True)

    return nox.session(measured)


def processors() -> float:
    """Return the seconds that processors have worked for the programs that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def share(name: str, seconds: float, work: float) -> str:
    """Say what a session took."""
    took, cost = (f"{s // 60:3.0f} min {s % 60:2.0f} s" for s in (seconds, work))
    return f"session {name:10} {took} wall, {cost} CPU (children included)"


@atexit.register
def table() -> None:
    """Print what all sessions took, when nox ends."""
    if len(SHARES) > 1:
        took, work = map(sum, zip(*SHARES.values(), strict=True))
        print("", *(share(name, *SHARES[name]) for name in SHARES), sep="\n")
        print(share("all", took, work), flush=True)


@session
def docs(session: nox.Session) -> None:
    """Execute every page and build the site into build/html, strictly."""
    python(session, "conf/commands/build.py", *session.posargs)


@session
def serve(session: nox.Session) -> None:
    """Build the site, serve it on this machine, and rebuild and reload on every change."""
    watched = ("--watch", "attn_examples", "--watch", "conf")
    python(session, "conf/commands/serve.py", *watched, "--open-browser", *session.posargs)


@session
def tests(session: nox.Session) -> None:
    """Test the package against independent implementations, and the site's own tools."""
    python(session, "-m", "pytest", *SIDE_BY_SIDE, *session.posargs)


@session
def doctest(session: nox.Session) -> None:
    """Run the examples of the docstrings and the doctests of the pages."""
    python(session, "-m", "pytest", "--doctest-modules", "-q", "attn_examples")
    python(session, "conf/commands/build.py", "--builder", "doctest")


@session
def snippets(session: nox.Session) -> None:
    """Run what the copy buttons of build/html copy, refusing them `attn_examples`."""
    program = "tests/programs/snippets.py"
    python(session, "-W", "ignore", program, "build/html", *session.posargs, **KERNEL)


@session
def notebooks(session: nox.Session) -> None:
    """Run every notebook that build/html offers, in an environment made for them."""
    shutil.rmtree(ROOT / ".nox" / "notebooks", ignore_errors=True)  # each run is a first run
    program = "tests/programs/notebooks.py"
    python(session, program, "build/html", *session.posargs, kind="notebooks", **NOTEBOOK)


@session
def lint(session: nox.Session) -> None:
    """Check style and format of all Python (ruff)."""
    python(session, "-m", "ruff", "check")
    python(session, "-m", "ruff", "format", "--check")


@session
def types(session: nox.Session) -> None:
    """Check types of all Python (mypy, strict)."""
    python(session, "-m", "mypy")


@session
def browser(session: nox.Session) -> None:
    """Use every page of build/html in Chromium: run `docs` first."""
    # more than there are cores, for each waits now and then until a page is still
    workers = str(int(os.environ["ATTN_CORES"]) * 3 // 2)
    together = ("-m", "not quiet", "-n", workers, "--dist", "worksteal")
    python(session, "-m", "pytest", "tests/browser", *together, *session.posargs)
    if not session.posargs:
        python(session, "-m", "pytest", "tests/browser/moving", "-m", "quiet")


@session
def lighthouse(session: nox.Session) -> None:
    """Measure pages of build/html with Lighthouse; `-- --all`: all, on a phone's processor."""
    python(session, "-m", "tests.browser.lighthouse", *session.posargs)


@session
def measures(session: nox.Session) -> None:
    """Measure how long pages are and how much of them is pictures: run `docs` first."""
    python(session, "-m", "tests.browser.measures", *session.posargs)


@session
def linkcheck(session: nox.Session) -> None:
    """Follow every link to other sites: needs a network, so it is not part of `nox`."""
    python(session, "conf/commands/build.py", "--builder", "linkcheck")


@session
def bench(session: nox.Session) -> None:
    """Measure speed against other implementations; takes minutes, not part of `nox`."""
    python(session, "tests/programs/bench.py", *session.posargs)


@session
def growth(session: nox.Session) -> None:
    """Measure what a further page costs in each session; takes minutes, not part of `nox`."""
    python(session, "tests/programs/growth.py", *session.posargs, **NOTEBOOK)


@session
def mutants(session: nox.Session) -> None:
    """Change the package in one place at a time: do tests notice? Hours, not part of `nox`."""
    python(session, "-m", "tests.programs.mutants", *session.posargs, OMP_NUM_THREADS="1")


@session
def verify(session: nox.Session) -> None:
    """Rebuild from source, and compare with a published site: give its address or folder."""
    python(session, "conf/commands/verify.py", *session.posargs)


@session
def record(session: nox.Session) -> None:
    """Record transforms, tiny models on longer texts, pages' times, and oracles' differences."""
    python(session, "-m", "tests.test_transforms", "--write")
    python(session, "-m", "tests.programs.length", OMP_NUM_THREADS="1")
    python(session, "-m", "pytest", "-q", *SIDE_BY_SIDE)
    python(session, "conf/commands/record.py")


@session
def soak(session: nox.Session) -> None:
    """Kill builds at random, compare cold builds, run the peers; half an hour or more."""
    python(session, "-m", "pytest", "-s", "tests/programs/soak.py")
    python(session, "tests/programs/peers.py", *session.posargs)


@session
def pins(session: nox.Session) -> None:
    """Pin the newest versions that work together, each with its hashes (needs a network)."""
    python(session, "conf/commands/pin.py", *session.posargs, kind="pins")


@session
def audit(session: nox.Session) -> None:
    """Look for known faults in what is pinned (needs a network, and says so without one)."""
    python(session, "conf/commands/pin.py", "--audit", kind="pins")


def python(session: nox.Session, *arguments: str, kind: str = "site", **variables: str) -> None:
    """Run the Python of an environment, with variables of its own."""
    session.run(environment(session, kind), *arguments, env=variables)


def environment(session: nox.Session, kind: str) -> str:
    """Return the Python of an environment that several sessions share, made when needed.

    nox makes one environment for each session. Ours weigh more than a gigabyte and differ in
    nothing, so all sessions share one, but for the notebooks, which install what they need,
    and what makes the pins. It is made anew when what it is made from has changed.
    """
    groups = nox.project.load_toml(ROOT / "pyproject.toml")
    made_from = [LOCK.read_text(), groups["project"], groups["dependency-groups"], sys.version]
    wanted = hashlib.sha256(repr(made_from).encode()).hexdigest()
    folder = ROOT / ".nox" / kind
    python = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
    stamp = folder / "made-from.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        session.run(sys.executable, "-m", "venv", str(folder))
        if kind == "pins":  # they make the pins, so they are not among them
            install(session, python, "uv", "pip-audit")
        elif kind == "notebooks":
            names = nox.project.dependency_groups(groups, kind)
            install(session, python, "-c", str(PINS), *names)
        else:
            # torch by pip, and spelt with its version: pip takes a local CPU wheel only for
            # that, and it is not the file whose hash the registry gives
            torch = next(line for line in PINS.read_text().splitlines() if line[:7] == "torch==")
            install(session, python, "--no-deps", torch, fast=False)
            install(session, python, "--no-deps", "--require-hashes", "-r", str(LOCK))
            install(session, python, "--no-deps", "--no-build-isolation", "--editable", ".")
        stamp.write_text(wanted)
    return python


def install(session: nox.Session, python: str, *what: str, fast: bool = True) -> None:
    """Install into an environment: with uv where there is one, else with pip."""
    if fast and shutil.which("uv"):
        try:
            session.run("uv", "pip", "install", "--quiet", "--python", python, *what)
        except CommandFailed:
            session.log("uv did not; pip may, which is configured by itself")
        else:
            return
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    session.run(python, *pip, *what)
