"""A base, a delta and what is dead, against a clean build; index files; changing the encoder."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import numpy as np
import pytest

from querywright import InputError
from querywright.retrieval import collection as module
from querywright.retrieval.collection import Collection, Leg
from querywright.retrieval.passage import Document
from querywright.retrieval.spaces import Spaces

WORDS = [f"word{number}" for number in range(40)] + ["客户", "画像", "功能"]
QUERIES = ("word1 word2", "客户画像", "word7 word7 word3", "word39")


@pytest.fixture(autouse=True)
def _always_a_delta(monkeypatch) -> None:
    """Keep small collections from being indexed anew at every change, and merge nothing unasked."""
    monkeypatch.setattr(module, "_AT_ONCE", 0)
    monkeypatch.setattr(Collection, "_merge_soon", lambda self: None)


def made(number: int, dice: random.Random) -> Document:
    return Document(f"d{number}", " ".join(dice.choices(WORDS, k=dice.randrange(1, 30))), metadata={"n": number % 3})


def found(collection: Collection, **how) -> list:
    return [
        [(hit.passage_id, hit.score) for hit in collection.search(query, 100, legs=legs, **how)]
        for query in QUERIES
        for legs in ("lexical", "dense", "hybrid")
    ]


def names(rankings: list) -> list[list[str]]:
    """Leave scores and fused lists out, which what is added may move."""
    return [[passage_id for passage_id, _ in ranking] for number, ranking in enumerate(rankings) if number % 3 != 2]


def test_after_a_flush_all_is_as_a_clean_build_makes_it(tmp_path: Path, word_encoder) -> None:
    dice = random.Random(5)
    truth = {f"d{number}": made(number, dice) for number in range(60)}
    with Collection(tmp_path / "grown", word_encoder) as grown:
        grown.upsert(truth.values(), whole=False)
        grown.flush()
        for step in range(40):
            name = f"d{dice.randrange(80)}"
            if step % 3 == 0:
                grown.delete([name])
                truth.pop(name, None)
            else:
                truth[name] = made(int(name[1:]), dice)
                grown.upsert([truth[name]], whole=False)
            seen = {hit.doc_id for hit in grown.search(" ".join(WORDS), 100, legs="lexical")}
            assert seen == set(truth)
        assert not grown.snapshot().settled
        before = [{passage for passage, _ in ranking} for ranking in found(grown)]
        grown.flush()
        assert grown.snapshot().settled
        after = found(grown)
        assert [{passage for passage, _ in ranking} for ranking in after] == before
        with Collection(tmp_path / "clean", word_encoder) as clean:
            clean.upsert(truth.values(), whole=False)
            assert found(clean) == after
            assert found(clean, filter={"n": [1, 2]}) == found(grown, filter={"n": [1, 2]})
            assert clean.snapshot().holding("word1") == grown.snapshot().holding("word1")
    with Collection(tmp_path / "grown", word_encoder) as again:
        assert found(again) == after


def test_what_is_in_the_delta_is_found_filtered_and_counted(tmp_path: Path, word_encoder) -> None:
    with Collection(tmp_path / "c", word_encoder) as opened:
        opened.upsert([Document(name, "red fox", metadata={"n": 1}) for name in "bdfh"])
        opened.flush()
        opened.upsert([Document(name, "red fox", metadata={"n": 2}) for name in "aceg"])
        opened.upsert([Document("d", "blue whale")])
        opened.delete(["f"])
        snapshot = opened.snapshot()
        assert [snapshot.passage(position).doc_id for position in range(len(snapshot))] == list("abcdegh")
        for legs in ("lexical", "dense"):
            assert [hit.doc_id for hit in opened.search("fox", legs=legs, filter={"n": [1, 2]})] == list("abcegh")
        assert [hit.doc_id for hit in opened.search("fox", filter={"n": 2}, legs="lexical")] == list("aceg")
        assert snapshot.holding("red", "fox") == 6
        assert snapshot.coverage("red whale", [0]) == 0.5
        opened.delete(list("abcdegh"))
        assert opened.search("fox") == []
        opened.flush()
        assert len(opened.snapshot()) == 0


def test_files_are_read_in_place_of_analysing(tmp_path: Path, word_encoder, monkeypatch) -> None:
    dice = random.Random(1)
    with Collection(tmp_path / "c", word_encoder) as first:
        first.upsert([made(number, dice) for number in range(30)])
        first.flush()
        expected = found(first)
    analysed: list[str] = []
    real = module.lexical_terms
    monkeypatch.setattr(module, "lexical_terms", lambda passage: analysed.append(passage.doc_id) or real(passage))
    with Collection(tmp_path / "c", word_encoder) as second:
        assert found(second) == expected
        assert analysed == []
        second.upsert([Document("d3", "word1"), Document("new", "word2")])
        second.delete(["d4"])
        second.snapshot()
        assert sorted(analysed) == ["d3", "new"]
    analysed.clear()
    with Collection(tmp_path / "c", word_encoder) as third:
        assert {"d3", "new"} <= {hit.doc_id for hit in third.search("word1 word2", 100)}
        assert sorted(analysed) == ["d3", "new"]


def test_files_of_a_store_that_was_put_back_are_not_believed(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with Collection(folder) as opened:
        opened.upsert([Document("a", "red fox"), Document("b", "blue whale")])
    backup = (folder / "documents.sqlite").read_bytes()
    with Collection(folder) as opened:
        opened.upsert([Document("a", "green frog")])
        opened.flush()
    (folder / "documents.sqlite").write_bytes(backup)
    with Collection(folder) as opened:
        opened.upsert([Document("c", "grey wolf")])
        assert [hit.doc_id for hit in opened.search("fox")] == ["a"]
        assert opened.search("frog") == []


def test_two_openings_flush_the_same_folder(tmp_path: Path, word_encoder) -> None:
    with Collection(tmp_path / "c", word_encoder) as one, Collection(tmp_path / "c", word_encoder) as other:
        one.upsert([Document("a", "fox")])
        one.flush()
        other.upsert([Document("b", "fox")])
        other.flush()
        one.flush()
        assert [hit.doc_id for hit in one.search("fox")] == [hit.doc_id for hit in other.search("fox")] == ["a", "b"]


def test_searching_and_writing_go_on_during_flushes(tmp_path: Path, word_encoder) -> None:
    stop = threading.Event()
    with Collection(tmp_path / "c", word_encoder) as opened, ThreadPoolExecutor(3) as pool:
        opened.upsert([Document(f"base-{number}", "fox") for number in range(50)])

        def read() -> None:
            while not stop.is_set():
                assert len(opened.search("fox", 500, "lexical")) % 10 == 0

        def flush() -> None:
            while not stop.is_set():
                opened.flush()

        work = [pool.submit(read), pool.submit(read), pool.submit(flush)]
        for batch in range(10):
            opened.upsert([Document(f"{batch}-{number}", "fox") for number in range(10)])
        stop.set()
        for one in work:
            one.result()
        opened.flush()
        assert len(opened.search("fox", 500, "lexical")) == 150


def test_large_changes_are_merged_in_the_background(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(module, "_AT_ONCE", 20)
    with Collection(tmp_path / "c") as opened:
        opened.upsert([Document(f"d{number}", "fox") for number in range(100)])
        assert len(opened.search("fox", 200)) == 100
        opened.upsert([Document(f"e{number}", "fox") for number in range(30)])
        assert len(opened.search("fox", 200)) == 130
        until = time.monotonic() + 10
        while not opened.snapshot().settled and time.monotonic() < until:
            time.sleep(0.01)
        assert opened.snapshot().settled
    assert list((tmp_path / "c").glob("index-*"))


def other_encoder(word_encoder, title: str):
    class Other(type(word_encoder)):
        name = title
        encoded = 0

        def encode_documents(self, texts, progress=None):
            self.encoded += len(texts)
            return super().encode_documents(texts, progress)[:, ::-1]

        def encode_queries(self, texts):
            return super().encode_documents(texts)[:, ::-1]

    return Other()


def test_another_encoder_takes_over_once_all_is_encoded(tmp_path: Path, word_encoder) -> None:
    documents = [Document(f"d{number:03}", f"fox number{number}") for number in range(600)]
    with Collection(tmp_path / "c", word_encoder) as first:
        first.upsert(documents)
        expected = found(first)
    other = other_encoder(word_encoder, "other")
    with pytest.raises(InputError, match="'words', not from 'other'"):
        Collection(tmp_path / "c", other)
    with Collection(tmp_path / "c", other, load={"words": word_encoder}.__getitem__) as opened:
        assert opened.outdated
        assert found(opened) == expected
        rounds = iter([False, True])
        assert not opened.reencode(stopped=lambda: next(rounds))
        assert other.encoded == 256
        opened.upsert([Document("new", "fox new")])
        assert opened.search("new", 1, "dense")[0].doc_id == "new"
        assert names(found(opened)) == names(expected)
        told: list[int] = []
        assert opened.reencode(told.append)
        assert told == [256, 344]
        assert not opened.outdated
        assert opened.search("new", 1, "dense")[0].doc_id == "new"
    with Collection(tmp_path / "c", other) as opened:
        assert not opened.outdated
        ranking = opened.snapshot().rank(["fox"], (Leg.DENSE,))[0][Leg.DENSE]
        assert len(ranking) == 100
    with pytest.raises(InputError, match="'other', not from 'words'"):
        Collection(tmp_path / "c", word_encoder)


def test_a_store_of_the_first_format_is_brought_up_to_date(tmp_path: Path, word_encoder) -> None:
    folder = tmp_path / "c"
    with Collection(folder, word_encoder) as opened:
        opened.upsert([Document("a", "red fox"), Document("b", "红色狐狸")])
        expected = found(opened)
    store = apsw.Connection(str(folder / "documents.sqlite"))
    store.execute("""
        ALTER TABLE passages ADD COLUMN vector BLOB;
        UPDATE passages SET vector = (SELECT v.vector FROM vectors v WHERE v.passage_id = passages.passage_id);
        DROP TABLE vectors; DROP INDEX documents_written;
        UPDATE meta SET value = 1 WHERE key = 'format';
    """)
    store.close()
    with Collection(folder, word_encoder) as opened:
        assert found(opened) == expected
        vectors = [len(row.vectors) for row in opened.snapshot().rows()]
        assert vectors == [1, 0]


def test_rows_come_back_as_they_were_given(tmp_path: Path, word_encoder) -> None:
    with Collection(tmp_path / "c", word_encoder) as opened:
        opened.upsert([Document("a", "red fox"), Document("b", "狐狸"), Document("c", "frog")])
        opened.flush()
        rows = list(opened.snapshot().rows())
        assert [row.passage.doc_id for row in rows] == ["a", "b", "c"]
        assert [list(row.vectors) for row in rows] == [["words"], [], ["words"]]
        np.testing.assert_array_equal(rows[2].vectors["words"], word_encoder.encode_documents(["frog"])[0])


def test_an_opening_follows_an_encoder_that_another_process_changed(tmp_path: Path, word_encoder) -> None:
    other = other_encoder(word_encoder, "other")
    load = {"words": word_encoder, "other": other}.__getitem__
    with Collection(tmp_path / "c", word_encoder, load=load) as one:
        one.upsert([Document("a", "red fox")])
        assert [hit.doc_id for hit in one.search("fox", legs="dense")] == ["a"]
        with Collection(tmp_path / "c", other, load=load) as another:
            assert another.reencode()
            assert [hit.doc_id for hit in one.search("fox", legs="dense")] == ["a"]
            one.upsert([Document("b", "red fox")])
            assert [hit.doc_id for hit in another.search("fox", legs="dense")] == ["a", "b"]


def test_what_was_written_without_an_encoder_is_encoded_later(tmp_path: Path, word_encoder) -> None:
    with Collection(tmp_path / "c") as plain:
        plain.upsert([Document(f"d{number}", "red fox") for number in range(3)])
        assert not plain.outdated
    with Collection(tmp_path / "c", word_encoder) as opened:
        assert opened.outdated
        assert opened.reencode()
        assert not opened.outdated
        assert len(opened.search("fox", legs="dense")) == 3


def test_an_encoder_put_before_another_takes_its_texts(tmp_path: Path, word_encoder) -> None:
    with Collection(tmp_path / "c", word_encoder) as first:
        first.upsert([Document("a", "red fox"), Document("b", "blue whale")])
    both = Spaces(other_encoder(word_encoder, "other"), word_encoder)
    with Collection(tmp_path / "c", both, load={"words": word_encoder}.__getitem__) as opened:
        assert opened.outdated
        assert opened.reencode()
        assert [list(row.vectors) for row in opened.snapshot().rows()] == [["other"], ["other"]]
        assert opened.search("fox", 1, "dense")[0].doc_id == "a"
