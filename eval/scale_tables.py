"""The tables of docs/scale.md, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from .scale_model import (
    Assumptions,
    Index,
    Inputs,
    Layout,
    Size,
    System,
    Waiting,
    fan_out,
    fleet,
    lay_out,
    list_making,
    rarer_words,
    slowest_message,
    systems,
    vector_indexes,
    word_indexes,
)

FANS = (1, 10, 100, 1_000)
"""Numbers of shards whose slowest is simulated."""

_SIMULATED = 2_000
"""More shards than this are taken to be as slow as so many."""

_MONTH = 730
_WEEK = 168


def tables(inputs: Inputs, assumed: Assumptions, sizes: Sequence[Size], seed: int) -> dict[str, str]:
    """Return all tables by name, as Markdown."""
    built = systems(inputs, assumed, sizes)
    counts = sorted({*FANS, *(_simulated(one) for one in built)})
    waits = {one.shards: one for one in fan_out(inputs.latencies, counts, assumed, seed)}
    return {
        "inputs": _inputs(inputs),
        "assumptions": _assumed(assumed),
        "collection": _collection(inputs),
        "vectors": _indexes(vector_indexes(inputs, assumed), sizes, inputs, assumed),
        "words": _indexes([*word_indexes(inputs, assumed), rarer_words(inputs)], sizes, inputs, assumed),
        "query": _query(built, assumed),
        "waiting": _waiting([waits[count] for count in FANS]),
        "systems": _systems(built, waits, inputs, assumed),
        "indexing": _indexing(inputs, assumed, sizes),
    }


def _simulated(one: System) -> int:
    return min(one.shards, _SIMULATED)


_BY_SIZE = (
    (
        "stored, bytes a passage: the text / SQLite without vectors / with them / index files",
        "kept",
        (("text", "bytes"), ("sqlite_without_vectors", "bytes"), ("sqlite", "bytes"), ("index_files", "bytes")),
    ),
    (
        "an open collection: bytes a passage in memory / core-s to open / core-ms a hybrid search / upsert until found",
        "served",
        (("resident", "bytes"), ("opened", "core_s"), ("hybrid", "core_ms"), ("upsert_until_found", "core_ms")),
    ),
    (
        "BM25: postings a passage / bytes a passage in memory / core-s to make",
        "words",
        (("postings", ""), ("arrays", "bytes"), ("build", "core_s")),
    ),
    (
        "BM25, a search: postings of its words / core-ms / core-ms by rarer words",
        "words",
        (("touched", "postings"), ("common", "core_ms"), ("rarer", "core_ms")),
    ),
    ("flat: core-ms a search", "vectors", (("flat", "core_ms"),)),
    (
        "our codes: core-ms a search / recall / bytes a vector / core-s to make",
        "vectors",
        (("codes", "core_ms"), ("codes", "recall"), ("codes", "bytes"), ("codes_build", "core_s")),
    ),
    (
        "IVF-PQ: core-ms a search / recall / lists / of them looked into / core-s to make",
        "vectors",
        (("ivf", "core_ms"), ("ivf", "recall"), ("ivf", "lists"), ("ivf", "effort"), ("ivf_build", "core_s")),
    ),
    (
        "HNSW: core-ms a search / recall / ef / bytes of links a vector / core-s to make",
        "graph",
        (("search", "core_ms"), ("search", "recall"), ("search", "effort"), ("links", "bytes"), ("build", "core_s")),
    ),
    ("joining the best hundreds of so many shards, core-ms", "merging", (("join", "core_ms"),)),
)
_ALONE = (
    ("passages encoded in a core-second", "encoding", "passages_per_core_s"),
    ("encoding a query, core-ms", "encoding", "query_core_ms"),
    ("rewriting a query, core-ms", "rewriting", "query_core_ms"),
    ("rewriting, p99, core-ms", "rewriting", "p99_core_ms"),
    ("fusing two lists, core-ms", "merging", "fuse_core_ms"),
    ("reading a page of the disk, median ms", "disk", "page_p50_ms"),
    ("reading a page, p99 ms", "disk", "page_p99_ms"),
)


def _inputs(inputs: Inputs) -> str:
    sized = ((label, " · ".join(_at_sizes(inputs, part, names))) for label, part, names in _BY_SIZE)
    alone = ((label, shown(inputs(*where))) for label, *where in _ALONE)
    return _table(["measured", "at so many passages"], [*sized, *alone])


def _at_sizes(inputs: Inputs, part: str, names: Sequence[tuple[str, str]]) -> Iterator[str]:
    found = [inputs.steps(part, head, tail) for head, tail in names]
    for size in found[0]:
        yield f"{' / '.join(shown(one[size]) for one in found)} at {counted(size)}"


def _assumed(assumed: Assumptions) -> str:
    rows = ((f"`--{name.replace('_', '-')}`", shown(getattr(assumed, name)), why) for name, why in assumed.why.items())
    return _table(["option", "value", "what it is, and where it is from"], rows)


def _collection(inputs: Inputs) -> str:
    """Return what one collection in one process takes; a search as measured, and what more passages add to it."""
    served, kept = partial(inputs.line, "served"), partial(inputs.last, "kept")
    common, codes = inputs.line("words", "common", "core_ms"), inputs.each("vectors", "codes", "core_ms")
    measured, hybrid = inputs.last("served", "hybrid", "core_ms")

    def search(size: float) -> float:
        return hybrid + common(size) - common(measured) + codes * (size - measured)

    disk = sum(kept(head, "bytes")[1] for head in ("sqlite", "index_files"))
    memory = inputs.last("served", "resident", "bytes")[1]
    rows = (
        (
            counted(size),
            shown(memory * size / 1e9),
            shown(disk * size / 1e9),
            shown(search(size)),
            shown(1_000 / search(size)),
            shown(served("upsert_until_found", "core_ms")(size)),
            shown(served("opened", "core_s")(size)),
            shown(size / inputs("encoding", "passages_per_core_s") / 3_600),
        )
        for size in (100_000, 1_000_000, 10_000_000)
    )
    head = [
        "passages",
        "memory GB",
        "disk GB",
        "hybrid core-ms",
        "searches/s a core",
        "upsert core-ms",
        "opening core-s",
    ]
    return _table([*head, "encoding core-h"], rows)


def _indexes(indexes: Sequence[Index], sizes: Sequence[Size], inputs: Inputs, assumed: Assumptions) -> str:
    rows = []
    for size in (one for one in sizes if one.asked == 1):
        for index in indexes:
            laid = lay_out(index, size, assumed)
            needed = fleet(laid.load, assumed)
            rows.append(
                (
                    size.name,
                    index.name + ("" if index.measured else " †"),
                    laid.shards,
                    laid.load.memory / 1e9 + laid.load.gpu_memory / 1e9,
                    laid.load.disk / 1e12,
                    laid.search_ms,
                    laid.shard_ms(inputs("disk", "page_p50_ms")),
                    f"{counted(needed.gpus)} GPUs" if index.gpu else needed.machines,
                    needed.bound,
                    needed.price,
                )
            )
    head = ["passages", "index", "shards", "memory GB", "disk TB", "core-ms a search", "ms a shard"]
    return _table([*head, "machines", "bound by", "$/h"], ([*map(shown, row)] for row in rows))


def _query(built: Sequence[System], assumed: Assumptions) -> str:
    """Return what the core-ms of a query go to, for each size."""
    totals = [sum(one.work_ms.values()) for one in built]
    rows = [[part, *map(_share, (one.work_ms[part] for one in built), totals)] for part in built[0].work_ms]
    cores = (shown(one.size.queries * total / 1_000) for one, total in zip(built, totals, strict=True))
    sent = [one.answered_mb(assumed) for one in built]
    rate = (shown(one.size.queries * size * 8 / 1_000) for one, size in zip(built, sent, strict=True))
    rows += [["all, core-ms", *map(shown, totals)], ["busy cores", *cores]]
    rows += [["answers of shards, MB a query", *map(shown, sent)], ["the same, Gbit/s of all queries", *rate]]
    return _table(["", *(f"{one.size.name}, {counted(one.size.queries)}/s" for one in built)], rows)


def _share(part: float, total: float) -> str:
    return f"{shown(part)} ({part / total:.0%})"


def _waiting(found: Sequence[Waiting]) -> str:
    kinds = ("idle", "loaded", "hedged", "most")
    rows = ([counted(one.shards), *(" / ".join(map(shown, getattr(one, kind))) for kind in kinds)] for one in found)
    return _table(["shards", "idle", "with queues", "hedged", "99 of 100 answers"], rows)


def _systems(built: Sequence[System], waits: Mapping[int, Waiting], inputs: Inputs, assumed: Assumptions) -> str:
    rows = []
    for one in built:
        wait, price = waits[_simulated(one)], one.fleet.price
        p50, p99 = (latency_ms(one, wait, inputs, assumed, tail=tail) for tail in (False, True))
        rows.append(
            (
                f"{one.size.name}, {counted(one.size.queries)}/s",
                _sharded(one.words),
                _sharded(one.vectors),
                one.fleet.machines,
                one.fleet.bound,
                price,
                price * _MONTH,
                price / (one.size.queries * 3_600) * 1e6,
                f"{shown(p50)} / {shown(p99)}",
            )
        )
    head = ["passages, queries", "words", "vectors", "machines", "bound by", "$/h", "$ a month", "$ a million queries"]
    return _table([*head, "ms p50 / p99"], ([*map(shown, row)] for row in rows))


def _sharded(laid: Layout) -> str:
    return f"{laid.index.name}, {counted(laid.shards)} shard{'s' if laid.shards > 1 else ''}"


def latency_ms(one: System, wait: Waiting, inputs: Inputs, assumed: Assumptions, *, tail: bool) -> float:
    """Return a query's latency: a batch beside rewriting, another after it, each as slow as its slowest shard, hedged.

    With `tail` all parts are at their p99, which is more than the p99 of all together.
    """
    page = inputs("disk", "page_p99_ms" if tail else "page_p50_ms")
    shard = max(one.words.shard_ms(page), one.vectors.shard_ms(page))
    batch = shard * wait.hedged[tail] + slowest_message(one.shards, 0.99 if tail else 0.5, assumed)
    rewriting = inputs("rewriting", "p99_core_ms" if tail else "query_core_ms")
    front = inputs("encoding", "query_core_ms") * assumed.texts + one.work_ms["joining and fusing"]
    return max(rewriting, batch) + batch + front + one.work_ms["messages to shards"]


def _indexing(inputs: Inputs, assumed: Assumptions, sizes: Sequence[Size]) -> str:
    by_name = {index.name: index for index in vector_indexes(inputs, assumed)}
    graph, lists = by_name["HNSW"], by_name["IVF-PQ, vectors on disk"]
    rows = []
    for size in (one for one in sizes if one.asked == 1):
        encoding = size.passages / inputs("encoding", "passages_per_core_s") / 3_600
        gpu_hours = size.passages / assumed.gpu_passages / 3_600
        words, codes = (
            inputs.each(*where, "core_s") * size.passages for where in (("words", "build"), ("vectors", "codes_build"))
        )
        rows.append(
            (
                size.name,
                encoding,
                encoding / assumed.cores / _WEEK,
                encoding / assumed.cores * assumed.machine_price,
                gpu_hours,
                gpu_hours * assumed.gpu_price,
                words / 3_600,
                codes / 3_600,
                _made_hours(lay_out(lists, size, assumed), size, list_making(inputs)),
                _made_hours(lay_out(graph, size, assumed), size, inputs.power("graph", "build", "core_s")),
            )
        )
    head = ["passages", "encoding core-h", "machines for a week", "$", "or GPU-h", "$", "BM25 core-h", "codes core-h"]
    return _table([*head, "IVF-PQ core-h", "HNSW core-h"], ([*map(shown, row)] for row in rows))


def _made_hours(laid: Layout, size: Size, seconds: Callable[[float], float]) -> float:
    return laid.shards * seconds(size.passages / laid.shards) / 3_600


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; columns of figures are set to the right."""
    cells = [list(map(str, row)) for row in rows]
    figures = [all(row[place][:1].isdigit() or not row[place] for row in cells) for place in range(len(head))]
    lines = [head, ["---:" if right else "---" for right in figures], *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def shown(value: object) -> str:
    """Return three digits of a figure, all of a large whole one; a text as it is.

    >>> [shown(value) for value in (12345.6, 1.2345, 0.0123456, 0.0, "HNSW", 16)]
    ['12,300', '1.23', '0.0123', '0', 'HNSW', '16']
    """
    if not isinstance(value, (int, float)):
        return str(value)
    if not value:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    return f"{rounded:,.{max(0, digits)}f}".rstrip("0").rstrip(".") if digits > 0 else f"{rounded:,.0f}"


def counted(count: float) -> str:
    """Return a whole number with its thousands parted."""
    return f"{count:,.0f}"
