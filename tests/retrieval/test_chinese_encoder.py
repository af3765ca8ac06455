"""The Chinese encoder: its real weights, files that are damaged, and a short training on sentences of our own."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from querywright import InputError, MissingExtraError, StorageError
from querywright.retrieval import chinese_encoder_recipe
from querywright.retrieval.chinese_encoder import (
    BUCKETS,
    CHINESE_ENCODER,
    FOLDER,
    ChineseEncoder,
    Words,
    pack,
    pieces,
    quantized,
    unpack,
)
from querywright.retrieval.chinese_encoder_data import load as load_data
from querywright.retrieval.chinese_encoder_measuring import by_chance, ndcg
from querywright.retrieval.chinese_encoder_recipe import Request, train_encoder
from querywright.retrieval.chinese_encoder_training import Plan, sentences, thinned
from querywright.retrieval.fusion import Ranking
from querywright.service import cli

WEIGHTS, WORDS = "weights.safetensors", "vocabulary.txt"
TEXTS = ["老板拖欠工资怎么办", "用人单位应当按时足额支付劳动报酬。", "iPhone15 手机", "買賣合同", "🙂", "", "a", "𠮷"]


@pytest.fixture(scope="module")
def encoder() -> ChineseEncoder:
    return ChineseEncoder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the model, to be spoilt."""
    return Path(shutil.copytree(FOLDER, tmp_path / "zh"))


def described(folder: Path, **changes: Any) -> None:
    """Change keys of a model's description; None takes one away."""
    path = folder / "model.json"
    row = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({key: value for key, value in row.items() if value is not None}), encoding="utf-8")


def replaced(folder: Path, name: str, data: bytes) -> None:
    """Put other data in a model's file, and its sum in the description."""
    (folder / name).write_bytes(data)
    sums = json.loads((folder / "model.json").read_text(encoding="utf-8"))["sums"]
    described(folder, sums=sums | {name: hashlib.sha256(data).hexdigest()})


# ---------------------------------------------------------------------------------------- the vectors


def test_what_means_the_same_lies_nearer_than_what_does_not(encoder: ChineseEncoder) -> None:
    """Hardly a word is the same."""
    passages = [
        "用人单位应当按照约定及时足额支付劳动报酬。",
        "夫妻感情确已破裂，调解无效的，应当准予离婚。",
        "景区每日开放，门票可以在网上预订。",
        "数据库集群的节点发生故障时，副本自动切换。",
    ]
    queries = ["老板拖欠工资怎么办", "感情不好可以离婚吗", "哪里能买到公园的票", "服务器坏了数据会丢吗"]
    scores = encoder.encode_queries(queries) @ encoder.encode_documents(passages).T
    assert scores.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_every_text_has_a_unit_vector_whatever_it_is(encoder: ChineseEncoder) -> None:
    texts = [*TEXTS, "合同" * 50_000, "\ud800", "\x00", "１２３", "Ａ"]
    for vectors in (encoder.encode_documents(texts), encoder.encode_queries(texts)):
        assert vectors.shape == (len(texts), encoder.dimensions)
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@given(st.lists(st.text(max_size=40), max_size=5))
def test_a_batch_gives_what_each_text_gives_alone(texts: list[str]) -> None:
    encoder = _SHARED
    for encode in (encoder.encode_documents, encoder.encode_queries):
        together = encode(texts)
        assert together.shape == (len(texts), encoder.dimensions)
        for vector, text in zip(together, texts, strict=True):
            assert np.array_equal(vector, encode([text])[0])


_SHARED = ChineseEncoder()


def test_writing_does_not_change_the_vector(encoder: ChineseEncoder) -> None:
    plain, *others = encoder.encode_documents(
        ["买卖合同abc的诉讼时效", "買賣合同abc的訴訟時效", "买卖合同ＡＢＣ的诉讼时效", "买卖合同Abc的诉讼时效！"]
    )
    for other in others:
        assert np.allclose(plain, other, atol=1e-6)


def test_what_stands_behind_the_limit_is_not_read(encoder: ChineseEncoder) -> None:
    start = "合同" * 2_000
    assert np.array_equal(*encoder.encode_documents([start, f"{start}离婚诉讼"]))


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("怎么退款", True),
        ("iPhone15 怎么退货", True),
        ("how to refund", False),
        ("", False),
        ("🙂", False),
        ("2024", False),
    ],
)
def test_it_reads_chinese_only(encoder: ChineseEncoder, text: str, *, reads: bool) -> None:
    assert encoder.reads(text) is reads


def test_progress_is_told_and_no_text_is_no_vector(encoder: ChineseEncoder) -> None:
    told: list[int] = []
    encoder.encode_documents(["合同", "婚姻", "工资"], told.append)
    assert told[-1] == 3
    assert told == sorted(told)
    assert encoder.encode_documents([]).shape == encoder.encode_queries([]).shape == (0, encoder.dimensions)


def test_many_threads_get_what_one_gets() -> None:
    fresh = ChineseEncoder()
    texts = [f"第{i}条 合同的订立与履行" for i in range(64)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: fresh.encode_queries([text])[0], texts))
    assert np.array_equal(np.stack(found), fresh.encode_queries(texts))


def test_it_needs_no_torch_and_its_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 12_000_000
    code = (
        "import sys; from querywright.retrieval.chinese_encoder import ChineseEncoder; "
        "ChineseEncoder().encode_queries(['合同']); assert 'torch' not in sys.modules"
    )
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ------------------------------------------------------------------------------------ words and rows


def test_words_inside_words_and_characters_are_rows() -> None:
    assert pieces("北京大学", {}) == ["北京", "大学", "北京大学", "北", "京", "大", "学"]
    words = Words(["法院", "法"], {})
    assert words.ids("法院").tolist()[:2] == [0, 1]
    assert all(2 <= place < 2 + BUCKETS for place in words.ids("法院").tolist()[2:])
    assert len(words.ids("")) == len(words.ids("🙂")) == 1
    assert len(words) == 2 + BUCKETS


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 8))
def test_four_bits_lose_little(seed: int, rows: int, half: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 2 * half)).astype(np.float32)
    ones = np.ones(rows, dtype=np.float32)
    table = unpack(pack(vectors, ones, 2 * ones))
    whole, scales = quantized(vectors)
    assert np.array_equal(table.rows, whole)
    assert np.abs(whole).max() <= 7
    assert np.array_equal(table.query, 2 * table.passage)
    restored = table.rows * table.passage[:, None]
    lost = np.linalg.norm(restored - vectors, axis=1) / np.linalg.norm(vectors, axis=1)
    assert lost.max() < 0.15
    assert np.array_equal(table.passage, scales)


# ------------------------------------------------------------------------------------------ the files


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "{", "[" * 100_000, '{"format": 1}', "\xff"])
def test_a_description_that_is_none(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(StorageError, match=r"model\.json: not the description of the Chinese encoder"):
        ChineseEncoder(folder).load()


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": None},
        {"name": "hanzi-2"},
        {"dimensions": 3},
        {"dimensions": "256"},
        {"dimensions": 0},
        {"traditional": "買賣"},
        {"sums": {}},
        {"sums": {WEIGHTS: "0", "other": "0"}},
    ],
)
def test_a_description_of_something_else(folder: Path, changes: dict[str, Any]) -> None:
    described(folder, **changes)
    with pytest.raises(StorageError, match=r"model\.json: not the description of the Chinese encoder"):
        ChineseEncoder(folder).load()


@pytest.mark.parametrize("name", [WEIGHTS, WORDS])
@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: b"", lambda data: data[:99] + b"!" + data[100:]]
)
def test_a_damaged_file(folder: Path, name: str, spoil: Callable[[bytes], bytes]) -> None:
    (folder / name).write_bytes(spoil((folder / name).read_bytes()))
    with pytest.raises(StorageError, match="damaged, or not the file that the model was made with"):
        ChineseEncoder(folder).encode_queries(["合同"])


@pytest.mark.parametrize("name", [WEIGHTS, WORDS, "model.json"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(StorageError, match=f"{name}: cannot be read"):
        ChineseEncoder(folder).encode_documents(["合同"])


def _without_query(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stored.items() if name != "query"}


def _shorter(stored: dict[str, Any]) -> dict[str, Any]:
    return stored | {"rows": stored["rows"][:-1].copy()}


def _endless(stored: dict[str, Any]) -> dict[str, Any]:
    return stored | {"passage": np.full_like(stored["passage"], np.inf)}


@pytest.mark.parametrize("change", [_without_query, _shorter, _endless])
def test_weights_of_something_else(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    replaced(folder, WEIGHTS, save(change(load((folder / WEIGHTS).read_bytes()))))
    with pytest.raises(StorageError, match=r"weights\.safetensors: not the weights of the Chinese encoder"):
        ChineseEncoder(folder).load()


@pytest.mark.parametrize("data", [b"", b"\x00" * 64, b"\xff" * 8, (10**6).to_bytes(8, "little") + b"{}"])
def test_weights_that_are_none(folder: Path, data: bytes) -> None:
    replaced(folder, WEIGHTS, data)
    with pytest.raises(StorageError, match=r"weights\.safetensors: not the weights of the Chinese encoder"):
        ChineseEncoder(folder).load()


def test_a_model_of_another_name_is_asked_for_by_it(folder: Path) -> None:
    described(folder, name="ours")
    with pytest.raises(StorageError, match="name: expected 'hanzi-1', got 'ours'"):
        ChineseEncoder(folder).load()
    other = ChineseEncoder(folder, "ours")
    other.load()
    assert (other.name, ChineseEncoder().name) == ("ours", CHINESE_ENCODER)


# ----------------------------------------------------------------------------------------- training

_THINGS = ["茶壶", "雨伞", "书桌", "台灯", "毛毯", "闹钟", "风筝", "钢琴"]
_WHERE = ["厨房", "门口", "书房", "床头", "沙发", "窗台", "阁楼", "客厅"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of sentences of our own: what is asked for shares no word with what answers it."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "text").mkdir()
    pairs = list(zip(_THINGS, _WHERE, strict=True)) * 6
    lines = [
        f"第{i}号{thing}已经搬走，请放心。它现在放在{where}里面，没有坏。大家都可以使用它。"
        for i, (thing, where) in enumerate(pairs)
    ]
    (folder / "text" / "moving.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "text" / "english.txt").write_text("The teapot is in the kitchen.\n" * 30, encoding="utf-8")
    own = folder / "retrieval" / "house"
    own.mkdir(parents=True)
    documents = [{"_id": where, "title": "", "text": f"{where}里的东西由管家负责。那里很安静。"} for where in _WHERE]
    asked = [
        (f"{thing}-{i}", where, f"{thing}在哪里{'呀' * i}？")
        for i in range(4)
        for thing, where in zip(_THINGS, _WHERE, strict=True)
    ]
    queries: list[dict[str, Any]] = [{"_id": query_id, "text": text} for query_id, _, text in asked]
    queries[0]["history"] = [{"role": "user", "text": "你好"}, {"role": "assistant", "text": "您好"}]
    for name, rows in (("corpus", documents), ("queries", queries)):
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (own / f"{name}.jsonl").write_text(text, encoding="utf-8")
    lines = ["query-id\tcorpus-id\tscore", *(f"{query_id}\t{where}\t1" for query_id, where, _ in asked), "x\ty\t1"]
    (own / "qrels.tsv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_what_is_read(data: Path) -> None:
    found = load_data(data, None, lambda _: None)
    assert {name: len(texts) for name, texts in found.texts.items()} == {"moving": 48}
    assert [len(one.queries) for one in found.sets] == [32]
    assert found.sets[0].queries[0].forms == ("茶壶在哪里？", "你好 您好 茶壶在哪里？", "你好 茶壶在哪里？")
    groups = {query.held: set() for query in found.sets[0].queries}
    for query in found.sets[0].queries:
        groups[query.held].add(query.group)
    assert groups[True]
    assert not groups[True] & groups[False]


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("opencc")
    out = tmp_path_factory.mktemp("out") / "zh"
    train_encoder(Request(data, out, "house", steps=60), lambda _: None)
    return out


def test_a_short_training_learns_what_belongs_together(data: Path, trained: Path) -> None:
    """Of the sets, half trains; what the text says of the things is for all to learn."""
    encoder = ChineseEncoder(trained, "house")
    scores = (
        encoder.encode_queries([f"{thing}在哪里？" for thing in _THINGS])
        @ encoder.encode_documents([f"{where}里的东西" for where in _WHERE]).T
    )
    assert (scores.argmax(axis=1) == np.arange(len(_THINGS))).mean() >= 0.75
    assert "| house |" in (trained / "README.md").read_text(encoding="utf-8")
    assert str(data.parent) not in (trained / "README.md").read_text(encoding="utf-8")


def test_the_command_trains_the_same_again(
    data: Path, trained: Path, tmp_path: Path, monkeypatch: Any, capfdbinary: Any
) -> None:
    out = tmp_path / "zh"
    command = ["train", "encoder", "--data", str(data), "--out", str(out), "--name", "house", "--steps", "60", "--json"]
    monkeypatch.setattr(sys, "argv", ["querywright", *command])
    cli.main()
    told = json.loads(capfdbinary.readouterr().out)
    assert told["steps"] == 60
    assert (out / WORDS).read_bytes() == (trained / WORDS).read_bytes()
    assert (out / WEIGHTS).read_bytes() == (trained / WEIGHTS).read_bytes()


def test_data_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none"):
        load_data(tmp_path, None, lambda _: None)
    bad = tmp_path / "retrieval" / "bad"
    bad.mkdir(parents=True)
    (bad / "corpus.jsonl").write_text('{"_id": "1", "text": "合同"}\n{"_id": 2}', encoding="utf-8")
    with pytest.raises(InputError, match=r"corpus\.jsonl:2: _id: expected a string"):
        load_data(tmp_path, None, lambda _: None)
    (bad / "corpus.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"corpus\.jsonl:1: expected a JSON object"):
        load_data(tmp_path, None, lambda _: None)
    (bad / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        load_data(tmp_path, None, lambda _: None)


def test_training_needs_opencc(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chinese_encoder_recipe, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="opencc is not installed"):
        train_encoder(Request(data, tmp_path), lambda _: None)


@given(st.text(alphabet="合同。！\n，a ", max_size=80))
def test_sentences_lose_nothing_but_blanks(text: str) -> None:
    kept = "".join(sentences(text))
    assert "".join(kept.split()) == "".join(text.split()) or not text.strip("。！\n ")


def test_a_thinned_query_keeps_two_words() -> None:
    rng = np.random.default_rng(0)
    query = np.arange(9, dtype=np.int32)
    found = [thinned(query, 0.5, rng) for _ in range(200)]
    assert min(map(len, found)) >= 2
    assert 60 < sum(len(one) == 9 for one in found) < 160
    assert Plan().steps > 0


# ---------------------------------------------------------------------------------------- measuring


def test_ndcg_is_that_of_the_textbook() -> None:
    ranking = Ranking(np.array([5, 3, 9]), np.array([3.0, 2.0, 1.0]))
    assert ndcg(ranking, [5]) == 1
    assert ndcg(ranking, [3]) == pytest.approx(1 / np.log2(3))
    assert ndcg(ranking, [5, 9]) == pytest.approx(1.5 / (1 + 1 / np.log2(3)))
    assert ndcg(ranking, [7]) == 0


def test_chance_is_told_from_more_than_chance() -> None:
    groups = [str(i) for i in range(40)]
    assert by_chance(np.full(40, 0.1), groups) < 0.001
    assert by_chance(np.resize([0.1, -0.1], 40), groups) == 1
    assert by_chance(np.full(40, 0.1), ["one"] * 40) == 1
