"""What a check has to say: findings, and how they read in a terminal and in a notebook."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Listing", "Report"]

Kind = Literal["task", "essential", "actionable", "informative", "celebratory"]
State = Literal["passed", "not yet", "not passed"]


@dataclass(frozen=True)
class Finding:
    """One thing that the check found.

    Parameters
    ----------
    kind : {"task", "essential", "actionable", "informative", "celebratory"}
        Task: what is asked, where there is no answer yet. Essential: the answer cannot
        pass with it. Actionable: something to do, also where it passes. Informative: worth
        knowing. Celebratory: it is right.
    sentence : str
        What was found, and its cause as far as it is known.
    shown : str, default ""
        The smallest input that was found to show it.
    expected, got : str, default ""
        What that input should give, and what it gave.
    page : str, default ""
        The page that explains it, as its address below the site's first page.
    mistakes : tuple of str, default ()
        Short names of the known mistakes that fit. More than one: they cannot be told
        apart by what the answer gives.
    """

    kind: Kind
    sentence: str
    shown: str = ""
    expected: str = ""
    got: str = ""
    page: str = ""
    mistakes: tuple[str, ...] = ()

    def details(self) -> list[tuple[str, str]]:
        """Return what there is besides the sentence and the page, each with its label."""
        labelled = (
            ("smallest input found", self.shown),
            ("expected", self.expected),
            ("got", self.got),
        )
        return [(label, text) for label, text in labelled if text]


@dataclass(frozen=True, repr=False)
class Report:
    """What a check found; shows itself as text, and in a notebook as HTML.

    Parameters
    ----------
    exercise : str
        Its name.
    state : {"passed", "not yet", "not passed"}
        "not yet" is a stub that nobody has filled in.
    findings : tuple of Finding
        The most important first.
    """

    exercise: str
    state: State
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether the answer is right."""
        return self.state == "passed"

    def __repr__(self) -> str:
        lines = [f"{self.exercise}: {self.state}"]
        for finding in self.findings:
            lines.append(f"  {finding.kind.capitalize()}: {finding.sentence}")
            lines += [
                f"    {label}: {line}" if first else f"      {line}"
                for label, text in finding.details()
                for first, line in zip((True, *(False,) * 99), text.split("\n"), strict=False)
            ]
            if finding.page:
                lines.append(f"    read: {finding.page}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        state = self.state.replace(" ", "-")
        items = "".join(map(_finding_html, self.findings))
        return (
            f'<div class="attn-report attn-report-{state}" role="group" '
            f'aria-label="Check of {html.escape(self.exercise)}">'
            f"<p><strong>{html.escape(self.exercise)}: {self.state}</strong></p>"
            f"<ul>{items}</ul></div>"
        )


@dataclass(frozen=True, repr=False)
class Listing:
    """The exercises, and how far each is: a table that shows itself as text and as HTML.

    Parameters
    ----------
    rows : tuple of (str, str, str, str)
        Name, kind, state and task of each exercise.
    """

    rows: tuple[tuple[str, str, str, str], ...]

    def __repr__(self) -> str:
        widths = [max((len(row[column]) for row in self.rows), default=0) for column in range(3)]
        return "\n".join(
            "  ".join((*(f"{cell:{w}}" for cell, w in zip(row, widths, strict=False)), row[3]))
            for row in self.rows
        )

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{t}</th>' for t in ("exercise", "kind", "state", "task"))
        rows = "".join(
            f'<tr><th scope="row">{html.escape(row[0])}</th>'
            + "".join(f"<td>{_marked_up(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        head = f"<thead><tr>{head}</tr></thead>"
        return f'<table class="attn-report">{head}<tbody>{rows}</tbody></table>'


def _finding_html(finding: Finding) -> str:
    details = "".join(
        f"<dt>{label}</dt><dd><pre>{html.escape(text)}</pre></dd>"
        for label, text in finding.details()
    )
    # plain text; the site makes a link of it, whose address depends on the page around it
    page = html.escape(finding.page)
    link = f'<p>Read: <cite data-page="{page}">{page}</cite></p>'
    return (
        f'<li class="attn-{finding.kind}"><strong>{finding.kind.capitalize()}:</strong> '
        f"{_marked_up(finding.sentence)}"
        + (f"<dl>{details}</dl>" if details else "")
        + (link if finding.page else "")
        + "</li>"
    )


def _marked_up(sentence: str) -> str:
    """Escape, and turn what stands between backticks into code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(sentence)).replace("\n", "<br>")
