import random
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import ConflictError, InputError, NotFoundError, StorageError
from querywright.retrieval.collection import Collection, Leg, check_legs
from querywright.retrieval.encoders import Encoder
from querywright.retrieval.home import Collections
from querywright.retrieval.joined import OneCollection
from querywright.retrieval.passage import Document

Open = Callable[..., OneCollection]

LEXICAL = (Leg.LEXICAL,)
DENSE = (Leg.DENSE,)


def ids(hits) -> list[str]:
    return [hit.doc_id for hit in hits]


def test_life_of_a_document(collection: OneCollection) -> None:
    assert collection.upsert([Document("a", "red fox", "Fox", {"year": 2024}), Document("b", "blue whale")]) == 2
    hit = collection.search("fox", k=1)[0]
    assert (hit.rank, hit.doc_id, hit.passage_id) == (1, "a", "a#0")
    assert (hit.title, hit.text, hit.metadata) == ("Fox", "red fox", {"year": 2024})
    assert collection.upsert([Document("a", "green frog")]) == 1
    assert ids(collection.search("fox", legs=LEXICAL)) == []
    assert ids(collection.search("frog", legs=LEXICAL)) == ["a"]
    assert collection.get("a") == Document("a", "green frog")
    assert collection.delete(["a", "never there"]) == 1
    assert collection.count() == 1
    assert ids(collection.search("frog", legs=LEXICAL)) == []
    with pytest.raises(NotFoundError, match="no document of that id"):
        collection.get("a")


def test_everything_is_there_after_reopening(open_collection: Open, word_encoder) -> None:
    text = "\n\n".join(f"paragraph {number} about turbines and wind" for number in range(80))
    documents = [
        Document("long", text),
        Document("zh", "客户画像功能的操作指南", "手册", {"t": ("a", "b"), "x": 1.5}),
    ]
    with open_collection("c", word_encoder) as first:
        first.upsert(documents, whole=False)
        before = first.search("wind turbines", k=50)
    with open_collection("c", word_encoder) as second:
        assert second.search("wind turbines", k=50) == before
        assert len(before) > 1
        assert second.documents() == documents
        assert second.search("客户画像")[0].metadata == {"t": ("a", "b"), "x": 1.5}


def test_the_last_of_two_with_one_id_wins(collection: OneCollection) -> None:
    assert collection.upsert([Document("a", "old"), Document("a", "new")]) == 1
    assert collection.upsert([Document("b", "old"), Document("b", "new")], batch_size=1) == 1
    assert [document.text for document in collection.documents()] == ["new", "new"]


def test_a_bad_document_stops_before_its_batch(collection: OneCollection) -> None:
    def documents():
        for number in range(5):
            yield Document(f"d{number}", "text")
        yield Document("", "bad id")

    acknowledged: list[int] = []
    with pytest.raises(InputError):
        collection.upsert(documents(), batch_size=2, progress=acknowledged.append)
    assert acknowledged == [2, 4]
    assert collection.count() == 4


def test_unchanged_documents_are_not_encoded_again(tmp_path: Path, word_encoder) -> None:
    class Counting(type(word_encoder)):
        encoded = 0

        def encode_documents(self, texts, progress=None):
            self.encoded += len(texts)
            return super().encode_documents(texts, progress)

    counting = Counting()
    documents = [Document(f"d{number}", f"text {number}") for number in range(10)]
    with Collection(tmp_path / "plain") as plain:
        plain.upsert(documents)
    with Collection(tmp_path / "plain", counting) as opened:
        assert ids(opened.search("text", legs=DENSE)) == []
        opened.upsert(documents)
        assert counting.encoded == 10
        generation = opened.snapshot().generation
        assert opened.upsert(documents) == 10
        assert opened.snapshot().generation == generation
        opened.upsert([*documents[:9], Document("d9", "changed")])
        assert counting.encoded == 11
        opened.upsert(documents[:1], whole=False)
        assert counting.encoded == 12
    with Collection(tmp_path / "plain") as plain:
        plain.upsert(documents[:2])
        assert ids(plain.search("text 3", k=1)) == ["d3"]


def test_another_encoder_is_refused(open_collection: Open, word_encoder) -> None:
    with open_collection("c", word_encoder) as opened:
        opened.upsert([Document("a", "text")])

    class Other(type(word_encoder)):
        name = "other"

    with pytest.raises(InputError, match="'words', not from 'other'"):
        open_collection("c", Other())


METADATA = st.fixed_dictionaries(
    {},
    optional={
        "year": st.sampled_from([2023, 2024, 2024.0, "2024", 2024.5]),
        "open": st.booleans(),
        "tags": st.lists(st.sampled_from(["red", "蓝", "true"]), max_size=2).map(tuple),
    },
)


def as_json(value: object) -> set[str]:
    """Say anew how values compare: strings as they are, numbers and booleans as JSON writes them."""
    if isinstance(value, (tuple, list)):
        return set().union(*map(as_json, value)) if value else set()
    if isinstance(value, bool):
        return {"true" if value else "false"}
    return {str(value).removesuffix(".0")}


@given(
    metadata=st.lists(METADATA, min_size=1, max_size=25),
    wanted=METADATA,
    any_of=st.none() | st.lists(st.sampled_from([2023, "2024", True]), max_size=2),
    k=st.integers(1, 30),
)
def test_filters_equal_brute_force(tmp_path_factory, word_encoder, *, metadata, wanted, any_of, k) -> None:
    if any_of is not None:
        wanted = wanted | {"year": any_of}
    documents = [
        Document(f"d{number:02}", f"fox {'den ' * (number % 3)}", "", values) for number, values in enumerate(metadata)
    ]
    with Collection(tmp_path_factory.mktemp("filter") / "c", word_encoder) as opened:
        opened.upsert(documents)
        matching = {
            document.doc_id
            for document in documents
            if all(
                key in document.metadata and as_json(document.metadata[key]) & as_json(value)
                for key, value in wanted.items()
            )
        }
        for legs in (LEXICAL, DENSE):
            everything = opened.search("fox den", 1_000, legs)
            expected = [hit for hit in everything if hit.doc_id in matching][:k]
            found = opened.search("fox den", k, legs, wanted)
            assert ids(found) == ids(expected)
            assert [hit.score for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-6)
        assert len(opened.search("fox", k, filter=wanted)) == min(k, len(matching))


@pytest.mark.parametrize("wanted", [{"a": None}, {"a": {"b": 1}}, {"a": [[None]]}])
def test_filters_of_other_kinds_are_refused(collection: OneCollection, wanted) -> None:
    with pytest.raises(InputError, match="filter"):
        collection.search("x", filter=wanted)


def test_a_leg_that_cannot_read_the_text_is_absent(collection: OneCollection) -> None:
    collection.upsert([Document("en", "red fox"), Document("zh", "红色狐狸")])
    english, chinese, nothing, stops = collection.snapshot().rank(
        ["fox", "狐狸", "", "the of"], (Leg.LEXICAL, Leg.DENSE)
    )
    assert set(english) == {Leg.LEXICAL, Leg.DENSE}
    assert set(chinese) == {Leg.LEXICAL}
    assert set(nothing) == set()
    assert set(stops) == {Leg.DENSE}
    assert ids(collection.search("狐狸")) == ["zh"]
    assert collection.search("狐狸", legs=DENSE) == []
    assert collection.search("") == []


def test_an_empty_collection_finds_nothing(collection: OneCollection) -> None:
    assert collection.search("fox") == []
    collection.upsert([Document("blank", ""), Document("marks", "？！")])
    assert collection.search("fox") == []
    assert collection.count() == 2


def test_ties_go_by_passage_id(collection: OneCollection) -> None:
    collection.upsert([Document(name, "same words") for name in ("b", "a#1", "a", "é", "A", "狐")])
    for legs in (LEXICAL, DENSE, ("lexical", "dense")):
        found = [hit.passage_id for hit in collection.search("same words", legs=legs)]
        assert found == sorted(found)


def test_snapshots_do_not_change_under_their_holder(tmp_path: Path, word_encoder) -> None:
    collection = Collection(tmp_path / "demo", word_encoder)
    collection.upsert([Document("a", "red fox")])
    before = collection.snapshot()
    assert collection.snapshot() is before
    collection.upsert([Document("a", "green frog"), Document("b", "red fox")])
    for snapshot, expected in ((before, ["a"]), (collection.snapshot(), ["b"])):
        ranking = snapshot.rank(["fox"], LEXICAL)[0][Leg.LEXICAL]
        assert ids(snapshot.hits(ranking, 5)) == expected
    collection.close()


def test_hits_are_the_callers_own(collection: OneCollection) -> None:
    collection.upsert([Document("a", "fox", metadata={"k": "v"})])
    collection.search("fox")[0].metadata["k"] = "changed"
    assert collection.search("fox")[0].metadata == {"k": "v"}


def test_writes_through_another_opening_are_seen(open_collection: Open, word_encoder) -> None:
    with open_collection("c", word_encoder) as one, open_collection("c", word_encoder) as other:
        one.upsert([Document("a", "fox")])
        assert ids(other.search("fox")) == ["a"]
        other.delete(["a"])
        assert one.search("fox") == []


def test_many_small_changes_equal_a_clean_build(open_collection: Open, word_encoder) -> None:
    dice = random.Random(4)
    words = [f"word{number}" for number in range(40)] + ["客户", "画像", "功能"]
    truth: dict[str, Document] = {}
    with open_collection("grown", word_encoder) as grown:
        for _ in range(50):
            name = f"d{dice.randrange(25)}"
            if dice.random() < 0.3:
                assert grown.delete([name]) == (truth.pop(name, None) is not None)
            else:
                truth[name] = Document(name, " ".join(dice.choices(words, k=dice.randrange(1, 30))))
                grown.upsert([truth[name]], whole=False)
            grown.search("word1 word2")
        with open_collection("clean", word_encoder) as clean:
            clean.upsert(truth.values(), whole=False)
            grown.flush()
            clean.flush()
            for query in ("word1 word2", "客户画像", "word7"):
                found, expected = (opened.search(query, 100, LEXICAL) for opened in (grown, clean))
                scores = {hit.passage_id: hit.score for hit in found}
                assert scores == pytest.approx({hit.passage_id: hit.score for hit in expected}, rel=0.011)
                if isinstance(grown, Collection):  # in Milvus the weights of some are up to a hundredth off
                    assert grown.search(query, 100) == clean.search(query, 100)


def test_threads_read_and_write_at_once(collection: OneCollection) -> None:
    stop = threading.Event()

    def read() -> int:
        rounds = 0
        while not stop.is_set():
            found = collection.search("fox", 100, LEXICAL)
            # Each batch holds ten: none may be seen in part.
            assert len(found) % 10 == 0
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for batch in range(8):
            collection.upsert([Document(f"{batch}-{number}", "fox") for number in range(10)])
        stop.set()
        assert all(reader.result() > 0 for reader in readers)
    assert collection.count() == 80


HOSTILE = [
    "'; DROP TABLE documents; --",
    "../../etc/passwd",
    "%00",
    "a b",
    "𝒳",
    "\u202ertl",
    "{}",
    "*",
    '"',
    "#",
    "a#0",
]


def test_hostile_ids_and_texts_are_only_data(collection: OneCollection) -> None:
    collection.upsert([Document(name, f"fox {name}", name, {name: name}) for name in HOSTILE])
    assert collection.count() == len(HOSTILE)
    for name in HOSTILE:
        assert collection.get(name).metadata == {name: name}
        assert ids(collection.search("fox", filter={name: name})) == [name]
        collection.search(name)
    assert collection.delete(HOSTILE) == len(HOSTILE)


@pytest.mark.parametrize("k", [0, -1, 1_001, True, 2.5, "3", None])
def test_k_out_of_range(collection: OneCollection, k) -> None:
    with pytest.raises(InputError, match="k: expected"):
        collection.search("fox", k)


@pytest.mark.parametrize("legs", [(), ["hybrid"], "sparse", [None], [[]], None, 3, {"lexical"}])
def test_unknown_legs(collection: OneCollection, legs) -> None:
    with pytest.raises(InputError, match="legs: expected"):
        collection.search("fox", legs=legs)


def test_legs_in_a_word_and_said_twice(collection: OneCollection) -> None:
    collection.upsert([Document("a", "fox")])
    assert ids(collection.search("fox", legs="lexical")) == ids(collection.search("fox", legs="hybrid")) == ["a"]
    assert check_legs(["dense", "dense"]) == DENSE


def test_documents_come_in_pages(collection: OneCollection) -> None:
    collection.upsert([Document(f"d{number}", "x") for number in range(5)])
    first = collection.documents(limit=3)
    assert [document.doc_id for document in first] == ["d0", "d1", "d2"]
    assert [document.doc_id for document in collection.documents(first[-1].doc_id)] == ["d3", "d4"]
    with pytest.raises(InputError, match="limit"):
        collection.documents(limit=0)


@pytest.mark.parametrize("given", [(1, "x"), ("a", None), ("a", "x", b"title"), ("a", "x", "", {"n": 2**63})])
def test_documents_of_other_types_are_refused(given) -> None:
    with pytest.raises(InputError, match="expected a"):
        Document(*given)
    Document("a", "x", "", {"n": -(2**63)})


@pytest.mark.parametrize(
    "metadata",
    [{"a": None}, {"a": [1]}, {"a": ("x", 1)}, {"a": float("nan")}, {1: "x"}, {"a": "\ud800"}, {"a": {}}],
)
def test_metadata_that_cannot_be_kept_is_refused(metadata) -> None:
    with pytest.raises(InputError, match="metadata"):
        Document("a", "text", "", metadata)


def test_collections_come_and_go(tmp_path: Path, word_encoder) -> None:
    made: list[int] = []

    def factory():
        made.append(1)
        return word_encoder

    home = tmp_path / "home"
    collections = Collections(home, factory)
    assert collections.names() == []
    first = collections.create("crm_help-1")
    first.upsert([Document("a", "fox")])
    assert collections.open("crm_help-1") is first
    collections.create("other")
    (home / "notes").mkdir()
    (home / "notes" / "todo.txt").write_text("mine")
    (home / "Not A Name").mkdir()
    (home / "file").write_text("x")
    assert collections.names() == ["crm_help-1", "other"]
    with pytest.raises(ConflictError):
        collections.create("crm_help-1")
    with pytest.raises(ConflictError):
        collections.create("notes")
    with pytest.raises(NotFoundError):
        collections.open("notes")
    with pytest.raises(NotFoundError):
        collections.drop("notes")
    assert (home / "notes" / "todo.txt").exists()
    collections.drop("crm_help-1")
    with pytest.raises(NotFoundError):
        collections.open("crm_help-1")
    with pytest.raises(StorageError, match="closed"):
        first.count()
    assert collections.create("crm_help-1").count() == 0
    assert made == [1]
    collections.close()
    again = Collections(home, factory)
    assert again.names() == ["crm_help-1", "other"]
    again.close()


def test_a_collection_made_anew_by_another_process_is_opened_again(tmp_path: Path) -> None:
    ours, theirs = Collections(tmp_path), Collections(tmp_path)
    ours.create("c").upsert([Document("old", "fox")])
    theirs.drop("c")
    theirs.create("c")
    ours.open("c").upsert([Document("new", "frog")])
    assert [document.doc_id for document in theirs.open("c").documents()] == ["new"]
    assert ours.count("c") == 1
    theirs.drop("c")
    with pytest.raises(NotFoundError):
        ours.count("c")


def test_counting_needs_no_encoder(tmp_path: Path, word_encoder) -> None:
    with Collection(tmp_path / "c", word_encoder) as first:
        first.upsert([Document("a", "fox")])

    def fail():
        raise AssertionError

    assert Collections(tmp_path, fail).count("c") == 1


@pytest.mark.parametrize("name", ["", "A", "a b", "../x", "a/b", ".", "x" * 65, "a\n", "名字", "a.b", 5, None])
def test_names_that_are_none(tmp_path: Path, name) -> None:
    collections = Collections(tmp_path)
    for call in (collections.open, collections.create, collections.drop):
        with pytest.raises(InputError, match="expected a name"):
            call(name)


def store_file(folder: Path) -> Path:
    return folder / "documents.sqlite"


def test_files_that_are_no_collection(tmp_path: Path) -> None:
    for name, content in [("text", b"hello, this is no database " * 50), ("zeros", bytes(8_192))]:
        (tmp_path / name).mkdir()
        store_file(tmp_path / name).write_bytes(content)
        with pytest.raises(StorageError, match="no SQLite file"):
            Collection(tmp_path / name)
    (tmp_path / "foreign").mkdir()
    with sqlite3.connect(store_file(tmp_path / "foreign")) as foreign:
        foreign.execute("CREATE TABLE mine (x)")
    foreign.close()
    with pytest.raises(StorageError, match="not of a collection"):
        Collection(tmp_path / "foreign")
    (tmp_path / "blocked").write_text("a file")
    with pytest.raises(StorageError):
        Collection(tmp_path / "blocked")


def test_another_format_is_refused(tmp_path: Path) -> None:
    Collection(tmp_path / "c").close()
    with sqlite3.connect(store_file(tmp_path / "c")) as stored:
        stored.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    stored.close()
    with pytest.raises(StorageError, match="format 99"):
        Collection(tmp_path / "c")


def test_a_damaged_file_is_a_clear_error(tmp_path: Path) -> None:
    with Collection(tmp_path / "c") as opened:
        opened.upsert([Document(f"d{number}", f"fox {number} " * 200) for number in range(200)])
    path = store_file(tmp_path / "c")
    data = bytearray(path.read_bytes())
    data[4_096 : len(data) // 2] = np.random.default_rng(0).bytes(len(data) // 2 - 4_096)
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        Collection(tmp_path / "c").search("fox")


def test_both_languages_with_minilm(open_collection: Open, encoder: Encoder) -> None:
    with open_collection("c", encoder) as opened:
        opened.upsert(
            [
                Document("pets", "Kittens need small meals several times a day.", "Feeding a young cat"),
                Document("tax", "Companies file their taxes once a year.", "Deadlines"),
                Document("zh", "在客户画像页面点击导出即可下载报表。", "客户画像"),
            ]
        )
        assert ids(opened.search("how often should I give food to my baby feline", legs=DENSE))[0] == "pets"
        assert ids(opened.search("when do companies file taxes"))[0] == "tax"
        assert ids(opened.search("如何下载客户画像报表")) == ["zh"]
        mixed = opened.snapshot().rank(["kitten meals", "客户画像"], ("lexical", "dense"))
        assert [sorted(found) for found in mixed] == [["dense", "lexical"], ["lexical"]]
