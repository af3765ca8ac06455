"""Rewrites that are remembered: only where nothing that they hang on has changed."""

from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from querywright import InputError, Querywright
from querywright.rewrite.query import Query, Rewrite, Role, Turn
from querywright.service.remembering import Known, RewriteCache

NOW = datetime(2024, 7, 15, 10, tzinfo=UTC)
BASE = Query("那华南呢", (Turn(Role.USER, "华东的订单量"),), {"region": "华东区"}, NOW)


def done(rewrite: Rewrite) -> Future[Rewrite]:
    future: Future[Rewrite] = Future()
    future.set_result(rewrite)
    return future


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Query(BASE.query, BASE.history, BASE.profile, NOW, id="another"), True),
        (Query(BASE.query, BASE.history, BASE.profile, NOW + timedelta(hours=1)), True),
        (Query(BASE.query, BASE.history, BASE.profile, NOW + timedelta(days=1)), False),
        (Query(BASE.query, BASE.history, BASE.profile), False),
        (Query(BASE.query, BASE.history, {}, NOW), False),
        (Query(BASE.query, (), BASE.profile, NOW), False),
        (Query("那华北呢", BASE.history, BASE.profile, NOW), False),
    ],
)
def test_what_the_key_hangs_on(other: Query, *, same: bool) -> None:
    cache = RewriteCache(10)
    assert (cache.key(other, "auto", Known()) == cache.key(BASE, "auto", Known())) is same


def test_the_rewriter_and_the_collection_count() -> None:
    cache = RewriteCache(10)
    keys = {cache.key(BASE, name, Known(state=state)) for name in ("auto", "catalog") for state in ("1", "2")}
    assert len(keys) == 4


def test_only_what_went_well_is_remembered_and_the_oldest_goes() -> None:
    cache = RewriteCache(2)
    good, bad = Rewrite.keep(BASE), Rewrite("a", "a", BASE and Rewrite.keep(BASE).decision, 1.0, degraded="llm_failed")
    cache.put("bad", done(bad))
    failed: Future[Rewrite] = Future()
    failed.set_exception(RuntimeError("x"))
    cache.put("failed", failed)
    assert cache.get("bad") is None
    assert cache.get("failed") is None
    for key in ("1", "2", "3"):
        cache.put(key, done(good))
    assert [cache.get(key) is not None for key in ("1", "2", "3")] == [False, True, True]
    assert RewriteCache(0).key(BASE, "auto", Known()) is None


def test_a_second_time_is_the_same_answer_and_says_so(tmp_path: Path) -> None:
    catalog: Any = Path(__file__).parents[2] / "data/demo/catalog.toml"
    with Querywright(home=tmp_path, encoder="none", catalog=catalog) as querywright:
        first = querywright.rewrite(BASE)
        second = querywright.rewrite(BASE)
        other = querywright.rewrite(BASE, rewriter="none")
    assert second.rewrite == first.rewrite != BASE.query
    assert (second.edits, second.decision) == (first.edits, first.decision)
    assert [step.note for step in second.steps] == ["remembered"]
    assert "remembered" not in [step.note for step in first.steps]
    assert other.rewrite == BASE.query


@pytest.mark.parametrize("budget", [0, 60_001, -1, "5", True, 1.5])
def test_a_budget_that_is_none_is_refused(tmp_path: Path, budget: Any) -> None:
    with (
        Querywright(home=tmp_path, encoder="none") as querywright,
        pytest.raises(InputError, match="budget_ms: expected a whole number from 1 to 60,000"),
    ):
        querywright.rewrite("anything", budget_ms=budget)
