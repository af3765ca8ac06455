import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from querywright import InputError, MissingExtraError, StorageError
from querywright.retrieval import rerank
from querywright.retrieval.fusion import Ranking
from querywright.retrieval.rerank import CrossEncoderReranker, Reranking, load_reranker, reordered

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "frog", "pond", "tax", "rate", "green", "who", "?"]


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny cross-encoder with random weights."""
    return made(tmp_path_factory.mktemp("models") / "tiny", labels=1)


def made(folder: Path, labels: int) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        initializer_range=1.0,
        num_labels=labels,
    )
    BertForSequenceClassification(config).save_pretrained(folder, safe_serialization=True)
    return folder


def ranking(*positions: int) -> Ranking:
    return Ranking(np.array(positions, dtype=np.int64), np.linspace(1, 0.5, len(positions)))


class Lengths:
    """A reranker that likes long passages; slow, or failing, where the query says so."""

    name = "lengths"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.free = threading.Event()

    def scores(self, query: str, passages: Sequence[str]) -> NDArray[np.float64]:
        self.asked.append(list(passages))
        if query == "slow":
            self.free.wait(10)
        if query == "fail":
            raise OSError("no memory")
        if query == "odd":
            return np.full(len(passages), np.nan)
        return np.array([len(passage) for passage in passages], dtype=np.float64)


def test_a_cross_encoder_reads_query_and_passage(cross_encoder: Path) -> None:
    found = load_reranker(str(cross_encoder))
    passages = ["frog green", "tax rate", "pond", "who ? frog pond"]
    scores = found.scores("frog pond ?", passages)
    assert scores.shape == (4,)
    assert len(set(scores.tolist())) == 4
    assert found.scores("tax rate", passages).tolist() != scores.tolist()
    assert found.scores("frog pond ?", passages[::-1])[::-1] == pytest.approx(scores, abs=1e-5)
    assert found.scores("frog", []).shape == (0,)
    assert found.name == str(cross_encoder)


def test_a_whole_list_is_reordered_by_it(cross_encoder: Path) -> None:
    reranker = load_reranker(str(cross_encoder))
    texts = {3: "frog green", 5: "tax rate", 8: "pond", 9: "who ? frog pond"}
    scores = dict(zip(texts, reranker.scores("frog pond ?", list(texts.values())).tolist(), strict=True))
    again = Reranking(reranker, seconds=60)("frog pond ?", ranking(*texts), texts.__getitem__)
    assert again.positions.tolist() == sorted(texts, key=lambda position: -scores[position])


def test_what_is_no_cross_encoder_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StorageError, match="no readable model"):
        load_reranker(str(tmp_path)).scores("x", ["y"])
    with pytest.raises(InputError, match="reranker: expected"):
        load_reranker(" ")
    with pytest.raises(InputError, match="expected one score a pair, it gives 3"):
        load_reranker(str(made(tmp_path / "three", labels=3))).scores("frog", ["pond"])
    monkeypatch.setattr(rerank, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="sentence-transformers"):
        load_reranker("x")


def test_weights_to_unpickle_are_refused(cross_encoder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    for file in cross_encoder.iterdir():
        if file.name != "model.safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save(load_file(cross_encoder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    with pytest.raises(StorageError, match="safetensors"):
        load_reranker(str(tmp_path)).scores("frog", ["pond"])


def test_it_is_read_when_first_used() -> None:
    assert CrossEncoderReranker("no/such-model", "no/such-model").name == "no/such-model"
    code = "import sys, querywright.retrieval.rerank as r; r.load_reranker('x'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_only_the_best_are_read_and_the_rest_stay() -> None:
    lengths = Lengths()
    before = ranking(4, 2, 9, 7)
    after = Reranking(lengths, depth=3)("x", before, {4: "a", 2: "ccc", 9: "bb", 7: "dddd"}.__getitem__)
    assert lengths.asked == [["a", "ccc", "bb"]]
    assert after.positions.tolist() == [2, 9, 4, 7]
    assert after.scores.tolist() == before.scores.tolist()


@pytest.mark.parametrize(("query", "error"), [("slow", TimeoutError), ("fail", OSError), ("odd", ValueError)])
def test_what_goes_wrong_is_raised_and_the_next_query_answered(query: str, error: type[Exception]) -> None:
    lengths = Lengths()
    reranking = Reranking(lengths, seconds=0.2)
    begun = time.monotonic()
    with pytest.raises(error):
        reranking(query, ranking(1, 2), lambda position: "x" * position)
    assert time.monotonic() - begun < 5
    lengths.free.set()
    assert Reranking(lengths)("x", ranking(1, 2), lambda position: "x" * position).positions.tolist() == [2, 1]
    reranking.close()


def test_queries_behind_a_slow_one_are_given_up_in_time() -> None:
    lengths = Lengths()
    reranking = Reranking(lengths, seconds=0.1)
    for query in ("slow", "x", "y"):
        with pytest.raises(TimeoutError):
            reranking(query, ranking(1, 2), str)
    lengths.free.set()
    reranking.close()
    assert len(lengths.asked) == 1


@given(
    scores=st.lists(st.floats(-10, 10), max_size=8),
    rest=st.integers(0, 4),
)
def test_reordering_is_a_stable_sort_of_the_head(scores: list[float], rest: int) -> None:
    before = ranking(*range(10, 10 + len(scores) + rest))
    after = reordered(before, np.array(scores))
    head = sorted(range(len(scores)), key=lambda place: -scores[place])
    assert after.positions.tolist() == [*(10 + place for place in head), *before.positions.tolist()[len(scores) :]]
    assert after.scores.tolist() == before.scores.tolist()


@pytest.mark.parametrize("scores", [[1.0, 2.0, 3.0], [float("inf")], [[1.0], [2.0]]])
def test_scores_that_order_nothing_are_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="one finite score a passage"):
        reordered(ranking(1, 2), np.array(scores))
