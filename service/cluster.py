"""Machines that share the work on many shards; see `ray_cluster.py`."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Protocol, TypeVar

from .. import MissingExtraError

Given = TypeVar("Given")
Made = TypeVar("Made")

Begin = Callable[[], Callable[[Given], Made]]
"""Makes ready, models and all, and returns what does the work on one shard."""


class Cluster(Protocol):
    """What batches need of the machines they run on."""

    def map(self, begin: Begin[Given, Made], shards: Iterable[Given]) -> Iterator[Made]:
        """Yield what comes of each shard, in order. Each process that works calls `begin` once.

        A bounded number of `shards` is taken ahead of what was yielded. What a shard raises, or `shards` itself,
        is raised in its place: all that comes before it was yielded.
        """
        ...


LOCAL = "local"
"""The address of a cluster of this machine's cores, which is started and ends with the command."""


def connected(address: str | None) -> AbstractContextManager[Cluster | None]:
    """Return the Ray cluster at `address`, or one of this machine's cores for `local`, while it is entered; or None.

    Raises MissingExtraError without Ray, InputError for what is no address, UnavailableError where nobody answers.
    """
    if address is None:
        return nullcontext(None)
    if find_spec("ray") is None:
        raise MissingExtraError("--ray: Ray is not installed: pip install 'querywright[ray]'")
    if address == LOCAL:
        _guard()
    from .ray_cluster import RayCluster  # noqa: PLC0415 # takes a third of a second, and an extra

    return RayCluster(address)


def _guard() -> None:
    """Have a cluster that is started ask for a token that only its own processes know: Ray listens to all addresses.

    Ray reads this when it is imported; where that has happened, or the user has said otherwise, it stays as it is.
    """
    if "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
