"""Retrieval measures, computed by ir_measures: one value a query, and means over all of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import ir_measures

from .. import InputError
from .qrels import Qrels
from .runs import Run

MEASURES = ("nDCG@5", "nDCG@10", "R@5", "R@10", "R@100", "RR@10")
"""The measures of every report."""

MAIN_MEASURE = "nDCG@5"
"""The measure whose differences are tested."""

Values = Mapping[str, Mapping[str, float]]
"""Measure → query id → value."""


def all_measures(further: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the measures of every report and `further` ones, by ir_measures' names, each once.

    Raises InputError for a name that ir_measures does not know, or that needs what is not installed.

    >>> all_measures(["P@10", "P(rel=2)@5"])[-2:]
    ('P@10', 'P(rel=2)@5')
    """
    names = dict.fromkeys(MEASURES)
    for name in further:
        names[checked_measure(name)] = None
    return tuple(names)


def checked_measure(name: str) -> str:
    """Return `name` as ir_measures writes it, once it has measured something.

    Raises InputError for a name that ir_measures does not know, or that needs what is not installed.
    """
    name = name.strip()
    try:
        measure = ir_measures.parse_measure(name)
        ir_measures.evaluator([measure], {"q": {"d": 1}}).calc_aggregate({"q": {"d": 1.0}})
    except Exception as error:  # whatever a provider raises: the name is of no use here
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"measure {name[:40]!r}: expected one that ir_measures can compute here: {reason}") from error
    return str(measure)


class Judge:
    """Judgments made ready to measure run after run."""

    def __init__(self, qrels: Qrels, measures: Sequence[str] = MEASURES) -> None:
        self._measures = {str(ir_measures.parse_measure(name)): name for name in measures}
        self._evaluator = ir_measures.evaluator(
            [ir_measures.parse_measure(name) for name in measures],
            {query_id: dict(grades) for query_id, grades in qrels.items()},
        )
        self._query_ids = tuple(qrels)

    def values(self, run: Run, queries: Collection[str] | None = None) -> dict[str, dict[str, float]]:
        """Return each measure's value for every judged query, or for `queries` among them.

        A query that is missing from the run, or found nothing, scores 0. The scores of a run must differ
        in float32 (see `runs.decreasing`): ties would be broken by document id.
        """
        wanted = self._query_ids if queries is None else tuple(queries)
        values = {name: dict.fromkeys(wanted, 0.0) for name in self._measures.values()}
        found = {query_id: dict(run[query_id]) for query_id in wanted if run.get(query_id)}
        for metric in self._evaluator.iter_calc(found) if found else ():
            if metric.query_id in found:
                values[self._measures[str(metric.measure)]][metric.query_id] = float(metric.value)
        return values


def per_query(qrels: Qrels, run: Run, measures: Sequence[str] = MEASURES) -> dict[str, dict[str, float]]:
    """Return each measure's value for every query of `qrels`; see `Judge.values`."""
    return Judge(qrels, measures).values(run)


def means(values: Values) -> dict[str, float]:
    """Return each measure's mean over its queries; the sum is exact, so that the order cannot matter."""
    return {name: mean(tuple(of.values())) for name, of in values.items()}


def mean(values: Sequence[float]) -> float:
    """Return the mean of `values`, 0 when there are none."""
    return math.fsum(values) / len(values) if values else 0.0
