"""The measurement of speed, on little: that everybody answers, and what is said of them. Times are not judged."""

import json
import sys
import time
from collections import Counter
from itertools import chain

import numpy as np
import pytest

from querywright import InputError, UnavailableError
from querywright.eval import speed_peers, speed_search, speed_upkeep
from querywright.eval.speed import PARTS, Plan, Row, measure, result_of
from querywright.eval.speed_clock import Spent, slices, spent, take_turns, typical
from querywright.eval.speed_peers import HYBRID, LEXICAL, MISSING, OURS
from querywright.eval.speed_search import alike, library
from querywright.eval.speed_texts import _NAMES, Workload
from querywright.retrieval.analysis import analyze
from querywright.service import cli
from querywright.service.settings import Settings

# Of libraries about themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PLAN = Plan(size=200, queries=12, seed=3, rounds=2)
WORK = Workload(PLAN.size, PLAN.queries, PLAN.seed)


# ------------------------------------------------------------------------------- what is measured on


def test_one_seed_gives_one_workload() -> None:
    again, other = Workload(200, 12, 3), Workload(200, 12, 4)
    assert (again.documents, again.queries, again.rarer_queries) == (WORK.documents, WORK.queries, WORK.rarer_queries)
    assert all(np.array_equal(one, two) for one, two in zip(again.vectors, WORK.vectors, strict=True))
    assert other.documents != WORK.documents
    assert not np.array_equal(other.vectors[0], WORK.vectors[0])


def test_words_are_as_unequal_as_in_language() -> None:
    work = Workload(3_000, 500, 0)
    counts = Counter(chain.from_iterable(work.documents))
    assert {len(words) for words in work.documents} == {80}
    for rank in (2, 10, 50):
        assert counts[_NAMES[0]] / counts[_NAMES[rank - 1]] == pytest.approx(rank, rel=0.15)
    assert all(2 <= len(words) <= 6 for words in (*work.queries, *work.rarer_queries))
    assert not set(_NAMES[:500]) & set(chain.from_iterable(work.rarer_queries))


def test_analysis_keeps_each_word() -> None:
    assert analyze(" ".join(_NAMES)) == _NAMES
    assert len(set(_NAMES)) == 100_000


def test_vectors_are_alike_to_sentences() -> None:
    documents, queries = Workload(3_000, 50, 0).vectors
    assert documents.dtype == queries.dtype == np.float32
    assert np.linalg.norm(documents, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(queries, axis=1) == pytest.approx(1, abs=1e-5)
    products = np.sort(queries @ documents.T, axis=1)
    # Measured of MiniLM on English passages: median .0 to .1, the best .5, the hundredth clearly above the median.
    assert abs(np.median(products)) < 0.15
    assert 0.4 < products[:, -1].mean() < 0.75
    assert products[:, -100].mean() > np.median(products) + 0.15


# --------------------------------------------------------------------------------------- taking turns


def test_turns_rotate_and_the_warm_up_is_not_counted() -> None:
    heard: list[tuple[str, int]] = []

    def turn(name: str, number: int) -> list[float]:
        heard.append((name, number))
        return [float(len(heard))]

    figures = take_turns(["a", "b"], 3, turn)
    assert heard == [("a", 0), ("b", 0), ("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert figures == {"a": [3.0, 6.0, 7.0], "b": [4.0, 5.0, 8.0]}


def test_waiting_is_not_the_processors_time() -> None:
    # Threads that other tests left behind may be at work at the same time, but not for ever.
    waited = min((spent(lambda: time.sleep(0.05), 5) for _ in range(40)), key=lambda one: one.cpu / one.wall)
    assert waited.wall >= 0.01
    assert waited.cpu < waited.wall / 2
    assert typical([Spent(3, 1), Spent(1, 9), Spent(2, 2)]) == Spent(2, 2)


@pytest.mark.parametrize(("count", "parts"), [(10, 3), (2, 5), (12, 12), (1, 1)])
def test_slices_are_all_there_is(count: int, parts: int) -> None:
    found = slices(range(count), parts)
    assert list(chain.from_iterable(found)) == list(range(count))
    assert len(found) == min(count, parts)
    assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize(
    ("theirs", "same"),
    [
        (([1, 2, 3], [3.0, 2.0, 1.0]), True),
        (([1, 2, 3], [3.00001, 2.0, 1.0]), True),
        (([1, 2, 3], [3.01, 2.0, 1.0]), False),
        (([1, 9, 3], [3.0, 2.0, 1.0]), False),
        (([1, 2, 9], [3.0, 2.0, 1.0]), True),  # a tie with what was cut off
        (([1, 2], [3.0, 2.0]), False),
        (([1, 2, 3, 4], [3.0, 2.0, 1.0, 0.0]), True),  # 0 is not found
    ],
)
def test_alike(theirs: tuple, *, same: bool) -> None:
    assert alike(([1, 2, 3], [3.0, 2.0, 1.0]), theirs, depth=4) is same


# ---------------------------------------------------------------------------------------- contestants


def installed(peers):
    return [pytest.param(peer, id=peer.name) for peer in peers if not peer.missing]


@pytest.mark.parametrize("peer", installed(LEXICAL))
def test_everybody_finds_words(peer) -> None:
    search = peer.make(WORK.documents)
    rarest = Counter(chain.from_iterable(WORK.documents)).most_common()[-3:]
    queries = [*([word] for word, _ in rarest), ["nowhere"], WORK.queries[0]]
    found = search(queries)
    assert len(found) == len(queries)
    for (word, _), (places, scores) in zip(rarest, found, strict=False):
        holding = {number for number, words in enumerate(WORK.documents) if word in words}
        # Rank-bm25 and bm25s fill up with what scores 0.
        scored = [(int(place), float(score)) for place, score in zip(places, scores, strict=True) if score > 0]
        assert {place for place, _ in scored} == holding
    assert not any(score > 0 for score in found[3][1])


@pytest.mark.parametrize("peer", installed(HYBRID))
def test_everybody_finds_words_and_vectors(peer) -> None:
    work = Workload(PLAN.size, 3, PLAN.seed)
    wanted = [0, 17, 199]
    work.__dict__["queries"] = [work.documents[number] for number in wanted]
    documents, _ = work.vectors
    with library(work, documents, documents[wanted]) as given:
        search = peer.make(given)
        for number in wanted:
            best = search(given.texts[number])
            assert len(best) == len(set(best)) == 10
            assert best[0] == f"d{number:08}"


# ---------------------------------------------------------------------------------------------- parts


def by_name(rows: list[Row]) -> dict[str, Row]:
    assert len({row.name for row in rows}) == len(rows)
    return {row.name: row for row in rows}


def test_lexical() -> None:
    result = speed_search.lexical(PLAN)
    rows = by_name(result.rows)
    assert list(rows) == [peer.name for peer in LEXICAL]
    ours = rows[OURS]
    assert ours.ratio == ours.figures["ratio_cpu"] == ours.figures["ratio_rarer_words"] == 1
    for peer in LEXICAL:
        row = rows[peer.name]
        if peer.missing:
            assert row == Row(peer.name, note=MISSING)
            continue
        assert set(row.figures) == set(ours.figures)
        assert row.ratio == pytest.approx(ours.figures["queries_per_s"] / row.figures["queries_per_s"])
        assert row.figures["index_s"] > 0
    if "rank-bm25" in rows and rows["rank-bm25"].figures:
        assert rows["rank-bm25"].note == "slow: asked 2 of the queries"
    assert result.checks in ({}, {"share_of_queries_with_bm25s_top_10": 1.0})
    assert "200 documents of 80 words" in result.setup
    assert "exponent 1.0" in result.setup


def test_hybrid() -> None:
    result = speed_search.hybrid(PLAN)
    rows = by_name(result.rows)
    assert list(rows) == [peer.name for peer in HYBRID]
    assert result.checks == {"recall_at_100_of_our_dense_leg": 1.0}  # so few are scanned whole
    for row in rows.values():
        if row.figures:
            assert row.ratio == pytest.approx(row.figures["p50_ms"] / rows[OURS].figures["p50_ms"])
            assert row.figures["p50_ms"] <= row.figures["p95_ms"]


def test_hybrid_with_real_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_search, "HYBRID", HYBRID[:1])
    monkeypatch.setattr(Workload, "documents", [["how", "to", "reset", "a", "password"], ["a", "cat"]] * 2)
    monkeypatch.setattr(Workload, "queries", [["forgotten", "login"], ["kitten"]])
    result = speed_search.hybrid(Plan(size=4, queries=2, rounds=1, encode=True))
    assert "MiniLM vectors" in result.setup
    assert result.checks == {"recall_at_100_of_our_dense_leg": 1.0}


def test_ingest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_upkeep, "_ENCODED", 6)
    rows = by_name(speed_upkeep.ingest(PLAN).rows)
    ours = rows[f"{OURS}, on disk"]
    assert ours.figures["per_s"] > ours.figures["per_s_flushed"] > 0
    encoder = Settings().encoder
    ours, alone = rows[f"{OURS}, encoding by {encoder}"], rows[f"{encoder} alone"]
    assert ours.figures["per_s"] > 0
    assert alone.ratio == pytest.approx(ours.figures["per_s"] / alone.figures["per_s"])


def test_update() -> None:
    rows = by_name(speed_upkeep.update(PLAN).rows)
    for name in ("upsert until found", "delete until gone"):
        figures = rows[f"{OURS}: {name}"].figures
        assert 0 < figures["p50_ms"] <= figures["max_ms"]
    assert rows[f"{OURS}: flush"].figures["p50_ms"] > 0


def test_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    # Torch and sentence-transformers take ten seconds to import.
    monkeypatch.setattr(speed_upkeep, "_torch_row", lambda ours: Row("torch", 20 / ours, {"first_answer_s": 20.0}))
    monkeypatch.setenv("QUERYWRIGHT_ENCODER", "none")  # not heeded: it is the default that is timed
    ours, theirs = speed_upkeep.serve(Plan(size=200, rounds=1)).rows
    assert 0 < ours.figures["healthz_s"] < ours.figures["first_answer_s"]
    assert ours.figures["cpu_s"] > 0.1
    assert theirs.ratio == pytest.approx(20 / ours.figures["first_answer_s"])


def test_who_is_not_installed_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (speed_peers, speed_upkeep):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(speed_upkeep, "_with_encoding", lambda plan: [])
    results = [speed_search.lexical(PLAN), speed_search.hybrid(PLAN), speed_upkeep.ingest(PLAN)]
    for result in (*results, speed_upkeep.update(PLAN)):
        others = [row for row in result.rows if OURS not in row.name]
        assert others
        assert all(row == Row(row.name, note=MISSING) for row in others)
        assert next(iter(result.rows)).figures


# ---------------------------------------------------------------------------------------- the command


def test_bench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path) -> None:
    out = tmp_path / "speed.json"
    words = ["querywright", "bench", "update", "--size", "200", "--rounds", "2", "--seed", "7", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    cli.main()
    printed = capfd.readouterr()
    found = json.loads(out.read_bytes())
    assert set(found) == {"machine", "plan", "parts"}
    assert found["plan"] == {"size": 200, "queries": 1000, "seed": 7, "rounds": 2, "encode": False}
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["versions"]["querywright"]
    assert list(found["parts"]) == ["update"]
    part = found["parts"]["update"]
    assert set(part) == {"setup", "rows", "checks"}
    assert all(set(row) == {"name", "ratio", "figures", "note"} for row in part["rows"])
    assert result_of({"part": "update", **part}).rows[0].ratio == 1
    assert "ours is × as fast" in printed.out
    assert f"{OURS}: upsert until found" in printed.out
    assert "bench: update: index" in printed.err


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(InputError, match="no part 'speed': expected any of lexical, hybrid"):
        measure(["lexical", "speed"], PLAN)


def test_a_part_that_fails_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnavailableError, match="lexical could not be measured"):
        measure(["lexical"], Plan(size=-1))
    assert "Traceback" in capfd.readouterr().err


def test_every_part_can_be_measured() -> None:
    modules = (speed_search, speed_upkeep)
    assert all(any(callable(getattr(module, part, None)) for module in modules) for part in PARTS)
