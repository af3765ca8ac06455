"""EIO, a full disk, short writes; `python -m durability errors` makes the long run."""

import errno
import os
import re
import tempfile
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from durability.errors import KINDS, LAYERS, FullDisk, errors
from durability.interception import Call, Real, intercepted

from querywright import Querywright
from querywright.service.app import create_app

pytestmark = pytest.mark.usefixtures("memory")


def test_failing_calls_are_told_and_harm_nothing() -> None:
    told, faults = errors(5, seed=1)
    assert faults == []
    assert all(told[f"{layer}, {kind}: injected"] == 5 for layer in LAYERS for kind in KINDS)
    # A short write of an index file is no failure: the rest is written next.
    assert told["index, short: refused"] == 0
    assert all(told[f"{layer}, {kind}: refused"] > 0 for layer in LAYERS for kind in ("EIO", "ENOSPC"))


@pytest.fixture
def url(tmp_path: Path):
    with Querywright(home=tmp_path.resolve() / "home", encoder="none") as querywright:
        config = uvicorn.Config(create_app(querywright), host="127.0.0.1", port=0, log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            thread.join(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_on_a_full_disk_the_service_answers_507_searches_and_deletes(tmp_path: Path, url: str) -> None:
    disk = FullDisk()
    texts = [{"doc_id": f"d{number}", "text": f"red fox {number} " + "words " * 500} for number in range(200)]
    with intercepted(disk, tmp_path.resolve()), httpx.Client(base_url=url) as client:
        client.post("/v1/collections", json={"name": "full"}).raise_for_status()
        client.post("/v1/collections/full/documents", json={"documents": texts[:100]}).raise_for_status()
        disk.full = True
        refused = client.post("/v1/collections/full/documents", json={"documents": texts[100:]})
        assert refused.status_code == 507
        for number in range(5):
            asked = {"query": f"fox {number}", "collection": "full", "k": 1, "legs": ["lexical"]}
            found = client.post("/v1/search", json=asked).raise_for_status().json()["hits"]
            assert [hit["doc_id"] for hit in found] == [f"d{number}"]
            deleted = client.delete("/v1/collections/full/documents", params={"doc_id": f"d{number}"})
            assert deleted.raise_for_status().json() == {"count": 1}
            assert not client.post("/v1/search", json=asked | {"query": str(number)}).raise_for_status().json()["hits"]
        disk.full = False
        client.post("/v1/collections/full/documents", json={"documents": texts[100:]}).raise_for_status()
        (info,) = client.get("/v1/collections").raise_for_status().json()
        assert info["documents"] == 195


def test_on_a_full_disk_a_catalog_and_a_file_are_answered_507(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(call: Call, real: Real) -> Any:
        if call.name in ("mkdir", "create", "sync"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(call.data) if call.name == "write" else real()

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path.resolve()))
    with httpx.Client(base_url=url) as client:
        client.post("/v1/collections", json={"name": "full"}).raise_for_status()
        catalog = "/v1/collections/full/catalog"
        toml = {"content-type": "application/toml"}
        client.put(catalog, content=b'name = "kept"', headers=toml).raise_for_status()
        with intercepted(full, tmp_path.resolve()):
            answers = [
                client.put(catalog, content=b'name = "lost"', headers=toml),
                client.post("/v1/collections/full/files", params={"file": "a.md"}, content=b"# A guide"),
                client.post("/v1/collections", json={"name": "another"}),
            ]
        for answer in answers:
            assert answer.status_code == 507
            assert re.fullmatch("the service's disk is full: .*searching and deleting go on", answer.json()["detail"])
        assert client.get(catalog).text == 'name = "kept"'
