import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querywright import InputError, StorageError
from querywright.retrieval import fitting
from querywright.retrieval.fitting import CANDIDATES, FILE, Fusion, fit, load_fusion, save_fusion
from querywright.retrieval.fusion import Method

fusions = st.builds(Fusion, st.sampled_from(Method), st.floats(0.01, 0.99))


def towards(weight: float, conversations: list[str], noise: float = 0.0) -> fitting.Values:
    """Return what each query gets by a fusion, the more the nearer its weight; noise of its own for each."""
    spread = noise * np.random.default_rng(3).standard_normal(len(conversations))

    def values(fusion: Fusion) -> fitting.Values:
        return np.array([1 - abs(fusion.lexical_weight - weight - one) for one in spread])

    return values


def test_the_best_weight_is_found() -> None:
    asked = [f"c{number // 2}" for number in range(40)]
    found = fit(towards(0.7, asked, 0.02), asked)
    assert found.fusion.lexical_weight == pytest.approx(0.7)
    assert found.holds
    assert found.unseen.mean() > found.before.mean()


def test_ties_go_to_what_was_set() -> None:
    start = Fusion(Method.Z_SCORE, 0.33)
    found = fit(lambda _: np.full(6, 0.5), list("aabbcc"), start)
    assert found.fusion == start
    assert not found.holds


def test_no_query_is_judged_by_what_it_helped_to_choose() -> None:
    """Each conversation wants a weight that no other wants: on unseen ones, all that helps is luck."""
    asked = [f"c{number}" for number in range(10)]
    wanted = [CANDIDATES[19 + number] for number in range(10)]
    found = fit(lambda fusion: np.array([float(fusion == one) for one in wanted]), asked)
    assert found.unseen.sum() == 0
    assert not found.holds


def test_conversations_are_held_out_whole() -> None:
    """Two queries of one conversation agree on a weight; held out together, neither can tell of it."""
    asked = [f"c{number // 2}" for number in range(20)]
    wanted = [CANDIDATES[19 + number // 2] for number in range(20)]
    found = fit(lambda fusion: np.array([float(fusion == one) for one in wanted]), asked, folds=10)
    assert found.unseen.sum() == 0


def test_the_same_seed_gives_the_same() -> None:
    asked = [f"c{number}" for number in range(30)]
    one, other = (fit(towards(0.5, asked, 0.3), asked, seed=7) for _ in range(2))
    assert (one.fusion, one.unseen.tolist()) == (other.fusion, other.unseen.tolist())


def test_one_conversation_is_too_few() -> None:
    with pytest.raises(InputError, match="at least two conversations"):
        fit(lambda _: np.ones(3), ["a", "a", "a"])


@pytest.mark.parametrize("weight", [0.0, 1.0, -0.5, float("nan"), float("inf")])
def test_a_weight_lies_between_0_and_1(weight: float) -> None:
    with pytest.raises(InputError, match="lexical_weight"):
        Fusion(Method.MIN_MAX, weight)


@given(fusion=fusions)
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, fusion: Fusion) -> None:
    folder = tmp_path_factory.mktemp("c")
    save_fusion(folder, fusion, {"queries": 3})
    assert load_fusion(folder) == fusion
    save_fusion(folder, Fusion(Method.RRF, 0.5))
    assert load_fusion(folder) == Fusion(Method.RRF, 0.5)
    assert [path.name for path in folder.iterdir()] == [FILE]


def test_a_collection_without_a_file_has_none(tmp_path: Path) -> None:
    assert load_fusion(tmp_path) is None
    assert load_fusion(tmp_path / "none") is None


def test_damage_is_told(tmp_path: Path) -> None:
    save_fusion(tmp_path, Fusion())
    whole = (tmp_path / FILE).read_bytes()
    row = json.loads(whole)
    damaged = [
        b"",
        b"[]",
        b"null",
        whole[:-1],
        b"\xff" + whole,
        *(json.dumps(row | change).encode() for change in (
            {"format": 2}, {"method": "best"}, {"method": None}, {"lexical_weight": 1.5}, {"lexical_weight": "much"},
            {"lexical_weight": None}, {"lexical_weight": float("nan")}, {"lexical_weight": []},
        )),
        *(json.dumps({k: v for k, v in row.items() if k != key}).encode() for key in ("format", "method")),
    ]  # fmt: skip
    for content in damaged:
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(StorageError, match=r"fusion\.json: damaged: fit the collection again"):
            load_fusion(tmp_path)


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_fusion(tmp_path, Fusion(Method.RRF, 0.25))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        save_fusion(tmp_path, Fusion())
    assert load_fusion(tmp_path) == Fusion(Method.RRF, 0.25)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(StorageError, match="cannot be read"):
        load_fusion(tmp_path)
    with pytest.raises(StorageError, match="cannot be written"):
        save_fusion(tmp_path, Fusion())
