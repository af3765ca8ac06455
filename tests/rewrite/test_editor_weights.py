"""An editor's files: whatever is wrong with them is one clear error, and what is right is read."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from querywright import MissingExtraError, StorageError
from querywright.rewrite import editor as editor_module
from querywright.rewrite import editor_weights
from querywright.rewrite.editor import BATCH, MODELS, BilingualEditor, Editor, editor_folder
from querywright.rewrite.editor_weights import HIDDEN, base_folder, base_weights, load_model, save_model, unpack
from querywright.rewrite.language import Language
from querywright.rewrite.query import Decision, Query, Role, Turn

WEIGHTS, GRAPH = "weights.safetensors.gz", "graph.onnx"
TOWER = Query("How tall is it?", (Turn(Role.USER, "Where is the Eiffel Tower?"), Turn(Role.ASSISTANT, "In Paris.")))
ZH = Query("它的导演是谁", (Turn(Role.USER, "你看过流浪地球吗"), Turn(Role.ASSISTANT, "看过，很好看")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the English editor, to be spoilt."""
    return Path(shutil.copytree(MODELS / "en", tmp_path / "en"))


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


@pytest.mark.parametrize("text", ["", "[]", "null", "7", '"model"', "{}", "{", "[" * 100_000, '{"format": 1}', "\xff"])
def test_a_description_that_is_none(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(StorageError, match=r"model\.json: not the description of an editor"):
        load_model(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": None},
        {"sums": []},
        {"sums": {}},
        {"sums": {WEIGHTS: "0"}},
        {"sums": {WEIGHTS: "0", GRAPH: "0", "../model.json": "0"}},
        {"sums": {WEIGHTS: 0, GRAPH: 0}},
        {"width": [[0.0] * 20]},
        {"width": [[0.0] * 20, [0.0] * 19]},
        {"width": [["0"] * 20] * 2},
        {"calibration": []},
        {"calibration": {"intercept": 0.0, "weights": [0.0] * 7}},
        {"calibration": {"intercept": 0.0, "weights": [0.0] * 9}},
        {"calibration": {"intercept": "much", "weights": [0.0] * 8}},
        {"connectors": "of"},
        {"characters": None},
        {"base": 7},
    ],
)
def test_a_description_that_is_wrong_somewhere(folder: Path, changes: dict[str, Any]) -> None:
    described(folder, **changes)
    with pytest.raises(StorageError, match=rf"model\.json: not the description of an editor: {next(iter(changes))}"):
        load_model(folder)


def test_keys_of_older_and_newer_versions_are_passed_over(folder: Path) -> None:
    described(folder, threshold=None)
    description, _, _ = load_model(folder)
    described(folder, threshold=0.99, colour="blue")
    assert load_model(folder)[0] == description


@pytest.mark.parametrize("name", [WEIGHTS, GRAPH, "model.json"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(StorageError, match=rf"{name}: cannot be read: No such file"):
        load_model(folder)


@pytest.mark.parametrize("name", [WEIGHTS, GRAPH])
def test_a_changed_file_is_not_opened(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    monkeypatch.setattr(editor_weights, "_decompressed", lambda _: pytest.fail("opened"))
    with pytest.raises(StorageError, match=rf"{name}: damaged, .* copy the model again"):
        load_model(folder)


def test_another_base_encoder_is_refused(folder: Path) -> None:
    described(folder, base="0" * 64)
    with pytest.raises(StorageError, match=r"model\.safetensors: damaged, .* base encoder again"):
        load_model(folder)


def test_without_the_base_encoder_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editor_weights, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"querywright\[offline\]"):
        Editor(folder).rewrite(TOWER)


def _tensors(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def changed(data: bytes) -> bytes:
        tensors = load(gzip.decompress(data))
        change(tensors)
        return gzip.compress(save(tensors), 1)

    return changed


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda _: b"no gzip",
        lambda data: data[: len(data) // 2],
        lambda data: data[:10] + b"\xff" * 20 + data[30:],
        lambda _: gzip.compress(b"no tensors"),
        lambda _: gzip.compress(b"\xff" * 64),
        _tensors(lambda tensors: tensors.update({"x": np.ones((2, 2), np.int8), "x.scale": np.ones(2, np.float32)})),
        _tensors(lambda tensors: tensors.update({"words.added": np.ones((3, 3), np.int8)})),
        _tensors(lambda tensors: tensors.update({"layer0.up.weight": np.ones((3, 3), np.int8)})),
    ],
)
def test_weights_that_are_none(folder: Path, change: Callable[[bytes], bytes]) -> None:
    replaced(folder, WEIGHTS, change((folder / WEIGHTS).read_bytes()))
    with pytest.raises(StorageError, match=rf"{WEIGHTS}: not the weights of an editor"):
        load_model(folder)


def test_weights_that_unpack_to_too_much(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editor_weights, "_LARGEST", 2**20)
    with pytest.raises(StorageError, match="unpacks to more than 1 MB"):
        load_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        _tensors(lambda tensors: tensors.pop("delete.bias")),
        _tensors(lambda tensors: tensors.update({"delete.bias": np.ones(7, np.float32)})),
        _tensors(lambda tensors: tensors.update({"extra": np.ones(7, np.float32)})),
    ],
)
def test_weights_of_another_graph(folder: Path, change: Callable[[bytes], bytes]) -> None:
    replaced(folder, WEIGHTS, change((folder / WEIGHTS).read_bytes()))
    with pytest.raises(StorageError, match=r"do not fit together: (\[ONNX|.*(external|initializer))"):
        Editor(folder).load()


@pytest.mark.parametrize("graph", [b"", b"no graph", b"\xff" * 100])
def test_a_graph_that_is_none(folder: Path, graph: bytes) -> None:
    replaced(folder, GRAPH, graph)
    with pytest.raises(StorageError, match=r"do not fit together: \[ONNX"):
        Editor(folder).load()


def test_lists_of_another_model(folder: Path) -> None:
    known = load_model(folder)[0].characters
    described(folder, characters=f"{known}\U000323af")
    with pytest.raises(StorageError, match=rf"expected those of {len(known) + 1} added characters, got {len(known)}"):
        Editor(folder).load()
    described(folder, characters=known, connectors=["of"])
    with pytest.raises(StorageError, match="do not fit together: cannot reshape"):
        Editor(folder).load()


# ------------------------------------------------------------------------------------ the editor


def test_what_failed_to_load_is_not_loaded_again(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    (folder / GRAPH).unlink()
    loads = []
    monkeypatch.setattr(editor_module, "load_model", lambda path: (loads.append(path), load_model(path))[1])
    editor = Editor(folder)
    for _ in range(3):
        with pytest.raises(StorageError, match=r"graph\.onnx: cannot be read"):
            editor.rewrite(TOWER)
    assert loads == [folder]
    assert len(caplog.records) == 1


def test_nothing_is_loaded_for_queries_that_stand_alone(tmp_path: Path) -> None:
    (kept,) = Editor(tmp_path / "nowhere").rewrite_all([Query("how tall is it?")])
    assert kept.decision is Decision.KEEP


def test_how_sure_is_told_and_nothing_held_back(folder: Path) -> None:
    calibration = json.loads((folder / "model.json").read_text(encoding="utf-8"))["calibration"]
    sure = Editor(folder).rewrite(TOWER)
    described(folder, calibration=calibration | {"intercept": -50.0}, threshold=0.9)
    doubtful = Editor(folder).rewrite(TOWER)
    assert doubtful.rewrite == sure.rewrite != TOWER.query
    assert doubtful.decision is Decision.REWRITE
    assert doubtful.confidence < 0.01 < sure.confidence


def test_a_language_that_is_lacking_is_the_projects_own(folder: Path) -> None:
    assert editor_folder(Language.EN, folder.parent) == folder
    assert editor_folder(Language.ZH, folder.parent) == MODELS / "zh"
    editor = BilingualEditor(folder.parent)
    assert editor.rewrite(ZH).rewrite == BilingualEditor().rewrite(ZH).rewrite
    (folder.parent / "zh").mkdir()
    with pytest.raises(StorageError, match=r"zh/model\.json"):
        BilingualEditor(folder.parent).load()


def test_what_was_cut_is_told_where_nothing_can_be_copied() -> None:
    empty = (Turn(Role.USER, " "),)
    long, short = Query("word " * 300, empty), Query("word", empty)
    found = BilingualEditor().rewrite_all([long, short, Query("word " * 300)])
    assert [one.truncated for one in found] == [True, False, False]


def test_seconds_are_a_share_of_the_batch() -> None:
    queries = [TOWER, Query("hello"), ZH] + [TOWER] * BATCH
    found = BilingualEditor().rewrite_all(queries)
    seconds = [one.seconds for one in found]
    assert seconds[1] == 0
    assert all(0 < one < 1 for place, one in enumerate(seconds) if place != 1)
    assert len(set(seconds[3:])) <= 2


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    base = base_weights(base_folder())
    random = np.random.default_rng(0)
    added = random.normal(size=(7, HIDDEN)).astype(np.float32)
    weights = {
        "words": np.concatenate([base["words"], added]),
        "layer0.query.weight": base["layer0.query.weight"] + random.normal(size=(HIDDEN, HIDDEN)).astype(np.float32),
        "gap.weight": random.normal(size=(8, 4)).astype(np.float32).T,
    }
    save_model(tmp_path, weights, b"", {})
    stored = load(gzip.decompress((tmp_path / "weights.safetensors.gz").read_bytes()))
    found = unpack(stored, base)
    for name, value in weights.items():
        assert np.abs(found[name] - value).max() < 0.05, name
