"""One call that evaluates: what `querywright evaluate` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from .. import DatasetError, InputError
from ..retrieval.collection import Collections
from ..retrieval.dense import DEFAULT_ENCODER
from .arms import Knows, parse_arms
from .dataset import Dataset
from .experiment import Answerer, Progress, evaluate, parse_legs, silent
from .report import Report, report, write


class Service(Answerer, Knows, Protocol):
    """What an evaluation needs of the service: `Pipeline` is one."""


def run(
    dataset_dirs: Sequence[Path],
    arms: Sequence[str],
    legs: Sequence[str],
    pipeline: Service,
    collections: Collections,
    out: Path,
    seed: int = 0,
    progress: Progress = silent,
    *,
    encoder: str = DEFAULT_ENCODER,
) -> Report:
    """Evaluate `arms` × `legs` on the data sets in `dataset_dirs`; return the object of results.json.

    Writes results.json, results.md, runs/ and rewrites/ under `out`. Everything given is checked before
    anything is indexed or searched: InputError (DatasetError for data) says what is wrong. `encoder` is the
    name of the encoder of `collections`; encodings are kept under it.
    """
    if seed < 0:
        raise InputError(f"seed: expected a whole number of at least 0, got {seed}")
    wanted_legs, wanted_arms = parse_legs(legs), parse_arms(arms, pipeline)
    datasets = load_all(dataset_dirs)
    for arm in wanted_arms:
        if arm.known is not None and not any(arm.known(dataset) for dataset in datasets):
            raise InputError(f"arm {arm.name!r}: no query of the data sets has a rewrite of it; leave it out")
    results = evaluate(datasets, wanted_arms, wanted_legs, pipeline, collections, seed, out, progress, encoder=encoder)
    found = report(results)
    write(found, out)
    return found


def load_all(folders: Sequence[Path]) -> tuple[Dataset, ...]:
    """Load the data sets in `folders`; raise DatasetError for a mistake, or for two of one name."""
    if not folders:
        raise InputError("data sets: expected at least one folder, got none")
    datasets: dict[str, Dataset] = {}
    for folder in folders:
        dataset = Dataset.load(folder)
        if dataset.name in datasets:
            raise DatasetError(f"{folder}: name: expected folders to differ in name, {dataset.name!r} comes twice")
        datasets[dataset.name] = dataset
    return tuple(datasets.values())


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show progress as bars on standard error, where that is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bars.add_task(task, total=total)
            bars.update(tasks[task], completed=done)

        yield show
