"""Make tables, lists and sidebar from the registry, and refuse what it lacks.

The gap: Sphinx knows pages and objects, not that a page, an object, a paper, an oracle and a
test belong to one mechanism. The directive is `{mechanisms} part`: a step makes the pictures
of its mechanisms, or their table with `:changes:`, `gallery` all pictures by step, `years`,
`models` and `costs` lists by these, `here` a table of those of the page, `contents` the
sidebar's pages of types, `reference` the API of the step that a page of `reference/api/` is
named after, and `api` a line for each object there.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from attn_examples.registry import ROOMS, ROOT, Mechanism, families, literal, mechanisms
from extensions.render.thumbnails import thumbnail

logger = logging.getLogger(__name__)

BY_HAND = "by hand"
COSTS = ("less", "the same", "more")  # than plain attention: how each `cost` begins
ORACLES = 2  # independent of ours, and of each other
RECORD = Path("docs/reference/record.json")
BIB = ROOT / "conf" / "references.bib"
# What has a page in docs/reference/api/, by its name
REFERENCE = ROOMS | {"probes": "Probes", "figures": "Figures", "pretrained": "A trained model"}


class Mechanisms(SphinxDirective):
    """The directive `{mechanisms} part`."""

    required_arguments = 1
    option_spec = {"changes": directives.unchanged_required}  # noqa: RUF012  # as Sphinx has it

    def run(self) -> list[nodes.Node]:
        """Write what is asked for as Markdown, and have that read; but sections are nodes."""
        part, found = self.arguments[0], mechanisms()
        for file in dict.fromkeys(mechanism.file for mechanism in found):
            self.env.note_dependency(str(ROOT / file))
        if part == "reference":
            return self.reference(self.env.docname.rpartition("/")[2])
        if part == "api":
            return [*self.pages(), *map(self.section, REFERENCE)]
        if part in ROOMS:
            own = [mechanism for mechanism in found if mechanism.step == part]
            if "changes" in self.options:
                return self.pictured(table(own, self.options["changes"]), own)
            return [self.tiles(own)]
        if part == "gallery":
            return self.gallery(found)
        if part == "here":
            here = [mechanism for mechanism in found if mechanism.docname == self.env.docname]
            self.env.note_dependency(str(ROOT / RECORD))
            told = self.parse_text_to_nodes(
                "\n".join(facts(here, json.loads(_read(ROOT / RECORD))["oracles"]))
            )
            opened = '<details class="facts"><summary>What it costs, who uses it, and how far '
            opened += "it is from code that is not ours</summary>"
            ends = (opened, "</details>")
            first, last = (nodes.raw("", end, format="html") for end in ends)
            return [first, *told, last]
        if part in LISTS:
            lines = LISTS[part](found)
        else:
            known = ", ".join(["gallery", "here", "reference", "api", *LISTS, *ROOMS])
            raise self.error(f"mechanisms: part ({part}) must be one of {known}")
        return self.parse_text_to_nodes("\n".join(lines))

    def pictured(self, lines: list[str], found: list[Mechanism]) -> list[nodes.Node]:
        """Put a picture into the first cell of each row of a table."""
        made = self.parse_text_to_nodes("\n".join(lines))
        rows = [row for node in made for row in node.findall(nodes.row)][1:]
        for row, mechanism in zip(rows, found, strict=True):
            picture = nodes.raw("", thumbnail(mechanism.thumbnail), format="html")
            next(row.findall(nodes.entry)).insert(0, picture)
        return made

    def gallery(self, found: list[Mechanism]) -> list[nodes.Node]:
        """Show the picture of each mechanism over its name, step by step."""
        made: list[nodes.Node] = []
        for step, title in ROOMS.items():
            own = [mechanism for mechanism in found if mechanism.step == step]
            made.append(nodes.paragraph("", "", nodes.strong("", title)))
            made.append(self.tiles(own))
        return made

    def tiles(self, found: list[Mechanism]) -> nodes.Node:
        """Show the picture of each mechanism over its name."""
        tiles = nodes.bullet_list(classes=["mechanisms"])
        for mechanism in found:
            linked = self.parse_inline(link(mechanism))[0]
            picture = nodes.raw("", thumbnail(mechanism.thumbnail), format="html")
            tiles += nodes.list_item("", nodes.paragraph("", "", picture, *linked))
        return tiles

    def reference(self, room: str) -> list[nodes.Node]:
        """Document all that a module exports."""
        if room not in REFERENCE:
            known = ", ".join(REFERENCE)
            raise self.error(f"mechanisms: a page of the reference ({room}) is one of {known}")
        # the examples are told from one another: what one imports, the next does not have
        text = f".. autolink-concat:: off\n\n.. automodule:: attn_examples.{room}\n   :members:\n"
        for name, line in constants(f"attn_examples.{room}").items():
            text += f"\n.. py:data:: {name}\n   :module: attn_examples.{room}\n\n   {line}\n"
        return self.parse_text_to_nodes(f"```{{eval-rst}}\n{text}\n```")

    def pages(self) -> list[nodes.Node]:
        """Put the pages into the contents, in the order of the steps."""
        names = [f"/reference/api/{room}" for room in REFERENCE]
        return self.parse_text_to_nodes("\n".join(["```{toctree}", ":hidden:", "", *names, "```"]))

    def section(self, room: str) -> nodes.section:
        """Give each object of a module a line, under the addresses that it had on one page."""
        title, module = REFERENCE[room], f"attn_examples.{room}"
        section = nodes.section(ids=[nodes.make_id(title), f"api-{room}", f"module-{module}"])
        heading = nodes.title(title, "")
        heading += self.parse_inline(f"{{ref}}`{title} <api-{room}>`")[0]
        told = objects(module)
        lines = [f"- {{py:obj}}`{n} <{module}.{n}>`: {line}" for n, (line, _) in told.items()]
        section += [heading, *self.parse_text_to_nodes("\n".join(lines))]
        for item, (name, (_, parts)) in zip(
            section.findall(nodes.list_item), told.items(), strict=True
        ):
            item["ids"] = [f"{module}.{name}", *(f"{module}.{name}.{part}" for part in parts)]
        return section


def objects(module: str) -> dict[str, tuple[str, list[str]]]:
    """Return what a module exports: the first line that is said of it, and its own members."""
    found, said = importlib.import_module(module), comments(module) | constants(module)
    told = {}
    for name in found.__all__:
        thing = getattr(found, name)
        doc = [said.get(name) or inspect.getdoc(thing) or ""]
        members = vars(thing).items() if inspect.isclass(thing) else ()
        parts = [part for part, m in members if not part.startswith("_") and inspect.getdoc(m)]
        told[name] = (doc[0].partition("\n")[0].replace("`", "``"), parts)
    return told


def comments(module: str) -> dict[str, str]:
    """Return what comments of the kind `#:` say of a module's names."""
    docs = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {name: lines[0] for (owner, name), lines in docs.items() if not owner}


def constants(package: str) -> dict[str, str]:
    """Return what is said of the constants that a package takes from its modules.

    autodoc reads comments in the file that it documents, and there alone.
    """
    found = importlib.import_module(package)
    modules = [f"{package}.{m.name}" for m in pkgutil.iter_modules(getattr(found, "__path__", ()))]
    said = {name: line for module in modules for name, line in comments(module).items()}
    return {name: said[name] for name in found.__all__ if name in said}


def link(mechanism: Mechanism) -> str:
    """Link to where a mechanism is explained, by its name."""
    if mechanism.label:
        return f"{{ref}}`{mechanism.name} <{mechanism.label}>`"
    return f"{{doc}}`{mechanism.name} </{mechanism.docname}>`"


def table(found: list[Mechanism], changes: str) -> list[str]:
    """Write a row for each mechanism: where it is explained, what it does, costs and is for."""
    lines = [
        f"| mechanism | {changes} | beside plain attention | used in | paper |",
        "|---|---|---|---|---|",
    ]
    for mechanism in found:
        target = f"attn_examples.{mechanism.step}.{mechanism.object}"
        papers = ", ".join(f"{{cite:t}}`{key}`" for key in mechanism.papers)
        api = f"{{py:obj}}`{mechanism.call} <{target}>`"
        told = [mechanism.changes, mechanism.cost, models(mechanism), papers]
        lines.append(f"| {link(mechanism)} {api} | {' | '.join(told)} |")
    return lines


def facts(found: list[Mechanism], largest: dict[str, float]) -> list[str]:
    """Write what each mechanism costs, who uses it, and how far it is from what others wrote."""
    heads = ["mechanism", "beside plain attention", "used in", "largest difference"]
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|"]
    for mechanism in found:
        row = [link(mechanism), mechanism.cost, models(mechanism)]
        against = []
        for oracle, test in mechanism.oracles.items():
            name = "a loop written from the paper" if oracle == BY_HAND else f"`{oracle}`"
            far = largest.get(f"{mechanism.tests}::{test}")
            if far is None:  # it compares truth values, or has not been recorded
                against.append(name)
            else:
                against.append(f"{name}: {far:.0e}" if far else f"{name}: none")
        lines.append(f"| {' | '.join(row)} | {'; '.join(against)} |")
    return lines


def models(mechanism: Mechanism) -> str:
    """Name the models that use a mechanism, with what says so."""
    return ", ".join(f"{name} {{cite:p}}`{key}`" for name, key in mechanism.used_in.items())


def by_year(found: list[Mechanism]) -> list[str]:
    """Write one line for each year in which a mechanism was published."""
    years = dict(re.findall(r"^@\w+{([^,]+),.*?^\s*year\s*=\s*{(\d+)}", _read(BIB), re.M | re.S))
    when: dict[str, list[str]] = {}
    for mechanism in found:
        if mechanism.papers:
            first = min(years[key] for key in mechanism.papers)
            when.setdefault(first, []).append(link(mechanism))
    return definitions({year: when[year] for year in sorted(when)})


def by_model(found: list[Mechanism]) -> list[str]:
    """Write one line for each model, with all that it uses."""
    users: dict[str, list[str]] = {}
    for mechanism in found:
        for name, key in mechanism.used_in.items():
            users.setdefault(f"{name} {{cite:p}}`{key}`", []).append(link(mechanism))
    return definitions({name: users[name] for name in sorted(users, key=str.lower)})


def by_cost(found: list[Mechanism]) -> list[str]:
    """Write one line for each kind of cost."""
    return definitions({
        kind.capitalize(): [link(m) for m in found if m.cost.partition(":")[0] == kind]
        for kind in COSTS
    })  # fmt: skip


def definitions(told: dict[str, list[str]]) -> list[str]:
    """Write terms, each with the links that belong to it."""
    return [line for term, links in told.items() for line in (term, f": {', '.join(links)}", "")]


def contents(found: list[Mechanism]) -> list[str]:
    """Write the sidebar: what is of all types, then a chapter for each step that has pages."""
    chapters = {"Attention types": ["types/index", "types/which-one", "types/compare"]}
    for step, title in ROOMS.items():
        its_own_first = sorted(found, key=lambda mechanism: mechanism.step != step)
        pages = dict.fromkeys(mechanism.docname for mechanism in its_own_first)
        chapters[title] = [page for page in pages if page.startswith(f"types/{step}/")]
    lines = []
    for title, names in chapters.items():
        head = ["```{toctree}", ":hidden:", f":caption: {title}", ""]
        lines += [*head, *(f"/{name}" for name in names), "```", ""] if names else []
    return lines


# What a list of all can be ordered by
LISTS = {"years": by_year, "models": by_model, "costs": by_cost, "contents": contents}


def faults(root: Path = ROOT) -> list[str]:
    """Return all that mechanisms lack, a sentence each, which names the file to touch."""
    try:
        found = mechanisms(root)
    except ValueError as error:
        return [f"{error}."]
    return [
        *_offered(root, found),
        *_pages(root, found),
        *_reference(root),
        *_facts(root, found),
        *_tests(root, found),
    ]


def _of(mechanism: Mechanism) -> str:
    return f"{mechanism.file}: “{mechanism.name or mechanism.call}”"


def _offered(root: Path, found: list[Mechanism]) -> Iterator[str]:
    """Compare what files export with what they say of it."""
    for step, family in families(root):
        file = Mechanism(step, family).file
        exports = literal(root, file, "__all__")
        package = _read(root / "attn_examples" / step / "__init__.py")
        if exports and family and f"{family}.__all__" not in package:
            yield (
                f"{file} is not in __init__.py beside it: import it there, and add its __all__ "
                f"to the sum."
            )
        own = [mechanism for mechanism in found if mechanism.file == file]
        for name in exports:
            if name not in {mechanism.object for mechanism in own}:
                yield f"{file} exports {name}, which no entry of its MECHANISMS calls: add one."
        for mechanism in own:
            if mechanism.object not in exports:
                yield f"{_of(mechanism)} calls {mechanism.object}, which __all__ there lacks."


def _pages(root: Path, found: list[Mechanism]) -> Iterator[str]:
    """Look for each mechanism's place on a page, and for pages of none."""
    places: dict[str, Mechanism] = {}
    for mechanism in found:
        page = f"docs/{mechanism.docname}.md"
        text = _read(root / page)
        folder = Path(mechanism.docname).parts[:-1]
        if not mechanism.page:
            yield f"{_of(mechanism)} has no page: write docs/types/{mechanism.step}/<its name>.md."
        elif not text:
            yield f"{_of(mechanism)} has no page: write {page}."
        elif mechanism.label and f"\n({mechanism.label})=\n" not in text:
            yield f"{page} has no line ({mechanism.label})= for “{mechanism.name}”: add it."
        if folder[:1] == ("types",) and (len(folder) != 2 or folder[1] not in ROOMS):
            yield f"{page} stands in no step's folder: move it to docs/types/{mechanism.step}/."
        for key in mechanism.papers if text else ():
            if not re.search(rf"{{cite:\w+}}`[^`]*\b{key}\b", text):
                yield f"{page} does not cite {key}, the paper of “{mechanism.name}”: cite it."
        if mechanism.page and (other := places.setdefault(mechanism.page, mechanism)) != mechanism:
            yield (
                f"{_of(mechanism)} and “{other.name}” have one page, {mechanism.page}: give one "
                f"of them a label of its own."
            )
    known = {mechanism.docname for mechanism in found}
    for file in sorted((root / "docs" / "types").glob("*/*.md")):
        if file.relative_to(root / "docs").with_suffix("").as_posix() not in known:
            page, step = file.relative_to(root).as_posix(), file.parent.name
            yield f"{page} is the page of no mechanism: name it in a file of attn_examples/{step}/."


def _reference(root: Path) -> Iterator[str]:
    """Look for the page of each room in the reference."""
    for room, title in REFERENCE.items():
        page = f"docs/reference/api/{room}.md"
        begun = f"(api-{room})=\n# {title}\n\n```{{mechanisms}} reference\n```\n"
        if not _read(root / page).startswith(begun):
            yield f"attn_examples.{room} has no page in the reference: begin {page} with {begun!r}."


def _facts(root: Path, found: list[Mechanism]) -> Iterator[str]:
    """Look for names, papers and words."""
    papers = set(re.findall(r"^@\w+{([^,]+),", _read(root / "conf" / "references.bib"), re.M))
    names: set[str] = set()
    for mechanism in found:
        if not mechanism.name:
            yield f"{_of(mechanism)} has no name: add “name”."
        if mechanism.name in names:
            yield f"{_of(mechanism)} has the name of another mechanism: change one of them."
        names.add(mechanism.name)
        if not mechanism.changes:
            yield f"{_of(mechanism)} does not say what it changes: add “changes”."
        if not mechanism.papers and not mechanism.without_paper:
            yield (
                f"{_of(mechanism)} has no source: add keys of conf/references.bib as “papers”, "
                f"or say in “without_paper” why there is none."
            )
        if mechanism.papers and mechanism.without_paper:
            yield f"{_of(mechanism)} has papers and says why it has none: drop “without_paper”."
        for key in mechanism.papers:
            if key not in papers:
                yield f"{_of(mechanism)} names the paper {key}: add it to conf/references.bib."
        if not mechanism.words:
            yield f"{_of(mechanism)} has no words that people search for: add “words”."
        if mechanism.cost.partition(":")[0] not in COSTS:
            yield (
                f"{_of(mechanism)} does not say what it costs: begin “cost” with one of "
                f"{', '.join(COSTS)}, and a colon if more is to be said."
            )
        for key in mechanism.used_in.values():
            if key not in papers:
                yield f"{_of(mechanism)} names the report {key}: add it to conf/references.bib."
        try:
            thumbnail(mechanism.thumbnail)
        except Exception as error:  # any code may be there, and any may be wrong
            yield f"{_of(mechanism)} has no thumbnail: {error}"


def _tests(root: Path, found: list[Mechanism]) -> Iterator[str]:
    """Look for the comparison with each oracle."""
    tests = {step: _tests_of(root, step) for step in ROOMS}
    for mechanism in found:
        place = mechanism.tests
        if len(mechanism.oracles) < ORACLES:
            yield (
                f"{_of(mechanism)} has {len(mechanism.oracles)} of {ORACLES} oracles: compare it "
                f"in {place} with an implementation that is not ours, and name both in “oracles”."
            )
        known = tests[mechanism.step]
        for oracle, test in mechanism.oracles.items():
            if oracle.partition(".")[0] == "attn_examples":
                yield f"{_of(mechanism)} has an oracle of ours, {oracle}: name another's."
            elif test not in known:
                yield f"{_of(mechanism)} names the test {test}: write it in {place}."
            elif oracle != BY_HAND and oracle.rpartition(".")[2] not in known[test]:
                yield f"{place} does not use {oracle} in {test}: compare with it there."


def _tests_of(root: Path, step: str) -> dict[str, str]:
    """Return the source of each test of a step by its name."""
    tests: dict[str, str] = {}
    for file in [*sorted((root / "tests" / step).glob("*.py")), root / "tests" / f"test_{step}.py"]:
        text = _read(file)
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef):
                tests[node.name] = "\n".join(lines[node.lineno - 1 : node.end_lineno])
    return tests


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def check(app: Sphinx, env: Any) -> None:
    """Warn of every fault, which ends a strict build; a site without the index has no types.

    A draft is not asked: pictures of all mechanisms are made anew for it.
    """
    if "types/index" in env.found_docs and not (app.tags.has("alone") or app.tags.has("draft")):
        for fault in faults():
            logger.warning("%s", fault, type="mechanisms")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("mechanisms", Mechanisms)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
