"""Say what the outputs of a page depend on, in one key.

The gap: the execution cache of MyST-NB looks at a page's cells alone, so that a change of
the package, of a file that a page reads or of a version leaves old outputs in place.

A key is made of the page's code, of the source of every module of the package that the
code reaches through its imports, of the files that the code names or was seen to open,
and of what all pages share: Python, the pinned versions, the settings of the kernels.

`from attn_examples import softmax` runs `attn_examples/__init__.py`, and with it nearly
every module. A page does not depend on all of them: a name is followed to the module that
defines it, and of the others only that part counts which does something when it is
imported (`_at_import`). Where the code may reach the package by a way that cannot be read
off it (`exec`, a subprocess, `import attn_examples`), the page depends on all of it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

from extensions.shared import digest

PACKAGE = "attn_examples"
REGISTRY = f"{PACKAGE}.registry"  # it reads what modules say of themselves in ENTRIES
ENTRIES = "MECHANISMS"
# With one of these in it, code can import what nobody can foresee
OPAQUE_NAMES = {"__import__", "eval", "exec", "get_ipython", "import_module"}
OPAQUE_ATTRIBUTES = {"import_module", "popen", "system"}
OPAQUE_MODULES = {"builtins", "importlib", "multiprocessing", "pkgutil", "runpy", "subprocess"}

# Importing these changes nothing for others: the package has torch loaded in any case
QUIET = {PACKAGE, "torch", *sys.stdlib_module_names}
QUIET_DECORATORS = {"classmethod", "overload", "property", "staticmethod"}

Target = str | None  # a module of the package, or None for the package as a whole
Name = tuple[str, str]  # a folder, and what may be the name of a file seen from there
Reached = tuple[dict[str, str], set[Name]]


def page_key(
    root: Path,
    folder: Path,
    cells: Iterable[dict[str, Any]],
    files: Iterable[str],
    shared: str,
    known: dict[str, Reached] | None = None,
    package: Package | None = None,
) -> str:
    """Name all that the outputs of a page depend on.

    Parameters
    ----------
    root : Path
        The project, with the package in it.
    folder : Path
        Where the page's cells run.
    cells : iterable of dict
        Source and metadata of its code cells, in order.
    files : iterable of str
        Files below the root that an earlier run of these cells opened.
    shared : str
        What all pages depend on, see `shared_state`.
    known : dict, optional
        What was reached before, last what was used last: to follow imports takes a while.
    package : Package, optional
        The package as it was read before, by default as it is now.
    """
    cells = list(cells)
    code = [str(cell["source"]) for cell in cells]
    package = package or read_package(root)
    known = {} if known is None else known
    state = digest(package.state, str(folder), *code)
    reached = known.pop(state) if state in known else reach(package, folder, code)
    known[state] = modules, names = reached
    named = {below for name in names if (below := _file_below(root, *name))}
    key = hashlib.sha256(shared.encode())
    for cell in cells:
        tags = sorted(
            set(cell["metadata"].get("tags", [])) & {"raises-exception", "skip-execution"}
        )
        _add(key, "cell", json.dumps([cell["source"], tags]).encode())
    for module, content in sorted(modules.items()):
        _add(key, module, content.encode())
    for name in sorted({*named, *files}):
        file = root / name
        _add(key, name, file.read_bytes() if file.is_file() else b"(not there)")
    return key.hexdigest()[:32]


def shared_state(root: Path, files: Iterable[str]) -> str:
    """Name what every page depends on: Python, the pins and the files given."""
    pins = (root / "conf" / "pins.txt").read_text(encoding="utf-8").splitlines()
    state = hashlib.sha256(f"{sys.version} {sys.platform} {os.uname().machine}".encode())
    _add(state, "bert", os.environ.get("ATTN_EXAMPLES_BERT", "").encode())
    _add(state, "pins", "\n".join(p for p in pins if not p.startswith("#")).encode())
    for name in sorted(files):
        _add(state, name, (root / name).read_bytes())
    return state.hexdigest()


def reach(package: Package, folder: Path, code: Iterable[str]) -> Reached:
    """Follow the imports of some code.

    Returns
    -------
    modules : dict of str to str
        Of each module of the package that the code depends on, a digest of what counts of it.
    names : set of (str, str)
        Folders, with what the code, or one of these modules, may name as a file there.
    """
    tree = _parse(code)
    used: set[str] = set()
    names = _names(tree, folder) if tree else set()
    waiting: list[Target] = [None] if tree is None else list(package.targets(tree, None))
    while waiting:
        target = waiting.pop()
        if target is None:
            waiting += package.modules - used
        elif target not in used:
            used.add(target)
            named, targets = package.needs(target)
            names |= named
            waiting += targets
    contents = package.whole if REGISTRY in used else package.contents
    modules = {name: contents[name] for name in used}
    if used:  # to import one is to import the package
        for name in package.run_by_import(used):
            if content := package.at_import(name):
                modules[f"{name}, at import"] = content
    return {name: hashlib.sha256(content).hexdigest() for name, content in modules.items()}, names


def files_behind(root: Path, code: str) -> list[Path]:
    """Name the files that some code depends on, and those that say where its names are."""
    package = read_package(root)
    modules, _ = reach(package, root, [code])
    return [f for m, f in package.files.items() if m in modules or f.name == "__init__.py"]


class Package:
    """The modules of the package, as far as their source tells."""

    def __init__(self, root: Path, files: Iterable[tuple[Path, bytes]]) -> None:
        self.files = {_module_name(file.relative_to(root)): file for file, _ in files}
        self.whole = {_module_name(file.relative_to(root)): content for file, content in files}
        self.modules = set(self.files)
        self.state = digest(*self.whole, *self.whole.values())
        self.needs = functools.cache(self._needs)
        self.at_import = functools.cache(self._at_import)
        self.imports = functools.cache(self._imports)

    @functools.cached_property
    def contents(self) -> dict[str, bytes]:
        """What counts of each module."""
        return {name: _without_entries(content) for name, content in self.whole.items()}

    def _tree(self, module: str) -> ast.Module | None:
        return _parse_file(self.contents[module])

    def _needs(self, module: str) -> tuple[set[Name], list[Target]]:
        """Return what a module may name as a file, and the modules that it depends on."""
        tree = self._tree(module)
        if tree is None or module == REGISTRY:  # whoever imports it fails, or may see all
            return set(), [None]
        return _names(tree, self.files[module].parent), list(self.targets(tree, module))

    def targets(self, tree: ast.Module, module: Target) -> Iterator[Target]:
        """Yield the modules that a tree depends on, None for the package as a whole."""
        for node in _nodes(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name in {PACKAGE, *OPAQUE_MODULES}:
                        yield None
                    elif alias.name in self.modules:
                        yield alias.name
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node, module)
                if base in OPAQUE_MODULES and {a.name for a in node.names} != {"resources"}:
                    yield None
                elif base in self.modules:
                    for alias in node.names:
                        yield self.defines(base, alias.name)
            elif (
                (isinstance(node, ast.Name) and node.id in OPAQUE_NAMES)
                or (isinstance(node, ast.Attribute) and node.attr in OPAQUE_ATTRIBUTES)
                # in a module it is most likely a docstring
                or (isinstance(node, ast.Constant) and not module and PACKAGE in str(node.value))
            ):
                yield None

    def defines(self, module: str, name: str, seen: tuple[str, ...] = ()) -> Target:
        """Return the module in which a name of a module is defined."""
        if f"{module}.{name}" in self.modules:
            return f"{module}.{name}"
        if self.files[module].name != "__init__.py":
            return module  # its own imports are followed from there
        if name == "*":
            return None
        tree = self._tree(module)
        for node in _nodes(tree) if tree else ():
            if isinstance(node, ast.ImportFrom):
                base = self._base(node, module)
                for alias in node.names if base in self.modules else ():
                    star = alias.name == "*" and name in self.offers(base)
                    if star or (alias.asname or alias.name) == name:
                        if base in seen:
                            return None
                        return self.defines(base, name if star else alias.name, (*seen, module))
        return None if module == PACKAGE else module  # defined in __init__.py itself

    def offers(self, module: str) -> set[str]:
        """Return the names that a star takes from a module: those of its `__all__`."""
        names: set[str] = set()
        for node in _nodes(self._tree(module) or ast.Module([], [])):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                names |= {str(c.value) for c in ast.walk(node) if isinstance(c, ast.Constant)}
            elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
                base = self._base(node, module)
                names |= self.offers(base) if base in self.modules else set()
        return names

    def run_by_import(self, used: set[str]) -> set[str]:
        """Return what runs when some modules are imported, themselves left out."""
        run: set[str] = set()
        waiting = [PACKAGE, *used]
        while waiting:
            module = waiting.pop()
            if module not in run:
                run.add(module)
                waiting += self.imports(module)
        return run - used

    def _imports(self, module: str) -> list[str]:
        names = []
        for node in _nodes(self._tree(module) or ast.Module([], [])):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._base(node, module)
                names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        return [name for name in names if name in self.modules]

    def _at_import(self, module: str) -> bytes:
        tree = self._tree(module)
        return self.contents[module] if tree is None else _at_import(tree)

    def _base(self, node: ast.ImportFrom, module: Target) -> str:
        if not node.level or module is None:
            return node.module or ""
        parts = module.split(".")
        if self.files[module].name == "__init__.py":
            parts.append("")
        return ".".join([*parts[: len(parts) - node.level], *filter(None, [node.module])])


def read_package(root: Path) -> Package:
    """Return the package as it is now."""
    files = sorted((root / PACKAGE).rglob("*.py"))
    return _package_as_of(root, tuple((file, file.read_bytes()) for file in files))


@functools.lru_cache(maxsize=4)
def _package_as_of(root: Path, files: tuple[tuple[Path, bytes], ...]) -> Package:
    return Package(root, files)


def _without_entries(content: bytes) -> bytes:
    """Leave out what a module says for the registry alone: nothing that runs reads it."""
    lines = content.splitlines(keepends=True)
    tree = _parse_file(content)
    for node in reversed(tree.body) if tree else ():
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if [ast.unparse(target) for target in targets] == [ENTRIES]:
                del lines[node.lineno - 1 : node.end_lineno]
    return b"".join(lines)


def _at_import(tree: ast.Module) -> bytes:
    """Keep of a module what has an effect beyond its own names when it is imported.

    To define a function or a class, to name a constant and to import from the package,
    from torch or from the standard library has none. Whatever else stands there counts;
    and where it calls something, which may run any function of the module, all of the
    module does.
    """
    active = [node for node in tree.body if not _is_quiet(node)]
    calls = any(isinstance(part, ast.Call) for node in active for part in ast.walk(node))
    return ast.dump(tree if calls else ast.Module(active, [])).encode() if active else b""


def _is_quiet(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        return all(map(_is_quiet_decorator, node.decorator_list)) and all(map(_is_plain, defaults))
    if isinstance(node, ast.ClassDef):
        parts = [*node.bases, *(keyword.value for keyword in node.keywords)]
        return (
            not node.decorator_list
            and all(map(_is_plain, parts))
            and all(map(_is_quiet, node.body))
        )
    if isinstance(node, ast.ImportFrom):
        return bool(node.level) or (node.module or "").split(".")[0] in QUIET
    if isinstance(node, ast.Import):
        return all(alias.name.split(".")[0] in QUIET for alias in node.names)
    if isinstance(node, ast.Assign):
        return all(isinstance(t, ast.Name) for t in node.targets) and _is_plain(node.value)
    if isinstance(node, ast.AnnAssign | ast.AugAssign):
        return isinstance(node.target, ast.Name) and (node.value is None or _is_plain(node.value))
    if isinstance(node, ast.If):  # `if not TYPE_CHECKING: __all__ = ...`
        return _is_plain(node.test) and all(map(_is_quiet, [*node.body, *node.orelse]))
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _is_quiet_decorator(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in QUIET_DECORATORS


def _is_plain(node: ast.expr) -> bool:
    """Whether an expression calls nothing and binds nothing."""
    loud = (ast.Call, ast.NamedExpr, ast.Await, ast.ListComp, ast.SetComp, ast.DictComp)
    return not any(isinstance(part, loud) for part in ast.walk(node))


@functools.lru_cache(maxsize=1024)
def _nodes(tree: ast.Module) -> list[ast.AST]:
    """List the nodes of a tree, once for all who ask."""
    return list(ast.walk(tree))


def _names(tree: ast.Module, folder: Path) -> set[Name]:
    """Find the constants that may name a file, seen from a folder."""
    return {
        (str(folder), node.value)
        for node in _nodes(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if 0 < len(node.value) < 200 and "\n" not in node.value and "\0" not in node.value
    }


def _file_below(root: Path, folder: str, name: str) -> str | None:
    """Return a file by its name below the root, if it is there: most are none."""
    file = os.path.join(folder, name)
    if not os.path.isfile(file):  # much quicker than with a Path
        return None
    path = Path(os.path.normpath(file))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def _parse(code: Iterable[str]) -> ast.Module | None:
    """Parse cells, IPython's own syntax included; None where that cannot be done."""
    cells = list(code)
    for translate in (str, TransformerManager().transform_cell):  # slow, and seldom needed
        try:
            return _parse_text("\n".join(map(translate, cells)))
        except SyntaxError:
            continue
    return None


@functools.lru_cache(maxsize=1024)
def _parse_text(text: str) -> ast.Module:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree: ast.Module = compile(text, "cells", "exec", flags)
    return tree


@functools.lru_cache(maxsize=1024)
def _parse_file(content: bytes) -> ast.Module | None:
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError):
        return None


def _module_name(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _add(state: Any, name: str, content: bytes) -> None:
    state.update(f"{name} {len(content)}\n".encode())
    state.update(content)
