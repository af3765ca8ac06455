"""API keys: asked for on every route but liveness, with the scope that it needs, before a body is read."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import ConflictError, InputError, NotFoundError, Querywright, StorageError
from querywright.service.access import is_loopback, needed
from querywright.service.app import create_app
from querywright.service.keys import Keys, Scope

SCOPES = list(Scope)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "home"


@pytest.fixture(scope="module")
def keys(home: Path) -> Mapping[Scope, str]:
    return {scope: Keys(home / "keys.json").add(f"a-{scope}", scope) for scope in SCOPES}


@pytest.fixture(scope="module")
def guarded(home: Path, keys: Mapping[Scope, str], serving) -> Iterator[str]:
    querywright = Querywright(
        home=home, encoder="none", default_collection="kept", cors_origins=("https://ok.example",)
    )
    querywright.create_collection("kept")
    querywright.upsert("kept", [{"doc_id": "a", "text": "green frog"}])
    with serving(querywright, Keys(home / "keys.json")) as running:
        yield running.url


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def routes(home: Path) -> list[tuple[str, str]]:
    """Return every method and path that the service has, also those that the documentation leaves out."""
    with Querywright(home=home / "other", encoder="none") as querywright:
        own = create_app(querywright).routes
    all_routes = [one for route in own for one in getattr(getattr(route, "original_router", None), "routes", [route])]
    found = [(method, re.sub(r"\{[^}]*\}", "none", one.path)) for one in all_routes for method in one.methods]
    assert len(found) > 20
    return sorted(found)


WRONG: list[dict[str, str]] = [
    {},
    bearer("qw_wrong"),
    bearer("qw_ qw_"),
    {"authorization": "Bearer"},
    {"authorization": "Basic"},
    {"authorization": "Basic !!!"},
    {"authorization": "Basic " + base64.b64encode(b"user:wrong").decode()},
    {"authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
    {"authorization": "Digest x"},
    {"x-api-key": "wrong"},
]


def test_every_route_but_liveness_asks_for_a_key(guarded: str, home: Path) -> None:
    with httpx.Client(base_url=guarded) as http:
        for method, path in [*routes(home), ("GET", "/no/such/route"), ("DELETE", "/v1/collections/")]:
            for headers in WRONG:
                response = http.request(method, path, headers=headers)
                if path == "/healthz":
                    assert response.status_code in {200, 405}
                    continue
                assert response.status_code == 401, (method, path, headers)
                assert response.headers["www-authenticate"].startswith(("Bearer", "Basic realm="))
                if method != "HEAD":
                    assert response.json()["status"] == 401
                    assert len(response.content) < 500


def test_a_key_is_good_for_its_scope(guarded: str, home: Path, keys: Mapping[Scope, str]) -> None:
    with httpx.Client(base_url=guarded) as http:
        for method, path in routes(home):
            wanted = needed(method, path)
            for scope, key in keys.items():
                status = http.request(method, path, headers=bearer(key)).status_code
                allowed = wanted is None or SCOPES.index(scope) >= SCOPES.index(wanted)
                assert (status == 403) is not allowed, (method, path, scope)
                assert status != 401


def test_what_changes_anything_needs_more_than_read(home: Path) -> None:
    asking = {"/v1/query", "/v1/query/stream", "/v1/search", "/v1/rewrite"}
    for method, path in routes(home):
        changes = method not in {"GET", "HEAD"} and path not in asking
        assert (needed(method, path) in {Scope.WRITE, Scope.ADMIN}) is changes, (method, path)
    assert needed("DELETE", "/v1/collections/none") is Scope.ADMIN
    assert needed("DELETE", "/v1/collections/none/documents") is Scope.WRITE


def test_a_newline_does_not_make_a_route_another(guarded: str, keys: Mapping[Scope, str]) -> None:
    """The patterns of the routes let one by at the end."""
    for path in ("/v1/reload%0A", "/v1/collections/kept%0A", "/v1/search%0A"):
        assert httpx.post(f"{guarded}{path}", headers=bearer(keys[Scope.WRITE])).status_code == 403, path


def test_keys_are_asked_for_before_the_body(guarded: str, keys: Mapping[Scope, str]) -> None:
    """The answer comes though the body never does."""
    parts = urlsplit(guarded)
    for key, status in (("wrong", 401), (keys[Scope.READ], 403)):
        with socket.create_connection((parts.hostname, parts.port), timeout=5) as connection:
            head = f"POST /v1/collections/kept/documents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            connection.sendall(f"{head}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{".encode())
            assert connection.recv(4096).startswith(f"HTTP/1.1 {status} ".encode())


def test_the_documentation_says_that_keys_are_asked_for(guarded: str, keys: Mapping[Scope, str], service) -> None:
    told = httpx.get(f"{guarded}/openapi.json", headers=bearer(keys[Scope.READ])).json()
    assert told["components"]["securitySchemes"]["key"] == {"type": "http", "scheme": "bearer"}
    assert told["security"] == [{"key": []}]
    assert "security" not in httpx.get(f"{service.url}/openapi.json").json()


def test_a_browser_sends_a_key_as_password(guarded: str, keys: Mapping[Scope, str]) -> None:
    asked = httpx.get(f"{guarded}/", headers={"accept": "text/html"})
    assert asked.status_code == 401
    assert asked.headers["www-authenticate"].startswith("Basic ")
    assert httpx.get(f"{guarded}/v1/collections").headers["www-authenticate"] == "Bearer"
    for user in ("", "anyone", "ä"):
        response = httpx.get(f"{guarded}/v1/collections", auth=(user, keys[Scope.READ]))
        assert response.json() == [{"name": "kept", "documents": 1}]


def test_pages_of_other_sites_cannot_use_what_a_browser_remembers(guarded: str, keys: Mapping[Scope, str]) -> None:
    basic, body = ("", keys[Scope.ADMIN]), {"query": "frog"}
    for origin, status in [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        (guarded, 200),
        ("https://ok.example", 200),
    ]:
        response = httpx.post(f"{guarded}/v1/search", json=body, auth=basic, headers={"origin": origin})
        assert response.status_code == status, origin
        shared = response.headers.get("access-control-allow-origin")
        assert shared == ("https://ok.example" if origin == "https://ok.example" else None)
    # A key that the page itself knows is its own to use.
    other = {"origin": "https://evil.example"} | bearer(keys[Scope.READ])
    assert httpx.post(f"{guarded}/v1/search", json=body, headers=other).status_code == 200
    asking = {"origin": "https://ok.example", "access-control-request-method": "POST"}
    assert httpx.options(f"{guarded}/v1/search", headers=asking).status_code == 200
    assert httpx.options(f"{guarded}/v1/search", headers=asking | {"origin": "https://evil.example"}).status_code == 400


def test_without_keys_only_this_machine_is_answered(service) -> None:
    port = urlsplit(service.url).port
    for host, status in [
        (f"127.0.0.1:{port}", 200),
        ("localhost", 200),
        (f"[::1]:{port}", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
        ("[::1", 403),
        ("", 403),
    ]:
        assert httpx.get(f"{service.url}/v1/collections", headers={"host": host}).status_code == status, host
    evil = {"origin": "http://evil.example"}
    assert httpx.post(f"{service.url}/v1/collections/demo/flush", headers=evil).status_code == 403
    assert httpx.delete(f"{service.url}/v1/collections/demo", headers=evil).status_code == 403
    allowed = httpx.get(f"{service.url}/v1/collections", headers=evil).headers
    assert "access-control-allow-origin" not in allowed


def test_keys_come_and_go_while_the_service_runs(guarded: str, home: Path) -> None:
    kept, url = Keys(home / "keys.json"), f"{guarded}/v1/collections"
    key = kept.add("passing", Scope.READ)
    assert httpx.get(url, headers=bearer(key)).status_code == 200
    kept.remove("passing")
    assert httpx.get(url, headers=bearer(key)).status_code == 401


def test_a_broken_file_leaves_the_keys_that_were_known(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    running, key = Keys(path), Keys(path).add("one", Scope.WRITE)
    assert running.find(key)
    good = path.read_bytes()
    for bad in (b"", b"{", b"[]", b'{"format": 2, "keys": []}', good.replace(b'"write"', b'"root"'), b"\xff"):
        path.write_bytes(bad)
        assert running.find(key), bad
        with pytest.raises(StorageError, match="cannot be read as keys"):
            Keys(path).find(key)
    path.unlink()
    assert running.find(key) is None


def test_keys_that_are_made_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: Keys(path).add(f"k{number}", Scope.READ), range(32)))
    assert len(Keys(path).all()) == 32


def test_texts_of_keys_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = Keys(path)
    texts = [keys.add(f"k{number}", scope) for number, scope in enumerate(Scope)]
    stored = path.read_text()
    assert not any(text in stored or text.removeprefix("qw_") in stored for text in texts)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [keys.find(text).scope for text in texts] == SCOPES
    assert len(set(texts)) == 3
    assert all(len(text) > 40 for text in texts)
    with pytest.raises(ConflictError, match="there is one of that name"):
        keys.add("k0", Scope.READ)
    with pytest.raises(NotFoundError, match="there is none"):
        keys.remove("k9")
    for name in ("", "a b", "../x", "é", "x" * 65):
        with pytest.raises(InputError, match="key: expected a name"):
            keys.add(name, Scope.READ)


@given(st.text())
def test_no_other_text_opens(text: str) -> None:
    keys = Keys(Path(os.devnull).with_name("no-such-file"))
    assert keys.find(text) is None


def test_loopback() -> None:
    assert [is_loopback(name) for name in ("127.0.0.2", "LOCALHOST", "::1", "0.0.0.0", "::", "10.0.0.1", "", "host")] == [
        True, True, True, False, False, False, False, False,
    ]  # fmt: skip


# ------------------------------------------------------------------------------- on the command line


def test_keys_on_the_command_line(run, tmp_path: Path) -> None:
    home = ("--home", tmp_path)
    added = run("keys", "add", "app", "--scope", "read", "--json", *home)
    row = json.loads(added.out)
    assert Keys(tmp_path / "keys.json").find(row["key"]).name == "app"
    plain = run("keys", "add", "ops", "--scope", "admin", *home).out.strip()
    assert Keys(tmp_path / "keys.json").find(plain).scope is Scope.ADMIN
    listed = json.loads(run("keys", "list", "--json", *home).out)
    assert [(one["name"], one["scope"]) for one in listed] == [("app", "read"), ("ops", "admin")]
    assert plain not in run("keys", "list", *home).out
    again = run("keys", "add", "app", "--scope", "read", *home)
    assert (again.code, again.err) == (
        2,
        "querywright: key 'app': there is one of that name: remove it first, or choose another name\n",
    )
    assert run("keys", "remove", "app", *home).code == 0
    assert run("keys", "remove", "app", *home).code == 2
    assert run("keys", "add", "x", "--scope", "root", *home).code == 2


def test_others_are_not_served_without_keys(run, tmp_path: Path) -> None:
    for options, environment in ((("--host", "0.0.0.0"), {}), ((), {"QUERYWRIGHT_REQUIRE_KEYS": "true"})):
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            ran = run("serve", "--port", "0", "--home", tmp_path, *options)
        assert ran.code == 2
        assert "keys add NAME --scope admin" in ran.err
