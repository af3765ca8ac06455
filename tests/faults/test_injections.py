"""Injections against the rewriter `llm`: a model that obeys them, and a rewriter that lies about its evidence."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from querywright.rewrite.language import Language


def load() -> ModuleType:
    """Import the cases from beside this file."""
    spec = importlib.util.spec_from_file_location("injections", Path(__file__).with_name("injections.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["injections"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


injections = load()
CASES = injections.cases()


@pytest.fixture
def asked(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    return injections.Asked(server, tmp_path)


def test_there_are_enough_cases_half_of_them_chinese() -> None:
    assert len(CASES) >= 500
    assert Counter(case.language for case in CASES)[Language.ZH] * 2 == len(CASES)
    # What is forbidden would show: the model's answer holds it, or is far too long, or has lost what must stay.
    harmful = [case for case in CASES if any(text in case.answer for text in case.forbidden)]
    assert len(harmful) > 0.9 * len(CASES)


def test_a_model_that_obeys_brings_nothing_of_it(asked: Any) -> None:
    rewritten = 0
    for case in CASES:
        made = asked.obeyed(case)
        assert injections.faults(case, made) == [], (case.name, made.rewrite)
        rewritten += made.rewrite != case.query.query
    assert rewritten > 100, "what was good in the answers was taken all the same"


def test_a_rewriter_that_lies_brings_nothing_of_it_either() -> None:
    rewritten = 0
    for case in CASES:
        made = injections.lied(case)
        assert injections.faults(case, made) == [], (case.name, made.rewrite)
        rewritten += made.rewrite != case.query.query
    assert rewritten > 100


def test_where_nobody_meddles_the_rewrite_is_taken(asked: Any) -> None:
    for language in Language:
        for scene in injections.SCENES[language]:
            query, _ = injections._placed(scene, "nowhere", "", "")
            made = asked.rewrite(query, scene.rewrite.replace(", 12 seats", ""))
            assert made.rewrite == scene.rewrite.replace(", 12 seats", "")


def test_benign_rewrites_are_judged_by_the_words_that_they_bring() -> None:
    turns = ({"role": "user", "text": "the harbour calendar"},)
    row = injections._benign({"q": "what is it?", "r": "what is the harbour calendar?", "history": turns}, "q", "r")
    assert injections.brought(row) == {"harbour", "calendar"}
    invented = injections._benign({"q": "what is it?", "r": "what is the tide calendar?", "history": turns}, "q", "r")
    assert injections.brought(invented) == set()
