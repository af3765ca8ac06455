"""A service that is told to end under load: nothing that it took may be lost."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from pathlib import Path

import httpx

from .load import Load, Outcome, post
from .processes import LOAD_CORE, SERVER_CORE, Serving, pin, questions, serving


def shutdown(home: Path, times: int = 50, clients: int = 16, seed: int = 1) -> dict[str, object]:
    """Start a service, load it, send SIGTERM at a random moment; so many times. Return what came of it all."""
    pin(LOAD_CORE)
    chance = random.Random(seed)
    total: Counter[str] = Counter(answered=0, turned_away=0, not_connected=0, reset=0, lost=0)
    slowest = {"not_ready": 0.0, "exit": 0.0}
    codes: set[int] = set()
    for _ in range(times):
        with serving(home, core=SERVER_CORE, rewrite_cache=0) as service:
            counts, unready, ended, code = asyncio.run(_ended(service, clients, chance.uniform(0.3, 1.5)))
        total.update(counts)
        slowest = {"not_ready": max(slowest["not_ready"], unready), "exit": max(slowest["exit"], ended)}
        codes.add(code)
    return {
        "times": times,
        **total,
        **{f"slowest_{k}": round(v, 2) for k, v in slowest.items()},
        "codes": sorted(codes),
    }


async def _ended(service: Serving, clients: int, after: float) -> tuple[dict[str, int], float, float, int]:
    load = Load(service.address, [post("/v1/query", body) for body in questions()])
    outcomes: list[Outcome] = []
    asking = [asyncio.ensure_future(_client(load, outcomes)) for _ in range(clients)]
    await asyncio.sleep(after)
    told = time.perf_counter()
    service.process.send_signal(signal.SIGTERM)
    unready = await _until_unready(service, told)
    code = await asyncio.to_thread(service.process.wait, 30)
    ended = time.perf_counter() - told
    await asyncio.gather(*asking)
    return _counted(outcomes), unready, ended, code


async def _client(load: Load, outcomes: list[Outcome]) -> None:
    """Ask until there is nobody to ask."""
    while True:
        outcome = await load.ask()
        outcomes.append(outcome)
        if outcome.status == 0:
            return


async def _until_unready(service: Serving, told: float) -> float:
    async with httpx.AsyncClient() as http:
        while (await http.get(f"{service.url}/readyz", timeout=5)).status_code == 200:
            pass
    return time.perf_counter() - told


def _counted(outcomes: list[Outcome]) -> dict[str, int]:
    """Count what came of the requests; each client ends with one that could not be connected."""
    failed = [one for one in outcomes if one.status not in {200, 503}]
    never = sum(one.error.startswith("connect") for one in failed)
    reset = sum(one.error == "ConnectionResetError" for one in failed)
    return {
        "answered": sum(one.status == 200 for one in outcomes),
        "turned_away": sum(one.status == 503 for one in outcomes),
        "not_connected": never,
        "reset": reset,
        "lost": len(failed) - never - reset,
    }
