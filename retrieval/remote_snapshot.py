"""Searching a collection in Milvus: the same rankings as of one in a folder, so that they are fused the same."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import log1p
from typing import Any

import numpy as np

from .. import NotFoundError
from .analysis import analyze
from .collection import lexical_terms
from .filters import Filter
from .fusion import Ranking, best
from .milvus_calls import Milvus
from .milvus_rows import About, expression, holding, key_of, passage_id_of, passage_of, searched_by, term_id
from .passage import Hit, Passage
from .snapshot import DEPTH, Leg, by_words_alone, check_legs
from .spaces import Spaces, Vector

_SPAN = 2**50
"""So many positions are there for the passages of a snapshot to stand at, in the order of their ids."""

_DECIMALS = 5
_STALE = 0.01
"""When more than this share of the passages has changed since, terms are counted anew."""
_MOST_COUNTS = 100_000


class TermCounts:
    """How many passages hold terms, asked of Milvus once, and again when one passage in a hundred has changed."""

    def __init__(self, milvus: Milvus, stored_as: str) -> None:
        self._milvus = milvus
        self._stored_as = stored_as
        self._known: dict[tuple[int, ...], int] = {}
        self._written = -1
        self._lock = threading.Lock()

    def of(self, about: About, several: Iterable[tuple[int, ...]]) -> dict[tuple[int, ...], int]:
        """Return for each set of terms, ascending, how many passages hold all of them."""
        wanted = dict.fromkeys(several)
        with self._lock:
            if abs(about.written - self._written) > _STALE * about.size or len(self._known) > _MOST_COUNTS:
                self._known, self._written = {}, about.written
            known = self._known
        missing = [terms for terms in wanted if terms not in known]
        calls = [
            {"collection_name": self._stored_as, "filter": holding(terms), "output_fields": ["count(*)"]}
            for terms in missing
        ]
        for terms, rows in zip(missing, self._milvus.read_all("query", calls), strict=True):
            known[terms] = int(rows[0]["count(*)"])
        return {terms: known[terms] for terms in wanted}


class RemoteSnapshot:
    """A view of a collection in Milvus; positions stand for its passages in the order of their ids.

    Unlike that of a folder it is not immutable: Milvus keeps no earlier states.
    """

    degraded = ""

    def __init__(
        self, milvus: Milvus, stored_as: str, about: About, spaces: Spaces, counts: TermCounts, dimensions: int
    ) -> None:
        self._milvus = milvus
        self._stored_as = stored_as
        self._about = about
        self._spaces = spaces
        self._counts = counts
        self._dimensions = dimensions
        self._places = _Places()
        self._passages: dict[int, Passage] = {}

    def __len__(self) -> int:
        return self._about.size

    @property
    def span(self) -> int:
        """How many positions there may be."""
        return 2 * _SPAN

    @property
    def generation(self) -> int:
        """The number that each write raises, in whatever process."""
        return self._about.generation

    @property
    def encoder(self) -> str:
        """Name the encoders whose vectors are searched."""
        return self._spaces.name

    def rank(
        self,
        texts: Sequence[str],
        legs: Sequence[Leg],
        depth: int = DEPTH,
        filter: Filter | None = None,  # noqa: A002 - the word of the field
    ) -> list[dict[Leg, Ranking]]:
        """Search each of `texts` by each of `legs`, `depth` passages deep.

        A leg that cannot read a text is absent: lexical where analysis leaves no term, dense where no encoder knows
        the language or no passage of that language has a vector. All texts are encoded in one call.
        """
        legs = check_legs(legs)
        allowed = expression(filter)
        rankings: list[dict[Leg, Ranking]] = [{} for _ in texts]
        if Leg.LEXICAL in legs:
            for place, ranking in self._by_words(texts, depth, allowed):
                rankings[place][Leg.LEXICAL] = ranking
        if Leg.DENSE in legs and self._spaces:
            for place, ranking in self._by_vectors(texts, depth, allowed):
                rankings[place][Leg.DENSE] = ranking
        return rankings

    def passage(self, position: int) -> Passage:
        """Return the passage at `position`; raises NotFoundError where it was deleted meanwhile."""
        self._fetch([position])
        if position not in self._passages:
            raise NotFoundError("passage: it was deleted meanwhile")
        return self._passages[position]

    def hits(self, ranking: Ranking, k: int) -> list[Hit]:
        """Return the best `k` of `ranking` as hits; what was deleted meanwhile is left out."""
        found: list[Hit] = []
        for start in range(0, len(ranking), k):
            positions = ranking.positions[start : start + k].tolist()
            self._fetch(positions)
            for position, score in zip(positions, ranking.scores[start : start + k].tolist(), strict=True):
                if position in self._passages and len(found) < k:
                    found.append(Hit.of(self._passages[position], len(found) + 1, score))
            if len(found) == k:
                break
        return found

    def holding(self, *phrases: str) -> int:
        """Return how many passages hold all words of all `phrases`, as the lexical leg reads them; 0 of none."""
        terms = tuple(sorted({term_id(term) for phrase in phrases for term in analyze(phrase)}))
        return self._counts.of(self._about, [terms])[terms] if terms else 0

    def most(self, text: str) -> float:
        """Return more than any passage can score for `text` by words: each of its terms, as often as can be."""
        counts = Counter(map(term_id, analyze(text)))
        weights = self._idf(counts)
        return sum(weights[term] * count for term, count in counts.items())

    def coverage(self, text: str, positions: Sequence[int]) -> float:
        """Return the share of the terms of `text` that one of the passages at `positions` holds, on average."""
        terms = set(analyze(text))
        if not terms or not positions:
            return 0.0
        self._fetch(positions)
        passages = [self._passages[position] for position in positions if position in self._passages]
        held = sum(len(terms.intersection(lexical_terms(passage))) for passage in passages)
        return held / (len(positions) * len(terms))

    def _idf(self, terms: Iterable[int]) -> dict[int, float]:
        """Return ln(1 + (N - df + .5) / (df + .5)) of each term."""
        counts = self._counts.of(self._about, [(term,) for term in terms])
        size = len(self)
        return {term: log1p((max(size - count, 0) + 0.5) / (count + 0.5)) for (term,), count in counts.items()}

    def _by_words(self, texts: Sequence[str], depth: int, allowed: str) -> list[tuple[int, Ranking]]:
        read = {place: Counter(map(term_id, terms)) for place, text in enumerate(texts) if (terms := analyze(text))}
        idf = self._idf(dict.fromkeys(term for terms in read.values() for term in terms))
        queries = [{term: idf[term] * count for term, count in terms.items()} for terms in read.values()]
        return list(zip(read, self._search("lexical", queries, depth, allowed, {}), strict=True))

    def _by_vectors(self, texts: Sequence[str], depth: int, allowed: str) -> list[tuple[int, Ranking]]:
        by_space: dict[str, dict[int, Vector]] = {}
        for place, vectors in enumerate(self._spaces.encode_queries(texts)):
            for space, vector in vectors.items():
                by_space.setdefault(space, {})[place] = vector
        found = []
        for space, chosen in by_space.items():
            wanted = " and ".join(filter(None, [f'space == "{key_of(space)}"', allowed]))
            queries = [np.pad(vector, (0, self._dimensions - len(vector))) for vector in chosen.values()]
            rankings = self._search("dense", queries, depth, wanted, searched_by(depth))
            for (place, vector), ranking in zip(chosen.items(), rankings, strict=True):
                if len(ranking) or allowed:
                    weight = self._spaces.weight(space)
                    weight *= 1 - by_words_alone(self, texts[place], self._spaces, space)
                    # What has nothing to do with the query is about as near to it as the mean of all.
                    least = float(vector @ self._about.centre(space, len(vector)))
                    found.append((place, replace(ranking, weight=weight, least=least)))
        return found

    def _search(
        self, field: str, queries: Sequence[Any], depth: int, allowed: str, params: Mapping[str, Any]
    ) -> list[Ranking]:
        if not queries:
            return []
        found = self._milvus.read(
            "search",
            collection_name=self._stored_as,
            data=list(queries),
            anns_field=field,
            filter=allowed,
            limit=depth + 1,  # one more, to know whether there is more
            output_fields=["id"],
            search_params={"metric_type": "IP", "params": dict(params)},
        )
        return [self._ranking([(hit["id"], hit["distance"]) for hit in hits], depth) for hits in found]

    def _ranking(self, scored: Sequence[tuple[str, float]], depth: int) -> Ranking:
        """Rank rows by their scores; equal ones go by their passages' ids."""
        positions = np.array(self._places.of([row_id for row_id, _ in scored]), dtype=np.int64)
        # The last bits depend on the kind of index and on what it is made of; the order of results must not.
        scores = np.round(np.array([score for _, score in scored], dtype=np.float64), _DECIMALS).astype(np.float32)
        order = np.argsort(positions)
        return best(positions[order], scores[order], depth)

    def _fetch(self, positions: Sequence[int]) -> None:
        """Read the passages at `positions` that are not known yet; those that are gone stay unknown."""
        missing = {self._places.row(position): position for position in positions if position not in self._passages}
        if missing:
            rows = self._milvus.read(
                "get", collection_name=self._stored_as, ids=list(missing), output_fields=["id", "content"]
            )
            self._passages |= {missing[row["id"]]: passage_of(row) for row in rows}


class _Places:
    """Positions for rows as they are found, in the order of their passages' ids."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._places: list[int] = []
        self._rows: dict[int, str] = {}
        self._known: dict[str, int] = {}
        self._lock = threading.Lock()

    def row(self, position: int) -> str:
        """Return the row at a position."""
        return self._rows[position]

    def of(self, row_ids: Sequence[str]) -> list[int]:
        """Return the position of each row; new ones get some between those that are known."""
        with self._lock:
            new = sorted((passage_id_of(row_id), row_id) for row_id in row_ids if row_id not in self._known)
            while new:
                at = bisect_left(self._names, new[0][0])
                end = len(new) if at == len(self._names) else bisect_left(new, (self._names[at],))
                self._insert(at, new[:end])
                new = new[end:]
            return [self._known[row_id] for row_id in row_ids]

    def _insert(self, at: int, rows: Sequence[tuple[str, str]]) -> None:
        """Spread rows evenly over the room before the place `at`."""
        low = self._places[at - 1] if at else -1
        high = self._places[at] if at < len(self._places) else _SPAN
        if high - low > len(rows):
            places = [low + (high - low) * number // (len(rows) + 1) for number in range(1, len(rows) + 1)]
            self._names[at:at] = [name for name, _ in rows]
            self._places[at:at] = places
        else:  # after ten thousands of queries: then ties go to those found first
            places = [_SPAN + len(self._rows) + number for number in range(len(rows))]
        for place, (_, row_id) in zip(places, rows, strict=True):
            self._rows[place] = row_id
            self._known[row_id] = place
