"""What came of one query in one arm and leg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..rewrite.query import Rewrite
from ..service.answer import Answer
from .runs import Ranking, ranking

Stages = tuple[tuple[str, float], ...]
"""The stages of an answer in their order, with their seconds."""

_NO_LEG = "no_leg_reads_query"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one search of one query brought: the ranked documents and where the time went.

    `rewrite.seconds` is what making the rewrite took; the stage `rewrite` is what looking it up took, which is
    next to nothing, since an evaluation makes all rewrites of an arm before it searches.
    """

    documents: Ranking
    rewrite: Rewrite
    stages: Stages
    search_seconds: float
    degraded: str | None

    @classmethod
    def of(cls, answer: Answer, rewrite: Rewrite, spared: Sequence[float] = ()) -> Outcome:
        """Return what `answer` says, with `rewrite` as what the arm made of the query.

        `spared` are seconds to add to the searching stages, in their order (see `remembered`).
        """
        stages = _with(tuple((stage.stage, stage.seconds) for stage in answer.trace), spared)
        documents = ranking((hit.doc_id, hit.score) for hit in answer.hits)
        return cls(documents, rewrite, stages, search_seconds(stages), answer.degraded)

    @classmethod
    def found(cls, documents: Ranking, rewrite: Rewrite) -> Outcome:
        """Return what a search elsewhere found; how long it took nobody knows."""
        return cls(ranking(documents.items()), rewrite, (), 0.0, None)

    @classmethod
    def from_row(cls, row: Mapping[str, Any], rewrite: Rewrite) -> Outcome:
        """Read back what `row` wrote; raise KeyError, TypeError or ValueError for anything else."""
        documents = dict(zip(map(str, row["documents"]), map(float, row["scores"]), strict=True))
        stages = tuple((str(stage), float(seconds)) for stage, seconds in row["stages"])
        degraded = row["degraded"]
        return cls(documents, rewrite, stages, search_seconds(stages), None if degraded is None else str(degraded))

    def row(self) -> dict[str, object]:
        """Return the outcome without its rewrite, as it is kept on disk."""
        return {
            "documents": list(self.documents),
            "scores": list(self.documents.values()),
            "stages": self.stages,
            "degraded": self.degraded,
        }

    @property
    def lasting(self) -> bool:
        """Say whether the same search would bring the same again: nothing failed that may work tomorrow."""
        return self.degraded in (None, _NO_LEG, self.rewrite.degraded)


def search_seconds(stages: Stages) -> float:
    """Return the time of the stages other than rewriting and what the rewriters spent in it."""
    return sum(seconds for stage, seconds in stages if stage.partition(".")[0] != "rewrite")


def _with(stages: Stages, spared: Sequence[float]) -> Stages:
    """Add `spared` to the searching stages; where they do not match one to one, all to the last."""
    searching = [name for name, _ in stages if name.startswith("search_")]
    if not searching or not spared:
        return stages
    if len(spared) != len(searching):
        spared = [*[0.0] * (len(searching) - 1), sum(spared)]
    extra = dict(zip(searching, spared, strict=True))
    return tuple((name, seconds + extra.get(name, 0.0)) for name, seconds in stages)
