"""The numbers for Prometheus, over a real socket: what ran is counted, no text of a query is told."""

import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from querywright import Client


def numbers(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    with urllib.request.urlopen(f"{url}/metrics") as response:
        text = response.read().decode()
    assert "苹果" not in text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def grown(url: str, before: dict[Any, float]) -> dict[Any, float]:
    return {key: value - before.get(key, 0) for key, value in numbers(url).items() if value != before.get(key, 0)}


def test_each_request_is_counted_by_what_it_did(service: Any) -> None:
    now = "2024-07-15T10:00:00+08:00"
    before = numbers(service.url)
    with Client(service.url) as client:
        answer = client.query("帮我查下上月华东的订单量", collection="demo", now=now)
        client.rewrite("苹果最新消息", collection="demo", now=now)
    more = grown(service.url, before)
    assert more["querywright_rewrites_total", (("decision", "rewrite"), ("rewriter", "catalog"))] == 1
    assert more["querywright_rewrites_total", (("decision", "clarify"), ("rewriter", "catalog"))] == 1
    made = sum(value for (name, _), value in more.items() if name == "querywright_edits_total")
    assert made == len(answer.rewrite.edits) > 0
    stages = {dict(labels)["stage"] for (name, labels) in more if name == "querywright_stage_seconds_count"}
    assert stages >= {"search_original", "rewrite", "rewrite.catalog", "search_rewrite", "fuse"}


def test_the_trace_says_which_rewriter_ran_why_and_what_it_changed(service: Any) -> None:
    with Client(service.url) as client:
        answer = client.query("它怎么收费", collection="demo", history=[{"role": "user", "text": "客户画像功能是什么"}])
    notes = {stage.stage: stage.note for stage in answer.trace}
    steps = [stage for stage in notes if stage.startswith("rewrite.")]
    assert steps[:2] == ["rewrite.catalog", "rewrite.history"]
    assert all(notes.values())
    assert sum(stage.seconds for stage in answer.trace if stage.stage.startswith("rewrite.")) > 0
    assert [step.rewriter for step in answer.rewrite.steps] == [name.removeprefix("rewrite.") for name in steps]
