"""Copies of stores, archives of files, and what puts one collection in another's place."""

import io
import re
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querywright import InputError, NotFoundError, StorageError, UnavailableError
from querywright.retrieval import collection as collection_module
from querywright.retrieval import index_files, restoring
from querywright.retrieval.archive import Archive, write_archive
from querywright.retrieval.backup import (
    StoreState,
    check_store,
    copy_store,
    damage_of,
    renumber,
    replace_store,
    replaced_by,
    state_of,
)
from querywright.retrieval.collection import Collection
from querywright.retrieval.home import Collections
from querywright.retrieval.passage import Document
from querywright.retrieval.restoring import alone, put_in_place, scratch, settle
from querywright.retrieval.store import STORE_FILE, Store, UnreadableError

LEXICAL = ("lexical",)


def documents(word: str, numbers: range = range(10)) -> list[Document]:
    return [Document(f"d{number}", f"{word} number{number}", metadata={"of": word}) for number in numbers]


def made(folder: Path, encoder, *some: Document) -> Path:
    """Return the store of a new collection that nobody has open."""
    with Collection(folder, encoder) as opened:
        opened.upsert(some)
    return folder / STORE_FILE


def texts(opened: Collection, query: str = "number1 number2 number3 red green blue") -> set[str]:
    return {hit.text for hit in opened.search(query, k=100, legs=LEXICAL)}


# ------------------------------------------------------------------------------------------- copies


def test_a_copy_is_the_state_at_its_start(tmp_path: Path, word_encoder) -> None:
    with Collection(tmp_path / "c", word_encoder) as live:
        live.upsert(documents("red"))
        generation = live.snapshot().generation

        def meanwhile() -> None:
            live.upsert(documents("green", range(5, 400)))
            live.delete(["d0"])
            with closing(apsw.Connection(str(tmp_path / "c" / STORE_FILE))) as other:
                other.execute("PRAGMA wal_checkpoint(PASSIVE)")

        assert copy_store(tmp_path / "c" / STORE_FILE, tmp_path / "copy", meanwhile) == StoreState(generation, 10)
        assert live.count() == 399
    assert check_store(tmp_path / "copy") == StoreState(generation, 10)
    (tmp_path / "other").mkdir()
    (tmp_path / "copy").rename(tmp_path / "other" / STORE_FILE)
    with Collection(tmp_path / "other", word_encoder) as copied:
        assert copied.documents() == documents("red")
        assert copied.snapshot().generation == generation


def test_copies_while_threads_write(tmp_path: Path, word_encoder) -> None:
    stop = threading.Event()
    with Collection(tmp_path / "c", word_encoder) as live:
        live.upsert(documents("word0"))

        def write() -> None:
            for round_ in range(1, 10_000):
                if stop.is_set():
                    return
                live.upsert(documents(f"word{round_}"))

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(20):
                copy_store(tmp_path / "c" / STORE_FILE, tmp_path / str(number))
        finally:
            stop.set()
            writer.join()
    for number in range(20):
        store = Store(tmp_path / str(number))
        words = {document.metadata["of"] for document in store.documents(None, 100)}
        store.close()
        assert len(words) == 1


def test_a_copy_is_one_file_and_does_not_touch_the_original(tmp_path: Path, word_encoder) -> None:
    store = made(tmp_path / "c", word_encoder, *documents("red"))
    before = store.read_bytes()
    copy_store(store, tmp_path / "copy")
    assert {path.name for path in tmp_path.iterdir()} == {"c", "copy"}
    assert store.read_bytes() == before


def test_what_cannot_be_copied(tmp_path: Path, word_encoder) -> None:
    with pytest.raises(StorageError, match="none: cannot be read"):
        copy_store(tmp_path / "none", tmp_path / "copy")
    assert not (tmp_path / "none").exists()
    store = made(tmp_path / "c", word_encoder, *documents("red", range(300)))
    data = bytearray(store.read_bytes())
    data[8192:16384] = bytes(8192)
    store.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        copy_store(store, tmp_path / "copy")
    assert damage_of(store)


FORMAT_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE documents (
    doc_id TEXT NOT NULL PRIMARY KEY, title TEXT NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL,
    digest BLOB NOT NULL, encoder TEXT NOT NULL, generation INTEGER NOT NULL, passages INTEGER NOT NULL
) STRICT;
CREATE TABLE passages (
    passage_id TEXT NOT NULL PRIMARY KEY, doc_id TEXT NOT NULL REFERENCES documents ON DELETE CASCADE,
    ordinal INTEGER NOT NULL, text TEXT, language TEXT NOT NULL, vector BLOB, UNIQUE (doc_id, ordinal)
) STRICT;
INSERT INTO meta VALUES ('format', 1), ('generation', 7), ('encoder', '');
INSERT INTO documents VALUES ('a', '', 'red fox', '{}', x'00', '', 7, 1);
INSERT INTO passages VALUES ('a#0', 'a', 0, NULL, 'en', NULL);
"""


def test_an_older_store_is_brought_up_to_date(tmp_path: Path, word_encoder) -> None:
    with closing(apsw.Connection(str(tmp_path / "old"))) as old:
        old.execute(FORMAT_1)
    assert check_store(tmp_path / "old") == StoreState(7, 1)
    live = made(tmp_path / "c", None, *documents("red"))
    replace_store(live, tmp_path / "old", "token", lambda _: None)
    with Collection(tmp_path / "c") as opened:
        assert [hit.doc_id for hit in opened.search("fox")] == ["a"]


# ------------------------------------------------------------------------------------------- one in place of another


@pytest.mark.parametrize("at_once", [3, 5000], ids=["read from index files", "indexed anew"])
def test_an_open_collection_sees_what_took_its_place(tmp_path: Path, word_encoder, monkeypatch, at_once: int) -> None:
    """The same ids, as many documents, older numbers: nothing but the generation tells them apart."""
    monkeypatch.setattr(collection_module, "_AT_ONCE", at_once)
    prepared = made(tmp_path / "p", word_encoder, *documents("green"))
    live = made(tmp_path / "c", word_encoder, *documents("red"))
    with Collection(tmp_path / "c", word_encoder) as opened:
        opened.flush()
        opened.upsert(documents("red", range(10, 12)))
        opened.delete(["d10", "d11"])
        held = opened.snapshot()
        beyond = renumber(prepared, state_of(live).generation)
        with Collection(tmp_path / "p", word_encoder) as other:
            other.flush()

        def ready(generation: int) -> None:
            assert generation == beyond
            (tmp_path / "p" / f"index-{generation}").rename(tmp_path / "c" / f"index-{generation}")
            assert texts(opened) == {document.text for document in documents("red")}  # not committed

        replace_store(live, prepared, "token", ready)
        assert texts(opened) == {document.text for document in documents("green")}
        assert opened.snapshot().generation == beyond > held.generation
        assert (opened._saved == beyond) == (at_once == 3)
        assert {held.passage(place).text for place in range(len(held))} == {one.text for one in documents("red")}
        assert [hit.score for hit in opened.search("green number3", k=3)] == clean_scores(tmp_path, word_encoder)
        opened.upsert(documents("blue", range(3)))
        assert texts(opened, "blue") == {one.text for one in documents("blue", range(3))}


def clean_scores(tmp_path: Path, encoder) -> list[float]:
    with Collection(tmp_path / "clean", encoder) as clean:
        clean.upsert(documents("green"))
        return [hit.score for hit in clean.search("green number3", k=3)]


def test_a_smaller_collection_is_not_scored_by_what_was_there_before(tmp_path: Path, word_encoder, monkeypatch) -> None:
    monkeypatch.setattr(collection_module, "_AT_ONCE", 3)
    prepared = made(tmp_path / "p", word_encoder, *documents("green"))
    live = made(tmp_path / "c", word_encoder, *documents("red", range(50)))
    with Collection(tmp_path / "c", word_encoder) as opened:
        opened.flush()
        renumber(prepared, state_of(live).generation)
        replace_store(live, prepared, "token", lambda _: None)
        assert [hit.score for hit in opened.search("green number3", k=3)] == clean_scores(tmp_path, word_encoder)


def test_a_store_that_went_ahead_is_not_gone_behind(tmp_path: Path, word_encoder) -> None:
    prepared = made(tmp_path / "p", word_encoder, *documents("green"))
    live = made(tmp_path / "c", word_encoder, *documents("red"))
    with closing(apsw.Connection(str(live))) as ahead, ahead:
        ahead.execute("UPDATE meta SET value = value + ? WHERE key = 'generation'", (2**41,))
    told: list[int] = []
    before = state_of(live).generation
    replace_store(live, prepared, "token", told.append)
    assert state_of(live) == StoreState(told[0], 10)
    assert told[0] > before
    with closing(apsw.Connection(str(live))) as found:
        assert {row[0] for row in found.execute("SELECT generation FROM documents")} == {told[0]}


def test_what_fails_changes_nothing(tmp_path: Path, word_encoder) -> None:
    prepared = made(tmp_path / "p", word_encoder, *documents("green"))
    live = made(tmp_path / "c", word_encoder, *documents("red"))
    before = state_of(live)

    def fail(_: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        replace_store(live, prepared, "token", fail)
    assert state_of(live) == before
    assert replaced_by(live) is None
    with Collection(tmp_path / "c", word_encoder) as opened:
        assert opened.documents() == documents("red")


class Named:
    """The cheap encoder under another name, which does something when it encodes."""

    dimensions = 16

    def __init__(self, like, name: str, does: Callable[[], None] = lambda: None) -> None:
        self._like, self.name, self._does = like, name, does

    def reads(self, text: str) -> bool:
        return self._like.reads(text)

    def encode_documents(self, texts, progress=None):
        self._does()
        return self._like.encode_documents(texts, progress)

    encode_queries = encode_documents


def test_another_encoders_vectors_serve_until_all_are_encoded(tmp_path: Path, word_encoder) -> None:
    earlier = Named(word_encoder, "earlier")
    prepared = made(tmp_path / "p", earlier, *documents("green"))
    live = made(tmp_path / "c", word_encoder, *documents("red"))
    with Collection(tmp_path / "c", word_encoder, load={"earlier": earlier}.__getitem__) as opened:
        opened.snapshot()
        replace_store(live, prepared, "token", lambda _: None)
        assert [hit.text for hit in opened.search("green number3", k=1, legs=("dense",))] == ["green number3"]
        assert opened.snapshot().encoder == "earlier"
        assert opened.outdated
        assert opened.reencode()
        assert opened.snapshot().encoder == "words"
        assert [hit.text for hit in opened.search("green number3", k=1, legs=("dense",))] == ["green number3"]


def test_what_is_restored_while_all_is_encoded_keeps_its_vectors(tmp_path: Path, word_encoder) -> None:
    earlier = Named(word_encoder, "earlier")
    prepared = made(tmp_path / "p", earlier, *documents("green"))
    live = made(tmp_path / "c", earlier, *documents("red"))
    times = iter(["first", "second"])

    def restored() -> None:
        if next(times, None) == "first":
            renumber(prepared, state_of(live).generation)
            replace_store(live, prepared, "token", lambda _: None)

    wanted = Named(word_encoder, "wanted", restored)
    with Collection(tmp_path / "c", wanted, load={"earlier": earlier}.__getitem__) as opened:
        assert opened.reencode()
        found = opened.search("green number3", k=1, legs=("dense",))
        assert [hit.text for hit in found] == ["green number3"]
        assert not opened.outdated


def test_files_of_what_was_restored_outlive_a_flush_that_began_before(tmp_path: Path, monkeypatch) -> None:
    index_files.write_index(tmp_path, 1, {}, {"a": b"1"})

    def filled(*given) -> None:
        (tmp_path / "index-9").mkdir()  # a restore puts its own there meanwhile
        real(*given)

    real = index_files._fill
    monkeypatch.setattr(index_files, "_fill", filled)
    index_files.write_index(tmp_path, 2, {}, {"a": b"2"})
    assert sorted(path.name for path in tmp_path.glob("index-*")) == ["index-2", "index-9"]


def test_opening_does_not_wait_for_who_writes(tmp_path: Path) -> None:
    live = made(tmp_path / "c", None, *documents("red"))
    with closing(apsw.Connection(str(live))) as writing:
        writing.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        with Collection(tmp_path / "c") as opened:
            assert opened.count() == 10
        assert time.monotonic() - begun < 5


# ------------------------------------------------------------------------------------------- in a folder


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Return the folder of a collection with files beside its store, and one to put in its place."""
    made(tmp_path / "c", None, *documents("red"))
    (tmp_path / "c" / "old.txt").write_text("old")
    (tmp_path / "c" / "both.txt").write_text("old")
    prepared = tmp_path / "p"
    store = made(prepared, None, *documents("green"))
    renumber(store, 2**30)
    with Collection(prepared) as opened:
        opened.flush()
    (prepared / "deep").mkdir()
    (prepared / "both.txt").write_text("new")
    (prepared / "deep" / "new.txt").write_text("new")
    yield tmp_path / "c", prepared
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "p"]


def put(folder: Path, prepared: Path) -> None:
    files = {name: prepared / name for name in ("both.txt", "deep/new.txt")}
    with alone(folder):
        put_in_place(folder, prepared, files, ["old.txt", "never there.txt"])


def contents(folder: Path) -> dict[str, object]:
    with Collection(folder) as opened:
        words = {document.metadata["of"] for document in opened.documents()}
    texts = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.txt")}
    return {**texts, "words": words, "indexes": len(list(folder.glob("index-*")))}


OLD = {"old.txt": "old", "both.txt": "old", "words": {"red"}, "indexes": 0}
NEW = {"both.txt": "new", "deep/new.txt": "new", "words": {"green"}, "indexes": 1}


def test_store_and_files_change_together(both: tuple[Path, Path]) -> None:
    folder, prepared = both
    assert contents(folder) == OLD
    put(folder, prepared)
    assert contents(folder) == NEW


def test_where_the_store_cannot_be_replaced_all_stays(both: tuple[Path, Path], monkeypatch) -> None:
    folder, prepared = both
    with closing(apsw.Connection(str(folder / STORE_FILE))) as writing:
        writing.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr("querywright.retrieval.backup.BUSY_MS", 10)
        with pytest.raises(UnavailableError):
            put(folder, prepared)
    assert contents(folder) == OLD


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("who", ["settle", "alone", "open"])
def test_what_a_killed_restore_left_is_ended(both: tuple[Path, Path], monkeypatch, who: str, committed) -> None:
    folder, prepared = both
    with monkeypatch.context() as killed:
        killed.setattr(restoring, "_finish", lambda _: None)
        if not committed:
            real = replace_store

            def cut_off(live: Path, prepared: Path, token: str, ready: Callable[[int], None]) -> None:
                def last(generation: int) -> None:
                    ready(generation)
                    raise KeyboardInterrupt

                real(live, prepared, token, last)

            killed.setattr(restoring, "replace_store", cut_off)
        try:
            put(folder, prepared)
        except KeyboardInterrupt:
            assert not committed
    assert (folder / "restoring").is_dir()
    with closing(Collections(folder.parent)) as home:
        if who == "alone":
            with alone(folder):
                assert not (folder / "restoring").exists()
        else:
            {"settle": lambda: settle(folder), "open": lambda: home.open("c")}[who]()
    assert contents(folder) == (NEW if committed else OLD)


def test_half_of_the_files_placed_is_no_hindrance(both: tuple[Path, Path], monkeypatch) -> None:
    folder, prepared = both

    def interrupted(path: Path) -> None:
        if path == folder:
            raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(restoring, "sync_folder", lambda path: (path / "both.txt").exists() and interrupted(path))
        killed.setattr(restoring, "_stand_ready", _without_syncs(restoring._stand_ready, killed))
        with pytest.raises(KeyboardInterrupt):
            put(folder, prepared)
    assert (folder / "both.txt").read_text() == "new"
    assert (folder / "old.txt").exists()
    settle(folder)
    assert contents(folder) == NEW


def _without_syncs(real: Callable[..., None], patch: pytest.MonkeyPatch) -> Callable[..., None]:
    def ready(*given) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(restoring, "sync_folder", lambda _: None)
            real(*given)

    return ready


def test_a_folder_is_held_by_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(restoring, "_LONGEST_WAIT", 0.05)
    (tmp_path / "c").mkdir()
    with (
        alone(tmp_path / "c"),
        pytest.raises(UnavailableError, match=r"collection 'c': .*try again"),
        alone(tmp_path / "c"),
    ):
        raise AssertionError
    with alone(tmp_path / "c"):
        settle(tmp_path / "c")
    with pytest.raises(NotFoundError), alone(tmp_path / "none"):
        raise AssertionError


def test_a_junk_plan_is_told(tmp_path: Path) -> None:
    (tmp_path / "c" / "restoring").mkdir(parents=True)
    (tmp_path / "c" / "restoring" / "plan.json").write_text("{}")
    made(tmp_path / "c", None)
    with pytest.raises(StorageError, match="restoring: not what a restore leaves: remove that folder"):
        settle(tmp_path / "c")


def test_scratch_folders_of_the_dead_go(tmp_path: Path) -> None:
    left = tmp_path / ".querywright-0123456789abcdef"
    left.mkdir()
    homes = [tmp_path / name for name in (".querywright", ".querywright-2", ".querywright-dev")]
    for home in homes:
        home.mkdir()
    (left / "file").write_text("x")
    with scratch(tmp_path) as first:
        assert not left.exists()
        with scratch(tmp_path) as second:
            assert first.exists()
            assert second.exists()
            assert first != second
    assert sorted(tmp_path.iterdir()) == homes


# ------------------------------------------------------------------------------------------- archives

ANY_NAME = re.compile("[a-z/]+")


def archived(folder: Path, contents: dict[str, bytes], about: dict[str, object] | None = None) -> bytes:
    members = {}
    for number, (name, content) in enumerate(contents.items()):
        members[name] = folder / f"member-{number}"
        members[name].write_bytes(content)
    file = io.BytesIO()
    write_archive(file, about or {}, members)
    return file.getvalue()


def read(data: bytes, folder: Path | None, allowed: re.Pattern[str] = ANY_NAME) -> dict[str, int]:
    return Archive(io.BytesIO(data), Path("a.tar")).extract(folder, allowed)


CONTENTS = st.dictionaries(
    st.from_regex(r"\A[a-z]{1,8}(/[a-z]{1,8})?\Z"), st.binary(max_size=20) | st.sampled_from([b"x" * 511, b"y" * 1024])
).filter(lambda found: not any(f"{name.split('/')[0]}" in found for name in found if "/" in name))


@settings(max_examples=50)
@given(CONTENTS)
def test_an_archive_gives_back_what_it_holds(tmp_path_factory, contents: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("archive")
    data = archived(folder, contents, {"colour": "红"})
    sizes = read(data, folder / "out")
    assert sizes == {name: len(content) for name, content in contents.items()}
    assert {name: (folder / "out" / name).read_bytes() for name in contents} == contents
    assert Archive(io.BytesIO(data), Path("a.tar")).about["colour"] == "红"
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:  # any tool reads it
        assert tar.getnames() == ["manifest.json", *contents]


@settings(max_examples=150)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path_factory, place: float, bit: int) -> None:
    folder = tmp_path_factory.mktemp("archive")
    contents = {"a": b"one" * 400, "b": b"", "c/d": bytes(512)}
    data = bytearray(archived(folder, contents))
    data[int(place * len(data))] ^= 1 << bit
    try:
        read(bytes(data), folder / "out")
    except InputError as error:
        assert str(error).startswith("a.tar: ")  # noqa: PT017
    else:
        assert {name: (folder / "out" / name).read_bytes() for name in contents} == contents


def test_every_length_but_the_whole_is_noticed(tmp_path: Path) -> None:
    data = archived(tmp_path, {"a": b"one" * 400, "b": b"two"})
    for length in range(0, len(data), 37):
        if length < len(data.rstrip(b"\0")) + 1024:
            with pytest.raises(InputError, match=r"^a[.]tar: "):
                read(data[:length], None)


def test_names_that_are_not_allowed(tmp_path: Path) -> None:
    data = archived(tmp_path, {"../evil": b"x"})
    with pytest.raises(InputError, match=r"^a[.]tar: it holds '[.][.]/evil', which no backup does"):
        read(data, tmp_path / "out")
    assert not (tmp_path / "evil").exists()
    assert not (tmp_path / "out").exists()


def test_memory_stays_bounded(tmp_path: Path) -> None:
    import tracemalloc

    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 * 2**20)
    tracemalloc.start()
    try:
        with (tmp_path / "a.tar").open("xb") as file:
            write_archive(file, {}, {"large": large})
        with (tmp_path / "a.tar").open("rb") as file:
            Archive(file, tmp_path / "a.tar").extract(tmp_path / "out", ANY_NAME)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out" / "large").stat().st_size == 64 * 2**20
    shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("'encoder TEXT NOT NULL', 'encoder TEXT NOT NULL CHECK (length(doc_id) < 3)'", "which no collection does"),
        ("'REFERENCES documents ON DELETE CASCADE', 'REFERENCES documents'", "not a collection's"),
        ("'title TEXT NOT NULL', 'title TEXT NOT NULL DEFAULT 1'", "which no collection does"),
    ],
)
def test_tables_that_would_refuse_what_is_written_later(tmp_path: Path, change: str, says: str) -> None:
    path = made(tmp_path / "c", None, *documents("red"))
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("writable_schema", 1)
        connection.execute(f"UPDATE sqlite_schema SET sql = replace(sql, {change})")
        assert connection.changes()
    with pytest.raises(UnreadableError, match=says):
        check_store(path)


@pytest.mark.parametrize("metadata", ["[1]", '"x"', "1", "null", '{"a": null}', '{"a": {"b": 1}}', "{"])
def test_metadata_that_no_document_has(tmp_path: Path, metadata: str) -> None:
    path = made(tmp_path / "c", None, *documents("red"))
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE documents SET metadata = ? WHERE doc_id = 'd3'", (metadata,))
    with pytest.raises(UnreadableError, match="damaged: it holds metadata"):
        check_store(path)
