"""Make every table of symbols from the one on the page of the notation.

The gap: Sphinx knows what a term means (its glossary), not what a letter in a formula means.
The directive `{symbols} $L$, $S$, $Q$` shows the rows of these symbols as they stand on
`reference/notation`, so that no page can give a letter a second meaning; a table of symbols
that is written by hand, a symbol that the notation lacks, one that has two rows there, and
one that no formula of the page uses are warnings, which end a strict build.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

PAGE = "reference/notation"
COLUMNS = ("symbol", "meaning", "shape", "in code")
TEX = re.compile(r"\$([^$]+)\$")
BAR = re.compile(r"(?<!\\)\|")

Row = dict[str, str]


class Symbols(SphinxDirective):
    """The directive `{symbols} $Q$, $K$`: a row that explains several of them is shown once."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Write the table as Markdown, in the order asked for, and have that read."""
        source = Path(self.env.doc2path(PAGE))
        self.env.note_dependency(str(source))
        try:
            known = rows(source.read_text(encoding="utf-8"))
            asked = [known[plain(symbol)] for symbol in TEX.findall(self.arguments[0])]
        except KeyError as error:
            raise self.error(
                f"symbols: docs/{PAGE}.md has no row for ${error.args[0]}$: add it there"
            ) from error
        except ValueError as error:
            raise self.error(f"symbols: {error}") from error
        table = self.parse_text_to_nodes("\n".join(written(asked)))
        for node in table:
            if isinstance(node, nodes.Element):
                node["classes"].append("symbols")
        return table


def plain(symbol: str) -> str:
    """Write a symbol in the one way in which symbols are compared: without spaces."""
    return re.sub(r"\s+|\\[,;!]", "", symbol)


def rows(text: str) -> dict[str, Row]:
    """Return the row of each symbol from the tables whose first column is headed “symbol”.

    Raises
    ------
    ValueError
        If a symbol has two rows.
    """
    found: dict[str, Row] = {}
    header: list[str] = []
    for line in text.splitlines():
        if not line.startswith("|"):
            header = []
            continue
        cells = [cell.strip() for cell in BAR.split(line)[1:-1]]
        if not header:
            header = cells
        elif header[0] == "symbol" and set("".join(cells)) != {"-"}:
            row = dict(zip(header, cells, strict=True))
            for symbol in map(plain, TEX.findall(cells[0])):
                if symbol in found:
                    raise ValueError(f"docs/{PAGE}.md gives ${symbol}$ two meanings: keep one")
                found[symbol] = row
    return found


def written(asked: list[Row]) -> list[str]:
    """Write rows as a Markdown table, each once, without columns in which none has anything."""
    once = list({row["symbol"]: row for row in asked}.values())
    columns = [name for name in COLUMNS if any(row.get(name) for row in once)]
    lines = [columns, ["---"] * len(columns)]
    lines += [[row.get(name, "") for name in columns] for row in once]
    return [f"| {' | '.join(line)} |" for line in lines]


def look(app: Sphinx, doctree: nodes.document) -> None:
    """Warn of what is wrong with the tables of a page, which ends a strict build."""
    if app.env.docname != PAGE:
        for table, fault in faults(doctree):
            logger.warning("%s", fault, location=table, type="notation")


def faults(doctree: nodes.document) -> Iterator[tuple[nodes.table, str]]:
    """Find a table of symbols that is written by hand, and symbols that no formula has."""
    tables = [table for table in doctree.findall(nodes.table) if is_of_symbols(table)]
    in_tables = {math for table in tables for math in table.findall(nodes.math)}
    formulas = [
        math.astext()
        for kind in (nodes.math, nodes.math_block)
        for math in doctree.findall(kind)
        if math not in in_tables
    ]
    shapes = (shape.astext() for table in tables for shape in table.findall(nodes.literal))
    formulas += [shape for shape in shapes if "(" in shape]
    for table in tables:
        if "symbols" not in table["classes"]:
            yield (
                table,
                f"a table of symbols is made by {{symbols}}: name its rows in docs/{PAGE}.md",
            )
            continue
        for row in list(table.findall(nodes.row))[1:]:
            symbols = [math.astext() for math in row[0].findall(nodes.math)]
            if not any(uses(formula, symbol) for formula in formulas for symbol in symbols):
                names = "$ or $".join(symbols)
                yield table, f"no formula of this page has ${names}$: take it out of {{symbols}}"


def is_of_symbols(table: nodes.table) -> bool:
    """Tell a table by its first word."""
    return any(entry.astext().strip() == "symbol" for entry in list(table.findall(nodes.entry))[:1])


def uses(formula: str, symbol: str) -> bool:
    """Tell whether a symbol is in a formula: $E_v$ is not $E$, nor is the E of a name."""
    if "\\" in symbol:
        return plain(symbol) in plain(formula)
    letters = re.sub(r"\\(operatorname|text)\{[^}]*\}|\\[A-Za-z]+", " ", formula)
    return bool(re.search(rf"(?<!_){re.escape(plain(symbol))}(?!_)", plain(letters)))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("symbols", Symbols)
    app.connect("doctree-read", look)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
