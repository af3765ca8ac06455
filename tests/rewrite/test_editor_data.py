"""Training pairs: rows read and refused, which ones train, and the rows that need nothing."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from pathlib import Path

import pytest

from querywright import InputError
from querywright.rewrite.editor_data import (
    SETS,
    KeepShares,
    Pair,
    characters,
    keep_rows,
    load,
    read_pairs,
    text_language,
)
from querywright.rewrite.language import Language
from querywright.rewrite.query import Role, Turn

GOOD = {"query": "how far is it?", "rewrite": "how far is the moon?", "history": [{"role": "user", "text": "the moon"}]}


def written(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def row(n: int, **more: object) -> dict[str, object]:
    return {**GOOD, "id": f"{n}-1", "history": [{"role": "user", "text": f"the moon {n}"}], **more}


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.gz"])
def test_a_row_is_read(tmp_path: Path, name: str) -> None:
    full = {
        **GOOD,
        "id": "a-1",
        "split": "dev",
        "title": "Moon",
        "section": "Orbit",
        "profile": {"facts": ["I sail."], "region": "East"},
    }
    ((split, pair),) = read_pairs(written(tmp_path / name, "\ufeff", full, "\n"))
    assert (split, pair.rewrite, pair.source, pair.language) == ("dev", GOOD["rewrite"], "pairs", Language.EN)
    assert pair.query.history == (Turn(Role.USER, "Moon, Orbit"), Turn(Role.USER, "the moon"))
    assert pair.query.profile_values("facts") == ("I sail.",)
    assert (pair.group, pair.titled) == ("", True)


def test_names_of_the_retrieval_sets_will_do(tmp_path: Path) -> None:
    ((_, pair),) = read_pairs(written(tmp_path / "a.jsonl", {"_id": "7", "text": "它多远", "rewrite": "月亮多远"}))
    assert (pair.query.query, pair.query.id, pair.language) == ("它多远", "7", Language.ZH)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "not JSON"),
        ("[]\n", "expected a JSON object"),
        ({"rewrite": "x"}, "query: expected a string, but the key is missing"),
        ({"query": "x"}, "rewrite: expected a string, but the key is missing"),
        (GOOD | {"query": 3}, "query: expected a string"),
        (GOOD | {"rewrite": " "}, "rewrite: expected some text, got only white space"),
        (GOOD | {"history": "x"}, "history: expected a list"),
        (GOOD | {"history": [GOOD["history"][0], {"role": "bot", "text": "x"}]}, r"history\[1\]: expected \{\"role\""),
        (GOOD | {"history": [{"role": ["x"], "text": "y"}]}, r"history\[0\]: expected \{\"role\""),
        (GOOD | {"history": [{"role": {}, "text": "y"}]}, r"history\[0\]: expected \{\"role\""),
        (GOOD | {"history": [{"role": "user", "text": "\x00"}]}, r"history\[0\]: history text: not valid Unicode"),
        (GOOD | {"profile": ["x"]}, "profile: expected an object"),
        (GOOD | {"profile": {"facts": [1]}}, "profile.facts: expected a string or a list of strings"),
        (GOOD | {"lang": "fr"}, "lang: expected zh or en, got 'fr'"),
        (GOOD | {"split": 1}, "split: expected a string"),
        (GOOD | {"rewrite": "x" * 5000}, "query: 5,000 characters"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, bad: object, message: str) -> None:
    path = written(tmp_path / "p.jsonl", GOOD, "\n", bad)
    with pytest.raises(InputError, match=message) as error:
        list(read_pairs(path))
    assert str(error.value).startswith(f"{path}:3: ")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"\xff\n", ":1: not UTF-8"),
        ("a.jsonl.gz", b"no gzip", ":1: broken gzip"),
        ("a.jsonl.gz", gzip.compress(json.dumps(GOOD).encode(), mtime=0)[:-9], "broken gzip"),
        ("no/a.jsonl", None, "cannot be read"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, data: bytes | None, message: str) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        list(read_pairs(path))


# ------------------------------------------------------------------------------------------ recipe


def test_own_pairs_train_but_for_every_tenth_conversation(tmp_path: Path) -> None:
    rows = [more for n in range(20) for more in (row(n), row(n, query="and its age?"))]
    data = load(written(tmp_path / "own.jsonl", *rows))
    assert (data.language, len(data.train)) == (Language.EN, 36)
    assert {pair.query.history[0].text for pair in data.tune["own"]} == {"the moon 9", "the moon 19"}
    assert [(origin.name, origin.licence, origin.rows) for origin in data.origins] == [("own", "your own", 36)]


def test_of_few_conversations_the_last_is_held_out(tmp_path: Path) -> None:
    data = load(written(tmp_path / "own.jsonl", row(0), row(1)))
    assert [pair.query.history[0].text for pair in data.tune["own"]] == ["the moon 1"]
    alone = load(written(tmp_path / "one.jsonl", row(0)))
    assert (len(alone.train), alone.tune) == (1, {})


def test_conversations_with_nothing_to_copy_are_not_held_out(tmp_path: Path) -> None:
    rows = [row(n, query=f"question {n}", history=[] if n % 10 else GOOD["history"]) for n in range(10, 40)]
    data = load(written(tmp_path / "own.jsonl", *rows, row(99)))
    assert [pair.query.history[0].text for pair in data.tune["own"]] == ["the moon 99"]


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": "user", "text": text} for text in texts]


@pytest.mark.parametrize("window", [2, 3, 8])
def test_rows_of_a_rolling_window_are_one_conversation(tmp_path: Path, window: int) -> None:
    rows = []
    for n in range(20):
        said = [text for i in range(5) for text in (f"question {n}.{i}", f"answer {n}.{i}" if i % 2 else "Sure!")]
        said = ["Hello!", "Hello!", *said, "thanks"]
        asked = range(4, len(said), 2)
        rows += [row(n, query=said[at], history=turns(*said[max(0, at - window) : at])) for at in asked]
    data = load(written(tmp_path / "own.jsonl", *rows))

    def dialogues(pairs: list[Pair]) -> set[str]:
        texts = [text for pair in pairs for text in (pair.query.query, *(turn.text for turn in pair.query.history))]
        return {text.split()[1].split(".")[0] for text in texts if " " in text}

    assert dialogues(data.tune["own"]) == {"9", "19"}
    assert not dialogues(data.train) & {"9", "19"}
    assert len({pair.group for pair in data.train}) == 18


def test_a_long_turn_in_two_continuations_is_one_conversation(tmp_path: Path) -> None:
    opening = "please tell me about the harbour museum"
    rows = [row(n, query=f"q{n}", history=turns(opening, f"answer {n}")) for n in range(2)]
    rows += [row(n, query=f"q{n}", history=turns("hello", f"answer {n}")) for n in range(2, 5)]
    groups = [pair.group for pair in load(written(tmp_path / "own.jsonl", *rows)).train]
    assert groups == ["own#0", "own#0", "own#2", "own#3"]


def test_a_named_conversation_is_left_as_it_is(tmp_path: Path) -> None:
    rows = [row(0, conversation=name, query=f"q{name}") for name in ("a", "b", "c")]
    data = load(written(tmp_path / "own.jsonl", *rows))
    assert [pair.group for pair in data.train + data.tune["own"]] == ["a", "b", "c"]


def test_two_files_of_one_name_are_one_set(tmp_path: Path) -> None:
    written(tmp_path / "own.jsonl", row(0), row(1))
    written(tmp_path / "rewrite" / "own.jsonl", row(2), row(3))
    data = load(tmp_path)
    assert [(origin.name, origin.rows) for origin in data.origins] == [("own", 2)]
    assert len(data.tune["own"]) == 2


def test_what_is_held_out_does_not_train(tmp_path: Path) -> None:
    written(tmp_path / "rewrite" / "gecor-camrest.jsonl", row(0, split="train"), row(1, split="dev"))
    same = [row(1, id="other"), row(1, query="another"), row(2)]
    written(tmp_path / "rewrite" / "alexa-cqr.jsonl", *({**more, "split": "dev"} for more in same))
    data = load(tmp_path)
    assert [pair.query.query for pair in data.train if pair.source == "alexa-cqr"] == ["another", GOOD["query"]]
    assert len(data.tune["gecor-camrest"]) == 1


def test_public_sets_go_where_the_recipe_says(tmp_path: Path) -> None:
    folder = tmp_path / "rewrite"
    dialogues = [f"d_{n}" for n in range(60)]
    written(folder / "canard-dev.jsonl.gz", *(row(n, id=f"{d}-1", split="dev") for n, d in enumerate(dialogues)))
    shared = next(n for n, d in enumerate(dialogues) if zlib.crc32(d.encode()) % 100 < 15)
    long = [{"role": "assistant", "text": "a long sentence that stands in one dialogue only"}]
    written(
        folder / "qrecc-dev-sample.jsonl",
        row(100, split="dev-sample", rewrite="how far is the sun?"),
        row(101, split="dev-sample", rewrite=GOOD["rewrite"].upper()),
        row(102, split="dev-sample", rewrite="how far is Mars?", history=long),
    )
    written(folder / "trec-cast.jsonl", row(0, split="2019-eval"), row(1, split="2020-eval"), row(2, split="2021-eval"))
    written(folder / "disfl-qa.jsonl", row(0, split="train", rewrite="why is it dark?"), row(1, split="test"))
    written(folder / "gecor-camrest.jsonl", row(0, split="train"), row(1, split="dev"), row(2, split="test"))
    written(folder / "mtrag-human.jsonl", "this is never read")
    written(tmp_path / "text" / "a.txt", "Plain text.\n")
    written(tmp_path / "text" / "b.txt.gz", "一段文字。\n")
    data = load(tmp_path, Language.EN)
    held = {pair.group for pair in data.tune["canard-dev"]}
    assert held == {d for d in dialogues if zlib.crc32(d.encode()) % 100 < 15}
    assert dialogues[shared] in held
    trained = {name: [pair for pair in data.train if pair.source == name] for name in SETS}
    assert not held & {pair.group for pair in trained["canard-dev"]}
    assert [pair.rewrite for pair in trained["qrecc-dev-sample"]] == ["how far is the sun?", "how far is Mars?"]
    assert [len(trained["trec-cast"]), len(data.tune["trec-cast"])] == [1, 1]
    assert [len(trained["gecor-camrest"]), len(data.tune["gecor-camrest"])] == [1, 1]
    assert trained["gecor-camrest"][0].weight == SETS["gecor-camrest"].weight
    assert data.fluent == ["why is it dark?"]
    assert not trained["mtrag-human"]
    assert not trained["disfl-qa"]
    assert [path.name for path in data.texts] == ["a.txt"]


def test_rows_that_share_a_held_out_turn_are_dropped(tmp_path: Path) -> None:
    held = next(f"d_{n}" for n in range(99) if zlib.crc32(f"d_{n}".encode()) % 100 < 15)
    other = next(f"d_{n}" for n in range(99) if zlib.crc32(f"d_{n}".encode()) % 100 >= 15)
    telling, stock = "a long sentence that stands in one dialogue only", "are there any other interesting aspects?"
    folder = tmp_path / "rewrite"
    written(
        folder / "canard-dev.jsonl",
        row(0, id=f"{held}-1", split="dev", history=turns(telling, stock)),
        row(1, id=f"{other}-1", split="dev", history=turns(stock)),
    )
    mars = [
        row(n, query=f"q{n}", split="dev-sample", rewrite="how far is Mars?", history=turns(text))
        for n, text in enumerate((telling, stock))
    ]
    written(folder / "qrecc-dev-sample.jsonl", *mars)
    assert [(pair.source, pair.query.query) for pair in load(tmp_path).train] == [
        ("canard-dev", GOOD["query"]),
        ("qrecc-dev-sample", "q1"),
    ]


def test_the_last_rows_of_the_chinese_set_tune(tmp_path: Path) -> None:
    rows = [row(n, id=f"zhrw-{n}", query="它多远", rewrite="月亮多远", split="train") for n in range(610)]
    written(tmp_path / "zh-utterance-rewriter.jsonl", *rows, row(0, query="它", rewrite="月亮", split="dev"))
    data = load(tmp_path)
    sizes = (len(data.train), len(data.tune["zh-utterance-rewriter"]), len(data.report["zh-utterance-rewriter"]))
    assert sizes == (10, 600, 1)
    assert [origin.licence for origin in data.origins] == ["none stated"]
    assert len({pair.group for pair in data.train}) == 10


def test_languages_are_kept_apart(tmp_path: Path) -> None:
    path = written(tmp_path / "both.jsonl", row(0), row(1, query="它多远", rewrite="月亮多远"), row(2, lang="zh"))
    assert len(load(path, Language.EN).train) == 1
    with pytest.raises(InputError, match="--language to choose; found both"):
        load(path)


def test_where_nothing_trains_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected pairs in \*\.jsonl"):
        load(tmp_path)
    written(tmp_path / "a.jsonl", row(0))
    with pytest.raises(InputError, match="expected pairs to train on in zh, found none"):
        load(tmp_path, Language.ZH)
    with pytest.raises(InputError, match="found none"):
        load(written(tmp_path / "empty.jsonl", "\n"))


def test_characters_come_from_pairs_and_texts(tmp_path: Path) -> None:
    written(
        tmp_path / "rewrite" / "own.jsonl", row(0, query="它多远", rewrite="月亮多远"), row(1, query="谁", rewrite="谁")
    )
    written(tmp_path / "text" / "own.txt", "山川。\n")
    assert set(characters(load(tmp_path))) == set("它多远月亮山川")
    assert text_language(tmp_path / "text" / "own.txt") is Language.ZH


# ------------------------------------------------------------------------------------------- keep


def test_keep_rows_are_unchanged(tmp_path: Path) -> None:
    data = load(written(tmp_path / "own.jsonl", *(row(n, rewrite=f"how far is moon {n}?") for n in range(40))))
    kept = keep_rows(data.train, ["why is it dark?"], KeepShares(0.5, 0.5, 0.25), random.Random(0))
    assert all(pair.query.query == pair.rewrite for pair in kept)
    assert all(pair.source == "keep" and pair.query.history for pair in kept)
    own = [pair for pair in kept if pair.query.query.endswith(f" {pair.query.history[0].text.split()[-1]}?")]
    fluent = [pair for pair in kept if pair.query.query == "why is it dark?"]
    assert len(own) == 18
    assert len(fluent) == 9
    assert len(kept) - 27 in range(12, 19)  # of other conversations, where the draw was another one
    assert kept == keep_rows(data.train, ["why is it dark?"], KeepShares(0.5, 0.5, 0.25), random.Random(0))


def test_no_keep_rows_without_rewrites(tmp_path: Path) -> None:
    data = load(written(tmp_path / "own.jsonl", *(row(n, rewrite=GOOD["query"]) for n in range(3))))
    assert keep_rows(data.train, [], KeepShares(1, 1, 1), random.Random(0)) == []
