"""What LLMs cost, counted where they are asked: a real evaluation against a server that speaks their protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from querywright import DatasetError
from querywright.eval.arms import Replay
from querywright.eval.cache import settings_digest
from querywright.eval.cost import UNTOLD, llm_cost, table, unreported
from querywright.eval.evaluation import run
from querywright.eval.report import Report
from querywright.retrieval.home import Collections
from querywright.rewrite.query import Usage
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings

ASKED = 1
"""Of the four queries that are evaluated, those with a history or a profile: an LLM is asked for no other."""

Evaluate = Callable[..., Report]


@pytest.fixture
def evaluate(tmp_path: Path, tiny: Path, server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Evaluate]:
    """Return what evaluates the tiny set with a chat model that is served on this machine."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    settings = Settings(
        home=tmp_path / "home", encoder="none", llm="openai:test", llm_base_url=server.url, budget_ms=20_000
    )

    def evaluated(out: str, arms: Sequence[str] = ("none", "llm"), **changes: object) -> Report:
        made = settings.model_copy(update=changes)
        with Pipeline(made) as pipeline:
            return run([tiny], arms, ["lexical"], pipeline, collections, tmp_path / out, encoder="none", settings=made)

    collections = Collections(settings.home)
    yield evaluated
    collections.close()


def _cost(report: Report, arm: str) -> Any:
    return report["datasets"]["tiny"]["arms"][arm]["lexical"]["llm"]


def test_an_evaluation_says_what_llms_cost(evaluate: Evaluate, server: Any, tmp_path: Path) -> None:
    server.proposes("and the customer list?", tokens=(120, 8))
    report = evaluate("out")
    assert len(server.requests) == ASKED
    assert _cost(report, "llm") == {
        "asked": 1,
        "calls": 1,
        "input_tokens": 120,
        "output_tokens": 8,
        "unreported": 0,
        "unknown": 0,
        "per_query": {"calls": 0.25, "input_tokens": 30.0, "output_tokens": 2.0},
    }
    assert (_cost(report, "none")["calls"], _cost(report, "none")["input_tokens"]) == (0, 0)
    assert "| llm | 4 | 1 | 1 | 0.25 | 120 | 30.0 | 8 | 2.0 |" in (tmp_path / "out" / "results.md").read_text("utf-8")
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "Calls of LLMs and their tokens" in page
    assert ">30.0<" in page
    rows = [json.loads(line) for line in (tmp_path / "out" / "queries.jsonl").read_text("utf-8").splitlines()]
    told = {row["id"]: row["usage"] for row in rows if row["arm"] == "llm"}
    assert told.pop("c1<::>2") == {"calls": 1, "input_tokens": 120, "output_tokens": 8}
    assert set(told.values()) == {None}


def test_what_is_read_back_cost_what_it_cost(evaluate: Evaluate, server: Any, tmp_path: Path) -> None:
    server.proposes("and the customer list?", tokens=(120, 8))
    first = evaluate("one")
    assert evaluate("two") == first
    assert len(server.requests) == ASKED
    kept = tmp_path / "one" / "rewrites" / "tiny" / "llm.jsonl"
    arm = f"replay:{kept}"
    assert _cost(evaluate("three", [arm]), arm) == _cost(first, "llm")
    assert len(server.requests) == ASKED


def test_tokens_that_nobody_told_are_unknown(evaluate: Evaluate, server: Any, tmp_path: Path) -> None:
    server.proposes("and the customer list?", tokens=None)
    cost = _cost(evaluate("out"), "llm")
    assert (cost["calls"], cost["input_tokens"], cost["output_tokens"], cost["unreported"]) == (1, None, None, 1)
    assert cost["per_query"] == {"calls": 0.25, "input_tokens": None, "output_tokens": None}
    told = (tmp_path / "out" / "results.md").read_text("utf-8")
    assert "| llm | 4 | 1 | 1 | 0.25 | unknown | unknown | unknown | unknown |" in told
    assert "Tokens leave out 1 query that asked an LLM" in told
    assert "Tokens leave out 1 query" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_calls_that_fail_are_counted_and_made_again(evaluate: Evaluate, server: Any) -> None:
    server.reply = lambda: (500, b"")
    failed = evaluate("one")
    assert (_cost(failed, "llm")["calls"], _cost(failed, "llm")["unreported"]) == (3, 1)
    server.proposes("and the customer list?", tokens=(120, 8))
    assert _cost(evaluate("two"), "llm")["input_tokens"] == 120
    assert len(server.requests) == 4 * ASKED


def test_a_prompt_counts_by_what_it_says(evaluate: Evaluate, server: Any, tmp_path: Path) -> None:
    server.proposes("and the customer list?")
    prompts = [tmp_path / name for name in ("a.txt", "b.txt")]
    for prompt in prompts:
        prompt.write_text("Rewrite.")
        evaluate(prompt.stem, llm_prompt=prompt)
    assert len(server.requests) == ASKED
    prompts[1].write_text("Rewrite it.")
    evaluate("c", llm_prompt=prompts[1])
    assert len(server.requests) == 2 * ASKED
    assert server.system() == "Rewrite it."
    settings = [Settings(llm_prompt=prompt) for prompt in (None, *prompts)]
    assert len({settings_digest(one) for one in settings}) == 3


def test_sums_leave_out_what_is_unknown() -> None:
    cost = llm_cost([None, Usage(1, 100, 10), Usage(2, 300, 30), Usage(1)])
    assert (cost["asked"], cost["calls"], cost["input_tokens"], cost["output_tokens"]) == (3, 4, 400, 40)
    assert cost["unreported"] == 1
    assert cost["per_query"] == {"calls": 1.0, "input_tokens": 400 / 3, "output_tokens": 40 / 3}
    assert unreported([cost])
    none = llm_cost([None, None])
    assert (none["calls"], none["input_tokens"], none["per_query"]["output_tokens"]) == (0, 0, 0.0)
    assert table({"auto": none}, {"auto": 2}) == []
    assert unreported([none]) == ""


def test_what_nobody_told_is_not_nothing() -> None:
    cost = llm_cost([UNTOLD, UNTOLD])
    assert (cost["asked"], cost["calls"], cost["input_tokens"], cost["unknown"]) == (None, None, None, 2)
    assert set(cost["per_query"].values()) == {None}
    assert table({"mine": cost}, {"mine": 2}) == [("mine", "2", *["unknown"] * 7)]
    assert "leave out 2 queries rewritten elsewhere" in unreported([cost])
    some = llm_cost([UNTOLD, Usage(1, 100, 10), None])
    assert (some["asked"], some["calls"], some["unknown"]) == (1, 1, 1)
    assert some["per_query"] == {"calls": 0.5, "input_tokens": 50.0, "output_tokens": 5.0}
    assert "1 query rewritten elsewhere" in unreported([some])


@pytest.mark.parametrize("arm", ["replay", "run"])
def test_what_was_made_elsewhere_cost_what_it_says(evaluate: Evaluate, tmp_path: Path, arm: str) -> None:
    path = tmp_path / "mine"
    rows = [{"id": "c2", "rewrite": "warranty of a laptop"}, {"id": "c 3", "rewrite": "refund"}]
    run_lines = "c2 Q0 warranty 1 1.0 mine\n"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if arm == "replay" else run_lines)
    name = f"{arm}:{path}"
    cost = _cost(evaluate("one", [name]), name)
    assert (cost["calls"], cost["unknown"] > 0) == (None, True)
    told = (tmp_path / "one" / "results.md").read_text("utf-8")
    assert "| unknown | unknown | unknown | unknown | unknown | unknown | unknown |" in told
    assert "rewritten elsewhere" in (tmp_path / "one" / "report.html").read_text("utf-8")
    lines = (tmp_path / "one" / "queries.jsonl").read_text("utf-8").splitlines()
    assert all(("usage" in row) == (row["arm"] == "none") for row in map(json.loads, lines))
    (kept,) = (tmp_path / "one" / "rewrites" / "tiny").glob(f"{arm}*")
    assert "usage" not in json.loads(kept.read_text("utf-8").splitlines()[0])


def test_a_replay_that_says_null_asked_nobody(evaluate: Evaluate, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"id": "c2", "rewrite": "warranty", "usage": None}) + "\n")
    cost = _cost(evaluate("one", [f"replay:{path}"]), f"replay:{path}")
    assert (cost["calls"], cost["unknown"]) == (0, 0)


@pytest.mark.parametrize(
    "usage",
    [7, {}, {"calls": 0}, {"calls": -1, "input_tokens": 3}, {"calls": 1, "input_tokens": -3}, {"calls": "many"}],
)
def test_a_replay_with_a_broken_usage_names_the_line(tmp_path: Path, usage: object) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"id": "a", "rewrite": "b", "usage": usage}) + "\n")
    with pytest.raises(DatasetError, match=r"mine\.jsonl:1: usage: expected"):
        Replay.read(path)
    path.write_text(json.dumps({"id": "a", "rewrite": "b", "usage": {"calls": 2}}) + "\n")
    ((_, rewrite),) = Replay.read(path).rows["a"]
    assert rewrite.usage == Usage(2)
