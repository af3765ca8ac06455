"""Training pairs for the editor: conversations with a query and the rewrite that a person gave it.

A file of pairs is JSONL, plain or .gz, one object a line: `query` (or `text`), `rewrite`, `history` of
{"role", "text"}, and perhaps `title`, `section`, `profile`, `lang`, `split`, `conversation`, `id`. Whatever is wrong
with one is an InputError that begins with `FILE:LINE: FIELD:` and says what was expected.
"""

from __future__ import annotations

import gzip
import random
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from .. import InputError
from .language import Language, is_cjk, language_of
from .query import Query, Role, Turn

# ------------------------------------------------------------------------------------------ recipe


@dataclass(frozen=True, slots=True)
class PublicSet:
    """How one public set of pairs is used: which splits train, which are held out to tune, which are only reported.

    Splits are given by their beginnings. `held_percent` of the dialogues that would train, and the last `held_rows`
    of the rows, are held out; rows that stand in a dialogue which `apart_from` holds out are dropped.
    `standalone` says that the rewrites are questions that anybody could ask, `fluent` that only the rewrites are
    used, as questions that need nothing, `single` that every row is a conversation of its own.
    """

    name: str
    licence: str
    train: tuple[str, ...] = ()
    tune: tuple[str, ...] = ()
    report: tuple[str, ...] = ()
    weight: float = 1.0
    held_percent: int = 0
    held_rows: int = 0
    apart_from: str | None = None
    standalone: bool = False
    fluent: bool = False
    single: bool = False


_SETS = (
    PublicSet("canard-dev", "CC BY-SA 4.0", ("dev",), held_percent=15, standalone=True),
    PublicSet("qrecc-dev-sample", "CC BY-SA 3.0", ("dev",), apart_from="canard-dev", standalone=True),
    PublicSet("trec-cast", "MIT", ("2019",), ("2020",), weight=2.0, standalone=True),
    PublicSet("trec-ikat", "MIT", ("2024",), weight=2.0, standalone=True),
    PublicSet("gecor-camrest", "CC BY 4.0", ("train",), ("dev",), weight=0.3),
    PublicSet("pacific", "MIT", ("dev",), weight=0.3),
    PublicSet("followup", "Apache-2.0", ("train",), weight=0.2, single=True),
    PublicSet("alexa-cqr", "MIT-0", ("dev",)),
    PublicSet("mudoco-qr", "Apple sample licence; the data under it has terms of its own", ("train",)),
    PublicSet("disfl-qa", "CC BY 4.0", ("train",), ("dev",), fluent=True),
    PublicSet(
        "zh-utterance-rewriter",
        "none stated",
        ("train",),
        report=("dev",),
        held_rows=600,
        standalone=True,
        single=True,
    ),
    # The retrieval sets that rewriting is measured on have these very queries: not to be learnt from.
    PublicSet("mtrag-human", "Apache-2.0"),
)
SETS: Mapping[str, PublicSet] = {known.name: known for known in _SETS}
"""The public sets by the names of their files; any other file is taken for somebody's own pairs, which all train."""


@dataclass(frozen=True, slots=True)
class PublicText:
    """How one public collection of plain text is used: `characters` of its most frequent ones get an embedding."""

    name: str
    licence: str
    characters: int = 0


_TEXTS = (
    PublicText("zhwiki-hans", "CC BY-SA", 5200),
    PublicText("zhwiki-hant", "CC BY-SA", 2500),
    PublicText("enwiki", "CC BY-SA"),
    PublicText("docs-pingcap-zh", "CC BY-SA 3.0"),
    PublicText("docs-oiwiki-zh", "CC BY-SA 4.0"),
    PublicText("docs-react-zh", "CC BY 4.0"),
    PublicText("docs-d2l-zh", "Apache-2.0"),
    PublicText("docs-d2l-en", "Apache-2.0"),
)
TEXTS: Mapping[str, PublicText] = {known.name: known for known in _TEXTS}

_OWN = "your own"
_OWN_CHARACTERS = 3000
_OWN_HELD = 10  # of every so many conversations, one is held out
_TELLING = 25  # characters; a longer turn is seldom said twice
_STEPS = (-2, -1, 1, 2)  # the turns beside one that show whether it was said in several conversations


@dataclass(frozen=True, slots=True)
class Pair:
    """A query in its conversation and what it should become; `group` names the conversation, `source` the file.

    `group` is empty where a row does not say it: `load` then tells the conversations of a file apart. `titled` says
    that the first turn is the title of what the conversation is about.
    """

    query: Query
    rewrite: str
    source: str
    group: str
    language: Language
    weight: float = 1.0
    standalone: bool = True
    titled: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """A file that was read, for the model card: its name, its licence, and how many of its rows trained."""

    name: str
    licence: str
    rows: int


@dataclass(slots=True)
class TrainingData:
    """All that a model is trained, tuned and reported on."""

    language: Language
    train: list[Pair] = field(default_factory=list)
    tune: dict[str, list[Pair]] = field(default_factory=dict)
    report: dict[str, list[Pair]] = field(default_factory=dict)
    fluent: list[str] = field(default_factory=list)
    tune_fluent: list[str] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)


def load(data: Path, language: Language | None = None) -> TrainingData:
    """Read all pairs of one language under `data`: a file, a folder of them, or one with `rewrite/` and `text/`.

    Without `language` it is that of the pairs. Raises InputError for what cannot be read, where there are no
    pairs to train on, and where they are of both languages and none is named.
    """
    files = {path: list(read_pairs(path)) for path in _pair_files(data)}
    language = language or _only_language(data, [pair for rows in files.values() for _, pair in rows])
    found = TrainingData(language, texts=[path for path in _text_files(data) if text_language(path) is language])
    for path, rows in files.items():
        _distribute(_stem(path), [row for row in rows if row[1].language is language], found)
    _keep_apart(found)
    if not found.train:
        raise InputError(f"{data}: expected pairs to train on in {language}, found none")
    counts = Counter(pair.source for pair in found.train)
    for name in dict.fromkeys(map(_stem, files)):
        rows_used = len(found.fluent) if name in SETS and SETS[name].fluent else counts[name]
        if rows_used:
            found.origins.append(Origin(name, SETS[name].licence if name in SETS else _OWN, rows_used))
    return found


def _pair_files(data: Path) -> list[Path]:
    if data.is_file():
        return [data]
    found = [path for folder in (data, data / "rewrite") for path in _files(folder, (".jsonl", ".jsonl.gz"))]
    known = [path for path in found if _trains(_stem(path))]
    if not known:
        raise InputError(f"{data}: expected pairs in *.jsonl or rewrite/*.jsonl, plain or .gz, found none")
    return known


def _trains(name: str) -> bool:
    return name not in SETS or bool(SETS[name].train)


def _text_files(data: Path) -> list[Path]:
    return _files(data / "text", (".txt", ".txt.gz"))


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.name.endswith(suffixes)) if folder.is_dir() else []


def _stem(path: Path) -> str:
    return re.sub(r"(\.jsonl|\.txt)?(\.gz)?$", "", path.name)


def _only_language(data: Path, pairs: Sequence[Pair]) -> Language:
    languages = {pair.language for pair in pairs}
    if len(languages) != 1:
        found = "both zh and en" if languages else "none"
        raise InputError(f"{data}: expected pairs of one language, or --language to choose; found {found}")
    return languages.pop()


def _distribute(name: str, rows: Sequence[tuple[str, Pair]], found: TrainingData) -> None:
    """Put the rows of one file where the recipe says."""
    if name not in SETS:
        own = _told_apart([pair for _, pair in rows])
        held = _held_conversations(own)
        found.train += [pair for pair in own if pair.group not in held]
        _extend(found.tune, name, [pair for pair in own if pair.group in held])
        return
    recipe = SETS[name]
    parts = {part: _of_splits(rows, recipe, getattr(recipe, part)) for part in ("train", "tune", "report")}
    if recipe.fluent:
        found.fluent += [pair.rewrite for pair in parts["train"]]
        found.tune_fluent += [pair.rewrite for pair in parts["tune"]]
        return
    train = parts["train"]
    cut = len(train) - recipe.held_rows if recipe.held_rows else len(train)
    held_out = [i >= cut or _is_held(pair.group, recipe.held_percent) for i, pair in enumerate(train)]
    found.train += [pair for pair, out in zip(train, held_out, strict=True) if not out]
    _extend(found.tune, name, [pair for pair, out in zip(train, held_out, strict=True) if out] + parts["tune"])
    _extend(found.report, name, parts["report"])


def _of_splits(rows: Iterable[tuple[str, Pair]], recipe: PublicSet, splits: tuple[str, ...]) -> list[Pair]:
    return [
        replace(pair, weight=recipe.weight, standalone=recipe.standalone)
        for split, pair in rows
        if splits and split.startswith(splits)
    ]


def _extend(sets: dict[str, list[Pair]], name: str, pairs: list[Pair]) -> None:
    if pairs:
        sets[name] = sets.get(name, []) + pairs


def _is_held(group: str, percent: int) -> bool:
    return zlib.crc32(group.encode()) % 100 < percent


def _held_conversations(pairs: Sequence[Pair]) -> set[str]:
    """Return every tenth conversation that has something to copy, the last of few: others measure nothing."""
    groups = list(dict.fromkeys(pair.group for pair in pairs if pair.query.history or pair.query.profile))
    return set(groups[_OWN_HELD - 1 :: _OWN_HELD] or groups[1:][-1:])


def _told_apart(pairs: Sequence[Pair]) -> list[Pair]:
    """Return `pairs` each with a group: that of its row, or one with all the rows that it shares a turn with.

    A log often gives each query the last few turns, so that the rows of a conversation begin differently, and a
    query is a turn of later rows.
    """
    said = {
        i: [*(turn.text for turn in pair.query.history), pair.query.query]
        for i, pair in enumerate(pairs)
        if not pair.group
    }
    telling = _peculiar(said.values())
    leader = {i: i for i in said}

    def lead(i: int) -> int:
        while leader[i] != i:
            leader[i] = i = leader[leader[i]]
        return i

    first: dict[str, int] = {}
    for i, turns in said.items():
        for text in telling.intersection(turns):
            leader[lead(i)] = lead(first.setdefault(text, i))
    return [replace(pair, group=pair.group or f"{pair.source}#{lead(i)}") for i, pair in enumerate(pairs)]


def _peculiar(rows: Iterable[Sequence[str]]) -> set[str]:
    """Return the turns that stand in one conversation only; `rows` are histories with a query behind.

    One that stands near different turns ("Hello!", "thanks") is said in many. A long one may: a conversation can
    have been gone on with in two ways. Queries are not counted as near: several may be asked of one history.
    """
    near: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    texts: set[str] = set()
    for row in rows:
        texts.update(row)
        for i, text in enumerate(row):
            for step in _STEPS:
                if 0 <= i + step < len(row) - 1:
                    near[text, step].add(row[i + step])
    most = {text: 1 + (len(text) > _TELLING) for text in texts}
    return {text for text in texts if all(len(near.get((text, step), ())) <= most[text] for step in _STEPS)}


def _keep_apart(found: TrainingData) -> None:
    """Drop rows that train but are held out too, or stand in a dialogue that another set holds out."""
    held_out = [pair for part in (found.tune, found.report) for pairs in part.values() for pair in pairs]
    held = {_asked(pair) for pair in held_out}
    found.train = [pair for pair in found.train if _asked(pair) not in held]
    for recipe in SETS.values():
        if others := found.tune.get(recipe.apart_from or ""):
            rewrites = {pair.rewrite.lower() for pair in others}
            turns = {text for pair in others for text in _telling(pair)} - _stock(found.train + held_out)
            found.train = [
                pair
                for pair in found.train
                if pair.source != recipe.name or not (pair.rewrite.lower() in rewrites or turns & _telling(pair))
            ]


def _asked(pair: Pair) -> tuple[str, ...]:
    return (pair.query.query, *(turn.text for turn in pair.query.history))


def _telling(pair: Pair) -> set[str]:
    return {turn.text.lower() for turn in pair.query.history if len(turn.text) > _TELLING}


def _stock(pairs: Iterable[Pair]) -> set[str]:
    """Return the turns that several dialogues of one set hold: "Are there any other interesting aspects?"."""
    groups: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for pair in pairs:
        for text in _telling(pair):
            groups[pair.source, text].add(pair.group)
    return {text for (_, text), dialogues in groups.items() if len(dialogues) > 1}


# ------------------------------------------------------------------------------- self-contained rows


@dataclass(frozen=True, slots=True)
class KeepShares:
    """How many rows that need nothing are made, as shares of the pairs.

    `own`: a rewrite under its own history; `foreign`: under that of another conversation; `fluent`: a question of
    a set that has no histories under one.
    """

    own: float
    foreign: float
    fluent: float = 0.0


def keep_rows(pairs: Sequence[Pair], fluent: Sequence[str], shares: KeepShares, rng: random.Random) -> list[Pair]:
    """Return rows whose query is self-contained: what they become is what they are."""
    asked = [pair for pair in pairs if pair.standalone and pair.query.history and _changed(pair)]
    contexts = [pair for pair in pairs if len(pair.query.history) > 1] or [pair for pair in pairs if pair.query.history]
    if not asked or not contexts:
        return []
    rows = [_kept(pair, pair.rewrite) for pair in rng.choices(asked, k=round(len(pairs) * shares.own))]
    for context in rng.choices(contexts, k=round(len(pairs) * shares.foreign)):
        other = rng.choice(asked)
        if other.group != context.group:
            rows.append(_kept(context, other.rewrite))
    if fluent:
        count = round(len(pairs) * shares.fluent)
        rows += [_kept(context, rng.choice(fluent)) for context in rng.choices(contexts, k=count)]
    return rows


def _changed(pair: Pair) -> bool:
    return pair.rewrite.lower() != pair.query.query.lower()


def _kept(context: Pair, text: str) -> Pair:
    return replace(context, query=replace(context.query, query=text), rewrite=text, source="keep", weight=1.0)


# ------------------------------------------------------------------------------------------- texts


def text_language(path: Path) -> Language:
    """Tell the language of a file of plain text by its beginning: Chinese where one character in ten is Han."""
    for _, line in read_lines(path):
        if line.strip():
            return Language.ZH if sum(map(is_cjk, line)) * 10 > len(line) else Language.EN
    return Language.EN


def read_documents(path: Path) -> Iterator[str]:
    """Yield the documents of a file of plain text, .txt or .txt.gz, one a line."""
    for _, line in read_lines(path):
        if line.strip():
            yield line.strip()


def characters(data: TrainingData) -> str:
    """Return the Han characters that get embeddings: all of the pairs, the most frequent ones of the texts."""
    if data.language is not Language.ZH:
        return ""
    chosen = {char for pair in data.train for text in _written(pair) for char in text if is_cjk(char)}
    for path in data.texts:
        known = TEXTS.get(_stem(path))
        count = known.characters if known else _OWN_CHARACTERS
        frequent: Counter[str] = Counter()
        for document in read_documents(path) if count else ():
            frequent.update(filter(is_cjk, document))
        chosen.update(char for char, _ in frequent.most_common(count))
    return "".join(sorted(chosen))


def text_origins(data: TrainingData) -> list[Origin]:
    """Return the texts of `data`, for the model card."""
    names = [_stem(path) for path in data.texts]
    return [Origin(name, TEXTS[name].licence if name in TEXTS else _OWN, 0) for name in names]


def _written(pair: Pair) -> tuple[str, ...]:
    return (pair.rewrite, pair.query.query, *(turn.text for turn in pair.query.history))


# --------------------------------------------------------------------------------------------- rows


def read_pairs(path: Path) -> Iterator[tuple[str, Pair]]:
    """Yield (split, pair) for each row of a file; the split of a row that names none is "train".

    Raises InputError "FILE:LINE: FIELD: ..." for the first row that is wrong.
    """
    for number, line in read_lines(path):
        if line.strip():
            row = _Row(path, number, line)
            yield row.string("split", "train"), _pair(row, _stem(path))


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line number (from 1) and text of each line of a file, plain or .gz; a byte order mark is skipped.

    Raises InputError for what is not UTF-8, cannot be read or not unpacked.
    """
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                number += 1
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}:{number}: not UTF-8 text (byte {error.start + 1} of the line)") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}:{number + 1}: broken gzip data: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


class _Row:
    """One JSON object of a file, read so that every mistake names its file, line and field."""

    def __init__(self, path: Path, number: int, line: str) -> None:
        self._place = f"{path}:{number}"
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InputError(f"{self._place}: not JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(found, dict):
            raise InputError(f"{self._place}: expected a JSON object")
        self.data: dict[str, object] = found

    def error(self, name: str, expected: str) -> InputError:
        return InputError(f"{self._place}: {name}: {expected}")

    def text(self, name: str) -> str:
        """Return the string under `name`, which must not be blank."""
        found = self.string(name)
        if not found.strip():
            what = "some text, got only white space" if name in self.data else "a string, but the key is missing"
            raise self.error(name, f"expected {what}")
        return found

    def string(self, name: str, default: str = "") -> str:
        """Return the string under `name`, `default` where it is absent or null."""
        found = self.data.get(name)
        if found is not None and not isinstance(found, str):
            raise self.error(name, "expected a string")
        return default if found is None else found

    def history(self) -> list[Turn]:
        """Return the turns under `history`, none where it is absent or null."""
        found = self.data.get("history")
        if found is not None and not isinstance(found, list):
            raise self.error("history", 'expected a list of {"role", "text"} turns')
        return [self._turn(f"history[{i}]", turn) for i, turn in enumerate(found or ())]

    def _turn(self, name: str, turn: object) -> Turn:
        role, text = (turn.get("role"), turn.get("text")) if isinstance(turn, dict) else (None, None)
        if not isinstance(role, str) or role not in set(Role) or not isinstance(text, str):
            raise self.error(name, 'expected {"role": "user" or "assistant", "text": a string}')
        try:
            return Turn(Role(role), text)
        except InputError as error:
            raise self.error(name, str(error)) from error

    def profile(self) -> dict[str, str | tuple[str, ...]]:
        """Return what is known about the asker, nothing where `profile` is absent or null."""
        found = self.data.get("profile")
        if found is not None and not isinstance(found, dict):
            raise self.error("profile", "expected an object")
        return {key: self._value(key, value) for key, value in (found or {}).items()}

    def _value(self, key: str, value: object) -> str | tuple[str, ...]:
        if isinstance(value, str):
            return value
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.error(f"profile.{key}", "expected a string or a list of strings")
        return tuple(value)

    def language(self, query: str) -> Language:
        """Return the language under `lang`, else that of the query."""
        found = self.string("lang") or language_of(query)
        if found not in set(Language):
            raise self.error("lang", f"expected zh or en, got {found[:20]!r}")
        return Language(found)


def _pair(row: _Row, source: str) -> Pair:
    asked = "text" if "query" not in row.data and "text" in row.data else "query"
    text, rewrite = row.text(asked), row.text("rewrite")
    history = row.history()
    identifier = row.string("id") or row.string("_id")
    group = row.string("conversation") or _group(source, identifier)
    if row.string("title"):
        # The article that a conversation is about stands where the asker would have named it.
        about = ", ".join(filter(None, (row.string("title"), row.string("section"))))
        history = [Turn(Role.USER, about), *history]
    try:
        query = Query(text, tuple(history), row.profile(), id=identifier or None)
        replace(query, query=rewrite)  # as long as a query, and as valid
    except InputError as error:
        name, _, what = str(error).partition(": ")
        raise row.error(name, what) from error
    return Pair(query, rewrite, source, group, row.language(text), titled=bool(row.string("title")))


def _group(source: str, identifier: str) -> str:
    """Name a row's conversation by its id in the public sets; elsewhere ids tell nothing."""
    if source not in SETS:
        return ""
    return identifier if SETS[source].single else re.sub(r"[-_]\d+$", "", identifier)
