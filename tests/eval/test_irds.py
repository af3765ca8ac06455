"""Data sets by ir_datasets itself, from files on this machine: nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from querywright import DatasetError, InputError, UnavailableError
from querywright.eval.evaluation import run
from querywright.eval.specs import load_dataset
from querywright.retrieval.home import Collections
from querywright.rewrite.query import Role, Turn
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings

ir_datasets = pytest.importorskip("ir_datasets")

DOCUMENTS = "a\tAlpha is the first letter.\nb\tBeta comes after it.\nc\tGamma rays are light.\n"
QRELS = "7_1 0 a 2\n7_2 0 b 1\n7_2 0 c 0\n8_1 0 c -1\n"
TOPICS = [
    {
        "number": 7,
        "turn": [
            {
                "number": number,
                "raw_utterance": said,
                "automatic_rewritten_utterance": said,
                "manual_rewritten_utterance": meant,
                "manual_canonical_result_id": "a",
            }
            for number, said, meant in ((1, "what is alpha?", "what is alpha?"), (2, "and after it?", "what is beta?"))
        ],
    },
    {
        "number": 8,
        "turn": [
            {
                "number": 1,
                "raw_utterance": "gamma?",
                "automatic_rewritten_utterance": "gamma?",
                "manual_rewritten_utterance": "gamma?",
                "manual_canonical_result_id": "c",
            }
        ],
    },
]

Register = Callable[..., str]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with documents, topics, queries and judgments, as published sets have them."""
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "irds"))
    texts = {
        "docs.tsv": DOCUMENTS,
        "qrels.txt": QRELS,
        "queries.tsv": "7_1\twhat is alpha?\n7_2\twhat is beta?\n",
        "topics.json": json.dumps(TOPICS),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def register(request: pytest.FixtureRequest) -> Register:
    """Return what makes a data set known to ir_datasets under a name of its own."""

    def registered(dataset: Any, name: str = "set") -> str:
        name = f"{request.node.name}/{name}"
        ir_datasets.registry.register(name, dataset)
        return f"irds:{name}"

    return registered


def _local(path: Path) -> Any:
    return ir_datasets.util.LocalDownload(path)


def _cast(files: Path) -> Any:
    """Return a data set of CAsT's own kind over local files."""
    from ir_datasets.datasets.trec_cast import Cast2020Query, CastQueries

    return ir_datasets.Dataset(
        ir_datasets.formats.TsvDocs(_local(files / "docs.tsv")),
        CastQueries(_local(files / "topics.json"), Cast2020Query),
        ir_datasets.formats.TrecQrels(_local(files / "qrels.txt"), {}),
    )


def test_plain_queries(files: Path, register: Register) -> None:
    (files / "qrels.txt").write_text("7_1 0 a 2\n7_2 0 b 1\n")
    plain = ir_datasets.create_dataset(str(files / "docs.tsv"), str(files / "queries.tsv"), str(files / "qrels.txt"))
    dataset = load_dataset(register(plain))
    assert (dataset.documents, dataset.skipped) == (3, 0)
    assert [judged.query.query for judged in dataset.queries] == ["what is alpha?", "what is beta?"]
    assert [judged.gold for judged in dataset.queries] == [None, None]
    assert dataset.qrels == {"7_1": {"a": 2}, "7_2": {"b": 1}}
    assert next(document.text for document in dataset.corpus.read()) == "Alpha is the first letter."


def test_topics_of_cast_bring_their_conversation(files: Path, register: Register) -> None:
    dataset = load_dataset(register(_cast(files)))
    assert (len(dataset.queries), dataset.skipped) == (2, 1)
    first, second = dataset.queries
    assert first.query.history == ()
    assert second.query.history == (Turn(Role.USER, "what is alpha?"),)
    assert (second.gold, second.conversation, first.conversation) == ("what is beta?", "7", "7")


def test_a_data_set_is_evaluated(files: Path, register: Register) -> None:
    settings = Settings(home=files / "home", encoder="none")
    collections = Collections(settings.home)
    with Pipeline(settings) as pipeline:
        given = register(_cast(files))
        report = run(
            [given], ["gold"], ["lexical"], pipeline, collections, files / "out", encoder="none", settings=settings
        )
    collections.close()
    (found,) = report["datasets"].values()
    assert found["arms"]["gold"]["lexical"]["measures"]["RR@10"] == 1.0
    assert (files / "out" / "report.html").is_file()


def test_what_it_does_not_know() -> None:
    with pytest.raises(InputError, match="ir_datasets knows no data set of that name"):
        load_dataset("irds:no/such/set")


def test_a_data_set_without_judgments(files: Path, register: Register) -> None:
    partial = ir_datasets.create_dataset(str(files / "docs.tsv"), str(files / "queries.tsv"))
    with pytest.raises(DatasetError, match="qrels: expected some, but ir_datasets has none for it"):
        load_dataset(register(partial))


def test_judgments_of_what_is_not_there(files: Path, register: Register) -> None:
    (files / "qrels.txt").write_text("7_1 0 nowhere 2\n")
    with pytest.raises(DatasetError, match="'nowhere' unknown"):
        load_dataset(register(_cast(files)))


def test_what_cannot_be_downloaded_is_one_error(files: Path, register: Register) -> None:
    nowhere = ir_datasets.util.Download([ir_datasets.util.RequestsDownload("http://127.0.0.1:9/docs", tries=1)])
    dataset = ir_datasets.Dataset(
        ir_datasets.formats.TsvDocs(nowhere),
        ir_datasets.formats.TsvQueries(_local(files / "queries.tsv")),
        ir_datasets.formats.TrecQrels(_local(files / "qrels.txt"), {}),
    )
    with pytest.raises(UnavailableError, match=r"could not read it \(\w+\): check the network") as caught:
        load_dataset(register(dataset))
    assert len(str(caught.value).splitlines()) == 1
