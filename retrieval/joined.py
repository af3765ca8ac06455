"""Several collections searched as if they were one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from .collection import Collection
from .filters import Filter
from .fitting import Fusion
from .fusion import Ranking, calibrate, join
from .passage import Hit, Passage
from .remote import RemoteCollection
from .remote_snapshot import RemoteSnapshot
from .snapshot import DEPTH, Leg, Snapshot


class JoinedSnapshot:
    """One generation of each of several collections; positions count through them in the order of their names.

    Each leg's lists are joined before the legs are fused: cosines as they are, since one encoder made them, BM25's
    scores as shares of the most that the query could score there, since each collection has statistics of its own.
    """

    def __init__(self, parts: Sequence[tuple[str, Snapshot | RemoteSnapshot]]) -> None:
        self._names = [name for name, _ in parts]
        self._parts = [snapshot for _, snapshot in parts]
        self._offsets = [0, *accumulate(part.span for part in self._parts)]
        # Cosines of different encoders do not compare: while some collections wait to be encoded anew, those are left
        # to the lexical leg that the fewest passages are in.
        encoders = Counter({part.encoder: 0 for part in self._parts})
        for part in self._parts:
            encoders[part.encoder] += len(part)
        self._encoder = encoders.most_common(1)[0][0] if encoders else ""

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def generation(self) -> str:
        """Tell this state of all of them from every other."""
        return " ".join(str(part.generation) for part in self._parts)

    @property
    def degraded(self) -> str:
        """Say why the dense leg is slower than it should be now; "" where it is not."""
        return next((part.degraded for part in self._parts if part.degraded), "")

    def passage(self, position: int) -> Passage:
        """Return the passage at `position`."""
        part = self._part_of(position)
        return self._parts[part].passage(position - self._offsets[part])

    def rank(
        self,
        texts: Sequence[str],
        legs: Sequence[Leg],
        depth: int = DEPTH,
        filter: Filter | None = None,  # noqa: A002 - the word of the field
    ) -> list[dict[Leg, Ranking]]:
        """Search each of `texts` by each of `legs` in all collections, `depth` passages deep."""
        found = [part.rank(texts, legs, depth, filter) for part in self._parts]
        rankings: list[dict[Leg, Ranking]] = [{} for _ in texts]
        for number, text in enumerate(texts):
            for leg in legs:
                ranking = self._joined(text, leg, [row[number] for row in found], depth)
                if ranking is not None:
                    rankings[number][leg] = ranking
        return rankings

    def holding(self, *phrases: str) -> int:
        """Return how many passages hold all words of all `phrases`."""
        return sum(part.holding(*phrases) for part in self._parts)

    def coverage(self, text: str, positions: Sequence[int]) -> float:
        """Return the share of the terms of `text` that one of the passages at `positions` holds, on average."""
        shares = []
        for position in positions:
            part = self._part_of(position)
            shares.append(self._parts[part].coverage(text, [position - self._offsets[part]]))
        return sum(shares) / len(shares) if shares else 0.0

    def hits(self, ranking: Ranking, k: int) -> list[Hit]:
        """Return the best `k` of `ranking` as hits that name their collection."""
        best = ranking.head(k)
        return [
            Hit.of(self.passage(position), rank, score, self._names[self._part_of(position)])
            for rank, (position, score) in enumerate(
                zip(best.positions.tolist(), best.scores.tolist(), strict=True), start=1
            )
        ]

    def _joined(self, text: str, leg: Leg, found: Sequence[dict[Leg, Ranking]], depth: int) -> Ranking | None:
        """Join the lists of one leg; None where it read the text in no collection."""
        lists, offsets = [], []
        for part, offset, by_leg in zip(self._parts, self._offsets, found, strict=False):
            if leg in by_leg and (leg is Leg.LEXICAL or part.encoder == self._encoder):
                most = part.most(text) if leg is Leg.LEXICAL else 0.0
                lists.append(calibrate(by_leg[leg], 0.0, most) if most else by_leg[leg])
                offsets.append(offset)
        return replace(join(lists, depth, offsets), weight=lists[0].weight) if lists else None

    def _part_of(self, position: int) -> int:
        return next(part for part in range(len(self._parts)) if position < self._offsets[part + 1])


OneCollection = Collection | RemoteCollection
"""A collection, in a folder or in Milvus."""


class Joined:
    """Several collections, as a search asks them."""

    def __init__(self, collections: Sequence[OneCollection]) -> None:
        self._collections = sorted(collections, key=lambda collection: collection.name)
        self.token = " ".join(collection.token for collection in self._collections)

    def snapshot(self) -> JoinedSnapshot:
        """Return the present state of all of them."""
        return JoinedSnapshot([(collection.name, collection.snapshot()) for collection in self._collections])

    def fusion(self) -> Fusion | None:
        """Return the fusion that all were fitted to, None where they differ or there is none. Raises StorageError."""
        fitted = {collection.fusion() for collection in self._collections}
        return fitted.pop() if len(fitted) == 1 else None


AnyCollection = OneCollection | Joined
AnySnapshot = Snapshot | RemoteSnapshot | JoinedSnapshot
