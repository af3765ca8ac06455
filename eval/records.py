"""What an evaluation keeps of every query: queries.jsonl, and the judgments it was measured with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from ..rewrite.query import Role
from .cost import UNTOLD
from .dataset import JudgedQuery
from .experiment import Cell, Results
from .outcome import Outcome
from .qrels import Qrels
from .runs import file_name, write_whole


def write_queries(results: Results, out: Path) -> None:
    """Write OUT/queries.jsonl, a row for each data set, arm, leg and query, and the judgments used, OUT/qrels/."""
    write_whole(out / "queries.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in query_rows(results)))
    for dataset in results.datasets:
        write_qrels(out / "qrels" / f"{file_name(dataset.name)}.tsv", dataset.qrels)


def query_rows(results: Results) -> Iterator[dict[str, object]]:
    """Yield the rows of queries.jsonl, in the order of data sets, arms, legs and queries."""
    for dataset in results.datasets:
        for cell in dataset.cells:
            for judged, outcome in zip(cell.judged, cell.outcomes, strict=True):
                yield _row(dataset.name, cell, judged, outcome)


def write_qrels(path: Path, qrels: Qrels) -> None:
    """Write judgments as BEIR has them, whole or not at all."""
    rows = ((query, document, grade) for query, grades in qrels.items() for document, grade in grades.items())
    lines = (f"{query}\t{document}\t{grade}\n" for query, document, grade in rows)
    write_whole(path, "".join(("query-id\tcorpus-id\tscore\n", *lines)).encode())


def _row(dataset: str, cell: Cell, judged: JudgedQuery, outcome: Outcome) -> dict[str, object]:
    rewrite = outcome.rewrite
    row: dict[str, object] = {
        "dataset": dataset,
        "id": judged.id,
        "arm": cell.arm,
        "leg": cell.leg,
        "conversation": judged.conversation,
        "turn": sum(turn.role is Role.USER for turn in judged.query.history),
        "labels": {key: value for key, value in judged.labels.items() if not isinstance(value, tuple)},
        "decision": rewrite.decision,
        "confidence": rewrite.confidence,
        "rewriter": rewrite.rewriter,
        "degraded": outcome.degraded,
        "original": judged.query.query,
        "rewrite": rewrite.rewrite,
        "gold": judged.gold,
        "edits": rewrite.edits,
        "values": {name: values[judged.id] for name, values in cell.values.items()},
        "none": {name: values[judged.id] for name, values in cell.none.items()},
        "stages": _milliseconds(dict(outcome.stages)),
        "ms": _milliseconds({"rewrite": rewrite.seconds, "search": outcome.search_seconds}),
    }
    return row if rewrite.usage == UNTOLD else {**row, "usage": rewrite.usage}


def _milliseconds(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value * 1000, 3) for name, value in seconds.items()}
