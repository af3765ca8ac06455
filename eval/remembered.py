"""Rankings that are computed once: arms and legs of an evaluation search the same texts again and again."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

from ..retrieval.collection import Collection, Filter, Leg
from ..retrieval.fitting import Fusion
from ..retrieval.fusion import Ranking
from ..retrieval.passage import Hit
from ..retrieval.snapshot import DEPTH
from ..rewrite.gate import Signs
from ..service.pipeline import signs_of


class Remembered:
    """A collection, as far as the pipeline asks: it ranks each text by each leg once, and remembers how long.

    A text that a leg has ranked already is not ranked again, so that `hybrid` costs nothing after `lexical` and
    `dense`. `spared` holds, for each time that rankings were asked for, the seconds that the remembered ones
    among them took when they were computed: added to the time measured, they say what the search costs a service,
    which remembers nothing. (Where two texts would be encoded in one call, it says a little too much.)
    """

    def __init__(self, collection: Collection) -> None:
        self.spared: list[float] = []
        self._collection = collection
        self._snapshot = collection.snapshot()
        self._warm: set[Leg] = set()
        self._known: dict[tuple[str, Leg, int], tuple[Ranking | None, float]] = {}

    def warm_up(self, text: str, legs: Sequence[Leg]) -> None:
        """Load what each of `legs` loads on first use, so that no query's time holds it."""
        for leg in legs:
            if leg not in self._warm:
                self._warm.add(leg)
                with suppress(Exception):  # what fails now fails again when it counts, and is told then
                    self._snapshot.rank([text], (leg,))

    def snapshot(self) -> Remembered:
        """Return the one state of the collection that the whole evaluation sees."""
        return self

    def rank(
        self,
        texts: Sequence[str],
        legs: Sequence[Leg],
        depth: int = DEPTH,
        filter: Filter | None = None,  # noqa: A002 # the word of the field
    ) -> list[dict[Leg, Ranking]]:
        """Rank `texts` as a snapshot does; an evaluation filters nothing."""
        if filter is not None:
            return self._snapshot.rank(texts, legs, depth, filter)
        self.spared.append(0.0)
        rankings: list[dict[Leg, Ranking]] = [{} for _ in texts]
        for leg in legs:
            self._rank_new(texts, leg, depth)
            for found, text in zip(rankings, texts, strict=True):
                ranking = self._known[text, leg, depth][0]
                if ranking is not None:
                    found[leg] = ranking
        return rankings

    def fusion(self) -> Fusion | None:
        """Return the fusion that was fitted for the collection, None where none was."""
        return self._collection.fusion()

    @property
    def degraded(self) -> str:
        """Say why the dense leg is slower than it should be now."""
        return self._snapshot.degraded

    def holding(self, *phrases: str) -> int:
        """Return how many passages hold all words of all `phrases`, as the collection does."""
        return self._snapshot.holding(*phrases)

    def signs(self, text: str) -> Signs | None:
        """Return what the first search says of `text`, as the service has it before an LLM is asked."""
        return signs_of(self._snapshot, text, self._snapshot.rank([text], tuple(Leg))[0])

    def coverage(self, text: str, positions: Sequence[int]) -> float:
        """Return the share of the terms of `text` that each of the passages at `positions` holds, on average."""
        return self._snapshot.coverage(text, positions)

    def hits(self, ranking: Ranking, k: int) -> list[Hit]:
        """Return the best `k` of `ranking` as hits."""
        return self._snapshot.hits(ranking, k)

    def _rank_new(self, texts: Sequence[str], leg: Leg, depth: int) -> None:
        """Rank those of `texts` that are new to `leg`, all in one call; the time of the others is credited."""
        old = {text for text in texts if (text, leg, depth) in self._known}
        self.spared[-1] += sum(self._known[text, leg, depth][1] for text in old)
        new = [text for text in dict.fromkeys(texts) if text not in old]
        if not new:
            return
        with _one_thread() if leg is Leg.DENSE else nullcontext():
            begun = time.perf_counter()
            found = self._snapshot.rank(new, (leg,), depth)
            share = (time.perf_counter() - begun) / len(new)
        for text, rankings in zip(new, found, strict=True):
            self._known[text, leg, depth] = rankings.get(leg), share


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch, where it is loaded, encode by one thread.

    A query is too short to share: on a busy machine the threads wait for each other many times longer than they
    compute. And vectors of one thread are the same to the last bit however many cores there are.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
