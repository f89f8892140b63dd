"""Pin what the project needs: versions in conf/pins.txt, their hashes in conf/pins.lock.

`nox -s pins` hashes what is pinned; `nox -s pins -- --upgrade` first takes the newest
versions that install together. `nox -s audit` looks for known faults in them. torch has no
hash: its wheel for CPUs is another file than the one that the registry names for the same
version, so it is pinned by its version alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PINS, LOCK = ROOT / "conf" / "pins.txt", ROOT / "conf" / "pins.lock"
HEAD = "# The versions that work together, for pip's -c. The one place where versions are pinned.\n"
UNHASHED = ("torch==",)


def main() -> int:
    """Pin, hash or audit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    parser.add_argument("--audit", action="store_true", help="look for known faults")
    options = parser.parse_args()
    if options.audit:
        return audit()
    if options.upgrade:
        PINS.write_text(HEAD + newest(), encoding="utf-8")
    LOCK.write_text(hashed(pinned()), encoding="utf-8")
    print(f"{len(pinned())} packages are pinned, all but torch with their hashes")
    return 0


def pinned() -> list[str]:
    """Return the lines of the pins."""
    lines = PINS.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def hashed(pins: list[str]) -> str:
    """Look up the hashes of every file of each pinned version."""
    command = ["uv", "pip", "compile", "--quiet", "--no-deps", "--generate-hashes", "--no-header"]
    command += ["--no-annotate", "--python-version", "3.11.7", "-"]
    wanted = [pin for pin in pins if not pin.startswith(UNHASHED)]
    done = subprocess.run(
        [sys.executable, "-m", *command], input="\n".join(wanted), text=True, check=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    return "# Made by `nox -s pins` from pins.txt.\n" + done.stdout


def newest() -> str:
    """Install everything without pins in an environment of its own, and list what came."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = [name for group in groups["dependency-groups"].values() for name in group]
    torch, model = (next(p for p in pinned() if p.startswith(n)) for n in ("torch==", "gt-all"))
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        pip = [str(Path(folder, "bin", "python")), "-m", "pip", "--disable-pip-version-check"]
        for what in ([torch], [*names, "setuptools"], ["--no-deps", model]):
            subprocess.run([*pip, "install", "--quiet", *what], check=True)
        listed = subprocess.run(
            [*pip, "list", "--format=freeze", "--exclude", "pip"],
            check=True, text=True, stdout=subprocess.PIPE,
        )  # fmt: skip
    return listed.stdout.replace("+cpu", "")


def audit() -> int:
    """Run pip-audit over the pins; without an answer say that nothing was checked."""
    command = [sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip"]
    done = subprocess.run([*command, "-r", str(LOCK)], text=True, capture_output=True)
    print(done.stdout, end="")
    unknown = done.stdout.count("could not be audited")
    if done.returncode and not done.stdout:
        print(done.stderr.strip().splitlines()[-1] if done.stderr else "pip-audit said nothing")
    if unknown or (done.returncode and not done.stdout):
        print(f"NOT CHECKED: without an answer about {unknown or 'all'} packages, none is sound.")
        return 1
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
