"""The site's own tools: a page that did not run as it should must never be published."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup

from attn_examples.registry import mechanisms
from extensions.read import listing, repository
from extensions.read.mechanisms import REFERENCE, contents
from extensions.render import figures
from extensions.slice import downloads
from tests.conf import warm
from tests.programs import snippets

ROOT = Path(__file__).parent.parent.parent

FRONT = """\
---
file_format: mystnb
kernelspec: {name: python3, display_name: Python 3, language: python}
---
"""
GOOD = "# A page\n\n```{code-cell} python3\nprint(6 * 7)\n```\n"


class Site:
    """A small copy of the project, whose pages a test may break."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "conf", root / "conf")
        shutil.copytree(ROOT / "attn_examples", root / "attn_examples")
        for name in ("pyproject.toml", "README.md", "LICENSE"):  # the package's own
            shutil.copy(ROOT / name, root)
        (root / "docs").mkdir()
        with suppress(FileNotFoundError):  # what a build has found in the package holds here
            (root / "build").mkdir()
            shutil.copy(ROOT / "build" / "shared.json", root / "build")

    def build(self, address: str = "", repository: str = "", **pages: str) -> tuple[int, str]:
        """Write the pages, build strictly, return status and what was printed."""
        for old in (self.root / "docs").iterdir():
            old.unlink()
        toctree = "\n".join(name for name in pages if name != "index")
        index = f"# Home\n\n```{{toctree}}\n{toctree}\n```\n"
        for name, text in ({"index": index} | pages).items():
            (self.root / "docs" / f"{name}.md").write_text(text)
        settings = {"READTHEDOCS_CANONICAL_URL": "", "ATTN_SITE_URL": address}
        settings |= {"READTHEDOCS_GIT_CLONE_URL": "", "ATTN_REPOSITORY_URL": repository}
        return warm.build(self.root, env=os.environ | settings)

    def published(self, page: str) -> str:
        return (self.root / "build" / "html" / f"{page}.html").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@dataclass
class Built:
    """What a build has given, kept while others follow."""

    printed: str
    report: dict[str, Any]
    html: Path

    def page(self, name: str) -> str:
        return (self.html / f"{name}.html").read_text()


TAKEN = f"""{GOOD}
```{{code-cell}} python3
---
tags: [hide-cell]
---
from attn_examples import softmax
import torch
print(softmax(torch.zeros(4)))
```
"""
FOLDED = """# A page

```{code-cell} python3
---
check: "All `weights` sum to $1$."
---
import torch
weights = torch.full((4,), 0.25)
assert weights.sum() == 1
```

```{code-cell} python3
---
tags: [hide-input]
mystnb: {image: {alt: "Four boxes."}, figure: {caption: "The *four* steps."}}
---
from attn_examples.figures import steps_strip
steps_strip()
```
"""


@pytest.fixture(scope="module")
def built(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build pages that are good, where no address is known."""
    plain = "# A page\n\nWhat it says. And more.\n\nOf {repository}`the repository`.\n"
    pages = {"one": FRONT + GOOD, "folded": FRONT + FOLDED, "taken": FRONT + TAKEN, "plain": plain}
    status, printed = site.build(**pages)
    assert status == 0, printed
    html = tmp_path_factory.mktemp("built") / "html"
    shutil.copytree(site.root / "build" / "html", html)
    report = json.loads((site.root / "build" / "report.json").read_text())
    return Built(printed, report, html)


def test_good_pages_are_published_and_reported(built: Built) -> None:
    assert "5 pages, 5 cells run" in built.printed
    assert built.printed.strip().splitlines()[-1].endswith("build/html/index.html")
    assert "42" in built.page("one")
    assert built.report["pages"]["one"]["cells"] == 1
    assert built.report["pages"]["one"]["failures"] == []


def test_cells_and_pages_can_be_taken_along(built: Built, site: Site) -> None:
    html = built.html
    first, second = snippets.cells(html / "taken.html", html)
    assert first.code == "print(6 * 7)\n"
    assert first.text == "42"
    assert "def softmax(" in second.code
    assert second.text == "tensor([0.2500, 0.2500, 0.2500, 0.2500])"

    script = (html / "_sources" / "taken.py").read_text()
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "42\ntensor([0.2500, 0.2500, 0.2500, 0.2500])\n"

    notebook = nbformat.read(html / "_sources" / "taken.ipynb", as_version=4)
    (wheel,) = (html / "_static" / "wheels").glob("*/*.whl")
    content = wheel.read_bytes()
    assert base64.b64encode(content).decode() in notebook.cells[0].source
    assert "{wheel}" in notebook.cells[0].source.splitlines()[-1]
    assert "42" in str(notebook.cells[2].outputs)
    assert "jupyter" not in notebook.cells[2].metadata
    assert notebook.cells[-1].metadata["jupyter"]["source_hidden"]
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("attn_examples/masks/order.py")
    assert packed == (site.root / "attn_examples" / "masks" / "order.py").read_bytes()


def test_what_proves_and_what_draws_is_folded_and_taken_along(built: Built) -> None:
    soup = BeautifulSoup(built.page("folded"), "html.parser")
    claim, drawn = soup.select("article details")
    assert claim.summary is not None
    assert claim.summary.get_text().startswith("✓ All weights sum to ")
    assert claim.summary.select_one("code")
    assert claim.summary.select_one(".katex")
    (code,) = claim.select(".cell_input")
    assert "assert" in code.get_text()
    assert soup.select(".cell_output:has(svg) + details.drawn") == [drawn]
    (caption,) = soup.select(".cell_output > figure > .figure-svg + figcaption .caption-text")
    assert caption.get_text() == "The four steps."
    assert drawn.select_one(".cell_input")
    assert not drawn.select_one("svg")
    sources = built.html / "_sources"
    notebook = nbformat.read(sources / "folded.ipynb", as_version=4)
    assert "✓ All `weights` sum to $1$." in [cell.source for cell in notebook.cells]
    assert "# ✓ All `weights` sum to $1$." in (sources / "folded.py").read_text()
    plain = (built.html / "folded.md").read_text()
    assert "✓ All `weights` sum to" in plain
    assert "The four steps." in plain
    first, second = snippets.cells(built.html / "folded.html", built.html)
    assert "assert weights.sum() == 1" in first.code
    assert second.figures == 1


def test_a_published_site_names_its_own_wheel() -> None:
    cell = downloads.install("import torch", "https://site.example/there/")
    address = cell.splitlines()[-1].split()[-1]
    path, _, digest = address.partition("#sha256=")
    assert path == f"https://site.example/there/{downloads.wheel_path()}"
    assert digest == hashlib.sha256(downloads.wheel()[1]).hexdigest()


def test_addresses_are_the_hosts_and_nothing_is_invented(built: Built, site: Site) -> None:
    page = built.page("plain")
    assert '<meta name="description" content="What it says. And more."/>' in page
    assert "canonical" not in page
    assert "og:" not in page
    assert not (built.html / "sitemap.xml").exists()

    html = site.root / "build" / "html"
    assert "<p>Of the repository.</p>" in page
    assert 'aria-label="Repository"' not in page

    status, printed = site.build(
        "https://host.example/sub",
        "https://host.example/code",
        one="# A page\n\nWhat it says.\n\nOf {repository}`the repository`.\n",
    )
    assert status == 0, printed
    page = site.published("one")
    assert 'href="https://host.example/code">the repository</a>' in page
    assert page.count('href="https://host.example/code"') == 2  # and at the top
    said = dict(re.findall(r'<meta property="og:(\w+)" content="([^"]*)"', page))
    assert 'href="https://host.example/sub/one.html"' in page
    assert said["url"] == "https://host.example/sub/one.html"
    assert said["description"] == "What it says."
    card = said["image"].removeprefix("https://host.example/sub/")
    assert (html / card).read_bytes().startswith(b"\x89PNG")
    assert "https://host.example/sub/one.html" in (html / "sitemap.xml").read_text()
    assert "Sitemap: https://host.example/sub/sitemap.xml" in (html / "robots.txt").read_text()
    assert 'href="/sub/_static/' in (html / "404.html").read_text()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"ATTN_REPOSITORY_URL": "https://a.example/b/c"}, "https://a.example/b/c"),
        ({"READTHEDOCS_GIT_CLONE_URL": "https://a.example/b/c.git"}, "https://a.example/b/c"),
        ({"READTHEDOCS_GIT_CLONE_URL": "git@a.example:b/c.git"}, "https://a.example/b/c"),
        ({"READTHEDOCS_GIT_CLONE_URL": "https://who:key@a.example/b/c"}, "https://a.example/b/c"),
        ({"READTHEDOCS_GIT_CLONE_URL": "ssh://git@a.example:22/b/c"}, "https://a.example/b/c"),
    ],
)
def test_the_repository_is_where_the_host_says(given: dict[str, str], expected: str) -> None:
    assert repository.address(given) == expected


def test_a_failing_cell_fails_the_build_each_time(built: Built, site: Site) -> None:
    broken = GOOD + "\n```{code-cell} python3\nassert 6 * 7 == 41, 'not so'\n```\n"
    broken += "\n```{code-cell} python3\nprint('never')\n```\n"
    for _ in range(2):  # a second, identical run must not turn green
        status, printed = site.build(one=FRONT + broken)
        assert status == 1
        last = printed.strip().splitlines()
        assert "FAILED docs/one.md, line 11, cell 2" in last
        assert last[-1] == "AssertionError: not so"
    assert "not so" not in site.published("one")  # the site that stood before is intact


CELL = FRONT + "# A\n\n```{code-cell} python3\n%s\n```\n"
# Each with what the build says of it, after its name
BAD = {
    "plain": (GOOD, "does its front matter say `file_format: mystnb`"),
    "fence": (FRONT + "# A\n\n```python\nprint(1)\n```\n", "this Python fence is never executed"),
    "tame": (
        CELL % ":tags: [raises-exception]\n1 + 1",
        "tagged raises-exception but raised nothing",
    ),
    "skipped": (CELL % ":tags: [skip-execution]\n1 + 1", "the cell did not run"),
    "removed": (
        CELL % ":tags: [remove-cell]\n1 + 1",
        "1 code cells are written but 0 are on the page",
    ),
    "dead": (CELL % "import os\nos._exit(1)", "line 7, cell 1\nthe kernel died in this cell"),
    "loud": (CELL % "import sys\nprint(1, file=sys.stderr)", "stderr was found"),
    "mute": (
        CELL % "from attn_examples.figures import steps_strip\nsteps_strip()",
        "a figure needs alt text",
    ),
    "claims": (
        CELL % ":check: Six times seven is 42.\nprint(ValueError(6 * 7))",
        "the cell says 'Six times seven is 42.' and asserts nothing",
    ),
    "speechless": (CELL % ":check: 42\nassert 6 * 7 == 42", "`check` must say in words"),
    "formula": (FRONT + "# A\n\n$$ \\frac{1 $$\n", "KaTeX parse error"),
    "letters": (
        "# A\n\n$E$\n\n| symbol | meaning |\n|---|---|\n| $E$ | energy |\n",
        "a table of symbols is made by {symbols}",
    ),
    "lost": (FRONT + "# A\n\n{doc}`nowhere`\n", "unknown document"),
}


def test_bad_pages_are_refused_each_by_name(site: Site) -> None:
    pages = {name: page for name, (page, _) in BAD.items()}
    status, printed = site.build(fine=FRONT + GOOD, **pages)
    assert status == 1, printed
    for name, (_, message) in BAD.items():
        said = [place for place in named(printed, name) if message in place]
        assert said, f"{name} is not blamed:\n{printed}"
        assert any(word in said[0] for word in ("WARNING", "ERROR", "FAILED"))  # not only noted
    assert named(printed, "fine") == []


def named(printed: str, page: str) -> list[str]:
    """Return what is said of a page: from its name to where the next one is named."""
    places = re.split(r"(?m)^(?=.*docs/\w+\.md)", printed)
    return [place for place in places if f"docs/{page}.md" in place.splitlines()[0]]


def test_listing_finds_methods_and_refuses_what_is_not_there() -> None:
    from attn_examples import MultiHeadAttention

    found = listing.find("attn_examples.heads.MultiHeadAttention.forward")
    assert found is MultiHeadAttention.forward
    with pytest.raises(AttributeError):
        listing.find("attn_examples.heads.nothing")


def test_inlined_figures_follow_the_page() -> None:
    from attn_examples.figures import INK

    assert figures.INK == INK
    assert f"text.color: {INK[1:]}\n" in (ROOT / "conf" / "matplotlibrc").read_text()
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        'width="72pt" height="36pt" viewBox="0 0 72 36"><metadata>made today</metadata>'
        f'<defs><path id="m1" d="M0 0"/></defs><g id="axes_1" style="fill: {INK}">'
        '<use xlink:href="#m1"/><g clip-path="url(#m1)"><text>a</text></g></g></svg>'
    )
    inlined = figures.inline(svg, 'a "map" & more', "f3")
    assert "made today" not in inlined
    assert INK not in inlined
    assert "currentColor" in inlined
    assert 'id="f3-m1"' in inlined
    assert '"#f3-m1"' in inlined
    assert "url(#f3-m1)" in inlined
    assert "axes_1" not in inlined
    assert "height" not in inlined
    assert 'aria-label="a &quot;map&quot; &amp; more"' in inlined


def test_every_page_is_reached_from_the_home_page() -> None:
    docs = ROOT / "docs"
    home = (docs / "index.md").read_text()
    assert "{mechanisms} contents" in home
    assert "{mechanisms} api" in (docs / "reference/api.md").read_text()
    listed = {*home.splitlines(), *(line.lstrip("/") for line in contents(mechanisms()))}
    listed |= {f"reference/api/{room}" for room in REFERENCE}
    for index in docs.rglob("*/index.md"):  # pages below a page stand beside it
        folder = index.parent.relative_to(docs).as_posix()
        tree = index.read_text().partition("```{toctree}")[2].partition("```")[0]
        listed |= {f"{folder}/{page}" for page in re.findall(r"<(.+)>", tree)}
    for page in docs.rglob("*.md"):
        name = page.relative_to(docs).with_suffix("").as_posix()
        assert name == "index" or name in listed, f"{name} is in no toctree"


def test_pins_cover_every_dependency() -> None:
    import tomllib

    def plain(name: str) -> str:
        return name.split("==")[0].lower().replace("_", "-")

    pins = {plain(line) for line in (ROOT / "conf" / "pins.txt").read_text().splitlines()}
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for group in project["dependency-groups"].values():
        assert {plain(name) for name in group} <= pins
