"""What of a conversation and a profile may serve as evidence at all.

An assistant's turn may repeat a hostile page, a profile may hold secrets, and a chat model may obey either. So, before
any word is looked for: a text that reads like an instruction to a model is no evidence; secrets (keys, passwords,
addresses, long numbers) of the profile and the assistant are blanked, keys and passwords everywhere; and a profile
value speaks only where its key is about what is searched for, or the query asks for it.
"""

from __future__ import annotations

import re

from .instructions import reads_like_instruction, without_orders
from .language import fold, is_cjk
from .locked import EMAIL, URL
from .query import Query, Role, Source

# ----------------------------------------------------------------------------------------- secrets

_KEYS = re.compile(
    r"\b(?:sk|pk|rk|ghp|gho|xox[abp]|hf|glpat)[-_][A-Za-z0-9_-]{6,}|\bAKIA[A-Z0-9]{8,}|\beyJ[\w-]{8,}(?:\.[\w-]+)*"
    r"|\b(?=[A-Za-z0-9_]*\d)(?=[A-Za-z0-9_]*[A-Za-z])[A-Za-z0-9_]{20,}\b"
    r"|(?:\b(?:pass(?:word|code|phrase)|pwd|pin|otp|secret|token|credentials?)\b|密码|口令|验证码|密钥|令牌)"
    r"\s*(?:is\b|are\b|[:：=]|是|为)?\s*(?=[!-~]*\d)[!-~]{4,}",
    re.IGNORECASE,
)
_LONG_NUMBER = re.compile(r"(?<![\d.,])\+?\(?\d(?:[ ().-]{0,2}\d){6,}[xX]?(?!\d)")
_HOST = re.compile(r"\b(?:[a-z0-9-]{1,63}\.){1,6}[a-z]{2,24}/\S+", re.IGNORECASE)
_DAYS = re.compile(r"\D*(?:(?:19|20)\d\d[-/. ]+\d{1,2}[-/. ]+\d{1,2}|(?:19|20)\d\d\s?[-–]\s?(?:19|20)\d\d)\D*")


def without_secrets(text: str, *, trusted: bool) -> str:
    """Blank the secrets of `text`, leaving all else in its place.

    Keys and passwords always; unless `trusted`, as the asker's own words are, addresses too, and numbers that are
    long enough to be of a phone, a card or a person.

    >>> without_secrets("call 138 0013 8000 on 2024-07-15", trusted=False)
    'call               on 2024-07-15'
    """
    for pattern in (_KEYS,) if trusted else (_KEYS, URL, EMAIL, _HOST, _LONG_NUMBER):
        text = pattern.sub(_blank, text)
    return text


def _blank(match: re.Match[str]) -> str:
    return match[0] if _DAYS.fullmatch(match[0]) else " " * len(match[0])


# ---------------------------------------------------------------------------------------- profiles

_ABOUT_THE_SEARCH = frozenset(
    """product products service system app application platform os device model version edition plan tier language lang
    locale region country city place area market branch site location department team company organisation organization
    industry sector category topic interest interests currency unit period metric role course subject fiscal_year_start
    产品 服务 系统 应用 平台 设备 型号 版本 套餐 语言 地区 区域 国家 城市 省份 大区 市场 分公司 门店 部门 团队
    公司 行业 类别 主题 兴趣 货币 单位 周期 时间 指标 角色 岗位 课程 学科""".split()  # noqa: SIM905
)
"""Keys whose values say what a search is about; others an organisation names in its catalog."""

_OF_THE_ASKER = re.compile(
    r"\b(?:my|mine|our|ours|me|us|myself)\b|\b(?:should|am) i\b|\bi(?:['’]m|['’]ve| am| have| want| need| like| live)\b"
    r"|我的|我家|我们|咱们|我该|我应|我想|我要|我能|我可以|适合我|给我推荐|我(?:是|有|住|在)"
)
_WORD = re.compile(r"[^\W_]+")


_MOST_OF_A_NAME = 8, 20
"""Words and Han characters of a value that is a name; a longer one is a text."""

_SENTENCES = re.compile(r"[!?;:]\s|[。！？；\n]|\.\s+[A-Z\u3400-\u9fff]")


def _is_name(value: str) -> bool:
    words, characters = _MOST_OF_A_NAME
    short = len(value.split()) <= words and sum(map(is_cjk, value)) <= characters
    return short and not _SENTENCES.search(value.strip())


def speaks(query: Query, key: str, value: str, catalog_keys: frozenset[str]) -> bool:
    """Say whether the `value` under a profile's `key` may bring words into `query`.

    Names under a key of the catalog or about the search may. Facts, and what the query asks for by the key's name,
    may where the query speaks of the asker ("my budget", 我的预算). The rest of a profile is nobody's search term.
    """
    name, asked = fold(key), fold(query.query)
    if name in catalog_keys or name in _ABOUT_THE_SEARCH:
        return _is_name(value)
    if not _OF_THE_ASKER.search(asked):
        return False
    return name == "facts" or (_asks_for(name, asked) and _is_name(value))


def _asks_for(key: str, asked: str) -> bool:
    """Say whether `asked` holds the words of `key`; Chinese ones need no boundaries."""
    words, spoken = _WORD.findall(key), set(_WORD.findall(asked))
    return bool(words) and all(word in spoken or (not word.isascii() and word in asked) for word in words)


def admissible(text: str, source: Source, role: Role | None = None) -> str:
    """Return what of a text may be evidence, in its place: all, all but its secrets, or nothing of an instruction."""
    if reads_like_instruction(text):
        return ""
    return without_secrets(without_orders(text), trusted=source is Source.HISTORY and role is Role.USER)
