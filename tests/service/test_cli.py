"""The command line: every command's options, files in and out, and the server as a process."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
import typer.main

from querywright import __version__
from querywright.service import cli
from querywright.service.demo import build
from querywright.service.schemas import REWRITE

COMMAND = Path(sys.executable).with_name("querywright")
QUERY_OPTIONS = {"--history", "--profile", "--now", "--catalog", "--rewriter"}
OPTIONS = {
    "serve": {"--host", "--port"},
    "index": {"--collection"},
    "search": {"--collection", "-k", "--legs", "--filter"} | QUERY_OPTIONS,
    "rewrite": {"--in", "--out", "--collection"} | QUERY_OPTIONS,
    "evaluate": {"--arms", "--legs", "--catalog", "--out", "--seed"},
    "train editor": {"--data", "--out", "--language", "--from", "--seed", "--epochs", "--threads"},
}
"""What the contract says; more may be added."""


def commands(group: Any, above: str = "") -> dict[str, Any]:
    """Return the commands by what is typed, those of a group with its name in front."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        typed = f"{above}{name}"
        found |= commands(command, f"{typed} ") if hasattr(command, "commands") else {typed: command}
    return found


COMMANDS = commands(typer.main.get_command(cli.app))


def test_commands_of_the_contract() -> None:
    assert set(COMMANDS) >= set(OPTIONS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_home_json_and_help(name: str, run: Callable) -> None:
    command = COMMANDS[name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert known >= {"--home", "--json"} | OPTIONS.get(name, set())
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", "x") or parameter.name == "port", parameter.name
    ran = run(*name.split(), "--help")
    assert (ran.code, ran.err) == (0, "")
    assert command.help.split(".")[0] in " ".join(ran.out.split())


def test_help_lists_the_commands(run: Callable) -> None:
    ran = run("--help")
    assert ran.code == 0
    assert all(name.split()[0] in ran.out for name in COMMANDS)


# ------------------------------------------------------------------------------------------ rewrite


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewriting needs no encoder."""
    monkeypatch.setenv("QUERYWRIGHT_ENCODER", "none")


def written(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def rewrites(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def rows(queries) -> list[dict]:
    """Return the demo's queries as rows of the contract, with a row of fields that are not ours."""
    return [{**row, "id": row["_id"], "query": row["text"], "other": [1]} for row in queries.values()]


@pytest.mark.usefixtures("offline")
def test_file_in_file_out(rows: list[dict], demo_home: Path, tmp_path: Path, run: Callable) -> None:
    source, out = written(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    ran = run("rewrite", "--in", source, "--out", out, "--collection", "demo", "--home", demo_home, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == {"out": str(out), "rewrites": len(rows)}
    found = rewrites(out)
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [row["original"] for row in found] == [row["query"] for row in rows]
    assert sum(row["decision"] == "rewrite" for row in found) > len(rows) / 3
    for line in out.read_bytes().splitlines():
        REWRITE.validate_json(line)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.usefixtures("offline")
def test_two_thousand_lines(rows: list[dict], demo_home: Path, tmp_path: Path, run: Callable) -> None:
    many = [{**rows[number % len(rows)], "id": f"n{number}"} for number in range(2_000)]
    source, out = written(tmp_path / "in.jsonl", many), tmp_path / "out.jsonl"
    assert run("rewrite", "--in", source, "--out", out, "--collection", "demo", "--home", demo_home).code == 0
    found = rewrites(out)
    assert [row["id"] for row in found] == [row["id"] for row in many]
    assert all(row["degraded"] is None for row in found)
    for row in found:
        row["seconds"] = 0
        row["steps"] = []
        row["clarification"] = row["clarification"] and row["clarification"] | {"token": ""}  # signed each time
    # The same question gives the same rewrite, wherever it stands.
    first = {row["original"] + str(i % len(rows)): row for i, row in enumerate(found[: len(rows)])}
    for number, row in enumerate(found):
        assert row | {"id": ""} == first[row["original"] + str(number % len(rows))] | {"id": ""}


@pytest.mark.usefixtures("offline")
def test_nothing_is_written_on_error(rows: list[dict], tmp_path: Path, run: Callable) -> None:
    source, out = written(tmp_path / "in.jsonl", [*rows[:50], {"query": ""}, *rows[50:60]]), tmp_path / "out.jsonl"
    ran = run("rewrite", "--in", source, "--out", out, "--home", tmp_path / "home")
    assert ran.code == 2
    assert "in.jsonl:51: query: expected some text" in ran.err
    assert not out.exists()
    out.write_bytes(b"from yesterday\n")
    assert run("rewrite", "--in", source, "--out", out, "--home", tmp_path / "home").code == 2
    assert out.read_bytes() == b"from yesterday\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


@pytest.mark.usefixtures("offline")
def test_marks_blank_lines_and_line_ends(tmp_path: Path, run: Callable) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"id": "a", "query": "frog\xc2\x85pond"}\r\n\r\n \n{"query": "x"}')
    assert run("rewrite", "--in", source, "--out", out, "--home", tmp_path).code == 0
    assert [(row.get("id"), row["rewrite"]) for row in rewrites(out)] == [("a", "frog\x85pond"), (None, "x")]
    (tmp_path / "history.json").write_bytes(b'\xef\xbb\xbf[{"role": "user", "text": "pond"}]')
    (tmp_path / "profile.json").write_bytes(b'\xef\xbb\xbf{"team": "lake", "facts": ["likes frogs"]}')
    options = ["--history", tmp_path / "history.json", "--profile", tmp_path / "profile.json", "--profile", "a=b=c"]
    ran = run("rewrite", "frog", *options, "--json", "--home", tmp_path)
    assert (ran.code, json.loads(ran.out)["original"]) == (0, "frog")


@pytest.mark.usefixtures("offline")
def test_an_empty_file_gives_an_empty_file(tmp_path: Path, run: Callable) -> None:
    (tmp_path / "in.jsonl").touch()
    assert run("rewrite", "--in", tmp_path / "in.jsonl", "--out", tmp_path / "out.jsonl", "--home", tmp_path).code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == b""


@pytest.mark.usefixtures("offline")
def test_options_fill_what_rows_leave_out(demo_home: Path, tmp_path: Path, run: Callable) -> None:
    rows = [
        {"id": "own", "query": "苹果最新消息", "profile": {"interests": ["水果"]}, "now": "2020-01-15T00:00:00+08:00"},
        {"id": "given", "query": "帮我查下数据"},
    ]
    source, out = written(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    options = ["--profile", "region=华东区", "--now", "2024-07-15T10:00:00+08:00", "--collection", "demo"]
    assert run("rewrite", "--in", source, "--out", out, *options, "--home", demo_home).code == 0
    own, given = rewrites(out)
    assert "2024" not in own["rewrite"]
    assert given["rewrite"] == "查询 2024 年 6 月华东区销售额(万元)"


@pytest.mark.usefixtures("offline")
def test_rewrite_in_words(demo_home: Path, run: Callable) -> None:
    options = ["--profile", "region=华东区", "--now", "2024-07-15T10:00:00+08:00", "--collection", "demo"]
    ran = run("rewrite", "帮我查下数据", *options, "--home", demo_home)
    assert ran.code == 0
    assert ran.out.startswith("查询 2024 年 6 月华东区销售额(万元)\nrewrite by catalog, confidence 0.75\n")
    assert "profile: profile.region: 华东区" in ran.out


@pytest.mark.usefixtures("offline")
def test_rows_as_beir_names_them(tmp_path: Path, run: Callable) -> None:
    rows = [{"_id": "a", "text": "frog"}, {"_id": "b", "id": "c", "text": "no", "query": "heron"}]
    source, out = written(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert run("rewrite", "--in", source, "--out", out, "--home", tmp_path / "home").code == 0
    assert [(row["id"], row["original"]) for row in rewrites(out)] == [("a", "frog"), ("c", "heron")]


@pytest.mark.usefixtures("offline")
def test_out_may_be_no_file(tmp_path: Path, run: Callable) -> None:
    source = written(tmp_path / "in.jsonl", [{"query": "frog"}])
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE) as reader:
        assert run("rewrite", "--in", source, "--out", tmp_path / "pipe", "--home", tmp_path / "home").code == 0
        assert reader.stdout is not None
        assert json.loads(reader.stdout.read())["original"] == "frog"
    assert (tmp_path / "pipe").is_fifo()
    ran = run("rewrite", "--in", source, "--out", "/dev/full", "--home", tmp_path / "home")
    assert (ran.code, ran.err) == (2, "querywright: /dev/full: cannot be written: No space left on device\n")


@pytest.mark.usefixtures("offline")
def test_only_errors_of_writing_are_called_so(tmp_path: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_given: object, **_named: object) -> None:
        raise OSError(5, "broken", "elsewhere")

    monkeypatch.setattr(cli.Querywright, "rewrite_all", fail)
    source = written(tmp_path / "in.jsonl", [{"query": "frog"}])
    ran = run("rewrite", "--in", source, "--out", tmp_path / "out.jsonl", "--home", tmp_path / "home")
    assert (ran.code, ran.err) == (1, "querywright: elsewhere: broken\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_command_may_choose_its_exit_code(monkeypatch: pytest.MonkeyPatch, run: Callable) -> None:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise typer.Exit(1)

    monkeypatch.setattr(cli, "app", app)
    assert run().code == 1


# ------------------------------------------------------------------------------- search and index


def test_search_prints_a_table(demo_home: Path, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    ran = run("search", "Apple earnings release date", "--collection", "demo", "-k", 3, "--home", demo_home)
    assert (ran.code, ran.err) == (0, "")
    lines = [[word.strip() for word in re.split("[┃│]", line)] for line in ran.out.splitlines()]
    start = next(number for number, line in enumerate(lines) if line[0] == "rank")
    assert lines[start] == ["rank", "score", "doc_id", "title", "text"]
    body = lines[start + 2 :]
    assert [line[0] for line in body] == ["1", "2", "3"]
    assert body[0][2] == "en-news-apple-earnings"
    assert body[0][3].startswith("Apple Inc.")
    assert float(body[0][1]) >= float(body[1][1]) >= float(body[2][1]) > 0
    assert max(map(len, ran.out.splitlines())) <= 100


@pytest.mark.usefixtures("offline")
def test_index_adds_replaces_and_tells(tmp_path: Path, run: Callable) -> None:
    source = written(tmp_path / "rows.jsonl", [{"_id": str(i), "text": f"frog {i}"} for i in range(300)])
    for _ in range(2):
        ran = run("index", source, "--collection", "pond", "--home", tmp_path / "home")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out == "pond: 300 documents read, 300 in the collection\n"


@pytest.mark.usefixtures("offline")
def test_bad_index_makes_no_collection(tmp_path: Path, run: Callable) -> None:
    (tmp_path / "catalog.toml").write_text("= 1", encoding="utf-8")
    source = written(tmp_path / "rows.jsonl", [{"_id": "1", "text": "frog"}])
    options = ["--collection", "pond", "--catalog", tmp_path / "catalog.toml", "--home", tmp_path / "home"]
    assert run("index", source, *options).code == 2
    assert not (tmp_path / "home" / "pond").exists()


@pytest.mark.usefixtures("offline")
def test_an_id_of_two_sources_is_refused(tmp_path: Path, run: Callable) -> None:
    one = written(tmp_path / "one.jsonl", [{"_id": "1", "text": "frog"}])
    two = written(tmp_path / "two.jsonl", [{"_id": "2", "text": "newt"}, {"_id": "1", "text": "toad"}])
    (tmp_path / "catalog.toml").write_text('name = "pond"\n', encoding="utf-8")
    options = ["--collection", "pond", "--home", tmp_path / "home"]
    ran = run("index", one, two, *options, "--catalog", tmp_path / "catalog.toml")
    assert (ran.code, ran.err) == (
        2,
        f"querywright: {two}: id '1' comes from {one} already: give one of them another\n",
    )
    with cli.Querywright(home=tmp_path / "home") as querywright:
        assert [document.text for document in querywright.documents("pond")] == ["frog"]
    assert not (tmp_path / "home" / "pond" / "catalog.toml").exists()
    assert run("index", one, *options, "--catalog", tmp_path / "catalog.toml").code == 0
    assert {path.name for path in (tmp_path / "home" / "pond").iterdir()} >= {"catalog.toml"}
    assert not list((tmp_path / "home" / "pond").glob(".*"))


@pytest.mark.usefixtures("offline")
def test_an_index_that_fails_at_once_leaves_no_collection(tmp_path: Path, run: Callable) -> None:
    source = written(tmp_path / "rows.jsonl", [{"_id": "1", "text": 5}])
    options = ["--collection", "pond", "--home", tmp_path / "home"]
    assert run("index", source, *options).code == 2
    assert not (tmp_path / "home" / "pond").exists()
    with cli.Querywright(home=tmp_path / "home") as querywright:
        querywright.create_collection("pond")
    assert run("index", source, *options).code == 2
    assert (tmp_path / "home" / "pond").exists()


def test_closed_pipe_is_no_traceback(demo_home: Path) -> None:
    search = f"{COMMAND} search 客户画像 --collection demo -k 500 --json --home {demo_home}"
    done = subprocess.run(
        ["sh", "-c", f"{search} | head -c 1"],
        capture_output=True,
        env=os.environ | {"PYTHONSAFEPATH": "1", "QUERYWRIGHT_ENCODER": "none"},
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"{", b"")


# ------------------------------------------------------------------------------------------- serve


@contextmanager
def served(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0", "--home", str(home), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONSAFEPATH": "1", "QUERYWRIGHT_ENCODER": "none"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_serve_builds_answers_and_stops(tmp_path: Path) -> None:
    with served(tmp_path) as process:
        assert process.stderr is not None
        assert re.fullmatch(r"collection demo: \d{3} documents\n", process.stderr.readline())
        ready = re.fullmatch(r"ready: (http://127\.0\.0\.1:\d+) \(API: \1/docs\)\n", process.stderr.readline())
        assert ready is not None
        url = ready[1]
        assert httpx.get(f"{url}/readyz").status_code == 200
        body = {"query": "苹果最新消息", "profile": {"interests": ["美股"]}, "now": "2024-07-15T10:00:00+08:00"}
        answer = httpx.post(f"{url}/v1/query", json=body, timeout=30).json()
        assert answer["hits"][0]["doc_id"] == "zh-news-apple-q3"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def test_serve_speaks_json_and_heeds_ctrl_c(built: Path, tmp_path: Path) -> None:
    home = shutil.copytree(built, tmp_path / "home")
    with served(home, "--json", "--no-demo") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = json.loads(process.stdout.readline())["ready"]
        names = [row["name"] for row in httpx.get(f"{url}/v1/collections").json()]
        assert names == ["demo"]
        port = url.rpartition(":")[2]
        taken = subprocess.run(
            [COMMAND, "serve", "--port", port, "--home", str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert taken.returncode == 2
        assert re.fullmatch(r"querywright: --host, --port: cannot listen on .*in use.*\n", taken.stderr)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


@pytest.mark.usefixtures("offline")
def test_serve_keeps_what_was_made_of_the_demo(built: Path, tmp_path: Path) -> None:
    home = shutil.copytree(built, tmp_path / "home")
    catalog = home / "demo" / "catalog.toml"
    catalog.write_text(catalog.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    with cli.Querywright(home=home) as querywright:
        first = querywright.documents("demo")[0].doc_id
        querywright.delete("demo", [first])
        assert build(querywright) == querywright.collections()[0].documents
        assert first not in [document.doc_id for document in querywright.documents("demo")]
    assert catalog.read_text(encoding="utf-8").endswith("# mine\n")


def test_serve_says_in_one_line_why_it_cannot_start(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "documents.sqlite").write_bytes(b"no database " * 1000)
    with served(tmp_path) as process:
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert re.fullmatch(r"querywright: .*documents\.sqlite: damaged.*\n", process.stderr.read())


@pytest.mark.parametrize("wrong", ["year!=2015", "year=>2018", "year>", "year", "year==2015", "=x"])
def test_filters_that_are_mistyped_are_refused(wrong: str, run: Callable, demo_home: Path) -> None:
    ran = run("search", "x", "--collection", "demo", "--home", demo_home, "--filter", wrong)
    assert ran.code == 2
    assert f"--filter: expected KEY=VALUE, or >=, >, <= or < in place of =, got '{wrong}'" in ran.err


def test_a_flushed_collection_says_so(run: Callable, demo_home: Path) -> None:
    ran = run("flush", "demo", "--home", demo_home, "--json")
    assert (ran.code, json.loads(ran.out)) == (0, {"collection": "demo", "flushed": True})
    assert list((demo_home / "demo").glob("index-*/manifest.json"))
    assert run("flush", "none", "--home", demo_home).code == 2


def test_the_version_is_told(run: Callable) -> None:
    ran = run("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"querywright {__version__}\n", "")
