"""What the service itself costs: its search beside a bare FastAPI endpoint that returns the same JSON."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import httpx

from querywright import Querywright

from .load import Load, Outcomes, closed_loop, open_loop, post
from .processes import LOAD_CORE, SERVER_CORE, pin, serving

_BARE = """
import json, sys
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

answer = json.loads(sys.stdin.readline())
app = FastAPI()

class Asked(BaseModel):
    query: str
    collection: str
    k: int
    legs: list[str]

@app.post("/v1/search")
{kind} search(asked: Asked):
    return answer

uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""
PASSAGES = 10_000


def overhead(home: Path, seconds: float = 5, rounds: int = 3) -> dict[str, object]:
    """Ask both in turn, `rounds` times, each on one core; return medians and the latencies at half the load."""
    words = _fill(home)
    chance = random.Random(2)
    bodies = [_body(" ".join(chance.choices(words, k=3))) for _ in range(200)]
    requests = [post("/v1/search", body) for body in bodies]
    pin(LOAD_CORE)
    with serving(home, core=SERVER_CORE, encoder="none") as service:
        answer = httpx.post(f"{service.url}/v1/search", content=bodies[0], headers={"content-type": "application/json"})
        with _bare(answer.json(), "def") as plain, _bare(answer.json(), "async def") as awaited:
            addresses = {"ours": service.address, "bare def": plain, "bare async def": awaited}
            found = [{name: _asked(at, requests, seconds) for name, at in addresses.items()} for _ in range(rounds)]
            rates = {name: median(one[name].rate() for one in found) for name in addresses}
            half = asyncio.run(open_loop(Load(service.address, requests), rates["ours"] / 2, seconds * rounds))
    return {
        "per_second": {name: round(rate) for name, rate in rates.items()},
        "share_of_bare": {name: round(rates["ours"] / rates[name], 2) for name in rates if name != "ours"},
        "half_load_ms": {f"p{round(100 * q)}": round(1000 * half.quantile(q), 2) for q in (0.5, 0.99)},
        "p99_of_p50": round(half.quantile(0.99) / half.quantile(0.5), 2),
        "statuses": dict(half.by_status()),
    }


def _asked(address: tuple[str, int], requests: list[bytes], seconds: float) -> Outcomes:
    async def asked() -> Outcomes:
        load = Load(address, requests)
        await closed_loop(load, 8, 1.0)
        return await closed_loop(load, 8, seconds)

    return asyncio.run(asked())


def _fill(home: Path) -> list[str]:
    chance = random.Random(1)
    words = [f"word{number}" for number in range(20_000)]
    weights = [1 / (number + 1) for number in range(len(words))]
    documents = [
        {"doc_id": f"d{number}", "title": f"Title {number}", "text": " ".join(chance.choices(words, weights, k=60))}
        for number in range(PASSAGES)
    ]
    with Querywright(home=home, encoder="none") as querywright:
        querywright.create_collection("texts")
        querywright.upsert("texts", documents)
        querywright.flush("texts")
    return words[50:5000]


def _body(query: str) -> bytes:
    return json.dumps({"query": query, "collection": "texts", "k": 10, "legs": ["lexical"]}).encode()


@contextmanager
def _bare(answer: object, kind: str) -> Iterator[tuple[str, int]]:
    port = 18_000 + (1 if kind == "def" else 2)
    process = subprocess.Popen(
        [sys.executable, "-c", _BARE.format(kind=kind), str(port)],
        stdin=subprocess.PIPE,
    )
    pin(SERVER_CORE, process.pid)
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(answer).encode() + b"\n")
        process.stdin.close()
        _await(port)
        yield "127.0.0.1", port
    finally:
        process.kill()
        process.wait()


def _await(port: int) -> None:
    for _ in range(200):
        try:
            httpx.get(f"http://127.0.0.1:{port}/none")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the bare service did not start")
