import gzip
import json
import os
from pathlib import Path

import pytest

from querywright import InputError
from querywright.retrieval.passage import Document, split
from querywright.retrieval.sources import keeps_whole, read_jsonl, read_source

ROW = {"_id": "d1", "title": "Title", "text": "Some text."}


def write(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_a_beir_folder(tmp_path: Path, name: str) -> None:
    row = ROW | {"metadata": {"tags": ["a", "b"], "none": None}, "year": 2024, "nested": {"x": 1}, "no": None}
    write(tmp_path / name, row, {"_id": "d2", "text": ""})
    first, second = read_source(tmp_path)
    assert first == Document("d1", "Some text.", "Title", {"tags": ("a", "b"), "year": 2024})
    assert second == Document("d2", "")
    assert keeps_whole(tmp_path)


@pytest.mark.parametrize("field", ["_id", "doc_id", "id"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_jsonl_with_each_id_field(tmp_path: Path, field: str, name: str) -> None:
    path = write(tmp_path / name, {field: "文档 1", "text": "正文"})
    assert list(read_source(path)) == [Document("文档 1", "正文")]
    assert keeps_whole(path)


def test_a_byte_order_mark_blank_lines_and_windows_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r\n\r\n" + b'{"id":"2","text":"a\xe2\x80\xa8b"}')
    assert [number for number, _ in read_jsonl(path)] == [1, 3]
    assert [document.doc_id for document in read_source(path)] == ["d1", "2"]


def test_a_folder_of_texts(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "b" / "one.md").write_text("intro\n\n## Setting up ##\nbody", encoding="utf-8")
    (tmp_path / "a.txt").write_text("# not a heading here", encoding="utf-8")
    (tmp_path / "手册.markdown").write_text("\ufeff# 标题\n正文", encoding="utf-8")
    for hidden in (".git/x.md", ".hidden.md", "image.png"):
        (tmp_path / hidden).write_text("no")
    documents = list(read_source(tmp_path))
    assert [(document.doc_id, document.title) for document in documents] == [
        ("a.txt", "a"),
        ("b/one.md", "Setting up"),
        ("手册.markdown", "标题"),
    ]
    assert documents[2].text.startswith("# 标题")
    assert not keeps_whole(tmp_path)
    assert [document.doc_id for document in read_source(tmp_path / "b" / "one.md")] == ["one.md"]


def test_front_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text('---\ntitle: "My: title"\nyear: 2024\nurl: http://x/y\nempty:\n---\n\n# Head\nbody')
    assert list(read_source(path)) == [
        Document("a.md", "# Head\nbody", "My: title", {"year": "2024", "url": "http://x/y"})
    ]
    for text in ("---\ntitle: x\nno end", "---\nsome words\n---\nbody", "---\n---\nbody", "a\n---\nb: c\n---\n"):
        path.write_text(text)
        assert next(iter(read_source(path))).text == text.rstrip("\n")
    (tmp_path / "a.txt").write_text("---\na: b\n---\nx")
    assert next(iter(read_source(tmp_path / "a.txt"))).metadata == {}


def test_packed_texts(tmp_path: Path) -> None:
    (tmp_path / "a.md.gz").write_bytes(gzip.compress(b"# Frogs\nbody"))
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"body"))
    assert [(found.doc_id, found.title) for found in read_source(tmp_path)] == [("a.md.gz", "Frogs"), ("b.txt.gz", "b")]
    assert next(iter(read_source(tmp_path / "a.md.gz"))).title == "Frogs"


@pytest.mark.parametrize("name", ["rows.jsonl", "b/rows.jsonl.gz"])
def test_rows_inside_a_folder_of_texts_are_not_passed_over(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.md").write_text("x")
    write(tmp_path / name, ROW)
    with pytest.raises(InputError, match="name the file itself"):
        list(read_source(tmp_path))


def test_links_that_leave_the_folder_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("# secret")
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "in.md").write_text("# in")
    (folder / "out.md").symlink_to(tmp_path / "secret.md")
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    (folder / "gone.md").symlink_to(folder / "nowhere.md")
    assert [document.doc_id for document in read_source(folder)] == ["in.md"]


BAD_LINES = [
    (b"\xff\xfe{", r":1: not UTF-8"),
    (b'{"_id": "a"', r":1: not JSON"),
    (b'{"_id": "a", "text": NaN}', r":1: not JSON"),
    (b'{"_id": "a", "text": "x", "n": Infinity}', r":1: not JSON"),
    (b"[1, 2]", r":1: expected a JSON object, got a list"),
    (b"null", r":1: expected a JSON object, got null"),
    (b"[" * 5_000, r":1: not JSON"),
    (b'{"text": "x"}', r":1: field '_id': missing"),
    (b'{"_id": 7, "text": "x"}', r":1: field '_id': expected a string, got a number"),
    (b'{"_id": true, "text": "x"}', r":1: field '_id': expected a string, got a boolean"),
    (b'{"_id": "", "text": "x"}', r":1: doc_id: expected 1 to"),
    (b'{"_id": "a\\tb", "text": "x"}', r":1: doc_id: expected 1 to"),
    (b'{"_id": "a"}', r":1: field 'text': expected a string, got nothing"),
    (b'{"_id": "a", "text": null}', r":1: field 'text': expected a string, got null"),
    (b'{"_id": "a", "text": ["x"]}', r":1: field 'text': expected a string, got a list"),
    (b'{"_id": "a", "text": "x\\u0000"}', r":1: text: not valid Unicode"),
    (b'{"_id": "a", "text": "\\ud800"}', r":1: not JSON"),
    (b'{"_id": "a", "text": "x", "title": 3}', r":1: field 'title': expected a string, got a number"),
    (b'{"_id": "a", "text": "x", "metadata": []}', r":1: field 'metadata': expected an object, got a list"),
    (
        b'{"_id": "a", "text": "x", "metadata": {"k": {}}}',
        r":1: field 'metadata': 'k': expected .* got an object",
    ),
    (
        b'{"_id": "a", "text": "x", "metadata": {"k": [1]}}',
        r":1: field 'metadata': 'k': expected .* got a list",
    ),
    (b'{"_id": "a", "text": "x"}\n\n{"_id": "a", "text": "y"}', r":3: the id of line 1 again"),
]


@pytest.mark.parametrize(("content", "message"), BAD_LINES)
@pytest.mark.parametrize("name", ["bad.jsonl", "bad.jsonl.gz", "corpus.jsonl"])
def test_bad_rows_name_file_line_and_field(tmp_path: Path, content: bytes, message: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    source = tmp_path if name == "corpus.jsonl" else path
    with pytest.raises(InputError, match=message) as caught:
        list(read_source(source))
    assert str(caught.value).startswith(f"{path}:")


def test_broken_gzip(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    whole = gzip.compress(b"".join(os.urandom(200).hex().encode() + b"\n" for _ in range(200)))
    for content in (b"no gzip at all", whole[: len(whole) // 2], b"\x1f\x8b\x08" + b"\x00" * 40):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"rows\.jsonl\.gz:\d+: (broken gzip|not JSON)"):
            list(read_source(path))


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b")
    (tmp_path / "empty").mkdir()
    for name, message in [
        ("missing.jsonl", "cannot be read"),
        ("missing", "no such file"),
        ("table.csv", "expected a BEIR folder"),
        ("empty", "expected corpus.jsonl"),
    ]:
        with pytest.raises(InputError, match=message):
            list(read_source(tmp_path / name))


def test_text_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"fine\n\xff\xfe\n")
    with pytest.raises(InputError, match=r"notes\.txt:2: not UTF-8"):
        list(read_source(path))


def test_passages_are_cut_at_headings_blank_lines_and_sentences() -> None:
    text = "# One\n\nFirst paragraph here.\n\nSecond one.\n\n# Two\n\n" + "句子。" * 30 + "\n\n" + "word " * 60
    passages = split(Document("d", text, "T", {"k": "v"}), max_chars=80)
    assert passages[0].text == "# One\n\nFirst paragraph here.\n\nSecond one."
    assert passages[1].text.startswith("# Two\n\n句子。")
    assert all(0 < len(passage.text) <= 80 for passage in passages)
    assert [passage.passage_id for passage in passages] == [f"d#{number}" for number in range(len(passages))]
    assert all(passage.title == "T" and passage.metadata == {"k": "v"} for passage in passages)
    assert "".join("".join(passage.text.split()) for passage in passages) == "".join(text.split())
    assert all(passage.text.endswith(("。", "word")) for passage in passages[1:])


def test_what_has_no_place_to_cut_is_cut_anyway() -> None:
    passages = split(Document("d", "x" * 205), max_chars=100)
    assert [len(passage.text) for passage in passages] == [100, 100, 5]


@pytest.mark.parametrize("text", ["", "  \n ", "short"])
def test_there_is_always_a_passage(text: str) -> None:
    assert [passage.passage_id for passage in split(Document("d", text), 100)] == ["d#0"]
    assert [passage.text for passage in split(Document("d", text), None)] == [text]
