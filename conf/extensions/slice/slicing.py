"""What a cell of a page needs from the cells before it.

A backward slice, statement by statement: from the last to the first, take what binds or
changes a name that is needed so far. Random numbers, gradients and torch's settings count
as names. Errs on the side of taking too much; where it cannot tell at all, it takes all.

The gap: no tool cuts a notebook by cell and by what was imported from a package.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence, Set
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
WRITTEN = {"cache", "generator", "out"}  # arguments that what is called changes
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
        self.products: dict[str, set[str]] = {}  # and calling what it gives
        self.definitions: dict[str, set[str]] = {}  # what a function of the page uses
        self.needs: dict[str, set[str]] = {}  # and the state that it may find when called
        # The parameters of a function of the page, in order, and whether it changes them
        self.parameters: dict[str, dict[str, bool]] = {}
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
        statement = Statement(text, cell, binds, _exposed(body, set()))
        for node in body:
            self._note_imports(node)
            reader = self._reader(node)
            statement.safe &= reader.safe
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.effects[node.name] = _effects(node, reader.changes, uses)
                self.products[node.name] = self._products(node, uses)
                self.parameters.pop(node.name, None)
                if isinstance(node, ast.FunctionDef):
                    self.parameters[node.name] = _parameters(node)
                self.definitions[node.name] = uses
                self.needs[node.name] = reader.uses - (
                    {RANDOM} if self._seeds_first(node) else set()
                )
            else:
                seeded = isinstance(node, ast.For) and self._seeds_first(node)
                statement.uses |= reader.uses - ({RANDOM} if seeded else set())
                statement.changes |= reader.changes
                if isinstance(node, ast.Assign) and (made := self._products(node, uses)):
                    self.effects |= dict.fromkeys(binds, made)
                    self.products |= dict.fromkeys(binds, made)
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                statement.aliases |= _shared(node.value)
        statement.replaces = all(isinstance(node, BINDING) for node in body)
        if _is_seed(body[0]):
            statement.binds.add(RANDOM)
            statement.changes.discard(RANDOM)
            statement.replaces = True
        return statement

    def _reader(self, node: ast.stmt) -> _Reader:
        reader = _Reader(self, hidden=_own(node))
        reader.visit(node)
        return reader

    def _products(self, node: ast.stmt, uses: set[str]) -> set[str]:
        """Return what calling what a statement makes may change: an object, or a closure."""
        if isinstance(node, ast.ClassDef):  # its objects have been made
            methods = [n for n in node.body if getattr(n, "name", "") != "__init__"]
            node = ast.ClassDef(node.name, [], [], methods or [ast.Pass()], [])
            return _effects(node, self._reader(node).changes, uses)
        made = set().union(*(self.products.get(name, set()) for name in uses))
        if _gives_a_function(node):
            made |= set().union(*(self.effects.get(name, set()) for name in uses))
            made |= self._reader(node).changes & STATE
        return made

    def _seeds_first(self, node: ast.FunctionDef | ast.ClassDef | ast.For) -> bool:
        """Tell whether each run of a body seeds torch before it draws."""
        for inner in node.body if not isinstance(node, ast.ClassDef) else ():
            if _is_seed(inner):
                return True
            if RANDOM in self._reader(inner).uses:
                return False
        return False

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

    def __init__(self, page: Page, hidden: Set[str] = frozenset()) -> None:
        self.effects = {n: e for n, e in page.effects.items() if n not in hidden}
        self.needs = {n: s for n, s in page.needs.items() if n not in hidden}
        self.parameters, self.modules = page.parameters, page.modules
        self.changes: set[str] = set()
        self.uses: set[str] = set()
        self.safe = True

    def visit_Name(self, node: ast.Name) -> None:
        """Take a function of the page to be called where it is named: it may be passed on."""
        if isinstance(node.ctx, ast.Load) and node.id in self.needs:
            self.uses |= self.needs[node.id]
            self.changes |= self.effects[node.id] & (STATE - {SETTINGS})

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

    def visit_For(self, node: ast.For) -> None:
        """Take what a loop changes one by one for a change of what they are from."""
        self.generic_visit(node)
        if self.changes & {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}:
            self.changes |= _shared(node.iter)

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
                if not (module.startswith("attn_examples") or _last(call.func).endswith("_")):
                    self.changes.add(SETTINGS)
            elif isinstance(call.func, ast.Attribute):
                self.changes |= roots - {"super"}
        self.generic_visit(node)

    def visit_With(self, node: ast.With) -> None:
        before = SETTINGS in self.changes
        self.generic_visit(node)
        if not before and any("catch_warnings" in ast.dump(item) for item in node.items):
            self.changes.discard(SETTINGS)  # it puts back what it found

    def visit_Call(self, node: ast.Call) -> None:
        name, roots = _last(node.func), _roots(node.func)
        given = {keyword.arg: _roots(keyword.value) for keyword in node.keywords}
        if isinstance(node.func, ast.Name) and name in UNSAFE:
            self.safe &= name in {"eval", "exec"} and len(node.args) > 1  # in names of its own
            self.changes |= set().union(*map(_roots, node.args[1:]))
        if isinstance(node.func, ast.Attribute) and (
            name in CHANGES or (name.endswith("_") and not name.startswith("_"))
        ):  # a method changes its object, and torch's functions of such names their arguments
            in_module = roots & self.modules.keys()
            self.changes |= set().union(*map(_shared, node.args)) if in_module else roots
        if name == "manual_seed" and not _is_seed(node):  # of a generator
            self.changes |= roots - self.modules.keys()
        if name == "next":
            self.changes |= set().union(*map(_roots, node.args))
        self.changes |= set().union(*(given.get(name, set()) for name in WRITTEN))
        if name in {"backward", "zero_grad", "step", "clip_grad_norm_"}:
            if name != "zero_grad" and GRADIENT not in self.changes:
                self.uses.add(GRADIENT)
            self.changes.add(GRADIENT)
        if self._draws(node) and "generator" not in given:
            state = PYTHON_RANDOM if "random" in roots else RANDOM
            self.changes.add(state)
            if name != "manual_seed":
                self.uses.add(state)
        for root in roots & self.effects.keys():
            effects = self.effects[root]
            self.changes |= effects - {ARGUMENTS, ITSELF}
            if root not in self.needs:  # an object: of a function, see `visit_Name`
                self.uses |= effects & (STATE - {SETTINGS})
            if ITSELF in effects:
                self.changes.add(root)
            if ARGUMENTS in effects:
                self.changes |= set().union(*map(_shared, self._changed(node)))
        self.generic_visit(node)

    def _changed(self, node: ast.Call) -> list[ast.expr]:
        """Return the arguments that a call may change."""
        by_name = {keyword.arg: keyword.value for keyword in node.keywords}
        spread = None in by_name or any(isinstance(a, ast.Starred) for a in node.args)
        known = self.parameters.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if spread or known is None or len(node.args) > len(known):
            return [*node.args, *by_name.values()]
        by_name |= dict(zip(known, node.args, strict=False))
        return [value for name, value in by_name.items() if known.get(str(name), True)]

    def _draws(self, node: ast.Call) -> bool:
        name = _last(node.func)
        if name == "manual_seed":
            return _is_seed(node)
        if name in DRAWS or (name.endswith("_") and name.startswith(("normal", "uniform", "init"))):
            return True
        root = min(_roots(node.func), default="")
        origin = self.modules.get(root, "").split(".")[0]
        if origin == "random":
            return True
        if not name[:1].isupper() or name == "Generator":
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
    return needed | statement.uses | (statement.changes - STATE)


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
    for function in (n for n in ast.walk(node) if isinstance(n, ast.FunctionDef)):
        changed = {name for name, changes in _parameters(function).items() if changes}
        if changed - {"self"}:
            effects.add(ARGUMENTS)
        if "self" in changed and function.name != "__init__":
            effects.add(ITSELF)
    return effects


def _parameters(function: ast.FunctionDef) -> dict[str, bool]:
    """Return the parameters of a function in order, and whether it changes each of them."""
    reader = _Reader(Page(()))
    for inner in function.body:
        reader.visit(inner)
    arguments = function.args
    ordered = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    return {argument.arg: argument.arg in reader.changes for argument in ordered}


def _last(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _is_seed(node: ast.AST) -> bool:
    """Tell whether this is `torch.manual_seed(...)`, as a statement or its call."""
    call = node.value if isinstance(node, ast.Expr) else node
    return isinstance(call, ast.Call) and ast.unparse(call.func) == "torch.manual_seed"


def _gives_a_function(node: ast.stmt) -> bool:
    """Tell whether what a statement assigns, or what a function returns, may be a closure."""
    if not isinstance(node, ast.FunctionDef):
        return any(isinstance(n, ast.Lambda) for n in ast.walk(node))
    inner = [n for n in ast.walk(node) if n is not node]
    returns = [n for n in inner if isinstance(n, ast.Return)]
    return any(isinstance(n, ast.FunctionDef) for n in inner) or any(
        map(_gives_a_function, returns)
    )


def _own(node: ast.AST) -> set[str]:
    """Return the parameters of a function, and of the methods of a class: names of their own."""
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        return set()
    return {inner.arg for inner in ast.walk(node) if isinstance(inner, ast.arg)}


def _exposed(body: Sequence[ast.stmt], bound: set[str]) -> set[str]:
    """Return the names that statements use before they bind them; add those to `bound`."""
    exposed: set[str] = set()
    for node in body:
        if isinstance(node, ast.For):
            exposed |= names_in(ast.unparse(node.iter))[1] - bound
            exposed |= _exposed(node.body, bound | _names(node.target))
            exposed |= _exposed(node.orelse, set(bound))
            continue
        head: ast.stmt = node
        if isinstance(node, ast.With):
            head = ast.copy_location(ast.With(node.items, [ast.Pass()]), node)
        binds, uses = names_in(ast.unparse(head))
        exposed |= uses - bound
        if isinstance(node, (*BINDING, ast.With)):
            bound |= binds
        if isinstance(node, ast.With):
            exposed |= _exposed(node.body, bound)
    return exposed


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
