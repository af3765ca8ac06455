"""The evaluation's commands, from evaluate to bench. What they do is imported when one of them runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..service.cluster import connected
from ..service.local import Querywright
from ..service.schemas import to_json

if TYPE_CHECKING:
    from .bench import Bench, Progress

Home = Annotated[Path | None, typer.Option("--home", help="Where collections live [~/.querywright].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CatalogFile = Annotated[Path | None, typer.Option("--catalog", help="A catalog, TOML.")]
Arms = Annotated[str, typer.Option(help="none, auto, gold, gold+orig, concat, replay:FILE, run:FILE, rewriters.")]
Legs = Annotated[str, typer.Option(help="lexical, dense, hybrid.")]
Ray = Annotated[str | None, typer.Option("--ray", help="A Ray cluster: HOST:PORT of its head, or local.")]
Seed = Annotated[int, typer.Option(help="Seed of the randomisation test.")]


def register(app: typer.Typer) -> None:
    """Add the evaluation's commands to the command line."""
    for command in (evaluate, compare, tune, fit, pool):
        app.command()(_resumable(command))
    app.command()(bench)


def _resumable(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` so that Ctrl-C ends it with a line that says how to go on: what was computed is kept."""

    @wraps(command)
    def run(*words: object, **options: object) -> None:
        try:
            command(*words, **options)
        except KeyboardInterrupt:
            typer.echo("querywright: interrupted; run the same command to go on", err=True)
            raise typer.Exit(1) from None

    return run


def evaluate(
    datasets: Annotated[list[str], typer.Argument(help="BEIR folders, files:…, logs:…, irds:NAME.")],
    arms: Annotated[
        str | None,
        typer.Option(
            help="none, auto, gold, gold+orig, concat, replay:FILE, run:FILE, rewriters [none, auto; gold if any]."
        ),
    ] = None,
    legs: Legs = "lexical,dense,hybrid",
    catalog: CatalogFile = None,
    out: Annotated[Path, typer.Option(help="Where results.json and the runs go.")] = Path("querywright-eval"),
    seed: Seed = 0,
    measures: Annotated[str, typer.Option(help="Further measures by ir_measures' names, parted by ;")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Processes that search data sets side by side.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute everything again; read nothing back.")] = False,
    ray: Ray = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Measure whether rewriting helped: arms × legs on data sets with judgments."""
    from .evaluation import progress_bars, run
    from .report import markdown
    from .report import to_json as report_json

    with (
        Querywright(home=home, catalog=catalog, rewrite_cache=0) as querywright,
        connected(ray) as cluster,
        progress_bars() as progress,
    ):
        report = run(
            datasets,
            arms.split(",") if arms else None,
            legs.split(","),
            querywright.pipeline,
            querywright.local_collections,
            out,
            seed,
            progress,
            encoder=querywright.settings.encoder,
            settings=querywright.settings,
            measures=[measure for measure in measures.split(";") if measure.strip()],
            jobs=jobs,
            fresh=fresh,
            cluster=cluster,
        )
    _write(report_json(report) if as_json else markdown(report).encode())


def compare(
    before: Annotated[Path, typer.Argument(help="The folder of an evaluation.")],
    after: Annotated[Path, typer.Argument(help="The folder of another.")],
    gate: Annotated[
        list[str] | None,
        typer.Option(
            help="MEASURE:-DROP@p<ALPHA, as nDCG@10:-0.01@p<.05; all must hold [nothing significantly worse]."
        ),
    ] = None,
    measure: Annotated[str | None, typer.Option(help="What is compared where no gate says [nDCG@10].")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Let arms and queries that the second lacks pass.")
    ] = False,
    seed: Seed = 0,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Compare two evaluations; exit with 1 where the second fails the gate."""
    from .compare import compare as compare_folders

    del home  # taken, as every command does; the folders hold all there is
    changes = compare_folders(before, after, gate or (), measure=measure, seed=seed, allow_missing=allow_missing)
    _write(to_json(changes.to_object()) if as_json else changes.markdown().encode())
    if changes.failed:
        raise typer.Exit(1)


def tune(
    training: Annotated[str, typer.Argument(help="The data set to search on.")],
    test: Annotated[str, typer.Argument(help="Another, to report on.")],
    legs: Annotated[str, typer.Option(help="lexical, dense or both.")] = "lexical,dense",
    measure: Annotated[str, typer.Option(help="What is made as high as can be, by ir_measures' name.")] = "nDCG@5",
    prompt: Annotated[
        list[Path] | None, typer.Option(help="A prompt for the LLM to try beside the one that is set; repeatable.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation.")] = 5,
    jobs: Annotated[int, typer.Option(min=1, help="Queries that wait for an LLM at a time.")] = 1,
    seed: Seed = 0,
    catalog: CatalogFile = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Search fusion weights, the gate's threshold, BM25's parameters and prompts on one data set, report on another."""
    from ..retrieval.collection import check_legs
    from .evaluation import load_all, progress_bars
    from .measures import checked_measure
    from .prepared import Parameters
    from .tune import corners
    from .tune import tune as search_parameters

    wanted_legs, wanted_measure = check_legs(legs.split(",")), checked_measure(measure)
    with Querywright(home=home, catalog=catalog, rewrite_cache=0) as querywright, progress_bars() as progress:
        settings, bench = querywright.settings, _bench(querywright, progress, jobs)
        loaded = [load_all([name], querywright.local_collections)[0] for name in (training, test)]
        with corners(loaded[0], loaded[1], bench, settings, prompt or ()) as (ours, theirs):
            tuned = search_parameters(
                ours,
                theirs,
                Parameters.of(settings),
                legs=wanted_legs,
                measure=wanted_measure,
                folds=folds,
                seed=seed,
                progress=progress,
            )
    _write(to_json(tuned.to_object()) if as_json else tuned.markdown().encode())


def fit(
    collection: Annotated[str, typer.Argument(help="The collection whose fusion is fitted.")],
    queries: Annotated[
        Path, typer.Option(help="Labelled queries: a BEIR folder, a log with clicked or judged, or JSONL with --qrels.")
    ],
    qrels: Annotated[Path | None, typer.Option(help="Judgments of the queries, BEIR's or TREC's.")] = None,
    measure: Annotated[str, typer.Option(help="What is made as high as can be, by ir_measures' name.")] = "nDCG@10",
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation.")] = 5,
    seed: Seed = 0,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Learn from labelled queries how a collection's legs are best fused, and keep that with the collection.

    What is kept (`fusion.json` in the collection's folder) goes before the settings; remove the file to undo it.
    """
    from ..retrieval.fitting import Fusion, save_fusion
    from .evaluation import load_all, progress_bars
    from .fit import fit_collection, spec

    with Querywright(home=home) as querywright, progress_bars() as progress:
        opened = querywright.local_collections.open(collection)
        dataset = load_all([spec(queries, qrels, collection)], querywright.local_collections)[0]
        before = Fusion(querywright.settings.fusion, querywright.settings.lexical_weight)
        found = fit_collection(dataset, opened, before, measure=measure, folds=folds, seed=seed, progress=progress)
        if found.kept != before:
            save_fusion(querywright.settings.home / collection, found.kept, asdict(found))
    _write(to_json(found.to_object()) if as_json else found.markdown().encode())


def pool(
    queries: Annotated[Path, typer.Argument(help="Queries: BEIR JSONL, or TREC topics.")],
    out: Annotated[Path, typer.Option(help="The pool to judge: .tsv or .jsonl.")],
    corpus: Annotated[Path | None, typer.Option(help="Documents: a source as `index` reads it.")] = None,
    collection: Annotated[str | None, typer.Option(help="Or the name of a collection.")] = None,
    arms: Arms = "none,auto",
    legs: Legs = "lexical,dense,hybrid",
    depth: Annotated[int, typer.Option(help="How many documents of each arm and leg.")] = 10,
    catalog: CatalogFile = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Pool what several arms and legs find, to be judged: a test collection from your own documents."""
    from .. import InputError
    from .evaluation import progress_bars
    from .pool import pool as pool_documents

    source = corpus if corpus is not None else collection
    if source is None or (corpus is not None and collection is not None):
        raise InputError("pool: expected one of --corpus SOURCE and --collection NAME")
    with Querywright(home=home, catalog=catalog, rewrite_cache=0) as querywright, progress_bars() as progress:
        bench = _bench(querywright, progress)
        pooled = pool_documents(queries, source, arms.split(","), legs.split(","), bench, out, depth)
    row = {"out": str(out), "queries": pooled.queries, "pairs": pooled.pairs, "judged": pooled.judged}
    text = f"{out}: {pooled.pairs} documents of {pooled.queries} queries, {pooled.judged} judged already"
    _write(to_json(row) if as_json else text.encode())


def bench(
    parts: Annotated[
        list[str] | None, typer.Argument(metavar="[PART]...", help="lexical, hybrid, ingest, update, serve [all].")
    ] = None,
    size: Annotated[int, typer.Option(min=200, help="How many documents.")] = 100_000,
    queries: Annotated[int, typer.Option(min=10, help="How many queries; who is slow gets fewer.")] = 1_000,
    rounds: Annotated[int, typer.Option(min=1, help="How often the contestants take turns.")] = 10,
    encode: Annotated[
        bool, typer.Option("--encode", help="hybrid: vectors by the default encoder, not drawn ones; takes long.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of texts, queries and vectors.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Where the figures go as JSON, too.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Measure speed side by side with what one would use instead, in one process, as ratios."""
    from rich.console import Console

    from .speed import Plan, measure

    del home  # taken, as every command does; what is searched here is drawn, and goes again
    speed = measure(parts or (), Plan(size, queries, seed, rounds, encode))
    found = to_json(speed.to_object())
    if out is not None:
        out.write_bytes(found + b"\n")
    if as_json:
        _write(found)
        return
    console = Console(highlight=False, markup=False)
    speed.show(console if console.is_terminal else Console(highlight=False, markup=False, width=160))


def _bench(querywright: Querywright, progress: Progress, jobs: int = 1) -> Bench:
    from .bench import Bench
    from .cache import Cache

    settings = querywright.settings
    return Bench(
        querywright.pipeline,
        querywright.local_collections,
        progress=progress,
        encoder=settings.encoder,
        settings=settings,
        cache=Cache.at(settings.home),
        jobs=jobs,
    )


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.flush()
