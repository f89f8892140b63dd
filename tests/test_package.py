"""The package as a whole: what it loads, what it offers, and that it says what it does."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import attn_examples
from attn_examples.registry import mechanisms
from attn_examples.standalone import names_in

TOOLS = {"__main__", "exercises", "registry", "standalone"}
MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(attn_examples.__path__, "attn_examples.")
    if not module.ispkg and module.name.split(".")[1] not in TOOLS
]
APART = ("attn_examples.figures", "attn_examples.pretrained", "attn_examples.probes")
OFFERED = [
    (module, name)
    for module in MODULES
    for name in module.__all__
    if callable(getattr(module, name))
]
SECTIONS = ("Parameters", "Returns", "Raises", "References", "Examples")
WITH_PAPER = {mechanism.object for mechanism in mechanisms() if mechanism.papers} | {
    "example_head",
    "explore_heads",
    "load_bert",
    "turn_positions",
    "walk_tiles",
    "weights_to",
}
# Needs a model of 91 MB
WITHOUT_EXAMPLE = {"load_bert", "attention_maps", "own_attention", "weights_to"}


each = pytest.mark.parametrize(
    ("module", "name"), OFFERED, ids=[f"{module.__name__}.{name}" for module, name in OFFERED]
)


def test_importing_it_loads_torch_and_nothing_else() -> None:
    program = (
        "import json, sys, torch; before = set(sys.modules); import attn_examples; "
        "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout)) - sys.stdlib_module_names
    assert loaded == {"attn_examples"}
    assert done.stderr == ""


def test_names_are_unique_so_that_the_package_fits_into_one_file() -> None:
    meanings: dict[str, set[str]] = {}
    for file in Path(attn_examples.__file__).parent.rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    module = "" if isinstance(node, ast.Import) else f"{node.module}."
                    if not module.startswith(("attn_examples", "__future__")):
                        meaning = f"{module}{alias.name}"
                        meanings.setdefault(alias.asname or alias.name, set()).add(meaning)
                    else:
                        assert alias.asname is None
            else:
                for name in names_in(ast.unparse(node))[0] - {"__all__", "MECHANISMS"}:
                    meanings.setdefault(name, set()).add(file.name)
    assert {name: found for name, found in meanings.items() if len(found) > 1} == {}


def test_all_is_complete() -> None:
    at_home = {
        name
        for module in MODULES
        if not module.__name__.startswith(APART)
        for name in module.__all__
    }
    assert set(attn_examples.__all__) == at_home
    assert len(attn_examples.__all__) == len(at_home)
    for module in MODULES:
        assert set(module.__all__) <= set(vars(module))
        for name in set(module.__all__) & at_home:
            assert getattr(attn_examples, name) is getattr(module, name)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_offered(module: ModuleType) -> None:
    here = {
        name
        for name, thing in vars(module).items()
        if getattr(thing, "__module__", None) == module.__name__
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and not name.startswith("_")
    }
    helpers = {
        "four_steps",
        "step_by_step",
        "weigh",
        "join_bias",
        "Cache",
        "seen_before",
    }  # of the modules' own
    # for the package itself: the refusals, and what figures that move are made of
    inside = {"attn_examples.checks", "attn_examples.figures.moving.element"}
    if module.__name__ not in inside:
        assert here - helpers == {n for n in module.__all__ if callable(getattr(module, n))}


def sections(thing: Any) -> dict[str, str]:
    """Split a numpydoc docstring at its underlined headings."""
    summary, *rest = re.split(r"\n(\w+)\n-+\n", inspect.getdoc(thing) or "")
    return {"Summary": summary} | dict(zip(rest[::2], rest[1::2], strict=True))


@each
def test_docstrings_say_what_there_is_to_say(module: ModuleType, name: str) -> None:
    thing = getattr(module, name)
    doc = sections(thing)
    assert doc.pop("Summary").splitlines()[0].endswith(".")
    assert list(doc) == [section for section in SECTIONS if section in doc]  # in this order

    if inspect.isfunction(thing) or "__init__" in vars(thing):
        # "query : Tensor" or "kdim, vdim : int", and what each is, indented
        heads = re.findall(r"^\S.*", doc.get("Parameters", ""), re.MULTILINE)
        documented = [part for head in heads for part in head.split(" : ")[0].split(", ")]
        expected = list(inspect.signature(thing).parameters)
        assert [part.lstrip("*") for part in documented] == expected
        assert ("Raises" in doc) == bool(expected)
    assert ("Returns" in doc) == inspect.isfunction(thing)
    assert ("References" in doc) == (name in WITH_PAPER)
    assert (">>> " in doc.get("Examples", "")) == (name not in WITHOUT_EXAMPLE)


def test_methods_have_docstrings() -> None:
    methods = [
        function
        for module, name in OFFERED
        if inspect.isclass(getattr(module, name))
        for method, function in vars(getattr(module, name)).items()
        if inspect.isroutine(function) and not method.startswith("_")
    ]
    assert methods
    assert all(sections(method)["Summary"].splitlines()[0].endswith(".") for method in methods)


@each
def test_everything_has_types(module: ModuleType, name: str) -> None:
    thing = getattr(module, name)
    function = thing.__init__ if inspect.isclass(thing) else thing
    if function is object.__init__:
        return  # it takes nothing
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in list(signature.parameters.values())[1 if inspect.isclass(thing) else 0 :]:
        assert parameter.annotation is not inspect.Parameter.empty
