"""One call that evaluates: what `querywright evaluate` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from .. import DatasetError, InputError
from ..retrieval.home import Collections
from ..retrieval.spaces import DEFAULT_ENCODER
from ..service.cluster import Cluster
from ..service.settings import Settings
from .arms import parse_arms
from .bench import Bench, Progress, Service, silent
from .breakdown import read_queries
from .cache import Cache
from .dataset import Dataset
from .experiment import Results, evaluate
from .html import write_html
from .measures import all_measures
from .parallel import search_ahead
from .records import write_queries
from .report import Report, report, write
from .rewriting import gold_slots
from .searches import parse_legs
from .specs import load_dataset

DEFAULT_ARMS = ("none", "auto", "gold")


def run(
    datasets: Sequence[str | Path],
    arms: Sequence[str] | None,
    legs: Sequence[str],
    pipeline: Service,
    collections: Collections,
    out: Path,
    seed: int = 0,
    progress: Progress = silent,
    *,
    encoder: str = DEFAULT_ENCODER,
    settings: Settings | None = None,
    measures: Sequence[str] = (),
    jobs: int = 1,
    fresh: bool = False,
    cluster: Cluster | None = None,
) -> Report:
    """Evaluate `arms` × `legs` on `datasets`; return the object of results.json.

    Writes results.json, results.md, report.html, queries.jsonl, qrels/, runs/ and rewrites/ under `out`. See `search`
    for the rest.
    """
    results = search(
        datasets,
        arms,
        legs,
        pipeline,
        collections,
        out,
        seed,
        progress,
        encoder=encoder,
        settings=settings,
        measures=measures,
        jobs=jobs,
        fresh=fresh,
        cluster=cluster,
    )
    rows = read_queries(out / "queries.jsonl")
    folders = {found.name: found.folder for found in results.datasets if found.folder and is_beir(found.folder)}
    made = report(results, rows, {name: gold_slots(folder) for name, folder in folders.items()})
    write(made, out)
    write_html(made, rows, out, folders)
    return made


def search(
    datasets: Sequence[str | Path],
    arms: Sequence[str] | None,
    legs: Sequence[str],
    pipeline: Service,
    collections: Collections,
    out: Path,
    seed: int = 0,
    progress: Progress = silent,
    *,
    encoder: str = DEFAULT_ENCODER,
    settings: Settings | None = None,
    measures: Sequence[str] = (),
    jobs: int = 1,
    fresh: bool = False,
    cluster: Cluster | None = None,
) -> Results:
    """Search and measure `arms` × `legs` on `datasets`: folders, or other kinds as `specs.load_dataset` reads them.

    Writes queries.jsonl, qrels/, runs/ and rewrites/ under `out`. Everything given is checked before anything is
    indexed or searched: InputError (DatasetError for data) says what is wrong. `encoder` is the name of the encoder
    of `collections`, `settings` are those of `pipeline`. Without `arms`, `DEFAULT_ARMS` as far as the data sets have
    them. With `settings`, what was computed before is read back from
    HOME/eval-cache, unless `fresh`, and an evaluation that was interrupted goes on where it stopped; `jobs` processes
    search data sets side by side. `measures` are told beside the usual ones. Corpora are encoded and queries
    rewritten on `cluster`, if one is given; they are searched here, where the collections are.
    """
    if seed < 0:
        raise InputError(f"seed: expected a whole number of at least 0, got {seed}")
    if jobs < 1:
        raise InputError(f"jobs: expected a whole number of at least 1, got {jobs}")
    if cluster is not None and jobs > 1:
        raise InputError("jobs: expected 1 beside a cluster, which rewrites; searches go on one after the other")
    told = all_measures(measures)
    wanted_legs, wanted_arms = parse_legs(legs), parse_arms(DEFAULT_ARMS if arms is None else arms, pipeline)
    loaded = load_all(datasets, collections)
    if arms is None:
        wanted_arms = tuple(arm for arm in wanted_arms if arm.known is None or any(map(arm.known, loaded)))
    for arm in wanted_arms:
        if arm.known is not None and not any(arm.known(dataset) for dataset in loaded):
            raise InputError(f"arm {arm.name!r}: no query of the data sets has a rewrite of it; leave it out")
    cache = Cache(None) if settings is None else Cache.at(settings.home, fresh=fresh)
    bench = Bench(pipeline, collections, out, progress, encoder, settings, cache, jobs, cluster)
    if settings is not None and jobs > 1 and len(loaded) > 1:
        search_ahead([str(one) for one in datasets], loaded, [arm.name for arm in wanted_arms], wanted_legs, bench)
        bench = Bench(pipeline, collections, out, progress, encoder, settings, Cache.at(settings.home), jobs)
    results = evaluate(loaded, wanted_arms, wanted_legs, bench, seed, told)
    write_queries(results, out)
    return results


def load_all(datasets: Sequence[str | Path], collections: Collections | None = None) -> tuple[Dataset, ...]:
    """Load `datasets`; raise DatasetError for a mistake, or for two of one name."""
    if not datasets:
        raise InputError("data sets: expected at least one folder, got none")
    loaded: dict[str, Dataset] = {}
    for given in datasets:
        dataset = load_dataset(given, collections)
        if dataset.name in loaded:
            raise DatasetError(f"{given}: name: expected data sets to differ in name, {dataset.name!r} comes twice")
        loaded[dataset.name] = dataset
    return tuple(loaded.values())


def is_beir(folder: Path) -> bool:
    """Say whether queries lie in `folder` as BEIR has them."""
    return any((folder / name).is_file() for name in ("queries.jsonl", "queries.jsonl.gz"))


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show progress as bars on standard error, where that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def show(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total)
            bars.update(tasks[task], completed=done)

        yield show
