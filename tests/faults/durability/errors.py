"""EIO, a full disk and short writes at the n-th I/O call of SQLite, and of index files."""

import errno
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from querywright import QuerywrightError, StorageError, UnavailableError
from querywright.retrieval.collection import STORE_FILE, Collection

from .interception import Call, Real, intercepted
from .truth import (
    Delete,
    Flush,
    Operation,
    Reopen,
    Search,
    Truth,
    Upsert,
    differing,
    document,
    opened,
    operations,
    perform,
    steps,
)

LAYERS = ("sqlite", "index")
KINDS = ("EIO", "ENOSPC", "short")
GROWING = ("create", "mkdir", "write", "truncate", "sync", "sync_folder")
"""Calls that a full disk fails."""

_AFTERWARDS = 4
"""So many operations follow the failure."""


@dataclass(frozen=True)
class Fault:
    """Call `number` of a layer fails; where `lasting`, all later ones do until the operation has ended."""

    layer: str
    kind: str
    number: int
    lasting: bool


def errors(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Fail each call up to `count` in each way; return what came of it, and all that was not as it must be."""
    told: Counter[str] = Counter()
    faults: list[str] = []
    scratch = Path(tempfile.mkdtemp(prefix="errors-")).resolve()
    truth = _begun(scratch / "template", seed)
    for layer in LAYERS:
        for kind in KINDS:
            for number in range(1, count + 1):
                shutil.copytree(scratch / "template", scratch / "disk")
                lasting = kind != "short" and random.Random(f"{seed} {layer} {kind} {number}").random() < 0.5
                run = _Run(scratch, Fault(layer, kind, number, lasting), truth, told)
                faults += [f"{run.fault}: {fault}" for fault in run.work(f"{seed} {number % 7} work")]
                shutil.rmtree(scratch / "disk")
    shutil.rmtree(scratch)
    return told, faults


def _begun(folder: Path, seed: int) -> Truth:
    """Make the collection that every run begins with."""
    dice = random.Random(f"{seed} documents")
    truth = {f"d{number}": document(number, dice) for number in range(25)}
    with opened(folder) as collection:
        collection.upsert(truth.values(), whole=False)
        collection.flush()
    return truth


class _Run:
    """Work on a collection while one call fails, and after."""

    def __init__(self, scratch: Path, fault: Fault, truth: Truth, told: Counter[str]) -> None:
        self.fault = fault
        self._scratch = scratch
        self._folder = scratch / "disk"
        self._truth = truth
        self._told = told
        self._calls = 0
        self._failing = False
        self._failed = False
        self._wrong: list[str] = []

    def work(self, seed: str) -> list[str]:
        """Do it; return all that was not as it must be."""
        with intercepted(self._handle, self._folder):
            self._operate(seed)
        self._told[f"{self.fault.layer}, {self.fault.kind}: injected"] += self._failed
        return self._wrong + self._checked(self._folder, [self._truth])

    def _operate(self, seed: str) -> None:
        left = _AFTERWARDS
        collection: Collection | None = None
        for operation in self._operations(seed):
            if collection is None or isinstance(operation, Reopen):
                collection = self._opened(collection) or self._opened(None)
                if collection is None:
                    break
            self._perform(collection, operation)
            left -= self._failed
            if left < 0:
                break
        if collection is not None:
            self._perform(collection, Search())
            self._perform(collection, Delete(tuple(self._truth)[:1]))
            collection.close()

    def _operations(self, seed: str) -> Iterator[Operation]:
        for operation in operations(seed, 25):
            if not isinstance(operation, Flush | Search) or self.fault.layer == "sqlite":
                yield operation
            if self.fault.layer == "index" and isinstance(operation, Upsert):
                yield Flush()

    def _opened(self, before: Collection | None) -> Collection | None:
        """Close and open; None if that fails, as it may while calls fail."""
        try:
            if before is not None:
                before.close()
            return opened(self._folder)
        except QuerywrightError as error:
            self._refused(error, "opening")
        finally:
            self._failing = False
        return None

    def _perform(self, collection: Collection, operation: Operation) -> None:
        """Perform an operation, which may fail where an error is injected; what it had acknowledged stays."""
        coming = iter(steps(operation))
        failed_before = self._failed

        def acknowledged() -> None:
            self._truth = next(coming)(self._truth)

        try:
            perform(collection, operation, acknowledged)
        except QuerywrightError as error:
            if failed_before and not self._failing:
                self._wrong.append(f"{operation}: failed afterwards: {error}")
            self._refused(error, type(operation).__name__)
            self._failing = False
            self._killed([self._truth, *(step(self._truth) for step in coming)][:2])
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
            self._wrong.append(f"{type(operation).__name__}: {type(error).__name__}: {error}")
        finally:
            self._failing = False

    def _refused(self, error: QuerywrightError, doing: str) -> None:
        """Note an error; it must be of the right kind and say what a full disk is."""
        full = self.fault.kind == "ENOSPC" or (self.fault.kind == "short" and self.fault.layer == "sqlite")
        if not isinstance(error, StorageError | UnavailableError):
            self._wrong.append(f"{doing}: {type(error).__name__}: {error}")
        elif full != ("the disk is full" in str(error)):
            self._wrong.append(f"{doing}: says {error}")
        self._told[f"{self.fault.layer}, {self.fault.kind}: refused"] += 1

    def _killed(self, candidates: list[Truth]) -> None:
        """Check what would be found if the process died now: a write that failed may be found whole."""
        if self.fault.number % 4 == 0:
            image = self._scratch / "image"
            shutil.copytree(self._folder, image, ignore=shutil.ignore_patterns("*-shm"))
            self._wrong += [f"after a kill: {fault}" for fault in self._checked(image, candidates)]
            shutil.rmtree(image)

    def _checked(self, folder: Path, candidates: list[Truth]) -> list[str]:
        try:
            with opened(folder) as collection:
                faults = differing(collection, candidates)[1]
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
            return [f"{type(error).__name__}: {error}"]
        with closing(apsw.Connection(str(folder / STORE_FILE))) as connection:
            whole = connection.pragma("integrity_check") == "ok"
            kept = not list(connection.execute("PRAGMA foreign_key_check"))
        return faults if whole and kept else [*faults, "the SQLite file is corrupt"]

    def _handle(self, call: Call, real: Real) -> Any:
        if self._fails(call):
            return self._fail(call, real)
        return real(call.data) if call.name == "write" else real()

    def _fails(self, call: Call) -> bool:
        fault = self.fault
        wanted = {"EIO": call.name, "ENOSPC": call.name in GROWING, "short": call.name == "write"}[fault.kind]
        # A write of one byte cannot be short.
        if call.layer != fault.layer or not wanted or (fault.kind == "short" and len(call.data) < 2):
            return False
        self._calls += 1
        if self._calls == fault.number:
            self._failed = True
            self._failing = fault.lasting
            return True
        return self._failing

    def _fail(self, call: Call, real: Real) -> Any:
        if self.fault.kind == "short":
            written = real(call.data[: len(call.data) // 2])
            if call.layer == "index":
                return written
            # What SQLite's own VFS makes of a write that stays short.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        code = errno.EIO if self.fault.kind == "EIO" else errno.ENOSPC
        raise OSError(code, os.strerror(code))


class FullDisk:
    """A handler that lets no file grow while `full`, but for the space of files that were deleted or cut since."""

    def __init__(self) -> None:
        self.full = False
        self._room = 0

    def __call__(self, call: Call, real: Real) -> Any:
        """Make the call, or raise what a full disk raises."""
        if self.full and call.name == "write":
            self._room -= max(0, call.offset + len(call.data) - Path(call.path).stat().st_size)
        if self.full and call.name in ("delete", "truncate"):
            self._room += Path(call.path).stat().st_size - call.offset
        if self.full and call.name in GROWING and self._room < 0:
            self._room = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(call.data) if call.name == "write" else real()
