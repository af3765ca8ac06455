"""What an evaluation says: results.json for programs, a Markdown table for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import orjson

from .arms import BASELINE
from .breakdown import (
    Calibration,
    Group,
    Key,
    Percentiles,
    QueryRow,
    breakdown,
    by_cell,
    calibration,
    percentiles,
    stages,
)
from .cost import HEAD as COST_HEAD
from .cost import LLMCost, llm_cost, unreported
from .cost import table as cost_table
from .experiment import Cell, DatasetResults, Results
from .headline import Headline, headline
from .measures import MAIN_MEASURE, means
from .rewriting import RewriteScores, Rewritten, Slot, edit_slots, score
from .runs import write_whole
from .significance import Comparison, compare, holm, seed_for

FORMAT = 1
"""The version of results.json."""


class VersusNone(TypedDict):
    """How an arm differs from `none` on the queries that it covers."""

    measure: str
    delta: float
    low: float
    high: float
    p: float
    p_holm: float
    p_t: float
    effect: float
    detectable: float
    urisk: float
    trisk: float
    helped: int
    hurt: int
    tied: int


class _Told(TypedDict, total=False):
    """What the queries' rows add to the result of one arm and leg."""

    breakdown: dict[str, dict[str, Group]]
    calibration: Calibration
    stages: dict[str, Percentiles]
    rewriting: RewriteScores


class LegResult(_Told):
    """One arm and leg on one data set."""

    queries: int
    changed: int
    degraded: int
    measures: dict[str, float]
    none: dict[str, float]
    vs_none: VersusNone
    ms: dict[str, Percentiles]
    llm: LLMCost


class DatasetResult(TypedDict):
    """One data set: arm → leg → result."""

    queries: int
    skipped: int
    arms: dict[str, dict[str, LegResult]]


class Report(TypedDict):
    """The object in results.json."""

    format: int
    seed: int
    datasets: dict[str, DatasetResult]


def report(
    results: Results, rows: Iterable[QueryRow] = (), slots: Mapping[str, Mapping[str, tuple[Slot, ...]]] | None = None
) -> Report:
    """Return the object of results.json; the same results and seed give the same object.

    p-values are Holm-adjusted over every comparison of the evaluation. `rows` are those of queries.jsonl: from
    them come breakdowns, calibration, the cost of each stage and the rewriting measures; `slots` are the gold edits
    by data set and query, as `rewriting.gold_slots` reads them.
    """
    found = _Queries(by_cell(rows), slots or {})
    comparisons = _comparisons(results)
    tested = [key for key in comparisons if key[1] != BASELINE]
    adjusted = dict(zip(tested, holm([comparisons[key].p for key in tested]), strict=True))
    return {
        "format": FORMAT,
        "seed": results.seed,
        "datasets": {dataset.name: _dataset(dataset, comparisons, adjusted, found) for dataset in results.datasets},
    }


def to_json(report: Report) -> bytes:
    """Return results.json."""
    return orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def markdown(report: Report) -> str:
    """Return the table: a row for each data set, arm and leg."""
    head = (
        "set",
        "arm",
        "leg",
        "queries",
        MAIN_MEASURE,
        BASELINE,
        "delta",
        "low..high",
        "p_holm",
        "helped/hurt/tied",
        "ms p50",
    )
    return _table(head, _rows(report), words=3)


def document(report: Report) -> str:
    """Return results.md: the table, then for each data set its answer, whom it helped and what it cost."""
    parts = ["# Did rewriting help?\n", markdown(report)]
    for name, dataset in report["datasets"].items():
        parts += [f"## {_plain(name)}\n", *_section(dataset)]
    return "\n".join(parts)


def write(report: Report, out: Path) -> None:
    """Write results.json and results.md into `out`."""
    write_whole(out / "results.json", to_json(report))
    write_whole(out / "results.md", document(report).encode())


def _comparisons(results: Results) -> dict[Key, Comparison]:
    return {
        key: _compare(cell, seed_for(results.seed, *key))
        for dataset in results.datasets
        for cell in dataset.cells
        for key in [(dataset.name, cell.arm, cell.leg)]
    }


def _compare(cell: Cell, seed: Sequence[int]) -> Comparison:
    ours, none = cell.values[MAIN_MEASURE], cell.none[MAIN_MEASURE]
    return compare([ours[query] - none[query] for query in cell.queries], cell.conversations, seed)


def _dataset(
    dataset: DatasetResults,
    comparisons: Mapping[Key, Comparison],
    adjusted: Mapping[Key, float],
    queries: _Queries,
) -> DatasetResult:
    arms: dict[str, dict[str, LegResult]] = {}
    for cell in dataset.cells:
        key = dataset.name, cell.arm, cell.leg
        legs = arms.setdefault(cell.arm, {})
        legs[cell.leg] = {**_leg(cell, comparisons[key], adjusted.get(key, 1.0)), **queries.told(key)}
    return {"queries": dataset.queries, "skipped": dataset.skipped, "arms": arms}


def _leg(cell: Cell, comparison: Comparison, p_holm: float) -> LegResult:
    return {
        "queries": len(cell.queries),
        "changed": cell.changed,
        "degraded": cell.degraded,
        "measures": means(cell.values),
        "none": means(cell.none),
        "vs_none": {
            "measure": MAIN_MEASURE,
            "delta": comparison.delta,
            "low": comparison.low,
            "high": comparison.high,
            "p": comparison.p,
            "p_holm": p_holm,
            "p_t": comparison.p_t,
            "effect": comparison.effect,
            "detectable": comparison.detectable,
            "urisk": comparison.urisk,
            "trisk": comparison.trisk,
            "helped": comparison.helped,
            "hurt": comparison.hurt,
            "tied": comparison.tied,
        },
        "ms": {"rewrite": _percentiles(cell.rewrite_seconds), "search": _percentiles(cell.search_seconds)},
        "llm": llm_cost([outcome.rewrite.usage for outcome in cell.outcomes]),
    }


class _Queries:
    """The queries' rows by cell, and what they tell."""

    def __init__(
        self, cells: Mapping[Key, Sequence[QueryRow]], slots: Mapping[str, Mapping[str, tuple[Slot, ...]]]
    ) -> None:
        self._cells = cells
        self._slots = slots
        self._scores: dict[tuple[str, str], RewriteScores] = {}

    def told(self, key: Key) -> _Told:
        """Return what the rows of a cell add to its result."""
        rows = self._cells.get(key)
        if not rows:
            return {}
        found: _Told = {"breakdown": breakdown(rows), "calibration": calibration(rows), "stages": stages(rows)}
        if any(row["gold"] for row in rows):
            # An arm rewrites a query once for all legs.
            arm = key[:2]
            if arm not in self._scores:
                self._scores[arm] = score(self._rewritten(rows))
            found["rewriting"] = self._scores[arm]
        return found

    def _rewritten(self, rows: Iterable[QueryRow]) -> Iterable[Rewritten]:
        for row in rows:
            if row["gold"]:
                slots = self._slots.get(row["dataset"], {}).get(row["id"])
                edits = edit_slots(row["edits"])
                yield Rewritten(row["original"], row["rewrite"], row["gold"], edits, slots)


def _percentiles(seconds: Sequence[float]) -> Percentiles:
    return percentiles([1000 * one for one in seconds])


def _rows(report: Report) -> Iterable[tuple[str, ...]]:
    for name, dataset in report["datasets"].items():
        for arm, legs in dataset["arms"].items():
            for leg, result in legs.items():
                yield (_plain(name), _plain(arm), leg, *_figures(result, compared=arm != BASELINE))


def _section(dataset: DatasetResult) -> Iterable[str]:
    top = headline(dataset)
    if top is not None:
        yield f"**{top.verdict}.** {_plain(top.sentence)}\n"
        yield from _whom(top)
        yield from _closeness(dataset)
    cost = list(_costs(dataset, (BASELINE, *(() if top is None else (top.arm,)))))
    if cost:
        yield "What it cost, in milliseconds a query:\n"
        yield _table(("arm", "leg", "stage", "p50", "p95", "p99"), cost, words=3)
    yield from _llm_costs(dataset)


def llm_costs(dataset: DatasetResult) -> dict[str, LLMCost]:
    """Return what LLMs cost each arm: it rewrites a query once for all legs."""
    return {arm: next(iter(legs.values()))["llm"] for arm, legs in dataset["arms"].items()}


def _llm_costs(dataset: DatasetResult) -> Iterable[str]:
    costs = llm_costs(dataset)
    rows = cost_table(costs, {arm: next(iter(legs.values()))["queries"] for arm, legs in dataset["arms"].items()})
    if rows:
        yield "What it cost in calls of LLMs and their tokens:\n"
        yield _table(COST_HEAD, [(_plain(arm), *figures) for arm, *figures in rows], words=1)
    if note := unreported(costs.values()):
        yield f"{note}\n"


def _whom(top: Headline) -> Iterable[str]:
    found = top.result.get("breakdown")
    if found:
        yield f"Whom {_plain(top.arm)} on {top.leg} helped:\n"
        head = ("by", "kind", "queries", MAIN_MEASURE, BASELINE, "delta", "low..high", "helped/hurt/tied")
        rows = (
            (split, _plain(kind), *_group(group)) for split, groups in found.items() for kind, group in groups.items()
        )
        yield _table(head, rows, words=2)
    held = top.result.get("calibration")
    if held is not None and held["queries"]:
        helped, unhurt = (held["ece"][name] or 0.0 for name in ("helped", "not_hurt"))
        yield (
            f"The confidence of the {held['queries']} changed queries against what came of them "
            f"(calibration error {unhurt:.3f} for not hurt, {helped:.3f} for helped):\n"
        )
        yield _table(("confidence", "queries", "mean", "not hurt", "helped"), _buckets(held), words=1)


def _closeness(dataset: DatasetResult) -> Iterable[str]:
    """Yield how close each arm's rewrites are to the gold ones."""
    scores = {arm: next(iter(legs.values())).get("rewriting") for arm, legs in dataset["arms"].items()}
    rows = [(_plain(arm), *closeness(found)) for arm, found in scores.items() if found is not None]
    if rows:
        yield "How close rewrites are to the gold ones:\n"
        yield _table(("arm", "queries", "exact", "BLEU", "ROUGE-L", "restored F1", "slot F1"), rows, words=1)


def closeness(found: RewriteScores) -> tuple[str, ...]:
    """Return queries, exact match, BLEU, ROUGE-L, F1 of restored terms and of slots, as they are printed."""
    # Arms such as gold say no slots: that is no failure to fill them.
    slots = f"{found['slots']['f1']:.3f}" if found["slots"] and found["slots"]["f1"] else ""
    figures = (found["exact_match"], found["bleu"], found["rouge_l"], found["restored"]["f1"])
    return (str(found["queries"]), *(f"{figure:.3f}" for figure in figures), slots)


def _group(group: Group) -> tuple[str, ...]:
    return (
        str(group["queries"]),
        f"{group['mean']:.3f}",
        f"{group['none']:.3f}",
        f"{group['delta']:+.3f}",
        f"{group['low']:+.3f}..{group['high']:+.3f}",
        f"{group['helped']}/{group['hurt']}/{group['tied']}",
    )


def _buckets(held: Calibration) -> Iterable[tuple[str, ...]]:
    for bucket in held["buckets"]:
        shares = (f"{bucket[name]:.3f}" for name in ("confidence", "not_hurt", "helped"))
        yield (f"{bucket['low']:.1f}-{bucket['high']:.1f}", str(bucket["queries"]), *shares)


def _costs(dataset: DatasetResult, arms: Iterable[str]) -> Iterable[tuple[str, ...]]:
    for arm in arms:
        for leg, result in dataset["arms"].get(arm, {}).items():
            for stage, cost in result.get("stages", {}).items():
                yield (_plain(arm), leg, _plain(stage), *(f"{cost[name]:.1f}" for name in ("p50", "p95", "p99")))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int) -> str:
    """Return a Markdown table; all but the first `words` columns are figures."""
    lines = [head, ["---" if place < words else "---:" for place in range(len(head))], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _figures(result: LegResult, *, compared: bool) -> tuple[str, ...]:
    versus = result["vs_none"]
    ours = f"{result['measures'][MAIN_MEASURE]:.3f}"
    none = f"{result['none'][MAIN_MEASURE]:.3f}"
    time = f"{result['ms']['rewrite']['p50'] + result['ms']['search']['p50']:.1f}"
    if not compared:
        return (str(result["queries"]), ours, none, "", "", "", "", time)
    return (
        str(result["queries"]),
        ours,
        none,
        f"{versus['delta']:+.3f}",
        f"{versus['low']:+.3f}..{versus['high']:+.3f}",
        "<.001" if versus["p_holm"] < 0.001 else f"{versus['p_holm']:.3f}",
        f"{versus['helped']}/{versus['hurt']}/{versus['tied']}",
        time,
    )


def _plain(text: str) -> str:
    """Return `text` with what would end a cell of the table escaped."""
    return re.sub(r"([|\\])", r"\\\1", text)
