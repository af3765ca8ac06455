"""What asking LLMs cost an arm: calls and tokens, in all and a query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from ..rewrite.query import Usage

UNTOLD = Usage(0)
"""What a rewrite cost that was made elsewhere and does not say: an LLM may have been asked, or none."""

HEAD = ("arm", "queries", "asked for", "calls", "a query", "tokens read", "a query", "tokens written", "a query")
"""The columns of `table`."""

_UNKNOWN = "unknown"


class PerQuery(TypedDict):
    """Means over all queries of an arm whose cost is known, also those that no LLM was asked for."""

    calls: float | None
    input_tokens: float | None
    output_tokens: float | None


class LLMCost(TypedDict):
    """Calls and tokens of an arm. Tokens are those that servers told: `unreported` counts the queries without.

    They are null, which is not 0, where LLMs were asked and no server told any. `unknown` counts the queries of which
    nobody knows whether an LLM was asked; all else leaves them out, and is null where there are no others.
    """

    asked: int | None
    calls: int | None
    input_tokens: int | None
    output_tokens: int | None
    unreported: int
    unknown: int
    per_query: PerQuery


def llm_cost(usages: Sequence[Usage | None]) -> LLMCost:
    """Return what an arm cost whose queries cost `usages`; None is a query that no LLM was asked for."""
    known = [usage for usage in usages if usage != UNTOLD]
    unknown = len(usages) - len(known)
    if unknown and not known:
        nothing: PerQuery = {"calls": None, "input_tokens": None, "output_tokens": None}
        return {
            "asked": None,
            "calls": None,
            "input_tokens": None,
            "output_tokens": None,
            "unreported": 0,
            "unknown": unknown,
            "per_query": nothing,
        }
    asked = [usage for usage in known if usage is not None]
    told = [usage for usage in asked if usage.input_tokens is not None and usage.output_tokens is not None]
    any_told = bool(told) or not asked
    read = sum(usage.input_tokens or 0 for usage in told) if any_told else None
    written = sum(usage.output_tokens or 0 for usage in told) if any_told else None
    calls = sum(usage.calls for usage in asked)
    # Of a query whose tokens nobody told, nothing is known: it is no query that cost none.
    measured = len(known) - (len(asked) - len(told))
    return {
        "asked": len(asked),
        "calls": calls,
        "input_tokens": read,
        "output_tokens": written,
        "unreported": len(asked) - len(told),
        "unknown": unknown,
        "per_query": {
            "calls": _share(calls, len(known)),
            "input_tokens": _share(read, measured),
            "output_tokens": _share(written, measured),
        },
    }


def table(costs: Mapping[str, LLMCost], queries: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Return the rows of `HEAD` for the arms that asked an LLM, or may have; `queries` are how many each covers."""
    shown = {arm: cost for arm, cost in costs.items() if cost["calls"] or cost["unknown"]}
    return [(arm, str(queries[arm]), *_figures(cost)) for arm, cost in shown.items()]


def unreported(costs: Iterable[LLMCost]) -> str:
    """Return what is to be said of calls and tokens that nobody told; nothing where all are known."""
    costs = list(costs)
    notes = []
    if count := sum(cost["unreported"] for cost in costs):
        whose = "1 query that asked" if count == 1 else f"{count} queries that asked"
        why = "the server does not say, or the call failed"
        notes.append(f"Tokens leave out {whose} an LLM and were not told how many: {why}.")
    if count := sum(cost["unknown"] for cost in costs):
        whose = "1 query" if count == 1 else f"{count} queries"
        notes.append(f"Calls and tokens leave out {whose} rewritten elsewhere: nothing says what that cost.")
    return " ".join(notes)


def _share(total: int | None, queries: int) -> float | None:
    if total is None:
        return None
    return total / queries if queries else 0.0


def _figures(cost: LLMCost) -> tuple[str, ...]:
    each = cost["per_query"]
    return (
        _UNKNOWN if cost["asked"] is None else str(cost["asked"]),
        *_pair(cost["calls"], each["calls"], 2),
        *_pair(cost["input_tokens"], each["input_tokens"], 1),
        *_pair(cost["output_tokens"], each["output_tokens"], 1),
    )


def _pair(total: int | None, each: float | None, digits: int) -> tuple[str, str]:
    return (_UNKNOWN, _UNKNOWN) if total is None or each is None else (str(total), f"{each:.{digits}f}")
