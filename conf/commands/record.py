"""Record what no two builds share: how long pages take, and how far the oracles are.

`nox -s record` writes docs/reference/record.json; the page "About this build" shows it.
The gap: a time that is measured while the site is built would make no two builds alike.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
RECORD = ROOT / "docs" / "reference" / "record.json"


def main() -> int:
    """Build once from nothing, and write down the times; take the oracles from the tests."""
    into = ROOT / "build" / "record"
    shutil.rmtree(into, ignore_errors=True)
    subprocess.run([sys.executable, "conf/commands/build.py", "--into", into], cwd=ROOT, check=True)
    report: dict[str, Any] = json.loads((into / "report.json").read_text(encoding="utf-8"))
    oracles: dict[str, float] = json.loads((ROOT / "build" / "oracles.json").read_text())
    record = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "seconds": {n: p["seconds"] for n, p in report["pages"].items() if p["cells"]},
        "oracles": {test: float(f"{largest:.0e}") for test, largest in oracles.items()},
    }
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(record['seconds'])} pages and {len(oracles)} tests recorded in {RECORD.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
