"""Fetch files of others that no Python package brings: `python conf/commands/vendor.py`.

Takes npm packages at the versions below and checks their digests. Of KaTeX, at the version
whose script sphinxcontrib-katex carries, it keeps the stylesheet and the woff2 fonts that
prerendered formulas need; of MiniSearch the engine of the search. Run it when a version moves.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

STATIC = Path(__file__).parent.parent / "static"


def keep_katex(package: Path, target: Path) -> None:
    """Keep the stylesheet and the fonts."""
    dist = package / "dist"
    (target / "fonts").mkdir()
    css = (dist / "katex.min.css").read_text(encoding="utf-8")
    # woff2 alone: every browser of the last ten years reads it
    css = re.sub(r',url\(fonts/[^)]+\.(?:woff|ttf)\) format\("(?:woff|truetype)"\)', "", css)
    (target / "katex.min.css").write_text(css, encoding="utf-8")
    for font in sorted((dist / "fonts").glob("*.woff2")):
        shutil.copy(font, target / "fonts")
    shutil.copy(package / "LICENSE", target)


def keep_minisearch(package: Path, target: Path) -> None:
    """Keep the one script."""
    script = (package / "dist" / "umd" / "index.js").read_text(encoding="utf-8")
    script = re.sub(r"//# sourceMappingURL=.*\n?", "", script)  # the map is not here
    (target / "minisearch.js").write_text(script, encoding="utf-8")
    shutil.copy(package / "LICENSE.txt", target / "LICENSE")


# Each package with its version, its digest (sha256) and what is kept of it
PACKAGES: dict[str, tuple[str, str, Callable[[Path, Path], None]]] = {
    "katex": (
        "0.16.22",
        "e9e0d167db3175481cbadaff38e8d90b130f6a3ddb451a47e43c577fd511f365",
        keep_katex,
    ),
    "minisearch": (
        "7.2.0",
        "cb3b8126a3ea65d6b387787294f0792b0ea4a40b70f8f37688066a5638e0218a",
        keep_minisearch,
    ),
}


def main() -> None:
    """Download, verify, and replace the folders."""
    for name, (version, wanted, keep) in PACKAGES.items():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True)
            archive = folder / f"{name}-{version}.tgz"
            found = hashlib.sha256(archive.read_bytes()).hexdigest()
            if found != wanted:
                sys.exit(f"{name} {version} has sha256 {found} but {wanted} is wanted")
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            target = STATIC / name
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            keep(folder / "package", target)


if __name__ == "__main__":
    main()
