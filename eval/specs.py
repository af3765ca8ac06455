"""How data sets are named: a folder, or a kind and its parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from .. import DatasetError, InputError
from ..retrieval.home import Collections
from .corpus import Corpus
from .dataset import Dataset, Queries, read_queries
from .irds import read_ir_dataset
from .logs import read_logs
from .qrels import gather, judgments
from .trec import Topics, is_topics, read_topics

USAGE = {
    "files": "files:queries=FILE,qrels=FILE,corpus=SOURCE|collection=NAME[,resolved=FILE][,name=NAME]",
    "logs": "logs:queries=FILE,corpus=SOURCE|collection=NAME[,name=NAME]",
    "irds": "irds:NAME",
}
"""The kinds of data sets beside BEIR folders, and how each is named."""

_PARTS = {
    "files": ({"queries", "qrels"}, {"resolved", "name"}),
    "logs": ({"queries"}, {"name"}),
}
_PLACES = {"corpus", "collection"}
_PART = re.compile(r"(?:^|,)(queries|qrels|corpus|collection|resolved|name)=")


def load_dataset(given: str | Path, collections: Collections | None = None) -> Dataset:
    """Load a data set: a BEIR folder's path, or one of `USAGE`.

    `files:` takes queries as BEIR has them or topics as TREC's CAsT and iKAT publish them, judgments in BEIR's or
    TREC's layout or a pool that was filled in, and any source that can be indexed. `logs:` takes queries with the
    documents that were clicked or judged. Both may stand against a collection of the home. `irds:` takes a name of
    ir_datasets. Raises DatasetError "FILE:LINE: FIELD: what was expected" at the first mistake.
    """
    kind, colon, rest = str(given).partition(":")
    if not colon or kind not in USAGE or Path(given).is_dir():
        return Dataset.load(Path(given))
    if kind == "irds":
        return read_ir_dataset(rest)
    parts = _parts(kind, rest)
    readers: dict[str, Callable[[Mapping[str, str], Corpus], Dataset]] = {"files": _from_files, "logs": _from_logs}
    return readers[kind](parts, _corpus(parts, collections))


def load_queries(path: Path, resolved: Path | None = None) -> Topics:
    """Read queries without judgments: BEIR's JSON Lines, or TREC topics in JSON or tab-separated."""
    if is_topics(path):
        return read_topics(path, resolved)
    if resolved is not None:
        raise InputError(f"{resolved}: resolved: only TREC topics have such a file; queries hold their own rewrites")
    return Topics(read_queries(path), str)


def _from_files(parts: Mapping[str, str], corpus: Corpus) -> Dataset:
    path, qrels_file = Path(parts["queries"]), Path(parts["qrels"])
    topics = load_queries(path, Path(parts["resolved"]) if "resolved" in parts else None)
    found = gather(qrels_file, judgments(qrels_file), topics.queries.ids, corpus.ids, topics.alias)
    return Dataset.judged(_name(parts), path.resolve().parent, topics.queries, found, corpus, qrels_file)


def _from_logs(parts: Mapping[str, str], corpus: Corpus) -> Dataset:
    path = Path(parts["queries"])
    queries, found = read_logs(path, corpus.ids)
    return Dataset.judged(_name(parts), path.resolve().parent, Queries(queries), found, corpus, path)


def _parts(kind: str, rest: str) -> dict[str, str]:
    """Take KEY=VALUE parts apart; a comma within a path does no harm unless a known key follows it."""
    pieces = _PART.split(rest)
    parts = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    needed, optional = _PARTS[kind]
    places = parts.keys() & _PLACES
    wrong = parts.keys() - needed - optional - _PLACES
    if pieces[0] or wrong or needed - parts.keys() or len(places) != 1 or not all(parts.values()):
        raise InputError(f"data set {kind}:{rest[:80]!r}: expected {USAGE[kind]}")
    return parts


def _corpus(parts: Mapping[str, str], collections: Collections | None) -> Corpus:
    name = parts.get("collection")
    if name is None:
        path = Path(parts["corpus"])
        if not path.exists():
            raise DatasetError(f"{path}: corpus: expected a file or folder, but there is none")
        return Corpus.of_source(path)
    if collections is None:
        raise InputError(f"collection {name!r}: expected collections to look for it in, got none")
    return Corpus.of_collection(collections.open(name))


def _name(parts: Mapping[str, str]) -> str:
    name = parts.get("name") or re.sub(r"(\.jsonl|\.json|\.tsv|\.txt)?(\.gz)?$", "", Path(parts["queries"]).name)
    if name.splitlines() != [name] or "\t" in name:
        raise InputError(f"data set name: expected some text without tabs or line ends, got {name[:40]!r}")
    return name
