"""Several collections searched as one."""

import random
from pathlib import Path

import pytest

from querywright.retrieval.collection import Collection
from querywright.retrieval.fitting import Fusion, save_fusion
from querywright.retrieval.fusion import Method
from querywright.retrieval.joined import Joined
from querywright.retrieval.passage import Document
from querywright.retrieval.snapshot import Leg

WORDS = [f"word{number}" for number in range(30)]


@pytest.fixture
def ponds(tmp_path: Path, word_encoder):
    dice = random.Random(3)
    opened = []
    for name in ("beta", "alpha"):
        pond = Collection(tmp_path / name, word_encoder)
        documents = [
            Document(f"d{number}", " ".join(dice.choices(WORDS, k=8)), metadata={"n": number}) for number in range(40)
        ]
        pond.upsert([*documents, Document("same", "red fox", metadata={"n": 99})])
        opened.append(pond)
    yield opened
    for pond in opened:
        pond.close()


def test_hits_come_from_all_and_name_their_collection(ponds) -> None:
    snapshot = Joined(ponds).snapshot()
    assert len(snapshot) == 82
    for leg in Leg:
        ranking = snapshot.rank(["red fox"], (leg,))[0][leg]
        best = snapshot.hits(ranking, 2)
        # Equal passages tie in either leg: they stand in the order of their collections' names.
        assert [(hit.collection, hit.doc_id) for hit in best] == [("alpha", "same"), ("beta", "same")]
        assert best[0].score == pytest.approx(best[1].score)
    assert snapshot.holding("red", "fox") == 2
    assert snapshot.coverage("red whale", [40, 81]) == 0.5


def test_dense_lists_are_those_of_one_collection_with_all_documents(ponds, tmp_path: Path, word_encoder) -> None:
    with Collection(tmp_path / "whole", word_encoder) as whole:
        for pond in ponds:
            whole.upsert(Document(f"{pond.name}-{one.doc_id}", one.text) for one in pond.documents(limit=1000))
        expected = whole.search("word1 word2", 50, "dense")
    snapshot = Joined(ponds).snapshot()
    ranking = snapshot.rank(["word1 word2"], (Leg.DENSE,))[0][Leg.DENSE]
    found = snapshot.hits(ranking, 50)
    assert [(f"{hit.collection}-{hit.doc_id}", hit.score) for hit in found] == [
        (hit.doc_id, hit.score) for hit in expected
    ]


def test_a_filter_and_the_depth_hold_over_all(ponds) -> None:
    snapshot = Joined(ponds).snapshot()
    ranking = snapshot.rank(["word1"], (Leg.DENSE,), 7, {"n": {"lt": 5}})[0][Leg.DENSE]
    hits = snapshot.hits(ranking, 100)
    assert len(hits) == 7
    assert {hit.metadata["n"] for hit in hits} <= set(range(5))


def test_a_common_word_is_worth_what_it_is_worth_where_it_stands(tmp_path: Path) -> None:
    with Collection(tmp_path / "rare") as rare, Collection(tmp_path / "common") as common:
        rare.upsert([Document("a", "fox"), *(Document(f"x{number}", f"frog{number}") for number in range(50))])
        common.upsert(Document(f"y{number}", "fox") for number in range(50))
        snapshot = Joined([rare, common]).snapshot()
        ranking = snapshot.rank(["fox"], (Leg.LEXICAL,))[0][Leg.LEXICAL]
        assert len(ranking) == 51
        assert 0 < ranking.scores.min() <= ranking.scores.max() <= 1


def test_a_text_that_nothing_reads_has_no_list(ponds) -> None:
    nothing, chinese = Joined(ponds).snapshot().rank(["", "狐狸"], tuple(Leg))
    assert nothing == {}
    assert set(chinese) == {Leg.LEXICAL}
    assert len(chinese[Leg.LEXICAL]) == 0


def test_a_fusion_is_used_where_all_have_it(ponds, tmp_path: Path) -> None:
    joined = Joined(ponds)
    assert joined.fusion() is None
    save_fusion(tmp_path / "alpha", Fusion(Method.RRF, 0.3))
    assert joined.fusion() is None
    save_fusion(tmp_path / "beta", Fusion(Method.RRF, 0.3))
    assert joined.fusion() == Fusion(Method.RRF, 0.3)


def test_a_state_has_a_name_of_its_own(ponds) -> None:
    joined = Joined(ponds)
    before = joined.snapshot().generation
    assert joined.snapshot().generation == before
    ponds[0].upsert([Document("new", "fox")])
    assert joined.snapshot().generation != before
