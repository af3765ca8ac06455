"""The evaluation's commands, as typed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from querywright.service import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Return what runs a command line in this process: exit code, output, errors."""

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["querywright", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as done:
            code = int(done.code or 0)
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return command


@pytest.fixture
def evaluated(run: Run, tiny: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Evaluate the tiny set twice: as it is, and with rewrites that drop what matters."""
    home = ("--home", tmp_path / "home", "--legs", "lexical")
    assert run("evaluate", tiny, "--arms", "none,gold+orig", "--out", tmp_path / "a", *home)[0] == 0
    assert run("evaluate", tiny, "--arms", "none,gold+orig", "--out", tmp_path / "b", *home)[0] == 0
    return tmp_path / "a", tmp_path / "b"


def test_evaluate_writes_everything(evaluated: tuple[Path, Path]) -> None:
    names = {path.name for path in evaluated[0].iterdir()}
    assert names >= {"results.json", "results.md", "report.html", "queries.jsonl", "runs", "qrels", "rewrites"}
    assert json.loads((evaluated[0] / "results.json").read_bytes())["format"] == 1


def test_compare_passes_what_is_alike_and_fails_what_got_worse(run: Run, evaluated: tuple[Path, Path]) -> None:
    code, out, _ = run("compare", *evaluated)
    assert code == 0
    assert "tiny" in out
    rows = [json.loads(line) for line in (evaluated[1] / "queries.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        if row["arm"] == "gold+orig":
            row["values"] = dict.fromkeys(row["values"], 0.0)
    (evaluated[1] / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert run("compare", *evaluated, "--gate", "nDCG@10:-0.01")[0] == 1
    code, _, err = run("compare", *evaluated, "--gate", "better")
    assert code == 2
    assert err.count("\n") == 1


def test_compare_fails_what_is_missing(run: Run, evaluated: tuple[Path, Path]) -> None:
    lines = (evaluated[1] / "queries.jsonl").read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["arm"] == "none"]
    (evaluated[1] / "queries.jsonl").write_text("".join(kept), "utf-8")
    assert run("compare", *evaluated)[0] == 1
    assert run("compare", *evaluated, "--allow-missing")[0] == 0


def test_a_collection_is_evaluated_with_its_own_catalog(run: Run, tmp_path: Path) -> None:
    demo, home = Path(cli.__file__).parents[1] / "data" / "demo", ("--home", tmp_path / "home")
    assert run("index", demo, "--collection", "own", "--catalog", demo / "catalog.toml", *home)[0] == 0
    spec = f"files:queries={demo / 'queries.jsonl'},qrels={demo / 'qrels.tsv'},collection=own"
    code, out, _ = run(
        "evaluate", spec, "--arms", "auto", "--legs", "lexical", "--out", tmp_path / "o", *home, "--json"
    )
    assert code == 0
    (dataset,) = json.loads(out)["datasets"].values()
    assert dataset["arms"]["auto"]["lexical"]["vs_none"]["delta"] > 0.2


def test_gold_is_only_wanted_where_it_is_typed(run: Run, tiny: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (tiny / "queries.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        row.pop("rewrite", None)
    (tiny / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    options = ("--legs", "lexical", "--home", tmp_path / "home", "--out", tmp_path / "out")
    assert run("evaluate", tiny, *options)[0] == 0
    assert run("evaluate", tiny, "--arms", "none,gold", *options)[0] == 2


def test_pool_and_read_back(run: Run, tiny: Path, tmp_path: Path) -> None:
    queries, pool, home = tiny / "queries.jsonl", tmp_path / "pool.tsv", tmp_path / "home"
    code, out, _ = run("pool", queries, "--corpus", tiny, "--out", pool, "--legs", "lexical", "--home", home, "--json")
    assert code == 0
    assert json.loads(out)["pairs"] == len(pool.read_text("utf-8").splitlines()) - 1
    assert run("pool", queries, "--out", pool)[0] == 2


def test_tune_reports_on_the_other_set(run: Run, tmp_path: Path) -> None:
    demo = Path(cli.__file__).parents[1] / "data" / "demo"
    code, out, _ = run("tune", demo, demo, "--legs", "lexical", "--folds", "2", "--home", tmp_path / "home")
    assert code == 0
    assert "nDCG@5" in out
    assert "untouched" in out or "same" in out
