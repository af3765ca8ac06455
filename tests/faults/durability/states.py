"""A collection against a dictionary, by a state machine: writes, flushes, merges, kills, reopening, searches."""

import os
import random
import shutil
import tempfile
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from querywright.retrieval import collection as module
from querywright.retrieval.analysis import analyze
from querywright.retrieval.collection import Collection, lexical_terms
from querywright.retrieval.passage import Document, Passage, split

from .truth import CHINESE, QUERIES, SPACES, WORDS, Truth, clean, document, opened, rankings, stored

NAMES = 12
_numbers = st.integers(0, NAMES - 1)
_documents = st.builds(lambda number, seed: document(number, random.Random(seed)), _numbers, st.integers(0, 2**32))
_queries = st.sampled_from((*QUERIES, *WORDS, *CHINESE, "nothing like it", "。"))
_filters = st.none() | st.fixed_dictionaries({"n": st.integers(0, 3)})


class CollectionStates(RuleBasedStateMachine):
    """What a collection holds and finds is what the dictionary says, whatever happened before."""

    done: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self._scratch = Path(tempfile.mkdtemp(prefix="states-"))
        self._folder = self._scratch / "0"
        self._truth: Truth = {}
        self._before = module._AT_ONCE
        self._collection: Collection | None = None

    @initialize(at_once=st.sampled_from((0, 0, 4, 5_000)), documents=st.lists(_documents, max_size=8))
    def open(self, at_once: int, documents: list[Document]) -> None:
        """Begin with some documents, and with deltas from the first passage, from the fifth, or never."""
        module._AT_ONCE = at_once
        self._collection = opened(self._folder)
        self.upsert(documents, 3)

    @property
    def collection(self) -> Collection:
        """The one that is open."""
        assert self._collection is not None
        return self._collection

    # ------------------------------------------------------------------------------------ what is done

    @rule(documents=st.lists(_documents, min_size=1, max_size=6), batch_size=st.sampled_from((1, 3, 100)))
    def upsert(self, documents: list[Document], batch_size: int) -> None:
        """Add or replace documents."""
        assert self.collection.upsert(documents, whole=False, batch_size=batch_size) == len(
            {one.doc_id for one in documents}
        )
        self._truth |= {one.doc_id: one for one in documents}

    @precondition(lambda self: self._truth)
    @rule(data=st.data(), same=st.booleans())
    def update(self, data: Any, same: bool) -> None:  # noqa: FBT001
        """Write a document that is there again: the same, or changed."""
        name = data.draw(st.sampled_from(sorted(self._truth)))
        changed = self._truth[name] if same else data.draw(_documents.map(lambda one: _named(one, name)))
        self.upsert([changed], 1)

    @rule(numbers=st.lists(_numbers, min_size=1, max_size=5))
    def delete(self, numbers: list[int]) -> None:
        """Delete documents, some of which are not there."""
        names = {f"d{number}" for number in numbers}
        assert self.collection.delete(f"d{number}" for number in numbers) == len(names & self._truth.keys())
        self._truth = {name: one for name, one in self._truth.items() if name not in names}

    @rule()
    def merge(self) -> None:
        """Begin a merge in the background, and go on."""
        collection = self.collection
        collection.snapshot()
        with collection._lock:
            collection._merge_soon()

    @rule()
    def reopen(self) -> None:
        """Close the collection and open it again."""
        self.collection.close()
        self._collection = opened(self._folder)

    @rule()
    def kill(self) -> None:
        """Go on with the files as they are at this moment, as after the death of the process."""
        killed = self.collection
        self._folder = self._scratch / str(int(self._folder.name) + 1)
        _copied(self._scratch / str(int(self._folder.name) - 1), self._folder)
        killed.close()
        self._collection = opened(self._folder)

    @rule()
    def other_process(self) -> None:
        """Let another opening write the index files."""
        with opened(self._folder) as other:
            other.flush()

    # ------------------------------------------------------------------------------------ what must hold

    @rule(query=_queries, wanted=_filters)
    def search(self, query: str, wanted: dict[str, int] | None) -> None:
        """Compare what is found with brute force: the passages, and the dense scores."""
        passages = [one for found in self._truth.values() for one in split(found)]
        passages = [one for one in passages if wanted is None or one.metadata["n"] == wanted["n"]]
        terms = set(analyze(query))
        expected = {one.passage_id for one in passages if terms.intersection(lexical_terms(one))}
        hits = self.collection.search(query, 1_000, "lexical", wanted)
        assert len(hits) == len(expected)
        assert {hit.passage_id for hit in hits} == expected
        scores = _dense_scores(query, passages)
        dense = {hit.passage_id: hit.score for hit in self.collection.search(query, 1_000, "dense", wanted)}
        assert dense.keys() == scores.keys()
        assert all(abs(dense[name] - score) < 2e-5 for name, score in scores.items())
        self.done["searches compared"] += 1

    @rule()
    def flush(self) -> None:
        """Compare all rankings with those of a clean build."""
        self.collection.flush()
        assert rankings(self.collection) == clean(self._truth)
        self.done["flushes compared with a clean build"] += 1

    @rule()
    def read(self) -> None:
        """Compare all documents."""
        assert stored(self.collection) == self._truth
        assert self.collection.count() == len(self._truth)

    def teardown(self) -> None:
        """Compare all once more, and clean up."""
        try:
            if self._collection is not None:
                self.read()
                self.flush()
        finally:
            module._AT_ONCE = self._before
            if self._collection is not None:
                self._collection.close()
            shutil.rmtree(self._scratch)
            self.done["runs"] += 1


def _named(one: Document, name: str) -> Document:
    return Document(name, one.text, one.title, one.metadata)


def _dense_scores(query: str, passages: list[Passage]) -> dict[str, float]:
    """Return the inner products of a query with all passages of its space."""
    space = SPACES.of(query)
    within = [one for one in passages if SPACES.of(one.indexed_text) == space]
    if not within:
        return {}
    asked = next(iter(SPACES.encode_queries([query])[0].values())).astype(np.float64)
    vectors = SPACES.encode_documents([one.indexed_text for one in within])
    return {
        one.passage_id: float(next(iter(vector.values())).astype(np.float64) @ asked)
        for one, vector in zip(within, vectors, strict=True)
    }


def _copied(folder: Path, to: Path) -> None:
    """Copy a folder whose index files may come and go meanwhile; the store is not being written."""
    for parent, _, names in os.walk(folder):  # which passes over what has gone
        target = to / Path(parent).relative_to(folder)
        target.mkdir()
        for name in names:
            with suppress(FileNotFoundError):
                if not name.endswith("-shm"):
                    shutil.copyfile(Path(parent, name), target / name)


def states(count: int, seed: int, steps: int = 50, *, shrink: bool = True) -> tuple[Counter[str], list[str]]:
    """Run the machine `count` times; return what was done, and what was not as it must be."""
    machine = seeded(seed)(CollectionStates)
    CollectionStates.done.clear()
    chosen = settings(
        max_examples=count,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(machine, settings=chosen)
    except Exception as error:  # noqa: BLE001 - all are differences
        return CollectionStates.done, ["".join(traceback.format_exception(error))]
    return CollectionStates.done, []
