"""How many machines many passages take: formulas over what was measured on one core, and what has to be assumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scale_measure import CANDIDATES, SHARES
from .speed_peers import DEPTH
from .speed_texts import DIMENSIONS

HALF = 2 * DIMENSIONS
"""Bytes of a vector in half precision."""

WHOLE = 4 * DIMENSIONS
"""Bytes of a vector in single precision."""

_SIMULATED = 2_000
"""Queries of a simulation."""


@dataclass(frozen=True, slots=True)
class Size:
    """So many passages, asked so many queries a second."""

    name: str
    passages: float
    queries: float
    asked: float = 1.0
    """The share of the shards that a query is sent to: a tenant's, a language's, a year's."""


SIZES = (
    Size("10 million", 1e7, 100),
    Size("1 billion", 1e9, 1_000),
    Size("100 billion", 1e11, 10_000),
    Size("100 billion, 1 % asked", 1e11, 10_000, 0.01),
)


def _assumed(value: float, why: str) -> Any:  # noqa: ANN401 - a field
    return field(default=value, metadata={"why": why})


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What was not measured, each with where it comes from."""

    cores: float = _assumed(32, "cores of a machine, each as fast as the measured one")
    memory_gb: float = _assumed(256, "its memory")
    disk_tb: float = _assumed(3.8, "its NVMe disk")
    disk_reads: float = _assumed(250_000, "random 4 KB reads a second of that disk; data sheets: 200,000 to 1,000,000")
    machine_price: float = _assumed(2.5, "$ an hour; public clouds list 2 to 3 on demand for such a machine")
    gpu_memory_gb: float = _assumed(141, "memory of a GPU (H200, NVIDIA's data sheet)")
    gpu_tflops: float = _assumed(300, "half precision, a third of the data sheet's 989")
    gpu_price: float = _assumed(4, "$ an hour of a GPU with its share of a host; clouds list 3 to 10")
    gpu_passages: float = _assumed(14_200, "passages a second encoded on a GPU; sbert.net's models: MiniLM, V100")
    cagra: float = _assumed(33, "× HNSW on 64 cores: low end of the CAGRA paper (2023), large batches; cores guessed")
    disk_graph_ms: float = _assumed(
        9.6, "core-ms of a search in a graph on disk: DiskANN (2019), 16 cores, 5,000 a second, × 3 for longer vectors"
    )
    disk_graph_reads: float = _assumed(100, "pages that it reads for a search, four at once; our estimate")
    lean_words: float = _assumed(
        190, "bytes a passage of compressed postings (tantivy, 19 MB for 100,000: benchmarks.md)"
    )
    lean_times: float = _assumed(4.69, "× our time with compressed postings, common words (the same table)")
    texts: float = _assumed(2, "texts searched for a query: as typed and rewritten; one where nothing is rewritten")
    busy: float = _assumed(0.5, "share of its time that a core, disk or GPU works")
    full: float = _assumed(0.75, "share of memory and disk that is filled")
    copies: float = _assumed(2, "machines that hold each passage, so that one may fail")
    patience_ms: float = _assumed(25, "one shard's search, alone on one core, should take no longer")
    network_ms: float = _assumed(
        0.5, "ms, a message there and back in one data centre, median; lognormal, p99 five times that"
    )
    message_us: float = _assumed(30, "processor time to send a shard a question and read its answer")
    answer_bytes: float = _assumed(20, "of each of a shard's hundred answers: where it is, its score, some overhead")
    threads: float = _assumed(8, "searches that a shard works on at once (QUERYWRIGHT_THREADS)")

    @property
    def why(self) -> Mapping[str, str]:
        """Where each comes from, by its name."""
        return {one.name: one.metadata["why"] for one in fields(self)}


class Inputs:
    """What was measured, by part and name, and straight lines through it."""

    def __init__(self, figures: Mapping[str, Mapping[str, Any]]) -> None:
        self._figures = figures

    def __call__(self, part: str, name: str) -> float:
        """Return one figure."""
        return float(self._figures[part][name])

    def steps(self, part: str, head: str, tail: str) -> dict[int, float]:
        """Return the figures named HEAD_SIZE_TAIL by their sizes, ascending."""
        names = {name: name.removeprefix(f"{head}_").removesuffix(f"_{tail}") for name in self._figures[part]}
        found = {int(size): self(part, name) for name, size in names.items() if size.isdigit()}
        return dict(sorted(found.items()))

    def last(self, part: str, head: str, tail: str) -> tuple[int, float]:
        """Return the largest of `steps` with its figure."""
        return list(self.steps(part, head, tail).items())[-1]

    def each(self, part: str, head: str, tail: str) -> float:
        """Return the figure of the largest step for one passage."""
        size, figure = self.last(part, head, tail)
        return figure / size

    def line(self, part: str, head: str, tail: str) -> Callable[[float], float]:
        """Return the straight line through the two largest steps."""
        (low, below), (high, above) = list(self.steps(part, head, tail).items())[-2:]
        return lambda n: above + (above - below) / (high - low) * (n - high)

    def logarithm(self, part: str, head: str, tail: str) -> Callable[[float], float]:
        """Return the straight line over the logarithm of the size through the two largest steps."""
        (low, below), (high, above) = list(self.steps(part, head, tail).items())[-2:]
        slope = (above - below) / math.log(high / low)
        return lambda n: above + slope * math.log(n / high)

    def power(self, part: str, head: str, tail: str) -> Callable[[float], float]:
        """Return the power of the size that goes through the two largest steps."""
        (low, below), (high, above) = list(self.steps(part, head, tail).items())[-2:]
        exponent = math.log(above / below) / math.log(high / low)
        return lambda n: above * float((n / high) ** exponent)

    @cached_property
    def latencies(self) -> NDArray[np.float64]:
        """Latencies of hybrid searches in ms, at the shares SHARES of them."""
        return np.array(self._figures["served"]["latencies_ms"], dtype=np.float64)


# ------------------------------------------------------------------------------------------ indexes


@dataclass(frozen=True, slots=True)
class Index:
    """One way to search a shard: bytes a passage, core-ms of a search of `n` passages; on GPUs theirs.

    A search reads `reads` pages of the disk, so many at once that it waits `waits` times: `each` shard for itself, or
    once, when the candidates of all shards have been joined. Not `measured`: the time is an assumption.
    """

    name: str
    memory: float
    work_ms: Callable[[float], float]
    disk: float = 0.0
    reads: float = 0.0
    waits: float = 0.0
    each: bool = False
    gpu: bool = False
    measured: bool = True


def vector_indexes(inputs: Inputs, assumed: Assumptions) -> list[Index]:
    """Return the ways to search vectors."""
    flat, codes = (inputs.each("vectors", kind, "core_ms") for kind in ("flat", "codes"))
    code_bytes = inputs.last("vectors", "codes", "bytes")[1]
    links = inputs.last("graph", "links", "bytes")[1]
    graph = inputs.power("graph", "search", "core_ms")
    pages, walked = float(CANDIDATES), assumed.disk_graph_reads
    return [
        Index("flat", WHOLE, lambda n: flat * n),
        Index("codes (ours)", WHOLE + code_bytes, lambda n: codes * n),
        Index("HNSW", WHOLE + links, graph),
        Index("HNSW, if by ln n", WHOLE + links, inputs.logarithm("graph", "search", "core_ms"), measured=False),
        Index("IVF-PQ, vectors on disk", code_bytes + 8, inverted(inputs), WHOLE, pages, pages / 32),
        Index(
            "graph on disk",
            code_bytes,
            lambda _: assumed.disk_graph_ms,
            2048,
            walked,
            walked / 4,
            each=True,
            measured=False,
        ),
        Index("flat on GPUs", HALF, lambda n: 2 * DIMENSIONS * n / assumed.gpu_tflops / 1e9, gpu=True, measured=False),
        Index("CAGRA on GPUs", HALF + 4 * 64, lambda n: graph(n) / 64 / assumed.cagra, gpu=True, measured=False),
    ]


def inverted(inputs: Inputs) -> Callable[[float], float]:
    """Return the core-ms of a search of `n` vectors in √n lists: to compare with all centroids, then scan a share.

    The share that finds enough falls by the power of n that the two largest steps show; what the largest took beyond
    both is the same for every size.
    """
    flat, codes = (inputs.each("vectors", kind, "core_ms") for kind in ("flat", "codes"))
    largest, measured = inputs.last("vectors", "ivf", "core_ms")
    probes = inputs.power("vectors", "ivf", "effort")

    def scanned(n: float) -> float:
        return flat * math.sqrt(n) + codes * n * probes(n) / math.sqrt(n)

    rest = max(0.0, measured - scanned(largest))
    return lambda n: scanned(n) + rest


def list_making(inputs: Inputs) -> Callable[[float], float]:
    """Return the core-s to make the √n lists of `n` vectors, as if it were all comparing each with each centroid."""
    measured, seconds = inputs.last("vectors", "ivf_build", "core_s")
    return lambda n: seconds * float((n / measured) ** 1.5)


def word_indexes(inputs: Inputs, assumed: Assumptions) -> list[Index]:
    """Return the ways to search words, by queries of common words."""
    common = inputs.line("words", "common", "core_ms")
    held = inputs.last("words", "arrays", "bytes")[1]
    return [
        Index("BM25 in memory (ours)", held, common),
        Index("BM25, compressed", assumed.lean_words, lambda n: assumed.lean_times * common(n)),
    ]


def rarer_words(inputs: Inputs) -> Index:
    """Return our index of words as queries see it that leave the 500 most frequent words out."""
    held = inputs.last("words", "arrays", "bytes")[1]
    return Index("the same, rarer words only", held, inputs.line("words", "rarer", "core_ms"))


# ------------------------------------------------------------------------------------------ machines


@dataclass(frozen=True, slots=True)
class Load:
    """What all copies take together: bytes of memory and disk, busy cores, page reads a second; on GPUs likewise."""

    memory: float = 0.0
    disk: float = 0.0
    cores: float = 0.0
    reads: float = 0.0
    gpu_memory: float = 0.0
    gpus: float = 0.0

    def __add__(self, other: Load) -> Load:
        """Return both together."""
        return Load(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True, slots=True)
class Fleet:
    """Machines and GPUs that bear a load, which of their parts is the scarcest, what they cost an hour."""

    machines: int
    gpus: int
    bound: str
    price: float


@dataclass(frozen=True, slots=True)
class Layout:
    """An index over all passages of a size: its shards, core-ms (GPU-ms) of a search of those `asked`, its load."""

    index: Index
    shards: int
    asked: int
    search_ms: float
    load: Load

    def shard_ms(self, page_ms: float) -> float:
        """Return how long one shard takes, alone on one core, where a page of the disk takes `page_ms`."""
        return self.search_ms / self.asked + self.index.waits * page_ms


def lay_out(index: Index, size: Size, assumed: Assumptions) -> Layout:
    """Cut `size` into shards that fit a machine (GPU) and the patience, as few as can be, and add up the load."""
    held = (assumed.gpu_memory_gb if index.gpu else assumed.memory_gb) * 1e9 * assumed.full / index.memory
    on_disk = assumed.disk_tb * 1e12 * assumed.full / index.disk if index.disk else math.inf
    shards = math.ceil(size.passages / min(held, on_disk, largest(index.work_ms, assumed.patience_ms)))
    asked = math.ceil(shards * size.asked)
    search_ms = asked * index.work_ms(size.passages / shards)
    searches = size.queries * assumed.texts
    memory, workers = size.passages * index.memory * assumed.copies, searches * search_ms / 1_000
    if index.gpu:
        load = Load(gpu_memory=memory, gpus=workers)
    else:
        reads = searches * index.reads * (asked if index.each else 1)
        load = Load(memory, size.passages * index.disk * assumed.copies, workers, reads)
    return Layout(index, shards, asked, search_ms, load)


def largest(work_ms: Callable[[float], float], patience_ms: float) -> float:
    """Return how many passages can be searched within `patience_ms`, to one in a hundred; all where 1e15 can."""
    low, high = 1.0, 1e15
    if work_ms(high) <= patience_ms:
        return math.inf
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if work_ms(middle) <= patience_ms else (low, middle)
    return low


def fleet(load: Load, assumed: Assumptions) -> Fleet:
    """Return the machines that `load` takes: as many as the scarcest of their parts needs, a copy each at least."""
    needs = {
        "memory": load.memory / (assumed.memory_gb * 1e9 * assumed.full),
        "disk": load.disk / (assumed.disk_tb * 1e12 * assumed.full),
        "cores": load.cores / (assumed.cores * assumed.busy),
        "disk reads": load.reads / (assumed.disk_reads * assumed.busy),
    }
    gpu_needs = {
        "GPU memory": load.gpu_memory / (assumed.gpu_memory_gb * 1e9 * assumed.full),
        "GPU time": load.gpus / assumed.busy,
    }
    machines, gpus = (_whole(max(some.values()), assumed) for some in (needs, gpu_needs))
    every = needs | gpu_needs
    scarcest = max(every, key=every.__getitem__)
    bound = scarcest if every[scarcest] > assumed.copies else "copies"
    return Fleet(machines, gpus, bound, machines * assumed.machine_price + gpus * assumed.gpu_price)


def _whole(need: float, assumed: Assumptions) -> int:
    return max(math.ceil(need), round(assumed.copies)) if need else 0


# --------------------------------------------------------------------------------------- all of a query


@dataclass(frozen=True, slots=True)
class System:
    """All that answers queries over a size: both legs, core-ms of a query by what they go to, all machines."""

    size: Size
    words: Layout
    vectors: Layout
    work_ms: Mapping[str, float]
    fleet: Fleet

    @property
    def shards(self) -> int:
        """How many shards a query waits for, those of the leg that asks more."""
        return max(self.words.asked, self.vectors.asked)

    def answered_mb(self, assumed: Assumptions) -> float:
        """Return how much all shards answer to a query."""
        return assumed.texts * (self.words.asked + self.vectors.asked) * DEPTH * assumed.answer_bytes / 1e6


def systems(inputs: Inputs, assumed: Assumptions, sizes: Sequence[Size] = SIZES) -> list[System]:
    """Return for each size the system of the cheapest index of each leg, of those whose time was measured."""
    words, vectors = (
        [index for index in leg(inputs, assumed) if index.measured] for leg in (word_indexes, vector_indexes)
    )
    return [
        system(size, cheapest(words, size, assumed), cheapest(vectors, size, assumed), inputs, assumed)
        for size in sizes
    ]


def cheapest(indexes: Sequence[Index], size: Size, assumed: Assumptions) -> Layout:
    """Return the layout that costs least; of equal ones the one whose searches are the least work."""
    layouts = [lay_out(index, size, assumed) for index in indexes]
    return min(layouts, key=lambda one: (fleet(one.load, assumed).price, one.search_ms, one.load.memory))


def system(size: Size, words: Layout, vectors: Layout, inputs: Inputs, assumed: Assumptions) -> System:
    """Add up what a query takes, and what holds all passages."""
    join, texts = inputs.line("merging", "join", "core_ms"), assumed.texts
    front = {
        "rewriting": inputs("rewriting", "query_core_ms"),
        "encoding the texts": texts * inputs("encoding", "query_core_ms"),
        "joining and fusing": texts * (join(words.asked) + join(vectors.asked)) + inputs("merging", "fuse_core_ms"),
        "messages to shards": texts * (words.asked + vectors.asked) * assumed.message_us / 1_000,
    }
    stored = inputs.last("kept", "sqlite_without_vectors", "bytes")[1] * size.passages * assumed.copies
    rest = Load(disk=stored, cores=size.queries * sum(front.values()) / 1_000)
    legs = {
        "words": texts * words.search_ms,
        "vectors": 0.0 if vectors.index.gpu else texts * vectors.search_ms,
    }
    return System(size, words, vectors, front | legs, fleet(words.load + vectors.load + rest, assumed))


# ------------------------------------------------------------------------------------------ fan-out


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long queries wait for all shards, in medians of one idle shard's search: p50 and p99."""

    shards: int
    idle: tuple[float, float]
    loaded: tuple[float, float]
    hedged: tuple[float, float]
    most: tuple[float, float]


def fan_out(latencies: NDArray[np.float64], counts: Sequence[int], assumed: Assumptions, seed: int) -> list[Waiting]:
    """Simulate queries that wait for the slowest of `counts` shards, each with a queue before its threads.

    All shards get the same queries at the same moments, drawn by Poisson's law so that threads are as busy as assumed;
    how long a search takes is drawn for each shard alone from the measured latencies. `hedged`: a shard that is
    later than 95 of 100 answers is given up for its copy, which is asked anew; what that adds to the load is left out.
    `most`: the answer is given when 99 of 100 shards have answered.
    """
    random = np.random.default_rng(seed)
    shape = latencies / np.interp(0.5, SHARES, latencies)
    shards, queries = max(counts), _SIMULATED
    service, again = (np.interp(random.random((queries, shards)), SHARES, shape) for _ in range(2))
    took = _queued(random, service, assumed)
    other = _queued(random, again, assumed)[random.permutation(queries)]
    late = np.quantile(took, 0.95)
    hedged = np.minimum(took, late + other)
    found = []
    for count in counts:
        least = max(1, math.ceil(0.99 * count))
        found.append(
            Waiting(
                count,
                _middle_and_tail(service[:, :count].max(axis=1)),
                _middle_and_tail(took[:, :count].max(axis=1)),
                _middle_and_tail(hedged[:, :count].max(axis=1)),
                _middle_and_tail(np.partition(took[:, :count], least - 1, axis=1)[:, least - 1]),
            )
        )
    return found


def _queued(random: np.random.Generator, service: NDArray[np.float64], assumed: Assumptions) -> NDArray[np.float64]:
    """Return how long each query waits and is worked on at each shard, first come first served."""
    queries, shards = service.shape
    threads = round(assumed.threads)
    arrivals = np.cumsum(random.exponential(service.mean() / threads / assumed.busy, queries))
    free = np.zeros((shards, threads))
    every = np.arange(shards)
    took = np.empty_like(service)
    for number, moment in enumerate(arrivals):
        first = free.argmin(axis=1)
        done = np.maximum(free[every, first], moment) + service[number]
        free[every, first] = done
        took[number] = done - moment
    return took


def _middle_and_tail(values: NDArray[np.float64]) -> tuple[float, float]:
    middle, tail = np.quantile(values, (0.5, 0.99))
    return float(middle), float(tail)


def slowest_message(shards: int, share: float, assumed: Assumptions) -> float:
    """Return the ms that the slowest of `shards` messages takes at most, in that share of the queries."""
    normal = NormalDist()
    spread = math.log(5) / normal.inv_cdf(0.99)
    return assumed.network_ms * math.exp(spread * normal.inv_cdf(share ** (1 / shards)))
