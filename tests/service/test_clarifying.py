"""Questions back: asked over the service, answered with their tokens, refused when they are not ours."""

import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from querywright import Client, InputError, Querywright
from querywright.rewrite.query import Answered, Clarification, Decision, Option, Query, Rewrite, Role, Turn
from querywright.service.clarifying import SECRET_FILE, Questions

ASKING = Query("苹果最新消息", (Turn(Role.USER, "在吗"),), {"region": "华东区"})


def asked(query: Query, questions: Questions) -> Clarification:
    question = Clarification("哪一个？", (Option("Apple 公司", "apple-inc"), Option("苹果水果", "apple-fruit")), "")
    made = Rewrite(query.query, query.query, Decision.CLARIFY, 0.5, clarification=question)
    signed = questions.signed(made, query).clarification
    assert signed is not None
    assert signed.token
    return signed


def answer(query: Query, token: str, value: str) -> Query:
    return replace(query, clarification=Answered(token, value))


@pytest.mark.parametrize("said", ["apple-inc", "Apple 公司"])
def test_the_answer_becomes_the_last_turn(tmp_path: Path, said: str) -> None:
    questions = Questions(tmp_path, None, 60)
    resumed = questions.resumed(answer(ASKING, asked(ASKING, questions).token, said))
    assert resumed.history == (
        *ASKING.history,
        Turn(Role.ASSISTANT, "哪一个？"),
        Turn(Role.USER, "Apple 公司"),
    )
    assert resumed.clarification is None


def test_a_token_is_good_in_another_process_that_shares_the_home(tmp_path: Path) -> None:
    token = asked(ASKING, Questions(tmp_path, None, 60)).token
    assert Questions(tmp_path, None, 60).resumed(answer(ASKING, token, "apple-fruit")).history[-1].text == "苹果水果"
    assert stat.S_IMODE((tmp_path / SECRET_FILE).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("change", "said", "message"),
    [
        (lambda token: token[:-2] + ("AA" if token[-2:] != "AA" else "BB"), "apple-inc", "not one that this service"),
        (lambda _token: "nonsense", "apple-inc", "not one that this service"),
        (lambda token: token, "orange", "expected one of the options that were offered: apple-inc, apple-fruit"),
    ],
)
def test_what_was_not_offered_is_refused(tmp_path: Path, change: Any, said: str, message: str) -> None:
    questions = Questions(tmp_path, "secret", 60)
    with pytest.raises(InputError, match=message):
        questions.resumed(answer(ASKING, change(asked(ASKING, questions).token), said))


def test_a_token_of_another_conversation_is_refused(tmp_path: Path) -> None:
    questions = Questions(tmp_path, "secret", 60)
    token = asked(ASKING, questions).token
    for other in (Query("苹果最新消息"), Query("小米最新消息", ASKING.history, ASKING.profile)):
        with pytest.raises(InputError, match="another query or conversation"):
            questions.resumed(answer(other, token, "apple-inc"))


def test_a_token_of_another_service_is_refused(tmp_path: Path) -> None:
    token = asked(ASKING, Questions(tmp_path, "one", 60)).token
    with pytest.raises(InputError, match="not one that this service"):
        Questions(tmp_path, "other", 60).resumed(answer(ASKING, token, "apple-inc"))


def test_a_token_expires(tmp_path: Path) -> None:
    questions = Questions(tmp_path, "secret", 1)
    token = asked(ASKING, questions).token
    time.sleep(2.1)  # the clock of a token counts whole seconds
    with pytest.raises(InputError, match="expired"):
        questions.resumed(answer(ASKING, token, "apple-inc"))


def test_a_home_that_cannot_be_written_still_asks(tmp_path: Path) -> None:
    """A question can then be answered until the process ends."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    questions = Questions(blocked / "home", None, 60)
    assert questions.resumed(answer(ASKING, asked(ASKING, questions).token, "apple-inc")).history


# ------------------------------------------------------------------------------- over the service


@pytest.mark.parametrize(
    ("text", "option", "wanted"),
    [("苹果最新消息", "Apple 公司", "Apple 公司"), ("apple news", "apples (fruit)", "apples")],
)
def test_answering_a_question_goes_on_where_it_stopped(service: Any, text: str, option: str, wanted: str) -> None:
    with Client(service.url) as client:
        go_on(client, text, option, wanted)


def go_on(client: Client, text: str, option: str, wanted: str) -> None:
    now = "2024-07-15T10:00:00+08:00"
    first = client.query(text, collection="demo", now=now)
    assert first.rewrite.decision == "clarify"
    assert first.hits, "the original's results come along"
    question = first.rewrite.clarification
    assert 2 <= len(question.options) <= 5
    chosen = next(each for each in question.options if each.label == option)
    given = {"token": question.token, "value": chosen.value}
    second = client.query(text, collection="demo", now=now, clarification=given)
    assert second.rewrite.decision == "rewrite"
    assert wanted in second.rewrite.rewrite
    assert client.rewrite(text, collection="demo", now=now, clarification=given).rewrite == second.rewrite.rewrite
    with pytest.raises(InputError, match="another query"):
        client.query(text + "?", collection="demo", now=now, clarification=given)


def test_in_process_and_with_what_the_query_row_holds(tmp_path: Path) -> None:
    with Querywright(
        home=tmp_path, encoder="none", catalog=Path(__file__).parents[2] / "data/demo/catalog.toml"
    ) as one:
        question = one.rewrite("这个功能怎么用").clarification
        assert question is not None
        row = {
            "query": "这个功能怎么用",
            "clarification": {"token": question.token, "value": question.options[1].value},
        }
        made = one.rewrite(row)
    assert question.options[1].label in made.rewrite
    assert made.edits[0].evidence.where == "history[1]" or any(e.evidence.where == "history[1]" for e in made.edits)
