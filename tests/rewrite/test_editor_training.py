"""Training the editor, with real torch and MiniLM: losses, going on, what is stored, and the command end to end."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import querywright
from querywright import InputError, MissingExtraError
from querywright.rewrite import editor_data, editor_recipe, editor_training, editor_weights
from querywright.rewrite.edit_script import LONGEST_SPAN, Connectors
from querywright.rewrite.editor import Editor, pad
from querywright.rewrite.editor_data import Pair
from querywright.rewrite.editor_examples import Example, batches, collate, make_example, make_examples
from querywright.rewrite.editor_graph import build_graph
from querywright.rewrite.editor_input import Vocabulary
from querywright.rewrite.editor_measuring import (
    Outcome,
    added,
    calibrate,
    calibration_error,
    confidences,
    cross_fitted_error,
    measure,
    outcomes,
    predict,
)
from querywright.rewrite.editor_model import EditorModel, graph_weights, load_weights, log_partition, losses
from querywright.rewrite.editor_recipe import Request, train_editor
from querywright.rewrite.editor_training import PLANS, Checkpoint, Stage, code_digest, fit, plan_for, seed_all
from querywright.rewrite.editor_weights import (
    FEATURES,
    HEADS,
    LAYERS,
    POINTER,
    Calibration,
    Weights,
    base_folder,
    base_weights,
    pack,
    unpack,
)
from querywright.rewrite.language import Language, language_of
from querywright.rewrite.query import Query, Role, Turn
from querywright.service import cli

CONNECTORS = Connectors(["of", "'s", "的"])
STAGE = Stage(epochs=2, layers=1e-4, embeddings=1e-4, heads=2e-3, tokens=400, tag=0.5, warm_up=0.1)
DEMO = Path(querywright.__file__).parent / "data" / "demo" / "queries.jsonl"


def pair(query: str, rewrite: str, *turns: str) -> Pair:
    history = tuple(Turn(Role.USER if i % 2 == 0 else Role.ASSISTANT, text) for i, text in enumerate(turns))
    return Pair(Query(query, history), rewrite, "test", turns[0] if turns else query, language_of(query))


PAIRS = [
    pair("how far is it?", "how far is the moon?", "tell me about the moon", "The moon is a satellite."),
    pair("and its size", "and the moon's size", "what is the moon", "A satellite of the earth."),
    pair("who made it", "who made the red bridge", "I saw the red bridge", "It is lovely."),
    pair("它多远", "月亮多远", "说说月亮", "月亮是卫星。"),
    pair("谁写的", "谁写的红楼梦", "我在看红楼梦", "好书。"),
    pair("why is the sky blue?", "why is the sky blue?", "what is the moon", "A satellite of the earth."),
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Small steps on two threads are mostly waiting."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(base_folder(), "它说谁写红楼梦卫")


@pytest.fixture(scope="module")
def examples(vocabulary: Vocabulary) -> list[Example]:
    return make_examples(PAIRS, vocabulary, CONNECTORS)


@pytest.fixture
def model(vocabulary: Vocabulary) -> EditorModel:
    seed_all(0, "model")
    return EditorModel(base_folder(), len(vocabulary.added), len(CONNECTORS))


def shaken(model: EditorModel) -> EditorModel:
    """Move all that training may move a little, as if it had been trained."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    return model.eval()


# ---------------------------------------------------------------------------------------- examples


def test_an_example_says_what_to_copy(vocabulary: Vocabulary) -> None:
    example = make_example(PAIRS[0], vocabulary, CONNECTORS)
    assert example is not None
    assert (example.script.deleted, example.edit, example.weight) == ({3}, 1.0, 1.0)
    units = [unit.text for line in example.pieces.lines for unit in line.units]
    assert {unit for unit, tag in zip(units, example.tags, strict=True) if tag} == {"the", "moon"}


def test_pairs_that_teach_nothing_make_no_example(vocabulary: Vocabulary) -> None:
    out_of_reach = pair("how far is it?", "what distance to Mars has one now?", "hello")
    assert make_examples([pair("hello", "hello"), out_of_reach], vocabulary, CONNECTORS) == []


def test_a_rewrite_reached_in_part_counts_less(vocabulary: Vocabulary) -> None:
    example = make_example(pair("who made it", "who built the red bridge", "the red bridge"), vocabulary, CONNECTORS)
    assert example is not None
    assert example.weight < 1


@pytest.mark.parametrize(("query", "rewrite"), [("is it big?", "is the moon big"), ("is it big", "is the moon big?")])
def test_the_final_mark_is_the_askers(vocabulary: Vocabulary, query: str, rewrite: str) -> None:
    example = make_example(pair(query, rewrite, "the moon"), vocabulary, CONNECTORS)
    assert example is not None
    assert example.script.exact
    assert example.script.deleted == {1}


def test_batches_hold_everything_once(examples: list[Example]) -> None:
    many = examples * 9
    groups = batches(many, 200, random.Random(0))
    assert sorted(id(example) for group in groups for example in group) == sorted(map(id, many))
    assert all(len(group) * (max(len(e.pieces.ids) for e in group) - 8) <= 200 for group in groups)
    assert len(groups) > 1


# ------------------------------------------------------------------------------------------ losses


def test_log_partition_equals_the_sum_over_all_spans() -> None:
    generator = torch.Generator().manual_seed(0)
    units, gaps = 27, 3
    points = 3 * torch.randn((2, 4, gaps, units), generator=generator)
    none, width = torch.randn((2, gaps, 2), generator=generator), torch.randn((2, LONGEST_SPAN), generator=generator)
    line_of = torch.tensor([[0] * 2 + [1] * 25, [0] * 4 + [1] * 9 + [-1] * 14])
    found = log_partition(points, none, width, line_of)
    for b in range(2):
        for slot in range(2):
            for gap in range(gaps):
                terms = [float(none[b, gap, slot])]
                for u in range(units):
                    for v in range(u, min(units, u + LONGEST_SPAN)):
                        if line_of[b, u] == line_of[b, v] >= 0:
                            ends = points[b, 2 * slot, gap, u] + points[b, 2 * slot + 1, gap, v]
                            terms.append(float(ends + width[slot, v - u]))
                assert float(found[b, slot, gap]) == pytest.approx(np.logaddexp.reduce(terms), abs=1e-4)


def test_losses_of_certain_scores_are_near_zero(examples: list[Example]) -> None:
    batch = collate(examples)
    gold = dict.fromkeys(("delete", "edit", "tag"))
    out = {name: 40 * (batch[name] - 0.5) for name in gold}
    out["connect"] = 20.0 * torch.nn.functional.one_hot(batch["connect"], len(CONNECTORS))
    units = batch["line_of"].shape[1]
    out["none"] = 40 * (0.5 - batch["filled"].transpose(1, 2))
    out["points"] = torch.full((len(examples), 4, batch["gaps"].shape[1], units), -20.0)
    for (row, slot, gap), spans in zip(batch["where"].tolist(), batch["span"].tolist(), strict=True):
        for start, end in spans:
            if start >= 0:
                out["points"][row, 2 * slot, gap, start] = out["points"][row, 2 * slot + 1, gap, end] = 20.0
    found = losses(out, batch, torch.zeros(2, LONGEST_SPAN))
    assert all(float(value) < 0.75 for value in found.values())  # two places of one span share what is likely
    assert all(float(found[name]) < 1e-3 for name in ("delete", "connect", "edit", "tag"))


def test_losses_fall_and_base_words_stay(model: EditorModel, examples: list[Example], vocabulary: Vocabulary) -> None:
    words, added_rows = model.words.weight.clone(), model.added.detach().clone()

    def loss() -> float:
        model.eval()
        batch = collate(examples)
        with torch.no_grad():
            out = model(*(batch[name] for name in ("ids", "roles", "mask", "gaps", "places")))
        return float(sum(losses(out, batch, model.width.detach()).values()))

    before, lines = loss(), []
    stage = replace(STAGE, epochs=6, masked=0.5)
    fit(model, "test", stage, lambda _: examples, seed=0, mask=vocabulary.mask, log=lines.append)
    assert loss() < 0.5 * before
    assert torch.equal(model.words.weight, words)
    assert not torch.equal(model.added, added_rows)
    assert len(lines) == 6
    assert lines[0].startswith("test: epoch 1/6, step ")
    assert " span " in lines[0]
    assert " masked " in lines[0]


# ---------------------------------------------------------------------------------------- going on


def trained(
    make: Callable[[], EditorModel],
    vocabulary: Vocabulary,
    examples: list[Example],
    checkpoint: Checkpoint | None,
    stop: int,
) -> Weights:
    """Train for two epochs, from a fresh model; give up after `stop` of them."""
    model = make()
    asked: list[int] = []

    def source(epoch: int) -> list[Example]:
        asked.append(epoch)
        if len(asked) > stop:
            raise KeyboardInterrupt
        return examples

    stage = replace(STAGE, masked=0.5)
    fit(model, "test", stage, source, seed=3, mask=vocabulary.mask, log=lambda _: None, checkpoint=checkpoint)
    return graph_weights(model)


def test_going_on_gives_what_an_uninterrupted_run_gives(
    vocabulary: Vocabulary, examples: list[Example], tmp_path: Path
) -> None:
    def make() -> EditorModel:
        seed_all(3, "model")
        return EditorModel(base_folder(), len(vocabulary.added), len(CONNECTORS))

    whole = trained(make, vocabulary, examples, None, 2)
    lines: list[str] = []
    checkpoint = Checkpoint(tmp_path / "checkpoint.safetensors", "run", lines.append)
    with pytest.raises(KeyboardInterrupt):
        trained(make, vocabulary, examples, checkpoint, 1)
    resumed = trained(make, vocabulary, examples, checkpoint, 1)
    assert lines == ["test: going on after epoch 1"]
    assert all(np.array_equal(whole[name], resumed[name]) for name in whole)
    assert checkpoint.done("earlier")
    assert not checkpoint.done("test")
    assert Checkpoint(tmp_path / "checkpoint.safetensors", "run", lines.append).done("earlier")
    other = Checkpoint(tmp_path / "checkpoint.safetensors", "another run", lines.append)
    assert not other.done("earlier")
    assert len(lines) == 1
    checkpoint.remove()
    assert list(tmp_path.iterdir()) == []


class Small(torch.nn.Module):
    """One layer, as if it were a model."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(40, 40)


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign", "folder"])
def test_a_damaged_checkpoint_is_told_and_not_used(tmp_path: Path, damage: str) -> None:
    path, lines, small = tmp_path / "checkpoint.safetensors", list[str](), Small()
    optimizer = torch.optim.AdamW(small.parameters())
    Checkpoint(path, "run", lines.append).save("pairs", 1, {"model": small}, optimizer)
    assert Checkpoint(path, "run", lines.append).resume("pairs", {"model": small}, optimizer) == 1
    whole = path.read_bytes()
    found = {"cut": whole[:-9], "changed": whole[:-9] + bytes(9), "foreign": b"{}"}
    path.unlink()
    path.mkdir() if damage == "folder" else path.write_bytes(found[damage])
    del lines[:]
    checkpoint = Checkpoint(path, "run", lines.append)
    assert checkpoint.resume("pairs", {"model": small}, optimizer) == 0
    assert not checkpoint.done("silver")
    assert [line.partition(", ")[0] for line in lines] == [f"{path}: not used"]


def test_the_code_names_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = code_digest()
    assert code_digest() == before
    for name in editor_training._CODE:
        (tmp_path / f"{name}.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(editor_training, "__file__", str(tmp_path / "editor_training.py"))
    assert code_digest() != before


# ------------------------------------------------------------------------------------- what is kept


def test_the_graph_gives_what_torch_gives(model: EditorModel, examples: list[Example]) -> None:
    weights = graph_weights(shaken(model))
    shapes = {name: value.shape for name, value in weights.items()}
    graph = build_graph(shapes, layers=LAYERS, heads=HEADS, pointer=POINTER)
    options = onnxruntime.SessionOptions()
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
    options.add_external_initializers(list(weights), values)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    pieces = [example.pieces for example in examples]
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(None, pad(pieces)), strict=True))
    for i, scores in enumerate(predict(model, pieces)):
        for name, value in scores.items():
            theirs = outputs[name][i].reshape(-1) if name == "edit" else outputs[name][i]
            theirs = theirs.reshape(len(theirs), 3, -1) if name == "connect" else theirs
            theirs = theirs[tuple(slice(size) for size in np.atleast_1d(value).shape)]
            np.testing.assert_allclose(theirs, np.atleast_1d(value), atol=2e-4)


def test_packing_loses_little_and_nothing_twice(model: EditorModel) -> None:
    base, weights = base_weights(base_folder()), graph_weights(shaken(model))
    stored = pack(weights, base)
    found = unpack(stored, base)
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        if name == "words":
            difference, bound = value[len(base[name]) :].T, 0.0
        else:
            difference = value - base.get(name, value)
            bound = float(np.abs(value).max()) / 2**11  # half precision keeps 11 bits
        # Half a step of the largest difference, column by column.
        bound += float(np.abs(difference).max()) / (2 * editor_weights._LEVELS)
        assert np.abs(found[name] - value).max() <= bound * 1.01, name
    assert np.array_equal(found["words"][: len(base["words"])], base["words"])
    load_weights(model, found)
    again = unpack(pack(graph_weights(model), base), base)
    assert all(np.allclose(again[name], found[name], atol=1e-6) for name in found)
    assert sum(value.nbytes for value in stored.values()) < 14_000_000


def test_weights_come_back_as_they_were(model: EditorModel, vocabulary: Vocabulary) -> None:
    weights = graph_weights(shaken(model))
    other = EditorModel(base_folder(), len(vocabulary.added), len(CONNECTORS))
    load_weights(other, weights)
    assert all(np.allclose(value, weights[name], atol=1e-7) for name, value in graph_weights(other).items())


# --------------------------------------------------------------------------------------- measuring


def outcome(sure: float, *, precise: bool, group: str = "g", text: str = "changed") -> Outcome:
    features = np.array([sure, 1.0], dtype=np.float32)
    return Outcome(replace(PAIRS[0], group=group), text, features, precise, reached=True)


def test_calibration_learns_who_is_right() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=3000)
    rights = rng.random(3000) < 1 / (1 + np.exp(-(2 * scores - 0.5)))
    found = [outcome(s, precise=bool(r), group=str(i)) for i, (s, r) in enumerate(zip(scores, rights, strict=True))]
    calibration = calibrate(found)
    assert calibration.weights[0] == pytest.approx(2, abs=0.25)
    error = cross_fitted_error(found)
    assert error is not None
    assert error < 0.04
    assert calibration_error(confidences(found, calibration), rights.astype(float)) < 0.04


def test_few_rows_move_a_calibration_little() -> None:
    start = Calibration(-1.0, (2.0, 0.5))
    kept = outcome(0, precise=True, text=PAIRS[0].query.query)
    assert calibrate([kept], start) == start
    assert calibrate([kept]) == Calibration(0.0, (0.0,) * FEATURES)
    moved = calibrate([outcome(0.5, precise=True), outcome(-0.5, precise=False)], start)
    assert confidences([outcome(0.5, precise=True)], moved)[0] == pytest.approx(0.62, abs=0.25)
    same = calibrate([outcome(s, precise=True) for s in np.linspace(3, 4, 50)], start)
    assert np.isfinite([same.intercept, *same.weights]).all()


def test_what_cannot_be_measured_is_said() -> None:
    eight = [replace(outcome(0, precise=True, group=group), features=np.zeros(FEATURES)) for group in "ab"]
    nothing = Outcome(PAIRS[0], PAIRS[0].query.query, None, precise=True, reached=False)
    assert cross_fitted_error([]) is None
    assert cross_fitted_error([eight[0], eight[0]]) is None, "one conversation, one fold"
    assert cross_fitted_error([eight[0], replace(nothing, pair=eight[1].pair)]) == 0.5, "no evidence: half sure"
    assert cross_fitted_error([nothing, replace(nothing, pair=eight[1].pair)]) is None
    assert confidences([eight[0]], calibrate([nothing])).tolist() == [0.5]


def test_calibration_error_by_hand() -> None:
    assert calibration_error(np.array([0.95, 0.95, 0.15]), np.array([1.0, 0.0, 0.0])) == pytest.approx(
        1.05 / 3, abs=1e-4
    )
    assert calibration_error(np.empty(0), np.empty(0)) == 0


def test_figures_by_hand() -> None:
    exact = Outcome(PAIRS[0], "How far is the moon", np.array([9.0]), precise=True, reached=True)
    wrong = Outcome(PAIRS[1], "and the earth size", np.array([9.0]), precise=False, reached=True)
    unsure = Outcome(PAIRS[2], "who made the red bridge", np.array([-9.0]), precise=True, reached=False)
    figures = measure([exact, wrong, unsure], Calibration(0.0, (1.0,)), 0.5)
    assert (figures.rows, figures.exact_match, figures.reached) == (3, 0.3333, 0.6667)
    assert (figures.exact_match_reached, figures.changed) == (0.5, 0.6667)
    # added: the moon | the earth | nothing; wanted: the moon | the moon s | the red bridge
    assert (figures.precision, figures.recall, figures.f1) == (0.75, 0.375, 0.5)
    assert added("a b", "a a b c") == {"a": 1, "c": 1}


def test_what_has_nothing_to_copy_is_kept(model: EditorModel, vocabulary: Vocabulary) -> None:
    alone, told = outcomes(model, [pair("how far is it?", "how far is the moon?"), PAIRS[0]], vocabulary, CONNECTORS)
    assert (alone.changed, alone.features, alone.reached) == (False, None, False)
    assert told.features is not None
    assert told.reached


# ------------------------------------------------------------------------------------- the command


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., tuple[int, str, str]]:
    """Return what runs a command line in this process: exit code, output, errors."""

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["querywright", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as done:
            code = int(done.code or 0)
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return command


def demo_pairs(path: Path, language: str, count: int) -> Path:
    """Write the demo's queries with a history as one's own pairs."""
    rows = [json.loads(line) for line in DEMO.read_text(encoding="utf-8").splitlines()]
    mine = [row for row in rows if row["lang"] == language and row.get("history")][:count]
    names = {"_id": "id", "text": "query", "history": "history", "profile": "profile", "rewrite": "rewrite"}
    kept = [{ours: row[theirs] for theirs, ours in names.items() if theirs in row} for row in mine]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
    return path


def test_own_pairs_end_to_end(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    own = demo_pairs(tmp_path / "own.jsonl", "en", 24)
    first, second = tmp_path / "first", tmp_path / "en"
    code, out, err = run("train", "editor", "--data", own, "--out", first, "--epochs", 1, "--threads", 1, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["language"], told["pairs"], told["figures"]["own"]["rows"]) == ("en", 22, 2)
    assert "pairs: epoch 1/1, step " in err
    code, out, err = run(
        "train", "editor", "--data", own, "--out", second, "--from", first, "--epochs", 1, "--threads", 1
    )
    assert code == 0, err
    assert out.startswith(f"{second}: en, 22 pairs, ")
    assert {path.name for path in second.iterdir()} == {
        "README.md",
        "graph.onnx",
        "model.json",
        editor_weights._WEIGHTS,
    }
    card = (second / "README.md").read_text(encoding="utf-8")
    assert "querywright train editor --data own.jsonl --out en --from first --epochs 1" in card
    assert str(tmp_path) not in card
    mine, _, before = card.partition("### Data of the editor that it went on from\n\n")
    assert "| own | 22 | your own |" in mine
    assert "| own | 22 | your own |" in before.partition("## Figures")[0]
    rewrite = Editor(second).rewrite(Query("how do we use it", (Turn(Role.USER, "tell me about mass mailing"),)))
    assert 0 <= rewrite.confidence <= 1
    code, _, err = run("train", "editor", "--data", own, "--out", second, "--from", first, "--language", "zh")
    assert (code, "holds an editor for en, got zh" in err) == (2, True)


def test_chinese_from_text_then_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = PLANS[Language.ZH]
    small = replace(plan, silver_pairs=8, silver=replace(plan.silver, epochs=1), pairs=replace(plan.pairs, epochs=2))
    monkeypatch.setattr(editor_training, "PLANS", {Language.ZH: small})
    for folder in ("rewrite", "text"):
        (tmp_path / folder).mkdir()
    demo_pairs(tmp_path / "rewrite" / "own.jsonl", "zh", 12)
    (tmp_path / "text" / "a.txt").write_text("青石桥很古老。青石桥有三个拱。人们常来看青石桥。\n" * 3, encoding="utf-8")
    lines: list[str] = []

    def until_the_last_epoch(line: str) -> None:
        lines.append(line)
        if line.startswith("pairs: epoch 2/2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_editor(Request(tmp_path, tmp_path / "zh"), until_the_last_epoch)
    trained_editor = train_editor(Request(tmp_path, tmp_path / "zh"), lines.append)
    first = ["silver: epoch 1/1", "pairs: 11 to learn from", "pairs: epoch 1/2", "pairs: epoch 2/2"]
    then = ["pairs: 11 to learn from", "pairs: going on after epoch 1", "pairs: epoch 2/2"]
    assert [line.split(",")[0] for line in lines] == first + then
    assert " masked " in lines[0]
    assert trained_editor.figures["own"].rows == 1
    description = json.loads((tmp_path / "zh" / "model.json").read_text(encoding="utf-8"))
    assert set("桥拱") <= set(description["characters"])
    card = (tmp_path / "zh" / "README.md").read_text(encoding="utf-8")
    assert "| a | text | your own |" in card
    assert "- in each epoch of the pairs, 3000 silver ones too\n" in card
    assert Editor(tmp_path / "zh").rewrite(Query("它有几个拱", (Turn(Role.USER, "青石桥"),))).original == "它有几个拱"


def test_rows_that_are_only_reported_do_not_calibrate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "zh-utterance-rewriter"
    monkeypatch.setattr(editor_data, "SETS", {name: replace(editor_data.SETS[name], held_rows=10)})
    folder = tmp_path / "rewrite"
    folder.mkdir()
    turns = [{"role": "user", "text": "说说月亮"}, {"role": "assistant", "text": "月亮是卫星。"}]
    rows = [
        {"id": f"z-{n}", "split": split, "query": f"它多远{n}", "rewrite": f"月亮多远{n}", "history": turns}
        for n, split in enumerate(["train"] * 22 + ["dev"] * 4)
    ]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    seen: list[Outcome] = []

    def noted(found: Sequence[Outcome], start: Calibration | None) -> Calibration:
        seen.extend(found)
        return calibrate(found, start)

    monkeypatch.setattr(editor_recipe, "calibrate", noted)
    trained_editor = train_editor(Request(tmp_path, tmp_path / "zh", epochs=1), print)
    sizes = {name: figures.rows for name, figures in trained_editor.figures.items()}
    assert sizes == {name: 10, "self-contained rows": sizes["self-contained rows"], f"{name} (reported only)": 4}
    asked = [found.pair.query.id for found in seen if found.pair.source == name]
    assert sorted(asked) == sorted(f"z-{n}" for n in range(12, 22))
    assert len(seen) == 10 + sizes["self-contained rows"]


def test_where_nothing_is_held_out_the_card_says_so(tmp_path: Path) -> None:
    own = demo_pairs(tmp_path / "own.jsonl", "en", 1)
    request = Request(own, tmp_path / "en", epochs=1, command="querywright train editor --data=/home/me/own.jsonl")
    trained_editor = train_editor(request, print)
    assert (trained_editor.figures, trained_editor.error) == ({}, None)
    (tmp_path / "en" / "README.md").rename(tmp_path / "card.md")
    card = (tmp_path / "card.md").read_text(encoding="utf-8")
    assert "Not measured: nothing was held out. The confidence was calibrated on rows that trained" in card
    assert "    querywright train editor --data=own.jsonl\n" in card
    train_editor(replace(request, out=tmp_path / "more", start=tmp_path / "en"), print)
    assert "It has no card that says what it was trained on." in (tmp_path / "more" / "README.md").read_text("utf-8")


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"query": "hello", "rewrite": "hello"}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="expected rewrites that add words of the conversation"):
        train_editor(Request(own, tmp_path / "out"), print)
    monkeypatch.setattr(editor_recipe, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"onnx is not installed: pip install 'querywright\[train\]'"):
        train_editor(Request(own, tmp_path / "out"), print)


def test_an_interrupted_command_says_how_to_go_on(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(editor_recipe, "train_editor", interrupted)
    code, out, err = run("train", "editor", "--data", tmp_path, "--out", tmp_path)
    assert (code, out) == (1, "")
    assert "run the same command to go on" in err


def test_bad_pairs_are_named(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"query": "hello"}) + "\n", encoding="utf-8")
    code, _, err = run("train", "editor", "--data", own, "--out", tmp_path / "out")
    assert (code, err) == (2, f"querywright: {own}:1: rewrite: expected a string, but the key is missing\n")


def test_a_model_that_was_trained_before_is_moved_with_care() -> None:
    for language in Language:
        fresh, started = (plan_for(language, started=going_on) for going_on in (False, True))
        assert started.pairs.layers < fresh.pairs.layers
        assert (started.silver, started.mixture.silver, started.uses_texts) == (None, 0, False)
        assert fresh.uses_texts
        assert plan_for(language, started=True, epochs=7).pairs.epochs == 7


def test_rates_rise_and_fall() -> None:
    stage = replace(STAGE, warm_up=0.1, floor=0.02)
    assert stage.rate(0.0, 0.05) == pytest.approx(0.5)
    assert stage.rate(0.2, 0.05) == pytest.approx(0.8)
    assert stage.rate(0.999, 0.001) == 0.02
