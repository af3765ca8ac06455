"""The playground and the reference in a real browser, over the real service.

The pictures in the README are made here as well:

    SCREENSHOTS=docs python -m pytest tests/service/test_playground.py -k screenshots
"""

import base64
import json
import os
import random
import shlex
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from querywright import Querywright
from querywright.rewrite.query import Edit, Evidence, Problem, Source, apply_edits
from querywright.service.schemas import to_json

webdriver = pytest.importorskip("selenium.webdriver", reason="needs the package selenium (extra dev)")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium and chromedriver on the PATH")

NOW = "2024-07-15T10:00:00+08:00"
DESKTOP, PHONE = (1280, 900), (390, 844)
FIRST = "How do I use this feature?"


class Page:
    """A browser and what people do with it."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        self.url = url

    # ------------------------------------------------------------------------------------ opening

    def open(
        self,
        path: str = "",
        *,
        language: str = "en-US",
        dark: bool = False,
        size: tuple[int, int] = DESKTOP,
        url: str = "",
    ) -> "Page":
        """Load a page anew, with nothing remembered."""
        self.cdp("Network.setUserAgentOverride", userAgent="test", acceptLanguage=language)
        self.prefer(dark=dark)
        self.size(*size)
        self.driver.get("about:blank")
        self.cdp("Storage.clearDataForOrigin", origin=url or self.url, storageTypes="local_storage")
        return self.load((url or self.url) + "/" + path)

    def load(self, url: str) -> "Page":
        """Go somewhere and wait until the page is whole."""
        self.driver.get(url)
        return self.until(lambda: self.js("return 'ready' in document.documentElement.dataset"))

    def prefer(self, *, dark: bool) -> None:
        """Let the system have a dark theme or a light one."""
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.cdp("Emulation.setEmulatedMedia", features=features)

    def size(self, width: int, height: int) -> None:
        """Make the window as large as a screen."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.cdp("Emulation.setTouchEmulationEnabled", enabled=width < 600)

    def cdp(self, command: str, **given: Any) -> Any:
        """Tell the browser itself something."""
        return self.driver.execute_cdp_cmd(command, given)

    # ------------------------------------------------------------------------------------ looking

    def js(self, script: str, *given: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *given)

    def all(self, selector: str) -> list[WebElement]:
        """Return the elements of a selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """Return the only element of a selector."""
        (found,) = self.all(selector)
        return found

    def texts(self, selector: str) -> list[str]:
        """Return what stands in elements, seen or not."""
        return self.js("return [...document.querySelectorAll(arguments[0])].map(node => node.textContent)", selector)

    def text(self, selector: str) -> str:
        """Return what stands in the only element of a selector."""
        (found,) = self.texts(selector)
        return found

    def until(self, is_so: Callable[[], object], seconds: float = 15) -> "Page":
        """Wait for something."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, self.js("return document.body.innerText")
            time.sleep(0.02)
        return self

    def rewritten(self) -> list[str]:
        """Return what the rewrite brings, edit by edit."""
        return self.js("return [...document.querySelectorAll('.edit ruby')].map(node => node.firstChild.textContent)")

    def button(self, within: str, text: str) -> WebElement:
        """Return a button by what it says."""
        (found,) = [button for button in self.all(f"{within} button") if button.text == text]
        return found

    def overflow(self) -> int:
        """Return how many pixels the page is wider than the window."""
        return self.js("return document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def picture(self, file: Path) -> None:
        """Save what is seen."""
        file.write_bytes(base64.b64decode(self.cdp("Page.captureScreenshot", format="png")["data"]))

    # ------------------------------------------------------------------------------------- asking

    def chip(self, query: str, index: int = 0) -> "Page":
        """Choose an example."""
        chips = [chip for chip in self.all(".chip") if chip.text.endswith(query)]
        chips[index].click()
        return self.answered()

    def ask(self, query: str) -> "Page":
        """Type a query over the one before, and press Enter."""
        self.one("#query").send_keys(Keys.CONTROL, "a")
        self.one("#query").send_keys(query, Keys.ENTER)
        return self.answered()

    def answered(self) -> "Page":
        """Wait for the answer, or for what went wrong."""
        return self.until(lambda: self.one("#answer").get_attribute("aria-busy") == "false")

    def answer(self) -> Any:
        """Return the answer that is shown, as the service sent it."""
        return json.loads(self.text(".raw pre"))

    def choose(self, collection: str) -> None:
        """Choose a collection."""
        (option,) = [each for each in self.all("#collection option") if each.get_attribute("value") == collection]
        option.click()

    def name(self, text: str) -> None:
        """Name the collection that is to be built."""
        self.one("#build-name").clear()
        self.one("#build-name").send_keys(text)

    def turn(self, text: str) -> None:
        """Add a turn to the conversation."""
        self.one("#add-turn").click()
        self.all("#turns textarea")[-1].send_keys(text)

    def hover(self, element: WebElement) -> None:
        """Point at something."""
        ActionChains(self.driver, duration=0).move_to_element(element).perform()

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def focused(self) -> str:
        """Say what has the focus."""
        return self.js("const at = document.activeElement; return at.id || at.className || at.tagName")


@contextmanager
def browsing(url: str) -> Iterator[Page]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    try:
        yield Page(driver, url)
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def browser(service) -> Iterator[Page]:
    before = set(service.querywright.collection_store.names())
    with browsing(service.url) as page:
        yield page
    for name in set(service.querywright.collection_store.names()) - before:
        service.querywright.drop_collection(name)  # other tests of this worker use the same service


@pytest.fixture
def page(browser: Page) -> Iterator[Page]:
    """Return the browser; after each test it must have asked nobody else, and run nothing that was not allowed."""
    for log in ("browser", "performance"):
        browser.driver.get_log(log)
    yield browser
    browser.cdp(
        "Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1
    )
    told = [entry["message"] for entry in browser.driver.get_log("browser")]
    assert not [text for text in told if "Failed to load resource" not in text], "no error of a script, no violation"
    for entry in browser.driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            assert url == "about:blank" or urlsplit(url).hostname == "127.0.0.1"


# ----------------------------------------------------------------------------------- the whole way


def test_from_files_to_a_clarified_answer(page: Page, service, tmp_path: Path) -> None:
    """Build from files, ask with a history, see the evidence, answer a question back, switch the language."""
    page.open()
    _build_pond(page, tmp_path)
    assert {info.name: info.documents for info in service.querywright.collections()}["pond"] == 3
    page.one("#build-done").click()
    assert page.one("#collection").get_attribute("value") == "pond"

    page.turn(" ")
    page.turn("")
    page.turn("What do green frogs eat?")
    page.turn("Flies and worms.")
    page.ask("where do they live?")
    assert page.texts(".turn .number") == ["1", "2"], "those with a text"
    assert (page.texts(".was"), page.rewritten(), page.texts(".edit rt")) == (["they"], ["green frogs"], ["turn 1"])
    assert page.texts(".results_rewritten .title")[0] == "Frogs"
    page.hover(page.one(".edit"))
    _green_frogs_are_explained(page)
    page.hover(page.one("h1"))
    page.until(lambda: not page.one("#evidence").is_displayed())
    assert not page.all(".pointed")
    page.one(".verdict").click()
    page.js("document.querySelector('.edit').focus()")
    _green_frogs_are_explained(page)

    assert not page.one("#examples").is_displayed(), "they are about the demo"
    page.choose("demo")
    page.chip("apple news")
    assert page.text(".question h3") == "Which “apple” do you mean?"
    page.button(".options", "apples (fruit)").click()
    page.answered()
    assert page.text(".decision") == "Rewritten"
    assert page.text(".chosen") == "Answered: apples (fruit)"
    assert page.texts(".edit rt")[0] == "your answer"
    assert page.answer()["rewrite"]["rewrite"].startswith("apples (fruit) market report")

    page.one("#language").click()
    assert page.text(".decision") == "已改写"
    assert page.text(".chosen") == "已回答：apples (fruit)"
    assert page.text("#ask button") == "提问"
    assert page.texts(".edit rt")[0] == "您的回答"


def _build_pond(page: Page, folder: Path) -> None:
    """Build the collection `pond` of three files; two others are not taken, and it is said why."""
    (folder / "frogs.md").write_text("# Frogs\n\nGreen frogs live by the lake and sing at night.\n", encoding="utf-8")
    (folder / "food.txt").write_text("Green frogs eat flies and worms.", encoding="utf-8")
    (folder / "苍鹭.jsonl").write_text('{"_id": "heron", "text": "苍鹭站在水里。"}\n', encoding="utf-8")
    (folder / "broken.jsonl").write_text('{"_id": "a"\n', encoding="utf-8")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    page.one("#build-open").click()
    page.one("#pick-files").send_keys("\n".join(map(str, sorted(folder.iterdir()))))
    page.until(lambda: len(page.all("#files li")) == 5)
    assert page.one("#build-name").get_attribute("value") == "documents", "proposed"
    page.name("pond")
    page.one("#build-start").click()
    page.until(lambda: page.one("#build-done").is_displayed())
    rows = dict(zip(page.texts("#files .path"), page.texts("#files .status"), strict=True))
    assert rows.pop("broken.jsonl").startswith("broken.jsonl:1: not JSON")
    assert rows.pop("photo.png") == "another kind of file: it is not sent"
    assert rows == {"frogs.md": "1 document", "food.txt": "1 document", "苍鹭.jsonl": "1 document"}
    assert page.text("#build-said") == "3 documents from 3 files. 1 failed."
    assert page.js("const bar = document.getElementById('build-progress'); return [bar.value, bar.max]") == [4, 4]


def _green_frogs_are_explained(page: Page) -> None:
    card = page.one("#evidence")
    page.until(card.is_displayed)
    assert card.text.startswith("From turn 1 of the conversation (User)\ngreen frogs")
    assert "they → green frogs" in card.text
    assert page.texts(".turn.pointed mark") == ["green frogs"]


# ------------------------------------------------------------------------------ what it shows, truly


def test_every_example_shows_what_it_promises(page: Page, service) -> None:
    page.open()
    module = "return import('/page/examples.js').then(module => module.EXAMPLES)"
    decisions = {"asks_back": "clarify", "left_alone": "keep"}
    examples = [(kind, n) for kind in ("en", "zh") for n in range(6)]
    given = page.js(module)
    for n, (language, index) in enumerate(examples):
        example = given[language][index]
        page.all(".chip")[n].click()
        page.answered()
        rewrite = page.answer()["rewrite"]
        assert rewrite["original"] == example["query"]
        assert rewrite["decision"] == decisions.get(example["kind"], "rewrite"), example
        if example["kind"] in set(Problem):
            assert example["kind"] in {edit["problem"] for edit in rewrite["edits"]}
        answer = httpx.post(
            f"{service.url}/v1/query",
            json={key: example[key] for key in ("query", "history", "profile", "now")} | {"collection": "demo"},
            timeout=60,
        ).json()
        assert (answer["rewrite"]["rewrite"], answer["hits"]) == (rewrite["rewrite"], page.answer()["hits"])


def test_each_edit_has_its_evidence(page: Page) -> None:
    page.open().chip("Can you check the data")
    rewrite = page.answer()["rewrite"]
    assert page.rewritten() == [edit["replacement"].strip() for edit in rewrite["edits"]]
    assert page.texts(".edit rt") == ["catalog", "default", "catalog", "profile", "clock"]
    cards = {}
    for node, edit in zip(page.all(".edit"), rewrite["edits"], strict=True):
        page.js("arguments[0].focus()", node)
        card = page.one("#evidence")
        assert card.is_displayed()
        assert node.get_attribute("aria-describedby") == "evidence"
        assert f"{edit['confidence']:.2f}" in card.text
        assert edit["evidence"]["where"] in card.text
        assert "Vague dimension" in card.text
        assert len(page.all("[data-edit].on")) == 2, "in the original and in the rewrite"
        cards[edit["slot"]] = card.text
        if edit["slot"] == "region":
            assert page.js("return document.querySelector('.value.pointed .key').value") == "region"
        if edit["slot"] == "period":
            assert page.all(".clock.pointed")
    assert "2024-06-01 to 2024-06-30" in cards["period"]
    assert "the data → sales revenue" in cards["metric"]
    assert "inserted → for East China" in cards["region"]


def test_edits_count_code_points(page: Page) -> None:
    """Emoji are two units of a browser's strings each."""
    page.open()
    page.turn("I follow a few European telecom shares.")
    page.one("#query").click()
    page.cdp("Input.insertText", text="🍊🍊 when does orange report")
    page.press(Keys.ENTER)
    page.answered()
    assert page.text(".was") == "orange"
    assert page.text("dd.typed") == "🍊🍊 when does orange report"
    random.seed(7)
    cases = [_edited() for _ in range(300)]
    cut = page.js(
        "return import('/page/edits.js').then(({pieces}) => arguments[0].map(pieces))",
        [json.loads(to_json(case)) for case in cases],
    )
    for case, pieces in zip(cases, cut, strict=True):
        assert "".join(piece["text"] for piece in pieces["before"]) == case["original"]
        assert "".join(piece["text"] for piece in pieces["after"]) == case["rewrite"]
        for piece in pieces["before"]:
            if piece["edit"] is not None:
                edit = case["edits"][piece["edit"]]
                assert piece["text"] == case["original"][edit.start : edit.end]
        assert [piece["edit"] for piece in pieces["after"] if piece["edit"] is not None] == [*range(len(case["edits"]))]


def _edited() -> dict[str, Any]:
    """Return a text with edits at random places, and what they make of it."""
    text = "".join(random.choices("a中🍊é👩‍🌾 ", k=random.randint(1, 12)))
    places = sorted(random.choices(range(len(text) + 1), k=2 * random.randint(0, 3)))
    evidence = Evidence(Source.PROFILE, "profile.a", "a")
    edits = tuple(
        Edit(Problem.AMBIGUITY, "s", start, end, random.choice(["", "x", "🍎 ", "苹果"]), evidence)
        for start, end in zip(places[::2], places[1::2], strict=True)
    )
    return {"original": text, "rewrite": apply_edits(text, edits), "edits": edits}


def test_results_side_by_side_with_rank_changes(page: Page, service) -> None:
    page.open().chip("latest Apple news")
    found = httpx.post(
        f"{service.url}/v1/search", json={"query": "latest Apple news", "collection": "demo"}, timeout=60
    )
    before = {hit["passage_id"]: hit for hit in found.json()["hits"]}
    after = {hit["passage_id"]: hit for hit in page.answer()["hits"]}
    assert page.texts(".results_typed .title") == [hit["title"] for hit in before.values()]
    assert page.texts(".results_rewritten .title") == [hit["title"] for hit in after.values()]

    def mark(name: str, rank: int) -> str:
        by = before[name]["rank"] - rank if name in before else None
        return "new" if by is None else "=" if by == 0 else f"↑{by}" if by > 0 else f"↓{-by}"

    marks = [mark(name, hit["rank"]) for name, hit in after.items()]
    assert page.texts(".results_rewritten .moved") == marks
    assert any(text.startswith(("↑", "↓")) for text in marks), "something moved"
    assert len(page.all(".results_typed .moved")) == len(before.keys() - after.keys())


def test_what_is_kept_has_one_list(page: Page) -> None:
    page.open().chip("does sales revenue include VAT?")
    assert page.text(".decision") == "Kept as typed"
    assert page.texts(".side h3") == ["Results"]
    assert not page.all(".edit")


def test_the_trace_is_drawn_to_scale(page: Page) -> None:
    page.open().chip(FIRST)
    trace = sorted(page.answer()["trace"], key=lambda stage: stage["start"])
    end = max(stage["start"] + stage["seconds"] for stage in trace)
    assert len(page.all(".timeline tbody tr")) == len(trace) >= 4
    bars = page.js(
        """return [...document.querySelectorAll('.timeline .span')].map(bar => {
             const [lane, own] = [bar.parentElement.getBoundingClientRect(), bar.getBoundingClientRect()];
             const style = getComputedStyle(bar.parentElement);
             const wide = lane.width - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
             return [(own.left - lane.left) / wide, own.width / wide, wide];
           })"""
    )
    for (left, width, wide), stage in zip(bars, trace, strict=True):
        assert left == pytest.approx(stage["start"] / end, abs=0.01)
        assert width == pytest.approx(max(stage["seconds"] / end, 2 / wide), abs=0.01)


@pytest.mark.parametrize(
    "stream",
    ['event: stage\ndata: {"stage":"fuse","seconds":0.1,"note":"","start":0}\n\n', "event: answer\ndata: {\n\n", ""],
)
def test_an_answer_that_breaks_off_is_told(page: Page, stream: str) -> None:
    page.open()
    page.js(STREAMS, stream)
    page.ask("apple news")
    assert page.one(".notice.error").text.startswith("The answer broke off")


STREAMS = """
  const [text, real] = [arguments[0], window.fetch];
  window.fetch = (url, options) => String(url).endsWith('/stream') ? Promise.resolve(new Response(text)) : real(url, options);
"""


def test_a_fault_of_the_page_is_not_put_on_the_service(page: Page) -> None:
    page.open()
    page.js(STREAMS, 'event: hits\ndata: {"hits":[]}\n\n')
    failed = """
      const done = arguments[0];
      import('/page/api.js')
        .then(({ask}) => ask({}, () => { throw new RangeError('drawing'); }))
        .catch(error => done(`${error.name}: ${error.message}`));
    """
    assert page.driver.execute_async_script(failed) == "RangeError: drawing"


def test_who_looked_in_vain_is_said(page: Page) -> None:
    """Nothing was needed where nobody was asked; where rewriters were, it is said that they found nothing."""
    page.open().ask("where does the heron stand")
    steps = page.answer()["rewrite"]["steps"]
    looked = [step for step in steps if not step["note"].startswith("not asked")]
    assert {step["note"] for step in looked} == {"nothing to add"}
    assert f"nothing to add: {len(looked)} rewriters looked" in page.text(".verdict")
    page.js(STREAMS, f"event: answer\ndata: {json.dumps(page.answer() | _by_nobody(page.answer()))}\n\n")
    page.ask("heron")
    assert "no rewriter was needed" in page.text(".verdict")


def _by_nobody(answer: Any) -> dict[str, Any]:
    return {"rewrite": answer["rewrite"] | {"steps": []}}


def test_what_was_not_read_is_said_in_a_line(page: Page) -> None:
    page.open()
    page.ask("and its price?")
    assert not page.answer()["rewrite"]["truncated"]
    assert "was not read" not in page.text("#answer")
    page.js("document.getElementById('add-turn').click()")
    page.js("document.querySelector('#turns textarea').value = 'The lake is deep and cold. '.repeat(200)")
    page.ask("and its price?")
    assert page.answer()["rewrite"]["truncated"]
    assert "Some of the text was not read: of each turn its beginning was" in page.text("#answer > .quiet")
    assert not page.all("#answer .notice")


def test_notes_of_the_timeline_speak_chinese(page: Page) -> None:
    page.open(language="zh-CN").chip("帮我查下数据")
    notes = {stage["stage"]: stage["note"] for stage in page.answer()["trace"]}
    shown = dict(zip(page.texts(".timeline tbody th"), page.texts(".timeline .note")[1:], strict=True))
    assert notes["search_original"] == "1 texts, 2 lists; read by lexical+dense"
    assert shown["检索原文"] == "1 条文本，2 个列表；检索路：关键词+向量"
    assert shown["融合"] == notes["fuse"].replace(" lists", " 个列表")
    assert shown["等待改写"] == "catalog；已改写"
    page.one("#language").click()
    assert "1 text, 2 lists; read by lexical+dense" in page.texts(".timeline .note")
    page.one("#language").click()
    noted = "return import('/page/notes.js').then(module => arguments[0].map(module.noted))"
    said = {
        "none; keep": "无；保持原文",
        "nothing to add": "没有可补的",
        "not asked: no time left": "未询问：没有时间了",
        "not asked: another reason": "未询问：another reason",
        "failed: llm_timeout": "出错：llm_timeout",
        "rewrite 0.93, 1 edits dropped: not sure enough": "已改写 0.93，1 处修改不取：把握不够",
        "something else; of 3 lists": "something else；of 3 lists",
    }
    assert page.js(noted, list(said)) == list(said.values())


def test_dropped_edits_and_failed_parts_are_told(page: Page, tmp_path: Path, serving, server) -> None:
    options = {
        "llm": "openai:test",
        "llm_base_url": server.url,
        "budget_ms": 60_000,
    }  # the model's package loads slowly
    querywright = Querywright(home=tmp_path, encoder="none", **options)
    querywright.create_collection("demo")
    querywright.upsert("demo", [{"doc_id": "a", "text": "green frog habitat"}])
    with pytest.MonkeyPatch.context() as patch, serving(querywright) as service:
        patch.setenv("OPENAI_API_KEY", "key")
        server.proposes("green frog habitat in Atlantis")
        page.open(url=service.url)
        page.turn("green frog")
        page.ask("frog habitat")
        rewrite = page.answer()["rewrite"]
        assert rewrite["dropped"]
        told = page.text(".plain")
        assert told.startswith("Proposed, but without evidence")
        for edit in rewrite["dropped"]:
            assert edit["replacement"].strip() in told
            assert edit["reason"] in told
        server.reply = lambda: (401, b"{}")
        page.ask("frog habitats")
        reason = page.answer()["degraded"]
        assert reason.startswith("llm_")
        assert reason in page.text(".notice.warn")
        assert "The language model" in page.text(".notice.warn")


# -------------------------------------------------------------------------------------- going on


def test_ask_next_puts_query_and_result_into_the_conversation(page: Page) -> None:
    page.open().chip(FIRST)
    first = page.answer()["hits"][0]["text"]
    page.button(".next", "Continue from it").click()
    assert page.texts(".next") == ["Put into the conversation. Type a follow-up above."]
    said = page.js("return [...document.querySelectorAll('#turns textarea')].map(area => area.value)")
    assert said[-2] == FIRST
    assert len(said) == 4
    assert first.startswith(said[-1].removesuffix("…"))
    assert page.one("#query").get_attribute("value") == ""
    assert page.focused() == "query"
    page.ask("and on mobile?")
    assert len(page.answer()["hits"]) == 10


def test_a_follow_up_without_its_conversation_is_asked_again_with_it(page: Page, service) -> None:
    service.querywright.create_collection("lake")
    service.querywright.upsert("lake", [{"doc_id": "a", "text": "Green frogs live by the lake and eat flies."}])
    page.open()
    assert "Continue from it" in page.text("#no-turns")
    page.choose("lake")
    page.ask("where do green frogs live?")
    assert page.texts(".next span") == ["This answer is not part of the conversation yet."]
    page.ask("what do they eat?")
    assert "history" not in _sent(page)
    alone = "Asked without a conversation. Does it follow up on “where do green frogs live?”?"
    assert page.texts(".next span")[0] == alone
    page.button(".next", "Ask it as a follow-up").click()
    page.answered()
    assert [turn["text"] for turn in _sent(page)["history"]] == [
        "where do green frogs live?",
        "Green frogs live by the lake and eat flies.",
    ]
    assert [text.lower() for text in page.rewritten()] == ["green frogs"]
    assert page.texts(".next span") == ["This answer is not part of the conversation yet."]


def test_without_the_demo_it_is_said_how_to_begin(page: Page, tmp_path: Path, serving) -> None:
    with serving(Querywright(home=tmp_path / "home", encoder="none")) as service:
        page.open(url=service.url)
        assert not page.one("#examples").is_displayed()
        assert page.text(".welcome h2") == "How to begin"
        page.one("#language").click()
        assert page.text(".welcome h2") == "从这里开始"
        page.one(".begin button").click()
        (tmp_path / "a.txt").write_text("frog", encoding="utf-8")
        page.one("#pick-files").send_keys(str(tmp_path / "a.txt"))
        page.one("#build-start").click()
        page.until(lambda: page.one("#build-done").is_displayed())
        page.one("#build-done").click()
        assert page.text(".welcome h2") == "从这里开始", "it holds no demo now, either"
        page.one("#build-open").click()
        page.one("#pick-files").send_keys(str(tmp_path / "a.txt"))
        page.until(lambda: page.all("#files li"))
        assert page.one("#build-name").get_attribute("value") == "documents-2", "the first is taken"
        page.load(service.url + "/docs")
        section = page.js("return document.getElementById('post/v1/query')")
        section.find_element(By.CSS_SELECTOR, ".tryout summary").click()
        section.find_element(By.CSS_SELECTOR, ".tryout button").click()
        page.until(lambda: section.find_elements(By.CSS_SELECTOR, "[role=status] pre"))
        assert section.find_element(By.CSS_SELECTOR, "[role=status]").text.startswith("200")


def test_the_conversation_and_the_profile_are_edited(page: Page) -> None:
    page.open()
    for text in ("one", "two", "three"):
        page.turn(text)
    turns = "return [...document.querySelectorAll('.turn')].map(row => [row.querySelector('select').value, row.querySelector('textarea').value])"
    assert page.js(turns) == [["user", "one"], ["assistant", "two"], ["user", "three"]]
    page.one("[aria-label='Move turn 3 up']").click()
    page.one("[aria-label='Remove turn 1']").click()
    assert page.js(turns) == [["user", "three"], ["assistant", "two"]]
    page.one("[aria-label='Move turn 1 down']").click()
    assert page.js(turns) == [["assistant", "two"], ["user", "three"]]
    for key, value in (("interests", "fruit"), ("interests", "farming"), ("__proto__", "x"), ("region", "")):
        page.one("#add-value").click()
        page.press(key, Keys.TAB, value)
    page.ask("apple news")
    sent = _sent(page)
    assert sent["profile"] == {"interests": ["fruit", "farming"], "__proto__": "x"}
    assert sent["history"] == [{"role": "assistant", "text": "two"}, {"role": "user", "text": "three"}]
    assert page.text(".decision") == "Rewritten"
    page.one("#clear").click()
    page.ask("apple news")
    assert set(_sent(page)) == {"query", "collection", "k"}


def _sent(page: Page) -> Any:
    """Return the body of the last query that the browser sent."""
    sent = [json.loads(entry["message"])["message"] for entry in page.driver.get_log("performance")]
    bodies = [
        each["params"]["request"]["postData"]
        for each in sent
        if each["method"] == "Network.requestWillBeSent" and each["params"]["request"]["url"].endswith("/stream")
    ]
    return json.loads(bodies[-1])


def test_copied_curl_asks_the_same(page: Page) -> None:
    page.open()
    page.cdp("Browser.grantPermissions", origin=page.url, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.turn("it's about 'orange' shares; $(touch /tmp/x) `id`")
    page.ask("when does orange report")
    page.button(".actions", "Copy as curl").click()
    page.until(lambda: "Copied" in page.texts(".actions button"))
    command = shlex.split(page.js("return navigator.clipboard.readText()"))
    assert command[:2] == ["curl", "-s"]
    assert command[3:5] == ["-H", "content-type: application/json"]
    asked = httpx.post(command[2], json=json.loads(command[6]), timeout=60).json()
    assert asked["rewrite"]["rewrite"] == page.answer()["rewrite"]["rewrite"] != "when does orange report"


# ------------------------------------------------------------------------------------- what goes wrong


def test_what_the_service_refuses_is_said(page: Page) -> None:
    page.open()
    page.one("#now").send_keys("yesterday")
    page.ask("apple news")
    assert page.one("[role=alert].notice").text.splitlines()[:2] == [
        "Invalid input 422",
        "now: expected ISO 8601 with an offset, e.g. 2024-07-15T09:00:00+08:00",
    ]
    page.one("#language").click()
    assert page.one("[role=alert].notice").text.startswith("输入有误 422")
    page.one("#now").clear()
    page.one(".notice button").click()
    page.answered()
    assert page.text(".decision") == "反问"


def test_a_service_that_is_busy_says_when_to_try_again(page: Page, tmp_path: Path, serving) -> None:
    querywright = Querywright(home=tmp_path, encoder="none")
    querywright.create_collection("demo")
    (tmp_path / "demo" / "catalog.toml").write_text("not a catalog", encoding="utf-8")
    with serving(querywright) as service:
        page.open(url=service.url)
        page.one("#query").send_keys("frog", Keys.ENTER)
        page.until(lambda: page.all(".notice.error"))
        button = page.one(".notice.error button")
        assert not button.is_enabled()
        assert "The service cannot answer now 503" in page.text(".notice.error")
        page.until(lambda: button.text == "Try again in 1 s", 2)
        page.until(lambda: button.text == "Try again" and button.is_enabled(), 4)
        (tmp_path / "demo" / "catalog.toml").unlink()
        button.click()
        page.answered()
        assert page.text(".decision") == "Kept as typed"


def test_a_service_that_is_gone_is_told(page: Page) -> None:
    page.open()
    page.cdp("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    page.ask("apple news")
    assert page.one(".notice.error").text.startswith("The service cannot be reached")
    page.cdp("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    page.one(".notice.error button").click()
    page.answered()
    assert page.text(".decision") == "Asks back"


HOSTILE = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>\"'`${1}</textarea>{{7*7}}"


def test_hostile_texts_stay_texts(page: Page, service, tmp_path: Path) -> None:
    service.querywright.create_collection("hostile")
    document = {"doc_id": f"{HOSTILE} id", "title": f"{HOSTILE} title", "text": f"frog {HOSTILE}"}
    service.querywright.upsert("hostile", [document | {"metadata": {HOSTILE: HOSTILE}}])
    (tmp_path / "<img src=x onerror=window.ran=1>.jsonl").write_text("{", encoding="utf-8")
    page.open()
    page.choose("hostile")
    page.turn(f"frog {HOSTILE}")
    page.one("#add-value").click()
    page.press(HOSTILE[:60], Keys.TAB, HOSTILE)
    page.ask(f"frog {HOSTILE}")
    assert page.text("dd.typed") == f"frog {HOSTILE}"
    assert page.texts(".title")[0] == f"{HOSTILE} title"
    page.all(".hit summary")[0].click()
    assert HOSTILE in page.texts(".whole .facts")[0]
    page.one("#build-open").click()
    page.one("#pick-files").send_keys(str(next(tmp_path.iterdir())))
    page.name("hostile")
    page.one("#build-start").click()
    page.until(lambda: page.all("#files .failed"))
    assert page.js("return window.ran") is None
    assert not page.all("main img, main script, dialog img, dialog script")


def test_the_browser_itself_makes_no_markup_of_texts(page: Page) -> None:
    """Were there a slip in a script, the policy would catch it."""
    page.open()
    failed = "try { document.body.innerHTML = '<b>x</b>' } catch (error) { return error.name }"
    assert page.js(failed) == "TypeError"
    told = page.driver.get_log("browser")
    assert any("TrustedHTML" in entry["message"] for entry in told)


def test_behind_a_key(page: Page, tmp_path: Path, serving) -> None:
    """The browser asks for the key and sends it with whatever the page asks."""
    from querywright.service.keys import Keys as ApiKeys
    from querywright.service.keys import Scope

    querywright = Querywright(home=tmp_path, encoder="none")
    querywright.create_collection("demo")
    keys = ApiKeys(tmp_path / "keys.json")
    key = keys.add("page", Scope.READ)
    with serving(querywright, keys) as service:
        assert httpx.get(service.url + "/").status_code == 401
        page.open(url=service.url.replace("//", f"//any:{key}@"))
        page.ask("frog")
        assert page.text(".decision") == "Kept as typed"
        page.load(service.url + "/")  # from here on the browser knows the key
        page.ask("frog")
        assert page.text(".decision") == "Kept as typed"
        page.js("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
        page.button(".actions", "Copy as curl").click()
        page.until(lambda: page.js("return window.copied"))
        ran = subprocess.run(
            ["sh", "-c", page.js("return window.copied")],
            env=os.environ | {"QUERYWRIGHT_KEY": key},
            capture_output=True,
            check=True,
        )
        assert json.loads(ran.stdout)["rewrite"]["original"] == "frog"
        page.one("#build-open").click()
        page.one("#pick-files").send_keys(__file__)  # not a kind that is sent
        assert page.text("#files .status") == "another kind of file: it is not sent"


# ----------------------------------------------------------------------------- languages and themes


def test_every_phrase_is_there_in_both_languages(page: Page) -> None:
    words = page.open().js("return import('/page/words.js').then(module => module.WORDS)")
    for key, phrases in words.items():
        assert len(phrases) == 2, key
        assert all(phrase != "" for phrase in phrases), key


def test_the_language_is_the_browsers_until_another_is_chosen(page: Page) -> None:
    page.open(language="zh-CN")
    assert page.text("#ask button") == "提问"
    assert page.js("return document.documentElement.lang") == "zh-CN"
    page.one("#language").click()
    assert page.text("#ask button") == "Ask"
    page.load(page.url + "/docs")
    assert page.texts("header .tagline") == ["API reference"], "remembered, on the other page, too"
    page.one("#language").click()
    assert page.texts("header .tagline") == ["接口文档"]
    page.load(page.url + "/")
    assert page.one("#query").get_attribute("placeholder") == "像问同事那样输入"
    for node in page.all("[data-t]"):
        assert node.get_attribute("textContent"), node.get_attribute("id")


def test_light_and_dark(page: Page) -> None:
    def brightness() -> float:
        colour = page.js("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour[4:-1].split(","))) / 3

    page.open()
    assert brightness() > 230
    page.prefer(dark=True)
    assert brightness() < 40, "as the system has it"
    page.one("#theme").click()
    assert brightness() > 230, "light"
    page.one("#theme").click()
    page.prefer(dark=False)
    page.load(page.url + "/")
    assert brightness() < 40, "dark, remembered"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_can_be_read(page: Page, theme: str) -> None:
    """Every text has a contrast of 4.5 to what is behind it (WCAG AA)."""
    page.open(dark=theme == "dark").chip(FIRST)
    page.js("document.querySelector('.edit').focus()")
    assert page.js(CONTRAST) == []


CONTRAST = """
  const rgb = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return text.startsWith('color(') ? [r * 255, g * 255, b * 255, a] : [r, g, b, a]; };
  const over = ([r, g, b, a], [x, y, z]) => [r * a + x * (1 - a), g * a + y * (1 - a), b * a + z * (1 - a)];
  const behind = (node) => {
    if (!node) return [255, 255, 255];
    const own = rgb(getComputedStyle(node).backgroundColor);
    return own[3] === 1 ? own : over(own, behind(node.parentElement));
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const style = getComputedStyle(node);
    if (!walker.currentNode.data.trim() || !node.checkVisibility() || node.closest('.unseen, .behind, .tools, [aria-hidden]')) continue;
    const back = behind(node);
    const [one, other] = [light(over(rgb(style.color), back)), light(back)].sort((a, b) => b - a);
    if ((one + 0.05) / (other + 0.05) < 4.5) found.push([node.tagName, node.className, walker.currentNode.data, style.color, back]);
  }
  return found;
"""


# ---------------------------------------------------------------------------- keyboard, phone, ears


def test_by_keyboard_alone(page: Page) -> None:
    page.open()
    page.press(Keys.TAB)
    page.press("/")
    assert page.focused() == "query"
    page.press("apple news", Keys.ENTER)
    page.answered()
    page.press("/")
    assert page.one("#query").get_attribute("value").endswith("/"), "in a field it is a character"
    _tab_to(page, lambda: page.js("return document.activeElement.matches('.options button')"))
    page.press(Keys.ENTER)
    page.answered()
    _tab_to(page, lambda: page.js("return document.activeElement.matches('.edit')"))
    card = page.one("#evidence")
    assert card.is_displayed()
    assert page.js("return getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.press(Keys.ESCAPE)
    assert not card.is_displayed()
    page.press(Keys.ENTER)
    assert card.is_displayed()
    page.press(Keys.TAB)
    assert card.is_displayed(), "the next edit's"
    assert page.js("return document.querySelectorAll('.edit.on').length") == 1
    _tab_to(page, lambda: page.js("return document.activeElement.matches('.hit summary')"))
    page.press(Keys.ENTER)
    assert page.all(".hit details[open]")
    page.js("document.getElementById('build-open').focus()")
    page.press(Keys.ENTER)
    assert page.one("#build").is_displayed()
    page.press(Keys.ESCAPE)
    assert not page.one("#build").is_displayed()


def _tab_to(page: Page, there: Callable[[], bool]) -> None:
    page.js(
        "if (!document.activeElement || document.activeElement === document.body) document.getElementById('query').focus()"
    )
    for _ in range(80):
        if there():
            return
        page.press(Keys.TAB)
    raise AssertionError("cannot be reached by the keyboard")


def test_everything_that_can_be_used_has_a_name(page: Page) -> None:
    page.open().chip(FIRST)
    page.one("#build-open").click()
    page.cdp("Accessibility.enable")
    for _ in range(2):
        roles = {
            "button",
            "textbox",
            "combobox",
            "link",
            "listbox",
            "searchbox",
            "progressbar",
            "dialog",
            "DisclosureTriangle",
        }
        nodes = [node for node in page.cdp("Accessibility.getFullAXTree")["nodes"] if not node.get("ignored")]
        used = [node for node in nodes if node.get("role", {}).get("value") in roles]
        assert len(used) > 5
        assert not [node["role"]["value"] for node in used if not node.get("name", {}).get("value", "").strip()]
        if page.one("#build").is_displayed():
            page.one("#build-close").click()
    assert page.one("#status").get_attribute("role") == "status"
    assert page.text("#status").startswith("Rewritten; 10 results in ")


def test_on_a_phone(page: Page) -> None:
    page.open(size=PHONE, language="zh-CN")
    assert page.overflow() == 0
    assert page.one("#context").get_attribute("open") is None, "folded away"
    page.chip("帮我查下数据")
    assert page.overflow() == 0
    assert [each.text for each in page.all(".legend .quiet") if each.is_displayed()] == ["点按高亮处，可看到依据。"]
    notes, lines = page.js(UNDER)
    assert len(lines) > 1, "wrapped"
    assert all(note + 2 <= line for note in notes for line in lines if line > note - 10), "no note touches a line"
    typed, rewritten = page.one(".results_typed").rect, page.one(".results_rewritten").rect
    assert rewritten["y"] + rewritten["height"] <= typed["y"], "one below the other, the better first"
    for node in page.all(".edit"):
        node.click()
        card = page.one("#evidence").rect
        assert card["x"] >= 0
        assert card["x"] + card["width"] <= PHONE[0]
        assert page.overflow() == 0
    page.one("#context summary").click()
    assert page.one("#now").is_displayed()
    assert page.overflow() == 0
    page.chip("苹果最新消息", 1)
    page.one("#build-open").click()
    assert page.overflow() == 0
    assert page.one("#build").rect["width"] <= PHONE[0]
    assert not page.one("[data-t=build_drop]").is_displayed(), "fingers drag no files"
    page.open("docs", size=PHONE)
    assert page.overflow() == 0


UNDER = """
  const edges = (selector, edge) => [...document.querySelectorAll(selector)].map((node) => node.getBoundingClientRect()[edge]);
  return [edges('.edit rt', 'bottom'), [...new Set(edges('.edit ruby', 'top').map(Math.round))]];
"""


# ---------------------------------------------------------------------------------- dropping files


def test_a_folder_that_is_dropped_keeps_its_paths(page: Page, service, tmp_path: Path) -> None:
    folder = tmp_path / "Hand Book"
    (folder / "setup").mkdir(parents=True)
    (folder / ".hidden.md").write_text("no", encoding="utf-8")
    (folder / "index.md").write_text("# Start\n\nHello.", encoding="utf-8")
    (folder / "setup" / "index.md").write_text("# Setup\n\nInstall it.", encoding="utf-8")
    page.open()
    for kind in ("dragEnter", "dragOver", "drop"):
        data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
        page.cdp("Input.dispatchDragEvent", type=kind, x=600, y=600, data=data)
    page.until(lambda: page.one("#build").is_displayed() and page.all("#files li"))
    assert sorted(page.texts("#files .path")) == ["Hand Book/index.md", "Hand Book/setup/index.md"]
    assert page.one("#build-name").get_attribute("value") == "hand-book"
    page.one("#build-start").click()
    page.until(lambda: page.one("#build-done").is_displayed())
    assert sorted(each.doc_id for each in service.querywright.documents("hand-book")) == [
        "Hand Book/index.md",
        "Hand Book/setup/index.md",
    ]
    page.one("#build-done").click()
    page.one("#build-open").click()
    page.one("#build-name").send_keys("hand-book")
    assert page.one("#build-exists").is_displayed()
    assert page.text("#build-start") == "Add files"


def test_a_file_that_failed_is_tried_again(page: Page, service, tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text('{"_id": "a"', encoding="utf-8")
    page.open().one("#build-open").click()
    page.one("#pick-files").send_keys(str(file))
    page.name("mended")
    page.one("#build-start").click()
    page.until(lambda: page.text("#build-start") == "Retry 1 failed" and page.one("#build-start").is_enabled())
    file.write_text('{"_id": "a", "text": "frog"}', encoding="utf-8")
    page.one("#build-start").click()
    page.until(lambda: "choose it again" in page.text("#files .status"))
    page.until(page.one("#build-start").is_enabled)
    page.one("#pick-files").send_keys(str(file))
    page.until(lambda: page.text("#files .status") == "waiting")
    page.one("#build-start").click()
    page.until(lambda: page.one("#build-done").is_displayed())
    assert page.text("#build-said") == "1 document from 1 file."
    assert [each.doc_id for each in service.querywright.documents("mended")] == ["a"]


def test_a_name_that_cannot_be_one_is_not_sent(page: Page, service, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("frog", encoding="utf-8")
    names = {info.name for info in service.querywright.collections()}
    page.open().one("#build-open").click()
    page.one("#pick-files").send_keys(str(tmp_path / "a.txt"))
    for name in ("Ü", "../up", "a b", "UPPER"):
        page.name(name)
        page.one("#build-start").click()
        assert page.js("return document.getElementById('build-name').validity.patternMismatch")
    assert {info.name for info in service.querywright.collections()} == names


# -------------------------------------------------------------------------------------- reference


def test_the_reference_shows_every_route(page: Page, service) -> None:
    api = httpx.get(f"{service.url}/openapi.json").json()
    page.open("docs")
    routes = {f"{method}{path}": route for path, methods in api["paths"].items() for method, route in methods.items()}
    assert {section.get_attribute("id") for section in page.all(".route")} == set(routes)
    for name, route in routes.items():
        shown = page.js("return document.getElementById(arguments[0]).textContent", name)
        assert route["summary"] in shown
        for parameter in route.get("parameters", []):
            assert parameter["name"] in shown
    listed = [f"{method.lower()}{path}" for method, path in zip(*map(page.texts, LISTED), strict=True)]
    assert sorted(listed) == sorted(routes), "each where it is"
    query = page.js("return document.getElementById('post/v1/query').textContent")
    schemas = api["components"]["schemas"]
    for model in ("QueryRequest", "TurnModel", "AnsweredModel"):
        for field in schemas[model]["properties"]:
            assert field in query
    assert "这个功能怎么用?" in query


LISTED = ("#list .method", "#list .path")


def test_a_route_is_tried_from_the_reference(page: Page) -> None:
    page.open("docs")
    section = page.js("return document.getElementById('post/v1/search')")
    section.find_element(By.CSS_SELECTOR, ".tryout summary").click()
    section.find_element(By.CSS_SELECTOR, ".tryout button").click()
    page.until(lambda: section.find_elements(By.CSS_SELECTOR, "[role=status] pre"))
    said = section.find_element(By.CSS_SELECTOR, "[role=status]").text
    assert said.startswith("200")
    assert "客户画像" in said
    section = page.js("return document.getElementById('get/v1/collections/{name}/documents')")
    section.find_element(By.CSS_SELECTOR, ".tryout summary").click()
    name, _, limit = section.find_elements(By.CSS_SELECTOR, ".tryout input")
    assert name.get_attribute("value") == "demo"
    limit.send_keys("1")
    section.find_element(By.CSS_SELECTOR, ".tryout button").click()
    page.until(lambda: section.find_elements(By.CSS_SELECTOR, "[role=status] pre"))
    assert len(json.loads(section.find_element(By.CSS_SELECTOR, "[role=status] pre").text)) == 1


# ------------------------------------------------------------------------------------- screenshots


def test_screenshots(page: Page, tmp_path: Path) -> None:
    """Picture both languages, both themes, desktop and phone; into the folder SCREENSHOTS, if one is named."""
    out = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    page.open().chip(FIRST)
    page.js("document.querySelectorAll('.edit')[1].focus()")
    page.picture(out / "playground.png")
    page.open(size=PHONE, language="zh-CN", dark=True).chip("帮我查下数据")
    page.picture(out / "playground-phone.png")
    for name, size in (("playground.png", DESKTOP), ("playground-phone.png", PHONE)):
        head = (out / name).read_bytes()[:24]
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", head[16:]) == size
        assert (out / name).stat().st_size < 400_000
