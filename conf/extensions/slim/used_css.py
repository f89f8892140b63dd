"""Keep the rules of stylesheets that some page can use.

The gap: the theme's stylesheets carry all of Bootstrap, Font Awesome and every component
of every extension. PurgeCSS does this too, but comes by npm, which no build of the site needs,
and takes each word of a page for a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import tinycss2
from tinycss2 import ast

NAME = r"-?[A-Za-z_][\w-]*"
TAG = re.compile(r"<([a-z][\w-]*)((?:\s+[^\s=>]+(?:=\"[^\"]*\"|='[^']*')?)*)\s*/?>")
NAMED = re.compile(r"\s(?:class|id)=\"([^\"]*)\"")
MODE = re.compile(r"\[data-theme=\"?(light|dark)\"?\]")
STRING = re.compile(r"\"([^\"\\\n]*)\"|'([^'\\\n]*)'|`([^`\\]*)`")


def names_in_page(text: str) -> set[str]:
    """Return the names of elements, classes and ids that a page holds, as selectors do."""
    names: set[str] = set()
    for tag, attributes in set(TAG.findall(text)):  # formulas repeat a few thousand times
        names.add(tag)
        for value in NAMED.findall(attributes):
            names.update(value.split())
    return names


def names_in_script(text: str) -> set[str]:
    """Return whatever a script may make into a name: each word of its strings."""
    strings = (string for groups in STRING.findall(text) for string in groups)
    return {name for string in strings for name in re.findall(NAME, string)}


def purge(css: str, names: set[str]) -> str:
    """Drop the rules that none of the names can match, and what only they needed.

    Parameters
    ----------
    css : str
        One stylesheet.
    names : set of str
        Elements, classes and ids that occur.

    Returns
    -------
    str
        The stylesheet with the rest, without comments but those that state a licence.
    """
    kept = _rules(tinycss2.parse_stylesheet(css), names)
    while True:
        smaller = _without_unused_properties(kept)
        if smaller == kept:
            return kept
        kept = smaller


def without_scripts(css: str) -> str:
    """Return what depends on a mode once more, for pages on which no script has set one.

    The theme marks such a page `data-theme="auto"`. There the system's mode counts.
    """
    rules = tinycss2.parse_stylesheet(css)
    light, dark = (_of_mode(rules, mode) for mode in ("light", "dark"))
    return f"{light}@media (prefers-color-scheme: dark){{{dark}}}"


def _of_mode(rules: Iterable[Any], mode: str) -> str:
    """Return the rules that a mode has, as rules of the mode that nothing has set."""
    written = ""
    for rule in rules:
        if isinstance(rule, ast.QualifiedRule):
            selectors = [_tight(selector) for selector in _split(rule.prelude)]
            own = [MODE.sub("[data-theme=auto]", s) for s in selectors if mode in MODE.findall(s)]
            if own:
                written += ",".join(own) + "{" + _tight(rule.content) + "}"
        elif isinstance(rule, ast.AtRule) and rule.lower_at_keyword == "media" and rule.content:
            inner = _of_mode(tinycss2.parse_rule_list(rule.content), mode)
            if inner:
                written += f"@media {_tight(rule.prelude)}{{{inner}}}"
    return written


def _rules(rules: Iterable[Any], names: set[str]) -> str:
    written = ""
    for rule in rules:
        if isinstance(rule, ast.Comment) and rule.value.startswith("!"):
            written += f"/*{rule.value}*/\n"
        elif isinstance(rule, ast.QualifiedRule):
            selectors = [s for s in _split(rule.prelude) if _can_match(s, names)]
            body = _body(rule.content)
            if selectors and body:
                written += ",".join(map(_tight, selectors)) + "{" + body + "}"
        elif isinstance(rule, ast.AtRule):
            prelude = tinycss2.serialize(rule.prelude).strip()
            if rule.lower_at_keyword in ("media", "supports", "layer") and rule.content:
                inner = _rules(tinycss2.parse_rule_list(rule.content), names)
                if inner:
                    written += f"@{rule.at_keyword} {prelude}{{{inner}}}"
            elif rule.lower_at_keyword == "font-face" and "Awesome" in str(rule.serialize()):
                continue
            elif rule.lower_at_keyword != "charset":
                body = "" if rule.content is None else "{" + _tight(rule.content) + "}"
                written += f"@{rule.at_keyword} {prelude}{body or ';'}"
    return written


def _split(prelude: list[Any]) -> list[list[Any]]:
    """Split a list of selectors at its commas."""
    parts: list[list[Any]] = [[]]
    for token in prelude:
        if token == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _can_match(selector: list[Any], names: set[str]) -> bool:
    """Tell whether each name that a selector asks for occurs; what is in brackets may be."""
    before = ""
    for token in selector:
        if isinstance(token, ast.HashToken) and token.value not in names:
            return False
        if isinstance(token, ast.IdentToken) and before != ":" and token.value not in names:
            return False
        before = token.value if isinstance(token, ast.LiteralToken) else ""
    return True


def _body(content: list[Any]) -> str:
    declarations = tinycss2.parse_blocks_contents(content, skip_comments=True, skip_whitespace=True)
    return ";".join(
        f"{d.name}:{_tight(d.value)}{'!important' * d.important}"
        for d in declarations
        if isinstance(d, ast.Declaration) and not d.name.startswith("--fa-")
    )


def _tight(tokens: list[Any]) -> str:
    text = tinycss2.serialize([t for t in tokens if not isinstance(t, ast.Comment)]).strip()
    return re.sub(r"\s+", " ", text)


def _without_unused_properties(css: str) -> str:
    """Drop the custom properties that no rule reads."""
    read = set(re.findall(r"var\(\s*(--[\w-]+)", css))
    written = re.compile(r"(?<=[{;])(--[\w-]+):(?:[^;{}\"']|\"[^\"]*\"|'[^']*')*(?:;|(?=\}))")
    css = written.sub(lambda match: match[0] if match[1] in read else "", css)
    return re.sub(r"[^{}]+\{\}", "", css).replace(";}", "}")
