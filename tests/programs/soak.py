"""The long tests of the build, for `nox -s soak`: kills at random, and whole cold builds."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conf.test_build import DATA, POSITIONS, SLOW, SOFTMAX, Project, files, orphans

ROOT = Path(__file__).parent.parent.parent


def test_killed_at_twenty_random_moments(tmp_path: Path) -> None:
    project = Project(tmp_path / "killed")
    pages = {"softmax": SOFTMAX, "positions": POSITIONS, "data": DATA}
    project.write(**pages)
    (project.root / "docs" / "numbers.txt").write_text("one")
    began = time.monotonic()
    project.run()
    length = time.monotonic() - began
    moments = random.Random(0)
    for attempt in range(20):
        before = project.site()
        text = SLOW.replace("(1, 2)", f"(1, {attempt + 3})")
        project.write(**{**pages, "softmax": text})
        process = project.start()
        time.sleep(moments.uniform(0.0, length + 2.0))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(0.5)
        assert orphans(project.root) == []
        site = project.site() or files(project.root / "build" / ".html-old")
        whole = json.loads((project.root / "build/state.json").read_text()) if (
            project.root / "build/state.json"
        ).exists() else None  # fmt: skip
        assert site == before or whole or f"(1, {attempt + 3})" in project.published("softmax")
        project.run()
        assert project.site() == project.clean()


@pytest.mark.parametrize("cores", [1, 2])
def test_cold_builds_are_the_same_bytes(tmp_path: Path, cores: int) -> None:
    """The whole site, elsewhere, later, with other cores, another time zone and locale."""
    hosted = {"ATTN_SITE_URL": "https://example.org/a/", "ATTN_NOTEBOOKS_AT": "us/it/blob/main"}
    sites = []
    for number, (zone, locale, use) in enumerate(
        [("UTC", "C.UTF-8", {0, 1}), ("Asia/Tokyo", "tr_TR.UTF-8", set(range(cores)))]
    ):
        place = tmp_path / f"place {number}" / ("deep" * number)
        subprocess.run(["git", "clone", "-q", str(ROOT), str(place)], check=True)
        cpus = use & os.sched_getaffinity(0) or os.sched_getaffinity(0)
        subprocess.run(
            [sys.executable, "conf/commands/build.py"],
            cwd=place,
            env=os.environ | {"TZ": zone, "LC_ALL": locale, "LANG": locale} | hosted,
            preexec_fn=lambda cpus=cpus: os.sched_setaffinity(0, cpus),  # type: ignore[misc]
            check=True,
        )
        sites.append(files(place / "build" / "html"))
        shutil.rmtree(place)
    first, second = sites
    assert [name for name in first if first[name] != second.get(name)] == []
    assert first == second
    print("the site's SHA-256:", hashlib.sha256(json.dumps(first).encode()).hexdigest())


@pytest.mark.parametrize("setting", [{"threads": 2}, {"float64": True}])
def test_printed_numbers_are_stable(tmp_path: Path, setting: dict[str, object]) -> None:
    """Two threads for BLAS, or float64 of the same draws, must give what one and float32 give."""
    from tests.programs.stable import differences

    assert differences(tmp_path, setting) == []
