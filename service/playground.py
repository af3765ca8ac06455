"""The pages for people: the playground at `/`, the reference of the routes at `/docs`, and the files they are made of.

Nothing is built, and nothing is fetched from elsewhere. The files are read once, at the start, so that no request can
name another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request, Response

FOLDER = "page"
"""Where the files are: in this package, and under the root of the service."""

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_PAGES = {"index.html": "/", "docs.html": "/docs"}
"""The files that have an address of their own."""

_HEADERS = {
    # Whatever a document or a query holds: no script but ours runs, and none makes markup of a text.
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-cache",  # kept, but asked after, so that a new version shows at once
}


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it is sent."""

    data: bytes
    media_type: str

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.data).hexdigest()[:32]}"'

    def answer(self, request: Request) -> Response:
        headers = {**_HEADERS, "etag": self.etag}
        known = request.headers.get("if-none-match", "")
        if self.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
            return Response(status_code=304, headers=headers)
        return Response(self.data, media_type=self.media_type, headers=headers)


def router() -> APIRouter:
    """Return the routes of the pages and their files."""
    router = APIRouter(include_in_schema=False)
    for name, file in _files().items():
        path = _PAGES.get(name, f"/{FOLDER}/{name}")
        router.add_api_route(path, _endpoint(file), methods=["GET", "HEAD"], name=f"page {name}")
    return router


def _files() -> dict[str, _File]:
    folder = files(__package__) / FOLDER
    read = {found.name: found.read_bytes() for found in folder.iterdir() if found.is_file()}
    return {name: _File(data, _TYPES[name.rpartition(".")[2]]) for name, data in read.items()}


def _endpoint(file: _File) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return file.answer(request)

    return endpoint
