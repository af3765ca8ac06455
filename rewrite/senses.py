"""Which of a name's senses is meant: the one that the conversation or the asker's profile speaks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from .catalog import Catalog, Entity, Mention, Value
from .language import bounded, fold
from .query import Evidence, Query, Role, Source, Turn

_TURN = 2.0
"""What evidence in the last turn counts on top of 1; older turns count less. A cue in the profile counts 1."""

_USER = 1.5
"""The asker's own turns count this much more than the assistant's."""

_FEW_CUES = 12
"""A collection is asked for so many cues of a sense: the first ones, which tell most."""


class CorpusStatistics(Protocol):
    """What rewriting may know of the collection that is searched; the pipeline hands it in."""

    def holding(self, *phrases: str) -> int:
        """Return how many passages hold all words of all `phrases`."""
        ...


def profile_texts(query: Query) -> Iterator[tuple[str, str]]:
    """Yield where each profile value stands, and the value."""
    for key in query.profile:
        values = query.profile_values(key)
        for i, value in enumerate(values):
            yield (f"profile.{key}" if len(values) == 1 else f"profile.{key}[{i}]"), value


def contains(text: str, phrase: str) -> bool:
    """Say whether `phrase` stands in `text` as words of its own, whatever its case and width."""
    return _holds(fold(text), phrase)


def _holds(folded: str, phrase: str) -> bool:
    wanted = fold(phrase)
    start = folded.find(wanted)
    while start >= 0:
        if bounded(folded, start, start + len(wanted)):
            return True
        start = folded.find(wanted, start + 1)
    return False


def sense_in(text: str, senses: tuple[Entity, ...]) -> Entity | None:
    """Return the one sense that the cues in `text` speak for."""
    folded = fold(text)
    scores = {sense.id: sum(_holds(folded, cue) for cue in sense.cues) for sense in senses}
    return _winner(scores, senses)


def choose_sense(query: Query, senses: tuple[Entity, ...], catalog: Catalog) -> tuple[Entity, Evidence] | None:
    """Return the sense with the strongest evidence in history and profile, or None on a tie."""
    scores: dict[str, float] = {}
    evidence: dict[str, Evidence] = {}
    turns = [(i, turn, catalog.mentions(turn.text)) for i, turn in query.recent_turns()]
    for sense in senses:
        for weight, found in _evidence(query, sense, turns):
            scores[sense.id] = scores.get(sense.id, 0) + weight
            evidence.setdefault(sense.id, found)
    winner = _winner(scores, senses)
    return (winner, evidence[winner.id]) if winner else None


def sense_weights(said: str, senses: Sequence[Entity], corpus: CorpusStatistics | None) -> Mapping[str, float]:
    """Return how likely each sense of the name `said` is by what the collection holds, by the senses' ids; sums to 1.

    A sense counts once, and once for each passage that holds the name beside one of its cues: where a collection
    speaks of one sense only, nobody need be asked.
    """
    counts = {sense.id: 1 + (_passages(said, sense, corpus) if corpus else 0) for sense in senses}
    total = sum(counts.values())
    return {sense: count / total for sense, count in counts.items()}


def _passages(said: str, sense: Entity, corpus: CorpusStatistics) -> int:
    return max((corpus.holding(said, cue) for cue in sense.cues[:_FEW_CUES]), default=0)


def _winner(scores: dict[str, float] | dict[str, int], senses: tuple[Entity, ...]) -> Entity | None:
    best = max(senses, key=lambda sense: scores.get(sense.id, 0))
    top = scores.get(best.id, 0)
    alone = all(scores.get(sense.id, 0) < top for sense in senses if sense is not best)
    return best if top > 0 and alone else None


def _evidence(
    query: Query, sense: Entity, turns: Sequence[tuple[int, Turn, list[Mention]]]
) -> Iterator[tuple[float, Evidence]]:
    for i, turn, mentions in turns:
        phrase = _said(turn.text, sense, mentions)
        if phrase:
            weight = (_TURN / (len(query.history) - i) + 1) * (_USER if turn.role is Role.USER else 1)
            yield weight, Evidence(Source.HISTORY, f"history[{i}]", phrase)
    for where, value in profile_texts(query):
        phrase = next((cue for cue in sense.cues if contains(value, cue)), None)
        if phrase:
            yield 1.0, Evidence(Source.PROFILE, where, value)


def _said(text: str, sense: Entity, mentions: Sequence[Mention]) -> str | None:
    """Return what in `text` speaks for `sense`: a name that only it has, one of its kind, or a cue."""
    for mention in mentions:
        if all(_same_kind(name, sense) for name in mention.candidates):
            return text[mention.start : mention.end]
    folded = fold(text)
    return next((cue for cue in sense.cues if _holds(folded, cue)), None)


def _same_kind(name: Entity | Value, sense: Entity) -> bool:
    return isinstance(name, Entity) and name.type == sense.type
