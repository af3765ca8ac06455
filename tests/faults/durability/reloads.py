"""A collection restored again and again, from this process and from another, while a service is searched and written.

Documents of generation g say so. An answer must hold all that its query finds in one generation, one that was there
while it was searched: none before the restore that was acknowledged last, none after the one that has begun.
"""

import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from querywright import Client, Document, InputError, Querywright, QuerywrightError
from querywright.service import local
from querywright.service.admission import Life
from querywright.service.answer import Answer
from querywright.service.app import create_app
from querywright.service.server import Config, Server

from .backups import MUTATIONS
from .truth import Directions, merged_above

GENERATIONS = 5
SEARCHERS = 3
SEARCHES_BETWEEN = 12
CORRUPT_EVERY = 10
AT_ONCE = 100
"""Larger generations are read from index files, smaller ones are indexed anew."""

NAME = "c"
ENCODER = "latin+other"
_ENCODERS = {"latin": Directions("latin", ascii_only=True), "other": Directions("other", ascii_only=False)}


def reloads(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Restore `count` times, every tenth time from a damaged file; return what was done and what was wrong."""
    scratch = Path(tempfile.mkdtemp(prefix="reloads-"))
    dice = random.Random(seed)
    with _encoders(), merged_above(AT_ONCE), Querywright(home=scratch / "home", encoder=ENCODER) as querywright:
        files = [_backup(querywright, scratch, number) for number in range(GENERATIONS)]
        querywright.restore(files[0], NAME)
        with _serving(querywright) as url, _other_process(scratch / "home") as other:
            run = _Run(url, querywright, other, dice)
            with run.busy():
                for number in range(count):
                    run.reload(files, scratch / "bad.tar", corrupt=number % CORRUPT_EVERY == CORRUPT_EVERY - 1)
    left = [path.name for path in (scratch / "home").iterdir() if path.name != NAME]
    shutil.rmtree(scratch)
    return run.told, [*run.faults, *(f"left behind: {name}" for name in left)]


def documents(generation: int) -> dict[str, Document]:
    """Return all documents of a generation; some ids are in all of them, with other texts."""
    found = {}
    for number in range(40 + 61 * generation):
        doc_id = f"d{number}" if number % 3 else f"d{number}-{generation}"
        text = f"common word{number} of generation{generation}"
        found[doc_id] = Document(doc_id, text, metadata={"generation": generation})
    return found


def work(home: str) -> None:
    """Restore each file that a line of standard input names, and tell what came of it."""
    with _encoders(), Querywright(home=home, encoder=ENCODER) as querywright:
        for line in sys.stdin:
            told = _restored(querywright, Path(line.strip()))
            print(told, flush=True)


class _Run:
    """What is done meanwhile, and what comes of it."""

    def __init__(self, url: str, querywright: Querywright, other: "_Other", dice: random.Random) -> None:
        self._url = url
        self._querywright = querywright
        self._other = other
        self._dice = dice
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._begun = [0]
        """The generation of each restore that has begun."""
        self._done = 0
        """The place there of the one that was acknowledged last."""
        self._seconds: list[float] = []
        self.told: Counter[str] = Counter()
        self.faults: list[str] = []

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Search and write all the while."""
        threads = [threading.Thread(target=self._search, args=(number,)) for number in range(SEARCHERS)]
        threads.append(threading.Thread(target=self._write))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
            seconds = sorted(self._seconds)
            for name, share in (("p50", 0.5), ("p99", 0.99), ("longest", 1.0)):
                self.told[f"ms a search, {name}"] = round(1000 * seconds[int(share * (len(seconds) - 1))])

    def reload(self, files: list[Path], bad: Path, *, corrupt: bool) -> None:
        """Restore one of `files`, or a damaged one, once there were searches since the last time."""
        until = len(self._seconds) + SEARCHES_BETWEEN
        while len(self._seconds) < until and not self.faults:
            time.sleep(0.002)
        generation = self._dice.randrange(GENERATIONS)
        file = files[generation]
        if corrupt:
            name = self._dice.choice(sorted(MUTATIONS))
            bad.write_bytes(MUTATIONS[name](file.read_bytes(), self._dice))
            file = bad
        else:
            self._begun.append(generation)
        elsewhere = self._dice.random() < 0.5
        told = self._other.restore(file) if elsewhere else _restored(self._querywright, file)
        self._done = len(self._begun) - 1
        wanted = "refused" if corrupt else "restored"
        self.told[f"{wanted} {'by another process' if elsewhere else 'by the service itself'}"] += 1
        if told != wanted:
            self._say(f"{told}, in place of {wanted}")

    def _search(self, number: int) -> None:
        dice = random.Random(number)
        expected = [documents(generation) for generation in range(GENERATIONS)]
        with Client(self._url, retries=0) as client:
            while not self._over.is_set():
                since, begun = self._done, time.perf_counter()
                try:
                    answer, kind = _asked(client, dice)
                except QuerywrightError as error:
                    self._say(f"{type(error).__name__}: {error}")
                    continue
                self._seconds.append(time.perf_counter() - begun)
                allowed = self._begun[since:]
                with self._lock:
                    self.told[kind] += 1
                if fault := _wrong(answer, [expected[one] for one in allowed]):
                    self._say(f"{kind}: {fault}")

    def _write(self) -> None:
        """Write what none of the queries finds."""
        with Client(self._url, retries=0) as client:
            for number in itertools.count():
                if self._over.wait(0.02):
                    return
                try:
                    client.upsert(NAME, [Document(f"w{number % 50}", f"海港 报表 {number}")])
                    if number % 7 == 0:
                        client.delete(NAME, [f"w{number % 50}"])
                except QuerywrightError as error:
                    self._say(f"writing: {type(error).__name__}: {error}")
                with self._lock:
                    self.told["writes"] += 1

    def _say(self, fault: str) -> None:
        with self._lock:
            self.faults.append(fault)


def _asked(client: Client, dice: random.Random) -> tuple[Answer, str]:
    """Ask a query that finds every document of a generation, one way or another."""
    legs = dice.choice((["lexical"], ["dense"], ["lexical", "dense"]))
    if dice.random() < 0.5:
        return client.search("common", collection=NAME, k=1000, legs=legs), f"search, {'+'.join(legs)}"
    answer = client.query("what is common", collection=NAME, k=1000, legs=legs)
    return answer, f"query, {'+'.join(legs)}"


def _wrong(answer: Answer, allowed: Sequence[Mapping[str, Document]]) -> str | None:
    """Say what is wrong with an answer that must hold one of `allowed`, all of it and nothing else."""
    if answer.degraded:
        return f"degraded: {answer.degraded}"
    found = {hit.doc_id: hit.text for hit in answer.hits}
    if len(found) == len(answer.hits):
        for one in allowed:
            if found == {doc_id: document.text for doc_id, document in one.items()}:
                return None
    seen = sorted({str(hit.metadata.get("generation")) for hit in answer.hits})
    return f"{len(answer.hits)} hits of {seen}, not those of {[len(one) for one in allowed]} documents"


def _restored(querywright: Querywright, file: Path) -> str:
    try:
        querywright.restore(file, NAME, replace=True)
    except InputError:
        return "refused"
    except QuerywrightError as error:
        return f"{type(error).__name__}: {error}"
    return "restored"


def _backup(querywright: Querywright, scratch: Path, generation: int) -> Path:
    """Make a generation, a backup of it, and drop it."""
    querywright.create_collection("made")
    querywright.upsert("made", documents(generation).values())
    querywright.backup("made", scratch / f"{generation}.tar")
    querywright.drop_collection("made")
    return scratch / f"{generation}.tar"


@contextmanager
def _encoders() -> Iterator[None]:
    """Let the service have encoders that cost nothing."""
    before, local.load_encoder = local.load_encoder, _ENCODERS.__getitem__
    try:
        yield
    finally:
        local.load_encoder = before


@contextmanager
def _serving(querywright: Querywright) -> Iterator[str]:
    life, settings = Life(), querywright.settings
    app = create_app(querywright, life=life)
    config = Config(app, port=0, log_level="error", connections=settings.connections, drain_seconds=0)
    server = Server(config, life)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class _Other:
    """Another process, that restores what it is told to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def restore(self, file: Path) -> str:
        """Return what came of it: `restored`, `refused` or an error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


@contextmanager
def _other_process(home: Path) -> Iterator[_Other]:
    command = [sys.executable, "-c", f"from durability.reloads import work; work({str(home)!r})"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        try:
            yield _Other(process)
        finally:
            process.stdin.close()
