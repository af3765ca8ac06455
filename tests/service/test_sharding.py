"""Encoding and rewriting on other machines, here stood for by what is pickled, worked on in turn, and pickled back."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import tee
from pathlib import Path
from typing import Any

import pytest

from querywright import InputError, MissingExtraError, Querywright
from querywright.eval import commands
from querywright.rewrite.catalog import Catalog
from querywright.rewrite.query import Query
from querywright.service import cli
from querywright.service import cluster as clusters
from querywright.service.cluster import Begin, connected
from querywright.service.demo import folder
from querywright.service.schemas import read_query, to_json
from querywright.service.settings import Settings
from querywright.service.sharding import AT_ONCE, Rewriting


class InTurn:
    """Works on one shard after the other, with nothing of this process but what can be sent."""

    def __init__(self) -> None:
        self.sent = b""
        self.shards = 0

    def map(self, begin: Begin[Any, Any], shards: Iterable[Any]) -> Iterator[Any]:
        """Yield what comes of each shard."""
        pickled = pickle.dumps(begin)
        self.sent += pickled
        work = pickle.loads(pickled)()
        for shard in shards:
            self.shards += 1
            yield pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(shard)))))


QUERIES = [
    read_query(row["text"], row.get("history"), row.get("profile"), row["now"], None)
    for row in map(json.loads, (folder() / "queries.jsonl").read_text("utf-8").splitlines())
    if row.get("now")
][::2] * 2
POINTING = [Query("这个功能怎么使用", now=QUERIES[0].now), Query("how do i use that thing?", now=QUERIES[0].now)]
"""Which of the catalog's features may be meant, the collection is asked."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Querywright]:
    """Return one with a collection that has a catalog, and so is asked which sense of a name it speaks of."""
    with Querywright(tmp_path_factory.mktemp("home"), encoder="none", budget_ms=60_000) as made:
        made.index([folder() / "corpus.jsonl"], "demo", catalog=folder() / "catalog.toml")
        yield made


def timeless(rows: Iterable[list[Any]]) -> list[bytes]:
    return [
        re.sub(rb'"(seconds|start|token)":("[^"]*"|[-+0-9.e]+)', b"", to_json(one)) for some in rows for one in some
    ]


@pytest.mark.parametrize("rewriter", ["auto", "catalog", "editor", "history", "none"])
def test_the_same_is_made_elsewhere(demo: Querywright, rewriter: str) -> None:
    cluster = InTurn()
    queries = [*(QUERIES[:30] if rewriter in {"auto", "editor"} else QUERIES), *POINTING]
    there = timeless(demo.rewrite_batches(queries, rewriter=rewriter, cluster=cluster))
    assert there == timeless(demo.rewrite_batches(queries, rewriter=rewriter))
    assert cluster.shards == -(-len(queries) // AT_ONCE)


def test_what_hangs_on_the_collection_is_made_here(demo: Querywright) -> None:
    asked: list[str] = []

    class Telling(InTurn):
        def map(self, begin: Begin[Any, Any], shards: Iterable[Any]) -> Iterator[Any]:
            sent, kept = tee(shards)
            for parts, group in zip(super().map(begin, sent), kept, strict=False):
                asked.extend(query.query for part, query in zip(parts, group, strict=True) if part.made is None)
                yield parts

    list(demo.rewrite_batches([*QUERIES[:10], *POINTING], cluster=Telling()))
    assert asked == [query.query for query in POINTING]


def test_a_question_that_was_asked_elsewhere_is_answered_here(demo: Querywright) -> None:
    asked = [made for made in demo.rewrite_all(QUERIES, rewriter="catalog") if made.clarification]
    queries = [query for query in QUERIES if query.query == asked[0].original][:1]
    (made,) = next(demo.rewrite_batches(queries, cluster=InTurn()))
    assert made.clarification is not None
    given = {"token": made.clarification.token, "value": made.clarification.options[0].value}
    answered = read_query(queries[0], clarification=given)
    (there,) = next(demo.rewrite_batches([answered], cluster=InTurn()))
    assert there.decision != "clarify"
    assert timeless([[there]]) == timeless([demo.rewrite_all([answered])])
    forged = read_query(queries[0], clarification={**given, "token": "x"})
    for cluster in (None, InTurn()):
        with pytest.raises(InputError, match=r"clarification\.token: not one"):
            list(demo.rewrite_batches([forged], cluster=cluster))


def test_no_secret_leaves(tmp_path: Path) -> None:
    cluster = InTurn()
    with Querywright(tmp_path, encoder="none", secret="known only here") as made:
        list(made.rewrite_batches(QUERIES[:3], cluster=cluster))
    assert b"known only here" not in cluster.sent
    assert str(tmp_path).encode() not in cluster.sent


def test_an_llm_is_asked_here(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-this-process")
    told = [{"role": "user", "text": "What is the refund policy of Northwind?"}]
    query = read_query("and for parcels?", told, None, QUERIES[0].now, None)
    server.proposes("refund policy of Northwind for parcels")
    found: list[list[bytes]] = []
    cluster = InTurn()
    options = {"llm": "openai:test", "llm_base_url": server.url, "budget_ms": 30_000, "encoder": "none"}
    with Querywright(tmp_path, **options) as made:
        found += [timeless(made.rewrite_batches([query], rewriter="llm", cluster=where)) for where in (None, cluster)]
    assert found[0] == found[1]
    assert b"for parcels" in found[0][0]
    assert b"sk-of-this-process" not in cluster.sent
    assert len(server.requests) == 2


def test_tables_of_this_process_stay_here() -> None:
    catalog = Catalog.load(folder() / "catalog.toml")
    fresh = len(pickle.dumps(catalog))
    assert catalog.mentions("show revnue")
    assert len(pickle.dumps(catalog)) > fresh
    with Querywright(encoder="none") as made:
        work = Rewriting.by(made.pipeline, Settings(), "auto", made._known(None, catalog))
    assert len(pickle.dumps(work.catalog)) == fresh


def test_an_unknown_rewriter_is_told_as_ever(demo: Querywright) -> None:
    with pytest.raises(InputError, match="rewriter: expected one of none, auto"):
        list(demo.rewrite_batches(QUERIES[:2], rewriter="best", cluster=InTurn()))


def test_documents_encoded_elsewhere_are_the_same(tmp_path: Path) -> None:
    texts = [f"{query.query} {number}" for number, query in enumerate(QUERIES)]
    source = tmp_path / "queries.jsonl"
    source.write_text("".join(json.dumps({"doc_id": f"d{i}", "text": text}) + "\n" for i, text in enumerate(texts)))
    found = []
    for cluster in (None, InTurn()):
        with Querywright(tmp_path / f"home{bool(cluster)}", encoder="minilm+hanzi-1") as made:
            made.index([source], "c", cluster=cluster)
            store = made.collection_store.open("c")._store
            found.append(list(store._rows("SELECT passage_id, space, vector FROM vectors ORDER BY rowid", ())))
    assert found[0] == found[1]
    assert {row[1] for row in found[0]} == {"minilm", "hanzi-1"}


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"--ray: Ray is not installed: pip install 'querywright\[ray\]'"):
        connected("local")
    with connected(None) as nothing:
        assert nothing is None


@pytest.mark.parametrize("command", ["index", "rewrite", "evaluate"])
def test_commands_hand_their_work_on(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    cluster, given = InTurn(), []

    def found(address: str | None) -> AbstractContextManager[InTurn]:
        given.append(address)
        return nullcontext(cluster)

    for module in (cli, commands):
        monkeypatch.setattr(module, "connected", found)
    asked = tmp_path / "asked.jsonl"
    asked.write_bytes(b"".join((folder() / "queries.jsonl").read_bytes().splitlines(keepends=True)[:5]))
    words = {
        "index": ["index", str(folder() / "corpus.jsonl"), "--collection", "c"],
        "rewrite": ["rewrite", "--in", str(asked), "--out", str(tmp_path / "out.jsonl"), "--rewriter", "history"],
        "evaluate": ["evaluate", str(folder()), "--arms", "none,history", "--legs", "lexical", "--out", str(tmp_path)],
    }
    monkeypatch.setenv("QUERYWRIGHT_ENCODER", "hanzi-1")
    cli.app([*words[command], "--home", str(tmp_path / "home"), "--ray", "head:6379", "--json"], standalone_mode=False)
    assert given == ["head:6379"]
    assert cluster.shards > 0
    assert capsysbinary.readouterr().out


def test_one_query_is_rewritten_here() -> None:
    with pytest.raises(InputError, match="--ray: expected --in"):
        cli.app(["rewrite", "hello", "--ray", "local"], standalone_mode=False)
