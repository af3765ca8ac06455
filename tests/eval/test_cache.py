"""What is computed once: rows on disk, rankings in memory, whole evaluations read back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from querywright import InputError
from querywright.eval import cache as cache_module
from querywright.eval import searches
from querywright.eval.cache import Cache, digest, library_versions, settings_digest
from querywright.eval.evaluation import run
from querywright.eval.remembered import Remembered
from querywright.eval.report import Report
from querywright.retrieval.collection import Collection, Leg
from querywright.retrieval.home import Collections
from querywright.retrieval.passage import Document
from querywright.rewrite import editor
from querywright.rewrite.query import Query, Rewrite
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings

ARMS = ["none", "auto", "gold", "gold+orig", "concat"]


class Counting:
    """A service that counts what is asked of it."""

    def __init__(self, settings: Settings) -> None:
        self._pipeline = Pipeline(settings)
        self.rewriter = self._pipeline.rewriter
        self.close = self._pipeline.close
        self.rewritten: list[str | None] = []
        self.searched: list[str | None] = []

    def rewrite(self, query: Query, *, rewriter, known):
        self.rewritten.append(query.id)
        return self._pipeline.rewrite(query, rewriter=rewriter, known=known)

    def answer(self, query: Query, collection: Collection, **options):
        self.searched.append(query.id)
        return self._pipeline.answer(query, collection, **options)


class Bed:
    """A home in which evaluations run one after the other."""

    def __init__(self, home: Path, folder: Path) -> None:
        self.home, self.folder = home, folder

    def run(self, out: str, arms: list[str] = ARMS, *, fresh: bool = False, **settings) -> tuple[Report, Counting]:
        """Evaluate by words; return the report and what the service was asked."""
        made = Settings(home=self.home, encoder="none", **settings)
        service, collections = Counting(made), Collections(self.home)
        try:
            place = self.home / out
            found = run(
                [self.folder],
                arms,
                ["lexical"],
                service,
                collections,
                place,
                encoder="none",
                settings=made,
                fresh=fresh,
            )
        finally:
            service.close()
            collections.close()
        return found, service


@pytest.fixture
def bed(tmp_path: Path, tiny: Path) -> Bed:
    return Bed(tmp_path / "home", tiny)


def _timeless(report: Report) -> object:
    def strip(value):
        if isinstance(value, dict):
            return {key: strip(member) for key, member in value.items() if key not in ("ms", "stages")}
        return value

    return strip(orjson.loads(orjson.dumps(report)))


def test_a_second_evaluation_searches_nothing_and_says_the_same_with_the_same_times(bed: Bed) -> None:
    first, asked = bed.run("one")
    again, nothing = bed.run("two")
    assert asked.rewritten
    assert asked.searched
    assert (nothing.rewritten, nothing.searched) == ([], [])
    assert again == first
    for name in ("results.json", "queries.jsonl", "runs/tiny/auto.lexical.trec", "rewrites/tiny/auto.jsonl"):
        assert (bed.home / "two" / name).read_bytes() == (bed.home / "one" / name).read_bytes()


def test_fresh_reads_nothing_back(bed: Bed) -> None:
    first, asked = bed.run("one")
    again, as_much = bed.run("two", fresh=True)
    assert (as_much.rewritten, as_much.searched) == (asked.rewritten, asked.searched)
    assert _timeless(again) == _timeless(first)


def _edit_query(folder: Path, number: int, **values: object) -> None:
    rows = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    rows[number] |= values
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("change", "rewritten"),
    [
        ({"text": "laptop bag"}, True),
        ({"history": [{"role": "user", "text": "which warranty?"}]}, True),
        ({"profile": {"product": "CRM"}}, True),
        ({"now": "2025-01-01T00:00:00+00:00"}, True),
        ({"rewrite": "laptop warranty years"}, False),
    ],
)
def test_a_changed_query_alone_is_computed_again(bed: Bed, change: dict[str, object], *, rewritten: bool) -> None:
    bed.run("one")
    _edit_query(bed.folder, 2, **change)
    _, asked = bed.run("two")
    assert set(asked.rewritten) == ({"c2"} if rewritten else set())
    assert set(asked.searched) <= {"c2"}


def test_judgments_change_the_measures_and_search_nothing(bed: Bed) -> None:
    first, _ = bed.run("one")
    qrels = bed.folder / "qrels.tsv"
    qrels.write_text(qrels.read_text() + "c2\tinvoice\t2\n")
    again, asked = bed.run("two")
    assert asked.searched == []
    assert _timeless(again) != _timeless(first)


def test_another_corpus_is_searched_anew(bed: Bed) -> None:
    _, before = bed.run("one")
    with (bed.folder / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "new", "text": "laptop"}\n')
    _, asked = bed.run("two")
    assert asked.rewritten == []
    assert asked.searched == before.searched


def test_settings_and_catalog_change_what_rewriters_make(bed: Bed, tmp_path: Path) -> None:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text('name = "c"\n')
    bed.run("one", catalog=catalog)
    _, same = bed.run("two", catalog=catalog)
    catalog.write_text('name = "d"\n')
    _, other = bed.run("three", catalog=catalog)
    _, stricter = bed.run("four", catalog=catalog, min_confidence=0.9)
    assert same.rewritten == []
    assert other.rewritten
    assert stricter.rewritten
    # The rewrites came out the same, and so nothing was searched.
    assert (other.searched, stricter.searched) == ([], [])


def test_another_version_is_another_key(bed: Bed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bed.run("one")
    cache_module.code_digest.cache_clear()
    monkeypatch.setattr(cache_module, "__version__", "9.9.9")
    _, asked = bed.run("two")
    cache_module.code_digest.cache_clear()
    assert asked.rewritten
    assert asked.searched


def test_code_counts_file_by_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cache_module, "_ROOT", tmp_path)
    (tmp_path / "room").mkdir()
    source = tmp_path / "room" / "a.py"
    digests = []
    for text in ("one = 1", "one = 2"):
        source.write_text(text)
        cache_module.code_digest.cache_clear()
        digests.append(cache_module.code_digest("room"))
    cache_module.code_digest.cache_clear()
    assert len(set(digests)) == 2


def test_an_editor_counts_by_its_description(tmp_path: Path) -> None:
    folder = tmp_path / "editors"
    (folder / "en").mkdir(parents=True)
    description = folder / "en" / "model.json"
    digests = [settings_digest(Settings())]
    for text in ("{}", '{"sums": 1}'):
        description.write_text(text)
        digests.append(settings_digest(Settings(editor=folder)))
    folder = folder.rename(tmp_path / "elsewhere")
    assert len(set(digests)) == 3
    assert settings_digest(Settings(editor=folder)) == digests[-1]


def test_the_projects_own_editors_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings_digest(Settings())
    monkeypatch.setattr(editor, "MODELS", tmp_path)
    assert settings_digest(Settings()) != before


def test_versions_of_what_runs_the_editor_count() -> None:
    assert {"onnxruntime", "tokenizers"} <= {name for name, version in library_versions().items() if version}


def test_only_what_training_alone_runs_is_left_out() -> None:
    code = (
        "import sys, querywright.service.pipeline; print(*(m for m in sys.modules if m.startswith('querywright.rew')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    run_by_rewriters = {f"rewrite/{name.rpartition('.')[2]}.py" for name in done.stdout.split()}
    editors = {f"rewrite/{path.name}" for path in Path(editor.__file__).parent.glob("editor*.py")}
    assert set(searches._TRAINING_CODE) == editors - run_by_rewriters


def test_code_that_is_left_out_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cache_module, "_ROOT", tmp_path)
    (tmp_path / "room").mkdir()
    digests = []
    for text in ("one = 1", "one = 2"):
        (tmp_path / "room" / "a.py").write_text(text)
        cache_module.code_digest.cache_clear()
        digests.append(cache_module.code_digest("room", without=("room/a.py",)))
    cache_module.code_digest.cache_clear()
    assert len(set(digests)) == 1


def test_a_replay_counts_by_what_it_says(bed: Bed, tmp_path: Path) -> None:
    replay = tmp_path / "mine.jsonl"
    replay.write_text('{"id": "c2", "rewrite": "warranty of a laptop"}\n{"id": "c 3", "rewrite": "refund"}\n')
    bed.run("one", ["none", f"replay:{replay}"])
    _, same = bed.run("two", ["none", f"replay:{replay}"])
    replay.write_text('{"id": "c2", "rewrite": "warranty of a laptop"}\n{"id": "c 3", "rewrite": "parcel"}\n')
    _, other = bed.run("three", ["none", f"replay:{replay}"])
    assert same.searched == []
    assert other.searched == ["c 3"]


def test_torn_and_foreign_rows_are_passed_over(bed: Bed) -> None:
    first, asked = bed.run("one")
    files = sorted((bed.home / "eval-cache").rglob("*.jsonl"))
    assert len(files) >= 6  # where auto changes nothing, all that it found is what none found
    for path in files:
        data = path.read_bytes()
        lines = data.splitlines(keepends=True)
        key = orjson.loads(lines[1])["key"]
        wrong = orjson.dumps({"key": key, "documents": ["a"], "scores": [], "stages": 7, "degraded": None})
        path.write_bytes(data + b"\xff\x00\n[1]\n" + wrong + b"\n" + lines[-1][: len(lines[-1]) // 2])
    again, some = bed.run("two")
    assert 0 < len(some.searched) <= len(asked.searched)
    assert _timeless(again) == _timeless(first)
    _, nothing = bed.run("three")
    assert (nothing.rewritten, nothing.searched) == ([], [])


def test_what_failed_is_tried_again(bed: Bed) -> None:
    made = Settings(home=bed.home, encoder="none")
    collections = Collections(bed.home)
    service = Counting(made)
    honest = service.rewrite
    service.rewrite = lambda query, *, rewriter, known: (
        Rewrite.keep(query)
        if query.id != "c2"
        else Rewrite(query.query, query.query, Rewrite.keep(query).decision, 1.0, degraded="llm_failed")
    )
    options = {"encoder": "none", "settings": made}
    run([bed.folder], ["auto"], ["lexical"], service, collections, bed.home / "one", **options)
    service.rewrite = honest
    run([bed.folder], ["auto"], ["lexical"], service, collections, bed.home / "two", **options)
    service.close()
    collections.close()
    assert set(service.rewritten) == {"c2"}


def test_shelves_differ_by_what_they_are_about(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.shelf("a set", "auto", {"x": 1}) as shelf:
        shelf.put("k", {"value": 1})
    assert cache.shelf("a set", "auto", {"x": 1}).get("k") == {"key": "k", "value": 1}
    assert cache.shelf("a set", "auto", {"x": 2}).get("k") is None
    with Cache(None).shelf("a", "b", {}) as nowhere:
        nowhere.put("k", {})
    assert digest({"b": 1, "a": [Query("x")]}) == digest({"a": [Query("x")], "b": 1})


def test_a_missing_catalog_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        settings_digest(Settings(catalog=tmp_path / "nowhere.toml"))


@pytest.fixture
def stocked(collection: Collection) -> Collection:
    collection.upsert(Document(f"d{n}", f"word{n} word{n + 1} shared") for n in range(30))
    return collection


def test_remembered_rankings_are_those_of_the_collection(stocked: Collection) -> None:
    remembered, snapshot = Remembered(stocked), stocked.snapshot()
    legs = (Leg.LEXICAL, Leg.DENSE)
    texts = ["shared word3", "word7", "客户", "word7"]
    for asked in (texts, texts[:1], texts):
        for ours, theirs in zip(remembered.rank(asked, legs), snapshot.rank(asked, legs), strict=True):
            assert ours.keys() == theirs.keys()
            for leg, ranking in theirs.items():
                assert ours[leg].positions.tolist() == ranking.positions.tolist()
                assert ours[leg].scores.tolist() == pytest.approx(ranking.scores.tolist())
    assert remembered.spared[0] == 0.0
    assert all(seconds > 0 for seconds in remembered.spared[1:])


def test_what_is_remembered_still_counts_as_time(stocked: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = Remembered(stocked)
    remembered.rank(["shared"], (Leg.LEXICAL,))
    first = remembered._known["shared", Leg.LEXICAL, 100][1]
    remembered.rank(["shared"], (Leg.LEXICAL, Leg.DENSE))
    assert remembered.spared[-1] == first


def test_side_by_side_says_the_same(bed: Bed, write_dataset: Callable[..., Path], tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other")
    reports = []
    for jobs in (1, 2):
        home = tmp_path / f"jobs{jobs}"
        made = Settings(home=home, encoder="none")
        service, collections = Counting(made), Collections(home)
        tasks: list[str] = []
        reports.append(
            run(
                [bed.folder, other],
                ARMS,
                ["lexical"],
                service,
                collections,
                home / "out",
                0,
                lambda task, done, total, tasks=tasks: tasks.append(task),
                encoder="none",
                settings=made,
                jobs=jobs,
            )
        )
        service.close()
        collections.close()
    assert service.searched == []
    assert any("other: gold" in task for task in tasks)
    assert _timeless(reports[0]) == _timeless(reports[1])


@pytest.mark.parametrize(
    "change",
    [
        {"bm25_k1": 0.1, "bm25_b": 0.0},
        {"lexical_weight": 0.9},
        {"rewrite_share_base": 0.05, "rewrite_share_slope": 0.0},
    ],
)
def test_settings_of_searching_are_part_of_the_key(bed: Bed, change: dict[str, float]) -> None:
    collections = Collections(bed.home)
    searched = []
    for made in (Settings(home=bed.home, encoder="none"), Settings(home=bed.home, encoder="none", **change)) * 2:
        service = Counting(made)
        out = bed.home / str(len(searched))
        run([bed.folder], ["auto"], ["lexical"], service, collections, out, encoder="none", settings=made)
        searched.append(len(service.searched))
        service.close()
    assert searched[0] > 0
    assert searched[1] > 0
    assert searched[2:] == [0, 0]
