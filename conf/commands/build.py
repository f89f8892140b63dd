"""Build the site: execute every page, check it, and put it in place only when whole.

`nox -s docs` calls this in the environment that has what it needs. What a build leaves in
its folder (by default build/):

    html/            the site
    executed/        what pages gave, by a key of all that it depends on
    doctrees/        what Sphinx has read, kept only from a build without a fault
    written/         what Sphinx has written, before `slim` goes over all pages at once
    styles/          the stylesheet and the fonts that `slim` made last
    shared.json      the texts of the package that pages share
    state.json       of what sources, tools and site that build was
    report.json      each page with its cells, seconds and failures
    page/            the same again, of a page that was built alone
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # for extensions.*

from extensions.execute import kernels  # needs the line above
from extensions.shared import ROOT, cores, digest, write_whole

# What a build reads from the environment: another value, another site
SETTINGS = (
    "ATTN_EXAMPLES_BERT", "ATTN_NOTEBOOKS_AT", "ATTN_REPOSITORY_URL", "ATTN_SITE_URL",
    "READTHEDOCS_CANONICAL_URL", "READTHEDOCS_GIT_CLONE_URL",
)  # fmt: skip
ABOUT_PACKAGE = ("LICENSE", "README.md", "pyproject.toml")  # the wheel has them
CELL = re.compile(r"^(`{3,}|:{3,})\{code-cell\}.*?^\1", re.MULTILINE | re.DOTALL)
LEFT_OVER = (".html-new", ".html-old", ".styles-old", "jupyter_execute")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, help="build this page alone, into build/page")
    parser.add_argument("--into", type=Path, default=ROOT / "build", help="where to build")
    parser.add_argument("--builder", default="html", help="another of Sphinx's builders")
    parser.add_argument("--limit", type=int, help="the seconds that a cell may take")
    parser.add_argument(
        "--draft", action="store_true", help="for `nox -s serve`: show it in spite of warnings"
    )
    options = parser.parse_args(arguments)
    into = options.into.resolve() / ("page" if options.page else "")
    into.mkdir(parents=True, exist_ok=True)
    os.environ["ATTN_BUILD_DIR"] = str(into)  # what is imported from here on looks there
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        ended.append(number)
        raise KeyboardInterrupt

    end_with_parent()
    gc.set_threshold(1_000_000)  # a page makes many objects and little garbage
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    try:
        with alone(into), kernels.AFTERWARDS:
            status = build(into, options)
    except KeyboardInterrupt:
        status = 1
    except OSError as error:
        first = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        return fail(f"The build stopped: {first}. The site that stood before is untouched.")
    if ended:  # Sphinx may have caught it
        return fail("The build was interrupted. The site that stood before is untouched.")
    return status


def build(into: Path, options: argparse.Namespace) -> int:
    """Build into a folder that no other build uses."""
    from extensions.prove.about_build import commit

    builder, began = options.builder, time.time()
    restore(into)
    docs = ROOT / "docs"
    files = [options.page.resolve()] if options.page else sorted(docs.rglob("*.md"))
    pages = [file.relative_to(docs).as_posix() for file in files]
    tools, sources = tools_state(options.draft), folder_state(docs) + commit(ROOT)
    code = digest(*(cell[0] for file in files for cell in CELL.finditer(file.read_text())))
    known = read_state(into / "state.json")
    html = into / "html"
    same_tools = known.get("tools") == tools and known["pages"] == pages
    same = same_tools and known["sources"] == sources
    # to serve, even the first build loads what the next ones need
    if builder == "html" and same and not options.draft and known["site"] == folder_state(html):
        print(f"Nothing has changed. The site is in {html / 'index.html'}", flush=True)
        return 0
    if (options.draft or options.page) and not (into / "executed").exists():
        with suppress(OSError):  # what the whole site has run need not run again, if it is there
            shutil.copytree(ROOT / "build" / "executed", into / "executed")
    if not same_tools or known["code"] != code:
        load_kernels()
    (into / "report.json").unlink(missing_ok=True)
    fresh = into / (".html-new" if builder == "html" else builder)
    doctrees, written = into / "doctrees", into / "written"
    if builder == "html":
        (into / "state.json").unlink(missing_ok=True)  # until this build is whole
    elif not same:
        doctrees = into / f"doctrees-{builder}"
    if not (same or (same_tools and builder == "html")):  # else Sphinx reads what has changed
        shutil.rmtree(doctrees, ignore_errors=True)
    elif builder == "html" and written.exists():
        if options.draft:  # a quarter of a second sooner; what ends early, begins anew
            written.rename(fresh)
        else:
            shutil.copytree(written, fresh)
    status = run_sphinx(into, doctrees, fresh, pages, options)
    failures = print_report(into / "report.json")
    if status or (failures and not options.draft):
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(doctrees, ignore_errors=True)  # its warnings would not be given again
        return fail("\n".join(failures) or "The build failed: see the warnings above.")
    if builder != "html":
        return 0
    kept = all(page["kept"] for page in read_state(into / "report.json")["pages"].values())
    if edited_since(began, "conf", "attn_examples", *ABOUT_PACKAGE):
        tools = "edited meanwhile"  # perhaps back and forth
    if edited_since(began, "docs") or not kept:
        sources = "edited meanwhile"
    site = folder_state(fresh)
    state = {"tools": tools, "pages": pages, "code": code, "sources": sources, "site": site}
    put_in_place(fresh, html)
    with suppress(OSError):  # without it the next build begins anew
        write_whole(into / "state.json", json.dumps(state, indent=1))
    first = html / pages[0].replace(".md", ".html") if options.page else html / "index.html"
    what = f"The page {pages[0]}, built alone," if options.page else "The site"
    print("\n".join([*failures, f"{what} is in {first}"]), flush=True)
    return 0


def load_kernels() -> None:
    """Start to load what cells need beside Sphinx's own start: something will run."""
    from extensions.execute import settings

    settings.apply()
    if kernels.WORKS:
        kernels.load(settings.LOG)


def run_sphinx(
    into: Path, doctrees: Path, fresh: Path, pages: Sequence[str], options: argparse.Namespace
) -> int:
    """Run Sphinx in this process, so that nothing of it outlives this process."""
    os.chdir(ROOT)
    jobs = str(cores() + 1)  # Sphinx keeps one for the process that waits for the others
    command = ["-b", options.builder, "-c", "conf", "-q", "-d", str(doctrees), "-j", jobs]
    if options.limit:
        command += ["-D", f"nb_execution_timeout={options.limit}"]
    if options.page:
        command += ["-D", f"include_patterns={pages[0]},reference/bibliography.md"]
        command += ["-D", f"root_doc={pages[0].removesuffix('.md')}", "-t", "alone"]
    elif options.builder == "html":
        command += ["-n"]
    if options.builder == "html":
        command += ["-D", f"slim_keep={into / 'written'}"]
        if options.draft:  # to reload takes a script in the page; a process more takes longer
            command += ["-D", "slim_policy=0", "-D", "plain_markdown=0", "-j", "1", "-t", "draft"]
        else:
            command += ["-W", "--keep-going"]
    from sphinx.cmd.build import build_main

    return build_main([*command, "docs", str(fresh)])


def end_with_parent() -> None:
    """Have Sphinx's workers end with this process: they hold its lock, and wait for it to read.

    The gap: multiprocessing's workers outlive a parent that is killed.
    """
    forking: list[int] = []
    if kernels.WORKS:
        os.register_at_fork(
            before=lambda: forking.append(os.getpid()),
            after_in_child=lambda: kernels.die_with(forking[-1]),
        )


@contextmanager
def alone(into: Path) -> Iterator[None]:
    """Hold the build folder; wait for another build that holds it."""
    with (into / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            who = lock.read().strip() or "?"
            print(f"Another build (process {who}) uses {into}: waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)
        yield


def restore(into: Path) -> None:
    """Clear up after a build that was killed, even between the two steps of a swap."""
    if (into / ".html-old").exists() and not (into / "html").exists():
        (into / ".html-old").rename(into / "html")
    for name in LEFT_OVER:
        shutil.rmtree(into / name, ignore_errors=True)


def tools_state(draft: bool) -> str:
    """Name all that turns pages into a site: settings, package, Python, what is installed."""
    # a folder is named after what is installed and its version
    installed = sorted(p.name for folder in sys.path for p in Path(folder).glob("*.dist-info"))
    settings = [f"{name}={os.environ.get(name, '')}" for name in SETTINGS]
    folders = [folder_state(ROOT / name) for name in ("conf", "attn_examples")]
    folders += [digest((ROOT / name).read_bytes()) for name in ABOUT_PACKAGE]
    parts = [sys.version, draft, settings, folders, digest(*installed)]
    return json.dumps(parts)


def edited_since(moment: float, *names: str) -> bool:
    """Tell whether a file, or one in a folder, was written after some moment."""
    files = (file for name in names for file in [ROOT / name, *(ROOT / name).rglob("*")])
    return any(
        file.is_file() and file.stat().st_mtime > moment and "__pycache__" not in file.parts
        for file in files
    )


def folder_state(folder: Path) -> str:
    """Name all files of a folder, with their contents."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts)
    names = [file.relative_to(folder).as_posix() for file in files]
    return digest(*names, *(file.read_bytes() for file in files)) if files else ""


def read_state(file: Path) -> dict[str, Any]:
    """Read what an earlier build wrote, if it is there and whole."""
    try:
        state: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return state


def print_report(file: Path) -> list[str]:
    """Print what ran and what took longest; return what failed, to be printed last."""
    report = read_state(file)
    if not report:
        return []
    pages = report["pages"]
    ran = {name: page for name, page in pages.items() if page["cells"] and not page["cached"]}
    slowest = sorted(ran, key=lambda name: -ran[name]["seconds"])[:10]
    width = max(map(len, slowest), default=4)
    if ran:
        print(f"\n{'the slowest':{width}}  cells  seconds")
    for name in slowest:
        print(f"{name:{width}}  {ran[name]['cells']:5}  {ran[name]['seconds']:7.1f}")
    cells = sum(page["cells"] for page in pages.values())
    seconds = sum(page["seconds"] for page in ran.values())
    cached = sum(bool(page["cells"]) for page in pages.values()) - len(ran)
    print(
        f"{len(pages)} pages, {cells} cells run: {len(ran)} pages executed in {seconds:.1f} s, "
        f"{cached} from the cache",
        flush=True,
    )
    lines = []
    for failure in (failure for page in pages.values() for failure in page["failures"]):
        cell = f", cell {failure['cell']}" if failure["cell"] else ""
        lines += ["", f"FAILED {failure['file']}, line {failure['line']}{cell}", failure["error"]]
    if report["crash"]:
        lines += ["", f"FAILED {report['crash']}"]
    return lines


def put_in_place(fresh: Path, html: Path) -> None:
    """Swap the new site for the old one: a reader never meets half a site."""
    old = html.with_name(".html-old")
    if html.exists():
        html.rename(old)
    fresh.rename(html)
    shutil.rmtree(old, ignore_errors=True)


def fail(message: str) -> int:
    """Say last what went wrong."""
    sys.stderr.flush()
    print(message, flush=True)
    return 1


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # Python would take everything apart first, for two seconds
