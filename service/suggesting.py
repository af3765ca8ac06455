"""A draft of a catalog, proposed from a collection's documents for a person to edit."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..retrieval.passage import Document
from ..rewrite.language import Language, fold, is_cjk
from .suggesting_lists import find_dimensions
from .suggesting_names import Corpus, Kind, Name, composed, has_han, key_of
from .suggesting_pairs import find_pairs
from .suggesting_senses import Sense, rarity, two_senses

MOST_ENTITIES = 60
MOST_DIMENSIONS = 5
MOST_ALIASES = 8

_CODE = re.compile(r"(?<![\w./-])[A-Z]{1,6}(?:-\d{2,8}(?:-[A-Z0-9]{1,6})?|\d{3,8})(?![\w-])")
_LEAST_CODES = 5
"""A shape is proposed as locked when so many different codes have it, in `_LEAST_CODE_DOCUMENTS` documents."""
_LEAST_CODE_DOCUMENTS = 3
_MOST_SHAPES = 8
_SENSE_DOCUMENTS = 8
_SENSE_TRIED = 400

_TYPES = (
    ("company", ("公司", "有限公司", "集团", "inc", "inc.", "corp", "corp.", "corporation", "ltd", "ltd.", "limited")),
    ("product", ("系统", "平台", "软件", "system", "platform", "software")),
    ("feature", ("功能", "模块", "feature")),
    ("service", ("服务", "service", "services")),
)
_ENDINGS = tuple(sorted(ending for _, endings in _TYPES for ending in endings))


@dataclass(slots=True)
class Proposal:
    """An entity to propose: its names, and why."""

    names: list[Name]
    explained: int = 0
    sense: Sense | None = None
    longer: list[Name] = field(default_factory=list)
    shares: bool = False

    @property
    def score(self) -> float:
        """The best of its names', more where a text explains it."""
        return max(name.score for name in self.names) * (1.5 if self.explained else 1)


def suggest_catalog(name: str, documents: Iterable[Document], most: int = MOST_ENTITIES) -> str:
    """Return a draft, as TOML with comments that say why, of a catalog for a collection called `name`.

    The same documents give the same draft. Time is linear in the text.
    """
    known = list(documents)
    corpus = Corpus(known)
    dimensions = _dimensions(corpus)
    taken = {key for members, _ in dimensions for key in members}
    proposals = _ranked(corpus, taken)[:most]
    senses = _with_senses(corpus, proposals)
    parts = [_head(name, corpus), _locked(known)]
    parts += _written(senses, corpus.size)
    parts += [_dimension(i, members, count, corpus) for i, (members, count) in enumerate(dimensions)]
    return "\n".join(part for part in parts if part)


# ------------------------------------------------------------------------------------- choosing


def _dimensions(corpus: Corpus) -> list[tuple[list[str], int]]:
    found: list[tuple[list[str], int]] = []
    for members, count in find_dimensions(corpus):
        known = [key for earlier, _ in found for key in earlier]
        longer = all(any(key != member and key in member for key in known) for member in members)
        if not longer and not any(composed(key, corpus.names) for key in members):
            found.append((members, count))
    return found[:MOST_DIMENSIONS]


def _ranked(corpus: Corpus, taken: set[str]) -> list[Proposal]:
    """Return what may be entities, the best first: names with what explains them, spelt or shortened otherwise."""
    proposals = _explained(corpus)
    owners = {name.key: proposal for proposal in proposals for name in proposal.names}
    for key, name in corpus.names.items():
        if key not in owners and _stands_alone(name, corpus):
            owners[key] = Proposal([name])
            proposals.append(owners[key])
    _join_suffixed(owners, corpus)
    left = {id(one): one for key, one in owners.items() if key not in taken}
    return sorted(left.values(), key=lambda one: (-one.score, one.names[0].key))


def _explained(corpus: Corpus) -> list[Proposal]:
    """Return the names that texts explain, with the short ones that stand for them.

    A short name that stands for several is shared by those that are unlike and explained often enough.
    """
    longs: dict[str, Counter[str]] = defaultdict(Counter)
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for (long, short), count in find_pairs(corpus).items():
        longs[key_of(short)][key_of(long)] += count
        spellings[key_of(long)][long] += count
        spellings[key_of(short)][short] += count
    found: dict[str, Proposal] = {}
    least = 1 if corpus.size < 1000 else 2
    for short in sorted(longs):
        chosen: list[str] = []
        for long, count in sorted(longs[short].items(), key=lambda one: (-one[1], one[0])):
            like = next((one for one in chosen if _alike(one, long)), None)
            if like is None and count >= max(least, longs[short][chosen[0]] * _SHARE if chosen else 0):
                chosen.append(long)
                proposal = found.setdefault(long, Proposal([_known(long, spellings, corpus)]))
            elif like is not None:
                proposal = found[like]
                _add(proposal.names, _known(long, spellings, corpus))
            else:
                continue
            proposal.explained += count
            _add(proposal.names, _known(short, spellings, corpus))
        for long in chosen if len(chosen) > 1 else ():
            found[long].shares = True
    return [one for one in found.values() if any(name.key in corpus.names for name in one.names)]


_SHARE = 0.2
"""What a second meaning of a short name needs of the first's explanations."""


def _alike(first: str, second: str) -> bool:
    """Say whether two names hold mostly the same words."""
    words = [set(re.split(r"\W+", name)) for name in (first, second)]
    return len(words[0] & words[1]) * 2 > min(map(len, words))


def _known(key: str, spellings: Mapping[str, Counter[str]], corpus: Corpus) -> Name:
    """Return a name as it was counted; one of which only explanations are known with their counts."""
    if key in corpus.names:
        return corpus.names[key]
    count = sum(spellings[key].values())
    return Name(key, len(key.split()), Kind.NAME, count, count, surfaces=spellings[key])


def _add(names: list[Name], name: Name) -> None:
    if all(one.key != name.key for one in names):
        names.append(name)


def _stands_alone(name: Name, corpus: Corpus) -> bool:
    """Say whether a name that no text explains is worth proposing."""
    if name.alone < corpus.least or composed(name.key, corpus.names):
        return False
    if name.words > 1:
        return Kind.OTHER not in name.kinds or name.titles > 0 or name.quoted > 0
    about = name.titles / name.documents
    if name.chinese:
        return about >= (0.5 if name.kinds == Kind.NOUN else 0.3) if corpus.titled else name.kinds == Kind.NAME
    return name.documents > corpus.least and not (name.surface.isupper() and len(name.key) < 3)


def _join_suffixed(owners: dict[str, Proposal], corpus: Corpus) -> None:
    """Make one proposal of X, X 公司 and "X Inc."."""
    for key in sorted(corpus.names):
        for base in _without_suffix(key):
            name = corpus.names.get(base)
            if (
                name is None
                or not corpus.names[key].alone
                or not (base in owners or (key in owners and Kind.NAME in name.kinds))
            ):
                continue
            proposal = owners.setdefault(base, owners[key] if key in owners else owners[base])
            _add(proposal.longer, corpus.names[key])
            _add(proposal.longer, name)
            owners[key] = proposal


def _without_suffix(key: str) -> Iterator[str]:
    for suffix in _ENDINGS:
        if key.endswith(suffix) and len(key) > len(suffix):
            base = key.removesuffix(suffix)
            if base.endswith(" ") or is_cjk(base[-1]) or is_cjk(suffix[0]):
                yield base.strip()


def _with_senses(corpus: Corpus, proposals: list[Proposal]) -> list[Proposal]:
    """Put two proposals in the place of one whose name has two senses."""
    wanted = [one for one in proposals[:_SENSE_TRIED] if one.names[0].words == 1 and not one.explained]
    contexts = _contexts(corpus, {one.names[0].key for one in wanted})
    weights = {word: rarity(count, corpus.size) for word, count in corpus.documents.items()}
    found: list[Proposal] = []
    for proposal in proposals:
        groups = [contexts.get((proposal.names[0].key, language), []) for language in Language]
        split = (two_senses(rows, weights) for rows in groups if len(rows) >= _SENSE_DOCUMENTS)
        senses = next(filter(None, split), ())
        found += [Proposal(proposal.names, sense=one) for one in senses] or [proposal]
    return found


def _contexts(corpus: Corpus, keys: set[str]) -> Mapping[tuple[str, Language], list[frozenset[str]]]:
    """Return the content words around each name in each document that has it, by the document's language."""
    found: dict[tuple[str, Language], list[frozenset[str]]] = defaultdict(list)
    any_key = re.compile("|".join(map(re.escape, sorted(keys))) or r"\Z\A")
    for sentences in corpus.sentences:
        around: dict[str, set[str]] = defaultdict(set)
        for sentence in (sentence for sentence, _ in sentences if any_key.search(sentence.lower())):
            words = [key_of(word.text) for word in corpus.words(sentence) if word.kind is not Kind.BREAK]
            for key in keys.intersection(words):
                around[key].update(word for word in words if word != key and len(word) > 1)
        language = Language.ZH if any(has_han(sentence) for sentence, _ in sentences) else Language.EN
        for key, context in around.items():
            found[key, language].append(frozenset(context))
    return found


# -------------------------------------------------------------------------------------- writing


def _head(name: str, corpus: Corpus) -> str:
    return f"""\
# A draft of a catalog, proposed from the {corpus.size} documents of the collection {name}.
# Nothing here is certain. Delete what is no name of yours, put right types and names, add what people really type;
# then add the dimensions and intents that documents cannot tell. `querywright catalog check FILE` reads it,
# `querywright catalog put {name} FILE` puts it in place. Best guesses come first.

name = {_text(name)}
"""


def _locked(documents: Sequence[Document]) -> str:
    """Propose as locked the shapes of codes that recur: first those with a beginning of their own, then the others."""
    found = [set(_CODE.findall(f"{document.title}\n{document.text}")) for document in documents]
    own = _shapes(found, r"\d+")
    known = {code for codes, _ in own for code in codes}
    chosen = [*own, *_shapes([codes - known for codes in found], r"\d+|[A-Z]+")][:_MOST_SHAPES]
    if not chosen:
        return ""
    lines = ["# Codes that a rewrite must carry over letter by letter."]
    for codes, count in chosen:
        lines.append(f"# {', '.join(sorted(codes)[:3])}: {len(codes)} of this shape, in {count} documents")
    patterns = ", ".join(f"'{_pattern(codes)}'" for codes, _ in chosen)
    return "\n".join([*lines, f"locked = [{patterns}]\n"])


def _shapes(found: Sequence[set[str]], varying: str) -> list[tuple[set[str], int]]:
    """Return the sets of codes that differ only in what is `varying`, each with how many documents have one."""
    codes: dict[str, set[str]] = defaultdict(set)
    holders: Counter[str] = Counter()
    for some in found:
        shapes = {code: re.sub(varying, lambda part: "9" if part[0].isdigit() else "A", code) for code in some}
        for code, shape in shapes.items():
            codes[shape].add(code)
        holders.update(set(shapes.values()))
    chosen = [
        (members, holders[shape])
        for shape, members in sorted(codes.items())
        if len(members) >= _LEAST_CODES and holders[shape] >= _LEAST_CODE_DOCUMENTS
    ]
    return sorted(chosen, key=lambda one: -len(one[0]))


def _pattern(codes: set[str]) -> str:
    r"""Return the regular expression of codes that have one shape.

    >>> _pattern({"A-1032", "B-77101"})
    '\\b[A-Z]-\\d{4,5}\\b'
    """
    rows = [re.findall(r"[A-Z]+|\d+|-", code) for code in codes]
    parts = []
    for column in zip(*rows, strict=True):
        if column[0] == "-":
            parts.append("-")
            continue
        same = len(set(column)) == 1 and column[0].isalpha()
        sizes = sorted({len(part) for part in column})
        counted = "" if sizes == [1] else f"{{{sizes[0]}}}" if len(sizes) == 1 else f"{{{sizes[0]},{sizes[-1]}}}"
        parts.append(column[0] if same else ("[A-Z]" if column[0].isalpha() else r"\d") + counted)
    return rf"\b{''.join(parts)}\b"


def _written(proposals: Sequence[Proposal], size: int) -> Iterator[str]:
    ids: Counter[str] = Counter()
    taken: dict[str, int] = {}
    for number, proposal in enumerate(proposals):
        own = proposal.sense is not None or proposal.shares
        aliases = [alias for alias in _aliases(proposal) if own or taken.setdefault(fold(alias), number) == number]
        if not aliases:
            continue
        base = fold(aliases[0]).replace(" ", "-")
        ids[base] += 1
        yield _entity(proposal, aliases, base if ids[base] == 1 else f"{base}-{ids[base]}", size)


def _aliases(proposal: Proposal) -> list[str]:
    """Return the spellings of a proposal, the displayed one first."""
    found: dict[str, str] = {}
    for name in [*proposal.names, *proposal.longer]:
        often = [one for one, count in sorted(name.surfaces.items()) if count * 10 >= name.times]
        for surface in map(_plain, [_displayed(name), *often]):
            found.setdefault(fold(surface), surface)
    return list(found.values())[:MOST_ALIASES]


def _displayed(name: Name) -> str:
    surface = name.surface
    if Kind.NAME in name.kinds or not surface[0].isupper() or any(map(str.isupper, surface[1:])):
        return surface
    return surface[0].lower() + surface[1:]


def _entity(proposal: Proposal, aliases: Sequence[str], entity_id: str, size: int) -> str:
    lines = [f"# {_why(proposal, size)}", "[[entities]]", f"id = {_text(entity_id)}", f"type = {_text(_type(aliases))}"]
    lines += [f"name = {_name(aliases)}", f"aliases = [{', '.join(map(_text, aliases))}]"]
    if proposal.sense:
        lines.append(f"cues = [{', '.join(map(_text, proposal.sense.cues))}]")
    return "\n".join([*lines, ""])


def _why(proposal: Proposal, size: int) -> str:
    name = max(proposal.names, key=lambda one: one.documents)
    if proposal.sense:
        held = f"{proposal.sense.documents} of the {name.documents} documents"
        return f"one of two senses: {held} have it beside these cues, which the others lack"
    told = [f"in {name.documents} of {size} documents, {name.times} times"]
    if name.titles:
        told.append(f"in {name.titles} titles or headings")
    if name.quoted:
        told.append(f"in quotes in {name.quoted}")
    if proposal.explained:
        told.append(f"explained in {proposal.explained}")
    return "; ".join(told)


def _type(aliases: Sequence[str]) -> str:
    for kind, endings in _TYPES:
        for alias in aliases:
            small = fold(alias)
            if any(small.endswith(end if is_cjk(end[0]) else f" {end}") for end in endings):
                return kind
    return "term"


def _name(aliases: Sequence[str]) -> str:
    """Return one name for both languages, or one of each where texts give both."""
    by_language: dict[Language, str] = {}
    for alias in aliases:
        by_language.setdefault(Language.ZH if has_han(alias) else Language.EN, alias)
    if len(by_language) < 2 or Language.EN not in by_language:
        return _text(aliases[0])
    return f"{{ zh = {_text(by_language[Language.ZH])}, en = {_text(by_language[Language.EN])} }}"


def _dimension(number: int, members: Sequence[str], count: int, corpus: Corpus) -> str:
    lines = [
        f"# {len(members)} names that take one another's place, in {count} lists or wordings; call it what it is",
        "[[dimensions]]",
        f'name = "list_{chr(ord("a") + number)}"',
        "",
    ]
    for key in members:
        aliases = _aliases(Proposal([corpus.names[key]]))
        lines += ["[[dimensions.values]]", f"id = {_text(key.replace(' ', '-'))}", f"name = {_text(aliases[0])}"]
        lines += [f"synonyms = [{', '.join(map(_text, aliases[1:]))}]", ""] if len(aliases) > 1 else [""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())


def _text(text: str) -> str:
    """Write a text as TOML does; JSON's escapes are among TOML's."""
    return json.dumps(_plain(text), ensure_ascii=False)
