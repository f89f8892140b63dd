"""What a page depends on, and what it does not: by changing it and looking at the key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from extensions.execute import cache_key

INIT = '''\
"""The package."""
from attn_examples.core import attention
from attn_examples.normalizers import softmax
from attn_examples.positions import sinusoidal
from attn_examples.scores import *

__all__ = ["attention", "sinusoidal", "softmax"]
'''
SCORES = '''\
"""Step 1."""
from typing import TYPE_CHECKING

from attn_examples.scores import additive, dot_product
from attn_examples.scores.additive import *
from attn_examples.scores.dot_product import *

if not TYPE_CHECKING:
    __all__ = additive.__all__ + dot_product.__all__
'''
ADDITIVE = '''\
"""Additive."""
__all__ = ["Additive"]
MECHANISMS = (
    {"name": "additive"},
)

class Additive:
    """Add."""
'''
DOT_PRODUCT = '''\
"""Products."""
__all__ = ["dot"]
MECHANISMS = ({"name": "dot"},)

def dot():
    """Multiply."""
    return 1
'''
REGISTRY = "def mechanisms():\n    return 1\n"
CHECKS = '"""Checks."""\n\ndef check():\n    return 1\n'
CORE = '''\
"""The four steps."""
from attn_examples.normalizers import softmax

def attention():
    """Attend."""
    return softmax()
'''
NORMALIZERS = "from attn_examples import checks\n\ndef softmax():\n    return checks.check()\n"
POSITIONS = '"""Positions."""\n\nSIZE = 3\n\ndef sinusoidal(a=SIZE):\n    return a\n'
FIGURES = "import matplotlib.pyplot\n"

SOFTMAX = "from attn_examples import softmax\nsoftmax()"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    package = tmp_path / "attn_examples"
    (package / "scores").mkdir(parents=True)
    (tmp_path / "docs" / "types").mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "pins.txt").write_text("# a note\ntorch==2.13.0\n")
    for name, text in {
        "__init__": INIT, "checks": CHECKS, "core": CORE, "normalizers": NORMALIZERS,
        "positions": POSITIONS, "figures": FIGURES, "registry": REGISTRY,
        "scores/__init__": SCORES, "scores/additive": ADDITIVE, "scores/dot_product": DOT_PRODUCT,
    }.items():  # fmt: skip
        (package / f"{name}.py").write_text(text)
    return tmp_path


@pytest.fixture
def key(root: Path) -> Callable[..., str]:
    known: dict[str, cache_key.Reached] = {}  # as from build to build

    def key(code: str, tags: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> str:
        cells = [{"source": code, "metadata": {"tags": list(tags)}}]
        shared = cache_key.shared_state(root, [])
        arguments = (root, root / "docs" / "types", cells, files, shared)
        found = cache_key.page_key(*arguments, known)
        assert found == cache_key.page_key(*arguments), "it is not what a first build finds"
        return found

    return key


def change(root: Path, module: str, old: str, new: str) -> None:
    file = root / "attn_examples" / f"{module}.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("normalizers", "def softmax", '"""Docs."""\ndef softmax'),  # help() may show it
        ("normalizers", "return", "return 1 +"),
        ("checks", "return 1", "return 2"),  # two imports away
        ("__init__", "normalizers import", "core import"),  # the name comes from elsewhere
        ("core", "def attention", "import os\nos.umask(0)\n\ndef attention"),  # when imported
        ("core", "def attention", "@print\ndef attention"),
        ("positions", "SIZE = 3", "SIZE = print(3)"),
        ("positions", "def sinusoidal(a=SIZE)", "def sinusoidal(a=print(SIZE))"),
        ("positions", "SIZE = 3", "SIZE ="),  # it cannot be imported any more
        ("positions", "SIZE = 3", "import matplotlib"),  # may change matplotlib's settings
    ],
)
def test_what_a_page_runs_is_in_its_key(
    root: Path, key: Callable[..., str], module: str, old: str, new: str
) -> None:
    file = root / "attn_examples" / f"{module}.py"
    text = file.read_text()
    before = key(SOFTMAX)
    change(root, module, old, new)
    assert key(SOFTMAX) != before
    file.write_text(text)
    assert key(SOFTMAX) == before  # going back finds what was kept


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("positions", "return a", "return a + 1"),
        ("positions", '"""Positions."""', '"""Where."""'),
        ("positions", "SIZE = 3", "SIZE = 4"),
        ("positions", "def sinusoidal", "import math\n\ndef sinusoidal"),
        ("core", "return softmax()", "return 2"),
        ("figures", "pyplot", "figure"),  # nothing that runs imports it
        ("__init__", "sinusoidal\n", "sinusoidal, SIZE\n"),
    ],
)
def test_what_a_page_does_not_run_is_not(
    root: Path, key: Callable[..., str], module: str, old: str, new: str
) -> None:
    before = key(SOFTMAX)
    change(root, module, old, new)
    assert key(SOFTMAX) == before


@pytest.mark.parametrize(
    "code", ["from attn_examples import dot", "from attn_examples.scores import dot"]
)
def test_a_star_leads_to_the_file_that_defines_the_name(
    root: Path, key: Callable[..., str], code: str
) -> None:
    before = key(code)
    change(root, "scores/additive", '"""Add."""', "pass")
    assert key(code) == before
    (root / "attn_examples" / "scores" / "cosine.py").write_text("__all__ = ['cosine']\n")
    stars = "additive import *\nfrom attn_examples.scores.cosine import *"
    change(root, "scores/__init__", "additive import *", stars)
    change(root, "scores/__init__", "= additive.__all__", "= additive.__all__ + cosine.__all__")
    assert key(code) == before  # a new family is in no page's way
    change(root, "scores/dot_product", "return 1", "return 2")
    assert key(code) != before


@pytest.mark.parametrize(
    "entries", ['MECHANISMS = ({"name": "other"},)', 'MECHANISMS = [\n    Mechanism("dot"),\n]', ""]
)
def test_entries_of_the_registry_run_no_page_again(
    root: Path, key: Callable[..., str], entries: str
) -> None:
    reads = "from attn_examples.registry import mechanisms"
    codes = (SOFTMAX, "from attn_examples import dot", "import attn_examples")
    before, reader = [key(code) for code in codes], key(reads)
    change(root, "scores/dot_product", 'MECHANISMS = ({"name": "dot"},)\n', f"{entries}\n".lstrip())
    assert [key(code) for code in codes[:2]] == before[:2]
    assert key(codes[2]) != before[2]  # it may call the registry
    assert key(reads) != reader


def test_a_page_without_the_package_does_not_depend_on_it(
    root: Path, key: Callable[..., str]
) -> None:
    before = key("import torch")
    change(root, "core", "softmax()", "1")
    change(root, "__init__", '"""The package."""', "print(1)")
    assert key("import torch") == before


@pytest.mark.parametrize(
    "code",
    [
        "import attn_examples",
        "from attn_examples import *",
        "exec(text)",
        "import subprocess",
        "!python script.py",
        "%run script.py",
        "from importlib import import_module",
        "name = 'attn_examples.positions'",
        "def broken(",
    ],
)
def test_who_may_reach_everything_depends_on_everything(
    root: Path, key: Callable[..., str], code: str
) -> None:
    before = key(code)
    change(root, "figures", "pyplot", "figure")
    assert key(code) != before


def test_new_names_in_a_package_that_imports_relatively(
    root: Path, key: Callable[..., str]
) -> None:
    change(root, "normalizers", "from attn_examples import checks", "from . import checks")
    before = key(SOFTMAX)
    change(root, "checks", "return 1", "return 2")
    assert key(SOFTMAX) != before


def test_cells_and_the_tags_that_change_how_they_run(key: Callable[..., str]) -> None:
    assert key("1 + 1") != key("1 + 2")
    assert key("1 + 1", tags=("raises-exception",)) != key("1 + 1")
    assert key("1 + 1", tags=("hide-input",)) == key("1 + 1")


def test_files_that_a_page_names_or_was_seen_to_open(root: Path, key: Callable[..., str]) -> None:
    code = "open('speed.json')"
    absent = key(code)
    file = root / "docs" / "types" / "speed.json"
    file.write_text("1")
    one = key(code)
    file.write_text("2")
    assert len({absent, one, key(code)}) == 3
    opened = "docs/types/other.json"
    absent = key("1", files=(opened,))
    (root / opened).write_text("1")
    assert key("1", files=(opened,)) != absent


def test_pins_and_settings_count_but_not_their_comments(
    root: Path, key: Callable[..., str]
) -> None:
    pins = root / "conf" / "pins.txt"
    before = key("1")
    pins.write_text("# another note\ntorch==2.13.0\n")
    assert key("1") == before
    pins.write_text("torch==2.13.1\n")
    assert key("1") != before
    one = cache_key.shared_state(root, ["conf/pins.txt"])
    assert one != cache_key.shared_state(root, [])


def test_a_function_that_runs_at_import_counts(root: Path, key: Callable[..., str]) -> None:
    change(root, "positions", "SIZE = 3", "SIZE = 3\n\ndef start():\n    return 1\n\nstart()")
    before = key(SOFTMAX)
    change(root, "positions", "    return 1", "    return 2")
    assert key(SOFTMAX) != before


def test_the_files_behind_a_name(root: Path) -> None:
    files = cache_key.files_behind(root, "from attn_examples import dot")
    names = {file.relative_to(root / "attn_examples").as_posix() for file in files}
    assert names == {"__init__.py", "scores/__init__.py", "scores/dot_product.py"}
