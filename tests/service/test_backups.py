"""Backups through the SDK and the command line."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from querywright import ConflictError, InputError, NotFoundError, Querywright, StorageError, __version__
from querywright.retrieval.fitting import Fusion, Method, load_fusion, save_fusion
from querywright.retrieval.store import STORE_FILE
from querywright.service.backups import Backup, check_backup

CATALOG = 'name = "shop"\n[[entities]]\nid = "crm"\ntype = "product"\nname = "CRM {}"\naliases = ["客户系统"]\n'
YAML = "name: shop\nentities:\n  - {id: erp, type: product, name: ERP}\n"


@pytest.fixture
def querywright(tmp_path: Path):
    """Return a home with one collection."""
    with Querywright(home=tmp_path / "home", encoder="none") as opened:
        opened.create_collection("notes")
        opened.upsert("notes", rows("red"))
        opened.put_catalog("notes", CATALOG.format(1))
        opened.put_catalog("notes", CATALOG.format(2))
        save_fusion(tmp_path / "home" / "notes", Fusion(Method.RRF, 0.3))
        yield opened


def rows(word: str, count: int = 5) -> list[dict[str, object]]:
    return [
        {"doc_id": f"{number} 客", "text": f"{word} fox {number}", "metadata": {"n": number}} for number in range(count)
    ]


def found(querywright: Querywright, collection: str = "notes") -> set[str]:
    return {hit.text.split()[0] for hit in querywright.search("fox", collection=collection, k=100).hits}


def earlier(querywright: Querywright) -> set[str]:
    folder = querywright.settings.home / "notes" / "catalogs"
    return {path.read_text(encoding="utf-8") for path in folder.iterdir()}


def hidden(home: Path) -> list[str]:
    return [path.name for path in home.iterdir() if path.name.startswith(".")]


def test_all_of_a_collection_comes_back(querywright: Querywright, tmp_path: Path) -> None:
    made = querywright.backup("notes", tmp_path / "b.tar")
    assert (made.collection, made.version, made.documents) == ("notes", __version__, 5)
    assert check_backup(tmp_path / "b.tar") == made
    assert querywright.restore(tmp_path / "b.tar", "copy") == made
    assert querywright.documents("copy") == querywright.documents("notes")
    assert found(querywright, "copy") == {"red"}
    assert querywright.catalog("copy").text == CATALOG.format(2)
    assert load_fusion(tmp_path / "home" / "copy") == Fusion(Method.RRF, 0.3)
    assert (tmp_path / "home" / "copy" / "catalogs").is_dir()
    assert hidden(tmp_path) == hidden(tmp_path / "home") == []
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert [entry.name for entry in tar if entry.name.count("/") == 0] == [
            "manifest.json",
            "catalog.toml",
            STORE_FILE,
            "fusion.json",
        ]


def test_it_takes_the_place_of_what_is_there(querywright: Querywright, tmp_path: Path) -> None:
    querywright.backup("notes", tmp_path / "b.tar")
    querywright.upsert("notes", rows("green", 9))
    querywright.put_catalog("notes", YAML, "yaml")
    save_fusion(tmp_path / "home" / "notes", Fusion(Method.RRF, 0.9))
    assert found(querywright) == {"green"}
    with pytest.raises(ConflictError, match="there is one already"):
        querywright.restore(tmp_path / "b.tar", "notes")
    assert found(querywright) == {"green"}
    querywright.restore(tmp_path / "b.tar", "notes", replace=True)
    assert found(querywright) == {"red"}
    assert len(querywright.documents("notes")) == 5
    assert querywright.catalog("notes").text == CATALOG.format(2)
    assert earlier(querywright) == {CATALOG.format(1), CATALOG.format(2), YAML}
    assert load_fusion(tmp_path / "home" / "notes") == Fusion(Method.RRF, 0.3)
    assert hidden(tmp_path / "home") == []


def test_what_the_backup_lacks_goes(querywright: Querywright, tmp_path: Path) -> None:
    querywright.create_collection("bare")
    querywright.backup("bare", tmp_path / "b.tar")
    querywright.restore(tmp_path / "b.tar", "notes", replace=True)
    assert querywright.documents("notes") == []
    assert found(querywright) == set()
    with pytest.raises(NotFoundError):
        querywright.catalog("notes")
    assert load_fusion(tmp_path / "home" / "notes") is None
    assert CATALOG.format(2) in earlier(querywright)


def test_replacing_nothing_makes_a_collection(querywright: Querywright, tmp_path: Path) -> None:
    querywright.backup("notes", tmp_path / "b.tar")
    querywright.restore(tmp_path / "b.tar", "fresh", replace=True)
    assert found(querywright, "fresh") == {"red"}


INTENT = """
name = "i"
[[entities]]
id = "a"
type = "company"
name = "Acme Inc."
aliases = ["acme"]
[[intents]]
name = "news"
head = "company"
[intents.en]
triggers = [["latest news on", "{}"]]
pattern = "{{trigger}} {{company}}"
"""


def test_rewrites_are_those_of_the_catalog_that_was_restored(querywright: Querywright, tmp_path: Path) -> None:
    def rewritten() -> str:
        return querywright.rewrite("latest news on acme", collection="notes", rewriter="catalog").rewrite

    querywright.put_catalog("notes", INTENT.format("press releases of"))
    assert rewritten() == "press releases of Acme Inc."
    querywright.backup("notes", tmp_path / "b.tar")
    querywright.put_catalog("notes", INTENT.format("annual report of"))
    assert rewritten() == "annual report of Acme Inc."
    querywright.restore(tmp_path / "b.tar", "notes", replace=True)
    assert rewritten() == "press releases of Acme Inc."


def test_a_store_that_nobody_can_read_is_replaced_too(querywright: Querywright, tmp_path: Path) -> None:
    querywright.backup("notes", tmp_path / "b.tar")
    querywright.close()
    store = tmp_path / "home" / "notes" / STORE_FILE
    store.write_bytes(b"not a database at all" * 1000)
    with Querywright(home=tmp_path / "home", encoder="none") as again:
        with pytest.raises(StorageError):
            again.search("fox", collection="notes")
        with pytest.raises(StorageError):
            again.backup("notes", tmp_path / "bad.tar")
        again.restore(tmp_path / "b.tar", "notes", replace=True)
        assert found(again) == {"red"}
    assert not (tmp_path / "bad.tar").exists()


@pytest.mark.parametrize("name", ["", "../up", "Notes", "a" * 65])
def test_names_are_checked(querywright: Querywright, tmp_path: Path, name: str) -> None:
    querywright.backup("notes", tmp_path / "b.tar")
    with pytest.raises(InputError, match="collection: expected a name"):
        querywright.restore(tmp_path / "b.tar", name, replace=True)
    with pytest.raises(InputError, match="collection: expected a name"):
        querywright.backup(name, tmp_path / "c.tar")
    assert {path.name for path in tmp_path.iterdir()} == {"home", "b.tar"}


def test_where_a_backup_cannot_be_written(querywright: Querywright, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path, tmp_path / "file" / "b.tar", tmp_path / "home" / "notes" / "b.tar", tmp_path / "no" / "b"):
        with pytest.raises(InputError, match=r"expected the name of a file|cannot be written"):
            querywright.backup("notes", target)
    with pytest.raises(NotFoundError, match="collection 'none'"):
        querywright.backup("none", tmp_path / "b.tar")
    assert {path.name for path in tmp_path.iterdir()} == {"home", "file"}


def test_an_earlier_backup_stays_until_the_next_is_whole(querywright: Querywright, tmp_path: Path, monkeypatch) -> None:
    querywright.backup("notes", tmp_path / "b.tar")
    before = (tmp_path / "b.tar").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr("querywright.service.backups.write_archive", full)
        with pytest.raises(StorageError, match="No space left"):
            querywright.backup("notes", tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_bytes() == before
    assert hidden(tmp_path) == []
    querywright.upsert("notes", rows("green"))
    querywright.backup("notes", tmp_path / "b.tar")
    querywright.restore(tmp_path / "b.tar", "copy")
    assert found(querywright, "copy") == {"green"}


def test_a_catalog_that_is_none_is_told_before_it_is_backed_up(querywright: Querywright, tmp_path: Path) -> None:
    broken = tmp_path / "home" / "notes" / "catalog.toml"
    broken.write_text("not = [a catalog")
    with pytest.raises(InputError, match=r"notes/catalog[.]toml:1: not valid TOML"):
        querywright.backup("notes", tmp_path / "b.tar")


def test_another_format_is_refused(querywright: Querywright, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("querywright.service.backups.FORMAT", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("querywright.service.backups._read", lambda *_: Backup("notes", "", "", 0, 0))
        querywright.backup("notes", tmp_path / "b.tar")
    monkeypatch.undo()
    with pytest.raises(InputError, match=f"b.tar: a backup of format 2; this version, {__version__}, reads format 1"):
        querywright.restore(tmp_path / "b.tar", "copy")


# ------------------------------------------------------------------------------------------- the command line


def test_backup_and_restore_by_command(querywright: Querywright, tmp_path: Path, run: Callable) -> None:
    home = ("--home", tmp_path / "home")
    out = tmp_path / "b.tar"
    ran = run("backup", "notes", "--out", out, "--json", *home)
    assert (ran.code, ran.err) == (0, "")
    row = json.loads(ran.out)
    assert (row["collection"], row["documents"], row["bytes"]) == ("notes", 5, out.stat().st_size)
    ran = run("backup", "notes", "--out", out, *home)
    assert ran.out.startswith(f"{out}: 5 documents of notes, made 2")
    ran = run("restore", out, "--check", "--json", *home)
    assert json.loads(ran.out)["documents"] == 5
    querywright.upsert("notes", rows("green"))
    ran = run("restore", out, "--collection", "notes", *home)
    assert (ran.code, ran.out) == (2, "")
    assert "there is one already" in ran.err
    ran = run("restore", out, "--collection", "notes", "--replace", "--json", *home)
    assert ran.code == 0
    assert json.loads(ran.out) | {"restored": "notes", "documents": 5, "file": str(out)} == json.loads(ran.out)
    assert found(querywright) == {"red"}


def test_what_the_commands_refuse(querywright: Querywright, tmp_path: Path, run: Callable) -> None:
    home = ("--home", tmp_path / "home")
    (tmp_path / "junk").write_text("no backup")
    for arguments, says in (
        (("restore", tmp_path / "junk", "--check"), "junk: cut short, damaged or no backup"),
        (("restore", tmp_path / "none", "--check"), "none: cannot be read: there is none of that name"),
        (("restore", tmp_path, "--collection", "x"), "cannot be read: not a file"),
        (("restore", tmp_path / "junk"), "either --collection NAME or --check"),
        (("restore", tmp_path / "junk", "--check", "--collection", "x"), "either --collection NAME or --check"),
        (("backup", "none", "--out", tmp_path / "b"), "collection 'none': there is none of that name"),
        (("backup", "notes"), "--out"),
    ):
        ran = run(*arguments, *home)
        assert (ran.code, ran.out) == (2, ""), arguments
        assert says in ran.err
        assert ran.err.count("\n") == 1
