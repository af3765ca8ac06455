"""Keep, rewrite or ask? The gate looks before the rewriters do, once more at what they bring, and at what was found.

Whether a rewrite would help shows best in what the query finds as it is: where the best hits hold the words that were
typed, and words and vectors agree on them, there is little to gain and something to lose. So an LLM, which costs
money and a second, is only asked where they do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .query import Query, Rewrite


@dataclass(frozen=True, slots=True)
class Signs:
    """What the first search says of a query, each from 0 to 1.

    `coverage` is the share of the query's terms that one of the five best dense hits holds, on average; `agreement`
    the share of the ten best that the lexical and the dense leg have in common.
    """

    coverage: float
    agreement: float


_INTERCEPT, _COVERAGE, _AGREEMENT = -0.381, -1.235, -1.894
"""Learnt by tests/eval/learn_gate.py; `Gate.min_need` is where it asks for half of the queries."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Let rewriters look only where there is something to fill in from, and take only what is sure enough.

    `min_confidence` is the least confidence that a rewrite needs to be searched with; `min_need` the least need at
    which an LLM is asked.
    """

    min_confidence: float = 0.2
    min_need: float = 0.195

    def opens(self, query: Query, *, has_catalog: bool) -> bool:
        """Say whether any rewriter could find evidence: a history, a profile, a catalog or a clock."""
        return bool(query.history or query.profile or query.now or has_catalog)

    def accepts(self, rewrite: Rewrite) -> bool:
        """Say whether a rewrite is sure enough; interpretations, which share one weight, and questions always are."""
        return bool(rewrite.alternatives or rewrite.clarification) or rewrite.confidence >= self.min_confidence

    def asks_llm(self, signs: Signs | None) -> bool:
        """Say whether an LLM is worth asking after the first search; always where there was none to learn from."""
        return signs is None or need(signs) >= self.min_need


def need(signs: Signs) -> float:
    """Return the chance that a good rewrite of the query would find more.

    A logistic regression on the queries with a conversation of two public sets, see docs/log.md.

    >>> need(Signs(coverage=1.0, agreement=0.8)) < need(Signs(coverage=0.4, agreement=0.1))
    True
    """
    return 1 / (1 + math.exp(-(_INTERCEPT + _COVERAGE * signs.coverage + _AGREEMENT * signs.agreement)))
