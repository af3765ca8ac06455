"""docs/http.md: every route is in it, and every example does what it says, run as a reader would run it."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from querywright import Client, Querywright
from querywright.service.access import needed
from querywright.service.calls import Call

DOC = Path(__file__).parents[2] / "docs" / "http.md"
TEXT = DOC.read_text(encoding="utf-8")
LEFT_OUT = "…"
METHOD = "GET|HEAD|POST|PUT|DELETE|PATCH"


@dataclass(frozen=True)
class Example:
    """Commands, and what the page says that they print."""

    commands: str
    kind: str
    expected: str


EXAMPLES = [Example(*found) for found in re.findall(r"```sh\n(.*?)```\n\n```(json|text)\n(.*?)```", TEXT, re.DOTALL)]


@pytest.fixture(scope="module")
def printed(built: Path, tmp_path_factory: pytest.TempPathFactory, serving: Callable) -> Iterator[list[str]]:
    """Run all examples in one shell, in their order, over a service of their own; return what each printed."""
    if not shutil.which("bash") or not shutil.which("curl"):
        pytest.skip("needs bash and curl")
    home = shutil.copytree(built, tmp_path_factory.mktemp("http") / "home")
    with serving(Querywright(home=home, rewrite_cache=0)) as service:
        commands = "\nprintf '\\0'\n".join(example.commands for example in EXAMPLES)
        script = commands.replace("localhost:8000", service.url)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        yield done.stdout.decode().split("\0")


def documented() -> dict[str, str]:
    """Return each route of the table with the scope that it names."""
    return dict(re.findall(rf"^\| `((?:{METHOD}) /\S*)` \| (\w+) \|", TEXT, re.MULTILINE))


def routes(service: Any) -> set[str]:
    paths = httpx.get(f"{service.url}/openapi.json").json()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_every_route_is_in_the_table_and_has_a_section_with_an_example(service: Any) -> None:
    assert routes(service) == set(documented())
    sections = dict(re.findall(rf"(?ms)^### ((?:{METHOD}) \S+)\n(.*?)(?=^##|\Z)", TEXT))
    assert set(sections) == set(documented())
    for route, section in sections.items():
        method, path = route.split()
        assert "```sh\n" in section, route
        pattern = re.sub(r"\\\{\w+\\\}", "[a-z]+", re.escape(path))
        assert re.search(rf"localhost:8000{pattern}['?\s]", section), route
        assert method in {"GET", "POST"} or f"-X {method}" in section, route


def test_every_route_needs_a_key_of_the_scope_that_the_table_names() -> None:
    for route, scope in documented().items():
        method, path = route.split()
        assert (needed(method, path.replace("{name}", "handbook")) or "none") == scope, route


def test_every_link_of_the_table_leads_to_its_section() -> None:
    rows = re.findall(rf"^\| `((?:{METHOD}) /\S*)` .*\(#(\S+)\)", TEXT, re.MULTILINE)
    assert len(rows) == len(documented())
    for route, anchor in rows:
        assert anchor == re.sub(r"[^a-z0-9 -]", "", route.lower()).replace(" ", "-")


class Asked(Exception):  # noqa: N818 # no error
    """A client was about to make a call."""


class Asking(Client):
    """A client that tells what it would send."""

    def _responded(self, call: Call[Any], *, streamed: bool = False) -> httpx.Response:
        raise Asked(f"{call.method} {call.path}")


GIVEN = {
    "query": "x", "collection": "handbook", "name": "handbook", "documents": [], "data": b"", "doc_id": "a",
    "doc_ids": ["a"], "text": "",
}  # fmt: skip


def asked(method: str) -> str:
    """Return the route that a client's method asks."""
    function = getattr(Asking(), method)
    wanted = [name for name, one in inspect.signature(function).parameters.items() if one.default is one.empty]
    with pytest.raises(Asked) as caught:
        next(iter(function(**{name: GIVEN[name] for name in wanted})))
    return str(caught.value).replace("/handbook", "/{name}")


def test_every_method_of_the_sdk_is_in_the_row_of_its_route() -> None:
    rows = re.findall(rf"^\| `((?:{METHOD}) /\S*)` \| \w+ \| (.*?) \| \[", TEXT, re.MULTILINE)
    told = {method: route for route, methods in rows for method in re.findall(r"`(\w+)`", methods)}
    assert set(told) == {name for name in vars(Client) if not name.startswith("_")} - {"close"}
    assert {method: asked(method) for method in told} == told


def test_every_command_has_what_comes_back() -> None:
    assert len(EXAMPLES) == TEXT.count("```sh\n") > 15


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_prints_what_the_page_says(number: int, printed: list[str]) -> None:
    example = EXAMPLES[number]
    if example.kind == "json":
        check_json(json.loads(example.expected), json.loads(printed[number]), "$")
    else:
        check_text(example.expected.rstrip().splitlines(), printed[number].rstrip().splitlines())


def check_text(expected: list[str], actual: list[str]) -> None:
    assert len(actual) == len(expected)
    for line, found in zip(expected, actual, strict=True):
        check_string(line, found, line)


def check_string(expected: str, actual: str, where: str) -> None:
    if expected.endswith(LEFT_OUT):
        assert actual.startswith(expected.removesuffix(LEFT_OUT)), where
    else:
        assert actual == expected, where


def check_json(expected: Any, actual: Any, where: str) -> None:
    """Check that `actual` holds all that `expected` does; measured numbers need only be numbers."""
    assert type(actual) is type(expected), where
    if isinstance(expected, dict):
        for key, value in expected.items():
            assert key in actual, f"{where}.{key}"
            check_json(value, actual[key], f"{where}.{key}")
    elif isinstance(expected, list):
        shown = [item for item in expected if item != LEFT_OUT]
        assert len(actual) >= len(shown) if shown != expected else len(actual) == len(shown), where
        for place, item in enumerate(shown):
            check_json(item, actual[place], f"{where}[{place}]")
    elif isinstance(expected, str):
        check_string(expected, actual, where)
    elif not isinstance(expected, float):
        assert actual == expected, where


def test_what_differs_is_noticed() -> None:
    """The comparison itself can fail."""
    for expected, actual in [({"a": 1}, {}), ({"a": 1}, {"a": 2}), (["x"], ["x", "y"]), (["x…"], ["y"]), (1, None)]:
        with pytest.raises(AssertionError):
            check_json(expected, actual, "$")
    check_json({"a": [1, "…"], "b": 0.5, "c": "x…"}, {"a": [1, 2, 3], "b": 0.7, "c": "xyz", "d": 1}, "$")
