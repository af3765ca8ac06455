"""Drafts of catalogs: what is proposed from documents in either language, why, and that every draft can be read."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from querywright.retrieval.passage import Document
from querywright.rewrite.catalog import Catalog
from querywright.service.demo import folder
from querywright.service.suggesting import suggest_catalog
from querywright.service.suggesting_names import Corpus, key_of
from querywright.service.suggesting_pairs import pairs_in, spelled_out
from querywright.service.suggesting_senses import two_senses


def documents(*texts: str | tuple[str, str]) -> list[Document]:
    rows = [text if isinstance(text, tuple) else ("", text) for text in texts]
    return [Document(f"d{number}", text, title) for number, (title, text) in enumerate(rows)]


def drafted(texts: Sequence[Document]) -> Catalog:
    return Catalog.loads(suggest_catalog("shop", texts), "toml", "draft.toml")


def aliases(catalog: Catalog) -> list[set[str]]:
    return [{key_of(alias) for alias in entity.aliases} for entity in catalog.entities]


def test_names_of_both_languages() -> None:
    catalog = drafted(
        documents(
            ("客户画像怎么用", "打开客户画像，就能看到客户的资料。"),
            ("导出客户画像", "客户画像可以导出成一页。"),
            ("Lead assignment", "With lead assignment, new leads find a person. The Acme Portal shows them."),
            ("Rules of lead assignment", "Lead assignment has rules. Ask the Acme Portal for them."),
        )
    )
    found = aliases(catalog)
    for name in ("客户画像", "lead assignment", "acme portal"):
        assert any(name in one for one in found), name
    names = {entity.name["en"] for entity in catalog.entities}
    assert {"客户画像", "lead assignment", "Acme Portal"} <= names


def test_no_name_of_what_is_only_capitalised_by_grammar() -> None:
    lines = [f"Frogs {word}. There {word} frogs." for word in ("sleep", "jump", "eat", "sing", "swim")]
    assert aliases(drafted(documents(*lines))) == []


def test_what_only_puts_two_names_together_is_none() -> None:
    regions, measures = ("North Bay", "South Bay", "East Bay"), ("gross margin", "order volume", "return rate")
    texts = [(f"{region} {measure}", f"The {measure} of {region} rose.") for region in regions for measure in measures]
    catalog = drafted(documents(*texts))
    known = {name for one in aliases(catalog) for name in one}
    known |= {key_of(v.name["en"]) for dimension in catalog.dimensions.values() for v in dimension.values}
    assert {*regions, *measures} <= {name.title() if "bay" in name else name for name in known}
    assert not any("bay" in name and any(measure in name for measure in measures) for name in known)


@pytest.mark.parametrize(
    ("sentence", "pair"),
    [
        ("Keys are kept by Identity and Access Management (IAM) alone.", ("Identity and Access Management", "IAM")),
        ("We use a customer root key (CRK).", ("customer root key", "CRK")),
        ("It has single sign-on (SSO).", ("single sign-on", "SSO")),
        ("请使用客户关系管理平台（CRM）登录", ("客户关系管理平台", "CRM")),
        ("全国人民代表大会（简称人大）开会", ("全国人民代表大会", "人大")),
        ("打开“客户画像”（customer profile）即可", ("客户画像", "customer profile")),
        ("《阿凡达》(Avatar) 上映了", ("阿凡达", "Avatar")),
    ],
)
def test_explained_names(sentence: str, pair: tuple[str, str]) -> None:
    corpus = Corpus(documents(sentence, sentence))
    assert pair in set(pairs_in(sentence, corpus))


@pytest.mark.parametrize(
    "sentence",
    [
        "Press the button (see Figure 3) twice.",
        "We sold three apples (IAM) today.",
        "价格上涨（含税）了",
        "第三季度（2024）的数据",
        "He came home (at last).",
    ],
)
def test_brackets_that_explain_nothing(sentence: str) -> None:
    assert list(pairs_in(sentence, Corpus(documents(sentence, sentence)))) == []


@given(st.text(max_size=60), st.text("ABCDEFXYZ", min_size=2, max_size=6))
def test_what_is_spelled_out_has_those_initials(before: str, acronym: str) -> None:
    found = spelled_out(before, acronym)
    if found is not None:
        assert found in before
        initials = [word[0].lower() for word in found.replace("-", " ").split()]
        rest = iter(initials)
        assert all(letter.lower() in rest for letter in acronym)  # in order, others between them


def test_pairs_become_aliases_and_names_of_two_languages() -> None:
    texts = [f"打开“客户画像”（customer profile），第{number}步。客户画像很好用。" for number in "一二三"]
    texts += [f"The Key Vault Service (KVS) opens door {number}. Ask KVS." for number in range(4)]
    catalog = drafted(documents(*texts))
    named = {entity.name["zh"]: entity for entity in catalog.entities}
    assert named["客户画像"].name["en"] == "customer profile"
    vault = next(entity for entity in catalog.entities if "KVS" in entity.aliases)
    assert "Key Vault Service" in vault.aliases


def test_an_abbreviation_of_two_things_is_shared() -> None:
    texts = [f"The Cloud Internet Services (CIS) plan {number}." for number in range(5)]
    texts += [f"The Center for Better Safety audits {number}." for number in range(2)]
    texts += [f"The Committee on Iron Safety (CIS) met {number} times." for number in range(4)]
    texts += [f"The Cloud Internet Service (CIS) was down, case {number}." for number in range(2)]
    catalog = drafted(documents(*texts))
    sharing = [set(map(key_of, entity.aliases)) for entity in catalog.entities if "CIS" in entity.aliases]
    assert len(sharing) == 2
    assert any("cloud internet service" in one for one in sharing)
    assert any("committee on iron safety" in one for one in sharing)


FRUIT = ("orchard", "harvest", "juice", "sweet", "ripe", "basket", "tree")
STOCK = ("shares", "earnings", "investor", "quarter", "revenue", "nasdaq", "phone")
HAN_FRUIT = ("果园", "采摘", "果汁", "种植", "批发", "冷藏")
HAN_STOCK = ("股票", "财报", "投资者", "市值", "手机", "董事会")


def written(words: Sequence[str], form: str, seed: int, join: str) -> str:
    rng = random.Random(seed)
    return join.join(form.format(*rng.sample(words, 3)) for _ in range(2))


def test_two_senses_with_their_cues() -> None:
    english = "The {}, the {} and a {} of the Quince."
    rows = [(f"Quince {n}", written(FRUIT if n % 2 else STOCK, english, n, " ")) for n in range(24)]
    han = "黑莓的{}、黑莓的{}和{}。"
    rows += [
        (f"黑莓{'甲乙丙丁戊己庚辛'[n % 8]}", written(HAN_FRUIT if n % 2 else HAN_STOCK, han, n, "")) for n in range(24)
    ]
    catalog = drafted(documents(*rows))
    for alias, sides in (("Quince", (FRUIT, STOCK)), ("黑莓", (HAN_FRUIT, HAN_STOCK))):
        senses = [entity for entity in catalog.entities if alias in entity.aliases]
        assert len(senses) == 2, alias
        cues = [set(sense.cues) for sense in senses]
        for one in cues:
            assert len(one) >= 3
            assert any(one <= set(map(key_of, side)) for side in sides)
        assert not cues[0] & cues[1]


def test_many_topics_are_one_sense() -> None:
    """A product that is written of with ever other words, some of them shared, is not two things."""
    words = [f"topic{number}x" for number in range(40)]
    rng = random.Random(7)
    rows = [("Portal", f"The Portal shows {', '.join(rng.sample(words, 6))} and the settings page.") for _ in range(40)]
    assert sum("Portal" in entity.aliases for entity in drafted(documents(*rows)).entities) <= 1


@settings(max_examples=60)
@given(st.lists(st.sets(st.sampled_from("abcdefghij"), max_size=6), max_size=30))
def test_senses_have_words_of_their_own(rows: list[set[str]]) -> None:
    senses = two_senses(rows, dict.fromkeys("abcdefghij", 1.0))
    if senses is not None:
        first, second = senses
        assert not set(first.cues) & set(second.cues)
        assert min(len(first.cues), len(second.cues)) >= 3
        assert min(first.documents, second.documents) >= 3
        assert first.documents + second.documents <= len(rows)


def test_codes_of_one_shape_are_locked() -> None:
    texts = [f"Error ERR-{1000 + number} of part A-{10 + number}: see page {number}." for number in range(8)]
    catalog = drafted(documents(*texts, "Call COVID-19 what it is."))
    (pattern,) = {found for found in catalog.locked if found.search("ERR-4711")} or [None]
    assert pattern.fullmatch("ERR-4711")
    assert not pattern.search("ERR-47")
    assert any(found.fullmatch("A-12") for found in catalog.locked)


def test_few_codes_are_not_locked() -> None:
    assert drafted(documents("ERR-1 and ERR-1001", "ERR-1002", "ERR-1001 again")).locked == ()


def test_lists_that_recur_are_a_dimension() -> None:
    texts = [
        f"第{n}季度，华东、华南、华北、西南的业绩都涨了。华东最好，华南其次，华北第三，西南最后。" for n in "一二三四"
    ]
    texts += [
        f"We ship to Oslo, Turin, Lyon and Ghent by lorry {n}. Oslo pays, Turin and Lyon and Ghent wait."
        for n in range(4)
    ]
    texts = [text.replace("都涨", f"都{word}") for text, word in zip(texts, ["涨", "跌", "变", "平"] * 2, strict=True)]
    rows = [text.replace("、西南", "、东北、西南", number % 2) for number, text in enumerate(texts)]
    rows = [
        text.replace("Ghent by", "Ghent and Basel by") if "Oslo" in text and number % 2 else text
        for number, text in enumerate(rows)
    ]
    found = [
        {value.name["en"] for value in dimension.values} for dimension in drafted(documents(*rows)).dimensions.values()
    ]
    assert all(len(one) >= 3 for one in found)


# ------------------------------------------------------------------------------------- drafts as a whole


@pytest.fixture(scope="module")
def demo() -> list[Document]:
    lines = (folder() / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    return [Document(row["_id"], row["text"], row["title"]) for row in map(json.loads, lines)]


def test_the_demo_draft_knows_most_of_its_names(demo: list[Document]) -> None:
    own = Catalog.load(folder() / "catalog.toml")
    found = {name for one in aliases(drafted(demo)) for name in one}
    text = key_of("\n".join(f"{document.title}\n{document.text}" for document in demo))
    written_of = [entity for entity in own.entities if any(key_of(alias) in text for alias in entity.aliases)]
    known = [entity for entity in written_of if found & set(map(key_of, (*entity.aliases, *entity.name.values())))]
    assert len(known) >= 0.8 * len(written_of)


def test_the_same_draft_whatever_came_before(demo: list[Document]) -> None:
    first = suggest_catalog("demo", demo)
    suggest_catalog("other", demo[:50])
    assert suggest_catalog("demo", demo) == first
    assert first.count("[[entities]]") == 60


def test_every_entity_says_why(demo: list[Document]) -> None:
    lines = suggest_catalog("demo", demo).splitlines()
    starts = [number for number, line in enumerate(lines) if line == "[[entities]]"]
    assert starts
    assert all(lines[number - 1].startswith("# ") and "document" in lines[number - 1] for number in starts)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=30),
            st.lists(
                st.sampled_from(
                    [
                        "Acme Portal",
                        "客户画像",
                        '"',
                        "\\",
                        "'''",
                        "（CRM）",
                        "(AP)",
                        "A-1032",
                        "、",
                        ", ",
                        "\n",
                        "# ",
                        "公司",
                        " ",
                    ]
                ),
                max_size=25,
            ).map("".join),
        ),
        max_size=8,
    )
)
def test_whatever_the_documents_the_draft_can_be_read(rows: list[tuple[str, str]]) -> None:
    clean = [(title.replace("\x00", ""), text) for title, text in rows]
    clean = [(title.encode(errors="ignore").decode(), text) for title, text in clean]
    drafted(documents(*clean))


def test_no_documents() -> None:
    assert drafted([]).entities == ()


def test_time_is_linear() -> None:
    """Eight times the text takes about eight times as long, not sixty-four times."""
    rng = random.Random(1)
    words = [f"{a}{b}" for a in ("Green", "red", "Acme", "lake", "stone") for b in ("frog", "Portal", "field", "wood")]
    texts = [" ".join(rng.choices([*words, "the", "of", "and", "."], k=60)) for _ in range(800)]

    def seconds(count: int) -> float:
        begun = time.process_time()
        suggest_catalog("x", documents(*texts[:count]))
        return time.process_time() - begun

    seconds(100)
    assert seconds(800) < 24 * max(seconds(100), 0.02)


# ----------------------------------------------------------------------------------------- command line


def test_the_command(demo_home: Path, tmp_path: Path, run: Callable, demo: list[Document]) -> None:
    out = tmp_path / "draft.toml"
    ran = run("catalog", "suggest", "demo", "--out", out, "--home", demo_home, "--json")
    assert (ran.code, json.loads(ran.out)["entities"]) == (0, 60)
    assert run("catalog", "check", out).code == 0
    printed = run("catalog", "suggest", "demo", "--home", demo_home)
    assert printed.out == out.read_text(encoding="utf-8")
    again = run("catalog", "suggest", "demo", "--out", out, "--home", demo_home)
    assert (again.code, "there is a file already" in again.err) == (2, True)
    assert run("catalog", "suggest", "nowhere", "--home", demo_home).code == 2
