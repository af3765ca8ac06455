"""The report for people: escaped, alone in its file, and whole in a browser."""

from __future__ import annotations

import base64
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

import querywright.eval.html
from querywright.eval.breakdown import QueryRow, by_cell
from querywright.eval.experiment import Cell, DatasetResults, Results
from querywright.eval.html import FILE, page, write_html
from querywright.eval.markup import Markup, join, number, tag
from querywright.eval.measures import MEASURES
from querywright.eval.plots import Scale, log_ticks, nice_steps
from querywright.eval.report import Report, report, to_json
from querywright.eval.runs import ranking, run_path, write_run

ARMS = {"none": 0.0, "auto": 0.3, "gold+orig": 0.4, "concat": -0.1, "replay:<i>my</i> file.jsonl": 0.05}
LEGS = ("lexical", "dense", "hybrid")
HOSTILE = (
    """</script><script>document.title = "hacked"</script><img src=x onerror='document.title="hacked"'> & "it's" """
)
QUERIES = (
    "export the customer list",
    "这个功能怎么用？它和上个月的报表有什么不同，能不能导出成表格？",
    HOSTILE,
    "x" * 300,
)


def _rows(dataset: str, count: int, bias: float) -> list[QueryRow]:
    rows: list[dict[str, object]] = []
    for arm, gain in ARMS.items():
        for leg in LEGS:
            for place in range(count):
                none = 0.1 * (place % 8)
                moved = 0.0 if arm == "none" or place % 3 == 0 else (gain + bias) * (1 if place % 5 else -0.5)
                values = dict.fromkeys(MEASURES, min(1.0, max(0.0, none + moved)))
                rows.append(
                    {
                        "dataset": dataset,
                        "id": f"q {place}",
                        "arm": arm,
                        "leg": leg,
                        "conversation": f"talk {place // 3}",
                        "turn": place % 8,
                        "labels": {
                            "lang": "zh" if place % 4 == 1 else "en",
                            "problem": ("vague", "<b>none</b>")[place % 2],
                        },
                        "decision": "keep" if arm == "none" or place % 3 == 0 else "rewrite",
                        "confidence": 1.0 if arm == "none" else (place % 10) / 10,
                        "rewriter": arm,
                        "degraded": None,
                        "original": QUERIES[place % len(QUERIES)],
                        "rewrite": QUERIES[place % len(QUERIES)] + " 2024",
                        "gold": "gold & <b>bold</b>",
                        "edits": [
                            {"slot": "date", "replacement": HOSTILE, "evidence": {"source": "clock", "text": "<"}}
                        ],
                        "values": values,
                        "none": dict.fromkeys(MEASURES, none),
                        "stages": {"search_original": 2.0 + place % 7, "rewrite": 0.5},
                        "ms": {"rewrite": 0.5, "search": 2.0 + place % 7},
                        "usage": None,
                    }
                )
    return rows  # type: ignore[return-value]


def _cell(arm: str, leg: str, rows: list[QueryRow]) -> Cell:
    ids = tuple(row["id"] for row in rows)
    return Cell(
        arm,
        leg,
        ids,
        tuple(row["conversation"] for row in rows),
        {name: {row["id"]: row["values"][name] for row in rows} for name in MEASURES},
        {name: {row["id"]: row["none"][name] for row in rows} for name in MEASURES},
        tuple(row["ms"]["rewrite"] / 1000 for row in rows),
        tuple(row["ms"]["search"] / 1000 for row in rows),
        sum(row["decision"] == "rewrite" for row in rows),
        0,
    )


@dataclass(frozen=True)
class Written:
    """A report on disk, and what it was made of."""

    report: Report
    rows: list[QueryRow]
    out: Path
    folder: Path

    @property
    def text(self) -> str:
        return (self.out / FILE).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, write_dataset: Callable[..., Path]) -> Written:
    """Write the report of two data sets, one of them with hostile names, with runs and titles."""
    home = tmp_path_factory.mktemp("html")
    titled = [
        {"_id": f"d{place}", "title": HOSTILE if place == 1 else f"文档 {place}", "text": "t"} for place in range(9)
    ]
    asked = [{"_id": f"q {place}", "text": "t"} for place in range(60)]
    folder = write_dataset(home / "shop", titled, asked, [(f"q {place}", f"d{place % 9}", 1) for place in range(60)])
    rows = [*_rows("shop", 60, 0.0), *_rows("evil <b>& set", 60, -0.8)]
    cells = by_cell(rows)
    results = Results(
        5,
        tuple(
            DatasetResults(
                name, count, 3, tuple(_cell(arm, leg, of) for (set_, arm, leg), of in cells.items() if set_ == name)
            )
            for name, count in (("shop", 60), ("evil <b>& set", 60))
        ),
    )
    run = {f"q {place}": ranking([(f"d{(place + more) % 9}", -more) for more in range(6)]) for place in range(60)}
    for arm in ARMS:
        for leg in LEGS:
            write_run(run_path(home / "out", "shop", arm, leg), run, arm)
    found = report(results, rows)
    write_html(found, rows, home / "out", {"shop": folder})
    return Written(found, rows, home / "out", folder)


class Outline(HTMLParser):
    """What a page is made of; complains about tags that do not close."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def attributes(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name in names]


def test_everything_is_escaped(written: Written) -> None:
    text = written.text
    assert "&lt;/script&gt;&lt;script&gt;document.title" in text
    outline = Outline(text)
    assert len(outline.attributes("script")) == 1
    assert not outline.attributes("img", "i", "b")[0].get("src")
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]
    assert "evil &lt;b&gt;&amp; set" in text


def test_the_page_needs_nothing_else(written: Written) -> None:
    outline = Outline(written.text)
    loaded = [
        value for _, attributes in outline.tags for name in ("src", "href", "srcset") if (value := attributes.get(name))
    ]
    assert all(value == "data:," or value.startswith("#") for value in loaded)
    assert "@import" not in written.text
    assert "url(" not in written.text
    (policy,) = (one["content"] for one in outline.attributes("meta") if "http-equiv" in one)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert {path.name for path in written.out.iterdir()} == {FILE, "runs"}


def test_the_page_has_an_outline(written: Written) -> None:
    outline = Outline(written.text)
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for one in outline.attributes("a") if (value := one.get("href"))}
    assert targets <= set(ids)
    assert outline.attributes("html") == [{"lang": "en"}]
    assert {one.get("lang") for one in outline.attributes("span")} >= {"zh", "en"}


def test_every_plot_says_what_it_shows(written: Written) -> None:
    plots = [one for one in Outline(written.text).attributes("svg") if "plot" in (one.get("class") or "")]
    assert len(plots) > 40
    assert all(one.get("role") == "img" and one.get("aria-label") for one in plots)
    assert "Change of every query under auto on lexical, sorted: " in written.text
    assert written.text.count("<summary>The figures") == 2 * 4, "each plot's figures stand beside it"
    scrolled = [one for one in Outline(written.text).attributes("div") if one.get("class") == "scroll"]
    assert all(one.get("tabindex") == "0" and one.get("aria-label") for one in scrolled)


def test_the_answer_comes_first(written: Written) -> None:
    text = written.text
    first = text[text.index('id="answer"') : text.index('id="set-1"')]
    assert ">Yes<" in first
    assert ">No, it hurt<" in first
    assert "auto on lexical finds better documents than the query as typed: nDCG@5 went from " in first


def test_rankings_stand_side_by_side(written: Written) -> None:
    text = written.text
    assert text.count("<h5>As typed") == text.count("<h5>auto<") + sum(text.count(f"<h5>{arm}<") for arm in ("gold+orig", "concat")) + text.count("<h5>replay:&lt;i&gt;")  # fmt: skip
    assert '<li class="relevant"><span lang="zh" dir="auto">文档' in text
    assert "<em>relevant, 1</em>" in text
    assert "The run is not there." in text, "the second set has none"


def test_the_same_report_is_the_same_page(written: Written) -> None:
    again = page(written.report, written.rows, written.out, {"shop": written.folder})
    assert again == written.text
    read_back = orjson.loads(to_json(written.report))
    assert list(read_back["datasets"]) != list(written.report["datasets"]), "names are sorted there"
    again = page(read_back, written.rows, written.out, {"shop": written.folder})
    assert again == written.text


def test_one_arm_alone_and_no_rows(tmp_path: Path) -> None:
    rows = [row for row in _rows("shop", 8, 0.0) if row["arm"] == "none"]
    cells = tuple(_cell(arm, leg, of) for (_, arm, leg), of in by_cell(rows).items())
    found = report(Results(1, (DatasetResults("shop", 8, 0, cells),)))
    write_html(found, [], tmp_path, {})
    text = (tmp_path / FILE).read_text(encoding="utf-8")
    Outline(text)
    assert "Only the query as typed was evaluated" in text


def test_without_rows_the_table_and_the_cost_remain(written: Written, tmp_path: Path) -> None:
    text = page(written.report, [], tmp_path, {})
    Outline(text)
    assert "Arms and legs" in text
    assert "Gain against time" in text
    assert "Gain of each query" not in text


# --------------------------------------------------------------------------------------- the parts


def test_tags_escape_all_but_markup() -> None:
    assert tag("p", "<b>", tag("i", "&"), title="\"'<", hidden=True, lang=None) == (
        '<p title="&quot;&#x27;&lt;" hidden>&lt;b&gt;<i>&amp;</i></p>'
    )
    assert join("<", Markup("<br>"), None, 3) == "&lt;<br>3"
    assert tag("svg", class_="a", aria_hidden="true", x1=0.5) == '<svg class="a" aria-hidden="true" x1="0.5"></svg>'
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert [number(value) for value in (0.0, 100.0, 2 / 3, -0.5)] == ["0", "100", "0.667", "-0.5"]


def test_scales_are_round_and_hold_their_values() -> None:
    scale = Scale.of([0.341, 0.02])
    assert (scale.low, scale.high, str(scale)) == (0.0, 0.4, "0.00 to +0.40")
    assert (scale.at(0.1), scale.at(9.0), scale.at(-1.0)) == (pytest.approx(25), 100, 0)
    both = Scale.of([1.0, -0.01], share=0.25)
    assert both.low <= -0.25
    assert [text for _, text in Scale.of([0.9]).ticks][:2] == ["+1.0", "+0.8"]
    assert [text for _, text in Scale.of([0.07, -0.04]).ticks] == [
        "+0.08",
        "+0.06",
        "+0.04",
        "+0.02",
        "0.00",
        "−0.02",
        "−0.04",
    ]
    assert Scale.of([]).high > 0
    wide = Scale.of([5.0, -5.0])
    assert (wide.low, wide.high) == (-1.0, 1.0)


def test_ticks() -> None:
    assert log_ticks([0.4, 2.0]) == [0.2, 0.5, 1.0, 2.0, 5.0]
    assert log_ticks([0.4, 900.0]) == [0.1, 1.0, 10.0, 100.0, 1000.0]
    assert log_ticks([0.0])[0] < 0.01 < log_ticks([0.0])[-1]
    assert nice_steps(213) == [0, 50, 100, 150, 200, 250]
    assert nice_steps(1) == [0, 1]


def _luminance(colour: str) -> float:
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_can_be_told_from_the_paper(scheme: int) -> None:
    style = (Path(querywright.eval.html.__file__).parent / "page" / "report.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    for text in ("ink", "soft", "link", "gain", "loss"):
        for paper in ("paper", "raised"):
            assert _contrast(colours[text], colours[paper]) >= 4.5, (text, paper)
    assert min(_contrast(colours[text], colours["gain-soft"]) for text in ("ink", "soft")) >= 4.5
    for arm in range(8):
        assert _contrast(colours[f"arm-{arm}"], colours["paper"]) >= 3, arm


# ------------------------------------------------------------------------------------- the browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True)
class Browser:
    """A headless Chromium, driven over WebDriver."""

    client: httpx.Client
    session: str

    def send(self, path: str, **body: object) -> Any:
        answer = self.client.post(f"/session/{self.session}/{path}", json=body)
        assert answer.status_code == 200, answer.text[:500]
        return answer.json()["value"]

    def run(self, script: str) -> Any:
        return self.send("execute/sync", script=script, args=[])

    def tell(self, command: str, **params: object) -> Any:
        return self.send("goog/cdp/execute", cmd=command, params=params)

    def show(self, path: Path, width: int, scheme: str) -> None:
        mobile = width < 600
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=mobile)
        self.tell("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("url", url=path.as_uri())
        deadline = time.monotonic() + 30
        while self.run("return document.readyState") != "complete":  # a busy machine may still be parsing
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        return [entry["message"] for entry in self.send("se/log", type="browser")]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(client: httpx.Client) -> None:
    for _ in range(200):
        with suppress(httpx.TransportError):
            if client.get("/status").json()["value"]["ready"]:
                return
        time.sleep(0.1)
    pytest.fail("chromedriver does not answer")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start Chromium by its driver; skip where either is missing."""
    driver = shutil.which("chromedriver")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    missing = [name for name, found in (("chromium", chromium), ("chromedriver", driver)) if found is None]
    if driver is None or missing:
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install chromium chromium-driver)")
    port = _free_port()
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            _wait_for(client)
            options = {"binary": chromium, "args": [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]}
            wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            answer = client.post("/session", json={"capabilities": {"alwaysMatch": wanted}})
            assert answer.status_code == 200, answer.text[:500]
            found = Browser(client, answer.json()["value"]["sessionId"])
            yield found
            client.delete(f"/session/{found.session}")
    finally:
        process.terminate()
        process.wait(10)


PLOTS = """return [...document.querySelectorAll("svg.plot")]
  .filter((plot) => plot.checkVisibility() || !plot.closest("details:not([open])"))
  .map((plot) => [plot.getBoundingClientRect().width, plot.getBoundingClientRect().height])"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_plot_is_there_and_nothing_sticks_out(
    browser: Browser, written: Written, width: int, scheme: str
) -> None:
    browser.show(written.out / FILE, width, scheme)
    plots = browser.run(PLOTS)
    assert len(plots) == len(re.findall(r'<svg [^>]*class="plot', written.text))
    assert all(wide >= 20 and high >= 5 for wide, high in plots)
    curves = browser.run("return [...document.querySelectorAll('.frame svg.plot')].map((one) => one.clientWidth)")
    assert len(curves) == 2 * 3
    assert min(curves) > 250
    inner, outer = browser.run("return [innerWidth, document.documentElement.scrollWidth]")
    assert inner == width
    assert outer <= inner
    for opened in ("details", "details details"):
        browser.run(f"for (const one of document.querySelectorAll('{opened}')) one.open = true")
    assert browser.run("return document.documentElement.scrollWidth") <= inner, "with everything unfolded"
    assert browser.complaints() == []


def test_nothing_is_run_or_loaded(browser: Browser, written: Written) -> None:
    browser.show(written.out / FILE, 1280, "light")
    assert browser.run("return document.title") == "Did rewriting help? shop, evil <b>& set"
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    shown = browser.run("return [...document.querySelectorAll('.typed')].map((one) => one.textContent)")
    assert HOSTILE in shown
    assert QUERIES[1] in shown


def test_the_keyboard_reaches_everything(browser: Browser, written: Written) -> None:
    browser.show(written.out / FILE, 1280, "light")
    keys = [{"type": "keyDown", "value": "\ue004"}, {"type": "keyUp", "value": "\ue004"}]
    focused = []
    for _ in range(4):
        browser.send("actions", actions=[{"type": "key", "id": "keys", "actions": keys}])
        focused.append(
            browser.run(
                "const one = document.activeElement, style = getComputedStyle(one);"
                "return [one.className || one.tagName, style.outlineStyle, one.getBoundingClientRect().top >= 0]"
            )
        )
    assert [name for name, _, _ in focused] == ["skip", "A", "A", "scroll"]
    assert all(outline == "solid" and seen for _, outline, seen in focused)


def test_a_picture_and_a_print_are_not_blank(browser: Browser, written: Written) -> None:
    browser.show(written.out / FILE, 390, "dark")
    picture = base64.b64decode(browser.tell("Page.captureScreenshot", format="png")["data"])
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    printed = base64.b64decode(browser.send("print", page={"width": 21.0, "height": 29.7}))
    assert printed.startswith(b"%PDF")
    assert len(printed) > 30_000
