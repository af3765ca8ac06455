"""The editors inside the service: which are used, and what is said of those that cannot be."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from querywright import InputError, MissingExtraError, Querywright, StorageError
from querywright.rewrite import editor_weights
from querywright.rewrite.editor import MODELS, Editor
from querywright.rewrite.query import Decision, Query, Role, Turn
from querywright.service.pipeline import CHEAP, Pipeline
from querywright.service.settings import Settings

TOWER = Query("How tall is it?", (Turn(Role.USER, "Where is the Eiffel Tower?"), Turn(Role.ASSISTANT, "In Paris.")))
ZH = Query("它的导演是谁", (Turn(Role.USER, "你看过流浪地球吗"), Turn(Role.ASSISTANT, "看过，很好看")))
ALONE = Query("How tall is the Eiffel Tower?")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Return a folder with an English editor alone."""
    shutil.copytree(MODELS / "en", tmp_path / "editors" / "en")
    return tmp_path / "editors"


@pytest.fixture
def damaged(own: Path) -> Path:
    """Return a folder whose English editor cannot be loaded."""
    (own / "en" / "graph.onnx").write_bytes(b"")
    return own


@pytest.mark.parametrize("name", ["nowhere", "empty", "file"])
def test_a_folder_without_editors_is_refused_at_the_start(tmp_path: Path, name: str, run: Callable[..., Any]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=rf"setting editor: .*{name}: expected a folder .* zh/ or en/"):
        Pipeline(Settings(editor=tmp_path / name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUERYWRIGHT_EDITOR", str(tmp_path / name))
        done = run("rewrite", "hello", "--home", tmp_path / "home")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "setting editor" in done.err


def test_a_folder_with_one_language_leaves_the_other_to_the_projects_own(own: Path) -> None:
    with Pipeline(Settings(editor=own, budget_ms=60_000)) as mine, Pipeline(Settings(budget_ms=60_000)) as usual:
        for query in (TOWER, ZH):
            found = mine.rewrite(query)
            assert found.degraded is None
            assert found.rewrite == usual.rewrite(query).rewrite


def test_the_gate_decides_how_sure_an_editor_must_be() -> None:
    with Pipeline(Settings(min_confidence=0.0)) as lax, Pipeline(Settings(min_confidence=1.0)) as strict:
        assert lax.rewriter("editor").rewrite(TOWER).decision is Decision.REWRITE
        assert strict.rewriter("editor").rewrite(TOWER).decision is Decision.KEEP


def test_asked_for_by_name_a_damaged_editor_is_an_error(
    damaged: Path, tmp_path: Path, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Pipeline(Settings(editor=damaged)) as pipeline:
        for _ in range(2):
            with pytest.raises(StorageError, match=r"graph\.onnx: damaged"):
                pipeline.rewrite(TOWER, rewriter="editor")
        with pytest.raises(StorageError, match=r"graph\.onnx: damaged"):
            pipeline.rewrite_all([TOWER], rewriter="editor")
    monkeypatch.setenv("QUERYWRIGHT_EDITOR", str(damaged))
    monkeypatch.setenv("QUERYWRIGHT_ENCODER", "none")
    demo = MODELS.parents[1] / "demo"
    home = ("--home", tmp_path / "home")
    for command in (
        ("rewrite", "hello", "--rewriter", "editor", *home),
        ("evaluate", demo, "--arms", "editor", "--legs", "lexical", "--out", tmp_path / "out", *home),
    ):
        done = run(*command)
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert "graph.onnx: damaged" in done.err


def test_in_the_chain_a_damaged_editor_degrades(damaged: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Pipeline(Settings(editor=damaged, budget_ms=60_000)) as pipeline:
        found = pipeline.rewrite_all([TOWER, ZH, ALONE])
        assert [one.degraded for one in found] == ["editor_failed", None, None]
        assert pipeline.rewrite(TOWER).degraded == "editor_failed"
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum("cannot be loaded" in record.getMessage() for record in told) == 1


def test_without_the_base_encoder_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editor_weights, "find_spec", lambda _: None)
    with Pipeline(Settings(budget_ms=60_000)) as pipeline:
        with pytest.raises(MissingExtraError, match=r"querywright\[offline\]"):
            pipeline.rewriter("editor")
        assert pipeline.rewrite(TOWER).degraded == "editor_failed"


def test_many_at_once_cost_what_they_cost() -> None:
    with Pipeline(Settings(budget_ms=60_000)) as pipeline:
        queries = [TOWER, ALONE, ZH]
        for name in ("auto", "editor"):
            together = pipeline.rewrite_all(queries, rewriter=name)
            assert [one.rewrite for one in together] == [
                pipeline.rewrite(one, rewriter=name).rewrite for one in queries
            ]
            assert min(together[0].seconds, together[2].seconds) > 0.001 > together[1].seconds


def test_one_query_that_fails_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    honest = Editor.rewrite_all

    def picky(self, queries):
        if any(query.query == "poison" for query in queries):
            raise RuntimeError("poison")
        return honest(self, queries)

    monkeypatch.setattr(Editor, "rewrite_all", picky)
    with Pipeline(Settings(budget_ms=60_000)) as pipeline:
        found = pipeline.rewrite_all([TOWER, Query("poison", TOWER.history)] + [TOWER] * 3)
    assert [one.degraded for one in found] == [None, "editor_failed", None, None, None]
    assert found[0].decision is Decision.REWRITE
    told = [record.getMessage() for record in caplog.records]
    assert told == ["editor failed on 5 queries at once: RuntimeError", "rewriter editor failed: RuntimeError"]


def test_the_chain_asks_the_cheap_ones_in_their_order() -> None:
    with Pipeline(Settings()) as pipeline:
        names = [rewriter.name for rewriter in pipeline.rewriter("auto")._rewriters]  # type: ignore[attr-defined]
    assert tuple(names) == CHEAP


def test_a_server_loads_the_editors_before_the_first_conversation(damaged: Path, tmp_path: Path) -> None:
    with Querywright(home=tmp_path / "home", encoder="none") as querywright:
        assert querywright.warm_up() == []
        loaded = [editor._model is not None for editor in querywright.pipeline._editor._editors.values()]
    assert loaded == [True, True]
    with Querywright(home=tmp_path / "home", encoder="none", editor=damaged) as querywright:
        told = querywright.warm_up()
    assert (len(told), "graph.onnx: damaged" in told[0]) == (1, True)
