import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from querywright import StorageError, UnavailableError
from querywright.retrieval.encoders import Encoder, minilm_folder
from querywright.retrieval.onnx_encoder import GRAPH, OnnxEncoder

SENTENCE = "the sales report of our east region fell by a third after prices for coffee rose in June"


def texts_of(seed: int, count: int, longest: int = 300) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(SENTENCE.split(), size=random.integers(1, longest))) for _ in range(count)]


def test_vectors_know_meaning(encoder: Encoder) -> None:
    counts: list[int] = []
    texts = ["A cat sits on the mat.", "The fiscal year ends in June.", "kitten"]
    vectors = encoder.encode_documents(texts, counts.append)
    assert vectors.shape == (3, encoder.dimensions) == (3, 384)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert counts[-1] == 3
    query = encoder.encode_queries(["a small cat"])[0]
    assert (vectors @ query).argmin() == 1


def test_a_text_alone_is_a_text_in_company(encoder: Encoder) -> None:
    """In any batch, at any place, by either method."""
    texts = [*texts_of(1, 16, 120), "", "x", "  ", "?!", "short"]
    together = encoder.encode_documents(texts)
    assert encoder.encode_documents(texts[::-1])[::-1] == pytest.approx(together, abs=1e-6)
    for text, vector in zip(texts, together, strict=True):
        assert encoder.encode_documents([text])[0] == pytest.approx(vector, abs=1e-6)
        assert encoder.encode_queries([text])[0] == pytest.approx(vector, abs=1e-6)
    assert encoder.encode_queries(texts) == pytest.approx(together, abs=1e-6)
    assert encoder.encode_queries(texts[:9]) == pytest.approx(together[:9], abs=1e-6)


def test_nothing_gives_nothing(encoder: Encoder) -> None:
    assert encoder.encode_documents([]).shape == encoder.encode_queries([]).shape == (0, 384)


def test_it_tells_how_many_are_done(encoder: Encoder) -> None:
    counts: list[int] = []
    encoder.encode_documents(texts_of(2, 1_100, 3), counts.append)
    assert counts == sorted(set(counts))
    assert counts[-1] == 1_100
    assert 1_024 in counts


def test_many_threads_get_what_one_gets(encoder: Encoder) -> None:
    texts = texts_of(3, 48, 20)
    alone = np.stack([encoder.encode_queries([text])[0] for text in texts])
    with ThreadPoolExecutor(16) as pool:
        documents = pool.submit(encoder.encode_documents, texts_of(4, 20, 150))
        found = np.concatenate(list(pool.map(lambda text: encoder.encode_queries([text]), texts)))
        assert documents.result() == pytest.approx(encoder.encode_documents(texts_of(4, 20, 150)), abs=1e-6)
    assert found == pytest.approx(alone, abs=1e-6)


def test_a_query_does_not_wait_for_documents(encoder: Encoder) -> None:
    encoder.encode_queries(["ready"])
    begun, answered = threading.Event(), threading.Event()
    after: list[int] = []

    def told(done: int) -> None:
        begun.set()
        if answered.is_set():
            after.append(done)

    def query() -> None:
        begun.wait(60)
        encoder.encode_queries(["sales of June"])
        answered.set()

    thread = threading.Thread(target=query)
    thread.start()
    encoder.encode_documents(texts_of(5, 40, 150), told)
    thread.join()
    assert after, "the query was answered after the last batch"


def test_it_reads_english_only(encoder: Encoder) -> None:
    assert encoder.reads("How does it work?")
    assert not encoder.reads("这个功能怎么用?")
    assert not encoder.reads("?!")
    assert not encoder.reads("")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with copies of all that the encoder reads."""
    shutil.copytree(minilm_folder(), tmp_path / "model")
    shutil.copy(GRAPH, tmp_path / "graph.onnx")
    return tmp_path


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", ["graph.onnx", "model/model.safetensors", "model/tokenizer.json"])
@pytest.mark.parametrize("damage", [flipped, cut, Path.unlink])
def test_damaged_files_are_told(files: Path, name: str, damage: Callable[[Path], None]) -> None:
    damage(files / name)
    encoder = OnnxEncoder("minilm", files / "model", graph=files / "graph.onnx")
    with pytest.raises(StorageError, match=f"{Path(name).name}: (sha256 is|cannot be read)"):
        encoder.load()
    shutil.rmtree(files)  # what failed once is not tried again
    with pytest.raises(StorageError, match=Path(name).name):
        encoder.encode_queries(["x"])


def test_a_failing_run_is_told_as_such() -> None:
    encoder = OnnxEncoder("minilm", minilm_folder(), threads=1)
    encoder.load()
    too_long = np.full(600, 1_000, dtype=np.int64)  # there are 512 positions
    with pytest.raises(UnavailableError, match="encoder 'minilm': 1 texts could not be encoded"):
        encoder._run([too_long])
    assert encoder.encode_queries(["it goes on"]).shape == (1, 384)


def test_no_use_is_reported(tmp_path: Path) -> None:
    """ONNX Runtime, left alone, writes an id of the device into the home and sends reports under it."""
    program = "from querywright.retrieval.encoders import load_encoder; load_encoder('minilm').encode_queries(['frog'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", program], env=environment | {"HOME": str(tmp_path)}, check=True)
    assert list(tmp_path.rglob("*")) == []
