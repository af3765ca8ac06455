"""Keep, rewrite or ask? The gate looks before the rewriters do, and once more at what they bring."""

from __future__ import annotations

from dataclasses import dataclass

from .query import Query, Rewrite


@dataclass(frozen=True, slots=True)
class Gate:
    """Let rewriters look only where there is something to fill in from, and take only what is sure enough.

    `min_confidence` is the least confidence that a rewrite needs to be searched with.
    """

    min_confidence: float = 0.2

    def opens(self, query: Query, *, has_catalog: bool) -> bool:
        """Say whether any rewriter could find evidence: a history, a profile, a catalog or a clock."""
        return bool(query.history or query.profile or query.now or has_catalog)

    def accepts(self, rewrite: Rewrite) -> bool:
        """Say whether a rewrite is sure enough; several interpretations always are, they share one weight."""
        return bool(rewrite.alternatives) or rewrite.confidence >= self.min_confidence
