"""What the editor reads: a conversation as one sequence of word pieces, the query first, then the latest turns.

Training and inference build the same arrays here, with numpy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer

from .edit_script import Line, Unit, split_units
from .query import Query, Role, Source

BUDGET = 320
"""Word pieces that the editor reads of one conversation."""

QUERY_BUDGET = 128
USER_BUDGET = 48
LATEST_BUDGET = 96
EARLIER_BUDGET = 32
FACT_BUDGET = 24
"""Of them: of the query, a turn of the asker, the latest turn, the assistant's earlier ones, a fact of the profile."""

FACTS = 8
"""Facts of the profile that are read."""

_CHARS_PER_PIECE = 16

QUERY, USER, ASSISTANT, FACT = range(4)
"""Who says a piece; 0 also stands for the marks between lines."""

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pieces:
    """The arrays of one conversation.

    `ids`, `roles`: (T,). `gaps`: (G, 2), the pieces to the left and right of each of the query's n + 1 gaps.
    `places`: (U,), the first piece of each unit that may be copied; `line_of`: (U,), the line it belongs to.
    """

    ids: Ids
    roles: Ids
    gaps: Ids
    places: Ids
    line_of: Ids
    query: tuple[Unit, ...]
    lines: tuple[Line, ...]
    truncated: bool


class Vocabulary:
    """Word pieces of the base encoder's vocabulary, with Han characters added behind it."""

    def __init__(self, folder: Path, characters: str = "") -> None:
        words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        known = set(words)
        self.added = [char for char in characters if char not in known]
        words += self.added
        vocabulary = {word: i for i, word in enumerate(words)}
        self._tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 # a word piece
        self._tokenizer.normalizer = BertNormalizer(handle_chinese_chars=False, lowercase=True)
        self.start, self.end, self.unknown = (vocabulary[mark] for mark in ("[CLS]", "[SEP]", "[UNK]"))
        self.mask = vocabulary["[MASK]"]

    def pieces(self, units: Sequence[Unit]) -> list[list[int]]:
        """Return the ids of each unit's pieces, at least one each."""
        encoding = self._tokenizer.encode([unit.text for unit in units], is_pretokenized=True, add_special_tokens=False)
        found: list[list[int]] = [[] for _ in units]
        for piece, word in zip(encoding.ids, encoding.word_ids, strict=True):
            if word is not None:
                found[word].append(piece)
        return [ids or [self.unknown] for ids in found]


def read_pieces(query: Query, vocabulary: Vocabulary) -> Pieces:
    """Return what the editor reads of `query`: all that the budget takes, the newest turns first."""
    return _Reader(vocabulary).read(query)


class _Reader:
    """Puts the sequence together until the budget is spent."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids = [vocabulary.start]
        self._roles = [QUERY]
        self._places: list[int] = []
        self._line_of: list[int] = []
        self._lines: list[Line] = []
        self._truncated = False

    def read(self, query: Query) -> Pieces:
        units, places = self._put(query.query, QUERY, QUERY_BUDGET)
        edges = [0, *places, len(self._ids) - 1]
        known = query.profile_values("facts")
        facts = known[:FACTS]
        self._truncated = any(map(str.strip, known[FACTS:])) or self._truncated
        reserved = min(len(facts) * (FACT_BUDGET + 1), BUDGET // 3) if facts else 0
        for age, (i, turn) in enumerate(query.recent_turns()):
            role = USER if turn.role is Role.USER else ASSISTANT
            cap = USER_BUDGET if role == USER else LATEST_BUDGET if age == 0 else EARLIER_BUDGET
            self._add(Source.HISTORY, f"history[{i}]", turn.text, role, cap, reserved)
        for i, fact in enumerate(facts):
            self._add(Source.PROFILE, f"profile.facts[{i}]", fact, FACT, FACT_BUDGET)
        return Pieces(
            np.array(self._ids, dtype=np.int64),
            np.array(self._roles, dtype=np.int64),
            np.array(list(pairwise(edges)), dtype=np.int64),
            np.array(self._places, dtype=np.int64),
            np.array(self._line_of, dtype=np.int64),
            tuple(units),
            tuple(self._lines),
            self._truncated or query.truncated,
        )

    def _add(self, source: Source, where: str, text: str, role: int, cap: int, reserved: int = 0) -> None:
        """Add as much of a line as there is room for."""
        room = BUDGET - reserved - len(self._ids) - 1
        if room < 1:
            self._truncated = self._truncated or bool(text.strip())
            return
        units, places = self._put(text, role, min(cap, room))
        if units:
            self._line_of += [len(self._lines)] * len(units)
            self._places += places
            self._lines.append(Line(source, where, text, tuple(units)))

    def _put(self, text: str, role: int, cap: int) -> tuple[list[Unit], list[int]]:
        """Append the pieces of as many units of `text` as `cap` takes; return these and where each begins."""
        units = self._first_units(text, cap)
        taken: list[Unit] = []
        places: list[int] = []
        left = cap
        for unit, ids in zip(units, self._vocabulary.pieces(units) if units else (), strict=True):
            if len(ids) > left:
                self._truncated = True
                break
            taken.append(unit)
            places.append(len(self._ids))
            self._ids += ids
            self._roles += [role] * len(ids)
            left -= len(ids)
        if taken or role == QUERY:
            self._ids.append(self._vocabulary.end)
            self._roles.append(QUERY)
        return taken, places

    def _first_units(self, text: str, cap: int) -> list[Unit]:
        """Return at most `cap` units; of a long text only its beginning is looked at."""
        looked_at = text[: cap * _CHARS_PER_PIECE]
        units = split_units(looked_at)
        if len(looked_at) < len(text) and units and units[-1].end == len(looked_at):
            units.pop()  # it may have been cut
        if len(units) > cap or len(looked_at) < len(text):
            self._truncated = True
        return units[:cap]
