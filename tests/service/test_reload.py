"""Settings read anew while the service runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from querywright import InputError, Querywright, QuerywrightError, Settings
from querywright.service.serving import Serving


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file of settings that the environment names."""
    path = tmp_path / "settings.toml"
    monkeypatch.setenv("QUERYWRIGHT_SETTINGS", str(path))
    path.write_text('default_collection = "one"\n')
    return path


@pytest.fixture
def kept(tmp_path: Path, file: Path) -> Iterator[Querywright]:
    with Querywright(home=tmp_path / "home", encoder="none") as querywright:
        for name in ("one", "two"):
            querywright.create_collection(name)
            querywright.upsert(name, [{"doc_id": name, "text": "green frog"}])
        yield querywright


def found(querywright: Querywright) -> str:
    return querywright.search("frog").hits[0].doc_id


def test_another_takes_its_place(kept: Querywright, file: Path) -> None:
    serving = Serving(kept)
    assert found(serving.now) == "one"
    file.write_text('default_collection = "two"\nbudget_ms = 77\n')
    assert serving.reload() == []
    assert (found(serving.now), found(kept)) == ("two", "one")  # who began with the one before ends with it
    assert serving.now.settings.budget_ms == 77
    assert serving.now.collection_store is kept.collection_store  # nothing that they hang on has changed


def test_collections_are_opened_anew_where_they_must_be(kept: Querywright, file: Path) -> None:
    serving = Serving(kept)
    file.write_text('default_collection = "one"\nbm25_k1 = 3\n')
    before = kept.search("frog").hits
    serving.reload()
    assert serving.now.collection_store is not kept.collection_store
    assert found(serving.now) == before[0].doc_id
    serving.now.upsert("one", [{"doc_id": "three", "text": "unheard"}])
    assert kept.search("unheard").hits[0].doc_id == "three"
    serving.now.close()


@pytest.mark.parametrize("wrong", ["budget_ms = 0", "x = [", "no_such = 1", "catalog = 'none.toml'", "fusion = 'none'"])
def test_what_is_wrong_changes_nothing(kept: Querywright, file: Path, wrong: str) -> None:
    serving = Serving(kept)
    file.write_text(f'default_collection = "two"\n{wrong}\n')
    with pytest.raises(InputError):
        serving.reload()
    assert serving.now is kept


def test_an_encoder_that_cannot_be_loaded_is_not_taken(tmp_path: Path, file: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    with Querywright(home=tmp_path / "home") as querywright:
        serving = Serving(querywright)
        file.write_text(f"encoder = '{folder}'\n")
        with pytest.raises(QuerywrightError):
            serving.reload()
        assert serving.now is querywright


def test_a_signal(tmp_path: Path, file: Path) -> None:
    with Querywright(home=tmp_path / "home", encoder="none") as querywright:
        for name in ("one", "two"):
            querywright.create_collection(name)
            querywright.upsert(name, [{"doc_id": name, "text": "green frog"}])
    command = [Path(sys.executable).with_name("querywright"), "serve", "--port", "0", "--no-demo", "--home"]
    environment = os.environ | {"QUERYWRIGHT_ENCODER": "none", "QUERYWRIGHT_DRAIN_SECONDS": "0"}
    with subprocess.Popen([*command, tmp_path / "home"], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[1]
        assert served(url) == "one"
        file.write_text('default_collection = "two"\n')
        process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 20
        while served(url) != "two":
            assert time.monotonic() < until
        file.write_text("budget_ms = 0\n")
        process.send_signal(signal.SIGHUP)
        told = process.stderr.readline() + process.stderr.readline()
        process.terminate()
        assert process.wait(20) == 0
    assert "read anew" in told
    assert "stay as they were: setting budget_ms" in told


def served(url: str) -> str:
    return str(httpx.post(f"{url}/v1/search", json={"query": "frog"}).json()["hits"][0]["doc_id"])


def test_origins() -> None:
    assert Settings(cors_origins="https://a.example/, https://b.example").cors_origins == (
        "https://a.example",
        "https://b.example",
    )
