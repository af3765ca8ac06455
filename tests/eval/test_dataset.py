"""Data sets: what is read, and what each mistake is called."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from querywright import DatasetError
from querywright.eval.dataset import Dataset, conversation_of
from querywright.rewrite.query import Query, Role, Turn


def test_reads_queries_with_all_that_a_rewriter_may_look_at(tiny: Path) -> None:
    dataset = Dataset.load(tiny)
    assert (dataset.name, dataset.documents, dataset.skipped) == ("tiny", 8, 2)
    assert [judged.id for judged in dataset.queries] == ["c1<::>1", "c1<::>2", "c2", "c 3"]
    follow_up = dataset.queries[1]
    assert follow_up.gold == "import contacts into the CRM"
    assert follow_up.labels == {"problem": "missing_entity"}
    assert follow_up.query.id == "c1<::>2"
    assert [turn.role for turn in follow_up.query.history] == [Role.USER, Role.ASSISTANT]
    assert follow_up.query.profile == {"product": "CRM", "facts": ("works in sales",)}
    assert follow_up.query.now is not None
    assert follow_up.query.now.isoformat() == "2024-07-15T10:00:00+08:00"
    assert dataset.qrels["c2"] == {"warranty": 1, "laptop bag": 0}
    assert "only zero" not in dataset.qrels


def test_reads_gz_and_the_qrels_of_beir(tiny: Path) -> None:
    plain = Dataset.load(tiny)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv"):
        data = (tiny / name).read_bytes()
        (tiny / name).unlink()
        target = tiny / "qrels" / "test.tsv" if name == "qrels.tsv" else tiny / f"{name}.gz"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data if target.suffix == ".tsv" else gzip.compress(data, mtime=0))
    packed = Dataset.load(tiny)
    assert packed.queries == plain.queries
    assert packed.qrels == plain.qrels
    assert packed.documents == plain.documents


def test_takes_line_ends_of_windows_byte_order_marks_and_absent_values(tiny: Path) -> None:
    qrels = (tiny / "qrels.tsv").read_bytes()
    (tiny / "qrels.tsv").write_bytes(b"\xef\xbb\xbf" + qrels.replace(b"\n", b"\r\n") + b"\r\n")
    row = {"_id": "c2", "text": "laptop warranty", **dict.fromkeys(("history", "profile", "now", "rewrite"))}
    _line("queries.jsonl", 3, json.dumps(row))(tiny)
    dataset = Dataset.load(tiny)
    assert dataset.queries[2].gold is None
    assert dataset.queries[2].query == Query("laptop warranty", id="c2")


def test_the_digest_follows_the_corpus_alone(tiny: Path) -> None:
    before = Dataset.load(tiny).corpus_digest
    _query(text="another text")(tiny)
    (tiny / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nc2\twarranty\t1\n")
    assert Dataset.load(tiny).corpus_digest == before
    with (tiny / "corpus.jsonl").open("a") as stream:
        stream.write('{"_id": "new", "text": "more"}\n')
    assert Dataset.load(tiny).corpus_digest != before


def test_a_first_turn_falls_in_with_its_follow_ups() -> None:
    first = Query("Who wrote it?", id="kd-1")
    later = Query("When?", (Turn(Role.USER, "Who wrote it?"), Turn(Role.ASSISTANT, "A poet.")), id="kd-2")
    assert conversation_of(first) == conversation_of(later)
    assert conversation_of(Query("Who wrote it?", id="talk<::>1")) == "talk"
    assert conversation_of(Query("Another one", id="kd-3")) != conversation_of(first)


Break = Callable[[Path], object]


def _line(file: str, number: int, text: str | bytes) -> Break:
    def change(folder: Path) -> None:
        lines = (folder / file).read_bytes().split(b"\n")
        lines[number - 1] = text if isinstance(text, bytes) else text.encode()
        (folder / file).write_bytes(b"\n".join(lines))

    return change


def _query(**values: object) -> Break:
    return _line("queries.jsonl", 2, json.dumps({"_id": "c1<::>2", "text": "a query", **values}))


def _document(**values: object) -> Break:
    return _line("corpus.jsonl", 3, json.dumps({"_id": "import", "title": "", "text": "a text", **values}))


def _without(file: str) -> Break:
    return lambda folder: (folder / file).unlink()


def _as(file: str, data: bytes) -> Break:
    return lambda folder: (folder / file).write_bytes(data)


MISTAKES: list[tuple[str, Break, str, str]] = [
    ("unknown query", _line("qrels.tsv", 3, "nobody\timport\t1"), "qrels.tsv:3", "query-id"),
    ("unknown document", _line("qrels.tsv", 4, "c2\tnothing\t1"), "qrels.tsv:4", "corpus-id"),
    ("two columns", _line("qrels.tsv", 2, "c2\twarranty"), "qrels.tsv:2", "columns"),
    ("four columns", _line("qrels.tsv", 2, "c2\t0\twarranty\t1"), "qrels.tsv:2", "columns"),
    ("blanks for tabs", _line("qrels.tsv", 2, "c2 warranty 1"), "qrels.tsv:2", "columns"),
    ("half a grade", _line("qrels.tsv", 2, "c2\twarranty\t0.5"), "qrels.tsv:2", "score"),
    ("no grade", _line("qrels.tsv", 2, "c2\twarranty\t"), "qrels.tsv:2", "score"),
    ("two grades", _line("qrels.tsv", 3, "c1<::>1\texport\t2"), "qrels.tsv:3", "score"),
    ("no header", _line("qrels.tsv", 1, "c2\twarranty\t1"), "qrels.tsv:1", "header"),
    ("empty qrels", _as("qrels.tsv", b""), "qrels.tsv:1", "header"),
    ("no judged query", _as("qrels.tsv", b"query-id\tcorpus-id\tscore\n"), "qrels.tsv:1", "score"),
    ("Latin-1 qrels", _line("qrels.tsv", 5, b"c2\tcaf\xe9\t1"), "qrels.tsv:5", "UTF-8"),
    ("missing qrels", _without("qrels.tsv"), "tiny", "qrels.tsv"),
    ("missing queries", _without("queries.jsonl"), "tiny", "queries.jsonl"),
    ("missing corpus", _without("corpus.jsonl"), "tiny", "corpus.jsonl"),
    ("same query twice", _query(_id="c1<::>1"), "queries.jsonl:2", "_id"),
    ("query without id", _query(_id=None), "queries.jsonl:2", "_id"),
    ("empty query id", _query(_id=""), "queries.jsonl:2", "_id"),
    ("query id with a tab", _query(_id="c1\t2"), "queries.jsonl:2", "_id"),
    ("number as query id", _query(_id=7), "queries.jsonl:2", "_id"),
    ("empty query", _query(text=" \u3000"), "queries.jsonl:2", "text"),
    ("query of numbers", _query(text=[1]), "queries.jsonl:2", "text"),
    ("endless query", _query(text="long " * 1000), "queries.jsonl:2", "text"),
    ("NUL in a query", _query(text="a\x00b"), "queries.jsonl:2", "text"),
    ("history of words", _query(history="hello"), "queries.jsonl:2", "history"),
    ("turn of words", _query(history=["hello"]), "queries.jsonl:2", "history[0]"),
    (
        "unknown role",
        _query(history=[{"role": "user", "text": "a"}, {"role": "bot", "text": "b"}]),
        "queries.jsonl:2",
        "history[1].role",
    ),
    ("turn without text", _query(history=[{"role": "user"}]), "queries.jsonl:2", "history[0].text"),
    ("turn of null", _query(history=[{"role": "user", "text": None}]), "queries.jsonl:2", "history[0].text"),
    ("profile as a list", _query(profile=["east"]), "queries.jsonl:2", "profile"),
    ("profile of numbers", _query(profile={"age": 3}), "queries.jsonl:2", "profile.age"),
    ("facts of numbers", _query(profile={"facts": ["a", 1]}), "queries.jsonl:2", "profile.facts[1]"),
    ("clock in words", _query(now="yesterday"), "queries.jsonl:2", "now"),
    ("clock without offset", _query(now="2024-07-15T10:00:00"), "queries.jsonl:2", "now"),
    ("clock as a number", _query(now=1720000000), "queries.jsonl:2", "now"),
    ("empty gold", _query(rewrite=""), "queries.jsonl:2", "rewrite"),
    ("gold as a list", _query(rewrite=["a"]), "queries.jsonl:2", "rewrite"),
    ("broken JSON", _line("queries.jsonl", 3, '{"_id": "c2", '), "queries.jsonl:3", ""),
    ("list for a row", _line("queries.jsonl", 3, "[1, 2]"), "queries.jsonl:3", ""),
    ("Latin-1 queries", _line("queries.jsonl", 3, b'{"_id": "caf\xe9"}'), "queries.jsonl:3", "UTF-8"),
    ("no queries", _as("queries.jsonl", b""), "queries.jsonl", ""),
    ("same document twice", _document(_id="export"), "corpus.jsonl:3", "_id"),
    ("document id too long", _document(_id="x" * 600), "corpus.jsonl:3", "_id"),
    ("document without text", _document(text=None), "corpus.jsonl:3", "text"),
    ("title as a number", _document(title=3), "corpus.jsonl:3", "title"),
    ("no documents", _as("corpus.jsonl", b""), "corpus.jsonl", ""),
    ("Latin-1 corpus", _line("corpus.jsonl", 3, b'{"_id": "caf\xe9"}'), "corpus.jsonl:3", "UTF-8"),
]


@pytest.mark.parametrize(("change", "place", "field"), [case[1:] for case in MISTAKES], ids=[c[0] for c in MISTAKES])
def test_every_mistake_names_file_line_and_field(tiny: Path, change: Break, place: str, field: str) -> None:
    change(tiny)
    with pytest.raises(DatasetError) as caught:
        Dataset.load(tiny)
    message = str(caught.value)
    assert place in message
    assert field in message.replace(str(tiny), "")
    assert "\n" not in message


def test_a_damaged_gz_is_one_clear_error(tiny: Path) -> None:
    data = gzip.compress((tiny / "qrels.tsv").read_bytes())
    (tiny / "qrels.tsv").unlink()
    (tiny / "qrels.tsv.gz").write_bytes(data[:-12])
    with pytest.raises(DatasetError, match=r"qrels\.tsv\.gz"):
        Dataset.load(tiny)


def test_no_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected the folder of a data set"):
        Dataset.load(tmp_path / "nowhere")


def test_the_same_judgment_twice_counts_once(write_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "twice", qrels=[("c2", "warranty", 1), ("c2", "warranty", 1)])
    assert Dataset.load(folder).qrels == {"c2": {"warranty": 1}}


def test_a_blank_query_without_a_judgment_is_skipped(tiny: Path) -> None:
    before = Dataset.load(tiny)
    with (tiny / "queries.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"_id": "nothing typed", "text": " "}\n')
    after = Dataset.load(tiny)
    assert after.skipped == before.skipped + 1
    assert [query.id for query in after.queries] == [query.id for query in before.queries]
