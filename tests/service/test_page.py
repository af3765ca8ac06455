"""The pages' files as they are served: types, caching, what they may load, and nothing beside them."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from querywright.service import playground

FOLDER = Path(playground.__file__).parent / playground.FOLDER
PAGES = {"index.html": "/", "docs.html": "/docs"}
FILES = sorted(path.name for path in FOLDER.iterdir())


def address(name: str) -> str:
    return PAGES.get(name, f"/page/{name}")


@pytest.fixture(scope="module")
def client(service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url) as client:
        yield client


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_as_it_is(client: httpx.Client, name: str) -> None:
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    response = client.get(address(name))
    assert (response.status_code, response.content) == (200, (FOLDER / name).read_bytes())
    assert response.headers["content-type"].partition(";")[0] == kinds[Path(name).suffix]
    assert response.headers["x-content-type-options"] == "nosniff"
    head = client.head(address(name))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(response.content))


@pytest.mark.parametrize("name", FILES)
def test_nothing_but_our_own_files_may_run(client: httpx.Client, name: str) -> None:
    policy = client.get(address(name)).headers["content-security-policy"]
    directives = dict(part.split(maxsplit=1) for part in policy.split("; "))
    assert directives["default-src"] == "'self'"
    assert directives["require-trusted-types-for"] == "'script'"
    assert not set(directives) & {"script-src", "style-src", "img-src", "connect-src"}, "default-src is for all of them"
    assert "unsafe" not in policy
    assert "*" not in policy


def test_a_file_that_is_known_is_not_sent_again(client: httpx.Client) -> None:
    first = client.get("/page/main.js")
    etag = first.headers["etag"]
    assert first.headers["cache-control"] == "no-cache"
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        again = client.get("/page/main.js", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get("/page/main.js", headers={"if-none-match": '"other"'}).status_code == 200
    tags = {client.get(address(name)).headers["etag"] for name in FILES}
    assert len(tags) == len(FILES)


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page",
        "/page/../playground.py",
        "/page/%2e%2e/playground.py",
        "/page/..%2fplayground.py",
        "/page/%2Fetc%2Fpasswd",
        "/page/main.js%00.html",
        "/page/__init__.py",
        "/index.html",
    ],
)
def test_nothing_else_can_be_read(service, path: str) -> None:
    url = httpx.URL(service.url).copy_with(raw_path=path.encode())  # as it stands, not tidied up
    assert httpx.get(url).status_code == 404


def test_the_pages_are_no_part_of_the_interface(client: httpx.Client) -> None:
    assert not [
        path
        for path in client.get("/openapi.json").json()["paths"]
        if not path.startswith(("/v1/", "/healthz", "/readyz", "/metrics"))
    ]
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert client.get(path).status_code == 404
    assert client.post("/").status_code == 405


class _Markup(HTMLParser):
    """Keeps what a page loads, and what would be script or style within it."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inline: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.loads += [given[name] for name in ("src", "href") if name in given]
        self.ids += [given["id"]] if "id" in given else []
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.inline.append(tag)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_page_loads_our_files_only_and_holds_no_script(client: httpx.Client, name: str) -> None:
    markup = _Markup()
    markup.feed((FOLDER / name).read_text(encoding="utf-8"))
    assert not markup.inline
    assert len(markup.ids) == len(set(markup.ids))
    for load in markup.loads:
        assert not re.match(r"[a-z]+:|//|/", load), "relative, so that a proxy may put it under a path"
        if not load.startswith("#"):
            assert client.get(urljoin(address(name), load)).status_code == 200


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".js")])
def test_scripts_make_no_markup_of_texts(client: httpx.Client, name: str) -> None:
    """That a browser holds to it, too, is tested in one."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc", text
    )
    assert not re.search(r"https?://", text)
    for module in re.findall(r'from "(.*?)"', text):
        assert client.get(urljoin(address(name), module)).status_code == 200


def test_styles_load_nothing() -> None:
    assert not re.search(r"url\(|@import", (FOLDER / "style.css").read_text(encoding="utf-8"))
