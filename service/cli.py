"""The command line: the outermost ring, the only part that may import eval."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Annotated, Any

import orjson
import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from .. import InputError, QuerywrightError, StorageError, UnavailableError, __version__
from ..eval.commands import register
from ..retrieval.filters import Filter
from ..retrieval.sources import read_jsonl
from ..rewrite.catalog import Catalog
from ..rewrite.query import Query, Rewrite
from . import backup_commands, catalog_commands, copy_commands, key_commands, train
from .access import is_loopback
from .answer import Answer
from .cluster import connected
from .files import replacing
from .keys import Keys, keys_of
from .local import Querywright, check_legs_text
from .schemas import QueryModel, TurnModel, to_json, validated
from .serving import Serving
from .settings import Settings, unknown_variables

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Rewrites what people type into queries that a search engine can answer, and retrieves with them.",
)

Home = Annotated[Path | None, typer.Option("--home", help="Where collections live [~/.querywright].")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
CollectionName = Annotated[str, typer.Option("--collection", help="The collection's name.")]
History = Annotated[Path | None, typer.Option("--history", help="JSON file: the earlier turns.")]
Profile = Annotated[list[str] | None, typer.Option("--profile", help="KEY=VALUE, or a JSON file.")]
Now = Annotated[str | None, typer.Option("--now", help="The clock, ISO 8601 with an offset.")]
CatalogFile = Annotated[Path | None, typer.Option("--catalog", help="A catalog: .toml, .yaml or .csv.")]
Ray = Annotated[str | None, typer.Option("--ray", help="A Ray cluster: HOST:PORT of its head, or local.")]
RewriterName = Annotated[str, typer.Option("--rewriter", help="none, auto, catalog, history, editor or llm.")]

_log = logging.getLogger(__name__)

_err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def main() -> None:
    """Run the command line; errors become one line on standard error and an exit code."""
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    try:
        code = app(standalone_mode=False)  # of a typer.Exit; commands return nothing
        if code:
            sys.exit(code)
    except typer.Exit as done:
        sys.exit(done.exit_code)
    except (UnavailableError, StorageError) as error:
        _fail(str(error), 1)
    except QuerywrightError as error:
        _fail(str(error), 2)
    except typer.Abort:
        _fail("interrupted", 1)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), 1)
    except Exception as error:
        # Typer's and Click's own complaints about options and arguments.
        message = getattr(error, "format_message", None)
        if message is None:
            raise
        _fail(str(message()), 2)


def _fail(message: str, code: int) -> None:
    line = " ".join(message.splitlines())  # a parser's message or a file's name may hold line ends
    _err.print(f"querywright: {line[:2000]}")
    sys.exit(code)


def _version(asked: bool) -> None:
    if asked:
        _write(f"querywright {__version__}".encode())
        raise typer.Exit


@app.callback()
def _options(
    _version_asked: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    home: Home = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    demo: Annotated[bool, typer.Option(help="Build the demo collection on first start.")] = True,
    as_json: AsJson = False,
) -> None:
    """Serve the HTTP API; the first start builds the demo collection."""
    from .admission import Life  # only the server needs all this
    from .app import create_app
    from .demo import build
    from .logs import set_up
    from .server import Config, Server

    class Telling(Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            _say(as_json, f"ready: {url} (API: {url}/docs)", {"ready": url})

    listening = _bound(host, port)  # before the work of preparing, which would be in vain
    url = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    # Before the server takes it, to be stopped is no failure, and there is nothing to reload.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Querywright(home=home) as querywright:
        keys, life, settings = _keys(querywright.settings, host), Life(), querywright.settings
        # Answers point to this log where they do not tell what is wrong.
        set_up(settings.log_format, queries=settings.log_queries)
        for problem in unknown_variables(os.environ):  # told when they were read, but there was no log yet
            _log.warning("%s", problem)
        as_json = as_json or settings.log_format == "json"
        try:
            if demo:
                documents = build(querywright)
                _say(
                    as_json,
                    f"collection demo: {documents} documents",
                    {"collection": "demo", "documents": documents},
                )
            for problem in querywright.warm_up():
                _log.warning("%s", problem)
            app = create_app(querywright, keys, life)
            signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=_reload, args=(app.state.serving,)).start())
            config = Config(
                app,
                connections=settings.connections,
                drain_seconds=settings.drain_seconds,
                told=app.state.metrics,
                log_level="warning",
            )
            Telling(config, life).run(sockets=[listening])
            # What can be ended in time has ended; a thread that waits for a model, say, is not waited for.
            sys.stdout.flush()
            os._exit(0)
        except KeyboardInterrupt:
            sys.exit(0)


def _reload(serving: Serving) -> None:
    """Read the settings anew, and say in the log what came of it."""
    try:
        problems = serving.reload()
    except QuerywrightError as error:
        _log.warning("the settings stay as they were: %s", error)
        return
    for problem in problems:
        _log.warning("%s", problem)
    _log.warning("the settings were read anew")


def _keys(settings: Settings, host: str) -> Keys | None:
    """Return the keys that are asked for, None for none: on loopback only. Raises InputError where none are there."""
    if is_loopback(host) and not settings.require_keys:
        return None
    keys = keys_of(settings)
    if not keys.all():
        why = "keys are required" if is_loopback(host) else f"--host {host}: others can reach this service"
        raise InputError(
            f"{why}, and there are none: make one with `querywright keys add NAME --scope admin`"
            + ("" if is_loopback(host) else ", or listen on 127.0.0.1")
        )
    return keys


def _bound(host: str, port: int) -> socket.socket:
    """Take the port, any free one for 0; connections are accepted once the server is ready."""
    # With the protocol named, asyncio sets TCP_NODELAY on what it accepts: 40 ms an answer otherwise.
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, proto=socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise InputError(f"--host, --port: cannot listen on {host}:{port}: {error.strerror}") from error
    return bound


def _say(as_json: bool, text: str, row: dict[str, Any]) -> None:
    """Tell what the server does: a line of text, or of JSON."""
    if as_json:
        _write(to_json(row))
    else:
        _err.print(text)


@app.command()
def index(
    sources: Annotated[list[Path], typer.Argument(help="BEIR folder, JSONL, Markdown or text; files or folders.")],
    collection: CollectionName,
    home: Home = None,
    catalog: CatalogFile = None,
    ray: Ray = None,
    as_json: AsJson = False,
) -> None:
    """Read documents into a collection, made if need be."""
    with Querywright(home=home) as querywright, connected(ray) as cluster, _progress() as progress:
        task = progress.add_task("documents", total=None)
        count = querywright.index(
            sources,
            collection,
            catalog=catalog,
            progress=lambda done: progress.update(task, completed=done),
            cluster=cluster,
        )
        total = querywright.collection_store.open(collection).count()
    if as_json:
        _write(to_json({"collection": collection, "indexed": count, "documents": total}))
    else:
        _write(f"{collection}: {count} documents read, {total} in the collection".encode())


@app.command()
def flush(
    collection: Annotated[str, typer.Argument(help="The collection's name.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a collection's index as a clean build would, and save it: then it opens quickly."""
    with Querywright(home=home) as querywright:
        querywright.flush(collection)
    _write(to_json({"collection": collection, "flushed": True}) if as_json else f"{collection}: saved".encode())


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What was typed.")],
    collection: Annotated[list[str], typer.Option("--collection", help="The collection's name; several as one.")],
    k: Annotated[int, typer.Option("-k", help="How many results.")] = 10,
    legs: Annotated[str, typer.Option(help="lexical, dense or hybrid.")] = "hybrid",
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", help="KEY=VALUE, repeat a key for any-of; or a range: KEY>=VALUE, >, <=, <."),
    ] = None,
    home: Home = None,
    history: History = None,
    profile: Profile = None,
    now: Now = None,
    catalog: CatalogFile = None,
    rewriter: RewriterName = "auto",
    as_json: AsJson = False,
) -> None:
    """Rewrite a query and search with it."""
    with Querywright(home=home) as querywright:
        answer = querywright.query(
            _query(text, history, profile, now),
            collection=collection if len(collection) > 1 else collection[0],
            k=k,
            legs=check_legs_text(legs),
            filter=_filters(filters or []),
            rewriter=rewriter,
            catalog=_catalog(catalog),
        )
    if as_json:
        _write(to_json(answer))
    else:
        _print_answer(answer)


@app.command()
def rewrite(
    text: Annotated[str | None, typer.Argument(help="What was typed; or use --in.")] = None,
    source: Annotated[
        Path | None, typer.Option("--in", help="JSONL: one query a line, as query or text, perhaps with id or _id.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSONL: one rewrite a line, in input order.")] = None,
    home: Home = None,
    history: History = None,
    profile: Profile = None,
    now: Now = None,
    catalog: CatalogFile = None,
    rewriter: RewriterName = "auto",
    collection: Annotated[
        str | None, typer.Option(help="The collection whose catalog is used [the default one].")
    ] = None,
    ray: Ray = None,
    as_json: AsJson = False,
) -> None:
    """Rewrite one query, or a file of them."""
    if (text is None) == (source is None) or (source is None) != (out is None):
        raise InputError("rewrite: expected either a TEXT, or both --in FILE.jsonl and --out FILE.jsonl")
    if ray is not None and source is None:
        raise InputError("--ray: expected --in FILE.jsonl and --out FILE.jsonl: one query is rewritten here")
    options: dict[str, Any] = {"collection": collection, "rewriter": rewriter, "catalog": _catalog(catalog)}
    with Querywright(home=home) as querywright:
        if source is not None and out is not None:
            base = _query("-", history, profile, now)
            with connected(ray) as cluster:
                count = _rewrite_file(querywright, source, out, base, {**options, "cluster": cluster})
            _say(as_json, f"{out}: {count} rewrites", {"out": str(out), "rewrites": count})
            return
        result = querywright.rewrite(_query(str(text), history, profile, now), **options)
    if as_json:
        _write(to_json(result))
    else:
        _print_rewrite(result)


register(app)  # evaluate, compare, tune, pool
train.register(app)
catalog_commands.register(app)
key_commands.register(app)
backup_commands.register(app)
copy_commands.register(app)


# ------------------------------------------------------------------------------- reading options


def _query(text: str, history: Path | None, profile: list[str] | None, now: str | None) -> Query:
    row: dict[str, Any] = {"query": text, "profile": _profile(profile or []), "now": now}
    if history is not None:
        turns = _json_file(history)
        if not isinstance(turns, list):
            raise InputError(f'{history}: expected a list of {{"role", "text"}} turns')
        try:
            validated(TypeAdapter(list[TurnModel]), turns)
        except InputError as error:
            raise InputError(f"{history}: {error}") from error
        row["history"] = turns
    return validated(TypeAdapter(QueryModel), row).to_query()


def _profile(options: list[str]) -> dict[str, Any]:
    """Join profiles: KEY=VALUE options (a key given twice has several values) and JSON files."""
    profile: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            profile |= _profile_file(Path(option))
        elif not key:
            raise InputError(f"--profile: expected KEY=VALUE or a JSON file, got {option!r}")
        elif key in profile or key == "facts":
            known = profile.get(key, [])
            profile[key] = [*(known if isinstance(known, list) else [known]), value]
        else:
            profile[key] = value
    return profile


def _profile_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise InputError(f"--profile: expected KEY=VALUE or a JSON file, and there is no file {path}")
    found = _json_file(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object of profile values")
    try:
        validated(TypeAdapter(QueryModel), {"query": "-", "profile": found}).to_query()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return found


def _json_file(path: Path) -> Any:  # noqa: ANN401
    try:
        return orjson.loads(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not valid JSON: {error.msg}") from error


_FILTER = re.compile(r"([^=<>]+)(>=|<=|=|>|<)(.*)", re.DOTALL)
_BOUNDS = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}


def _filters(options: list[str]) -> Filter | None:
    """Join filters: a key given twice with = has several values, one with < and > is a range of both."""
    values: dict[str, list[str]] = {}
    ranges: dict[str, dict[str, str]] = {}
    for option in options:
        match = _FILTER.fullmatch(option)
        if not match:
            raise InputError(f"--filter: expected KEY=VALUE, or >=, >, <= or < in place of =, got {option!r}")
        key, sign, value = (part.strip() for part in match.groups())
        if (not value and sign != "=") or key.endswith("!") or value.startswith((">", "<", "=")):
            raise InputError(f"--filter: expected KEY=VALUE, or >=, >, <= or < in place of =, got {option!r}")
        if sign == "=":
            values.setdefault(key, []).append(value)
        elif ranges.setdefault(key, {}).setdefault(_BOUNDS[sign], value) != value:
            raise InputError(f"--filter: {key!r} has two values after {sign}")
    if both := values.keys() & ranges.keys():
        raise InputError(f"--filter: {min(both)!r} has both a value and a range: expected one of them")
    return values | ranges or None


def _catalog(path: Path | None) -> Catalog | None:
    return Catalog.load(path) if path else None


def _rewrite_file(querywright: Querywright, source: Path, out: Path, base: Query, options: dict[str, Any]) -> int:
    """Rewrite some lines at a time, so that size does not matter; the file appears when all of it is written."""
    count = 0
    with ExitStack() as stack:
        with _output_errors(out):
            file = stack.enter_context(_output(out))
        for rewrites in querywright.rewrite_batches(_queries(source, base), **options):
            lines = [to_json(rewrite) + b"\n" for rewrite in rewrites]
            with _output_errors(out):
                file.writelines(lines)
            count += len(lines)
        with _output_errors(out):
            stack.close()
    return count


def _output(out: Path) -> AbstractContextManager[IO[bytes]]:
    """Open what is to be written: a file that is replaced in the end; a pipe or a device as it is."""
    if (out.exists() and not out.is_file()) or (out.is_symlink() and out.is_relative_to("/dev")):
        return out.open("wb")
    return replacing(out.resolve())


@contextmanager
def _output_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from error


def _queries(source: Path, base: Query) -> Iterator[Query]:
    """Yield the queries of a file; what a row leaves out comes from the options."""
    for line, row in read_jsonl(source):
        try:
            query = validated(TypeAdapter(QueryModel), _renamed(row)).to_query()
        except InputError as error:
            raise InputError(f"{source}:{line}: {error}") from error
        yield replace(
            query,
            history=query.history or base.history,
            profile={**base.profile, **query.profile},
            now=query.now or base.now,
        )


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """Give a row that has BEIR's names for them `query` and `id`."""
    ours = {"query": row.get("text"), "id": row.get("_id")}
    return {name: value for name, value in ours.items() if value is not None} | row


# --------------------------------------------------------------------------------------- printing


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.flush()


def _progress() -> Any:  # noqa: ANN401 # rich's Progress, only where there is a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _print_rewrite(result: Rewrite) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(result.rewrite)
    console.print(f"{result.decision} by {result.rewriter}, confidence {result.confidence:.2f}", style="dim")
    for edit in result.edits:
        said = result.original[edit.start : edit.end] or f"(inserted at {edit.start})"
        evidence = f"{edit.evidence.source}: {edit.evidence.where}: {edit.evidence.text}"
        console.print(f"  {edit.problem} {edit.slot}: {said} → {edit.replacement.strip()}   [{evidence}]")
    if result.clarification:
        console.print(f"  {result.clarification.question}")
        for option in result.clarification.options:
            console.print(f"    {option.value}: {option.label}")
    for alternative in result.alternatives:
        console.print(f"  or, {alternative.weight:.2f}: {alternative.rewrite}")
    if result.degraded:
        console.print(f"degraded: {result.degraded}", style="yellow")


def _print_answer(answer: Answer) -> None:
    _print_rewrite(answer.rewrite)
    table = Table(show_edge=False, pad_edge=False, expand=True)
    # What is to be copied stays whole; the title and the text share what is left of the line.
    ids = min(max((len(hit.doc_id) + len(hit.collection or "") + 1 for hit in answer.hits), default=6), 40)
    widths: dict[str, dict[str, Any]] = {
        "rank": {"width": 4, "justify": "right"},
        "score": {"width": 5, "justify": "right"},
        "doc_id": {"width": max(ids, 6)},
        "title": {"ratio": 1},
        "text": {"ratio": 2},
    }
    for title, width in widths.items():
        table.add_column(title, overflow="ellipsis", no_wrap=True, **width)
    for hit in answer.hits:
        name = f"{hit.collection}/{hit.doc_id}" if hit.collection else hit.doc_id
        table.add_row(str(hit.rank), f"{hit.score:.3f}", name, hit.title, hit.text.replace("\n", " ")[:80])
    Console(highlight=False, markup=False).print(table if answer.hits else "nothing found")
    if answer.degraded:
        _err.print(f"degraded: {answer.degraded}")
