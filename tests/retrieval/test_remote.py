import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querywright import ConflictError, InputError, NotFoundError, UnavailableError
from querywright.retrieval.analysis import analyze, is_chinese
from querywright.retrieval.collection import Leg
from querywright.retrieval.filters import MetadataIndex
from querywright.retrieval.lexical import BM25Index, Vocabulary
from querywright.retrieval.milvus_calls import Milvus
from querywright.retrieval.milvus_rows import FLAT_ROWS, dense_index
from querywright.retrieval.passage import Document
from querywright.retrieval.remote_home import RemoteCollections, name_of, stored_as
from querywright.retrieval.remote_snapshot import _Places

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

LEXICAL = (Leg.LEXICAL,)


@pytest.fixture
def store(milvus: Milvus, tmp_path: Path, word_encoder) -> Iterator[RemoteCollections]:
    """Return the collections of one replica; those that a test made are dropped after it."""
    opened = RemoteCollections(milvus, tmp_path, lambda: word_encoder)
    before = opened.names()
    yield opened
    for name in set(opened.names()) - set(before):
        opened.drop(name)


def test_collections_come_and_go(store: RemoteCollections, milvus: Milvus, tmp_path: Path, word_encoder) -> None:
    store.create("crm_help-1").upsert([Document("a", "fox")])
    replica = RemoteCollections(milvus, tmp_path, lambda: word_encoder)
    assert "crm_help-1" in replica.names()
    assert replica.count("crm_help-1") == replica.open("crm_help-1").count() == 1
    with pytest.raises(ConflictError):
        replica.create("crm_help-1")
    opened = store.open("crm_help-1")
    replica.drop("crm_help-1")
    for call in (store.open, store.drop, store.count):
        with pytest.raises(NotFoundError):
            call("crm_help-1")
    with pytest.raises(NotFoundError):
        opened.count()
    with pytest.raises(NotFoundError):
        opened.search("fox")
    with pytest.raises(InputError, match="expected a name"):
        store.open("../x")


@given(st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True))
def test_names_survive(name: str) -> None:
    assert name_of(stored_as(name)) == name
    assert stored_as(name).replace("_", "").isalnum()


VALUES = st.one_of(
    st.sampled_from([2023, 2024, 2024.0, 2024.5, -1, "2024", "2024-05", "蓝", True, False, 2**62, '"] or true']),
    st.lists(st.sampled_from(["red", "蓝", "true"]), max_size=2).map(tuple),
)
KEYS = st.sampled_from(["year", "年", 'a"b', ""])
BOUNDS = st.dictionaries(
    st.sampled_from(["gte", "gt", "lte", "lt"]), st.sampled_from([2023, 2024.2, "2024"]), min_size=1
) | st.dictionaries(st.sampled_from(["gte", "lt"]), st.sampled_from(["2024-01", "a", "蓝"]), min_size=1)


def without_lists(rows: list[dict], key: str) -> list[dict]:
    """Take out what ranges do not look into in Milvus."""
    return [{name: value for name, value in row.items() if name != key or not isinstance(value, tuple)} for row in rows]


def test_filters_match_what_they_match_in_a_folder(store: RemoteCollections) -> None:
    collection = store.create("filters")
    made: list[int] = []

    @settings(max_examples=60)
    @given(
        rows=st.lists(st.dictionaries(KEYS, VALUES), min_size=1, max_size=6),
        key=KEYS,
        condition=VALUES | st.lists(st.sampled_from([2023, "2024", True]), max_size=2) | BOUNDS,
    )
    def check(rows, key, condition) -> None:
        collection.upsert([Document(f"d{n}", "fox", "", row) for n, row in enumerate(rows)])
        collection.delete(f"d{n}" for n in range(len(rows), 6))
        known = without_lists(rows, key) if isinstance(condition, dict) else rows
        expected = {f"d{n}" for n in np.flatnonzero(MetadataIndex(known).mask({key: condition}))}
        assert {hit.doc_id for hit in collection.search("fox", 10, LEXICAL, {key: condition})} == expected
        made.append(len(expected))

    check()
    assert any(made)


def test_scores_are_those_of_bm25(store: RemoteCollections) -> None:
    texts = ["red fox red", "blue whale in the sea", "a fox and a whale", "狐狸 和 鲸鱼", "客户画像", ""]
    collection = store.create("scores")
    collection.upsert([Document(f"d{n}", text) for n, text in enumerate(texts)])
    vocabulary = Vocabulary()
    ids = [vocabulary.ids(analyze(text)) for text in texts]
    index = BM25Index.from_ids(ids, vocabulary, kinds=np.array([is_chinese(text) for text in texts], dtype=np.uint8))
    for query in ("fox", "red whale fox fox", "狐狸", "客户 fox", "nothing"):
        wanted = index.search(analyze(query), 10)
        found = collection.search(query, 10, LEXICAL)
        assert [hit.doc_id for hit in found] == [f"d{n}" for n in wanted.positions]
        assert [hit.score for hit in found] == pytest.approx(wanted.scores.tolist(), abs=1e-5)
        assert collection.snapshot().most(query) == pytest.approx(index.most(analyze(query)))
        assert collection.snapshot().holding(query) == index.holding(analyze(query))


def test_shorter_documents_leave_nothing_behind(store: RemoteCollections) -> None:
    collection = store.create("shorter")
    long = "\n\n".join(f"paragraph {number} on turbines " * 20 for number in range(30))
    collection.upsert([Document("a", f" {long}\n ")], whole=False)
    assert collection.get("a").text == f" {long}\n "
    assert len(collection.search("turbines", 100)) > 3
    collection.upsert([Document("a", "short on turbines")], whole=False)
    assert [hit.passage_id for hit in collection.search("turbines", 100)] == ["a#0"]
    assert len(collection.snapshot()) == 1


def test_what_a_writer_left_half_done_is_done_by_the_next(store: RemoteCollections, milvus: Milvus) -> None:
    collection = store.create("half")
    document = Document("a", "\n\n".join(f"part {number} of it " * 60 for number in range(4)))
    collection.upsert([document], whole=False)
    before = len(collection.search("part", 100))
    assert before > 1
    milvus.write("delete", collection_name=stored_as("half"), ids=["61.1"])
    assert len(collection.search("part", 100)) == before - 1
    collection.upsert([document], whole=False)
    assert len(collection.search("part", 100)) == before


def test_too_long_passages_are_refused_before_anything_is_written(store: RemoteCollections) -> None:
    collection = store.create("long")
    with pytest.raises(InputError, match="split it"):
        collection.upsert([Document("a", "fox"), Document("b", "狐" * 30_000)])
    assert collection.count() == 0


def test_flush_counts_anew_and_changes_the_kind_of_index(store: RemoteCollections, milvus: Milvus, monkeypatch) -> None:
    collection = store.create("kinds")
    collection.upsert([Document(f"d{number}", f"fox word{number}") for number in range(30)])
    before = collection.search("fox word7", 30)
    monkeypatch.setattr("querywright.retrieval.milvus_rows.FLAT_ROWS", 10)
    collection.flush()
    indexed = milvus.read("describe_index", collection_name=stored_as("kinds"), index_name="dense")
    assert indexed["index_type"] == "HNSW"
    assert [hit.doc_id for hit in collection.search("fox word7", 30)] == [hit.doc_id for hit in before]
    assert dense_index(11)["index_type"] == "HNSW"
    assert dense_index(FLAT_ROWS * 10_000)["index_type"] == "IVF_SQ8"


@given(st.lists(st.lists(st.tuples(st.sampled_from("abcé狐"), st.integers(0, 11)), min_size=1, max_size=8)))
def test_positions_are_in_the_order_of_passage_ids(found) -> None:
    places = _Places()
    known: dict[str, int] = {}
    for batch in found:
        rows = list(dict.fromkeys(f"{name.encode().hex()}.{number}" for name, number in batch))
        for row, place in zip(rows, places.of(rows), strict=True):
            assert known.setdefault(row, place) == place
            assert places.row(place) == row
    ordered = sorted(known, key=lambda row: f"{bytes.fromhex(row.partition('.')[0]).decode()}#{row.partition('.')[2]}")
    assert [known[row] for row in ordered] == sorted(known.values())


# --------------------------------------------------------------------------- a Milvus that comes and goes


class Proxy:
    """Passes bytes on to a port, unless told not to: then it takes them, and nothing comes back."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.silent = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listening.accept()
                try:
                    theirs = socket.create_connection(("127.0.0.1", self._target))
                except OSError:
                    ours.close()
                    continue
                for one, other in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65_536):
                while self.silent.is_set():
                    time.sleep(0.02)
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def running(folder: Path, port: int) -> Iterator[subprocess.Popen]:
    """Run milvus-lite as a server of its own."""
    command = [sys.executable, "-m", "milvus_lite.cmdline", "server", "--data-dir", str(folder), "--port", str(port)]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            yield server
        finally:
            server.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_down_slow_or_restarting(tmp_path: Path, word_encoder) -> None:
    seconds, port = 2.0, free_port()
    with closing(Proxy(port)) as proxy:
        milvus = Milvus(f"http://127.0.0.1:{proxy.port}", seconds=seconds)
        store = RemoteCollections(milvus, tmp_path, lambda: word_encoder)
        with closing(store):
            with in_time(seconds):
                store.names()
            acknowledged: list[str] = []
            with running(tmp_path / "data", port) as server:
                found = again(lambda: store.create("c"))
                for number in range(5):
                    found.upsert([Document(f"d{number}", f"fox {number}")])
                    acknowledged.append(f"d{number}")
                proxy.silent.set()
                with in_time(seconds):
                    found.search("fox")
                with in_time(3 * seconds):
                    found.upsert([Document("slow", "fox")])
                proxy.silent.clear()
                assert {hit.doc_id for hit in again(lambda: found.search("fox", 100))} >= set(acknowledged)
                server.send_signal(signal.SIGKILL)
                server.wait()
            with in_time(seconds):
                found.search("fox")
            with in_time(3 * seconds):
                found.upsert([Document("down", "fox")])
            with running(tmp_path / "data", port):
                hits = again(lambda: found.search("fox", 100))
                assert {hit.doc_id for hit in hits} >= set(acknowledged)
                found.upsert([Document("after", "fox")])
                assert "after" in {hit.doc_id for hit in found.search("fox", 100)}


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Expect that Milvus is not available, and that this is known in time; the machine may be busy."""
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match="Milvus"):
        yield
    assert time.monotonic() - begun < seconds + 1


def again(call, seconds: float = 20):
    """Return what `call` returns when it no longer fails."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except UnavailableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_an_address_that_is_none(tmp_path: Path) -> None:
    with (
        closing(RemoteCollections(Milvus("nowhere"), tmp_path)) as store,
        pytest.raises(InputError, match="milvus_uri"),
    ):
        store.names()
    assert not list(tmp_path.iterdir())
