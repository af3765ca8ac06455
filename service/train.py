"""The commands that train models. What they do is imported when one of them runs."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..rewrite.language import Language
from .schemas import to_json

if TYPE_CHECKING:
    from ..rewrite.editor_recipe import Trained

app = typer.Typer(no_args_is_help=True, help="Train the embedded models on public data or your own.")


def register(root: typer.Typer) -> None:
    """Add the commands to the command line, as `train MODEL`."""
    root.add_typer(app, name="train")


@app.callback()
def train() -> None:
    """Train the embedded models on public data or your own."""


@app.command()
def editor(
    data: Annotated[Path, typer.Option(help="Pairs: JSONL or a folder of it; or rewrite/ and text/ in a folder.")],
    out: Annotated[Path, typer.Option(help="The folder that the model is written to.")],
    language: Annotated[
        Language | None, typer.Option(help="The language of the pairs to use; theirs by default.")
    ] = None,
    start: Annotated[Path | None, typer.Option("--from", help="The folder of an editor to go on from.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    epochs: Annotated[int | None, typer.Option(min=0, help="Passes over the pairs; the plan's by default.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch; its own choice by default.")] = None,
    home: Annotated[Path | None, typer.Option("--home", help="Where collections live; not used here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train an editor on pairs of query and rewrite; the same command goes on after an interruption."""
    from ..rewrite.editor_recipe import Request, train_editor

    del home  # taken, as every command does
    request = Request(data, out, language, start, seed, epochs, threads, f"querywright {shlex.join(sys.argv[1:])}")
    try:
        trained = train_editor(request, lambda line: typer.echo(line, err=True))
    except KeyboardInterrupt:
        typer.echo("querywright: interrupted; run the same command to go on", err=True)
        raise typer.Exit(1) from None
    text = to_json(asdict(trained)) if as_json else _told(trained).encode()
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.flush()


@app.command()
def encoder(
    data: Annotated[Path, typer.Option(help="A folder with text/*.txt and sets in the BEIR layout in retrieval/.")],
    out: Annotated[Path, typer.Option(help="The folder that the model is written to.")],
    name: Annotated[str, typer.Option(help="The vector space's name: another one for other data.")] = "hanzi-1",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all that is drawn.")] = 0,
    rows: Annotated[int | None, typer.Option(min=1, help="What is read of each file at most; all by default.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training; the plan's by default.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch; its own choice by default.")] = None,
    home: Annotated[Path | None, typer.Option("--home", help="Where collections live; not used here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train the Chinese encoder on plain text and on queries with what answers them."""
    from ..retrieval.chinese_encoder_measuring import told
    from ..retrieval.chinese_encoder_recipe import Request, train_encoder

    del home  # taken, as every command does
    request = Request(data, out, name, seed, rows, steps, threads, f"querywright {shlex.join(sys.argv[1:])}")
    try:
        trained = train_encoder(request, lambda line: typer.echo(line, err=True))
    except KeyboardInterrupt:
        typer.echo("querywright: interrupted", err=True)
        raise typer.Exit(1) from None
    summary = f"{trained.out}: {trained.words} words and characters, {trained.steps} steps, {trained.seconds:.0f} s"
    text = to_json(asdict(trained)) if as_json else "\n".join([summary, *map(told, trained.figures)]).encode()
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.flush()


def _told(trained: Trained) -> str:
    lines = [f"{trained.out}: {trained.language}, {trained.pairs} pairs, {trained.seconds:.0f} s"]
    for name, figures in trained.figures.items():
        lines.append(
            f"{name}: {figures.rows} rows, exact match {figures.exact_match:.3f}, restored F1 {figures.f1:.3f}, "
            f"changed {figures.changed:.3f}, calibration error {figures.error:.3f}"
        )
    return "\n".join(lines)
