"""What an epoch of training is put together from."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest

from querywright.rewrite.edit_script import Connectors
from querywright.rewrite.editor_augmenting import Epochs, Mixture, copied_name, fragments, fronted, strangers, swapped
from querywright.rewrite.editor_data import KeepShares, Pair, TrainingData
from querywright.rewrite.editor_examples import make_example
from querywright.rewrite.editor_input import Vocabulary
from querywright.rewrite.editor_weights import base_folder
from querywright.rewrite.language import Language
from querywright.rewrite.query import Query, Role, Turn

VOCABULARY = Vocabulary(base_folder())
CONNECTORS = Connectors(["of", "the", "in"])


def pair(group: str, asked: str, query: str, rewrite: str, *, titled: bool = False) -> Pair:
    """Return a pair after one question and its answer."""
    history = (Turn(Role.USER, asked), Turn(Role.ASSISTANT, f"Let me tell you about it, {group}."))
    return Pair(Query(query, history), rewrite, "own", group, Language.EN, titled=titled)


PAIRS = [
    pair("a", "What is the Amber Road?", "How long was it?", "How long was the Amber Road?"),
    pair("Mary Rowe", "Rowe, Life", "What did she write?", "What did Mary Rowe write?", titled=True),
    pair("c", "Tell me about solar power", "What are the main costs?", "What are the main costs of solar power?"),
]


def data() -> TrainingData:
    """Return the pairs as training data."""
    return TrainingData(Language.EN, train=list(PAIRS))


def test_a_name_is_exchanged_wherever_it_stands() -> None:
    example = make_example(PAIRS[0], VOCABULARY, CONNECTORS)
    assert example is not None
    name = copied_name(example)
    assert name is not None
    changed = swapped(PAIRS[0], name, "Silk Way")
    assert "Amber Road" not in str(changed)
    assert changed.rewrite.endswith("Silk Way?")
    assert "Silk Way" in changed.query.history[0].text


def test_older_turns_come_first() -> None:
    longer = fronted(PAIRS[0], PAIRS[1:])
    assert [turn.text for turn in longer.query.history[-2:]] == [turn.text for turn in PAIRS[0].query.history]
    assert len(longer.query.history) == 6


def test_a_fragment_leaves_out_what_the_history_holds() -> None:
    made = list(islice(fragments(PAIRS, random.Random(1)), 20))
    assert made
    for one in made:
        said = " ".join(turn.text for turn in one.query.history).lower()
        cut = [word for word in one.rewrite.rstrip("?.").lower().split() if word not in one.query.query.lower()]
        assert cut
        assert all(word in said or word in {"of", "the", "was", "are", "did"} for word in cut)
        assert any(word in said for word in cut)


def test_a_stranger_stays_as_it_is() -> None:
    made = strangers(PAIRS, 30, random.Random(1))
    assert made
    for one in made:
        assert one.rewrite == one.query.query
        assert next(other for other in PAIRS if one.query.query.rstrip("?.") in other.rewrite).group != one.group


@pytest.mark.parametrize("share", ["swapped", "fronted", "untitled", "fragments"])
def test_an_epoch_is_varied_by_seed_and_number_alone(share: str) -> None:
    mixture = Mixture(KeepShares(own=0.5, foreign=0.5), **{share: 1.0})

    def epoch(seed: int, number: int) -> list[tuple[list[int], float]]:
        made = Epochs(data(), mixture, VOCABULARY, CONNECTORS, seed).epoch(number)
        return [(example.pieces.ids.tolist(), example.edit) for example in made]

    assert epoch(0, 1) == epoch(0, 1)
    assert any(epoch(0, 0) != epoch(0, number) for number in range(1, 6))
    plain = Mixture(KeepShares(own=0.5, foreign=0.5))
    assert epoch(0, 0) != [
        (example.pieces.ids.tolist(), example.edit)
        for example in Epochs(data(), plain, VOCABULARY, CONNECTORS, 0).epoch(0)
    ]


def test_silver_pairs_need_texts(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("The Amber Road crossed the plains. Traders used the Amber Road for furs and salt.\n" * 3, "utf-8")
    mixture = Mixture(KeepShares(own=0.0, foreign=0.0), silver=4)
    without = Epochs(data(), mixture, VOCABULARY, CONNECTORS, 0).epoch(0)
    whole = TrainingData(Language.EN, train=list(PAIRS), texts=[text])
    assert len(Epochs(whole, mixture, VOCABULARY, CONNECTORS, 0).epoch(0)) == len(without) + 4
