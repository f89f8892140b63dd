"""What a report shows: the same as text and as HTML, with links that lead somewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attn_examples.exercises import Finding, Report, check, exercises
from attn_examples.exercises.checking import ALL_EXERCISES
from attn_examples.exercises.spec import FunctionExercise, StatementExercise, ValueExercise
from extensions.read import exercise_links
from tests.exercises.learners import CAUSAL, written

ROOT = Path(__file__).parents[2]


def anchors(page: Path) -> set[str]:
    """The headings of a page, and their labels, as the site names them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    labels = set(re.findall(r"^\((.+)\)=$", text, re.MULTILINE))
    headings = re.findall(r"^#{1,3} (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[`*]|\{\w+\}", "", heading).lower() for heading in headings]
    slugs = {
        re.sub(r"-+", "-", re.sub(r"[^a-z0-9]+", "-", heading)).strip("-") for heading in plain
    }
    return slugs | labels


def links() -> set[str]:
    found = set()
    for exercise in ALL_EXERCISES:
        found.add(exercise.page)
        if isinstance(exercise, FunctionExercise):
            found |= {mistake.page for mistake in exercise.mistakes}
            found |= {trap.page for trap in exercise.traps}
            found |= {m.page for trap in exercise.traps for m in trap.mistakes}
        elif isinstance(exercise, StatementExercise):
            found |= {statement.page for statement in exercise.statements}
        elif isinstance(exercise, ValueExercise) and exercise.kind != "look":
            found |= {wrong.page for wrong in exercise.wrong()}
    return found - {""}


def test_every_link_leads_to_a_heading() -> None:
    known: dict[str, set[str]] = {}
    for link in sorted(links()):
        page, _, anchor = link.partition("#")
        path = ROOT / "docs" / page.replace(".html", ".md")
        assert path.is_file(), link
        assert not anchor or anchor in known.setdefault(page, anchors(path)), link


class Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    assert not parser.open
    return parser


def test_the_html_says_what_the_text_says_and_needs_no_style_or_script() -> None:
    report = check("causal-mask", written(CAUSAL.replace("S - L", "0")))
    parsed = outline(report._repr_html_())
    for tag, attributes in parsed.tags:
        assert tag in {"div", "p", "strong", "ul", "li", "dl", "dt", "dd", "pre", "code", "cite"}
        assert set(attributes) <= {"class", "role", "aria-label", "data-page"}
    finding = report.findings[0]
    for text in (finding.sentence.replace("`", ""), finding.shown, finding.expected, finding.got):
        assert text in parsed.text
    assert parsed.text.startswith("causal-mask: not passed")
    for line in finding.expected.split("\n"):
        assert line in repr(report)
    assert "Essential" in parsed.text  # the kind is said, not only coloured
    assert finding.page in repr(report)
    table = outline(exercises()._repr_html_())
    assert sum(tag == "tr" for tag, _ in table.tags) == len(ALL_EXERCISES) + 1


def test_what_a_learner_wrote_is_escaped() -> None:
    report = check("softmax", written("def f(s, d):\n    raise ValueError('<script>alert(1)')\n"))
    assert "<script" not in report._repr_html_()
    assert "&lt;script" in report._repr_html_()


def test_names_of_exercises_are_unique_and_tasks_are_sentences() -> None:
    names = [exercise.name for exercise in ALL_EXERCISES]
    assert len(set(names)) == len(names)
    assert {"softmax", "causal-mask", "scaled-dot-product", "multi-head"} <= set(names)
    assert all(exercise.task.endswith((".", "?")) for exercise in ALL_EXERCISES)


def test_on_the_site_a_page_that_a_report_names_is_a_link_with_its_title() -> None:
    from docutils import nodes

    title = nodes.title("", "Pitfalls")
    entry = nodes.reference("", "The mask is inverted", anchorname="#the-mask-is-inverted")
    env = SimpleNamespace(
        titles={"concepts/pitfalls/masks": title},
        tocs={"concepts/pitfalls/masks": nodes.list_item("", entry)},
        found_docs=set(range(9)),
    )  # fmt: skip
    app: Any = SimpleNamespace(env=env)
    html = check("causal-mask", written(CAUSAL.replace("S - L)", "S - L + 1).logical_not()")))
    body = Finding("essential", "So.", page="concepts/pitfalls/masks.html#the-mask-is-inverted")
    text = Report("x", "not passed", (body,))._repr_html_()
    assert "<a " not in text + html._repr_html_()  # in a notebook there is nothing to link to
    context = {"body": text, "pathto": lambda docname: f"../{docname}.html"}
    exercise_links.link(app, "exercises/masks", "", context, None)
    link = '<a href="../concepts/pitfalls/masks.html#the-mask-is-inverted">'
    assert f"Read: {link}Pitfalls: The mask is inverted</a>" in str(context["body"])
