"""What a hostile caller may try: names that lead elsewhere, addresses to be called, secrets to be told."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest

from querywright import Querywright
from querywright.service.keys import Keys, Scope

PIECES = (
    "..", ".", "/", "\\", "%2e%2e", "%2f", "~", "$HOME", "`id`", ";", "|", "&&", "\0", "\n", "\r\n", " ", "con", "nul",
    "a", "x" * 300, "é", "客", "\u202e", "😀", "\ud7ff", "etc", "passwd", "documents.sqlite", "catalog.toml", "keys.json",
    "index-1", ".dropped-kept", "C:", "file:", "//", "?", "#", "*", "{}", "<script>", "'", '"', "--", "=", ":", "@",
)  # fmt: skip


def tree(folder: Path) -> dict[str, int]:
    """Return every file under a folder with its size."""
    return {str(path.relative_to(folder)): path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()}


@dataclass
class Watched:
    """A service in a folder of its own, with everything beside it watched."""

    url: str
    around: Path
    home: Path
    key: str


CANARIES = [f"kanarie{number:02d}vogel" for number in range(20)]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, serving: Any) -> Iterator[Watched]:
    around = tmp_path_factory.mktemp("around")
    (around / "beside.txt").write_text("beside")
    home = around / "home"
    key = Keys(home / "keys.json").add("admin", Scope.ADMIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", CANARIES[0])
        patch.setenv("TMPDIR", str(around))
        querywright = Querywright(
            home=home,
            encoder="none",
            default_collection="kept",
            secret=CANARIES[1] * 3,
            llm="openai:gpt-5-mini",
            llm_base_url=f"http://{CANARIES[2]}:{CANARIES[3]}@127.0.0.1:1/v1?token={CANARIES[4]}",
            budget_ms=300,
        )
        querywright.create_collection("kept")
        querywright.upsert("kept", [{"doc_id": "a", "text": "green frog"}])
        with serving(querywright, Keys(home / "keys.json")) as running:
            yield Watched(running.url, around, home, key)


def names(count: int, seed: int) -> Iterator[str]:
    """Yield hostile names, the shortest first."""
    chance = random.Random(seed)
    for number in range(count):
        yield "".join(chance.choices(PIECES, k=1 + number % 6))


def test_names_and_ids_lead_nowhere(watched: Watched) -> None:
    """A thousand names, each in every place where one can stand: nothing appears or changes outside the home."""
    before = tree(watched.around)
    headers = {"authorization": f"Bearer {watched.key}"}
    with httpx.Client(base_url=watched.url, headers=headers, timeout=30) as http:
        for number, name in enumerate(names(1000, 1)):
            sent = quote(name, safe="")
            calls: list[tuple[str, str, dict[str, Any]]] = [
                ("POST", "/v1/collections", {"json": {"name": name}}),
                ("POST", "/v1/search", {"json": {"query": "frog", "collection": name}}),
                ("POST", "/v1/rewrite", {"json": {"query": "frog", "collection": name}}),
                ("POST", "/v1/query", {"json": {"query": "frog", "collection": [name, "kept"]}}),
                ("GET", f"/v1/collections/{sent}/documents", {}),
                ("PUT", f"/v1/collections/{sent}/catalog", {"content": b'name = "x"', "headers": {"content-type": "application/toml"}}),
                ("POST", f"/v1/collections/{sent}/flush", {}),
                ("DELETE", f"/v1/collections/{sent}", {}),
                ("POST", "/v1/collections/kept/documents", {"json": {"documents": [{"doc_id": name, "text": name}]}}),
                ("POST", f"/v1/collections/kept/files?file={sent}.md", {"content": b"# x"}),
                ("GET", f"/v1/collections/kept/document?doc_id={sent}", {}),
                ("DELETE", f"/v1/collections/kept/documents?doc_id={sent}", {}),
                ("GET", f"/{sent}", {}),
            ]  # fmt: skip
            for method, path, options in calls if number < 200 else calls[number % 4 :: 4]:
                status = http.request(method, path, **options).status_code
                assert status < 500, (method, name)
                if path == "/v1/collections" and status == 201:
                    http.delete(f"/v1/collections/{name}")
    after = tree(watched.around)
    assert {Path(name).parts[:2] for name in after} <= {Path(name).parts[:2] for name in before} | {("home", "secret")}
    assert after["home/keys.json"] == before["home/keys.json"]
    assert (watched.around / "beside.txt").read_text() == "beside"


# ------------------------------------------------------------------------------------- addresses

_CONNECTED: list[Any] = []


def _audit(event: str, given: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _CONNECTED.append(given[1])
    elif event == "socket.getaddrinfo":
        _CONNECTED.append(given[:2])


@pytest.fixture(scope="module")
def connected() -> list[Any]:
    """Return what this process connects to or looks up from now on, the service that runs in it included."""
    sys.addaudithook(_audit)
    return _CONNECTED


def addresses(port: int) -> list[str]:
    """Return a hundred addresses that a careless service might call."""
    hosts = ("evil.example", "169.254.169.254", "127.0.0.1", "[::1]", "localhost", "0x7f000001", "2130706433", "metadata.google.internal",
             "user:pw@evil.example", "evil.example#@127.0.0.1")  # fmt: skip
    schemes = ("http", "https", "ftp", "file", "gopher", "dict", "ldap", "ws", "hf", "s3")
    return [f"{scheme}://{host}:{port}/latest/meta-data?x=$(id)" for scheme in schemes for host in hosts]


def test_no_address_is_called(watched: Watched, connected: list[Any]) -> None:
    """A hundred addresses, in every field that there is: the service connects to nothing."""
    own = urlsplit(watched.url)
    headers = {"authorization": f"Bearer {watched.key}"}
    connected.clear()
    with httpx.Client(base_url=watched.url, headers=headers, timeout=30) as http:
        for address in addresses(65_000):
            query: dict[str, Any] = {
                "query": address,
                "history": [{"role": "user", "text": address}],
                "profile": {"product": address, "facts": [address]},
                "rewriter": "history",
            }
            for body in (
                query,
                query | {"rewriter": address},
                query | {"collection": address},
                query | {"filter": {"url": address}},
                query | {"clarification": {"token": address, "value": address}},
                query | {"llm_base_url": address},
                query | {"llm": address, "encoder": address},
                query | {"catalog": address},
            ):
                assert http.post("/v1/query", json=body).status_code in {200, 404, 422}
            documents = {"documents": [{"doc_id": "url", "text": address, "metadata": {"url": address}}]}
            assert http.post("/v1/collections/kept/documents", json=documents).status_code == 200
            catalog = f"name = '{address}'\n[[entities]]\nid = 'x'\ntype = 'url'\nname = '{address}'\n"
            kind = {"content-type": "application/toml"}
            assert http.put("/v1/collections/kept/catalog", content=catalog, headers=kind).status_code in {200, 422}
            for name in (
                "referer",
                "x-forwarded-host",
                "x-forwarded-for",
                "forwarded",
                "x-original-url",
                "traceparent",
            ):
                assert http.get("/v1/collections", headers={name: address}).status_code == 200
        http.delete("/v1/collections/kept/catalog")
    elsewhere = [one for one in connected if one[0] != own.hostname or one[1] not in {own.port, str(own.port)}]
    assert elsewhere == []


# --------------------------------------------------------------------------------------- secrets


def test_secrets_are_never_told(
    watched: Watched, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Twenty secrets, of the settings, in headers, queries and documents: none comes back but where it was stored."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    headers = {
        "authorization": f"Bearer {watched.key}",
        "cookie": CANARIES[5],
        "x-api-key": CANARIES[6],
        "proxy-authorization": f"Basic {CANARIES[7]}",
        "x-request-id": f"{CANARIES[8]} not an id",
    }
    bodies: list[tuple[str, str, Any]] = [
        ("POST", "/v1/query", {"query": "it", "rewriter": "llm", "profile": {"team": "x"}}),
        ("POST", "/v1/query", {"query": "帮我查下", "history": [{"role": "user", "text": f"密码是 {CANARIES[9]}"}]}),
        ("POST", "/v1/query", {"query": "show it", "profile": {"password": CANARIES[10], "api_key": CANARIES[11]}}),
        ("POST", "/v1/query", {"query": "show it", "profile": {"facts": [f"my password is {CANARIES[12]}"]}}),
        ("POST", "/v1/query", {"query": "x", "k": CANARIES[13]}),
        ("POST", "/v1/query", {"query": "x", "clarification": {"token": CANARIES[14], "value": "x"}}),
        ("POST", "/v1/query", {"query": "x", CANARIES[15]: 1}),
        ("POST", "/v1/search", {"query": "x", "collection": CANARIES[16]}),
        ("POST", "/v1/search", {"query": "x", "filter": {CANARIES[17]: {"gte": None}}}),
        (
            "POST",
            "/v1/collections/kept/documents",
            {"documents": [{"doc_id": "s", "text": CANARIES[18]}, {"doc_id": 5}]},
        ),
        ("POST", "/v1/collections", {"name": f"{CANARIES[19]}!"}),
        ("GET", "/metrics", None),
        ("GET", "/readyz", None),
        ("GET", "/openapi.json", None),
        ("GET", "/v1/collections", None),
    ]
    with httpx.Client(base_url=watched.url, timeout=30) as http:
        for sent in (headers, headers | {"authorization": f"Bearer {CANARIES[7]}"}):
            for method, path, body in bodies:
                response = http.request(method, path, json=body, headers=sent)
                assert response.status_code < 500
                answer = response.text
                if path == "/v1/query" and response.status_code == 200:
                    answer = response.text.replace(response.json()["rewrite"]["original"], "")
                told += [answer, str(response.headers)]
    captured = capfd.readouterr()
    told += [captured.out, captured.err, caplog.text, *(str(record.__dict__) for record in caplog.records)]
    assert any("querywright" in record.name for record in caplog.records)  # the log was listened to
    for canary in [*CANARIES, watched.key]:
        assert not any(canary in text for text in told), canary
