"""A short run of the state machine; `PYTHONPATH=tests/faults python -m durability states` makes the long one."""

import pytest
from durability.states import CollectionStates, states

pytestmark = pytest.mark.usefixtures("memory")


def test_a_collection_is_a_dictionary_that_can_be_searched() -> None:
    told, faults = states(8, seed=7, steps=25)
    assert faults == []
    assert told["runs"] >= 8
    assert told["searches compared"] > 5
    assert told["flushes compared with a clean build"] > 5


def test_the_machine_notices_a_lost_delete(monkeypatch) -> None:
    real = CollectionStates.collection.fget
    assert real is not None

    def forgetful(self):
        collection = real(self)
        monkeypatch.setattr(collection._store, "delete", lambda doc_ids: len(collection._store.digests(list(doc_ids))))
        return collection

    monkeypatch.setattr(CollectionStates, "collection", property(forgetful))
    _, faults = states(20, seed=1, steps=20, shrink=False)
    assert faults
