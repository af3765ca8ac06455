"""Settings read anew, again and again, while searches go on; now and then they are wrong."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from querywright import Querywright

from .processes import serving

_WRONG = ("budget_ms = 0", "fusion = 'none'", "no_such_setting = 1", "x = [", "catalog = 'no/such/file.toml'")
_HITS = 5


def reloads(home: Path, times: int = 100, clients: int = 4) -> dict[str, object]:
    """Reload so many times, one time in ten with settings that are wrong.

    Good settings name one of two collections; each answer must be all of one.
    """
    with Querywright(home=home, encoder="none") as querywright:
        for name in ("one", "two"):
            querywright.create_collection(name)
            querywright.upsert(name, [{"doc_id": f"{name}{number}", "text": "green frog"} for number in range(_HITS)])
    file = home / "settings.toml"
    _write(file, "one")
    with (
        serving(home, settings=file, encoder="none") as service,
        httpx.Client(base_url=service.url, timeout=30) as http,
    ):
        done = threading.Event()
        with ThreadPoolExecutor(clients) as pool:
            asking = [pool.submit(_asked, service.url, done) for _ in range(clients)]
            try:
                told = Counter(_reload(http, file, number) for number in range(times))
            finally:
                done.set()
            outcomes = sum((one.result() for one in asking), Counter[str]())
    return {"reloads": dict(told), "answers": dict(outcomes)}


def _reload(http: httpx.Client, file: Path, number: int) -> str:
    """Reload once; say what came of it."""
    wrong = number % 10 == 9
    name = ("one", "two")[number % 2]
    before = _served(http)
    _write(file, name, _WRONG[number // 10 % len(_WRONG)] if wrong else "")
    status = http.post("/v1/reload").status_code
    served = _served(http)
    expected = (422, before) if wrong else (200, name)
    return ("refused" if wrong else "done") if (status, served) == expected else f"WRONG {status} {served}"


def _served(http: httpx.Client) -> str:
    answer = http.post("/v1/search", json={"query": "frog", "k": 1}).json()
    return str(answer["hits"][0]["doc_id"][:3])


def _write(file: Path, collection: str, more: str = "") -> None:
    file.write_text(f"default_collection = {json.dumps(collection)}\n{more}\n", encoding="utf-8")


def _asked(url: str, done: threading.Event) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    with httpx.Client(base_url=url, timeout=30) as http:
        for path in _until(done, itertools.cycle(("/v1/search", "/v1/query"))):
            answer = http.post(path, json={"query": "frog", "k": _HITS})
            names = {hit["doc_id"][:3] for hit in answer.json().get("hits", ())}
            whole = answer.status_code == 200 and len(answer.json()["hits"]) == _HITS and len(names) == 1
            outcomes["whole" if whole else f"WRONG {answer.status_code} {sorted(names)}"] += 1
    return outcomes


def _until(done: threading.Event, paths: Iterator[str]) -> Iterator[str]:
    return itertools.takewhile(lambda _: not done.is_set(), paths)
