"""The gate and the LLM: asked where the first search shows a need, left alone where it does not."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import Querywright
from querywright.rewrite.gate import Gate, Signs, need

shares = st.floats(0, 1)


@given(shares, shares, shares)
def test_the_more_is_found_the_less_is_needed(coverage: float, agreement: float, more: float) -> None:
    one = need(Signs(coverage, agreement))
    assert 0 < one < 1
    assert need(Signs(min(1, coverage + more), agreement)) <= one
    assert need(Signs(coverage, min(1, agreement + more))) <= one


def test_without_signs_the_model_is_asked() -> None:
    assert Gate().asks_llm(None)
    assert Gate(min_need=0.0).asks_llm(Signs(1, 1))
    assert not Gate(min_need=1.0).asks_llm(Signs(0, 0))


@pytest.mark.parametrize(
    ("text", "asked"),
    [("export the customer list of the office suite as a table", False), ("what does that cost then in all", True)],
)
def test_a_query_that_finds_its_words_costs_nothing(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, *, asked: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    server.proposes(text)
    settings = {"llm": "openai:test", "llm_base_url": server.url, "budget_ms": 20_000}
    with Querywright(home=tmp_path, **settings) as querywright:
        querywright.create_collection("help")
        texts = [
            *(f"Export the customer list of the office suite as a table, release {number}." for number in range(12)),
            *(f"Note {number} about gardens, rivers and birds." for number in range(12)),
        ]
        querywright.upsert("help", [{"doc_id": str(i), "text": each} for i, each in enumerate(texts)])
        history = [{"role": "user", "text": "we look at the office suite"}]
        answer = querywright.query(text, collection="help", history=history)
    notes = {step.rewriter: step.note for step in answer.rewrite.steps}
    assert (len(server.requests) > 0) is asked
    assert notes["llm"].startswith("not asked") is not asked
    assert answer.degraded is None
