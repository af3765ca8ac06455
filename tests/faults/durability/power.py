"""A power cut: all that was not forced to disk may be there, be gone, be torn or be zeros, files and names alike.

A SIGKILL keeps what the system has not written yet, so it cannot show a missing fsync. Here a model of the disk follows
every I/O call; at seeded random calls it makes the folder that a power cut at that moment could leave. It is stricter
than file systems are: the name of a file or folder is on disk only once its folder was forced there.
"""

import random
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from querywright.retrieval.collection import Collection

from .interception import Call, Real, intercepted
from .truth import Reopen, Truth, differing, merged_above, opened, operations, perform, steps

SECTOR = 512
CUTS_IN_A_FOLDER = 40
_SHARE = 0.03
"""How many of the I/O calls are followed by a cut, in the model alone: the work goes on."""

Write = tuple[int, bytes] | int
"""Bytes at an offset, or a new size."""


class File:
    """A file: what is surely on disk, and what was done since that was forced there."""

    def __init__(self) -> None:
        self.synced = b""
        self.pending: list[Write] = []

    def sync(self) -> None:
        """Force all to disk."""
        self.synced, self.pending = _applied(self.synced, self.pending), []

    def after_cut(self, dice: random.Random) -> bytes:
        """Return what could be left: any of what is pending, in any part."""
        fate = dice.choice(("all", "none", "some", "some"))
        if fate == "some":
            kept = [torn for one in self.pending if dice.random() < 0.6 for torn in _torn(one, dice)]
            return _applied(self.synced, kept)
        return _applied(self.synced, self.pending) if fate == "all" else self.synced


class Folder:
    """A folder: the names that are surely on disk, and those that there are."""

    def __init__(self) -> None:
        self.synced: dict[str, File | Folder] = {}
        self.now: dict[str, File | Folder] = {}

    def after_cut(self, path: Path, dice: random.Random) -> None:
        """Make the folder `path` as a cut could leave it."""
        path.mkdir()
        for name in sorted(self.synced.keys() | self.now.keys()):
            entry = dice.choice((self.synced, self.now)).get(name)
            if isinstance(entry, Folder):
                entry.after_cut(path / name, dice)
            elif entry is not None:
                (path / name).write_bytes(entry.after_cut(dice))


class Disk:
    """A model of what is on disk below `root`, which is there and empty at first. A `deaf` one ignores syncs."""

    def __init__(self, root: Path, *, deaf: bool = False) -> None:
        self._root = root
        self._top = Folder()
        self._deaf = deaf

    def follow(self, call: Call) -> None:
        """Take in a call that was made."""
        folder, name = self._at(call.path)
        match call.name:
            case "create":
                folder.now[name] = File()
            case "mkdir":
                folder.now[name] = Folder()
            case "delete" | "rmdir" | "delete_synced":
                folder.now.pop(name, None)
                self._sync_folder(folder if call.name == "delete_synced" else None)
            case "rename":
                moved = folder.now.pop(name)
                target, new = self._at(call.to)
                target.now[new] = moved
            case "write":
                self._file(call.path).pending.append((call.offset, call.data))
            case "truncate":
                self._file(call.path).pending.append(call.offset)
            case "sync":
                self._sync(call)
            case "sync_folder":
                found = folder.now.get(name, folder) if call.path != str(self._root) else self._top
                self._sync_folder(found if isinstance(found, Folder) else None)

    def after_cut(self, path: Path, dice: random.Random) -> None:
        """Make at `path` what a cut could leave now."""
        self._top.after_cut(path, dice)

    def _sync(self, call: Call) -> None:
        if self._deaf:
            return
        self._file(call.path).sync()
        if call.path.endswith(("-wal", "-journal")):
            # As SQLite does at the first sync of a journal, below where it can be seen here.
            self._sync_folder(self._at(call.path)[0])

    def _sync_folder(self, folder: Folder | None) -> None:
        if folder is not None and not self._deaf:
            folder.synced = dict(folder.now)

    def _at(self, path: str) -> tuple[Folder, str]:
        """Return the folder that holds `path`, and the name there."""
        *parents, name = Path(path).relative_to(self._root).parts or ("",)
        folder = self._top
        for parent in parents:
            found = folder.now[parent]
            assert isinstance(found, Folder)
            folder = found
        return folder, name

    def _file(self, path: str) -> File:
        folder, name = self._at(path)
        found = folder.now[name]
        assert isinstance(found, File)
        return found


def power(count: int, seed: int, *, deaf: bool = False) -> tuple[Counter[str], list[str]]:
    """Cut the power `count` times; return what was done, and all that was not as it must be."""
    told: Counter[str] = Counter()
    faults: list[str] = []
    number = 0
    while told["power cuts"] < count and len(faults) < 20:
        wanted = min(CUTS_IN_A_FOLDER, count - told["power cuts"])
        scratch = Path(tempfile.mkdtemp(prefix="power-")).resolve()
        run = _Run(scratch, f"{seed} {number}", wanted, deaf=deaf)
        run.work()
        told["power cuts"] += len(run.cuts)
        told["I/O calls"] += run.calls
        for place, image, truths in run.cuts:
            told["index files whole"] += any(image.glob("c/index-*/manifest.json"))
            faults += [f"folder {number}, {place}: {fault}" for fault in _checked(image / "c", truths, told)]
        shutil.rmtree(scratch)
        number += 1
    return told, faults


def _checked(folder: Path, truths: list[Truth], told: Counter[str]) -> list[str]:
    try:
        with opened(folder) as collection:
            faults = differing(collection, truths)[1]
    except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
        return [f"{type(error).__name__}: {error}"]
    told["index files set aside"] += (folder / "damaged-index").exists()
    return faults


class _Run:
    """Work on one collection, with cuts at random calls."""

    def __init__(self, scratch: Path, seed: str, wanted: int, *, deaf: bool) -> None:
        self._scratch = scratch
        self._root = scratch / "disk"
        self._root.mkdir()
        self._disk = Disk(self._root, deaf=deaf)
        self._dice = random.Random(f"{seed} cuts")
        self._seed = seed
        self._wanted = wanted
        self._truths: list[Truth] = [{}]
        self.cuts: list[tuple[str, Path, list[Truth]]] = []
        self.calls = 0
        self._lock = threading.Lock()

    def work(self) -> None:
        """Go on until there were enough cuts."""
        with merged_above(3), intercepted(self._handle, self._root):
            collection = opened(self._root / "c")
            for operation in operations(self._seed):
                if len(self.cuts) >= self._wanted:
                    break
                if isinstance(operation, Reopen):
                    collection.close()
                    collection = opened(self._root / "c")
                else:
                    self._do(collection, operation)
            collection.close()

    def _do(self, collection: Collection, operation: Any) -> None:
        """Perform an operation; what its next transaction makes may be found after a cut, or not."""
        coming = iter(steps(operation))

        def expect() -> None:
            step: Callable[[Truth], Truth] | None = next(coming, None)
            self._truths = self._truths[-1:] if step is None else [step(self._truths[-1]), self._truths[-1]]

        def acknowledged() -> None:
            self._truths = self._truths[:1]
            expect()

        expect()
        perform(collection, operation, acknowledged)

    def _handle(self, call: Call, real: Real) -> Any:
        if call.name == "read":
            return real()
        with self._lock:
            return self._followed(call, real)

    def _followed(self, call: Call, real: Real) -> Any:
        self.calls += 1
        if call.layer == "index" and call.name == "write":
            written = real(call.data)
            self._disk.follow(Call("index", "write", call.path, call.data[:written], call.offset))
            self._cut(call)
            return written
        result = real(call.data) if call.name == "write" else real()
        self._disk.follow(call)
        self._cut(call)
        return result

    def _cut(self, call: Call) -> None:
        if len(self.cuts) < self._wanted and self._dice.random() < _SHARE:
            image = self._scratch / str(len(self.cuts))
            self._disk.after_cut(image, self._dice)
            place = f"after {call.name} of {Path(call.path).name}, call {self.calls}"
            self.cuts.append((place, image, self._truths))


def _applied(content: bytes, writes: list[Write]) -> bytes:
    made = bytearray(content)
    for one in writes:
        if isinstance(one, int):
            made = made[:one].ljust(one, b"\0")
        else:
            offset, data = one
            made = made.ljust(offset, b"\0")
            made[offset : offset + len(data)] = data
    return bytes(made)


def _torn(one: Write, dice: random.Random) -> list[Write]:
    """Return what is left of a write: all of it, some of its sectors, or its length as zeros."""
    if isinstance(one, int) or dice.random() < 0.4:
        return [one]
    offset, data = one
    if dice.random() < 0.3:
        return [(offset, bytes(len(data)))]
    parts: list[Write] = [(offset + at, data[at : at + SECTOR]) for at in range(0, len(data), SECTOR)]
    return [part for part in parts if dice.random() < 0.7]
