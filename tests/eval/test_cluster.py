"""An evaluation whose corpora are encoded and queries rewritten elsewhere says what one process says."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from querywright import InputError
from querywright.eval.evaluation import run
from querywright.retrieval.home import Collections
from querywright.retrieval.spaces import load_spaces
from querywright.service.cluster import Begin
from querywright.service.demo import folder
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings

ARMS = ["none", "auto", "catalog", "editor", "gold"]


class InTurn:
    """Works on one shard after the other, with nothing of this process but what can be sent."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def map(self, begin: Begin[Any, Any], shards: Iterable[Any]) -> Iterator[Any]:
        """Yield what comes of each shard."""
        self.begun.append(type(begin).__name__)
        work = pickle.loads(pickle.dumps(begin))()
        for shard in shards:
            yield pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(shard)))))


def _written(out: Path) -> dict[str, bytes]:
    """Return every file of an evaluation but the pages, without times and tokens."""
    files = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    timed = rb'"(seconds|start|token|stages|ms)":("[^"]*"|[-+0-9.e]+|\{[^}]*\})'
    kept = {name: data for name, data in files.items() if not name.startswith(("report", "results"))}
    return {name: re.sub(timed, b"", data) for name, data in kept.items()}


def _evaluated(home: Path, data: Path, cluster: InTurn | None) -> dict[str, bytes]:
    settings = Settings(home=home, budget_ms=60_000, catalog=folder() / "catalog.toml", rewrite_cache=0)
    pipeline, collections = Pipeline(settings), Collections(home, load_spaces)
    try:
        legs = ["lexical", "dense"]
        run([data], ARMS, legs, pipeline, collections, home / "out", settings=settings, cluster=cluster)
    finally:
        pipeline.close()
        collections.close()
    return _written(home / "out")


def test_elsewhere_is_the_same(write_dataset: Callable[..., Path], tmp_path: Path) -> None:
    data, cluster = write_dataset(tmp_path / "tiny"), InTurn()
    here = _evaluated(tmp_path / "here", data, None)
    assert _evaluated(tmp_path / "there", data, cluster) == here
    assert sorted(cluster.begun) == ["Encoding", "Rewriting", "Rewriting", "Rewriting"]
    assert any(name.startswith("rewrites/") for name in here)
    assert any(name.startswith("runs/") for name in here)
    assert b'"ms"' in (tmp_path / "there" / "out" / "queries.jsonl").read_bytes()
    resumed = InTurn()
    assert _evaluated(tmp_path / "there", data, resumed) == here
    assert resumed.begun == []  # what was computed is read back


def test_jobs_beside_a_cluster_are_refused(write_dataset: Callable[..., Path], tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, encoder="none")
    given = ([write_dataset(tmp_path / "tiny")], None, ["lexical"])
    with Pipeline(settings) as pipeline:
        rest = (pipeline, Collections(tmp_path), tmp_path / "out")
        with pytest.raises(InputError, match="jobs: expected 1 beside a cluster"):
            run(*given, *rest, jobs=2, cluster=InTurn())
