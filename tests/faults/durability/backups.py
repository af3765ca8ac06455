"""Backups made and restored while another process writes, killed on the way, and damaged files of them.

Children are forked: one writes documents and tells through a pipe what was acknowledged and which generation that made,
another is killed while it backs up or restores. A store's generation then tells which state it must be in.
"""

import errno
import io
import itertools
import logging
import os
import random
import select
import shutil
import signal
import struct
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import apsw
import orjson

from querywright import InputError, StorageError, UnavailableError
from querywright.retrieval import restoring
from querywright.retrieval.archive import _digest, write_archive
from querywright.retrieval.fitting import Fusion, Method, load_fusion, save_fusion
from querywright.retrieval.home import Collections
from querywright.retrieval.store import STORE_FILE
from querywright.service.backups import Backups, check_backup
from querywright.service.catalogs import Catalogs

from .errors import GROWING
from .interception import Call, Handler, Real, intercepted
from .kills import Point, _dying
from .truth import SPACES, Truth, differing, document, merged_above, opened

NAMES = 40
MUTATIONS_IN_A_RUN = 10
LONGEST = 20.0
"""A child that has not come to its point by then is killed where it is."""

Told = Counter[str]


def backups(count: int, seed: int, at_once: int = 3) -> tuple[Told, list[str]]:
    """Do `count` runs, of each kind in turn; return what was done, and all that was not as it must be."""
    told: Told = Counter()
    faults: list[str] = []
    logging.getLogger("querywright.service.backups").setLevel(logging.ERROR)  # indexes that cannot be saved
    with merged_above(at_once):
        for number in range(count):
            kind = KINDS[number % len(KINDS)]
            dice = random.Random(f"{seed} {number}")
            scratch = Path(tempfile.mkdtemp(prefix="backups-")).resolve()
            told[f"run: {kind.__name__.strip('_').replace('_', ' ')}"] += 1
            faults += [f"run {number}, {kind.__name__}: {fault}" for fault in kind(scratch, dice, told)]
            shutil.rmtree(scratch)
    return told, faults


@dataclass(frozen=True)
class Side:
    """What stands beside a store: which catalog and which fusion."""

    catalog: int
    weight: float

    @classmethod
    def drawn(cls, dice: random.Random) -> "Side":
        """Draw one; a weight of 0 is no fusion, catalog 0 none."""
        return cls(dice.choice((0, dice.randrange(1, 10**6))), dice.choice((0.0, round(0.05 + dice.random() * 0.9, 6))))


class Home:
    """A home with one collection whose contents are known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = path / "c"
        self.collections = Collections(path, lambda: SPACES)
        self.catalogs = Catalogs(path)
        self.backups = Backups(path, self.collections, self.catalogs)

    def fill(self, truth: Truth, side: Side, kind: str = "toml") -> None:
        """Write documents, and what stands beside them."""
        with opened(self.folder) as collection:
            collection.upsert(truth.values(), whole=False)
            collection.flush()
        if side.catalog:
            self.catalogs.put("c", _catalog(side.catalog, kind), kind)
        if side.weight:
            save_fusion(self.folder, Fusion(Method.RRF, side.weight))

    def side(self) -> Side:
        """Return what stands beside the documents."""
        self.collections.open("c")  # whoever uses a collection opens it first
        catalog, fusion = self.catalogs.load("c"), load_fusion(self.folder)
        number = int(catalog.entities[0].id[1:]) if catalog else 0
        return Side(number, fusion.lexical_weight if fusion else 0.0)

    def close(self) -> None:
        """Close what was opened."""
        self.collections.close()


@contextmanager
def _home(path: Path) -> Iterator[Home]:
    home = Home(path)
    try:
        yield home
    finally:
        home.close()


def _catalog(number: int, kind: str) -> str:
    if kind == "yaml":
        return f"name: c\nentities:\n  - {{id: e{number}, type: product, name: Thing {number}}}\n"
    return f'name = "c"\n[[entities]]\nid = "e{number}"\ntype = "product"\nname = "Thing {number}"\n'


def _documents(dice: random.Random, most: int = NAMES) -> Truth:
    found = (document(number, dice) for number in dice.sample(range(most), dice.randrange(1, most)))
    return {one.doc_id: one for one in found}


# ------------------------------------------------------------------------------------------- a writer


@dataclass(frozen=True)
class Step:
    """What one transaction does."""

    written: Truth
    deleted: frozenset[str]

    def on(self, truth: Truth) -> Truth:
        """Return what there is after it."""
        return {doc_id: one for doc_id, one in (truth | self.written).items() if doc_id not in self.deleted}


def _steps(seed: str) -> Iterator[Step]:
    """Yield what the writer does, without end. No text comes twice: what is not changed is not written."""
    dice = random.Random(seed)
    for number in itertools.count():
        if dice.random() < 0.2:
            yield Step({}, frozenset(f"d{dice.randrange(NAMES)}" for _ in range(dice.randrange(1, 5))))
        else:
            some = (document(dice.randrange(NAMES), dice) for _ in range(dice.randrange(1, 10)))
            marked = (replace(one, metadata={**one.metadata, "step": number}) for one in some)
            yield Step({one.doc_id: one for one in marked}, frozenset())


class Writer:
    """A process that writes; `generations` has that of each acknowledged step."""

    def __init__(self, folder: Path, seed: str) -> None:
        self._seed = seed
        self._reading, writing = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._reading)
            self._write(folder, writing)
        os.close(writing)
        self.generations: list[int] = []

    def wait(self, steps: int) -> None:
        """Wait until so many more steps were acknowledged."""
        until = len(self.generations) + steps
        while len(self.generations) < until:
            if not select.select([self._reading], [], [], LONGEST)[0]:
                raise AssertionError("the writer hangs")
            self._read(1)

    def hear(self) -> int:
        """Return how many steps were acknowledged by now."""
        while select.select([self._reading], [], [], 0)[0]:
            if not self._read(1_000):
                break
        return len(self.generations)

    def kill(self) -> None:
        """End it, wherever it is, and hear the rest."""
        os.kill(self._child, signal.SIGKILL)
        while self._read(1_000):
            pass
        os.close(self._reading)
        os.waitpid(self._child, 0)

    def steps(self) -> list[Step]:
        """Return all acknowledged steps, and the next one, which may have been made."""
        return list(itertools.islice(_steps(self._seed), len(self.generations) + 1))

    def _read(self, most: int) -> bool:
        told = os.read(self._reading, 8 * most)
        self.generations += [number for (number,) in struct.iter_unpack("<q", told)]
        return bool(told)

    def _write(self, folder: Path, writing: int) -> NoReturn:
        try:
            with opened(folder) as collection:
                for number, step in enumerate(_steps(self._seed)):
                    if step.deleted:
                        collection.delete(step.deleted)
                    else:
                        collection.upsert(step.written.values(), whole=False)
                    os.write(writing, struct.pack("<q", collection._store.generation()))
                    if number % 10 == 9:
                        collection.search("word1 客户")
        finally:
            os._exit(3)


# ------------------------------------------------------------------------------------------- kinds of runs


def _written_while_backed_up(scratch: Path, dice: random.Random, told: Told) -> list[str]:
    """Back up while another process writes: what is restored is the state of one of its steps, that of the start."""
    truth, side = _documents(dice), Side.drawn(dice)
    with _home(scratch / "home") as home, _home(scratch / "other") as other:
        home.fill(truth, side)
        seed = str(dice.random())
        writer = Writer(home.folder, seed)
        try:
            writer.wait(dice.randrange(1, 12))
            before = writer.hear()
            made = home.backups.make("c", scratch / "b.tar")
            after = writer.hear()
        finally:
            writer.kill()
        told["transactions acknowledged"] += len(writer.generations)
        told["transactions during a backup"] += after - before
        steps = writer.steps()
        # The last step may be there before it is told.
        done = next(
            (n for n, one in enumerate(writer.generations, 1) if one == made.generation), len(writer.generations) + 1
        )
        faults = [] if before <= done <= after + 1 else [f"of step {done}, not of {before} to {after + 1}"]
        for step in steps[:done]:
            truth = step.on(truth)
        other.backups.restore(scratch / "b.tar", "c")
        return [*faults, *_held(other, [(truth, side)]), *_left(scratch)]


def _written_while_restored(scratch: Path, dice: random.Random, told: Told) -> list[str]:
    """Restore while another process writes: what it wrote later comes on top, nothing else is left."""
    restored, side = _documents(dice), Side.drawn(dice)
    with _home(scratch / "home") as home, _home(scratch / "other") as other:
        other.fill(restored, side)
        other.backups.make("c", scratch / "b.tar")
        home.fill(_documents(dice), Side.drawn(dice), dice.choice(("toml", "yaml")))
        writer = Writer(home.folder, str(dice.random()))
        try:
            writer.wait(dice.randrange(1, 12))
            with _generations_made() as made:
                home.backups.restore(scratch / "b.tar", "c", replace=True)
            writer.wait(dice.randrange(1, 5))
        finally:
            writer.kill()
        told["transactions acknowledged"] += len(writer.generations)
        told["transactions before a restore"] += sum(one <= made[0] for one in writer.generations)
        truth, held = restored, []
        for step, generation in zip(writer.steps(), [*writer.generations, None], strict=True):
            if generation is None:
                held.append((step.on(truth), side))  # perhaps made, not told
            elif generation > made[0]:  # equal: it was before, and what it read the restore had made
                truth = step.on(truth)
        return [*_held(home, [(truth, side), *held]), *_left(scratch)]


@contextmanager
def _generations_made() -> Iterator[list[int]]:
    """Note which generations are made by restoring."""
    made: list[int] = []
    real = restoring.replace_store

    def noted(live: Path, prepared: Path, token: str, ready: Callable[[int], None]) -> None:
        def both(generation: int) -> None:
            made.append(generation)
            ready(generation)

        real(live, prepared, token, both)

    restoring.replace_store = noted
    try:
        yield made
    finally:
        restoring.replace_store = real


def _killed_while_backing_up(scratch: Path, dice: random.Random, told: Told) -> list[str]:
    """Kill a backup: the file is what was there before, or the new one."""
    truth, side = _documents(dice), Side.drawn(dice)
    out = scratch / "b.tar"
    with _home(scratch / "home") as home:
        home.fill(truth, side)
        if dice.random() < 0.7:
            home.backups.make("c", out)
            home.fill(more := _documents(dice), side)
            states = [truth, truth | more]
            truth = states[-1]
        else:
            states = [truth]
        told[_killed(scratch, dice, lambda: home.backups.make("c", out))] += 1
        faults = []
        if out.exists():
            told["with a whole file after the kill"] += 1
            faults = _restored(out, scratch / "first", [(one, side) for one in states])
        elif len(states) > 1:
            faults = ["the earlier backup is gone"]
        home.backups.make("c", out)
        return [*faults, *_restored(out, scratch / "second", [(truth, side)]), *_left(scratch)]


def _killed_while_restoring(scratch: Path, dice: random.Random, told: Told) -> list[str]:
    """Kill a restore: there is what was there before, or what was backed up, with catalog and fusion."""
    restored, side = _documents(dice), Side.drawn(dice)
    out = scratch / "b.tar"
    with _home(scratch / "other") as other:
        other.fill(restored, side)
        other.backups.make("c", out)
    replaced = dice.random() < 0.7
    before, earlier = _documents(dice), Side.drawn(dice)
    layers = ("any", "sqlite", "index", *(["ready"] * 4 if replaced else []))
    with _home(scratch / "home") as home:
        if replaced:
            home.fill(before, earlier, dice.choice(("toml", "yaml")))
        told[_killed(scratch, dice, lambda: home.backups.restore(out, "c", replace=replaced), layers)] += 1
    with _home(scratch / "home") as home:  # as a process that starts
        told["stood ready at the kill"] += (home.folder / "restoring").exists()
        if home.collections.names():
            done = home.side() == side
            states = [(restored, side), (before, earlier)] if replaced else [(restored, side)]
            told["restored at the kill"] += done
            faults = _held(home, states)
        else:
            faults = ["the collection is gone"] if replaced else []
        home.backups.restore(out, "c", replace=True)
        return [*faults, *_held(home, [(restored, side)]), *_left(scratch)]


def _failing(scratch: Path, dice: random.Random, told: Told) -> list[str]:
    """Let I/O calls fail while something is restored: it says so, and all is as it was or as it should become."""
    restored, side = _documents(dice), Side.drawn(dice)
    before, earlier = _documents(dice), Side.drawn(dice)
    layer, kind = dice.choice(("sqlite", "index")), dice.choice((errno.EIO, errno.ENOSPC))
    first, lasting = dice.randrange(1, 80), dice.random() < 0.5
    calls = itertools.count(1)

    def fail(call: Call, real: Real) -> Any:
        grows = kind == errno.EIO or call.name in GROWING
        number = next(calls) if call.layer == layer and call.name not in ("read", "open") and grows else 0
        if number == first or (lasting and number > first):
            told[f"failed: {call.name}, {errno.errorcode[kind]}"] += 1
            raise OSError(kind, os.strerror(kind))
        return real(call.data) if call.name == "write" else real()

    with _home(scratch / "home") as home, _home(scratch / "other") as other:
        other.fill(restored, side)
        other.backups.make("c", scratch / "b.tar")
        home.fill(before, earlier, dice.choice(("toml", "yaml")))
        searched = home.collections.open("c")
        searched.search("word1 客户")
        try:
            with intercepted(fail, home.path):
                home.backups.restore(scratch / "b.tar", "c", replace=True)
            told["restored in spite of failures"] += 1
            states = [(restored, side)]
        except (StorageError, UnavailableError):
            told["told of failures"] += 1
            states = [(before, earlier), (restored, side)]
        searched.search("word1 客户")
        faults = _held(home, states)
        home.backups.restore(scratch / "b.tar", "c", replace=True)
        return [*faults, *_held(home, [(restored, side)]), *_left(scratch)]


def _mutated(scratch: Path, dice: random.Random, told: Told) -> list[str]:
    """Damage a backup: it is refused, and nothing changes."""
    before, earlier = _documents(dice), Side.drawn(dice)
    out, bad = scratch / "b.tar", scratch / "bad.tar"
    faults = []
    with _home(scratch / "home") as home, _home(scratch / "other") as other:
        other.fill(_documents(dice), Side(7, 0.3))
        other.backups.make("c", out)
        home.fill(before, earlier)
        generation = home.collections.open("c").snapshot().generation
        for _ in range(MUTATIONS_IN_A_RUN):
            name = dice.choice(sorted(MUTATIONS))
            data = MUTATIONS[name](out.read_bytes(), dice)
            bad.write_bytes(data)
            told[f"mutation: {name}"] += 1
            faults += [f"{name}: {fault}" for fault in _refused(home, bad)]
        if home.collections.open("c").snapshot().generation != generation:
            faults.append("a refused backup changed the collection")
        return [*faults, *_held(home, [(before, earlier)]), *_left(scratch)]


def _refused(home: Home, bad: Path) -> list[str]:
    faults = []
    for does in (
        lambda: check_backup(bad),
        lambda: home.backups.restore(bad, "c", replace=True),
        lambda: home.backups.restore(bad, "new"),
    ):
        try:
            does()
        except InputError as error:
            if not str(error).startswith(f"{bad}: ") or len(str(error)) > 400:
                faults.append(f"says {str(error)[:500]!r}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
            faults.append(f"{type(error).__name__}: {error}")
        else:
            faults.append("believed")
    return faults


KINDS = (
    _written_while_backed_up,
    _killed_while_restoring,
    _written_while_restored,
    _killed_while_backing_up,
    _failing,
    _mutated,
)


# ------------------------------------------------------------------------------------------- what must hold


def _held(home: Home, states: list[tuple[Truth, Side]]) -> list[str]:
    """Say what is wrong with a collection that must be in one of `states`."""
    side = home.side()
    fusion = home.folder / "fusion.json"
    kept = fusion.read_bytes() if fusion.exists() else None
    fusion.unlink(missing_ok=True)  # a clean build has none
    with opened(home.folder) as collection:
        truth, faults = differing(collection, [one for one, _ in states])
    if kept is not None:
        fusion.write_bytes(kept)
    if not faults and (truth, side) not in states:
        faults = [f"{side} beside the documents of another state"]
    return faults


def _restored(out: Path, home: Path, states: list[tuple[Truth, Side]]) -> list[str]:
    with _home(home) as other:
        other.backups.restore(out, "c")
        return _held(other, states)


def _left(scratch: Path) -> list[str]:
    """Say what was left behind."""
    names = {path.name for path in scratch.rglob("*") if path.name.startswith((".querywright-", "restoring"))}
    return [f"left behind: {sorted(names)}"] if names else []


def _killed(
    scratch: Path,
    dice: random.Random,
    does: Callable[[], object],
    layers: tuple[str, ...] = ("any", "sqlite", "index"),
) -> str:
    """Let a child do it, kill it at some point and say how; it may have ended before."""
    layer = dice.choice(layers)
    point = Point(
        layer, dice.randrange(1, 50 if layer == "sqlite" else 120), dice.random() < 0.5, 0, dice.random() * 0.05
    )
    child = os.fork()
    if child == 0:
        try:
            handler = _dying_ready(dice.randrange(1, 45), scratch) if layer == "ready" else _dying(point)
            with intercepted(handler, scratch) if layer != "any" else nullcontext():
                does()
                os._exit(0)
        finally:
            os._exit(3)
    if layer == "any":
        time.sleep(point.delay)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise AssertionError(f"the child failed: {code}, {point}")
    return f"killed: {layer}" if code else f"ended before the kill: {layer}"


def _dying_ready(number: int, scratch: Path) -> Handler:
    """Return a handler that kills the process at its call since what is to be put in place stands ready."""
    left = itertools.count(1)
    ready = scratch / "home" / "c" / "restoring"

    def handle(call: Call, real: Real) -> Any:
        if call.name != "read" and ready.exists() and next(left) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(call.data) if call.name == "write" else real()

    return handle


# ------------------------------------------------------------------------------------------- mutations


def _flipped(data: bytes, dice: random.Random) -> bytes:
    made = bytearray(data)
    made[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(made)


def _cut(data: bytes, dice: random.Random) -> bytes:
    # Not only of the zeros at the end, which say no more than that it ended before.
    return data[: dice.randrange(len(data.rstrip(b"\0")))]


def _block_gone(data: bytes, dice: random.Random) -> bytes:
    start = 512 * dice.randrange(len(data.rstrip(b"\0")) // 512)
    return data[:start] + data[start + 512 :]


def _zeroed(data: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(data.rstrip(b"\0")) - 1)
    return data[:start] + bytes(len(data) - start)


def _appended(data: bytes, dice: random.Random) -> bytes:
    return data + dice.choice((dice.randbytes(dice.randrange(1, 5000)), data, bytes(20_000)))


def _another_kind(data: bytes, dice: random.Random) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=dice.choice(("w", "w:gz", "w:xz"))) as tar:
        entry = tarfile.TarInfo("notes.txt")
        entry.size = 5
        tar.addfile(entry, io.BytesIO(b"hello"))
    return dice.choice((b"", b"hello", dice.randbytes(5000), bytes(10240), file.getvalue(), data[512:]))


def _extracted(data: bytes) -> tuple[dict[str, object], dict[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        files = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    return orjson.loads(files.pop("manifest.json"))["body"], files


def _packed(about: dict[str, object], files: dict[str, bytes]) -> bytes:
    """Write a backup with right checksums, of whatever files."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, str(number)) for number, name in enumerate(files)}
        for name, path in paths.items():
            path.write_bytes(files[name])
        file = io.BytesIO()
        write_archive(file, about, paths)
        return file.getvalue()


def _strange_name(data: bytes, dice: random.Random) -> bytes:
    about, files = _extracted(data)
    names = (
        "../evil",
        "/tmp/evil",
        "catalogs/../../evil",
        "evil",
        "restoring/plan.json",
        "index.lock",
        "catalog.exe",
        "",
    )
    return _packed(about, {**files, dice.choice(names): b"x"})


def _strange_entry(data: bytes, dice: random.Random) -> bytes:
    """Put a link, a device, a pipe, a folder or a sparse file in place of a plain one."""
    _, files = _extracted(data)
    kind = dice.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE))
    made, at = bytearray(data), 0
    for name in ("manifest.json", *files):
        entry = tarfile.TarInfo.frombuf(bytes(made[at : at + 512]), "utf-8", "strict")
        if name == STORE_FILE:
            entry.type, entry.linkname = kind, "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            made[at : at + 512] = entry.tobuf(tarfile.GNU_FORMAT)[:512]
        at += 512 + -(-entry.size // 512) * 512
    return bytes(made)


def _other_manifest(data: bytes, dice: random.Random) -> bytes:
    """Say something else in the manifest, under its right checksum."""
    about, files = _extracted(data)
    edit = dice.choice(
        (
            {"format": 2}, {"format": None}, {"generation": 5}, {"documents": 10**6}, {"documents": "many"},
            {"collection": "../up"}, {"created": "\x1b[2J"}, {"generation": None},
        )
    )  # fmt: skip
    return _packed({**about, **edit}, files)


def _other_files(data: bytes, dice: random.Random) -> bytes:
    """Say something else of the files than what is there, under the manifest's right checksum."""
    about, files = _extracted(data)
    rows = orjson.loads(orjson.dumps(about["files"]))
    name = dice.choice(sorted(rows))
    edit = dice.choice(("size", "sha256", "gone", "more", "huge"))
    if edit == "size":
        rows[name]["size"] += 1
    elif edit == "huge":
        rows[name]["size"] = 2**60
    elif edit == "sha256":
        rows[name]["sha256"] = "0" * 64
    elif edit == "gone":
        del rows[name]
    else:
        rows["catalog.csv"] = {"size": 3, "sha256": "0" * 64}
    body = {**about, "files": rows}
    manifest = orjson.dumps({"sha256": _digest(body), "body": body})
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member, content in {"manifest.json": manifest, **files}.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _other_store(data: bytes, dice: random.Random) -> bytes:
    """Put other tables or rows into the store, under right checksums."""
    about, files = _extracted(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s")
        path.write_bytes(files[STORE_FILE])
        with closing(apsw.Connection(str(path))) as connection:
            connection.execute(dice.choice(EDITS))
        content = path.read_bytes()
    if dice.random() < 0.2:
        content = dice.choice((b"", bytes(4096), _flipped(content[:100], dice) + content[4096:], b"SQLite format 3\0"))
    return _packed(about, {**files, STORE_FILE: content})


EDITS = (
    "CREATE TABLE evil (x)",
    "CREATE TRIGGER evil AFTER INSERT ON documents BEGIN DELETE FROM documents; END",
    "ALTER TABLE documents RENAME TO d; CREATE VIEW documents AS SELECT * FROM d",
    "CREATE INDEX evil ON documents (title)",
    "ALTER TABLE documents ADD COLUMN evil TEXT",
    "DROP INDEX documents_written; CREATE INDEX documents_written ON documents (text)",
    "DROP TABLE vectors",
    "DELETE FROM meta WHERE key = 'generation'",
    "DELETE FROM meta WHERE key = 'encoder'",
    "UPDATE meta SET value = 99 WHERE key = 'format'",
    "UPDATE meta SET value = 'x' WHERE key = 'format'",
    "DELETE FROM meta WHERE key = 'format'",
    "UPDATE meta SET value = 9223372036854775807 WHERE key = 'generation'",
    "UPDATE meta SET value = 0 WHERE key = 'generation'",
    "DELETE FROM documents WHERE rowid = (SELECT min(rowid) FROM documents)",
    "DELETE FROM passages WHERE rowid = (SELECT min(rowid) FROM passages)",
    "UPDATE passages SET passage_id = 'evil' WHERE rowid = (SELECT min(rowid) FROM passages)",
    "UPDATE passages SET language = 'xx'",
    "UPDATE documents SET metadata = '{'",
    "UPDATE documents SET passages = passages + 1",
)


def _other_catalog(data: bytes, dice: random.Random) -> bytes:
    about, files = _extracted(data)
    name, content = dice.choice(
        (("catalog.toml", b"not = [a catalog"), ("catalog.toml", b"\xff"), ("fusion.json", b"{}"))
    )
    return _packed(about, {**files, name: content})


MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bit flipped": _flipped,
    "truncated": _cut,
    "block missing": _block_gone,
    "tail zeroed": _zeroed,
    "bytes appended": _appended,
    "another kind of file": _another_kind,
    "strange name": _strange_name,
    "strange kind of entry": _strange_entry,
    "manifest edited": _other_manifest,
    "other sizes and checksums": _other_files,
    "store edited": _other_store,
    "catalog or fusion that is none": _other_catalog,
}
