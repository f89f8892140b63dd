"""The build as a whole: which pages run, what survives, and what it says."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions import shared
from extensions.execute import kernels
from tests.conf import warm
from tests.conf.test_site import FRONT, ROOT, Site

SOFTMAX = FRONT + (
    "# Softmax\n\nProse.\n\n```{code-cell} python3\nimport torch\n"
    "from attn_examples import softmax\n\nsoftmax(torch.zeros(1, 2))\n```\n"
)
SLOW = SOFTMAX.replace("import torch", "import time\nimport torch\ntime.sleep(2)")
POSITIONS = FRONT + (
    "# Positions\n\n{doc}`softmax`\n\n```{code-cell} python3\n"
    "from attn_examples import sinusoidal\n\nsinusoidal(2, 4)\n```\n"
)
DATA = FRONT + (
    "# Data\n\n```{code-cell} python3\nfrom pathlib import Path\n"
    'name = "numbers" + ".txt"\nprint(Path(name).read_text())\n```\n'
)


class Project(Site):
    """A small site whose files stay from one build to the next."""

    def write(self, **pages: str) -> None:
        toctree = "\n".join(name for name in pages)
        pages.setdefault("index", f"# Home\n\n```{{toctree}}\n{toctree}\n```\n")
        for file in (self.root / "docs").glob("*.md"):
            file.unlink()
        for name, text in pages.items():
            (self.root / "docs" / f"{name}.md").write_text(text)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    def start(self, *options: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "conf/commands/build.py", *options],
            cwd=self.root,
            text=True,
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *options: str, **env: str) -> str:
        """Build, which must succeed, and return what was printed."""
        status, printed = warm.build(self.root, *options, env=os.environ | env)
        assert status == 0, printed
        return printed

    def executed(self, *options: str) -> set[str]:
        """Build, and return the pages that ran."""
        report = self.root / "build" / "report.json"
        report.unlink(missing_ok=True)
        self.run(*options)
        if not report.exists():
            return set()  # nothing has changed
        pages = json.loads(report.read_text())["pages"].items()
        return {name for name, page in pages if page["cells"] and not page["cached"]}

    def site(self) -> dict[str, str]:
        return files(self.root / "build" / "html")

    def clean(self, **env: str) -> dict[str, str]:
        """Return what a build gives that begins with nothing."""
        shutil.rmtree(self.root / "clean", ignore_errors=True)
        self.run("--into", "clean", **env)
        return files(self.root / "clean" / "html")


def files(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def runs(process: Path) -> bool:
    """Tell whether a process, by its folder in /proc, has not ended."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def orphans(root: Path) -> list[str]:
    """Find processes that still run for a project: by their environment or their folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            about = (process / "environ").read_text(errors="replace")
            about += os.readlink(process / "cwd")
            if runs(process) and str(root) in about:
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("project"))
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    (project.root / "docs" / "numbers.txt").write_text("one")
    assert project.executed() == {"softmax", "positions", "data"}
    yield project
    assert orphans(project.root) == []


EDITS = [
    ("docs/softmax.md", "Prose.", "Other prose.", set()),
    ("conf/static/site.css", "a", "a ", set()),
    ("docs/softmax.md", "zeros", "ones", {"softmax"}),
    (
        "attn_examples/positions/absolute.py",
        "    return",
        "    0  # nothing\n    return",
        {"positions"},
    ),
    ("attn_examples/normalizers/exponential.py", '"""', '"""Now: ', {"softmax"}),
    ("docs/numbers.txt", "one", "two", {"data"}),
    ("conf/pins.txt", "torch==", "torch== ", {"softmax", "positions", "data"}),
]


def test_a_page_runs_again_when_it_must(project: Project) -> None:
    before = {file: (project.root / file).read_text() for file, *_ in EDITS}
    site = project.site()
    for file, old, new, ran in EDITS:
        project.edit(file, old, new)
        assert project.executed() == ran, (file, new)
    for file, text in before.items():
        (project.root / file).write_text(text)
    assert project.executed() == set()  # going back, nothing runs
    assert project.site() == site


def test_an_edit_gives_what_a_clean_build_gives(project: Project) -> None:
    before = project.site()
    project.edit("docs/softmax.md", "# Softmax\n\nProse.", "# The softmax\n\nHello *you*.")
    project.run()
    edited = project.site()
    assert edited == project.clean()
    assert "The softmax" in project.published("positions")  # a page that names it
    search = (project.root / "build" / "html" / "search.js").read_text()
    assert '"The softmax","Hello you."' in search
    assert '"Positions","The softmax"' in search
    assert "Nothing has changed" in project.run()
    project.edit("docs/softmax.md", "# The softmax\n\nHello *you*.", "# Softmax\n\nProse.")
    project.run()
    assert project.site() == before


def test_prose_has_its_own_page_written_alone(project: Project) -> None:
    def written() -> dict[str, int]:
        pages = (project.root / "build" / "written").glob("*.html")
        return {page.name: page.stat().st_mtime_ns for page in pages}

    before = written()
    project.edit("docs/softmax.md", "Prose.", "Other prose.")
    project.run()
    after = written()
    assert after["softmax.html"] != before["softmax.html"]
    assert after["index.html"] == before["index.html"]  # it lists the page, which has its title
    project.edit("docs/softmax.md", "Other prose.", "Prose.")
    project.run()


def test_edits_of_every_kind_give_what_a_clean_build_gives(project: Project) -> None:
    before = project.site()
    api = "# Code\n\n```{eval-rst}\n.. automodule:: attn_examples.masks\n   :members:\n```\n"
    pages = {"softmax": SOFTMAX, "positions": POSITIONS, "data": DATA, "api": api}
    hosted = {"ATTN_SITE_URL": "https://example.org/a/"}

    def same_as_clean() -> bool:
        project.run(**hosted)
        return project.site() == project.clean(**hosted)

    project.write(**pages)
    assert same_as_clean()
    project.edit("docs/softmax.md", "# Softmax", "# The softmax")  # in every page's list of pages
    project.edit("docs/data.md", "{code-cell} python3", "text")  # its notebook goes
    assert same_as_clean()
    project.edit("README.md", "\n", "\n\n")  # the wheel has it, and every notebook the wheel
    project.edit("docs/api.md", "masks", "scores")
    assert same_as_clean()
    project.edit("README.md", "\n\n", "\n")
    places = pages.pop("positions")
    project.write(**pages, places=places)  # the same cells under another name
    project.run()
    project.edit("docs/softmax.md", "Prose.", "Other prose.")
    project.run()
    assert "sinusoidal" in project.published("places")
    assert "tensor([[" in project.published("places")
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    project.run()
    assert project.site() == before


def test_an_edit_while_pages_run_is_not_lost(project: Project, tmp_path: Path) -> None:
    before = project.site()
    marker = tmp_path / "runs"
    slow = SLOW.replace("time.sleep(2)", f"open({str(marker)!r}, 'w')\ntime.sleep(4)")
    positions = POSITIONS.replace("{doc}", "One. {doc}")

    def start() -> subprocess.Popen[str]:
        project.write(softmax=slow, positions=positions, data=DATA)
        marker.unlink(missing_ok=True)
        process = project.start()
        while not marker.exists():
            time.sleep(0.05)
        return process

    process = start()
    project.edit("attn_examples/normalizers/exponential.py", '"""', '"""Now: ')
    process.communicate()
    assert process.returncode == 0
    project.edit("attn_examples/normalizers/exponential.py", '"""Now: ', '"""')
    assert project.executed() == {"softmax"}  # who knows what it has seen

    slow = slow.replace("zeros", "ones")
    process = start()
    project.edit("docs/positions.md", "One.", "Two.\n\n```{code-cell} python3\n6 * 7\n```\n\n")
    process.communicate()
    assert process.returncode == 0
    assert "One." in project.published("positions")
    project.run()
    assert "Two." in project.published("positions")
    assert ">42\n<" in project.published("positions")
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    project.run()
    assert project.site() == before


def test_another_address_gives_another_site(project: Project) -> None:
    before = project.site()
    hosted = {"ATTN_SITE_URL": "https://example.org/a/", "ATTN_NOTEBOOKS_AT": "us/it/blob/main"}
    assert "Nothing has changed" not in project.run(**hosted)
    assert 'rel="canonical" href="https://example.org/a/softmax.html"' in (
        page := project.published("softmax")
    )
    assert "https://colab.research.google.com/github/us/it/blob/main/softmax.ipynb" in page
    project.run()
    assert project.site() == before


def test_markdown_says_what_the_page_says(project: Project) -> None:
    plain = project.root / "build" / "html" / "data.md"
    assert "one" in plain.read_text()
    project.edit("docs/numbers.txt", "one", "two")
    project.run()
    assert "two" in plain.read_text()
    project.edit("docs/numbers.txt", "two", "one")
    project.run()


def test_a_deleted_page_takes_its_outputs_with_it(project: Project) -> None:
    more = SOFTMAX.replace("zeros", "rand")
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA, more=more)
    assert project.executed() == {"more"}
    kept = len(list((project.root / "build" / "executed").glob("*.json")))
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    assert project.executed() == set()
    assert not [name for name in project.site() if "more" in name]
    assert len(list((project.root / "build" / "executed").glob("*.json"))) == kept - 1


def test_one_page_can_be_built_alone(project: Project) -> None:
    before = project.site()
    text = POSITIONS.replace("{doc}", "{ref}`there <of-another-page>` {py:func}`torch.sum` {doc}")
    project.write(softmax=SOFTMAX, positions=text, data=DATA)
    gone = project.root / "build" / "executed" / "gone.tmp"
    gone.symlink_to("nowhere")  # what a build of the whole site has just written and removed
    printed = project.run("--page", "docs/positions.md")
    gone.unlink()
    assert "WARNING" not in printed  # what it names on other pages is no fault of its own
    page = project.root / "build" / "page" / "html" / "positions.html"
    assert f"The page positions.md, built alone, is in {page}" in printed
    assert "sinusoidal" in page.read_text()
    assert project.site() == before  # the whole site stays, though the page has changed
    project.edit("docs/positions.md", "{doc}`softmax`", "{doc}`nowhere` {nonsense}`x`")
    process = project.start("--page", "docs/positions.md")
    printed, _ = process.communicate()
    assert process.returncode == 1
    assert "unknown document: 'nowhere'" in printed
    assert "nonsense" in printed
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    assert project.executed() == set()
    assert project.site() == before


def test_nothing_leaks_from_page_to_page(project: Project, tmp_path: Path) -> None:
    leak = FRONT + (
        "# Leak\n\n```{code-cell} python3\nimport os, random, sys\nimport matplotlib as mpl\n"
        "import matplotlib.pyplot as plt\nimport torch\n\n"
        "print(torch.rand(1).item(), torch.get_num_threads(), torch.get_default_dtype(),\n"
        "      plt.get_fignums(), mpl.rcParams['lines.linewidth'], os.environ.get('LEAK'),\n"
        "      os.path.basename(os.getcwd()), 'leak' in sys.modules, 'secret' in globals())\n"
        "torch.manual_seed(1)\ntorch.set_default_dtype(torch.float64)\ntorch.set_num_threads(2)\n"
        "figure = plt.figure()\nplt.close = lambda *_: None\nmpl.rcParams['lines.linewidth'] = 9\n"
        "os.environ['LEAK'] = '1'\nos.chdir('/')\nsys.modules['leak'] = sys\nsecret = 1\n"
        "torch.leak = 1\n```\n"
    )
    leak = leak.replace("figure = plt.figure()", "figure = plt.figure(); plt.close(figure)")
    project.write(
        softmax=SOFTMAX, positions=POSITIONS, data=DATA, **{f"leak{i}": leak for i in range(4)}
    )
    project.run()
    printed = set()
    for i in range(4):
        html = project.published(f"leak{i}")
        printed.add(html[html.index("torch.float32") - 40 :][:150])
    assert len(printed) == 1
    assert "docs False False" in printed.pop()
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    project.run()


def test_nothing_of_the_shell_reaches_a_page(project: Project, tmp_path: Path) -> None:
    startup = tmp_path / "startup.py"
    startup.write_text("secret = 1")
    cell = "```{code-cell} python3\nprint('secret' in globals(), __debug__)\n```\n"
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA, shell=f"{FRONT}# A\n\n{cell}")
    process = project.start(PYTHONSTARTUP=str(startup), PYTHONOPTIMIZE="1")  # -O: no assertions
    process.communicate()
    assert process.returncode == 0
    assert "False True" in project.published("shell")
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    project.run()


def test_a_cell_over_its_limit_is_named_and_the_others_are_too(project: Project) -> None:
    before = project.site()
    slow = FRONT + "# A\n\n```{code-cell} python3\n1\n```\n\n"
    slow += "```{code-cell} python3\nimport time\ntime.sleep(600)\n```\n"
    dead = FRONT + "# A\n\n```{code-cell} python3\nimport os\nos.kill(os.getpid(), 9)\n```\n"
    wrong = FRONT + "# A\n\n```{code-cell} python3\n1 / 0\n```\n"
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA, a=slow, b=dead, c=wrong)
    process = project.start("--limit", "4")
    printed, _ = process.communicate()
    assert process.returncode == 1
    last = printed[printed.index("\nFAILED") :]
    assert "FAILED docs/a.md, line 11, cell 2\nthe cell ran longer than the limit of 4 s" in last
    assert "FAILED docs/b.md, line 7, cell 1\nthe kernel died in this cell" in last
    assert "FAILED docs/c.md, line 7, cell 1" in last
    assert last.endswith("ZeroDivisionError: division by zero\n")
    assert "multiprocess" not in printed
    assert project.site() == before
    assert orphans(project.root) == []
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    assert project.executed() == set()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_ended_leaves_all_as_it_was(
    project: Project, how: int, tmp_path: Path
) -> None:
    before = project.site()
    marker = tmp_path / "runs"
    child = f"import subprocess\nsubprocess.Popen(['sleep', '60'])\nopen({str(marker)!r}, 'w')\n"
    child += "time.sleep(60)"
    project.write(softmax=SLOW.replace("time.sleep(2)", child), positions=POSITIONS, data=DATA)
    process = project.start()
    while not marker.exists():
        time.sleep(0.1)
    process.send_signal(how)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode != 0
    time.sleep(0.5)
    assert orphans(project.root) == []
    assert project.site() == before
    if how == signal.SIGINT:
        assert "interrupted" in printed
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    project.run()
    assert project.site() == before


def test_what_kernels_use_counts_as_the_builds_own(tmp_path: Path) -> None:
    """A session prints the processor time of all processes that it has waited for."""

    def fields(process: int) -> list[str]:  # from the third on: state, parent ...
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()

    busy = "import os, time\nwhile time.process_time() < 0.5: pass\nos._exit(0)"
    with (tmp_path / "log").open("wb") as log:
        loaded = kernels.Loaded(log, sys.executable)
    try:
        env = os.environ | {"IPYTHONDIR": str(tmp_path)}
        kernel = loaded.fork(argv=[f"--IPKernelApp.code_to_run={busy}"], cwd=str(tmp_path), env=env)
        parent = int(fields(kernel)[1])
        while kernels.Forked(kernel).poll() is None:
            time.sleep(0.05)
        children = sum(map(int, fields(parent)[13:15]))  # in user and in system mode
        assert children >= 0.4 * os.sysconf("SC_CLK_TCK")
    finally:
        loaded.close()


def test_a_kernel_may_ask_for_a_module_to_be_loaded_before(tmp_path: Path) -> None:
    tell = "import os, sys\nopen('found.txt', 'w').write(str('wave' in sys.modules))\nos._exit(0)"
    with (tmp_path / "log").open("wb") as log:
        loaded = kernels.Loaded(log, sys.executable)
    env = os.environ | {"IPYTHONDIR": str(tmp_path)}
    try:
        for more, found in ("", "False"), ("no_such_module", "False"), ("wave", "True"):
            argv = [f"--IPKernelApp.code_to_run={tell}"]
            kernel = kernels.Forked(loaded.fork(more=more, argv=argv, cwd=str(tmp_path), env=env))
            while kernel.poll() is None:
                time.sleep(0.05)
            assert (tmp_path / "found.txt").read_text() == found
    finally:
        loaded.close()


def test_a_worker_ends_with_a_build_that_is_killed() -> None:
    code = (
        "import os, time\nfrom commands import build\n"
        "build.end_with_parent()\n"
        "if worker := os.fork():\n"
        "    print(worker, flush=True)\n"
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT / "conf", stdout=subprocess.PIPE) as process:
        assert process.stdout
        worker = int(process.stdout.readline())
        time.sleep(0.2)
        process.kill()
        process.wait()
    for _ in range(50):
        time.sleep(0.1)
        if not runs(Path(f"/proc/{worker}")):
            return
    os.kill(worker, signal.SIGKILL)
    raise AssertionError("the worker goes on")


def test_two_builds_at_once_wait_for_each_other(project: Project) -> None:
    project.write(softmax=SLOW, positions=POSITIONS, data=DATA)
    first = project.start()
    time.sleep(1.0)
    second = project.start()
    printed, _ = second.communicate()
    assert f"Another build (process {first.pid})" in printed
    assert "Nothing has changed" in printed
    assert first.wait() == second.returncode == 0
    first.communicate()
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    project.run()


def test_cores_are_those_that_are_told_or_else_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTN_CORES", "3")
    assert shared.cores() == 3
    monkeypatch.delenv("ATTN_CORES")
    assert shared.cores() == len(os.sched_getaffinity(0))


def test_a_full_disk_leaves_the_site_that_stood(project: Project) -> None:
    before = project.site()
    project.edit("docs/softmax.md", "Prose.", "Other prose.")

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done: Any = subprocess.run(
        [sys.executable, "conf/commands/build.py"], cwd=project.root, preexec_fn=no_room,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "File too large" in done.stdout.strip().splitlines()[-1]
    assert project.site() == before
    project.edit("docs/softmax.md", "Other prose.", "Prose.")
    project.run()
    assert project.site() == before


def test_two_cold_builds_are_the_same_bytes(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "another place")
    other.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    (other.root / "docs" / "numbers.txt").write_text("one")
    shell = {"ATTN_CORES": "1", "TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8", "COLUMNS": "40"}
    process = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "conf/commands/build.py"],
        cwd=other.root,
        env=os.environ | shell,
        check=False,
    )
    assert process.returncode == 0
    assert other.site() == project.site()


def test_verify_tells_which_page_is_not_what_the_sources_give(project: Project) -> None:
    hosted = {"ATTN_SITE_URL": "https://example.org/a", "ATTN_NOTEBOOKS_AT": "us/it/blob/main"}
    hosted["ATTN_REPOSITORY_URL"] = "https://example.org/us/it?a=1&b"
    home = FRONT + "# Home\n\n```{toctree}\nsoftmax\npositions\ndata\n```\n"
    home += "\n```{code-cell} python3\n1\n```\n"
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA, index=home)
    project.run("--into", "hosted", **hosted)  # whoever verifies is not told this
    published = project.root / "hosted" / "html"
    command = [sys.executable, "conf/commands/verify.py", "hosted/html", "--into", "checked"]

    def verify() -> tuple[int, list[str]]:
        done = subprocess.run(command, cwd=project.root, text=True, capture_output=True)
        return done.returncode, done.stdout.splitlines()

    status, lines = verify()
    assert status == 0, lines
    assert any(line.split() == ["same", "softmax.html"] for line in lines)
    page = published / "softmax.html"
    page.write_text(page.read_text().replace("0.5", "0.6"))
    (published / "data.html").unlink()
    (published / "extra.html").write_text("")
    status, lines = verify()
    assert status == 1
    wrong = {tuple(line.rsplit(maxsplit=1)) for line in lines if "html" in line}
    assert {("differs", "softmax.html"), ("missing", "data.html")} <= wrong
    assert ("not from these sources", "extra.html") in wrong
    assert ("same", "positions.html") in wrong
    project.write(softmax=SOFTMAX, positions=POSITIONS, data=DATA)
    project.run()


def test_a_served_page_follows_an_edit(project: Project) -> None:
    before = project.site()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "conf/commands/serve.py", "--port", str(port)],
        cwd=project.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def shows(text: str) -> None:
        address, page = f"http://127.0.0.1:{port}/softmax.html", ""
        for _ in range(6000):
            assert server.poll() is None
            try:
                with urllib.request.urlopen(address) as answer:
                    page = answer.read().decode()
            except (OSError, http.client.HTTPException):
                page = ""  # not yet, or just when the new site takes the old one's place
            if text in page:
                return
            time.sleep(0.1)
        raise AssertionError(page)

    try:
        shows("Prose.")
        other = project.root / "build" / "serve" / "written" / "positions.html"
        began = other.stat().st_mtime_ns
        project.edit("docs/softmax.md", "Prose.", "Other prose.")
        shows("Other prose.")
        assert other.stat().st_mtime_ns == began  # the first edit, too, has one page written
        project.edit("docs/softmax.md", "Other prose.", "{doc}`nowhere`")  # it warns
        shows("nowhere")
        project.edit("docs/softmax.md", "softmax(torch", "softmax(torches")  # it raises
        shows("NameError")
        project.edit("docs/softmax.md", "torches", "torch")
        project.edit("docs/softmax.md", "{doc}`nowhere`", "Prose.")
        shows("Prose.")
        project.edit("docs/softmax.md", "Prose.", "Other prose.")
        while not (project.root / "build" / "serve" / ".html-new").exists():
            time.sleep(0.02)
    finally:
        server.kill()  # while it builds
        server.wait()
    time.sleep(0.5)
    assert orphans(project.root) == []
    project.edit("docs/softmax.md", "Other prose.", "Prose.")
    project.run()
    assert project.site() == before
