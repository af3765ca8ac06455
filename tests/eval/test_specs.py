"""Data sets in other layouts than BEIR's: TREC's topics and judgments, own logs, ir_datasets."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from querywright import DatasetError, InputError, MissingExtraError, NotFoundError
from querywright.eval.dataset import Dataset
from querywright.eval.specs import load_dataset, load_queries
from querywright.retrieval.home import Collections
from querywright.retrieval.passage import Document
from querywright.rewrite.query import Role

CAST_2019 = [
    {
        "number": 31,
        "description": "head and neck cancer",
        "turn": [
            {"number": 1, "raw_utterance": "What is throat cancer?"},
            {"number": 2, "raw_utterance": "Is it treatable?"},
        ],
        "title": "head and neck cancer",
    }
]
RESOLVED = "31_1\tWhat is throat cancer?\n31_2\tIs throat cancer treatable?\n"
CAST_2021 = [
    {
        "number": 106,
        "turn": [
            {
                "number": 1,
                "raw_utterance": "I just had a breast biopsy.",
                "automatic_rewritten_utterance": "not this",
                "manual_rewritten_utterance": "I just had a breast biopsy for cancer.",
                "canonical_result_id": "MARCO_1",
                "passage_id": 3,
                "passage": "A biopsy is a sample.",
            },
            {
                "number": 2,
                "raw_utterance": "Once it breaks out, how likely?",
                "manual_rewritten_utterance": "How likely is it that cancer spreads?",
            },
        ],
    }
]
CAST_2022 = [
    {
        "number": 132,
        "turn": [
            {
                "number": "1-1",
                "participant": "User",
                "utterance": "COP26?",
                "manual_rewritten_utterance": "What is COP26?",
            },
            {"number": "1-2", "participant": "System", "response": "A conference."},
            {
                "number": "1-3",
                "participant": "User",
                "utterance": "Where?",
                "manual_rewritten_utterance": "Where was COP26?",
            },
        ],
    }
]
IKAT = [
    {
        "number": "9-1",
        "title": "Finding a University",
        "ptkb": {"1": "I graduated from Tilburg University.", "2": "I live in the Netherlands."},
        "turns": [
            {
                "turn_id": 1,
                "utterance": "I want to start my master's degree.",
                "resolved_utterance": "I want to start my master's degree in the Netherlands.",
                "response": "Which field?",
                "ptkb_provenance": [1],
                "response_provenance": [],
            },
            {"turn_id": 2, "utterance": "Computer science.", "resolved_utterance": "", "response": "Fine."},
        ],
    }
]


def _corpus(folder: Path) -> Path:
    path = folder / "corpus.jsonl"
    path.write_text("".join(json.dumps({"_id": f"MARCO_{n}", "text": f"passage {n}"}) + "\n" for n in range(4)))
    return path


def _files(folder: Path, topics: object, qrels: str, resolved: str | None = None) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "topics.json").write_text(json.dumps(topics, indent=2), encoding="utf-8")
    (folder / "qrels.txt").write_text(qrels, encoding="utf-8")
    parts = [f"queries={folder / 'topics.json'}", f"qrels={folder / 'qrels.txt'}", f"corpus={_corpus(folder)}"]
    if resolved is not None:
        (folder / "resolved.tsv").write_text(resolved, encoding="utf-8")
        parts.append(f"resolved={folder / 'resolved.tsv'}")
    return "files:" + ",".join(parts)


def test_cast_2019_with_its_file_of_rewrites(tmp_path: Path) -> None:
    dataset = load_dataset(
        _files(tmp_path, CAST_2019, "31_1 0 MARCO_1 2\n31_2\t0\tMARCO_2\t1\n31_2 0 MARCO_0 0\n", RESOLVED)
    )
    assert (dataset.name, dataset.documents, dataset.skipped) == ("topics", 4, 0)
    assert [judged.id for judged in dataset.queries] == ["31_1", "31_2"]
    second = dataset.queries[1]
    assert second.gold == "Is throat cancer treatable?"
    assert [(turn.role, turn.text) for turn in second.query.history] == [(Role.USER, "What is throat cancer?")]
    assert {judged.conversation for judged in dataset.queries} == {"31"}
    assert dataset.qrels["31_2"] == {"MARCO_2": 1, "MARCO_0": 0}


def test_cast_2021_takes_the_rewrite_by_hand_and_the_passage_shown(tmp_path: Path) -> None:
    second = load_dataset(_files(tmp_path, CAST_2021, "106_1 0 MARCO_1 1\n106_2 0 MARCO_1 1\n")).queries[1]
    assert second.gold == "How likely is it that cancer spreads?"
    assert [(turn.role, turn.text) for turn in second.query.history] == [
        (Role.USER, "I just had a breast biopsy."),
        (Role.ASSISTANT, "A biopsy is a sample."),
    ]


def test_cast_2022_has_the_system_s_turns_apart(tmp_path: Path) -> None:
    dataset = load_dataset(_files(tmp_path, CAST_2022, "132_1-1 0 MARCO_1 1\n132_1-3 0 MARCO_1 1\n"))
    assert [judged.id for judged in dataset.queries] == ["132_1-1", "132_1-3"]
    assert [turn.role for turn in dataset.queries[1].query.history] == [Role.USER, Role.ASSISTANT]


def test_ikat_knows_the_asker_and_either_way_to_write_ids(tmp_path: Path) -> None:
    dataset = load_dataset(_files(tmp_path, IKAT, "9-1_1 0 MARCO_1 2\n9-1-2 0 MARCO_2 1\n") + ",name=iKAT 2023")
    assert dataset.name == "iKAT 2023"
    assert [judged.id for judged in dataset.queries] == ["9-1_1", "9-1_2"]
    first, second = dataset.queries
    assert first.query.profile == {"facts": ("I graduated from Tilburg University.", "I live in the Netherlands.")}
    assert (first.gold, second.gold) == ("I want to start my master's degree in the Netherlands.", None)
    assert [turn.text for turn in second.query.history] == ["I want to start my master's degree.", "Which field?"]


def test_topics_may_be_packed_or_tab_separated(tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv.gz"
    path.write_bytes(gzip.compress(RESOLVED.encode()))
    queries = load_queries(path).queries.typed
    assert [judged.query.query for judged in queries.values()] == [
        "What is throat cancer?",
        "Is throat cancer treatable?",
    ]
    packed = tmp_path / "topics.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(IKAT).encode()))
    assert list(load_queries(packed).queries.typed) == ["9-1_1", "9-1_2"]


Change = Callable[[Path], object]


def _topics(change: Callable[[dict], object]) -> Change:
    def write(folder: Path) -> None:
        topics = json.loads(json.dumps([*CAST_2019, *CAST_2021]))
        change(topics[1])
        (folder / "topics.json").write_text(json.dumps(topics, indent=1))

    return write


def _text(file: str, text: str | bytes) -> Change:
    return lambda folder: (folder / file).write_bytes(text if isinstance(text, bytes) else text.encode())


MISTAKES: list[tuple[str, Change, str]] = [
    ("three columns", _text("qrels.txt", "31_1 0 MARCO_1 1\n31_1 MARCO_1 1\n"), r"qrels\.txt:2: columns: expected 4"),
    ("five columns", _text("qrels.txt", "31_1 0 MARCO 1 1\n"), r"qrels\.txt:1: columns"),
    ("unknown query", _text("qrels.txt", "31_9 0 MARCO_1 1\n"), r"qrels\.txt:1: query-id: .*'31_9'"),
    ("unknown document", _text("qrels.txt", "31_1 0 MARCO_9 1\n"), r"qrels\.txt:1: corpus-id: .*'MARCO_9'"),
    ("half a grade", _text("qrels.txt", "31_1 0 MARCO_1 .5\n"), r"qrels\.txt:1: score"),
    ("two grades", _text("qrels.txt", "31_1 0 MARCO_1 1\n31_1 0 MARCO_1 2\n"), r"qrels\.txt:2: score: expected 1"),
    ("no judgment", _text("qrels.txt", "\n"), r"qrels\.txt:1: score|qrels\.txt:1: columns"),
    ("Latin-1 qrels", _text("qrels.txt", b"31_1 0 MARCO_1 1\n31_1 0 caf\xe9 1\n"), r"qrels\.txt:2: .*UTF-8"),
    ("Latin-1 topics", _text("topics.json", b'[\n"caf\xe9"]'), r"topics\.json:2: .*UTF-8"),
    ("an object", _text("topics.json", "{}"), r"topics\.json:1: file: expected a JSON list"),
    ("an empty list", _text("topics.json", "[]"), r"topics\.json:1: file: expected at least one topic"),
    ("empty", _text("topics.json", ""), r"topics\.json:1: file: expected a JSON list"),
    ("half a list", _text("topics.json", '[\n{"number": 1, "turn": []}'), r"topics\.json:2: not JSON"),
    ("broken JSON", _text("topics.json", '[\n{"number": 1,\n "turn" []}]'), r"topics\.json:3: not JSON"),
    ("no comma", _text("topics.json", '[\n{"number": 1, "turn": []}\n{}]'), r"topics\.json:3: not JSON"),
    ("more behind", _text("topics.json", "[]\n{}"), r"topics\.json:"),
    ("NaN", _text("topics.json", '[{"number": NaN}]'), r"topics\.json:1: not JSON: NaN"),
    ("a word", _text("topics.json", '[\n\n"a"]'), r"topics\.json:3: topic: expected an object, got a string"),
    ("no number", _topics(lambda topic: topic.pop("number")), r"topics\.json:17: number"),
    ("same number", _topics(lambda topic: topic.update(number=31)), r"topics\.json:17: number: .*line 2 has '31_1'"),
    (
        "number with a blank",
        _topics(lambda topic: topic.update(number="a b")),
        r"topics\.json:17: number: .*white space",
    ),
    ("no turns", _topics(lambda topic: topic.pop("turn")), r"topics\.json:17: turn: expected a list"),
    ("a turn of words", _topics(lambda topic: topic["turn"].append("x")), r"topics\.json:17: turn\[2\]"),
    (
        "turn without words",
        _topics(lambda topic: topic["turn"][1].pop("raw_utterance")),
        r":17: turn\[1\]\.raw_utterance",
    ),
    ("blank turn", _topics(lambda topic: topic["turn"][1].update(raw_utterance=" ")), r":17: turn\[1\]\.raw_utterance"),
    (
        "endless turn",
        _topics(lambda t: t["turn"][1].update(raw_utterance="x " * 4000)),
        r":17: turn\[1\]\.raw_utterance",
    ),
    (
        "turn as a number",
        _topics(lambda topic: topic["turn"][1].update(raw_utterance=3)),
        r":17: turn\[1\]\.raw_utterance",
    ),
    ("no turn number", _topics(lambda topic: topic["turn"][1].pop("number")), r":17: turn\[1\]\.number"),
    ("same turn number", _topics(lambda topic: topic["turn"][1].update(number=1)), r":17: turn\[1\]\.number: .*twice"),
    ("knowledge of words", _topics(lambda topic: topic.update(ptkb="x")), r":17: ptkb: expected an object or a list"),
    ("knowledge of numbers", _topics(lambda topic: topic.update(ptkb={"1": 5})), r":17: ptkb\.1: expected a string"),
    ("rewrite of three columns", _text("resolved.tsv", "31_1\ta\tb\n"), r"resolved\.tsv:1: columns: expected 2"),
    ("rewrite of nothing known", _text("resolved.tsv", "31_1\ta\n31_7\ta\n"), r"resolved\.tsv:2: id"),
    ("rewrite twice", _text("resolved.tsv", "31_1\ta\n31_1\ta\n"), r"resolved\.tsv:2: id"),
    ("empty rewrite", _text("resolved.tsv", "31_1\t \n"), r"resolved\.tsv:1: text"),
    ("no rewrites", _text("resolved.tsv", ""), r"resolved\.tsv:1: file"),
    ("same document twice", _text("corpus.jsonl", '{"_id": "a", "text": "b"}\n' * 2), r"corpus\.jsonl:2"),
    ("no documents", _text("corpus.jsonl", ""), r"corpus\.jsonl:1: corpus"),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_every_mistake_names_file_and_line(tmp_path: Path, change: Change, message: str) -> None:
    spec = _files(tmp_path, [*CAST_2019, *CAST_2021], "31_1 0 MARCO_1 1\n", RESOLVED)
    load_dataset(spec)
    change(tmp_path)
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        "files:",
        "files:queries=a.json",
        "files:queries=a.json,qrels=b",
        "files:queries=a.json,qrels=b,corpus=c,collection=d",
        "files:queries=,qrels=b,corpus=c",
        "files:nonsense,queries=a,qrels=b,corpus=c",
        "logs:queries=a.jsonl,qrels=b,corpus=c",
        "logs:corpus=c",
    ],
)
def test_a_wrong_name_is_told_how_to_write_it(spec: str) -> None:
    with pytest.raises(InputError, match=r"expected (files|logs):queries=FILE"):
        load_dataset(spec)


def test_a_corpus_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: corpus: expected a file or folder"):
        load_dataset(f"files:queries=a.json,qrels=b,corpus={tmp_path / 'nowhere'}")


def test_a_corpus_may_be_a_folder_of_notes(tmp_path: Path) -> None:
    notes = tmp_path / "notes, and more"
    notes.mkdir()
    (notes / "one.md").write_text("# One\n\nThe first.")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "first"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\tone.md\t1\n")
    spec = f"files:queries={tmp_path / 'queries.jsonl'},qrels={tmp_path / 'qrels.tsv'},corpus={notes}"
    dataset = load_dataset(spec)
    assert (dataset.documents, dataset.corpus.whole) == (1, False)
    before = dataset.corpus_digest
    (notes / "one.md").write_text("# One\n\nThe very first.")
    assert load_dataset(spec).corpus_digest != before


# ------------------------------------------------------------------------------------------------ logs


@pytest.fixture
def collections(tmp_path: Path):
    opened = Collections(tmp_path / "home")
    opened.create("shop").upsert(Document(f"d{n}", f"thing {n}") for n in range(5))
    yield opened
    opened.close()


def _log(folder: Path, *rows: object) -> str:
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"logs:queries={folder / 'log.jsonl'},collection=shop"


def test_logs_against_a_collection(tmp_path: Path, collections: Collections) -> None:
    spec = _log(
        tmp_path,
        {"query": "thing one", "clicked": ["d1", "d2"], "lang": "en"},
        {"query": "thing one", "clicked": ["d3"]},
        {"id": "mine", "query": "thing one", "judged": {"d1": 2, "d4": 0}, "rewrite": "the thing", "conversation": "c"},
        {"query": "and two?", "history": [{"role": "user", "text": "thing one"}], "clicked": ["d2"]},
        {"query": "nothing found", "clicked": []},
    )
    dataset = load_dataset(spec, collections)
    assert [judged.id for judged in dataset.queries] == ["line-1", "mine", "line-4"]
    assert dataset.qrels["line-1"] == {"d1": 1, "d2": 1, "d3": 1}
    assert dataset.qrels["mine"] == {"d1": 2, "d4": 0}
    assert (dataset.skipped, dataset.documents, dataset.corpus.collection) == (1, 5, "shop")
    first, mine, follow_up = dataset.queries
    assert first.labels == {"lang": "en"}
    assert (mine.gold, mine.conversation) == ("the thing", "c")
    assert follow_up.conversation == first.conversation


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"query": "a"}, "clicked"),
        ({"query": "a", "clicked": [], "judged": {}}, "clicked"),
        ({"query": "a", "clicked": "d1"}, "clicked: expected a list"),
        ({"query": "a", "clicked": [1]}, r"clicked\[0\]"),
        ({"query": "a", "clicked": ["d9"]}, "clicked: .*'d9'"),
        ({"query": "a", "judged": ["d1"]}, "judged: expected an object"),
        ({"query": "a", "judged": {"d1": "x"}}, r"judged\.d1"),
        ({"query": "a", "judged": {"d9": 1}}, "judged: .*'d9'"),
        ({"query": " ", "clicked": ["d1"]}, "query"),
        ({"clicked": ["d1"]}, "query"),
        ({"id": "one", "query": "a", "clicked": ["d1"]}, "id: .*line 1"),
        ({"query": "a", "history": "b", "clicked": ["d1"]}, "history"),
        (["a"], "expected a JSON object"),
    ],
)
def test_broken_logs_name_the_line(tmp_path: Path, collections: Collections, row: object, field: str) -> None:
    with pytest.raises(DatasetError, match=rf"log\.jsonl:2: .*{field}"):
        load_dataset(_log(tmp_path, {"id": "one", "query": "x", "clicked": ["d1"]}, row), collections)


def test_logs_without_clicks_or_rows(tmp_path: Path, collections: Collections) -> None:
    with pytest.raises(DatasetError, match="at least one judgment"):
        load_dataset(_log(tmp_path, {"query": "a", "clicked": []}), collections)
    with pytest.raises(DatasetError, match="at least one query"):
        load_dataset(_log(tmp_path), collections)
    with pytest.raises(NotFoundError, match="nowhere"):
        load_dataset(_log(tmp_path, {"query": "a", "clicked": []}).replace("shop", "nowhere"), collections)


def test_without_ir_datasets_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("querywright.eval.irds.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'querywright\[irds\]'"):
        load_dataset("irds:trec-cast/v1/2020")


def test_a_folder_stays_a_plain_path(tiny: Path) -> None:
    assert load_dataset(tiny).queries == load_dataset(str(tiny)).queries == Dataset.load(tiny).queries
    with pytest.raises(DatasetError, match=re.escape("expected the folder of a data set")):
        load_dataset("nothing:here")
