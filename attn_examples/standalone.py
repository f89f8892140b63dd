"""Turn code that uses this package into code that runs without it.

`python -m attn_examples copy` prints what `one_file` makes, and the copy buttons of the site
are made with `inline`. Both put the source of what is used, and of what that uses, before
the code.

That source has two kinds of guard. A call of `check_...` says in better words what torch
mostly refuses too; copies leave it out. What else raises, in place or in `refuse_...`, mostly
stands where the result would be wrong without a word; copies keep it.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import doctest
import importlib
import importlib.util
import inspect
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

import attn_examples

__all__ = [
    "inline",
    "is_import",
    "names_in",
    "needs",
    "one_file",
    "rewrite",
    "shortened",
    "split",
]

_PACKAGE = "attn_examples"
_LONG = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_Imported = tuple[str, str, str]  # module, name there, name here
_ON_MASKS = "# In a mask True means allowed: the opposite of nn.MultiheadAttention."


def one_file(*names: str, checks: bool = False) -> str:
    """Return the source of mechanisms as one file that needs torch alone.

    Parameters
    ----------
    *names : str
        Names that `attn_examples` exports, such as "MultiHeadAttention".
    checks : bool, default False
        Whether to keep the checks that say in better words what torch refuses anyway.

    Returns
    -------
    str
        Imports and, each once, the definitions in the order of their use. Of a single
        name also the example of its docstring, which does not run at import.

    Raises
    ------
    ValueError
        If there is no name, or the package exports no such name; the closest ones are
        suggested.
    """
    if not names:
        raise ValueError(
            "names is empty but must name a mechanism: `list` shows all of them"
        )
    names = tuple(dict.fromkeys(names))
    taken = _Taken(checks)
    for name in names:
        if name not in attn_examples.__all__:
            close = difflib.get_close_matches(
                name, attn_examples.__all__, n=3, cutoff=0.5
            )
            hint = (
                f"the closest are {', '.join(close)}"
                if close
                else "`list` shows all of them"
            )
            raise ValueError(
                f"name ({name!r}) must be one that attn_examples exports: {hint}"
            )
        taken.take(_PACKAGE, name)
    example = _example(names[0]) if len(names) == 1 else []
    for text in example:  # it may use more of the package
        for module, name, _ in _from_package(text):
            taken.take(module, name)
    python, torch = needs()
    left_out = "" if checks else ", and checks of what torch refuses anyway left out"
    header = (
        f"{', '.join(names)}, from Attention by Example (attn_examples "
        f"{metadata.version(_PACKAGE)}), docstrings shortened{left_out}."
    )
    comments = textwrap.wrap(header, 88, initial_indent="# ", subsequent_indent="# ")
    comments.append(f"# Needs Python{python} and {torch}.")
    if taken.has_masks:
        comments.append(_ON_MASKS)
    comments.append("# SPDX-FileCopyrightText: 2026 The Attention by Example authors")
    comments.append("# SPDX-License-Identifier: MIT")
    texts = [_sorted_imports(taken.imports), *taken.definitions.values()]
    if example:
        texts.append(_under_main(example, taken.imports))
    return "\n".join([*comments, "", *_lay_out(texts)]) + "\n"


def needs() -> tuple[str, str]:
    """Return the least Python and torch, as in (">=3.11", "torch>=2.0").

    Returns
    -------
    tuple of str
        What pyproject.toml says of them.
    """
    about = metadata.metadata(_PACKAGE)
    (torch,) = (r for r in metadata.requires(_PACKAGE) or () if r.startswith("torch"))
    return about["Requires-Python"], torch


def inline(statements: Sequence[str], *, checks: bool = False) -> list[str]:
    """Replace what statements import from this package by its source.

    Parameters
    ----------
    statements : sequence of str
        Source, each a top-level statement with the comments before it, as `split` gives.
    checks : bool, default False
        Whether to keep the checks that say in better words what torch refuses anyway.

    Returns
    -------
    list of str
        Lines or groups of lines, to be joined by line breaks: the imports that may move, the
        definitions of the package in the order of their use, and what is left.

    Raises
    ------
    ValueError
        If the package is imported whole, as a module: it cannot be taken apart.
    """
    taken = _Taken(checks)
    for text in statements:
        for module, name, _ in _from_package(text):
            taken.take(module, name)
    definitions = list(taken.definitions.values())
    outside = _movable(statements)
    kept = [text for text in statements if text not in outside]

    # a name may stand for one thing in the package and for another in the statements
    theirs = set().union(
        *(names_in(text)[0] for text in kept if not _from_package(text))
    )
    theirs |= _clashes(outside, taken.imports)
    ours = set().union(*(names_in(text)[0] for text in (*definitions, *taken.imports)))
    used = set().union(*(names_in(text)[1] for text in definitions))
    shadowed = theirs & used & set(dir(builtins))
    hidden = bool(theirs & ours or shadowed)

    kept = [rest for text in kept if (rest := _without_package(text, hidden)).strip()]
    if kept:
        kept[0] = kept[0].lstrip("\n")
    imports = [*outside, *taken.imports]
    if hidden:
        exported = sorted(
            {name for text in statements for _, name, _ in _from_package(text)}
        )
        definitions = [_in_function(definitions, taken.imports, exported, shadowed)]
        imports = outside
    notes = [_ON_MASKS] if taken.has_masks else []
    laid = _lay_out([_sorted_imports(imports), *notes, *definitions, *kept[:1]])
    return laid + kept[1:]


def _in_function(
    definitions: list[str],
    imports: Iterable[str],
    exported: list[str],
    shadowed: set[str],
) -> str:
    """Put definitions into a function, which returns what is wanted of them by name."""
    head = [f"from builtins import {', '.join(sorted(shadowed))}"] if shadowed else []
    end = f"return dict({', '.join(f'{name}={name}' for name in exported)})"
    lines = [*head, _sorted_imports(imports), *definitions, end]
    body = textwrap.indent("\n\n".join(line for line in lines if line), "    ")
    return f"def _{_PACKAGE}():\n{body}\n\n\n_{_PACKAGE} = _{_PACKAGE}()"


def _movable(statements: Sequence[str]) -> list[str]:
    """Return the imports that may go to the top, since nothing else binds their names."""
    binders: dict[str, set[str]] = {}
    for text in statements:
        for name in names_in(text)[0] if not _from_package(text) else ():
            binder = _import_of(name, text) if is_import(text) else text
            binders.setdefault(name, set()).add(binder)
    return [
        text
        for text in statements
        if is_import(text)
        and not _from_package(text)
        and not text.lstrip().startswith("#")
        and all(len(binders[name]) == 1 for name in names_in(text)[0])
    ]


def _lay_out(texts: Iterable[str]) -> list[str]:
    """Put two empty lines around functions and classes, else one."""
    laid: list[str] = []
    was_long = False
    for text in filter(None, texts):
        is_long = _ends_long(text)
        if laid:
            laid += ["", ""] if is_long or was_long else [""]
        laid.append(text)
        was_long = is_long
    return laid


@cache
def _ends_long(text: str) -> bool:
    body = ast.parse(text).body  # empty where there is but a comment
    return bool(body) and isinstance(body[-1], (*_LONG, ast.If))


@cache
def names_in(source: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the global names that a piece of source binds, and those that it uses."""
    scopes = [symtable.symtable(source, "source", "exec")]
    bound = {
        s.get_name()
        for s in scopes[0].get_symbols()
        if s.is_assigned() or s.is_imported()
    }
    used = {s.get_name() for s in scopes[0].get_symbols() if s.is_referenced()}
    used |= {  # which symtable takes for binding alone
        node.target.id
        for node in _outside_functions(ast.parse(source))
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)
    }
    while scopes:
        inner = scopes.pop().get_children()
        used |= {s.get_name() for t in inner for s in t.get_symbols() if s.is_global()}
        bound |= {
            s.get_name()
            for t in inner
            for s in t.get_symbols()
            if s.is_declared_global()
        }
        scopes += inner
    return frozenset(bound), frozenset(used)


def split(source: str) -> list[str]:
    """Split source into its top-level statements, each with the lines before it."""
    lines = source.splitlines()
    texts: list[str] = []
    start = end = 0
    body = ast.parse(source).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        end = node.end_lineno or end
        if following and _first_line(following) <= end:
            continue  # on one line: they stay together
        if not following:
            end = len(lines)  # the comments at the end
        texts.append("\n".join(lines[start:end]))
        start = end
    return texts


def rewrite(source: str, replace: Callable[[ast.stmt], str | None]) -> str:
    """Replace statements at every depth, and keep all other lines as they are written.

    Parameters
    ----------
    source : str
    replace : callable
        Takes a statement; returns None to keep it, text to put in its place, or "" to
        drop it. A `for`, `if` or `with` of which nothing is left is dropped with it.
    """
    lines = source.splitlines()
    edits: list[tuple[int, int, str]] = []

    def texts(suite: list[ast.stmt]) -> list[str | None]:
        found = [replace(node) for node in suite]
        for i, node in enumerate(suite):
            if found[i] is None and isinstance(node, ast.With | ast.For | ast.If):
                inner = texts([*node.body, *getattr(node, "orelse", [])])
                found[i] = "" if set(inner) == {""} else None
        return found

    def visit(suite: list[ast.stmt], *, top: bool = False) -> None:
        found = texts(suite)
        if set(found) == {""} and not top:
            found[-1] = "pass"
        for node, text in zip(suite, found, strict=True):
            if text is not None:
                edits.append((_first_line(node), node.end_lineno or 0, text))
                continue
            for block in ("body", "orelse", "finalbody"):
                inner = getattr(node, block, None)
                if not isinstance(inner, list) or not inner:
                    continue
                above = node.body[-1] if isinstance(node, ast.If) else None
                if above and block == "orelse" and set(texts(inner)) == {""}:
                    first = (above.end_lineno or 0) + 1  # the line of `else`
                    edits.append((first, inner[-1].end_lineno or 0, ""))
                else:
                    visit(inner)
            for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
                visit(part.body)

    visit(ast.parse(source).body, top=True)
    for first, last, text in reversed(edits):
        indent = lines[first - 1][
            : len(lines[first - 1]) - len(lines[first - 1].lstrip())
        ]
        new = [indent + line for line in text.splitlines()]
        before = lines[first - 2].strip() if first > 1 else ""
        # whether a blank line after it parts statements
        parts = before and not before.endswith(":")
        if not new and not parts and last < len(lines) and not lines[last].strip():
            last += 1
        lines[first - 1 : last] = new
    return "\n".join(lines)


@cache
def shortened(source: str, *, summary: bool = False, checks: bool = True) -> str:
    """Leave out docstrings, or all but their first line, and if asked calls of `check_...`."""
    first_lines = {
        node.body[0].lineno: docstring.splitlines()[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and (docstring := ast.get_docstring(node))
    }

    def replace(node: ast.stmt) -> str | None:
        if isinstance(node, ast.Expr) and node.lineno in first_lines:
            return f'"""{first_lines[node.lineno]}"""' if summary else ""
        return "" if not checks and _is_check(node) else None

    return rewrite(source, replace)


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if not isinstance(node, _LONG):
        for inner in ast.iter_child_nodes(node):
            yield from _outside_functions(inner)


def _is_check(node: ast.stmt) -> bool:
    """Tell the call of a `check_...`, and a method of that name."""
    name = ""
    if isinstance(node, ast.FunctionDef) and node.col_offset:
        name = node.name
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        name = (
            called.attr
            if isinstance(called, ast.Attribute)
            else getattr(called, "id", "")
        )
    return name.startswith(("check_", "_check"))


def _example(name: str) -> list[str]:
    """Return the statements of a docstring's example, with results printed."""
    statements = []
    docstring = inspect.getdoc(getattr(attn_examples, name)) or ""
    for example in doctest.DocTestParser().get_examples(docstring):
        source = example.source.rstrip("\n")
        node = ast.parse(source).body[0]
        if isinstance(node, ast.Expr) and example.want:
            value = ast.get_source_segment(source, node.value) or ""
            source = source.replace(value, f"print({value})", 1)
        if not example.exc_msg:  # else it shows what is refused
            statements.append(source)
    return statements


def _under_main(statements: Iterable[str], there: Iterable[str]) -> str:
    """Put statements where they do not run at import, without the imports that are there."""
    imports = [
        text for text in statements if is_import(text) and not _from_package(text)
    ]
    imports = [text for text in imports if text not in there]
    rest = [text for text in statements if not is_import(text)]
    body = "\n".join([*imports, *[""] * bool(imports), *rest])
    return 'if __name__ == "__main__":\n' + textwrap.indent(body, "    ")


# -- The package's own source --------------------------------------------------------


@cache
def _statements(module: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the definitions and the imports of a module by the name they bind."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no module {module}")
    definitions: dict[str, str] = {}
    imports: dict[str, str] = {}
    for text in split(Path(spec.origin).read_text(encoding="utf-8")):
        bound, _ = names_in(text)
        if is_import(text):
            bound |= {here for _, _, here in _from_package(text)}  # by a star, too
            imports |= dict.fromkeys(bound, text)
        else:
            for name in bound:  # after its overloads the function itself
                definitions[name] = (
                    f"{definitions[name]}\n{text}" if name in definitions else text
                )
    return definitions, imports


@dataclass
class _Taken:
    """What is taken from the package: definitions, and the imports that they need."""

    checks: bool
    # by module.name, in order of use
    definitions: dict[str, str] = field(default_factory=dict)
    imports: dict[str, None] = field(default_factory=dict)
    has_masks: bool = False  # among what is taken or made by one of the functions
    asked: set[tuple[str, str]] = field(default_factory=set)  # each name once

    def take(self, module: str, name: str) -> None:
        """Add the definition of a name, after those of what it uses."""
        if (module, name) in self.asked:
            return
        self.asked.add((module, name))
        defined, imported = _statements(module)
        if name in imported:
            self._take_imported(module, name, imported[name])
            return
        if name not in defined:
            raise ValueError(f"{module} has no {name}")
        tool = module.startswith(f"{_PACKAGE}.exercises.")  # its errors are its work
        text = defined[name].strip("\n")
        text = shortened(text, summary=not tool, checks=self.checks or tool)
        for source_module, source_name, _ in _from_package(text):
            self.take(source_module, source_name)
        text = _without_package(text, hidden=False)
        for used in sorted(names_in(text)[1] & {*defined, *imported}):
            if used != name:
                self.take(module, used)
        if name in {full.rpartition(".")[2] for full in self.definitions}:
            raise ValueError(
                f"{module}.{name} has the name of another definition of the package"
            )
        if text not in self.definitions.values():  # one statement may bind two names
            self.definitions[f"{module}.{name}"] = text
        self.has_masks |= not tool and _speaks_of_masks(text)

    def _take_imported(self, module: str, name: str, text: str) -> None:
        if not _from_package(text):
            line = _import_of(name, text)
            if clash := _clashes([line], self.imports):
                raise ValueError(
                    f"{module} imports another {clash.pop()} than the rest"
                )
            self.imports[line] = None
        for source_module, source_name, here in _from_package(text):
            if here == name:
                self.take(source_module, source_name)


@cache
def _speaks_of_masks(source: str) -> bool:
    """Tell whether a function, or an argument of one, has a name that ends in "mask"."""
    return any(
        (node.arg if isinstance(node, ast.arg) else node.name).endswith("mask")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.arg | ast.FunctionDef)
    )


# -- Imports ---------------------------------------------------------------------------


@cache
def _from_package(source: str) -> tuple[_Imported, ...]:
    """Find what a piece of source imports from the package, at any depth."""
    found: list[_Imported] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == _PACKAGE:
                    raise ValueError(
                        f"`import {alias.name}` imports a module, which cannot be "
                        f"inlined: import names, `from {alias.name} import ...`"
                    )
        elif isinstance(node, ast.ImportFrom) and _is_ours(node):
            module = node.module or ""
            for alias in node.names:
                names = [alias.name] if alias.name != "*" else _exported(module)
                found += [(module, name, alias.asname or name) for name in names]
    return tuple(found)


def _is_ours(node: ast.ImportFrom) -> bool:
    return node.level == 0 and (node.module or "").split(".")[0] == _PACKAGE


def _exported(module: str) -> list[str]:
    names: list[str] = importlib.import_module(module).__all__
    return names


@cache
def _without_package(source: str, hidden: bool) -> str:
    """Replace imports from the package by what binds the same names."""

    def replace(node: ast.stmt) -> str | None:
        if not isinstance(node, ast.ImportFrom) or not _is_ours(node):
            return None
        found = _from_package(ast.unparse(node))
        if hidden:
            return "\n".join(
                f'{here} = _{_PACKAGE}["{name}"]' for _, name, here in found
            )
        return "\n".join(f"{here} = {name}" for _, name, here in found if here != name)

    return rewrite(source, replace)


@cache
def is_import(source: str) -> bool:
    """Tell whether a piece of source is one import and nothing else."""
    body = ast.parse(source).body
    return len(body) == 1 and isinstance(body[0], ast.Import | ast.ImportFrom)


@cache
def _import_of(name: str, source: str) -> str:
    """Keep of an import the one name that is needed."""
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.Import | ast.ImportFrom)
    node.names = [a for a in node.names if (a.asname or a.name.split(".")[0]) == name]
    return ast.unparse(node)


def _clashes(first: Iterable[str], second: Iterable[str]) -> set[str]:
    """Return the names that two sets of imports bind to different things."""
    one, two = (
        {name: _import_of(name, text) for text in texts for name in names_in(text)[0]}
        for texts in (first, second)
    )
    return {name for name in one.keys() & two.keys() if one[name] != two[name]}


def _sorted_imports(sources: Iterable[str]) -> str:
    """Write imports in the usual order: the standard library's, then the others'."""
    plain: set[str] = set()
    members: dict[str, set[str]] = {}
    for source in sources:
        for node in ast.parse(source).body:
            if isinstance(node, ast.Import):
                plain |= {ast.unparse(ast.Import([alias])) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
                for alias in node.names:
                    as_well = f"{node.module} import {ast.unparse(alias)}"
                    key = as_well if alias.asname else f"{node.module} import"
                    members.setdefault(key, set()).add(alias.name)
    lines = sorted(plain)
    for key, names in sorted(members.items()):
        order = sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
        lines.append(
            f"from {key}" if " as " in key else f"from {key} {', '.join(order)}"
        )
    is_standard = {
        line: line.split()[1].split(".")[0] in sys.stdlib_module_names for line in lines
    }
    blocks = (
        "\n".join(line for line in lines if is_standard[line] is s)
        for s in (True, False)
    )
    return "\n\n".join(block for block in blocks if block)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
