"""Searching data sets side by side, each in a process of its own."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue

from ..service.local import Querywright
from ..service.settings import Settings
from .arms import parse_arms
from .bench import Bench
from .cache import Cache
from .dataset import Dataset
from .searches import Searches, index
from .specs import load_dataset

Told = tuple[str, int, int]
_queues: list[SimpleQueue[Told]] = []


@dataclass(frozen=True, slots=True)
class Job:
    """All that a process must be told to search one data set."""

    dataset: str
    arms: tuple[str, ...]
    legs: tuple[str, ...]
    settings: Settings
    encoder: str
    fresh: bool
    jobs: int


def search_ahead(
    given: Sequence[str], datasets: Sequence[Dataset], arms: Sequence[str], legs: Sequence[str], bench: Bench
) -> None:
    """Do the work of an evaluation in up to `bench.jobs` processes, a data set each, and leave it in the cache.

    What is left is to read it back, so that the results are those of one process. Corpora are encoded first, one
    after the other, since an encoder uses every core already.
    """
    if bench.settings is None:
        return
    for dataset in datasets:
        index(dataset, bench)
    work = [
        Job(one, tuple(arms), tuple(legs), bench.settings, bench.encoder, bench.cache.fresh, bench.jobs)
        for one in given
    ]
    context = get_context("spawn")  # a fork would copy the locks of running threads
    queue: SimpleQueue[Told] = context.SimpleQueue()
    processes = min(bench.jobs, len(work))
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin, initargs=(queue,)) as pool:
        futures = [pool.submit(_search, job) for job in work]
        try:
            _follow(futures, queue, bench)
        finally:
            for future in futures:
                future.cancel()
    for future in futures:
        future.result()


def _follow(futures: Sequence[Future[None]], queue: SimpleQueue[Told], bench: Bench) -> None:
    """Show how far the processes are until all are done or one has failed."""
    while True:
        _, running = wait(futures, timeout=0.1)
        while not queue.empty():
            bench.progress(*queue.get())
        if not running or any(future.done() and future.exception() for future in futures):
            return


def _begin(queue: SimpleQueue[Told]) -> None:
    # Ctrl-C reaches every process: here it ends the work without a word, what is done is in the cache.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _queues.append(queue)


def _search(job: Job) -> None:
    def tell(task: str, done: int, total: int) -> None:
        _queues[0].put((task, done, total))

    with Querywright(**job.settings.model_dump()) as querywright:
        pipeline, collections = querywright.pipeline, querywright.local_collections
        cache = Cache.at(job.settings.home, fresh=job.fresh)
        bench = Bench(pipeline, collections, None, tell, job.encoder, job.settings, cache, job.jobs)
        dataset = load_dataset(job.dataset, collections)
        for _ in Searches(dataset, bench).all(parse_arms(job.arms, pipeline), job.legs):
            pass
