"""The history-aware rewriter: puts the topic of the conversation into a follow-up that leaves it out.

It handles the plain cases without a model: ordinals ("the second one", 第二个), pronouns and demonstratives ("it", "它",
"这个功能"), bare follow-ups ("what about the limits?", "那价格呢?") and short questions that name nothing. It only copies: every phrase that
it writes stands in the history, or is the catalog's name of something that does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import rjieba

from .catalog import Catalog, Entity
from .grounding import locked_spans
from .language import Language, fold, is_cjk, language_of
from .ordinals import resolve_ordinal
from .pointing import names_before, pointing_span
from .query import Decision, Edit, Evidence, Problem, Query, Rewrite, Role, Source, apply_edits
from .scene import by_exchange

_EN_FUNCTION_WORDS = frozenset(
    """a about after all also am an and another any anything are as ask at be because been before being best better
    but by can cannot could did different do does doing don done each else even ever every few find for from get
    getting give go going good got had has have having he help her here him his how however i if in into is isn it
    its just know let like likely long look looking lot made make makes many may me mean might more most much must
    my need never new no not now of off ok okay old on one only or other our out over own please possible put
    question really right said same say see she should show so some someone something still such sure take tell
    than thank thanks that the their them then there these they thing things think this those through to too try
    two type under up us use used using very want wants was way ways we well were what when where whether which
    while who whom whose why will with within without wonder work works would yes you your yours hi hello
    difference between happen happens information specific explain example examples interested important""".split()  # noqa: SIM905
)
_ZH_FUNCTION_WORDS = frozenset(
    """怎么 怎样 怎么样 怎么办 什么 为什么 多少 多久 几个 哪个 哪些 哪里 谁的 如何 是否 能否 能不能 可以 可不可以 是不是 有没有
    这个 那个 这些 那些 这样 那样 还有 还是 还要 已经 现在 之后 以后 以前 之前 出去 出来 起来 一下 一点 需要 应该 必须 处理 解决""".split()  # noqa: SIM905
)
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9'’+#./-]*[A-Za-z0-9+#]|[A-Za-z0-9]")

_FOLLOW_UP = {
    Language.EN: re.compile(r"^\s*(?:and|but|so|then|also|ok|okay)?[,\s]*(?:what|how) about\b|^\s*and\b|\belse\?*\s*$|\b(?:there|too)\s*\?*\s*$", re.IGNORECASE),
    Language.ZH: re.compile(r"^\s*(?:那么?|还有|另外|再)|呢\s*[?？]*\s*$"),
}  # fmt: skip
_CLAUSES = re.compile(r"(?<!^那)(?<!^那么)(?<!^还有)(?<!^另外)[，；;]")
_OF_THE_TOPIC = re.compile(r"\babout (?:the|its|their|any)\b|^\W*\w+ (?:else|too)\W*$", re.IGNORECASE)
_PLURAL = re.compile(r"they|them|these|those|他们|她们|它们", re.IGNORECASE)
_MANY = re.compile(r"s(?:\s*\(.*\))?$|[\u4e00-\u9fff]$", re.IGNORECASE)
_QUESTION = {
    Language.EN: re.compile(
        r"\?|^\W*(?:and |so |but )?(?:how|what|which|who|whom|whose|when|where|why|can|could|do|does|did|is|are|will|may|must)\b",
        re.IGNORECASE,
    ),
    Language.ZH: re.compile(
        r"[?？吗呢么]|怎|咋|多|几|哪|谁|什么|为啥|如何|能不能|可不可以|是不是|有没有|[\u4e00-\u9fff]不[?？]*$|没有?[?？]*$"
    ),
}
_SMALL_TALK = re.compile(
    r"\W*(?:(?:thanks?|thank you|thx|ok|okay|bye|goodbye|hi|hello|hey|yes|no|yep|nope|sure|great|good|fine|cool|nice|help|sorry|wow|please|"
    r"got it|i see|never mind|really|so|much|very|a lot|"
    r"谢谢|多谢|感谢|好的?|好吧|嗯+|哦+|行|可以|是的?|不是|对|不用了?|没事|再见|拜拜|你好|您好|在吗|知道了|明白了?|收到|帮助|辛苦了?|您|你|了|吧|啊|哈+)\W*)+",
    re.IGNORECASE,
)
_COUNTED = {
    Language.EN: re.compile(
        r"\bthe (?:first|last|next|other) (?:two|three|four|few|ones)\b|\bthe (?:first|second|third|fourth|fifth|sixth|last|\d+(?:st|nd|rd|th)) one\b",
        re.IGNORECASE,
    ),
    Language.ZH: re.compile(r"第[一二三四五六七八九十\d]+[个种款项条点]|[前后][两二三四五]个"),
}
_ZH_TOPIC_TAGS = ("n", "vn", "eng", "j", "l", "i", "x")
_THERE = re.compile(r"\bthere\b(?=\W*$)", re.IGNORECASE)
_LONGEST_TOPIC = 4
_OWN_ANTECEDENT = 3
_LONGEST_FOLLOW_UP = 5
_LISTED = 0.8
_POINTED = 0.65
_FOLLOWED = 0.6
_SILENT = 0.4
"""How sure an edit is: an ordinal names its item, a pronoun asks for a topic, a follow-up expects one, silence may need none."""


@dataclass(frozen=True, slots=True)
class _Gap:
    """Where the topic is missing: a span to replace, or an empty one; how surely; what joins an inserted topic."""

    start: int
    end: int
    confidence: float
    joint: str = ""


@dataclass(frozen=True, slots=True)
class _Topic:
    text: str
    evidence: Evidence
    slot: str = "topic"


class HistoryRewriter:
    """Copy the conversation's topic into a query that points back to it."""

    name = "history"

    def __init__(self, catalog: Catalog | None = None) -> None:
        self._catalog = catalog or Catalog("empty")

    def rewrite(self, query: Query) -> Rewrite:
        """Return the rewrite of `query`; unchanged without a history, a gap or a topic."""
        language = language_of(query.query)
        edit = self._edit(query, language) if query.history else None
        if edit is None:
            return Rewrite.keep(query, self.name)
        text = apply_edits(query.query, (edit,))
        return Rewrite(query.query, text, Decision.REWRITE, edit.confidence, (edit,), rewriter=self.name, id=query.id)

    def _edit(self, query: Query, language: Language) -> Edit | None:
        pointed = resolve_ordinal(query.query, language, query.recent_turns(), self._catalog)
        if pointed:
            evidence = Evidence(Source.HISTORY, f"history[{pointed.turn}]", pointed.item)
            topic = (
                _entity_topic(pointed.entity, evidence, language) if pointed.entity else _Topic(pointed.item, evidence)
            )
            return _make_edit(query.query, _Gap(pointed.start, pointed.end, _LISTED), topic)
        if _COUNTED[language].search(query.query):
            return None  # it points to what was listed, but not to one thing that was
        gap = self._gap(query, language)
        found = self._topic(query, language) if gap else None
        if gap is None or found is None or fold(found.text) in fold(query.query):
            return None
        if _PLURAL.fullmatch(query.query[gap.start : gap.end]) and not _MANY.search(found.text):
            return None  # "they" are not one thing
        return _make_edit(query.query, gap, found)

    # -------------------------------------------------------------------------------------- gaps

    def _gap(self, query: Query, language: Language) -> _Gap | None:
        """Return where the topic is missing, None where the query names something of its own."""
        text, turns = query.query, query.recent_turns()
        in_catalog = any(self._entities(turn.text) for _, turn in turns)
        # A code names something by itself, but where it came up stands in what was just talked of.
        just_named = any(self._entities(turn.text) for _, turn in turns[:2])
        if self._catalog.mentions(text) or (locked_spans(text, self._catalog) and not just_named):
            return None
        pointing = pointing_span(text, language)
        if pointing:
            # Words before the pronoun are likelier what it stands for than a phrase of the history is.
            own = len(_content_words(text[: pointing[0]], language))
            open_ = (in_catalog or own < _OWN_ANTECEDENT) and not names_before(text, pointing[0])
            return _Gap(*pointing, _POINTED) if open_ else None
        return None if _SMALL_TALK.fullmatch(text) else _silent_gap(text, language, in_catalog=in_catalog)

    def _entities(self, text: str) -> list[tuple[str, Entity]]:
        found = []
        for mention in self._catalog.mentions(text):
            entities = [name for name in mention.candidates if isinstance(name, Entity)]
            if len(entities) == 1 and entities[0].type != "product":
                found.append((text[mention.start : mention.end], entities[0]))
        return found

    # ------------------------------------------------------------------------------------ topics

    def _topic(self, query: Query, language: Language) -> _Topic | None:
        return self._catalog_topic(query, language) or _free_topic(query, language)

    def _catalog_topic(self, query: Query, language: Language) -> _Topic | None:
        """Return the entity that the latest exchange names, what the asker said in it first."""
        for i, turn in by_exchange(query.recent_turns()):
            for said, entity in self._entities(turn.text):
                return _entity_topic(entity, Evidence(Source.HISTORY, f"history[{i}]", said), language)
        return None


def _entity_topic(entity: Entity, evidence: Evidence, language: Language) -> _Topic:
    return _Topic(entity.name[language], evidence, entity.slot)


def _make_edit(text: str, gap: _Gap, topic: _Topic) -> Edit:
    replacement = gap.joint + topic.text
    if text[gap.start : gap.end].lower() in {"its", "their"}:
        replacement = f"{topic.text}'s"
    return Edit(Problem.MISSING_ENTITY, topic.slot, gap.start, gap.end, replacement, topic.evidence, gap.confidence)


def _silent_gap(text: str, language: Language, *, in_catalog: bool) -> _Gap | None:
    """Return where a topic is missing that no word points to: in a follow-up, or a short question."""
    words = len(_content_words(text, language))
    one_clause = not _CLAUSES.search(text.strip(" ,，。.?？!！"))
    if one_clause and _FOLLOW_UP[language].search(text) and words <= _LONGEST_FOLLOW_UP:
        # "What about the price?" asks for a part of the topic, "what about securities?" changes it.
        part = language is Language.ZH or _OF_THE_TOPIC.search(text)
        return _insertion(text, language, _FOLLOWED) if in_catalog or part else None
    # A question with several words of its own is likelier about them than about what was said before.
    silent = in_catalog and words <= _OWN_ANTECEDENT and _QUESTION[language].search(text)
    return _insertion(text, language, _SILENT) if silent else None


def _insertion(text: str, language: Language, confidence: float) -> _Gap:
    """Return where a topic is inserted: after 那 in Chinese, before the closing punctuation in English."""
    if language is Language.ZH:
        match = re.match(r"\s*(?:那么?|还有|另外)?[,，\s]*", text)
        at = match.end() if match else 0
        return _Gap(at, at, confidence)
    there = _THERE.search(text)
    if there:
        return _Gap(*there.span(), confidence, "in ")
    at = len(text.rstrip(" ?!."))
    return _Gap(at, at, confidence, " of " if re.search(r"\babout\b", text, re.IGNORECASE) else " for ")


def _content_words(text: str, language: Language) -> list[str]:
    if language is Language.ZH:
        words = (word for word in rjieba.cut(text) if any(map(is_cjk, word)) and len(word) > 1)
        return [word for word in words if word not in _ZH_FUNCTION_WORDS]
    return [word for word in map(str.lower, _WORD.findall(text)) if word not in _EN_FUNCTION_WORDS]


def _free_topic(query: Query, language: Language) -> _Topic | None:
    """Return the phrase that runs through the conversation.

    A phrase counts by how many turns share its words; the asker's turns bring the phrases, the first and the
    latest of them counting more, because a topic is named at its start and stays until it changes.
    """
    turns = dict(query.recent_turns()[::-1])
    shared = Counter(word for turn in turns.values() for word in set(_topic_words(fold(turn.text), language)))
    users = [i for i, turn in turns.items() if turn.role is Role.USER] or list(turns)[:1]
    best: tuple[float, int, str] | None = None
    for i in users:
        for phrase in _phrases(turns[i].text, language):
            words = _topic_words(fold(phrase), language) or [fold(phrase)]
            score = sum(shared[word] for word in words) / len(words) ** 0.5
            score *= 1.0 + (0.5 if i == users[-1] else 0.0) + (0.25 if i == users[0] else 0.0)
            if best is None or score > best[0]:
                best = (score, i, phrase)
    return _Topic(best[2], Evidence(Source.HISTORY, f"history[{best[1]}]", best[2])) if best else None


def _phrases(text: str, language: Language) -> Iterator[str]:
    """Yield the noun-like phrases of `text`, as they stand there, that a query in `language` can take."""
    return _zh_phrases(text) if language is language_of(text) is Language.ZH else _en_phrases(text)


def _topic_words(text: str, language: Language) -> list[str]:
    return _content_words(text, language_of(text) if language is Language.ZH else language)


def _en_phrases(text: str) -> Iterator[str]:
    """Yield the runs of words between function words and punctuation, at most four words long."""
    start = end = None
    count = 0
    for match in _WORD.finditer(text):
        breaks = end is None or text[end : match.start()].strip() != "" or count == _LONGEST_TOPIC
        if breaks or match[0].lower() in _EN_FUNCTION_WORDS:
            if start is not None and end is not None:
                yield text[start:end]
            start, end, count = None, None, 0
        if match[0].lower() in _EN_FUNCTION_WORDS:
            end = match.end()
            start = None
            continue
        start, end, count = match.start() if start is None else start, match.end(), count + 1
    if start is not None and end is not None:
        yield text[start:end]


def _zh_phrases(text: str) -> Iterator[str]:
    """Yield the runs of nouns; the name in 《》 as one."""
    yield from (match[0][1:-1] for match in re.finditer(r"《[^》]+》", text))
    run = ""
    for word, tag in rjieba.tag(text):
        if tag.startswith(_ZH_TOPIC_TAGS) and word.strip() and (word[0].isalnum()):
            run += word
        else:
            if len(run) > 1:
                yield run
            run = ""
    if len(run) > 1:
        yield run
