"""The tables of what a site was built from are read again when a fact of theirs has changed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from extensions.execute import hook
from extensions.prove import about_build


def outdated(env: Any, *tags: str) -> list[str]:
    app: Any = SimpleNamespace(tags=SimpleNamespace(has=tags.__contains__))
    return about_build.outdated(app, env, set(), set(), set())


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> Any:
    page = SimpleNamespace(key="first", known=True, code_cells=["1 + 1"])
    monkeypatch.setattr(hook, "PAGES", {"page": page})
    env = SimpleNamespace(found_docs={"page", "about"}, attn_tables={"about": True})
    assert outdated(env, "draft") == ["about"]
    return env


def test_nothing_new_leaves_them(env: Any) -> None:
    assert outdated(env, "draft") == []


def test_a_page_that_runs_has_them_read_once(env: Any) -> None:
    page: Any = hook.PAGES["page"]
    page.key, page.known = "second", False
    assert outdated(env, "draft") == ["about"]
    page.known = True
    assert outdated(env, "draft") == []
    page.known = False  # what it gave is lost, and may differ
    assert outdated(env, "draft") == ["about"]


def test_a_commit_is_a_fact_but_for_a_draft(env: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(about_build, "commit", lambda root: "abc")
    assert outdated(env, "draft") == []
    assert outdated(env) == ["about"]
    assert outdated(env) == []
    monkeypatch.setattr(about_build, "commit", lambda root: "abd")
    assert outdated(env) == ["about"]


def test_a_record_is_a_fact(env: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(about_build, "RECORD", tmp_path / "record.json")
    (tmp_path / "record.json").write_text("{}")
    assert outdated(env, "draft") == ["about"]
