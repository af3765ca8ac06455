"""A segment as index files: written after it was made, read when a collection is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from .analysis import ANALYZER
from .dense import DenseIndex
from .dense_gpu import Device
from .index_files import IndexFiles, Part, read_index, write_index
from .lexical import BM25Index, Vocabulary
from .passage import Passage
from .segment import Indexing, LexicalEngine, Segment, SpaceVectors, Terms

_LEXICAL = "lexical-"


@dataclass(frozen=True, slots=True, eq=False)
class SavedSegment:
    """A segment on disk, without its passages, and the generations of its documents."""

    generations: Mapping[str, int]
    generation: int
    _files: IndexFiles

    def load(self, passages: Iterable[Passage], device: Device) -> Segment | None:
        """Return the segment with those of its passages that are still stored; None if others come."""
        ids, rows = orjson.loads(self._files.bytes("documents"))[0], self._files.array("rows")
        places = {f"{ids[document]}#{ordinal}": row for row, (document, ordinal) in enumerate(rows.tolist())}
        found: list[Passage | None] = [None] * len(rows)
        for passage in passages:
            row = places.get(passage.passage_id)
            if row is None:
                return None
            found[row] = passage
        known = orjson.loads(self._files.bytes("vocabulary"))
        vocabulary = Vocabulary(zip(known, range(len(known)), strict=True))
        array = self._files.array
        spaces = {
            space: SpaceVectors(array(f"dense-{number}-rows"), array(f"dense-{number}-vectors"))
            for number, space in enumerate(self._files.about["dense"])
        }
        lexical = {name: array(f"{_LEXICAL}{name}") for name in self._files.about["lexical"]}
        return Segment(
            found,
            Terms(array("terms"), array("offsets"), array("languages")),
            spaces,
            vocabulary,
            lambda: BM25Index.from_arrays(vocabulary, lexical),
            {
                space: partial(
                    DenseIndex.from_bytes, found.vectors, found.rows, self._files.bytes(f"dense-{number}-index")
                )
                for number, (space, found) in enumerate(spaces.items())
            },
            device,
        )


def keeps(indexing: Indexing) -> bool:
    """Say whether segments that are made so can be saved: rank-bm25's cannot."""
    return indexing.engine is LexicalEngine.BM25


def write_segment(
    folder: Path, generation: int, segment: Segment, generations: Mapping[str, int], about: Mapping[str, Any]
) -> bool:
    """Write a segment that holds all of a generation; False where another process is writing.

    Raises StorageError where that cannot be done; earlier files stay.
    """
    index = segment.lexical()
    assert isinstance(index, BM25Index)  # noqa: S101 - see `keeps`
    lexical = index.arrays()
    parts: dict[str, Part] = {
        "documents": orjson.dumps([list(generations), list(generations.values())]),
        "rows": _places(segment, generations),
        "vocabulary": orjson.dumps(list(segment.vocabulary)),
        "terms": segment.terms.ids,
        "offsets": segment.terms.offsets,
        "languages": segment.terms.languages,
        **{f"{_LEXICAL}{name}": array for name, array in lexical.items()},
    }
    for number, (space, found) in enumerate(segment.spaces.items()):
        parts[f"dense-{number}-rows"] = found.rows
        parts[f"dense-{number}-vectors"] = found.vectors
        parts[f"dense-{number}-index"] = segment.dense[space]().to_bytes()
    about = {**about, "dense": list(segment.spaces), "lexical": list(lexical)}
    return write_index(folder, generation, about, parts)


def read_segment(folder: Path, about: Mapping[str, Any]) -> SavedSegment | None:
    """Return the newest segment on disk that was made as `about` says; None if there is none."""
    files = read_index(folder, about)
    if files is None:
        return None
    ids, generations = orjson.loads(files.bytes("documents"))
    return SavedSegment(dict(zip(ids, generations, strict=True)), files.generation, files)


def made_as(indexing: Indexing, spaces: Iterable[str]) -> dict[str, Any]:
    """Say what index files hang on besides the documents."""
    return {"analyzer": ANALYZER, "k1": indexing.bm25.k1, "b": indexing.bm25.b, "spaces": list(spaces)}


def _places(segment: Segment, generations: Mapping[str, int]) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Return for each row the number of its document and its own number within that, int32 (n, 2)."""
    numbers = {doc_id: number for number, doc_id in enumerate(generations)}
    places = [
        (numbers[passage.doc_id], int(passage.passage_id.rpartition("#")[2]))
        for passage in segment.passages
        if passage is not None
    ]
    return np.array(places, dtype=np.int32).reshape(-1, 2)
