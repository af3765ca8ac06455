"""A collection's own catalog through every door: stored as written, versioned, in force with the next query."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import (
    AsyncClient,
    CatalogError,
    Client,
    ConflictError,
    InputError,
    NotFoundError,
    Querywright,
)
from querywright.service.catalogs import KEPT, Catalogs, version_of


def toml(name: str, alias: str = "zap") -> str:
    return (
        f'# {name}\nname = "{name}"\n[[entities]]\nid = "x"\ntype = "product"\nname = "{name}"\naliases = ["{alias}"]\n'
    )


YAML = "name: 甲\nentities:\n  - {id: x, type: product, name: 甲, aliases: [zap]}\n"
CSV = "id,type,name,aliases\nx,product,Zapper 9,zap|zapper\n"
BAD = 'name = "bad"\n\n[[entities]]\nid = "x"\ntype = "product"\nname = "X"\naliases = ["zap", "ZAP"]\n'


class Awaited:
    """An AsyncClient whose every call is awaited."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = AsyncClient(url)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *given, **named: self._loop.run_until_complete(method(*given, **named))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, serving) -> Iterator[Any]:
    querywright = Querywright(home=tmp_path_factory.mktemp("catalogs"), encoder="none", max_body_mb=1)
    with serving(querywright) as service:
        yield service


@pytest.fixture
def name(running) -> Iterator[str]:
    running.querywright.create_collection("shop")
    yield "shop"
    running.querywright.drop_collection("shop")


@pytest.fixture(params=["in process", "client", "async client"])
def door(request: pytest.FixtureRequest, running) -> Iterator[Any]:
    if request.param == "in process":
        yield running.querywright
        return
    opened = {"client": Client, "async client": Awaited}[request.param](running.url)
    yield opened
    opened.close()


# ---------------------------------------------------------------------------------------- through the SDKs


@pytest.mark.parametrize(("text", "written"), [(toml("Zapper 9"), "toml"), (YAML, "yaml"), (CSV, "csv")])
def test_a_catalog_comes_back_as_it_was_written(door, name: str, text: str, written: str) -> None:
    put = door.put_catalog(name, text, written)
    stored = door.catalog(name)
    assert (stored.text, stored.format, stored.version) == (text, written, put.version)
    assert (put.entities, put.dimensions, put.intents) == (1, 0, 0)
    door.delete_catalog(name)
    for call in (door.catalog, door.delete_catalog):
        with pytest.raises(NotFoundError, match="the collection has none of its own"):
            call(name)


def test_only_one_file_whatever_the_formats(door, running, name: str) -> None:
    folder = running.querywright.settings.home / name
    for text, written in ((toml("a"), "toml"), (YAML, "yaml"), (CSV, "csv"), (toml("b"), "toml")):
        door.put_catalog(name, text, written)
        assert [path.name for path in folder.glob("catalog.*")] == [f"catalog.{written}"]
        assert door.catalog(name).text == text


def test_the_version_guards_a_change(door, name: str) -> None:
    with pytest.raises(ConflictError, match="there is none now"):
        door.put_catalog(name, toml("a"), expected="0" * 16)
    first = door.put_catalog(name, toml("a"))
    second = door.put_catalog(name, toml("b"), expected=first.version)
    assert second.version != first.version
    with pytest.raises(ConflictError, match=f"at version {second.version} now, not at {first.version}"):
        door.put_catalog(name, toml("c"), expected=first.version)
    assert door.catalog(name).text == toml("b")
    with pytest.raises(InputError, match="16 hex digits"):
        door.put_catalog(name, toml("c"), expected="latest")


def test_a_wrong_catalog_changes_nothing(door, name: str) -> None:
    door.put_catalog(name, toml("kept"))
    with pytest.raises(InputError, match=r"^catalog\.toml:7: entities\[0\] \(x\).*twice"):
        door.put_catalog(name, BAD)
    for text, written in (("name = ", "toml"), ("a: [", "yaml"), ("id,colour\n", "csv"), ("", "toml")):
        with pytest.raises(InputError, match=rf"^catalog\.{written}:"):
            door.put_catalog(name, text, written)
    with pytest.raises(InputError, match="format: expected one of toml, yaml, csv"):
        door.put_catalog(name, toml("x"), "xml")
    with pytest.raises(InputError, match="Unicode"):
        door.put_catalog(name, "\ud800")
    assert door.catalog(name).text == toml("kept")


def test_no_such_collection(door) -> None:
    calls = (door.catalog, door.delete_catalog, lambda name: door.put_catalog(name, toml("x")))
    for call in calls:
        with pytest.raises(NotFoundError, match="there is none of that name"):
            call("nowhere")
        with pytest.raises(InputError, match="expected a name of"):
            call("../etc")


def test_in_force_with_the_next_query(door, running, name: str) -> None:
    for number in range(6):  # as fast as it goes: the clock of the file system may stand still between two
        written = ("toml", "csv")[number % 2]
        text = toml(f"Zapper {number}") if written == "toml" else CSV.replace("Zapper 9", f"Zapper {number}")
        door.put_catalog(name, text, written)
        loaded = running.querywright.catalogs.load(name)
        assert [entity.name["en"] for entity in loaded.entities] == [f"Zapper {number}"]
    door.delete_catalog(name)
    assert running.querywright.catalogs.load(name) is None


def test_a_rewrite_follows_the_catalog(running, name: str) -> None:
    def intent(trigger: str) -> str:
        return (
            'name = "i"\n[[entities]]\nid = "a"\ntype = "company"\nname = "Acme Inc."\naliases = ["acme"]\n'
            '[[intents]]\nname = "news"\nhead = "company"\n[intents.en]\n'
            f'triggers = [["latest news on", "{trigger}"]]\npattern = "{{trigger}} {{company}}"\n'
        )

    with Client(running.url) as client:
        for trigger in ("press releases of", "annual report of"):
            client.put_catalog(name, intent(trigger))
            told = client.rewrite("latest news on acme", collection=name, rewriter="catalog")
            assert told.rewrite == f"{trigger} Acme Inc."
        client.delete_catalog(name)
        assert client.rewrite("latest news on acme", collection=name, rewriter="catalog").decision == "keep"


# ------------------------------------------------------------------------------------------------ over HTTP


def test_over_http(running, name: str) -> None:
    url = f"{running.url}/v1/collections/{name}/catalog"
    assert httpx.get(url).status_code == 404
    assert httpx.delete(url).status_code == 404
    put = httpx.put(url, content=YAML.encode(), headers={"content-type": "Application/YAML; charset=utf-8"})
    version = version_of(YAML)
    assert put.status_code == 200
    assert put.json() == {"version": version, "entities": 1, "dimensions": 0, "intents": 0}
    got = httpx.get(url)
    assert (got.content.decode(), got.headers["etag"]) == (YAML, f'"{version}"')
    assert got.headers["content-type"].startswith("application/yaml")
    kinds = {"content-type": "text/csv"}
    stale = httpx.put(url, content=CSV, headers=kinds | {"if-match": f'"{"0" * 16}"'})
    assert (stale.status_code, stale.headers["content-type"]) == (412, "application/problem+json")
    assert httpx.put(url, content=CSV, headers=kinds | {"if-match": got.headers["etag"]}).status_code == 200
    assert httpx.put(url, content=CSV, headers=kinds | {"if-match": f'W/"{version_of(CSV)}"'}).status_code == 200
    assert (httpx.get(url).text, httpx.get(url).headers["content-type"]) == (CSV, "text/csv; charset=utf-8")
    assert httpx.delete(url).status_code == 204
    assert httpx.delete(url).status_code == 404


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (BAD, {"content-type": "application/toml"}, 422, "catalog.toml:7: entities[0] (x)"),
        ("name = ", {"content-type": "application/toml"}, 422, "catalog.toml:1: "),
        (CSV, {"content-type": "application/json"}, 422, "content-type: expected one of application/toml"),
        (CSV, {}, 422, "content-type: expected one of application/toml"),
        (CSV, {"content-type": "text/csv", "if-match": "*"}, 422, "16 hex digits"),
        (b"name = '\xff'", {"content-type": "application/toml"}, 422, "body: byte 8: expected UTF-8 text"),
        (b"#" * 2**21, {"content-type": "application/toml"}, 413, "body: at most 1,048,576 bytes"),
        (b"[" * 100_000, {"content-type": "application/yaml"}, 422, "catalog.yaml:"),
    ],
)
def test_bad_requests(running, name: str, body: Any, headers: dict[str, str], status: int, says: str) -> None:
    url = f"{running.url}/v1/collections/{name}/catalog"
    response = httpx.put(url, content=body, headers=headers)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert says in response.json()["detail"]
    assert len(response.content) < 1500
    assert httpx.get(url).status_code == 404


def test_documented(running) -> None:
    paths = httpx.get(f"{running.url}/openapi.json").json()["paths"]
    routes = paths["/v1/collections/{name}/catalog"]
    kinds = {"application/toml", "application/yaml", "text/csv"}
    assert set(routes) == {"get", "put", "delete"}
    assert set(routes["put"]["requestBody"]["content"]) == kinds
    assert set(routes["get"]["responses"]["200"]["content"]) >= kinds


# ------------------------------------------------------------------------------------- writes that meet


def test_of_writers_at_once_one_wins_each_version(running, name: str) -> None:
    """Sixteen writers each add one line to what they read until they succeed: none is lost."""
    querywright = running.querywright
    querywright.put_catalog(name, toml("base"))

    def add(number: int) -> None:
        with Client(running.url) as client:
            while True:
                stored = client.catalog(name)
                try:
                    client.put_catalog(name, f"{stored.text}# {number}\n", expected=stored.version)
                except ConflictError:
                    continue
                return

    threads = [threading.Thread(target=add, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    lines = querywright.catalog(name).text.removeprefix(toml("base")).split("\n")
    assert sorted(lines) == sorted(["", *(f"# {number}" for number in range(16))])


def test_readers_see_whole_catalogs_while_formats_change(running, name: str) -> None:
    catalogs = running.querywright.catalogs
    texts = [(toml("a"), "toml"), (YAML, "yaml"), (CSV, "csv")]
    catalogs.put(name, *texts[0])
    stop = threading.Event()
    seen: list[Any] = []

    def read() -> None:
        while not stop.is_set():
            seen.append((catalogs.read(name), catalogs.load(name)))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        catalogs.put(name, *texts[number % 3])
    stop.set()
    reader.join(30)
    assert seen
    for stored, loaded in seen:
        assert (stored.text, stored.format) in texts
        assert len(loaded.entities) == 1


def test_a_write_that_was_cut_off_between_two_formats(running, name: str) -> None:
    """The later of two files counts, and the next write leaves one."""
    catalogs, folder = running.querywright.catalogs, running.querywright.settings.home / name
    catalogs.put(name, toml("old"), "toml")
    before = (folder / "catalog.toml").stat().st_mtime_ns
    (folder / "catalog.csv").write_text(CSV)
    while (folder / "catalog.csv").stat().st_mtime_ns <= before:
        (folder / "catalog.csv").write_text(CSV)
    assert catalogs.read(name).text == CSV
    catalogs.put(name, toml("new"), "toml")
    assert [path.name for path in folder.glob("catalog.*")] == ["catalog.toml"]


def test_earlier_ones_are_kept(running, name: str) -> None:
    catalogs, folder = running.querywright.catalogs, running.querywright.settings.home / name
    texts = [toml(f"n{number}") for number in range(KEPT + 4)]
    for text in texts:
        catalogs.put(name, text, "toml")
    kept = {path.name: path.read_text() for path in (folder / "catalogs").iterdir()}
    assert kept == {f"{version_of(text)}.toml": text for text in texts[-KEPT - 1 : -1]}


def test_a_file_damaged_by_hand(running, name: str) -> None:
    """It can be read and replaced, but not used."""
    path = running.querywright.settings.home / name / "catalog.toml"
    path.write_text(BAD)
    url = running.url
    answer = httpx.post(f"{url}/v1/query", json={"query": "zap", "collection": name})
    assert answer.status_code == 503
    with Client(url) as client:
        stored = client.catalog(name)
        assert stored.text == BAD
        client.put_catalog(name, toml("good"), expected=stored.version)
    assert httpx.post(f"{url}/v1/query", json={"query": "zap", "collection": name}).status_code == 200
    with pytest.raises(CatalogError):
        running.querywright.put_catalog(name, BAD)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30), st.text(max_size=3))
def test_versions_tell_texts_apart(first: str, more: str) -> None:
    one, other = toml("x") + f"# {first}", toml("x") + f"# {first}{more}".encode(errors="replace").decode()
    assert (version_of(one) == version_of(other)) == (one == other)
    assert len(version_of(one)) == 16


# ----------------------------------------------------------------------------------------- command line


def test_commands(tmp_path: Path, run) -> None:
    home, file = tmp_path / "home", tmp_path / "words.csv"
    file.write_text(CSV, encoding="utf-8")
    with Querywright(home=home, encoder="none") as querywright:
        querywright.create_collection("shop")
    options = ("--home", home)
    checked = json.loads(run("catalog", "check", file, "--json", *options).out)
    put = json.loads(run("catalog", "put", "shop", file, "--json", *options).out)
    assert put == {name: value for name, value in checked.items() if name != "file"} | {"collection": "shop"}
    assert run("catalog", "get", "shop", *options).out == CSV
    got = json.loads(run("catalog", "get", "shop", "--json", *options).out)
    assert got == {"text": CSV, "format": "csv", "version": put["version"]}
    stale = run("catalog", "put", "shop", file, "--expect", "0" * 16, *options)
    assert (stale.code, "read it again" in stale.err) == (2, True)
    assert run("catalog", "delete", "shop", *options).code == 0
    assert run("catalog", "delete", "shop", *options).code == 2


def test_commands_name_file_and_line(tmp_path: Path, run) -> None:
    file = tmp_path / "words.toml"
    file.write_text(BAD, encoding="utf-8")
    for command in (("check",), ("put", "shop")):
        ran = run("catalog", *command, file, "--home", tmp_path)
        assert (ran.code, ran.out) == (2, "")
        assert "words.toml:7: entities[0] (x)" in ran.err


@pytest.mark.parametrize("written", ["toml", "yaml", "csv"])
def test_index_takes_every_format(tmp_path: Path, written: str) -> None:
    file, documents = tmp_path / f"words.{written}", tmp_path / "notes.md"
    file.write_text({"toml": toml("Zapper"), "yaml": YAML, "csv": CSV}[written], encoding="utf-8")
    documents.write_text("green frog", encoding="utf-8")
    with Querywright(home=tmp_path / "home", encoder="none") as querywright:
        querywright.index([documents], "shop", catalog=file)
        assert querywright.catalog("shop").format == written
        assert len(querywright.catalogs.load("shop").entities) == 1
        querywright.index([documents], "shop", catalog=tmp_path / "home" / "shop" / f"catalog.{written}")
        assert querywright.catalog("shop").text == file.read_text(encoding="utf-8")


def test_a_home_without_collections_has_no_catalogs(tmp_path: Path) -> None:
    assert Catalogs(tmp_path).load("shop") is None
    assert Catalogs(tmp_path).read("shop") is None
    assert Catalogs(tmp_path).delete("shop") is False
