"""Silver pairs: what is left out of a sentence stands before it."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from querywright.rewrite.edit_script import split_units
from querywright.rewrite.editor_silver import SOURCE, silver_pairs
from querywright.rewrite.language import Language
from querywright.rewrite.query import Role

DOCUMENTS = {
    Language.ZH: [
        "青石桥是一座古老的石拱桥。青石桥建于清朝初年，由当地的工匠修建。很多游客来参观青石桥。古老的石拱桥需要定期维护。",
        "数据导入支持多种文件格式。数据导入之前要检查文件格式。每天有很多用户使用数据导入。文件格式不对时会报错。",
    ],
    Language.EN: [
        (
            "Harbour Museum stands by the river. Many visitors come to Harbour Museum in summer. "
            "Everybody knows that Harbour Museum's roof leaks. Nobody repairs Harbour Museum before spring."
        ),
        (
            "The nightly import reads spreadsheets. People start the nightly import from a settings page. "
            "Without a settings page the nightly import goes on."
        ),
    ],
}


@pytest.mark.parametrize("language", list(Language))
def test_what_was_taken_out_stands_in_the_history(language: Language) -> None:
    pairs = list(islice(silver_pairs(DOCUMENTS[language], language, random.Random(0)), 100))
    assert len(pairs) == 100
    changed = [pair for pair in pairs if pair.query.query.lower() != pair.rewrite.lower()]
    assert 40 < len(changed) < 95
    lost = 0
    for pair in changed:
        said = {unit.text for turn in pair.query.history for unit in split_units(turn.text)}
        new = {unit.text for unit in split_units(pair.rewrite)} - {unit.text for unit in split_units(pair.query.query)}
        lost += not new <= said
        assert pair.query.history[-1].role is Role.ASSISTANT
        assert (pair.source, pair.language) == (SOURCE, language)
    # Words that stood only for what was taken out ("in", "the") may be lost with it.
    assert lost <= len(changed) * (0.3 if language is Language.EN else 0.0)


@pytest.mark.parametrize("language", list(Language))
def test_one_seed_gives_the_same_pairs(language: Language) -> None:
    first, again, other = (
        list(islice(silver_pairs(DOCUMENTS[language], language, random.Random(seed)), 30)) for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("documents", [[], ["x"], ["", "\x00。" * 9], ["Nothing. Comes. Twice."]])
def test_texts_that_repeat_nothing_give_none(language: Language, documents: list[str]) -> None:
    assert list(silver_pairs(documents, language, random.Random(0))) == []
