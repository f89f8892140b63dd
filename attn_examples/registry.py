"""What each mechanism is, told once: the index, sidebar, lists and tests are made from it.

A family's file says in `MECHANISMS`, right after `__all__`, what it offers: a tuple of
plain dicts with the fields of `Mechanism`. Step and family follow from where the file stands,
`attn_examples/<step>/<family>.py`. The files are read, not imported.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ROOMS", "Mechanism", "mechanisms"]

ROOT = Path(__file__).parent.parent
# The packages and modules that hold mechanisms, in the order in which they are learned
ROOMS = {
    "core": "The four steps",
    "scores": "Step 1: scores",
    "masks": "Step 2: masks",
    "normalizers": "Step 3: normalizers",
    "mixes": "Step 4: mixing",
    "heads": "Heads",
    "positions": "Positions",
}


@dataclass(frozen=True)
class Mechanism:
    """One mechanism.

    Parameters
    ----------
    step, family : str
        Where it stands: "scores" and "dot_product"; the family of the core is "".
    name : str
        As the field says it, to be read in a table.
    call : str
        The object, or how it is called to be this mechanism.
    changes : str
        What it changes of its step, in a few words.
    page : str
        The page that explains it, seen from docs/, and its label if any: "formulas/masks#padding".
    papers : list of str
        Keys of conf/references.bib.
    without_paper : str
        Why there is none.
    oracles : dict of str to str
        Full names of implementations that are not ours, or "by hand" for a loop straight
        from the paper; each with the test in tests/ that compares.
    words : list of str
        What else people type when they look for it.
    cost : str
        What it costs beside plain attention: "less", "the same" or "more", and after a
        colon of what, in a few words: "more: a norm for each query and each key".
    used_in : dict of str to str
        Models that have it, each with the key of the paper or report that says so.
    thumbnail : str
        An expression that gives its picture, a matrix of at most 12 by 12 numbers or truth
        values: of the package's names, of `torch`, and of `query`, `key` and `value`, eight
        tokens in one head of a trained model.
    """

    step: str
    family: str
    name: str = ""
    call: str = ""
    changes: str = ""
    page: str = ""
    papers: list[str] = field(default_factory=list)
    without_paper: str = ""
    oracles: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    cost: str = ""
    used_in: dict[str, str] = field(default_factory=dict)
    thumbnail: str = ""

    @property
    def object(self) -> str:
        """The name that the package exports."""
        return self.call.partition("(")[0]

    @property
    def docname(self) -> str:
        """The page without its label."""
        return self.page.partition("#")[0]

    @property
    def label(self) -> str:
        """The label on the page, "" where the mechanism has the whole page."""
        return self.page.partition("#")[2]

    @property
    def file(self) -> str:
        """Where it stands, seen from the root of the project."""
        return "/".join(filter(None, ("attn_examples", self.step, self.family))) + ".py"

    @property
    def tests(self) -> str:
        """Where its tests stand, seen from the root of the project."""
        if not self.family:
            return f"tests/test_{self.step}.py"
        return f"tests/{self.step}/test_{self.family}.py"


def mechanisms(root: Path = ROOT) -> list[Mechanism]:
    """Return all mechanisms, in the order in which they are learned.

    Parameters
    ----------
    root : Path
        The folder with `attn_examples` in it.

    Raises
    ------
    ValueError
        If an entry is no plain literal, or has a field that `Mechanism` lacks.
    """
    found = []
    for step, family in families(root):
        file = Mechanism(step, family).file
        for entry in literal(root, file, "MECHANISMS"):
            unknown = set(entry) - set(Mechanism.__dataclass_fields__)
            if unknown:
                raise ValueError(
                    f"MECHANISMS in {file} has the unknown field {unknown.pop()!r}"
                )
            found.append(Mechanism(step, family, **entry))
    return found


def families(root: Path = ROOT) -> list[tuple[str, str]]:
    """Return step and family of each file, in the order in which `__init__` adds them up."""
    found = []
    for step in ROOMS:
        folder = root / "attn_examples" / step
        if folder.is_dir():
            order = re.findall(
                r"(\w+)\.__all__", (folder / "__init__.py").read_text("utf-8")
            )
            others = sorted(
                file.stem for file in folder.glob("*.py") if file.stem != "__init__"
            )
            found += [(step, family) for family in dict.fromkeys(order + others)]
        else:
            found.append((step, ""))
    return found


def literal(root: Path, file: str, name: str) -> tuple[Any, ...]:
    """Return what a file of the project binds a name to, without running it; () where it does not.

    Raises
    ------
    ValueError
        If it is no plain literal.
    """
    for node in ast.parse((root / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            try:
                return tuple(ast.literal_eval(node.value))
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{name} in {file} must be a tuple of plain literals"
                ) from error
    return ()
