"""Twice what a service can do, for a minute: it must answer as many as it can and turn the rest away at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from .load import Load, closed_loop, open_loop, post
from .processes import LOAD_CORE, SERVER_CORE, Serving, pin, questions, serving

CLIENTS = (2, 8, 24)


def overload(home: Path, seconds: float = 60, times: float = 2.0, **settings: object) -> dict[str, object]:
    """Measure the peak, then ask so many times as often; return what came of it."""
    with serving(home, core=SERVER_CORE, rewrite_cache=0, **settings) as service:
        pin(LOAD_CORE)
        return asyncio.run(_overloaded(service, seconds, times))


async def _overloaded(service: Serving, seconds: float, times: float) -> dict[str, object]:
    requests = [post("/v1/query", body) for body in questions()]
    load = Load(service.address, requests)
    await closed_loop(load, 8, min(5.0, seconds))  # what is loaded on first use, is
    peaks = {clients: await closed_loop(load, clients, min(6.0, seconds)) for clients in CLIENTS}
    peak = max(one.rate() for one in peaks.values())
    memory = service.memory()
    over = await open_loop(load, times * peak, seconds)
    load.close()
    statuses = over.by_status()
    turned_away = [one for one in over.all if one.status in {429, 503}]
    return {
        "peak": round(peak, 1),
        "asked": round(len(over.all) / over.seconds, 1),
        "statuses": dict(statuses),
        "errors": sorted({one.error for one in over.all if one.error}),
        "without_retry_after": sum(not one.retry_after for one in turned_away),
        "goodput": round(over.rate() / peak, 3),
        "ms_200": [round(1000 * over.quantile(q), 1) for q in (0.5, 0.99)],
        "ms_503": [round(1000 * over.quantile(q, 503, 429), 1) for q in (0.5, 0.99)],
        "memory": round(service.memory() / memory, 3),
    }
