"""The SDK, the service and `copy` with collections in Milvus."""

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from querywright import ConflictError, InputError, NotFoundError, Querywright
from querywright.retrieval.fitting import Fusion, save_fusion
from querywright.retrieval.fusion import Method
from querywright.service.cli import app
from querywright.service.copying import Place, copy_collection
from querywright.service.settings import Engine, Settings

pytest.importorskip("pymilvus")
pytest.importorskip("milvus_lite")

DOCUMENTS = [
    {
        "doc_id": "profiles",
        "title": "Customer profiles",
        "text": "Open Customers, choose Profiles.",
        "metadata": {"n": 1},
    },
    {"doc_id": "invoices", "title": "Invoices", "text": "Invoices are sent on the first day of each month."},
    {"doc_id": "导出", "title": "导出", "text": "在客户画像页面点击导出即可下载报表。", "metadata": {"lang": "zh"}},
]
TOLD = [{"role": "user", "text": "I heard there are customer profiles now. What are they for?"}]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return where milvus-lite is."""
    return str(tmp_path_factory.mktemp("milvus") / "service.db")


def same(one, other) -> bool:
    """Say whether two answers have the same hits, and the same rewrite."""
    hits = [
        [(hit.rank, hit.doc_id, hit.title, hit.text, hit.metadata) for hit in answer.hits] for answer in (one, other)
    ]
    return hits[0] == hits[1] and one.rewrite.rewrite == other.rewrite.rewrite and one.degraded == other.degraded


def test_the_sdk_answers_the_same_from_either_engine(tmp_path: Path, uri: str) -> None:
    with (
        Querywright(home=tmp_path / "local") as local,
        Querywright(home=tmp_path / "one", engine="milvus", milvus_uri=uri, milvus_seconds=60) as one,
        Querywright(home=tmp_path / "two", engine="milvus", milvus_uri=uri, milvus_seconds=60) as two,
    ):
        for querywright in (local, one):
            querywright.create_collection("handbook")
            assert querywright.upsert("handbook", DOCUMENTS) == 3
        for ask in (
            lambda querywright: querywright.query("How do I use this feature?", collection="handbook", history=TOLD),
            lambda querywright: querywright.search("客户画像 报表", collection="handbook"),
            lambda querywright: querywright.search("invoices", collection="handbook", filter={"n": 1}),
            lambda querywright: querywright.search("when are they sent?", collection="handbook", legs=["dense"]),
        ):
            assert same(ask(local), ask(one))
            assert same(ask(local), ask(two))
        assert [info.name for info in two.collections()] == ["handbook"]
        assert two.collections()[0].documents == 3
        two.put_catalog("handbook", 'name = "handbook"\n')
        assert two.catalog("handbook").text.startswith("name")
        two.create_collection("notes")
        two.upsert("notes", [{"doc_id": "a", "text": "customer notes and invoices"}])
        both = one.search("invoices", collection=["handbook", "notes"]).hits
        assert {hit.collection for hit in both} == {"handbook", "notes"}
        with pytest.raises(InputError, match="copy the collection"):
            one.backup("handbook", tmp_path / "x")
        one.drop_collection("handbook")
        with pytest.raises(NotFoundError):
            two.search("x", collection="handbook")
        two.drop_collection("notes")


def test_the_engine_needs_an_address(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="milvus_uri"):
        Querywright(home=tmp_path, engine="milvus")
    assert "hush" not in repr(Settings(engine="milvus", milvus_token="hush"))


def test_an_unreachable_milvus_is_503_with_retry_after(tmp_path: Path, serving) -> None:
    with (
        Querywright(home=tmp_path, engine="milvus", milvus_uri="http://127.0.0.1:9", milvus_seconds=1) as querywright,
        serving(querywright) as service,
    ):
        for call in (
            lambda: httpx.post(f"{service.url}/v1/query", json={"query": "x", "collection": "c"}),
            lambda: httpx.post(f"{service.url}/v1/collections", json={"name": "c"}),
            lambda: httpx.get(f"{service.url}/v1/collections/c/documents"),
        ):
            answer = call()
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "127.0.0.1" not in answer.text
            assert answer.elapsed.total_seconds() < 3
        rewritten = httpx.post(f"{service.url}/v1/rewrite", json={"query": "How do I use this?", "history": TOLD})
        assert rewritten.status_code == 200  # that needs no collection


def test_copies_there_and_back(tmp_path: Path, uri: str) -> None:
    settings = Settings.load({}, home=tmp_path, milvus_uri=uri, milvus_seconds=60)
    with Querywright(home=tmp_path) as local:
        local.create_collection("handbook")
        local.upsert("handbook", DOCUMENTS)
        guide = "\n\n".join(f"Part {number} is about turbines. " * 12 for number in range(9))
        local.add_file("handbook", "guide.md", guide.encode())
        fusion = Fusion(Method.MIN_MAX, 0.3)
        save_fusion(tmp_path / "handbook", fusion)
        before = local.search("how do turbines work?", collection="handbook", k=20)
    assert copy_collection(settings, Place.of("handbook", settings.engine), Place.of("milvus:away", Engine.LOCAL)) == 4
    with pytest.raises(ConflictError):
        copy_collection(settings, Place(Engine.LOCAL, "handbook"), Place(Engine.MILVUS, "away"))
    assert copy_collection(settings, Place(Engine.MILVUS, "away"), Place(Engine.LOCAL, "back")) == 4
    with (
        Querywright(home=tmp_path) as local,
        Querywright(home=tmp_path, engine="milvus", milvus_uri=uri, milvus_seconds=60) as remote,
    ):
        assert same(local.search("how do turbines work?", collection="back", k=20), before)
        assert same(remote.search("how do turbines work?", collection="away", k=20), before)
        opened = [local.collection_store.open(name) for name in ("handbook", "back")]
        away = remote.collection_store.open("away")
        assert [one.fusion() for one in (*opened, away)] == [fusion] * 3
        first, back, there = ([stored for batch in one.stored() for stored in batch] for one in (*opened, away))
        assert first == back
        assert first == there  # the vectors to the last bit
        assert remote.upsert("away", DOCUMENTS) == 3
        assert away.snapshot().generation == away.snapshot().generation
        remote.drop_collection("away")


@pytest.mark.parametrize("text", ["cloud:x", "milvus:", "a:b:c", "Bad"])
def test_places_that_are_none(text: str) -> None:
    with pytest.raises(InputError):
        Place.of(text, Engine.LOCAL)


def test_the_command(tmp_path: Path, uri: str, monkeypatch) -> None:
    monkeypatch.setenv("QUERYWRIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("QUERYWRIGHT_MILVUS_URI", uri)
    monkeypatch.setenv("QUERYWRIGHT_ENCODER", "none")
    with Querywright() as local:
        local.create_collection("handbook")
        local.upsert("handbook", DOCUMENTS)
    told = CliRunner().invoke(app, ["copy", "handbook", "milvus:handbook", "--json"])
    assert (told.exit_code, json.loads(told.stdout)["documents"]) == (0, 3)
    monkeypatch.setenv("QUERYWRIGHT_ENGINE", "milvus")
    found = CliRunner().invoke(app, ["search", "invoices", "--collection", "handbook", "--json"])
    assert "invoices" in found.stdout
    with Querywright() as remote:
        remote.drop_collection("handbook")
    with Querywright(engine="local") as local:
        assert local.search("invoices", collection="handbook").hits  # what is in the home stays
