"""What the docstrings show is what happens: their examples run, those of the clients against a real service."""

from __future__ import annotations

import asyncio
import doctest
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

import querywright
from querywright import AsyncClient, Client, Querywright

MODULES = sorted(
    module.name
    for module in iter_modules([str(Path(querywright.__file__).parent / "service")])
    if find_spec("ray") or module.name != "ray_cluster"
)
SHOWN = {
    "client": {
        "AsyncClient", "Client", "Client.iter_documents", "Client.query", "Client.query_stream", "Client.upsert",
    },
    "local": {
        "Querywright", "Querywright.iter_documents", "Querywright.query", "Querywright.query_stream",
        "Querywright.upsert",
    },
}  # fmt: skip
"""Methods that must have an example."""


def examples(module: str) -> list[doctest.DocTest]:
    """Return the examples of a module."""
    found = doctest.DocTestFinder().find(import_module(f"querywright.service.{module}"))
    return [test for test in found if test.examples]


@pytest.fixture(scope="module")
def shown(
    serving: Callable[[Querywright], AbstractContextManager[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Return the names that examples use besides their module's own."""
    opened = Querywright(home=tmp_path_factory.mktemp("shown"))
    with serving(opened) as service, Client(service.url) as client:
        yield {
            **{name: getattr(querywright, name) for name in querywright.__all__},
            "asyncio": asyncio,
            "Client": partial(Client, service.url),
            "AsyncClient": partial(AsyncClient, service.url),
            "client": client,
            "querywright": opened,
        }


@pytest.fixture
def handbook(shown: dict[str, Any]) -> Iterator[None]:
    """Give each example the same two documents."""
    texts = {"profiles": "How to use customer profiles", "invoices": "How to write and send invoices"}
    opened = shown["querywright"]
    opened.create_collection("handbook")
    opened.upsert("handbook", [{"doc_id": doc_id, "text": text} for doc_id, text in texts.items()])
    yield
    opened.drop_collection("handbook")


@pytest.mark.parametrize(
    "example", [test for module in MODULES for test in examples(module)], ids=lambda test: test.name
)
def test_examples_are_true(example: doctest.DocTest, shown: dict[str, Any], handbook: None) -> None:
    told: list[str] = []
    example.globs |= shown
    ran = doctest.DocTestRunner(verbose=False).run(example, out=told.append, clear_globs=False)
    assert ran.failed == 0, "".join(told)
    assert ran.attempted > 0


@pytest.mark.parametrize("module", SHOWN)
def test_what_a_newcomer_calls_has_an_example(module: str) -> None:
    prefix = f"querywright.service.{module}."
    assert {test.name.removeprefix(prefix) for test in examples(module)} >= SHOWN[module]
