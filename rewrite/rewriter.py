"""The rewriter protocol, and the chain that runs rewriters in order inside a time budget."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Protocol

from .. import QuerywrightError
from .catalog import Catalog
from .connecting import CONNECTING, CONNECTING_ZH
from .deadline import within
from .gate import Gate, Signs
from .grounding import ground, lost
from .language import fold
from .naming import named
from .query import Decision, DroppedEdit, Query, Rewrite, Step, Usage, apply_edits

SURE = 0.7
"""From this confidence on, asking a further rewriter is not worth its time."""

NOT_ASKED = "not asked"
"""How the note of a step begins whose rewriter was left out."""

_EMPTY = CONNECTING | CONNECTING_ZH | {""}

LLM = "llm"
"""The name of the rewriter that costs money, and that the gate holds back."""

_log = logging.getLogger(__name__)


def surest(rewrites: Iterable[Rewrite]) -> Rewrite | None:
    """Return the most confident of `rewrites`, the earlier of equals; nothing is read past one that is `SURE`."""
    best: Rewrite | None = None
    for rewrite in rewrites:
        if best is None or rewrite.confidence > best.confidence:
            best = rewrite
        if (best.alternatives and best.clarification is None) or best.confidence >= SURE:
            break
    return best


class Meter:
    """Counts what asking LLMs costs for one query.

    A call counts once it is made, whatever comes of it: one that fails, or that nobody waits for any longer, costs
    all the same. So another thread may read the meter while the calls are under way.
    """

    def __init__(self) -> None:
        self._calls: list[Usage] = []

    @property
    def usage(self) -> Usage | None:
        """What was spent so far; None where no LLM was asked."""
        calls = tuple(self._calls)
        return reduce(add, calls) if calls else None

    def call(self) -> None:
        """Count a call, of tokens that are not known yet."""
        self._calls.append(Usage(1))

    def tokens(self, read: int, written: int) -> None:
        """Say how many tokens the last call read and wrote."""
        self._calls[-1] = Usage(1, read, written)


_METER: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered(meter: Meter | None = None) -> Iterator[Meter]:
    """Count by `meter` the LLMs that are asked inside; without one, by what counts around already, or by a new one."""
    counting = meter or _METER.get() or Meter()
    token = _METER.set(counting)
    try:
        yield counting
    finally:
        _METER.reset(token)


class Rewriter(Protocol):
    """Turns a query into a rewrite. Stateless: the conversation comes with the query, never from before."""

    @property
    def name(self) -> str:
        """The name that settings, reports and the `rewriter` field use."""
        ...

    def rewrite(self, query: Query) -> Rewrite:
        """Return the rewrite of `query`; unchanged (`Decision.KEEP`) where there is nothing to add.

        An LLM that is asked is counted by the meter around it (see `metered`).
        """
        ...


class Keep:
    """The rewriter `none`: leaves every query as it is typed."""

    name = "none"

    def rewrite(self, query: Query) -> Rewrite:
        """Return `query` unchanged."""
        return Rewrite.keep(query, self.name)


def reason_of(error: Exception) -> str | None:
    """Return what an error of ours wants a rewrite to be marked with; one of others may hold anything."""
    return getattr(error, "reason", None) if isinstance(error, QuerywrightError) else None


@dataclass(slots=True)
class _Run:
    """What a chain notes while it works on one query."""

    begun: float
    truncated: bool
    failures: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    dropped: list[DroppedEdit] = field(default_factory=list)

    def note(self, rewriter: str, note: str, begun: float | None = None) -> None:
        """Add a step that began at `begun` and ends now; without it, one that took no time."""
        now = time.perf_counter()
        begun = now if begun is None else begun
        self.steps.append(Step(rewriter, now - begun, note, begun - self.begun))


class Chain:
    """Run rewriters in order, the cheap ones first; the surest grounded rewrite wins.

    Once a rewrite is `SURE`, no further rewriter is asked. A rewriter that fails is skipped and named in
    `degraded`, so that a search never stops at it. Past `budget_seconds` no further rewriter starts. A question back
    wins like a rewrite, by its confidence. LLMs that were asked cost what they cost, whoever wins and whatever fails:
    the rewrite's `usage` holds them all. `steps` tells of each rewriter what it brought. `signs` waits for the first
    search and returns what it says: an LLM is only asked where the gate finds a need.
    """

    def __init__(
        self,
        rewriters: Sequence[Rewriter],
        *,
        name: str = "auto",
        catalog: Catalog | None = None,
        gate: Gate | None = None,
        budget_seconds: float = 2.0,
        signs: Callable[[], Signs | None] | None = None,
    ) -> None:
        self.name = name
        self._rewriters = tuple(rewriters)
        self._catalog = catalog
        self._gate = gate or Gate()
        self._budget = budget_seconds
        self._signs = signs

    def rewrite(self, query: Query) -> Rewrite:
        """Return the surest acceptable rewrite, or the query unchanged."""
        run = _Run(time.perf_counter(), query.truncated)
        with metered() as meter, within(self._budget):
            result = self._best(query, run) if self._opens(query) else Rewrite.keep(query)
        return replace(
            result,
            truncated=run.truncated,
            seconds=time.perf_counter() - run.begun,
            usage=meter.usage,
            dropped=tuple(run.dropped),
            steps=tuple(run.steps),
        )

    def _opens(self, query: Query) -> bool:
        return self._gate.opens(query, has_catalog=self._catalog is not None)

    def _best(self, query: Query, run: _Run) -> Rewrite:
        best = surest(self._acceptable_ones(query, run)) or Rewrite.keep(query)
        return replace(best, degraded=run.failures[0] if run.failures else best.degraded)

    def _acceptable_ones(self, query: Query, run: _Run) -> Iterator[Rewrite]:
        """Ask one rewriter after the other; what fails is named in the run's failures."""
        for rewriter in self._rewriters:
            if time.perf_counter() - run.begun > self._budget:
                run.failures.append("rewrite_timeout")
                run.note(rewriter.name, f"{NOT_ASKED}: no time left")
                return
            if rewriter.name == LLM and self._signs and not self._gate.asks_llm(self._signs()):
                run.note(rewriter.name, f"{NOT_ASKED}: what was typed finds what it says")
                continue
            begun = time.perf_counter()  # of this rewriter, after what it may have waited for
            try:
                result = rewriter.rewrite(query)
                run.truncated |= result.truncated
                taken, note = self._judged(query, result, run)
            except Exception as error:  # noqa: BLE001 # whatever fails only degrades, visibly
                _log.warning("rewriter %s failed: %s", rewriter.name, type(error).__name__)
                reason = reason_of(error) or f"{rewriter.name}_failed"
                run.failures.append(reason)
                taken, note = None, f"failed: {reason}"
            run.note(rewriter.name, note, begun)
            if taken:
                yield taken

    def _judged(self, query: Query, result: Rewrite, run: _Run) -> tuple[Rewrite | None, str]:
        """Return what of a rewrite is taken, None for nothing, and a note that says so."""
        run.dropped += result.dropped
        if result.decision is Decision.KEEP:
            return None, "nothing to add"
        if self._catalog and result.edits:
            edits = named(query, result.edits, self._catalog)
            result = replace(result, edits=edits, rewrite=apply_edits(query.query, edits))
        kept, dropped = ground(query, result.edits, self._catalog)
        run.dropped += dropped
        if dropped:
            result = replace(result, edits=kept, rewrite=apply_edits(query.query, kept))
        note = f"{result.decision} {result.confidence:.2f}" + (f", {len(dropped)} edits dropped" if dropped else "")
        problem = self._problem(query, result, had_edits=bool(dropped))
        return (None, f"{note}: {problem}") if problem else (result, note)

    def _problem(self, query: Query, result: Rewrite, *, had_edits: bool) -> str | None:
        """Return why a rewrite is not taken, None if it is."""
        if had_edits and result.rewrite == query.query:
            return "nothing is left"
        if result.edits and all(fold(edit.replacement).strip() in _EMPTY for edit in result.edits):
            return "it brings nothing"
        if not self._gate.accepts(result):
            return "not sure enough"
        if missing := lost(query, result.edits, self._catalog):
            return f"would lose {len(missing)} that must stay"
        if apply_edits(query.query, result.edits) != result.rewrite:
            return "not what its edits make of the query"
        return None
