"""Fetch the stylesheet and fonts that prerendered formulas need: `python conf/commands/vendor.py`.

Takes the npm package katex at the version whose script sphinxcontrib-katex carries, checks
its digest, and keeps the stylesheet and the woff2 fonts. Run it when that version moves.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "0.16.22"
SHA256 = "e9e0d167db3175481cbadaff38e8d90b130f6a3ddb451a47e43c577fd511f365"
TARGET = Path(__file__).parent.parent / "static" / "katex"


def main() -> None:
    """Download, verify, and replace the folder."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        subprocess.run(["npm", "pack", "--silent", f"katex@{VERSION}"], cwd=folder, check=True)
        archive = folder / f"katex-{VERSION}.tgz"
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != SHA256:
            sys.exit(f"katex {VERSION} has sha256 {found} but {SHA256} is wanted")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        dist = folder / "package" / "dist"
        shutil.rmtree(TARGET, ignore_errors=True)
        (TARGET / "fonts").mkdir(parents=True)
        css = (dist / "katex.min.css").read_text(encoding="utf-8")
        # woff2 alone: every browser of the last ten years reads it
        css = re.sub(r',url\(fonts/[^)]+\.(?:woff|ttf)\) format\("(?:woff|truetype)"\)', "", css)
        (TARGET / "katex.min.css").write_text(css, encoding="utf-8")
        for font in sorted((dist / "fonts").glob("*.woff2")):
            shutil.copy(font, TARGET / "fonts")
        shutil.copy(folder / "package" / "LICENSE", TARGET)


if __name__ == "__main__":
    main()
