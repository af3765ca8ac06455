"""Names that recur in documents, counted: capitalised, quoted, in titles, or words that keep together.

As in C-value (Frantzi, Ananiadou & Mima 2000) a phrase that stands inside longer ones counts only for what it is
seen outside of them; here in documents.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from importlib import import_module
from math import isqrt, log2
from typing import NamedTuple

from ..retrieval.passage import Document
from ..rewrite.language import fold, is_cjk

MAX_WORDS = 4
"""No proposed name has more words."""

_TEXT_CHARS = 20_000
"""So much of a document is read."""

_TITLES = 20
"""More titles than this speak against a plain word."""

_REMARK = re.compile(r"(?<=\S)\s*[(（][^()（）]*[)）]")

_SHARED_HEADING = 4
"""A heading of more documents is part of their form."""

_NOISE = re.compile(
    r"```.*?(?:```|\Z)|!\[[^\]\n]*\]\([^)\n]*\)|<[^<>\n]{1,200}>|https?://[^\s)\]]+|(?<=\])\([^()\s]*\)|[®™©\ufeff]",
    re.DOTALL,
)
_SENTENCE_END = re.compile(r"[。！？!?；;|\n]+|(?<!Inc)(?<!Ltd)(?<!Corp)(?<!Co)(?<!\b[A-Z])\.(?=\s|$)|: (?=[A-Z])")
_TOKEN = re.compile(r"(?:Inc|Ltd|Corp|Co)\.|(?:[A-Z]\.){2,}|[^\W_]+(?:[-'’.&+#/][^\W_]+)*(?:\+\+|#)?|[^\w\s]|_")
_QUOTED = re.compile(r"《([^《》\n]{2,20})》|“([^“”\n]{2,40})”|「([^「」\n]{2,20})」|\"([^\"\n]{2,40})\"")
_HAS_CAPITAL = re.compile(r"[A-Z]")
_INNER_CAPITAL = re.compile(r"[^\W\d_].*[A-Z]|[A-Z]\d")

_STOP_WORDS = frozenset(
    """
    a about above after again against all also although always an and another any are as at be because been before
    being below between both but by can cannot could did do does doing done during each either else etc even ever every
    few first for from further get gets give given go goes had has have having he her here hers him his how however i
    if in instead into is it its itself just last least less let like made make makes many may me might more most much
    must my near need needs neither never new next no nor not now of off often old on once one only onto or other
    others our out over own per please same see several shall she should since so some still such take than that the
    their them then there these they this those three through thus to together too two under until up upon us use used
    uses using very via was way we well were what when where whether which while who whom whose why will with within
    without would yes yet you your are isn aren don doesn didn can won
    click select press open choose enter add create set run follow following example examples default available
    different specific current additional multiple required optional important main main common general right left
    note true false com www http https html e.g i.e vs
    monday tuesday wednesday thursday friday saturday sunday january february march april june july august
    september october november december q1 q2 q3 q4 cny usd eur gbp rmb
    """.split()  # noqa: SIM905 # a list this long reads better as text
)
_FRAME = frozenset(
    """
    guide guides overview introduction tutorial tutorials faq notes note chapter section table figure summary
    getting started question questions answer answers page pages step steps list lists type types number numbers
    information detail details case cases part parts time times day days month months year years week weeks user users
    name names value values people thing things lot result results start end definition update updates documentation
    操作 指南 说明 手册 步骤 介绍 概述 简介 教程 问题 常见问题 更新 版本 内容 情况 方法 方式 部分 方面 时间 时候 结果
    作用 原因 影响 要求 条件 过程 数量 范围 特点 类型 名称 地方 办法 工作 活动 进行 使用 可以 需要 提供 包括 应当 规定
    下列 其他 有关 本文 研究 分析 提出 结果表明 能力 因素 基础 关系 目的 意义 作者 人员 单位 国家 社会 世界 中国 系列
    主要 重要 不同 相关 一般 全部 相应 人民 点击 打开 选择 进入 支持 没有 成为 开始 发现 认为 表示 指出
    是 有 为 在 到 会 能 可 要 被 让 给 使 由 去 来 说 做 看 等 用 人 时 年 月 日 号 个 次 后 前 中 上 下 不 从 向
    以 或 者
    """.split()  # noqa: SIM905 # likewise
)
"""Words that frame a text rather than name something: no name holds one."""

SUFFIXES = frozenset(
    """
    公司 有限公司 集团 股份 系统 平台 功能 软件 服务 产品 应用 模块 工具 接口 用户 数据 信息
    inc inc. corp corp. corporation ltd ltd. limited company co co. system platform software service
    """.split()  # noqa: SIM905 # likewise
)
"""Words that say of what kind a name is: a name is proposed without them, its aliases have them."""


_KINDS_ONLY = frozenset({"公司", "有限公司", "集团", "系统", "平台", "功能", "模块", "接口"})


_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U000323af]")


def has_han(text: str) -> bool:
    """Say whether a text holds a Han character."""
    return not text.isascii() and _HAN.search(text) is not None


@lru_cache(maxsize=65_536)
def _says_little(word: str) -> bool:
    return len(word) < 2 or not word[0].isalpha() or re.split("['’]", word.lower())[0] in _STOP_WORDS


class Kind(StrEnum):
    """What a word is like: the name of something, a noun, another word that a name may hold, or none of these."""

    NAME = "N"
    NOUN = "n"
    OTHER = "o"
    BREAK = "|"


class Word(NamedTuple):
    """A word of a sentence, at `start:end` of it."""

    text: str
    kind: Kind
    start: int
    end: int


@dataclass(slots=True)
class Name:
    """A phrase that may be a name, and how often it was seen."""

    key: str
    words: int = 1
    kinds: str = ""
    documents: int = 0
    times: int = 0
    titles: int = 0
    quoted: int = 0
    inside: int = 0
    surfaces: Counter[str] = field(default_factory=Counter)

    @property
    def surface(self) -> str:
        """The way it is written most often."""
        return min(self.surfaces, key=lambda text: (-self.surfaces[text], text))

    @property
    def chinese(self) -> bool:
        """Whether it holds a Han character."""
        return has_han(self.key)

    @property
    def alone(self) -> int:
        """The documents that hold it, less those of the most frequent name that it is a part of."""
        return self.documents - self.inside

    @property
    def score(self) -> float:
        """What speaks for its being a name: on its own, in titles, several times in a document, written as a name."""
        about = 1 + 3 * self.titles / self.documents
        steady = min(self.times / self.documents, 3)
        written = 1.5 if Kind.NAME in self.kinds or self.quoted * 2 >= self.documents else 1
        # Plain words in very many titles say what kind of thing each is about: "film", "address".
        common = 1 if Kind.NAME in self.kinds else min(1, _TITLES / max(self.titles, 1)) ** 0.5
        return float(max(self.alone, 0) ** 0.6 * log2(1 + self.words) * about * steady * written * common)


@lru_cache(maxsize=262_144)
def key_of(text: str) -> str:
    """Return what spellings of one name share: no case, width, hyphens, and the plural's s.

    >>> key_of("Customer-Profiles"), key_of("CRM 系统")
    ('customer profile', 'crm系统')
    """
    folded = re.sub(r"[\s\-_’']+", " ", fold(text)).strip()
    folded = re.sub(r"(?<=[^\x00-\x7f]) | (?=[^\x00-\x7f])", "", folded)
    if re.search(r"[a-z]{3}ies$", folded):
        return folded[:-3] + "y"
    return folded[:-1] if re.search(r"[a-z]{2}[^s\Wiu]s$", folded) else folded


_folded = lru_cache(maxsize=65_536)(fold)


class Corpus:
    """Documents read for their names, in two passes: first the words, then the phrases of words that recur."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.size = len(documents)
        self.least = max(2, isqrt(self.size) // 16)
        self.titled = sum(bool(document.title) for document in documents) * 2 > self.size
        self._capital: Counter[str] = Counter()
        self._small: Counter[str] = Counter()
        self._frequent: set[str] = set()
        self.documents: Counter[str] = Counter()
        self.names: dict[str, Name] = {}
        texts = [_clean(document.text[:_TEXT_CHARS]).split("\n") for document in documents]
        headings = Counter(line for lines in texts for line in {line.strip() for line in lines if _is_heading(line)})
        shared = {line for line, count in headings.items() if count > _SHARED_HEADING}
        self.sentences = [
            list(_sentences(document.title, lines, shared)) for document, lines in zip(documents, texts, strict=True)
        ]
        self._count_words()
        self._count_names()

    def words(self, sentence: str) -> list[Word]:
        """Return the words of a sentence with their kinds."""
        if has_han(sentence):
            return list(_chinese_words(sentence))
        return list(self._english_words(sentence))

    def _english_words(self, sentence: str) -> Iterator[Word]:
        found = list(_TOKEN.finditer(sentence))
        shouted = _in_capitals([match[0] for match in found])
        first = True
        for match in found:
            text = match[0]
            yield Word(text, self._english_kind(text, sure=not (first or shouted)), match.start(), match.end())
            first = first and not text[0].isalnum()

    def _english_kind(self, text: str, *, sure: bool) -> Kind:
        if _says_little(text):
            return Kind.BREAK
        small = text.lower()
        if small == text:
            return Kind.NOUN
        if sure or _INNER_CAPITAL.search(text[1:]) or self._capital[small] > self._small[small]:
            return Kind.NAME
        return Kind.NOUN

    def _count_words(self) -> None:
        words: Counter[str] = Counter()
        for sentences in self.sentences:
            seen: set[str] = set()
            for sentence, _ in sentences:
                if has_han(sentence):
                    seen.update(text for text, _ in _tagged(sentence))
                    continue
                tokens = _TOKEN.findall(sentence)
                seen.update(token.lower() for token in tokens)
                if not _in_capitals(tokens):
                    for token in tokens[1:]:
                        if token[0].isalpha():
                            (self._small if token.islower() else self._capital)[token.lower()] += 1
            self.documents.update(set(map(key_of, seen)))
            words.update(set(map(_folded, seen)))
        self._frequent = {word for word, count in words.items() if count >= self.least}

    def _count_names(self) -> None:
        for sentences in self.sentences:
            found: dict[str, list[int]] = {}
            for sentence, heading in sentences:
                for surface, words, quoted in self.phrases(sentence):
                    key = key_of(surface)
                    name = self.names.get(key)
                    if name is None:
                        kinds = "".join(word.kind for word in words)
                        name = self.names[key] = Name(key, len(words), kinds)
                    name.surfaces[surface] += 1
                    counts = found.setdefault(key, [0, 0, 0])
                    counts[0] += 1
                    counts[1] |= int(heading)
                    counts[2] |= int(quoted)
            for key, (times, titled, marked) in found.items():
                name = self.names[key]
                name.documents += 1
                name.times += times
                name.titles += titled
                name.quoted += marked
        self.names = {key: name for key, name in self.names.items() if name.documents >= self.least}
        self._count_nested()

    def _count_nested(self) -> None:
        for name in self.names.values():
            pieces = name.key.split(" ") if not name.chinese else []
            parts = {
                " ".join(pieces[start:end])
                for start in range(len(pieces))
                for end in range(start + 1, len(pieces) + 1)
                if 0 < end - start < len(pieces)
            }
            if name.chinese:
                text = name.key
                parts = {
                    text[start:end]
                    for start in range(len(text))
                    for end in range(start + 2, len(text) + 1)
                    if end - start < len(text)
                }
            for part in parts:
                inner = self.names.get(part) or self.names.get(key_of(part))
                if inner is not None and inner is not name:
                    inner.inside = max(inner.inside, min(name.documents, inner.documents))

    def phrases(self, sentence: str) -> Iterator[tuple[str, Sequence[Word], bool]]:
        """Yield the phrases of a sentence that may be names: the text, its words, whether it stands in quotes."""
        words = self.words(sentence)
        for run in runs(words, sentence):
            for some in _pieces(run):
                if self._may_be_name(some):
                    yield sentence[some[0].start : some[-1].end], some, False
        for match in _QUOTED.finditer(sentence):
            text = next(filter(None, match.groups()))
            if len(text) <= 12 and not re.search(r"[\W\d]", text.replace(" ", "")):
                inside = [word for word in words if match.start() < word.start and word.end < match.end()]
                if inside and len(inside) <= MAX_WORDS:
                    yield text.strip(), inside, True

    def _may_be_name(self, words: Sequence[Word]) -> bool:
        folded = [_folded(word.text) for word in words]
        if holds_frame(words) or (len(words) == 1 and folded[0] in SUFFIXES):
            return False
        if not all(word in self._frequent or word == "of" for word in folded):
            return False
        if len(words) == 1:
            word = words[0]
            return len(word.text) >= 2 and (word.kind is Kind.NAME or (is_cjk(word.text[0]) and word.kind is Kind.NOUN))
        return words[-1].kind is not Kind.BREAK and (len(words[0].text) > 1 or len(words) == 2)


def holds_frame(words: Sequence[Word]) -> bool:
    """Say whether words frame a text rather than name something."""
    folded = [_folded(word.text) for word in words]
    return not _FRAME.isdisjoint(folded) or (len(words) > 1 and folded[0] in _KINDS_ONLY)


def composed(key: str, names: Mapping[str, Name]) -> bool:
    """Say whether a name only puts two others together that are seen apart as well: "East China sales revenue"."""
    own = names[key].documents
    for left, right in _halves(key):
        counts = [names[half].documents if half in names else 0 for half in (left, right)]
        if min(counts) > own and sum(counts) >= 4 * own:
            return True
    return False


def _halves(key: str) -> Iterator[tuple[str, str]]:
    for place in range(1, len(key)):
        left, right = key[:place], key[place:]
        if left.endswith(" ") or right.startswith(" ") or (not is_cjk(left[-1]) and not is_cjk(right[0])):
            if right.startswith(" "):
                yield left, key_of(right)
            continue
        yield left, right
        suffix = next((one for one in SUFFIXES if is_cjk(one[0]) and left.endswith(one)), "")
        if suffix and left != suffix:
            yield left.removesuffix(suffix), right


def phrase_spans(corpus: Corpus, sentence: str) -> Iterator[tuple[int, int]]:
    """Yield where the names that recur stand in a sentence."""
    for run in runs(corpus.words(sentence), sentence):
        for some in _pieces(run):
            if key_of(sentence[some[0].start : some[-1].end]) in corpus.names:
                yield some[0].start, some[-1].end


def _clean(text: str) -> str:
    return re.sub(r"[*`_#]+|^[ >]+", " ", re.sub(r"<br\s*/?>", "\n", _NOISE.sub(" ", text)))


def _sentences(title: str, lines: Sequence[str], shared: Collection[str]) -> Iterator[tuple[str, bool]]:
    """Yield the sentences of a document, each with whether it is its title or, where it has none, a heading.

    A heading that many documents share says nothing of any of them, and is left out.
    """
    if title:
        yield _REMARK.sub(" ", _clean(title)), True
        yield from ((remark, False) for remark in _REMARK.findall(title))
    for line in lines:
        if line.strip() not in shared:
            heading = not title and _is_heading(line)
            yield from ((sentence, heading) for sentence in _SENTENCE_END.split(line) if sentence.strip())


def _is_heading(line: str) -> bool:
    line = line.strip()
    return 2 <= len(line) <= 80 and line[-1].isalnum() and len(line.split()) <= 8


def _in_capitals(tokens: Sequence[str]) -> bool:
    """Say whether a line is written in Title Case or CAPITALS, so that capitals in it say nothing."""
    words = [token for token in tokens if token[0].isalpha() and token.lower() not in _STOP_WORDS]
    return len(words) >= 3 and sum(word[0].isupper() for word in words) >= 0.75 * len(words)


def _tagged(sentence: str) -> list[tuple[str, str]]:
    # Imported here: English alone should not pay for reading the dictionary.
    found: list[tuple[str, str]] = import_module("rjieba").tag(sentence)
    return found


_NAME_TAGS = ("nr", "ns", "nt", "nz")


def _chinese_words(sentence: str) -> Iterator[Word]:
    start = 0
    for text, tag in _tagged(sentence):
        end = start + len(text)
        if not text.isspace():
            yield Word(text, _chinese_kind(text, tag), start, end)
        start = end


@lru_cache(maxsize=65_536)
def _chinese_kind(text: str, tag: str) -> Kind:
    if tag == "eng":
        if len(text) < 2 or not text[0].isalpha():
            return Kind.BREAK
        return Kind.NAME if _HAS_CAPITAL.search(text) else Kind.NOUN
    if not is_cjk(text[0]):
        return Kind.BREAK
    if tag.startswith(_NAME_TAGS):
        return Kind.NAME
    if tag in {"n", "vn", "j", "l", "ng"}:
        return Kind.NOUN
    return Kind.OTHER if tag in {"v", "a", "an", "b", "vg"} else Kind.BREAK


def runs(words: Sequence[Word], sentence: str) -> Iterator[Sequence[Word]]:
    """Yield the longest rows of words that nothing breaks; "of" between two capitalised words does not."""
    run: list[Word] = []
    for i, word in enumerate(words):
        joined = not run or not sentence[run[-1].end : word.start].strip()
        linking = (
            word.text == "of"
            and run
            and run[-1].kind is Kind.NAME
            and i + 1 < len(words)
            and words[i + 1].kind is Kind.NAME
        )
        if joined and (word.kind is not Kind.BREAK or linking):
            run.append(word)
        else:
            if run:
                yield run
            run = [word] if word.kind is not Kind.BREAK else []
    if run:
        yield run


def _pieces(run: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """Yield the parts of a row of words that may be names: none cuts a row of capitalised words in two."""
    for start in range(len(run)):
        if run[start].kind is Kind.BREAK or _cuts(run, start):
            continue
        for end in range(start + 1, min(start + MAX_WORDS, len(run)) + 1):
            if not _cuts(run, end):
                yield run[start:end]


def _cuts(run: Sequence[Word], place: int) -> bool:
    if not 0 < place < len(run):
        return False
    left, right = run[place - 1], run[place]
    latin = not is_cjk(left.text[0]) and not is_cjk(right.text[0])
    capital = {Kind.NAME, Kind.BREAK}
    return latin and left.kind in capital and right.kind in capital
