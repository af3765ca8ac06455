"""What the Chinese encoder is trained on: plain text, and sets of queries with the documents that answer them.

The folder holds `text/*.txt` (a document a line) and `retrieval/NAME/` in the BEIR layout (corpus.jsonl, queries.jsonl,
qrels.tsv), each file plain or .gz; what is not Chinese is passed over. Half of each set's queries is held out: chosen
by the checksum of what they share with others (their conversation, their document), so that no twin of one trains.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import orjson

from .. import InputError
from .analysis import is_chinese

Log = Callable[[str], None]

_TURNS = 4  # of the history that are joined with a query
_TELLING = 20  # documents that say whether a set is Chinese


class Apart(StrEnum):
    """What the queries of a set may share, so that they are held out together or not at all."""

    NOTHING = "nothing"
    CONVERSATION = "conversation"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class PublicSet:
    """How one public set is used: its `share` of the batches, and whether its documents are read as articles too."""

    name: str
    licence: str
    share: float
    apart: Apart = Apart.NOTHING
    articles: float = 0.0


_SETS = (
    PublicSet("stard-law", "MIT; statutes are outside copyright", 0.06, articles=0.25),
    PublicSet("kdconv", "Apache-2.0", 0.06, Apart.CONVERSATION),
    PublicSet("csl-title-abstract", "Apache-2.0", 0.02, articles=0.03),
    PublicSet("qbqtc", "none stated", 0.14, Apart.DOCUMENT),
    PublicSet("cmrc2018", "CC BY-SA 4.0", 0.02, Apart.DOCUMENT, 0.03),
    PublicSet("xquad-zh", "CC BY-SA 4.0", 0.01, Apart.DOCUMENT),
)
SETS: Mapping[str, PublicSet] = {known.name: known for known in _SETS}
"""The public sets by their folders' names; any other set is taken for somebody's own."""

LICENCES: Mapping[str, str] = {
    "zhwiki-hans": "CC BY-SA",
    "zhwiki-hant": "CC BY-SA",
    "docs-pingcap-zh": "CC BY-SA 3.0",
    "docs-oiwiki-zh": "CC BY-SA 4.0",
    "docs-react-zh": "CC BY 4.0",
    "docs-d2l-zh": "Apache-2.0",
}
"""The public texts by their files' names."""

TEXT_SHARE = 0.45
"""Plain text's share of the batches."""

_OWN = "your own"


@dataclass(frozen=True, slots=True)
class Judged:
    """A query as typed and, where it has a history, joined with the last turns and with the asker's own.

    `relevant` and `rejected` are places in the set's documents; queries of one `group` are held out together.
    """

    forms: tuple[str, ...]
    relevant: tuple[int, ...]
    rejected: tuple[int, ...]
    group: str
    held: bool


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """One set: titles and texts of its documents, and its queries."""

    use: PublicSet
    titles: tuple[str, ...]
    texts: tuple[str, ...]
    queries: tuple[Judged, ...]

    def whole(self, place: int) -> str:
        """Return the document at `place` as it is indexed: the title, then the text."""
        return f"{self.titles[place]}\n{self.texts[place]}" if self.titles[place] else self.texts[place]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All that was found: documents of plain text by their file, and the sets."""

    texts: Mapping[str, tuple[str, ...]]
    sets: tuple[RetrievalSet, ...]


def load(folder: Path, rows: int | None, log: Log) -> TrainingData:
    """Read `folder`, of each file `rows` at most; raises InputError for what cannot be read or holds no Chinese."""
    texts = {}
    for path in sorted((folder / "text").glob("*.txt*")):
        lines = tuple(islice(filter(None, map(str.strip, _lines(path))), rows))
        if _mostly_chinese(lines):
            texts[path.name.partition(".")[0]] = lines
            log(f"{path.name}: {len(lines)} documents")
    sets = [found for path in sorted((folder / "retrieval").glob("*/")) if (found := _read_set(path, rows, log))]
    if not texts and not sets:
        raise InputError(f"{folder}: expected Chinese documents in text/*.txt or sets in retrieval/*/, found none")
    return TrainingData(texts, tuple(sets))


def licence(name: str) -> str:
    """Return the licence of a public set or text."""
    return SETS[name].licence if name in SETS else LICENCES.get(name, _OWN)


def _read_set(folder: Path, rows: int | None, log: Log) -> RetrievalSet | None:
    """Return the set in `folder`; None where it is not Chinese."""
    use = SETS.get(folder.name, PublicSet(folder.name, _OWN, 0.1, Apart.DOCUMENT, 0.1))
    documents = list(_rows(folder / "corpus.jsonl", ("_id", "text")))
    if not _mostly_chinese([row["text"] for row in documents[:_TELLING]]):
        return None
    places = {row["_id"]: place for place, row in enumerate(documents)}
    titles = tuple(str(row.get("title") or "") for row in documents)
    texts = tuple(row["text"] for row in documents)
    grades = _grades(folder / "qrels.tsv", places)
    asked = islice(_rows(folder / "queries.jsonl", ("_id", "text")), rows)
    queries = [_judged(use, row, grades[row["_id"]], titles, texts) for row in asked if row["_id"] in grades]
    kept = tuple(query for query in queries if query.relevant)
    log(f"{folder.name}: {len(texts)} documents, {len(kept)} queries, {sum(query.held for query in kept)} held out")
    return RetrievalSet(use, titles, texts, kept)


def _judged(
    use: PublicSet, row: Mapping[str, Any], grades: Mapping[int, int], titles: Sequence[str], texts: Sequence[str]
) -> Judged:
    relevant = tuple(place for place, grade in grades.items() if grade > 0)
    rejected = tuple(place for place, grade in grades.items() if grade <= 0)
    first = next(iter(grades))
    group = {
        Apart.NOTHING: row["_id"],
        Apart.CONVERSATION: row["_id"].rpartition("-")[0],
        Apart.DOCUMENT: titles[first] or texts[first],
    }[use.apart]
    digest = hashlib.sha256(f"held:{use.name}:{group}".encode()).digest()
    return Judged(_forms(row), relevant, rejected, group, held=digest[3] % 2 == 0)


def _forms(row: Mapping[str, Any]) -> tuple[str, ...]:
    turns = row.get("history") or []
    joined = " ".join([turn["text"] for turn in turns[-_TURNS:]] + [row["text"]])
    asked = " ".join([turn["text"] for turn in turns if turn["role"] == "user"] + [row["text"]])
    return tuple(dict.fromkeys([row["text"], joined, asked]))


def _grades(path: Path, places: Mapping[str, int]) -> dict[str, dict[int, int]]:
    grades: dict[str, dict[int, int]] = {}
    for number, line in enumerate(_lines(path), 1):
        cells = line.rstrip("\n").split("\t")
        if number == 1 or len(cells) != 3:
            continue
        if cells[1] in places and cells[2].lstrip("-").isdigit():
            grades.setdefault(cells[0], {})[places[cells[1]]] = int(cells[2])
    return grades


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: expected a JSON object: {error}") from error
        for key in needed:
            if not isinstance(row, dict) or not isinstance(row.get(key), str):
                raise InputError(f"{path}:{number}: {key}: expected a string")
        yield row


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of `path`, or of its .gz."""
    path = path if path.exists() else path.with_name(f"{path.name}.gz")
    try:
        with _opened(path) as file:
            yield from file
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _opened(path: Path) -> TextIO:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _mostly_chinese(texts: Sequence[str]) -> bool:
    looked_at = texts[:_TELLING]
    return 2 * sum(map(is_chinese, looked_at)) > len(looked_at)
