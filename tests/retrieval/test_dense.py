import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from querywright import InputError, MissingExtraError, StorageError
from querywright.retrieval import dense
from querywright.retrieval.dense import DenseIndex, Encoder, check_weights, load_encoder


def unit(random: np.random.Generator, size: int, dimensions: int = 24) -> np.ndarray:
    vectors = random.standard_normal((size, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [None, 0.0, 0.05, 0.5])
def test_equals_brute_force(seed: int, share: float | None) -> None:
    random = np.random.default_rng(seed)
    vectors = unit(random, 400)
    positions = np.sort(random.choice(1_000, 400, replace=False))
    allowed = None if share is None else random.random(1_000) < share
    index = DenseIndex.build(vectors, positions)
    for query in unit(random, 10):
        scores = np.full(1_000, -np.inf)
        scores[positions] = vectors.astype(np.float64) @ query.astype(np.float64)
        if allowed is not None:
            scores[~allowed] = -np.inf
        expected = np.sort(scores[np.isfinite(scores)])[::-1]
        for depth in (1, 10, 100, 1_000):
            found = index.search(query, depth, allowed)
            assert len(set(found.positions.tolist())) == len(found) == min(depth, len(expected))
            assert scores[found.positions] == pytest.approx(found.scores, abs=1e-5)
            assert found.scores == pytest.approx(expected[:depth], abs=1e-5)
            assert np.all(np.diff(found.scores) <= 0)


def test_ties_are_cut_by_position_however_many() -> None:
    vectors = np.repeat(unit(np.random.default_rng(1), 2), 300, axis=0)
    index = DenseIndex.build(vectors, np.arange(600))
    assert index.search(vectors[0], 5).positions.tolist() == [0, 1, 2, 3, 4]
    assert index.search(vectors[599], 5).positions.tolist() == [300, 301, 302, 303, 304]
    allowed = np.arange(600) % 7 == 3
    assert index.search(vectors[0], 3, allowed).positions.tolist() == [3, 10, 17]


def test_minilm_gives_unit_vectors_that_know_meaning(encoder: Encoder) -> None:
    counts: list[int] = []
    texts = ["A cat sits on the mat.", "The fiscal year ends in June.", "kitten"]
    vectors = encoder.encode_documents(texts, counts.append)
    assert vectors.shape == (3, encoder.dimensions) == (3, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert counts[-1] == 3
    query = encoder.encode_queries(["a small cat"])[0]
    assert (vectors @ query).argmin() == 1


def test_minilm_encodes_alike_alone_and_in_company(encoder: Encoder) -> None:
    texts = ["short", "a much longer sentence about sales reports in the east region", "middle one here"]
    together = encoder.encode_documents(texts)
    alone = np.concatenate([encoder.encode_documents([text]) for text in texts])
    assert together == pytest.approx(alone, abs=1e-5)
    assert encoder.encode_documents([]).shape == encoder.encode_queries([]).shape == (0, 384)


def test_minilm_reads_english_only(encoder: Encoder) -> None:
    assert encoder.reads("How does it work?")
    assert not encoder.reads("这个功能怎么用?")
    assert not encoder.reads("?!")
    assert not encoder.reads("")


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(StorageError, match="sha256"):
        check_weights(tmp_path)
    with pytest.raises(StorageError, match="cannot be read"):
        check_weights(tmp_path / "missing")


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(MissingExtraError, match="offline"):
        load_encoder()


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(StorageError, match="no readable model"):
        load_encoder(str(tmp_path)).encode_queries(["x"])
    with pytest.raises(InputError, match="encoder"):
        load_encoder("  ")


def test_weights_to_unpickle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "2_Dense").mkdir()
    (tmp_path / "2_Dense" / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(StorageError, match=r"pytorch_model\.bin: only weights in model\.safetensors"):
        load_encoder(str(tmp_path)).encode_queries(["x"])


def test_importing_collections_imports_no_heavy_library() -> None:
    code = (
        "import sys, querywright.retrieval.collection;"
        "print([name for name in ('torch', 'faiss', 'sentence_transformers', 'rjieba') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
