"""Arms × legs × data sets: searches every query and measures what came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from ..rewrite.query import Rewrite
from .arms import BASELINE, Arm, Rewrites, unchanged
from .bench import Bench
from .cost import UNTOLD
from .dataset import Dataset, JudgedQuery
from .measures import MEASURES, Judge, Values
from .outcome import Outcome
from .qrels import Qrels
from .runs import file_name, run_path, write_run, write_whole
from .searches import Searches


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm and leg on one data set; everything is in the order of `queries`.

    `values` and `none` hold the measures of the arm and of `none` on the same queries. `changed` counts
    the queries whose text the arm changed, `degraded` those where the service had to do with less.
    """

    arm: str
    leg: str
    queries: tuple[str, ...]
    conversations: tuple[str, ...]
    values: Values
    none: Values
    rewrite_seconds: tuple[float, ...]
    search_seconds: tuple[float, ...]
    changed: int
    degraded: int
    judged: tuple[JudgedQuery, ...] = ()
    outcomes: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class DatasetResults:
    """What came of one data set."""

    name: str
    queries: int
    skipped: int
    cells: tuple[Cell, ...]
    qrels: Qrels = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """What came of an evaluation."""

    seed: int
    datasets: tuple[DatasetResults, ...]


def evaluate(
    datasets: Sequence[Dataset],
    arms: Sequence[Arm],
    legs: Sequence[str],
    bench: Bench,
    seed: int = 0,
    measures: Sequence[str] = MEASURES,
) -> Results:
    """Search every query of `datasets` by every arm and leg; write runs and rewrites under `bench.out`.

    `arms` begins with `none` (see `arms.parse_arms`), which every arm is compared with. An arm that
    covers no query of a data set has no cell there.
    """
    return Results(seed, tuple(_Experiment(dataset, bench, measures).results(arms, legs) for dataset in datasets))


class _Experiment:
    """The searches on one data set, judged."""

    def __init__(self, dataset: Dataset, bench: Bench, measures: Sequence[str]) -> None:
        self._dataset = dataset
        self._bench = bench
        self._judge = Judge(dataset.qrels, measures)
        self._searches = Searches(dataset, bench)

    def results(self, arms: Sequence[Arm], legs: Sequence[str]) -> DatasetResults:
        """Return a cell for each arm and leg; each arm rewrites a query once."""
        cells: list[Cell] = []
        none: Values = {}
        for arm, leg, found in self._searches.all(arms, legs):
            values = self._measured(arm.name, leg, found)
            none = values if arm.name == BASELINE else none
            cells.append(self._cell(arm.name, leg, found, values, none))
        for arm in arms:
            self._write_rewrites(arm.name, self._searches.rewrites(arm))
        # Searched leg by leg, told arm by arm.
        places = {arm.name: place for place, arm in enumerate(arms)}
        cells.sort(key=lambda cell: places[cell.arm])
        dataset = self._dataset
        return DatasetResults(
            dataset.name, len(dataset.queries), dataset.skipped, tuple(cells), dataset.qrels, dataset.folder
        )

    def _measured(self, arm: str, leg: str, found: Mapping[str, Outcome]) -> Values:
        run = {query_id: one.documents for query_id, one in found.items()}
        if self._bench.out is not None:
            write_run(run_path(self._bench.out, self._dataset.name, arm, leg), run, f"{arm}.{leg}")
        return self._judge.values(run, tuple(found))

    def _cell(self, arm: str, leg: str, found: Mapping[str, Outcome], measured: Values, none: Values) -> Cell:
        judged = tuple(judged for judged in self._dataset.queries if judged.id in found)
        return Cell(
            arm=arm,
            leg=leg,
            queries=tuple(found),
            conversations=tuple(one.conversation for one in judged),
            values=measured,
            none={name: {query_id: of[query_id] for query_id in found} for name, of in none.items()},
            rewrite_seconds=tuple(one.rewrite.seconds for one in found.values()),
            search_seconds=tuple(one.search_seconds for one in found.values()),
            changed=sum(not unchanged(one.rewrite) for one in found.values()),
            degraded=sum(one.degraded is not None for one in found.values()),
            judged=judged,
            outcomes=tuple(found.values()),
        )

    def _write_rewrites(self, arm: str, rewrites: Rewrites) -> None:
        """Keep what each arm made of the queries: rows that `replay:FILE` reads."""
        if not rewrites or self._bench.out is None:
            return
        path = self._bench.out / "rewrites" / file_name(self._dataset.name) / file_name(f"{arm}.jsonl")
        write_whole(path, b"".join(_line(rewrite) for rewrite in rewrites.values()))


def _line(rewrite: Rewrite) -> bytes:
    """Return the row of `rewrite`, without its cost where nobody told: null would say that no LLM was asked."""
    if rewrite.usage != UNTOLD:
        return orjson.dumps(rewrite) + b"\n"
    return orjson.dumps({name: value for name, value in asdict(rewrite).items() if name != "usage"}) + b"\n"
