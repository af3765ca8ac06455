"""What a chat model is sent: the prompt in the asker's language, and a query with as much around it as fits."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import InputError
from .admissible import admissible
from .language import Language, fold, is_cjk, language_of
from .query import Query, Source

MAX_PROMPT_CHARS = 20_000
"""A longer prompt is refused: it is a document, and each query would pay for it."""

HISTORY_TOKENS = 1_500
"""How many tokens of the conversation a model is sent, the latest turns first."""

TURN_TOKENS = 500
"""How many of a turn, from its beginning."""

PROFILE_TOKENS = 500
"""How many of the profile."""

Prompt = Mapping[Language, str]
"""The system message that the model gets, by the language of the query."""

Message = tuple[str, str]
"""Who says it, system or human, and what."""

_FOLDER = Path(__file__).with_name("prompts")
_FORMS: Mapping[Language, Mapping[str, str]] = {
    language: tomllib.loads((_FOLDER / f"{language}.toml").read_text(encoding="utf-8")) for language in Language
}

DEFAULT_PROMPT: Prompt = {language: form["system"].strip() for language, form in _FORMS.items()}


def prompt_version(prompt: Prompt) -> str:
    """Return what names this wording: 12 digits of the digest of `prompt` and of the form of the answer."""
    texts = [part for language in Language for part in (prompt[language], *_FORMS[language].values())]
    return hashlib.sha256("\x00".join(texts).encode()).hexdigest()[:12]


PROMPT_VERSION = prompt_version(DEFAULT_PROMPT)


def load_prompt(path: Path) -> Prompt:
    """Read a prompt: a text file, for queries in any language, or TOML with the keys `en` and `zh`.

    A language that the TOML file leaves out keeps the prompt it has. Raises InputError that says what is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: prompt: not UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: prompt: cannot be read: {error.strerror or error}") from error
    given = _prompts_of_toml(path, text) if path.suffix == ".toml" else dict.fromkeys(Language, text)
    for prompt in given.values():
        if not prompt.strip() or "\x00" in prompt:
            raise InputError(f"{path}: prompt: expected what the model is told, got no text")
        if len(prompt) > MAX_PROMPT_CHARS:
            raise InputError(f"{path}: prompt: {len(prompt):,} characters, at most {MAX_PROMPT_CHARS:,} are taken")
    return {**DEFAULT_PROMPT, **{language: prompt.strip() for language, prompt in given.items()}}


def _prompts_of_toml(path: Path, text: str) -> dict[Language, str]:
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: prompt: not valid TOML: {error}") from error
    if not given or not all(key in set(Language) and isinstance(value, str) for key, value in given.items()):
        raise InputError(f"{path}: prompt: expected the keys {' and '.join(Language)}, each with a text")
    return {Language(key): value for key, value in given.items()}


@dataclass(frozen=True, slots=True)
class Asked:
    """The messages that a model is sent, and whether some of the conversation or the profile did not fit."""

    messages: tuple[Message, ...]
    truncated: bool


def ask(query: Query, prompt: Prompt) -> Asked:
    """Return what a model is sent for `query`: no documents, only what may be evidence, each text on one line.

    So whatever stands in the conversation, the headings are ours, and secrets stay here.
    """
    language = language_of(query.query)
    form = _FORMS[language]
    turns, turns_cut = _turns(query)
    profile, profile_cut = _profile(query)
    lines = [f"## {form['conversation']}", *turns, f"## {form['profile']}", *profile]
    if query.now:
        lines += [f"## {form['date']}", query.now.date().isoformat()]
    lines += [f"## {form['query']}", _line(query.query), f"## {form['form']}", form["answer"].strip()]
    return Asked((("system", prompt[language]), ("human", "\n".join(lines))), turns_cut or profile_cut)


def leaks(text: str, prompt: Prompt, query: Query) -> bool:
    """Say whether `text` repeats a sentence of what the model was told and the asker did not say."""
    language = language_of(query.query)
    told = f"{prompt[language]}\n{_FORMS[language]['answer']}"
    folded, asked = fold(text), fold(query.query)
    return any(sentence in folded and sentence not in asked for sentence in _sentences(fold(told)))


_LEAST_SENTENCE = {Language.EN: 16, Language.ZH: 8}
"""A shorter piece of the prompt may well be a piece of a query."""


def _sentences(text: str) -> Iterator[str]:
    for piece in re.split(r"[.。；;：:\n]", text):
        sentence = piece.strip(" -，,")
        if len(sentence) >= _LEAST_SENTENCE[language_of(sentence)]:
            yield sentence


def _turns(query: Query) -> tuple[list[str], bool]:
    """Return the latest turns that fit, oldest first, and whether there is more."""
    lines: list[str] = []
    left, cut = HISTORY_TOKENS, query.truncated
    for _, turn in query.recent_turns():
        text = _line(admissible(turn.text, Source.HISTORY, turn.role))
        said = _beginning(text, TURN_TOKENS)
        left -= tokens(said)
        if left < 0:
            return lines[::-1], True
        cut |= said != text
        lines += [f"{turn.role}: {said}"] if said else []
    return lines[::-1], cut


def _profile(query: Query) -> tuple[list[str], bool]:
    lines: list[str] = []
    left = PROFILE_TOKENS
    for key in query.profile:
        values = [text for value in query.profile_values(key) if (text := _line(admissible(value, Source.PROFILE)))]
        line = _line(f"{key}: {', '.join(values)}") if values else ""
        said = _beginning(line, left)
        left -= tokens(said)
        lines += [said] if said else []
        if said != line:
            return lines, True
    return lines, False


def tokens(text: str) -> int:
    """Estimate how many tokens a model reads of `text`: one for each Han character, one for four others.

    >>> tokens("客户画像 of a customer"), tokens("")
    (8, 0)
    """
    return -(-sum(map(_quarters, text)) // 4)


def _beginning(text: str, most: int) -> str:
    """Return as much of `text` as has at most `most` tokens."""
    quarters = 0
    for at, char in enumerate(text):
        quarters += _quarters(char)
        if quarters > 4 * most:
            return text[:at]
    return text


def _quarters(char: str) -> int:
    return 4 if is_cjk(char) else 1


def _line(text: str) -> str:
    return " ".join(text.split())
