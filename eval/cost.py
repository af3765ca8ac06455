"""What asking LLMs cost an arm: calls and tokens, in all and a query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from ..rewrite.query import Usage

HEAD = ("arm", "queries", "asked for", "calls", "a query", "tokens read", "a query", "tokens written", "a query")
"""The columns of `table`."""


class PerQuery(TypedDict):
    """Means over all queries of an arm, also those that no LLM was asked for."""

    calls: float
    input_tokens: float | None
    output_tokens: float | None


class LLMCost(TypedDict):
    """Calls and tokens of an arm. Tokens are those that servers told: `unreported` counts the queries without.

    They are null, which is not 0, where LLMs were asked and no server told any.
    """

    asked: int
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    unreported: int
    per_query: PerQuery


def llm_cost(usages: Sequence[Usage | None]) -> LLMCost:
    """Return what an arm cost whose queries cost `usages`; None is a query that no LLM was asked for."""
    asked = [usage for usage in usages if usage is not None]
    told = [usage for usage in asked if usage.input_tokens is not None and usage.output_tokens is not None]
    known = bool(told) or not asked
    read = sum(usage.input_tokens or 0 for usage in told) if known else None
    written = sum(usage.output_tokens or 0 for usage in told) if known else None
    calls = sum(usage.calls for usage in asked)
    # Of a query whose tokens nobody told, nothing is known: it is no query that cost none.
    measured = len(usages) - (len(asked) - len(told))
    return {
        "asked": len(asked),
        "calls": calls,
        "input_tokens": read,
        "output_tokens": written,
        "unreported": len(asked) - len(told),
        "per_query": {
            "calls": calls / len(usages) if usages else 0.0,
            "input_tokens": _share(read, measured),
            "output_tokens": _share(written, measured),
        },
    }


def table(costs: Mapping[str, LLMCost], queries: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Return the rows of `HEAD` for the arms that asked an LLM; `queries` are how many each covers."""
    return [(arm, str(queries[arm]), *_figures(cost)) for arm, cost in costs.items() if cost["calls"]]


def unreported(costs: Iterable[LLMCost]) -> str:
    """Return what is to be said of tokens that nobody told; nothing where all are known."""
    count = sum(cost["unreported"] for cost in costs)
    if not count:
        return ""
    whose = "1 query that asked" if count == 1 else f"{count} queries that asked"
    return f"Tokens leave out {whose} an LLM and were not told how many: the server does not say, or the call failed."


def _share(total: int | None, queries: int) -> float | None:
    if total is None:
        return None
    return total / queries if queries else 0.0


def _figures(cost: LLMCost) -> tuple[str, ...]:
    each = cost["per_query"]
    return (
        str(cost["asked"]),
        str(cost["calls"]),
        f"{each['calls']:.2f}",
        *_tokens(cost["input_tokens"], each["input_tokens"]),
        *_tokens(cost["output_tokens"], each["output_tokens"]),
    )


def _tokens(total: int | None, each: float | None) -> tuple[str, str]:
    return ("unknown", "unknown") if total is None or each is None else (str(total), f"{each:.1f}")
