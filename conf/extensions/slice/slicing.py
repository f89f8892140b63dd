"""What a cell of a page needs from the cells before it.

A backward slice, statement by statement: from the last to the first, take what binds or
changes a name that is needed so far. Random numbers, gradients and torch's settings count
as names. Errs on the side of taking too much; where it cannot tell at all, it takes all.

The gap: no tool cuts a notebook by cell and by what was imported from a package.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from attn_examples.standalone import names_in, rewrite, split

# State that has no name of its own in the code
RANDOM, PYTHON_RANDOM, GRADIENT, SETTINGS = "<random>", "<python random>", "<grad>", "<settings>"
STATE = {RANDOM, PYTHON_RANDOM, GRADIENT, SETTINGS}
# What calling a function of the page may change besides: its arguments, the object called
ARGUMENTS, ITSELF = "<arguments>", "<itself>"

DRAWS = {
    "bernoulli", "dropout", "from_pretrained", "manual_seed", "multinomial", "normal", "rand",
    "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm",
}  # fmt: skip
CHANGES = {  # methods that change what they are called on, besides torch's, which end in "_"
    "add", "append", "clear", "eval", "extend", "insert", "load_state_dict", "pop", "popitem",
    "register_buffer", "remove", "reverse", "setdefault", "sort", "step", "train", "update",
}  # fmt: skip
READS_ONLY = {"assert_close", "print"}
FRESH = {  # methods whose result shares no memory with what they are called on
    "abs", "all", "amax", "any", "argmax", "argsort", "clone", "cos", "cumsum", "deepcopy", "dim",
    "double", "exp", "float", "format", "int", "item", "join", "log", "masked_fill", "max", "mean",
    "median", "min", "norm", "numel", "prod", "relu", "sigmoid", "sin", "softmax",
    "sqrt", "square", "std", "sum", "tanh", "tolist", "var",
}  # fmt: skip
BINDING = (
    ast.AnnAssign, ast.Assign, ast.ClassDef, ast.FunctionDef, ast.Import, ast.ImportFrom,
)  # fmt: skip
UNSAFE = {"delattr", "eval", "exec", "globals", "locals", "setattr", "vars"}


@dataclass
class Statement:
    """A top-level statement of a page, and what it does to names."""

    text: str
    cell: int
    binds: set[str]
    uses: set[str]
    changes: set[str] = field(default_factory=set)  # what a name stands for, not the name
    aliases: set[str] = field(default_factory=set)  # names that may share what is bound
    replaces: bool = False  # whether what the bound names stood for no longer matters
    safe: bool = True


class Page:
    """The cells of a page, ready to be sliced.

    Parameters
    ----------
    cells : sequence of str
        Source of each code cell, in order.
    """

    def __init__(self, cells: Sequence[str]) -> None:
        self.statements: list[Statement] = []
        self.effects: dict[str, set[str]] = {}  # what calling a name of the page changes
        self.definitions: dict[str, set[str]] = {}  # what a function of the page uses
        self.modules: dict[str, str] = {}  # where an imported name comes from
        self.cells = cells
        for number, source in enumerate(cells):
            try:
                texts = split(source)
            except SyntaxError:  # a magic, say
                self.statements.append(Statement(source, number, set(), set(), safe=False))
                continue
            for first, text in enumerate(texts):
                self.statements.append(self._read("\n" * (not first) + text, number))
        for statement in self.statements:  # a function may use what is bound after it
            names = list(statement.uses)
            while names:
                new = self.definitions.get(names.pop(), set()) - statement.uses
                statement.uses |= new
                names += new
        self._share()

    def slice(self, number: int) -> list[Statement] | None:
        """Return the earlier statements that a cell needs, or None where that is unclear."""
        before = [s for s in self.statements if s.cell < number]
        if not all(s.safe for s in self.statements if s.cell <= number):
            return None
        needed = {SETTINGS}
        for statement in reversed([s for s in self.statements if s.cell == number]):
            needed = _before(statement, needed)
        taken: list[Statement] = []
        for statement in reversed(before):
            if (statement.binds | statement.changes) & needed:
                needed = _before(statement, needed)
                taken.append(statement)
        return [statement for statement in reversed(taken) if quiet(statement.text).strip()]

    def _read(self, text: str, cell: int) -> Statement:
        body = ast.parse(text).body
        binds, uses = map(set, names_in(text))
        statement = Statement(text, cell, binds, uses)
        for node in body:
            self._note_imports(node)
            reader = _Reader(self.effects, self.modules)
            reader.visit(node)
            statement.uses |= reader.uses
            statement.safe &= reader.safe
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.effects[node.name] = _effects(node, reader.changes, uses)
                self.definitions[node.name] = uses
            else:
                statement.changes |= reader.changes
                if isinstance(node, ast.Assign) and _effects_in(node.value, self.effects):
                    for name in binds:  # an object of a class of the page, say
                        self.effects[name] = _effects_in(node.value, self.effects)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                statement.aliases |= _shared(node.value)
        statement.replaces = all(isinstance(node, BINDING) for node in body)
        if _is_seed(body[0]):
            statement.binds.add(RANDOM)
            statement.changes.discard(RANDOM)
            statement.replaces = True
        return statement

    def _note_imports(self, node: ast.stmt) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import):
                for alias in inner.names:
                    name = alias.asname or alias.name.split(".")[0]
                    self.modules[name] = alias.name
            elif isinstance(inner, ast.ImportFrom):
                for alias in inner.names:
                    self.modules[alias.asname or alias.name] = inner.module or ""

    def _share(self) -> None:
        """Let a change of one name be a change of all that may stand for the same thing."""
        groups: dict[str, set[str]] = {}
        for statement in self.statements:
            changed = set().union(
                *(groups.get(name, {name}) for name in statement.changes), statement.changes
            )
            statement.changes = changed
            if statement.replaces:
                for name in statement.binds:
                    for other in groups.pop(name, set()):
                        groups.get(other, set()).discard(name)
            if statement.aliases or len(statement.binds) > 1:
                together = set().union(
                    statement.binds,
                    statement.aliases,
                    *(groups.get(name, set()) for name in statement.aliases),
                )
                for name in together:
                    groups[name] = set(together)


class _Reader(ast.NodeVisitor):
    """Collect what a statement changes without binding it."""

    def __init__(self, effects: dict[str, set[str]], modules: dict[str, str]) -> None:
        self.effects, self.modules = effects, modules
        self.changes: set[str] = set()
        self.uses: set[str] = set()
        self.safe = True

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Store | ast.Del):
            self.changes |= _roots(node)
        if node.attr == "grad":
            self.uses.add(GRADIENT)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Store | ast.Del):
            self.changes |= _roots(node)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.changes |= _roots(node.target)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self.safe &= not any(isinstance(target, ast.Name) for target in node.targets)
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        ours = (node.module or "").startswith("attn_examples")
        self.safe &= ours or not any(alias.name == "*" for alias in node.names)

    def visit_Expr(self, node: ast.Expr) -> None:
        """Take a call whose result nobody wants to be made for what it changes."""
        call = node.value
        if isinstance(call, ast.Call) and _last(call.func) not in READS_ONLY | DRAWS:
            roots = _roots(call.func)
            module = self.modules.get(min(roots, default=""), "")
            if roots & self.modules.keys():
                if not module.startswith("attn_examples"):
                    self.changes.add(SETTINGS)
            elif isinstance(call.func, ast.Attribute):
                self.changes |= roots
        self.generic_visit(node)

    def visit_With(self, node: ast.With) -> None:
        before = SETTINGS in self.changes
        self.generic_visit(node)
        if not before and any("catch_warnings" in ast.dump(item) for item in node.items):
            self.changes.discard(SETTINGS)  # it puts back what it found

    def visit_Call(self, node: ast.Call) -> None:
        name, roots = _last(node.func), _roots(node.func)
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        given = {keyword.arg: _roots(keyword.value) for keyword in node.keywords}
        if isinstance(node.func, ast.Name) and name in UNSAFE:
            self.safe &= name in {"eval", "exec"} and len(node.args) > 1  # in names of its own
            self.changes |= set().union(*map(_roots, node.args[1:]))
        if isinstance(node.func, ast.Attribute) and (
            name in CHANGES or (name.endswith("_") and not name.startswith("_"))
        ):
            self.changes |= roots
        if name == "next":
            self.changes |= set().union(*map(_roots, node.args))
        self.changes |= given.get("out", set()) | given.get("generator", set())
        if name in {"backward", "zero_grad", "step", "clip_grad_norm_"}:
            self.changes.add(GRADIENT)
            self.uses.add(GRADIENT)
        if self._draws(node) and "generator" not in given:
            state = PYTHON_RANDOM if "random" in roots else RANDOM
            self.changes.add(state)
            if name != "manual_seed":
                self.uses.add(state)
        for root in roots & self.effects.keys():
            effects = self.effects[root]
            self.changes |= effects - {ARGUMENTS, ITSELF}
            self.uses |= effects & (STATE - {SETTINGS})
            if ITSELF in effects:
                self.changes.add(root)
            if ARGUMENTS in effects:
                self.changes |= set().union(*map(_shared, arguments))
        self.generic_visit(node)

    def _draws(self, node: ast.Call) -> bool:
        name = _last(node.func)
        if name in DRAWS or (name.endswith("_") and name.startswith(("normal", "uniform", "init"))):
            return True
        root = min(_roots(node.func), default="")
        origin = self.modules.get(root, "").split(".")[0]
        if origin == "random":
            return True
        if not name[:1].isupper() or name.isupper():
            return "dropout" in name or name == "dropped"
        return origin in {"torch", "transformers", "x_transformers", "attn_examples"}


@cache
def quiet(text: str) -> str:
    """Leave out what an earlier statement only prints or asserts, but not what it defines."""
    kept = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }

    def replace(node: ast.stmt) -> str | None:
        if node.lineno in kept:
            return None
        if isinstance(node, ast.Assert):
            return ""
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            return "" if _last(node.value.func) in READS_ONLY else None
        return None

    return rewrite(text, replace)


def _before(statement: Statement, needed: set[str]) -> set[str]:
    """Return what is needed before a statement that is taken."""
    if statement.replaces:
        needed = needed - statement.binds
    return needed | statement.uses | (statement.changes - {SETTINGS})


def _roots(node: ast.AST) -> set[str]:
    """Return the names that an expression of attributes, items and calls begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Tuple | ast.List):
        return set().union(*map(_roots, node.elts))
    return {node.id} if isinstance(node, ast.Name) else set()


def _shared(node: ast.AST) -> set[str]:
    """Return the names whose objects the value of an expression may hold or be."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.BinOp | ast.Compare | ast.UnaryOp | ast.JoinedStr | ast.Constant):
        return set()
    if isinstance(node, ast.Call):
        name = _last(node.func)
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if isinstance(node.func, ast.Attribute):
            if name in FRESH:
                return set()
            roots = _roots(node.func)
            if roots & {"torch", "F"} and not name[:1].isupper():
                return set()
            return set().union(_shared(node.func.value), *map(_shared, arguments))
        return set().union(*map(_shared, arguments))
    return set().union(*map(_shared, ast.iter_child_nodes(node)))


def _effects(node: ast.FunctionDef | ast.ClassDef, changes: set[str], uses: set[str]) -> set[str]:
    """Return what calling a function, or an object of a class, may change."""
    effects = changes & (uses | STATE)
    functions = [n for n in ast.walk(node) if isinstance(n, ast.FunctionDef)]
    for function in functions:
        arguments = function.args
        given = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
        reader = _Reader({}, {})
        for inner in function.body:
            reader.visit(inner)
        if reader.changes & (given - {"self"}):
            effects.add(ARGUMENTS)
        if "self" in reader.changes and function.name != "__init__":
            effects.add(ITSELF)
    return effects


def _effects_in(node: ast.AST, effects: dict[str, set[str]]) -> set[str]:
    names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    return set().union(*(effects.get(name, set()) for name in names))


def _last(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_seed(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and _last(node.value.func) == "manual_seed"
        and _roots(node.value.func) == {"torch"}
    )
