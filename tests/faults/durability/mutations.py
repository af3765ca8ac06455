"""Damaged index files: none may be believed, none may end a search or hold it up."""

import os
import random
import shutil
import signal
import tempfile
import types
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from querywright.retrieval.index_files import _digest

from .truth import Rankings, Truth, clean, document, opened, rankings

DOCUMENTS = 60
LONGEST = 10
"""Seconds after which an opening hangs."""


@dataclass(frozen=True)
class Kept:
    """What is mutated, and whose files are put in its place; none of it is written to."""

    collection: Path
    index: Path
    earlier: Path
    """The index files of an earlier generation."""
    foreign: Path
    """Those of another collection."""
    expected: Rankings


Mutation = Callable[[Path, Kept, random.Random], None]
"""Mutates the index files in a folder."""


def mutations(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Mutate `count` times; return how often what was done, and all that was not as it must be."""
    told: Counter[str] = Counter()
    faults: list[str] = []
    scratch = Path(tempfile.mkdtemp(prefix="mutations-"))
    kept = _kept(scratch, random.Random(f"{seed} documents"))
    for number in range(count):
        name = list(MUTATIONS)[number % len(MUTATIONS)]
        folder = scratch / "mutated"
        shutil.copytree(kept.collection, folder)
        index = folder / kept.index.name
        MUTATIONS[name](index, kept, random.Random(f"{seed} {number}"))
        same = _same(index, kept.index) or _same(index.with_name(kept.earlier.name), kept.earlier)
        told[f"mutation: {name}"] += 1
        told["harmless: whole files of a true generation"] += same
        faults += [f"mutation {number}, {name}: {fault}" for fault in _faults(folder, kept, told, same=same)]
        shutil.rmtree(folder)
    shutil.rmtree(scratch)
    return told, faults


def _faults(folder: Path, kept: Kept, told: Counter[str], *, same: bool) -> list[str]:
    try:
        with _no_longer_than(LONGEST), opened(folder) as collection:
            found = rankings(collection)
            used = collection._saved != -1
    except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
        return [f"{type(error).__name__}: {error}"]
    told["set aside"] += os.path.lexists(folder / "damaged-index")
    told["used"] += used
    faults = [] if found == kept.expected else ["wrong answers"]
    return [*faults, "damaged, but used"] if used and not same else faults


def _kept(scratch: Path, dice: random.Random) -> Kept:
    """Make two generations of a collection, and another one."""
    truth: Truth = {}
    for number in range(DOCUMENTS):
        truth[f"d{number}"] = document(number, dice)
    _built(scratch / "c", truth)
    earlier = next((scratch / "c").glob("index-*"))
    shutil.copytree(earlier, scratch / "earlier" / earlier.name)
    for number in range(0, DOCUMENTS, 3):
        truth[f"d{number}"] = document(number, dice)
    _built(scratch / "c", truth)
    _built(scratch / "foreign", {f"d{number}": document(number, dice) for number in range(DOCUMENTS)})
    return Kept(
        scratch / "c",
        next((scratch / "c").glob("index-*")),
        scratch / "earlier" / earlier.name,
        next((scratch / "foreign").glob("index-*")),
        clean(truth),
    )


def _built(folder: Path, truth: Truth) -> None:
    with opened(folder) as collection:
        collection.upsert(truth.values(), whole=False)
        collection.flush()


def _same(index: Path, kept: Path) -> bool:
    """Say whether every file of `kept` is there with its content."""
    return all(
        (index / file.name).is_file()
        and not (index / file.name).is_symlink()
        and (index / file.name).read_bytes() == file.read_bytes()
        for file in kept.iterdir()
    )


@contextmanager
def _no_longer_than(seconds: int) -> Iterator[None]:
    def late(_signal: int, _frame: types.FrameType | None) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# ------------------------------------------------------------------------------------------- mutations


def _file(index: Path, dice: random.Random, *, filled: bool = False) -> Path:
    return dice.choice(sorted(path for path in index.iterdir() if not filled or path.stat().st_size))


def _flipped(index: Path, _: Kept, dice: random.Random) -> None:
    file = _file(index, dice, filled=True)
    data = bytearray(file.read_bytes())
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    file.write_bytes(data)


def _cut(index: Path, _: Kept, dice: random.Random) -> None:
    file = _file(index, dice, filled=True)
    os.truncate(file, dice.randrange(file.stat().st_size))


def _zeroed(index: Path, _: Kept, dice: random.Random) -> None:
    file = _file(index, dice, filled=True)
    data = file.read_bytes()
    start = dice.randrange(len(data))
    file.write_bytes(data[:start] + bytes(len(data) - start))


def _appended(index: Path, _: Kept, dice: random.Random) -> None:
    with _file(index, dice).open("ab") as file:
        file.write(dice.randbytes(dice.randrange(1, 5000)))


def _emptied(index: Path, _: Kept, dice: random.Random) -> None:
    _file(index, dice).write_bytes(b"")


def _random(index: Path, _: Kept, dice: random.Random) -> None:
    file = _file(index, dice)
    file.write_bytes(dice.randbytes(file.stat().st_size))


def _moved_block(index: Path, _: Kept, dice: random.Random) -> None:
    file = _file(index, dice, filled=True)
    data = bytearray(file.read_bytes())
    size = dice.randrange(1, len(data) + 1)
    start, to = dice.randrange(len(data) - size + 1), dice.randrange(len(data) - size + 1)
    data[to : to + size] = data[start : start + size]
    file.write_bytes(data)


def _missing(index: Path, _: Kept, dice: random.Random) -> None:
    _file(index, dice).unlink()


def _swapped(index: Path, _: Kept, dice: random.Random) -> None:
    one, other = dice.sample(sorted(index.iterdir()), 2)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def _earlier_file(index: Path, kept: Kept, dice: random.Random) -> None:
    file = _file(index, dice)
    shutil.copy(kept.earlier / file.name, file)


def _foreign_file(index: Path, kept: Kept, dice: random.Random) -> None:
    file = _file(index, dice)
    shutil.copy(kept.foreign / file.name, file)


def _earlier_folder(index: Path, kept: Kept, dice: random.Random) -> None:
    _replaced(index, kept.earlier, dice)


def _foreign_folder(index: Path, kept: Kept, dice: random.Random) -> None:
    _replaced(index, kept.foreign, dice)


def _replaced(index: Path, by: Path, dice: random.Random) -> None:
    """Put another folder in place of the index, under its name or under the other's own."""
    shutil.rmtree(index)
    shutil.copytree(by, dice.choice((index, index.with_name(by.name))))


def _newer_name(index: Path, kept: Kept, dice: random.Random) -> None:
    """Let another folder look newer than the index, which stays."""
    shutil.copytree(dice.choice((kept.earlier, kept.foreign, kept.index)), index.with_name("index-99999999999999999"))


def _manifest(index: Path, _: Kept, dice: random.Random) -> None:
    """Edit the manifest, without its digest or with it."""
    file = index / "manifest.json"
    body = orjson.loads(file.read_bytes())["body"]
    stale = _digest(body)
    edit = dice.randrange(5)
    if edit == 0:
        body["generation"] += dice.choice((-1, 1))
    elif edit == 1:
        body["files"][dice.choice(sorted(body["files"]))] = _digest("")
    elif edit == 2:
        body["about"] = {"analyzer": "another"}
    elif edit == 3:
        body["files"] = dice.choice(({}, [], None, {"../../etc": "0"}))
    else:
        body = dice.choice(([], None, "", 7, {"format": 1}))
    # Where the digest is right, the edit itself must not be believable: another generation's, or files that are not.
    digest = _digest(body) if edit in (0, 1) and dice.random() < 0.5 else stale
    file.write_bytes(orjson.dumps(dice.choice(({"sha256": digest, "body": body}, [digest, body], None))))


def _folder_for_file(index: Path, _: Kept, dice: random.Random) -> None:
    file = _file(index, dice)
    file.unlink()
    file.mkdir()


def _file_for_folder(index: Path, _: Kept, dice: random.Random) -> None:
    shutil.rmtree(index)
    index.write_bytes(dice.randbytes(100))


def _linked(index: Path, kept: Kept, dice: random.Random) -> None:
    """Put a link in place of a file: to another file, to the true one, to itself, to nothing or to a pipe."""
    file = _file(index, dice)
    os.mkfifo(pipe := index.with_name("pipe"))
    to = dice.choice((kept.earlier / file.name, kept.index / file.name, file, Path("nowhere"), pipe))
    file.unlink()
    file.symlink_to(to)


def _pipe(index: Path, _: Kept, dice: random.Random) -> None:
    """Put a pipe that nobody writes to in place of a file."""
    file = _file(index, dice)
    file.unlink()
    os.mkfifo(file)


def _linked_folder(index: Path, kept: Kept, dice: random.Random) -> None:
    shutil.rmtree(index)
    index.symlink_to(dice.choice((kept.earlier, kept.foreign, index, Path("nowhere"))))


def _unreadable_lock(index: Path, _: Kept, __: random.Random) -> None:
    """Put folders where the lock and what is set aside should be, and damage a file."""
    for name in ("index.lock", "damaged-index"):
        (index.parent / name).unlink(missing_ok=True)
        (index.parent / name / "in the way").mkdir(parents=True)
    (index / "documents").write_bytes(b"[]")


MUTATIONS: dict[str, Mutation] = {
    "bit flipped": _flipped,
    "truncated": _cut,
    "tail zeroed": _zeroed,
    "bytes appended": _appended,
    "emptied": _emptied,
    "random bytes": _random,
    "block copied over another": _moved_block,
    "file missing": _missing,
    "files swapped": _swapped,
    "file of an earlier generation": _earlier_file,
    "file of another collection": _foreign_file,
    "folder of an earlier generation": _earlier_folder,
    "folder of another collection": _foreign_folder,
    "folder under a newer name": _newer_name,
    "manifest edited": _manifest,
    "folder for a file": _folder_for_file,
    "file for the folder": _file_for_folder,
    "link for a file": _linked,
    "pipe for a file": _pipe,
    "link for the folder": _linked_folder,
    "folders in the way": _unreadable_lock,
}
