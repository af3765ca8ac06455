"""Shards on a Ray cluster: Ray sends them out, and again where a node dies; here they are only kept in order.

Ray moves functions, shards and results between the nodes of a cluster by cloudpickle, and runs whatever reaches it: a
cluster must stand in a network that only trusted machines reach, better with Ray's own RAY_AUTH_MODE=token besides.
Querywright itself unpickles nothing: what comes from users' files is read in this process and sent on as plain values.

Each node has the same version of this package, and models that are named by a folder in the same place. The home is
only where the command runs.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self, cast

from .. import InputError, UnavailableError, __version__
from ..retrieval.onnx_encoder import usable_cores
from .cluster import LOCAL, Begin, Given, Made

# Read when Ray is imported: it tells its makers nothing, and does not print what becomes of nodes among the results.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", r"[\s\S]*")

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError

AHEAD = 3
"""Shards on their way for each core of the cluster, those among them that wait for their turn to be written."""

_RETRIES = 5
"""A shard is worked on so many times more where nodes or processes die with it: one that kills them must end."""

_PATIENCE = 60.0
"""Seconds without any core in the cluster before it is given up; nodes may come and go."""

_ANSWER_SECONDS = 5.0
_OBJECT_STORE_BYTES = 256 * 2**20
_LOG_LEVEL = 40  # errors


class RayCluster:
    """A Ray cluster to which this process is the one driver; safe for one thread."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._closing = ExitStack()
        self._sent: dict[str, ray.ObjectRef[Any]] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            options = _started(stack) if self._address == LOCAL else {"address": _checked(self._address)}
            try:
                ray.init(**options, log_to_driver=False, logging_level=_LOG_LEVEL)
            except Exception as error:  # Ray has no class of its own for what can go wrong
                raise UnavailableError(f"--ray {self._address}: {_first_line(error)}") from error
            stack.callback(ray.shutdown)
            self._closing = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sent.clear()
        self._closing.close()

    def map(self, begin: Begin[Given, Made], shards: Iterable[Given]) -> Iterator[Made]:
        """Yield what comes of each shard, in order, wherever it was worked on; see `Cluster`.

        Raises UnavailableError where a shard was lost too often, or no core is left in the cluster.
        """
        send = self._sender(begin)
        waiting: deque[ray.ObjectRef[Any]] = deque()
        source, end = iter(shards), None
        try:
            while True:
                while end is None and len(waiting) < AHEAD * max(_cores(), 1):
                    end = _taken(source, send, waiting)
                if not waiting:
                    break
                yield self._result(waiting[0])
                waiting.popleft()
        finally:
            for left in waiting:
                with suppress(RayError):
                    ray.cancel(left)
        if end is not None and not isinstance(end, StopIteration):
            raise end

    def _sender(self, begin: Begin[Given, Made]) -> Callable[[Given], ray.ObjectRef[Any]]:
        """Return what sends a shard out; `begin`, and the catalog in it, goes to each node once."""
        pickled = cast("bytes", cloudpickle.dumps(begin))  # type: ignore[no-untyped-call]
        name = hashlib.sha256(pickled).hexdigest()
        if name not in self._sent:
            self._sent[name] = ray.put(begin)
        begun = [self._sent[name]]  # in a list, so that Ray does not unpack it for each shard
        return lambda shard: _TASK.remote(__version__, name, begun, shard)

    def _result(self, shard: ray.ObjectRef[Any]) -> Any:  # noqa: ANN401 # of Made
        deserted = 0.0
        while not ray.wait([shard], timeout=_ANSWER_SECONDS)[0]:
            deserted = 0.0 if _cores() else deserted or time.monotonic()
            if deserted and time.monotonic() - deserted > _PATIENCE:
                raise UnavailableError(f"--ray {self._address}: no node of the cluster has a core: start one")
        try:
            return ray.get(shard)
        except RayTaskError as error:
            raise error.cause from None  # as it would be without Ray
        except RayError as error:
            raise UnavailableError(f"--ray {self._address}: a shard was lost: {_first_line(error)}") from error


def _taken(
    source: Iterator[Given], send: Callable[[Given], ray.ObjectRef[Any]], waiting: deque[ray.ObjectRef[Any]]
) -> Exception | None:
    """Send the next shard out; return what ends the shards instead, which is told after what comes before it."""
    try:
        waiting.append(send(next(source)))
    except Exception as error:  # noqa: BLE001 # StopIteration, or whatever reading them raises
        return error
    return None


def _started(stack: ExitStack) -> dict[str, Any]:
    """Return how a cluster of this machine is started; its files go when it ends."""
    folder = stack.enter_context(TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True))
    return {
        "address": LOCAL,
        "num_cpus": usable_cores(),
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "_temp_dir": folder,
    }


def _checked(address: str) -> str:
    """Return the address of a cluster that answers: Ray itself would wait for minutes."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not host or not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--ray: expected `local` or HOST:PORT of a cluster's head, got {address[:100]!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS).close()
    except OSError as error:
        raise UnavailableError(f"--ray {address}: nobody answers there: {error.strerror or error}") from error
    return address


def _cores() -> int:
    return int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


# ------------------------------------------------------------------------------ in a worker's process

_begun: dict[str, Callable[[Any], Any]] = {}


def _work(version: str, name: str, begin: list[ray.ObjectRef[Any]], shard: Any) -> Any:  # noqa: ANN401 # of Given, of Made
    """Work on a shard; what earlier ones made ready is still there, unless they were of other work."""
    if name not in _begun:
        if version != __version__:
            raise UnavailableError(f"--ray: a node has querywright {__version__}, expected {version}: install the same")
        _begun.clear()
        _begun[name] = cast("Begin[Any, Any]", ray.get(begin[0]))()
    return _begun[name](shard)


_TASK = ray.remote(num_cpus=1, max_retries=_RETRIES, retry_exceptions=False)(_work)
