"""The evaluation's commands, as typed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    assert run("compare", *evaluated, "--gate", "nDCG@10:-1", "--gate", "R@10:-1")[0] == 0
    assert run("compare", *evaluated, "--gate", "nDCG@10:-1", "--gate", "R@10:-0.01")[0] == 1
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


def _split(write_dataset: Callable[..., Path], folder: Path, *things: str) -> Path:
    """Write a data set of queries that only the profile tells the sense of."""
    corpus = [{"_id": thing, "text": f"how to use the {thing}"} for thing in things]
    queries: list[dict[str, object]] = [
        {"_id": f"{thing}<::>1", "text": "what is it made of?", "profile": {"topic": thing}} for thing in things
    ]
    return write_dataset(folder, corpus, queries, [(f"{thing}<::>1", thing, 1) for thing in things])


@pytest.fixture
def chat(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a chat model's server that the command line is set to ask; a good prompt makes it know the thing."""

    def reply() -> tuple[int, bytes]:
        thing = server.requests[-1]["messages"][1]["content"].split("topic: ")[1].split()[0]
        text = f"what is {thing} made of?" if "GOOD" in server.system() else "what is it made of?"
        return 200, server.completion(json.dumps({"rewrite": text}), tokens=(100, 10))

    server.reply = reply
    for name, value in _llm(server, budget_ms=20_000).items():
        monkeypatch.setenv(name, value)
    return server


def _llm(server: Any, budget_ms: int) -> dict[str, str]:
    """Return the environment that makes a chat model of the server on this machine."""
    return {
        "OPENAI_API_KEY": "k",
        "QUERYWRIGHT_LLM": "openai:test",
        "QUERYWRIGHT_LLM_BASE_URL": server.url,
        "QUERYWRIGHT_BUDGET_MS": str(budget_ms),
        "QUERYWRIGHT_ENCODER": "none",
    }


def test_tune_finds_the_better_prompt(run: Run, chat: Any, tmp_path: Path, write_dataset: Callable[..., Path]) -> None:
    training = _split(write_dataset, tmp_path / "training", "bellows", "quartz", "zither", "gimlet", "ocarina", "yurt")
    test = _split(write_dataset, tmp_path / "test", "lathe", "walrus", "kettle", "vortex", "mango", "jigsaw")
    prompts = {name: tmp_path / f"{name}.txt" for name in ("bad", "good")}
    prompts["bad"].write_text("Leave it.")
    prompts["good"].write_text("A GOOD prompt.")
    command = (
        *("tune", training, test, "--legs", "lexical", "--measure", "RR@10", "--json", "--home", tmp_path / "home"),
        *(word for prompt in prompts.values() for word in ("--prompt", prompt)),
    )
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["measure"] == "RR@10"
    assert (found["before"]["prompt"], found["parameters"]["prompt"]) == (None, str(prompts["good"]))
    assert found["results"]["test"]["default"] < found["results"]["test"]["tuned"]
    # On the test set only what is set and what was found is paid for.
    assert len(chat.requests) == 3 * 6 + 2 * 6
    assert run(*command)[1] == out
    assert len(chat.requests) == 3 * 6 + 2 * 6, "rewrites are kept"


def test_what_tune_begins_at_is_what_the_service_does_with_an_llm(
    run: Run, chat: Any, tmp_path: Path, write_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = tmp_path / "set.txt"
    prompt.write_text("A GOOD prompt.")
    monkeypatch.setenv("QUERYWRIGHT_LLM_PROMPT", str(prompt))
    folder = _split(write_dataset, tmp_path / "test", "lathe", "walrus", "kettle", "vortex", "mango", "jigsaw")
    options = ("--legs", "lexical", "--json", "--home", tmp_path / "home")
    code, out, _ = run("tune", folder, folder, "--folds", "2", *options)
    assert code == 0
    found = json.loads(out)
    assert found["before"]["prompt"] == str(prompt)
    told = json.loads(run("evaluate", folder, "--arms", "auto", "--out", tmp_path / "out", *options)[1])
    auto = told["datasets"]["test"]["arms"]["auto"]["lexical"]
    assert auto["measures"]["nDCG@5"] == pytest.approx(found["results"]["test"]["default"], abs=1e-9)
    assert auto["vs_none"]["helped"] > 0
    assert (auto["llm"]["calls"], auto["llm"]["input_tokens"]) == (6, 600)


def test_tune_says_what_is_wrong_with_a_prompt(
    run: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("tune", tiny, tiny, "--legs", "lexical", "--home", tmp_path / "home", "--prompt", tmp_path / "no.txt")
    assert run(*command) == (
        2,
        "",
        "querywright: --prompt: no LLM is configured; set QUERYWRIGHT_LLM, e.g. openai:gpt-5-mini\n",
    )
    monkeypatch.setenv("QUERYWRIGHT_LLM", "openai:test")
    code, _, err = run(*command)
    assert code == 2
    assert err == f"querywright: {tmp_path / 'no.txt'}: prompt: cannot be read: No such file or directory\n"
    assert not (tmp_path / "home" / "eval-cache").exists()


def test_tune_begins_at_what_is_set_and_reads_a_collections_own_catalog(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo, home = Path(cli.__file__).parents[1] / "data" / "demo", ("--home", tmp_path / "home")
    assert run("index", demo, "--collection", "own", "--catalog", demo / "catalog.toml", *home)[0] == 0
    spec = f"files:queries={demo / 'queries.jsonl'},qrels={demo / 'qrels.tsv'},collection=own"

    def tuned() -> Any:
        code, out, _ = run("tune", spec, spec, "--legs", "lexical", "--folds", "2", "--json", *home)
        assert code == 0
        return json.loads(out)

    as_set = tuned()
    options = ("--arms", "auto", "--legs", "lexical", "--out", tmp_path / "out", *home, "--json")
    (dataset,) = json.loads(run("evaluate", spec, *options)[1])["datasets"].values()
    service = dataset["arms"]["auto"]["lexical"]["measures"]["nDCG@5"]
    assert as_set["results"]["test"]["default"] == pytest.approx(service, abs=1e-9)
    monkeypatch.setenv("QUERYWRIGHT_MIN_CONFIDENCE", "1")
    shut = tuned()
    assert shut["before"]["min_confidence"] == 1.0
    assert shut["results"]["test"]["default"] < as_set["results"]["test"]["default"] - 0.1


def test_a_pool_of_a_collection_reads_its_own_catalog(run: Run, tmp_path: Path) -> None:
    demo, home = Path(cli.__file__).parents[1] / "data" / "demo", ("--home", tmp_path / "home")
    assert run("index", demo, "--collection", "plain", *home)[0] == 0
    assert run("index", demo, "--collection", "own", "--catalog", demo / "catalog.toml", *home)[0] == 0
    pairs = {}
    for name in ("plain", "own"):
        out = tmp_path / f"{name}.tsv"
        options = ("--collection", name, "--out", out, "--legs", "lexical", "--depth", 1, *home, "--json")
        code, told, _ = run("pool", demo / "queries.jsonl", *options)
        assert code == 0
        pairs[name] = json.loads(told)["pairs"]
    assert pairs["own"] > pairs["plain"] + 20


def test_ctrl_c_says_how_to_go_on(server: Any, tiny: Path, tmp_path: Path) -> None:
    def hang() -> tuple[int, bytes]:
        time.sleep(3)
        return 500, b""

    server.reply = hang
    begin = [sys.executable, "-c", "from querywright.service.cli import main; main()"]
    places = ["--home", str(tmp_path / "home"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*begin, "evaluate", str(tiny), "--arms", "llm", "--legs", "lexical", *places],
        env=os.environ | _llm(server, budget_ms=2_000),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 60
    while not server.requests and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, b"")
    assert err.decode() == "querywright: interrupted; run the same command to go on\n"
