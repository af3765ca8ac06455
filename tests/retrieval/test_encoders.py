import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from querywright import InputError, MissingExtraError, StorageError
from querywright.retrieval import encoders
from querywright.retrieval.encoders import SentenceEncoder, load_encoder, minilm_folder
from querywright.retrieval.onnx_encoder import OnnxEncoder


def test_minilm_runs_without_torch_and_others_with_it() -> None:
    assert isinstance(load_encoder("minilm"), OnnxEncoder)
    assert isinstance(load_encoder(str(minilm_folder())), SentenceEncoder)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(MissingExtraError, match="offline"):
        load_encoder()


def test_a_folder_by_sentence_transformers() -> None:
    found = load_encoder(str(minilm_folder()))
    counts: list[int] = []
    texts = ["A cat sits on the mat.", "The fiscal year ends in June.", "kitten"] * 20
    vectors = found.encode_documents(texts, counts.append)
    assert vectors.shape == (60, found.dimensions) == (60, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    assert counts == sorted(counts)
    assert counts[-1] == 60
    assert (vectors[:3] @ found.encode_queries(["a small cat"])[0]).argmin() == 1
    assert found.encode_documents([]).shape == found.encode_queries([]).shape == (0, 384)
    assert found.name == str(minilm_folder())
    assert found.reads("这个功能怎么用?")
    assert not found.reads("?!")


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
