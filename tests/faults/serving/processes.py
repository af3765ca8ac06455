"""A real service in a process of its own, on one core."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from querywright.service.demo import folder

SERVER_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True)
class Serving:
    """A process that serves, and where."""

    process: subprocess.Popen[bytes]
    url: str

    @property
    def address(self) -> tuple[str, int]:
        """Its host and port."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    def memory(self) -> int:
        """Return its resident bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serving(home: Path, *, core: int | None = None, log: Path | None = None, **settings: object) -> Iterator[Serving]:
    """Start `querywright serve` and wait until it is ready; kill what is left of it in the end."""
    command = [Path(sys.executable).with_name("querywright"), "serve", "--port", "0", "--json", "--home", home]
    with (log or Path(os.devnull)).open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(settings),
        )
    if core is not None:
        pin(core, process.pid)  # before it has threads
    try:
        assert process.stdout is not None
        for line in process.stdout:
            row = json.loads(line)
            if "ready" in row:
                yield Serving(process, row["ready"])
                return
        raise RuntimeError(f"the service ended with {process.wait()} before it was ready")
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _environment(settings: Mapping[str, object]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("QUERYWRIGHT_")}
    # One thread a core: more would only wait for one another.
    threads = {"OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    return own | threads | {f"QUERYWRIGHT_{name.upper()}": str(value) for name, value in settings.items()}


def pin(core: int, process: int = 0) -> None:
    """Let a process, this one by default, run on one core, where there are several."""
    cores = range(os.cpu_count() or 1)
    os.sched_setaffinity(process, {cores[core % len(cores)]})


def stop(process: subprocess.Popen[bytes], seconds: float = 30) -> int:
    """Tell a process to end as a supervisor does, and wait."""
    process.send_signal(signal.SIGTERM)
    return process.wait(seconds)


def questions() -> list[bytes]:
    """Return the demo's queries as bodies of POST /v1/query: each with its history, profile and clock."""
    found = []
    for line in (folder() / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        body = {key: row[key] for key in ("history", "profile", "now") if row.get(key)} | {"query": row["text"]}
        found.append(json.dumps(body, ensure_ascii=False).encode())
    return found
