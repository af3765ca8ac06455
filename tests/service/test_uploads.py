"""Files that come over the wire: what is no text is refused, and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from querywright import Client, InputError, Querywright


@pytest.fixture(params=["in process", "over HTTP"])
def door(request: pytest.FixtureRequest, tmp_path: Path, serving: Callable[..., Any]) -> Iterator[Any]:
    """Return each SDK over an empty collection `files`."""
    with Querywright(home=tmp_path, encoder="none") as querywright:
        querywright.create_collection("files")
        if request.param == "in process":
            yield querywright
        else:
            with serving(querywright) as running, Client(running.url) as client:
                yield client


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.txt", b""),
        ("shop/blank.md", " \n\t\u3000\n".encode()),
        ("mark.txt", b"\xef\xbb\xbf"),
        ("front.md", b"---\ntitle: Opening hours\n---\n\n"),
    ],
)
def test_a_file_without_text_is_refused(door: Any, name: str, data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        door.add_file("files", name, data)
    assert str(caught.value) == f"{name}: there is no text in it"
    assert door.documents("files") == []


def test_a_file_with_little_text_is_taken(door: Any) -> None:
    assert door.add_file("files", "front.md", b"---\ntitle: Opening hours\n---\nnine") == 1
    assert door.add_file("files", "none.jsonl", b"\n") == 0
    assert [document.text for document in door.documents("files")] == ["nine"]


def test_a_missing_name_is_named(tmp_path: Path, serving: Callable[..., Any]) -> None:
    querywright = Querywright(home=tmp_path, encoder="none")
    querywright.create_collection("files")
    with serving(querywright) as running:
        answer = httpx.post(f"{running.url}/v1/collections/files/files", content=b"# Guide")
    assert (answer.status_code, answer.json()["detail"]) == (422, "file: required, but missing")
