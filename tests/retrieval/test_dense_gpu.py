import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module

import numpy as np
import pytest

from querywright import InputError, MissingExtraError
from querywright.retrieval import dense_gpu
from querywright.retrieval.dense import DegradedSearch, DenseIndex
from querywright.retrieval.dense_gpu import DeviceScan, FaissEngine, TorchEngine, on_device


def unit(random: np.random.Generator, size: int, dimensions: int = 48) -> np.ndarray:
    vectors = random.standard_normal((size, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def pairs(index: DenseIndex, query: np.ndarray, depth: int = 100, allowed: np.ndarray | None = None) -> list:
    ranking = index.search(query, depth, allowed)
    return list(zip(ranking.positions.tolist(), ranking.scores.tolist(), strict=True))


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class LimitedEngine(TorchEngine):
    """The torch engine on the processor, with what a small GPU does: it holds no more than `most` queries at once.

    It notes the size of each batch that it answered and the threads that called it.
    """

    def __init__(self, vectors: np.ndarray, most: int = 1_000) -> None:
        super().__init__(vectors, "cpu")
        self.most = most
        self.fault = ""
        self.batches: list[int] = []
        self.threads: set[int] = set()

    def nearest(self, queries: np.ndarray, width: int) -> np.ndarray:
        self.threads.add(threading.get_ident())
        if self.fault:
            raise RuntimeError(self.fault)
        if len(queries) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate much")
        self.batches.append(len(queries))
        # As long as a launch may take, so that others come to wait.
        time.sleep(0.002)
        return super().nearest(queries, width)


VECTORS = unit(np.random.default_rng(1), 3_000)
QUERIES = unit(np.random.default_rng(2), 256)
INDEX = DenseIndex.build(VECTORS, np.arange(3_000))


def scanned(engine: LimitedEngine, **options: float) -> tuple[DenseIndex, DeviceScan]:
    scan = DeviceScan(lambda: engine, **options)
    scan.wait()
    return INDEX.scanned_by(scan), scan


@pytest.mark.parametrize("depth", [1, 100, 1_000])
def test_the_torch_engine_finds_what_the_exact_index_finds(depth: int) -> None:
    index, _ = scanned(engine := LimitedEngine(VECTORS))
    for query in QUERIES[:20]:
        assert pairs(index, query, depth) == pairs(INDEX, query, depth)
    assert len(engine.batches) == 20
    assert index.degraded == ""


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9])
def test_filters(share: float) -> None:
    allowed = np.random.default_rng(3).random(3_000) < share
    index, _ = scanned(LimitedEngine(VECTORS))
    for query in QUERIES[:20]:
        assert pairs(index, query, 50, allowed) == pairs(INDEX, query, 50, allowed)


def test_one_thread_answers_64_in_batches() -> None:
    index, _ = scanned(engine := LimitedEngine(VECTORS))
    alone = [pairs(INDEX, query) for query in QUERIES]
    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(partial(pairs, index), QUERIES)) == alone
    assert len(engine.threads) == 1
    assert threading.get_ident() not in engine.threads
    assert sum(engine.batches) == len(QUERIES)
    assert max(engine.batches) > 1


def test_out_of_memory_halves_the_batch() -> None:
    index, _ = scanned(engine := LimitedEngine(VECTORS, most=3))
    alone = [pairs(INDEX, query) for query in QUERIES]
    with ThreadPoolExecutor(64) as pool:
        assert list(pool.map(partial(pairs, index), QUERIES)) == alone
    assert sum(engine.batches) == len(QUERIES)
    assert max(engine.batches) <= 3
    assert index.degraded == ""


def test_without_memory_for_one_query_the_index_answers_marked_and_the_device_recovers() -> None:
    loaded: list[LimitedEngine] = []

    def load() -> LimitedEngine:
        loaded.append(LimitedEngine(VECTORS, most=0 if len(loaded) < 2 else 10))
        return loaded[-1]

    scan = DeviceScan(load, pause_s=0.05)
    scan.wait()
    index = INDEX.scanned_by(scan)
    assert pairs(index, QUERIES[0]) == pairs(INDEX, QUERIES[0])
    assert "out of memory" in index.degraded
    until(lambda: pairs(index, QUERIES[0]) == pairs(INDEX, QUERIES[0]) and len(loaded) == 3 and loaded[2].batches)
    assert index.degraded == ""


def test_a_lost_device_loses_no_query() -> None:
    index, _ = scanned(engine := LimitedEngine(VECTORS))
    alone = [pairs(INDEX, query) for query in QUERIES]
    with ThreadPoolExecutor(64) as pool:
        answers = pool.map(partial(pairs, index), QUERIES)
        engine.fault = "CUDA error: device lost"
        assert list(answers) == alone
    assert "device lost" in index.degraded


def test_what_cannot_be_loaded_is_marked_and_tried_again() -> None:
    ready = threading.Event()

    def load() -> LimitedEngine:
        if not ready.is_set():
            raise RuntimeError("no such device")
        return LimitedEngine(VECTORS)

    scan = DeviceScan(load, pause_s=0.02)
    scan.wait()
    index = INDEX.scanned_by(scan)
    assert pairs(index, QUERIES[0]) == pairs(INDEX, QUERIES[0])
    assert "no such device" in index.degraded
    ready.set()
    until(lambda: not index.degraded)
    assert len(scan.nearest(QUERIES[0], 10)) == 10


def test_while_it_is_loaded_the_index_answers_unmarked() -> None:
    go = threading.Event()

    def load() -> LimitedEngine:
        go.wait(10)
        return LimitedEngine(VECTORS)

    scan = DeviceScan(load)
    index = INDEX.scanned_by(scan)
    with pytest.raises(DegradedSearch, match="being loaded"):
        scan.nearest(QUERIES[0], 10)
    assert pairs(index, QUERIES[0]) == pairs(INDEX, QUERIES[0])
    assert index.degraded == ""
    go.set()
    scan.wait()
    assert len(scan.nearest(QUERIES[0], 10)) == 10


def test_a_device_that_hangs_is_not_waited_for() -> None:
    class Hanging(LimitedEngine):
        def nearest(self, queries: np.ndarray, width: int) -> np.ndarray:
            go.wait(10)
            return super().nearest(queries, width)

    go = threading.Event()
    index, _ = scanned(Hanging(VECTORS), patience_s=0.05)
    assert pairs(index, QUERIES[0]) == pairs(INDEX, QUERIES[0])
    assert "no answer" in index.degraded
    go.set()
    until(lambda: not index.degraded)


def test_the_thread_ends_with_the_scan() -> None:
    def threads() -> int:
        return sum(thread.name == "querywright-device" for thread in threading.enumerate())

    gc.collect()
    until(lambda: threads() == 0)
    index, scan = scanned(LimitedEngine(VECTORS))
    assert threads() == 1
    del index, scan
    until(lambda: threads() == 0)


def test_no_more_candidates_than_the_engine_finds() -> None:
    index, scan = scanned(engine := LimitedEngine(VECTORS))
    engine.widest = 200
    assert scan.nearest(QUERIES[0], 201) is None
    assert pairs(index, QUERIES[0], 1_000) == pairs(INDEX, QUERIES[0], 1_000)
    assert engine.batches == []


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected cpu, cuda or auto"):
        on_device(INDEX, "tpu")
    assert on_device(INDEX, "cpu", least=0) is INDEX
    monkeypatch.setattr(dense_gpu, "_has_driver", lambda: False)
    dense_gpu._engine.cache_clear()
    try:
        assert on_device(INDEX, "auto", least=0) is INDEX
        with pytest.raises(MissingExtraError, match="neither FAISS nor torch"):
            on_device(INDEX, "cuda")
    finally:
        dense_gpu._engine.cache_clear()


def gpu_engines() -> list[type]:
    """Return the engines that this machine can load."""
    engines: list[type] = []
    if dense_gpu._has_driver():
        engines += [FaissEngine] if import_module("faiss").get_num_gpus() else []
        engines += [TorchEngine] if import_module("torch").cuda.is_available() else []
    return engines


@pytest.mark.gpu
@pytest.mark.parametrize("engine", [FaissEngine, TorchEngine])
def test_gpu_and_cpu_agree_under_64_threads(engine: type) -> None:
    if engine not in gpu_engines():
        pytest.skip("needs a GPU")
    random = np.random.default_rng(4)
    vectors, queries = unit(random, 100_000, 384), unit(random, 512, 384)
    exact = DenseIndex(vectors, np.arange(100_000))
    scan = DeviceScan(partial(engine, vectors), patience_s=60)
    scan.wait()
    index = exact.scanned_by(scan)
    with ThreadPoolExecutor(64) as pool:
        ours = list(pool.map(partial(pairs, index), queries))
    assert index.degraded == ""
    # The scores are exact on both sides, so that only a candidate that half precision lost could differ.
    assert ours == [pairs(exact, query) for query in queries]
    allowed = random.random(100_000) < 0.5
    assert [pairs(index, query, 100, allowed) for query in queries[:50]] == [
        pairs(exact, query, 100, allowed) for query in queries[:50]
    ]


@pytest.mark.gpu
def test_the_gpu_is_taken_where_there_is_one() -> None:
    if not gpu_engines():
        pytest.skip("needs a GPU")
    assert on_device(INDEX, "auto", least=0) is not INDEX
    assert on_device(INDEX, "cuda") is INDEX
