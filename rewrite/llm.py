"""A rewriter over any LangChain chat model. The model proposes texts; what is taken of them is checked word by word.

The model's own claims of evidence are neither asked for nor trusted: the edits are found by comparing its text with
the query, and an edit whose words stand neither in the conversation nor in the profile is dropped. Documents never
enter the prompt.
"""

from __future__ import annotations

from dataclasses import replace

from .chat import Chat, ChatModel
from .chat_failures import LLMInvalidError
from .chat_models import load_chat_model
from .differences import Scene
from .grounding import lost
from .language import fold, language_of
from .prompt import DEFAULT_PROMPT, PROMPT_VERSION, Prompt, ask, leaks, load_prompt, prompt_version
from .proposal import SCHEMA, Proposal, read
from .query import Alternative, Clarification, Decision, DroppedEdit, Option, Query, Rewrite, apply_edits
from .questions import MOST_OPTIONS
from .rewriter import metered

__all__ = [
    "DEFAULT_PROMPT",
    "PROMPT_VERSION",
    "LLMRewriter",
    "Prompt",
    "load_chat_model",
    "load_prompt",
    "prompt_version",
]

_CONFIDENCE = 0.8
_ASKING = 0.6
"""How sure a question back is: less than a rewrite, so that one that is surer wins."""

_MAX_GROWTH = 400
"""A rewrite that is longer than the query by more than this many characters is an answer, not a query."""

_MAX_QUESTION = 200

_MOST_UNKNOWN = 4
"""A text of which more words than this, and more than half, stand nowhere is an answer, too."""


class LLMRewriter:
    """Ask a chat model for the self-contained query and keep those of its edits that have evidence.

    The model has `seconds` for an answer, or what is left until the deadline around (see `deadline`).
    """

    name = "llm"

    def __init__(self, model: ChatModel, prompt: Prompt = DEFAULT_PROMPT, *, seconds: float = 2.0) -> None:
        self._chat = Chat(model, SCHEMA, seconds=seconds)
        self._prompt = prompt

    def rewrite(self, query: Query) -> Rewrite:
        """Return the model's rewrite, its interpretations or its question, as far as they are grounded.

        Raises LLMError where the model gives no usable answer.
        """
        if not (query.history or query.profile):
            return Rewrite.keep(query, self.name)  # nothing it could bring would have evidence
        asked = ask(query, self._prompt)
        with metered() as meter:
            answer = self._chat.ask(asked.messages)
        proposal = read(answer, query.query)
        if leaks(proposal.rewrite, self._prompt, query):
            raise LLMInvalidError("the model repeats its instructions")
        made = _Reading(query, self.name).of(proposal)
        return replace(made, truncated=asked.truncated, usage=meter.usage)


class _Reading:
    """What of a proposal for one query is taken."""

    def __init__(self, query: Query, rewriter: str) -> None:
        self._query, self._kept = query, Rewrite.keep(query, rewriter)
        self._scene = Scene(query, _CONFIDENCE)

    def of(self, proposal: Proposal) -> Rewrite:
        """Take the question, else the interpretations, else the rewrite; nothing of what is not grounded."""
        return self._question(proposal) or self._interpretations(proposal) or self._rewrite(proposal.rewrite)

    def _question(self, proposal: Proposal) -> Rewrite | None:
        options = tuple(dict.fromkeys(option for option in proposal.options if self._answers(option)))
        if not (proposal.question and self._asks(proposal.question) and 2 <= len(options) <= MOST_OPTIONS):
            return None
        if len(options) < len(set(proposal.options)):
            return None  # an option that the model made up: so may be the doubt
        offered = tuple(Option(option, option) for option in options)
        asked = Clarification(proposal.question, offered, "")
        return replace(self._kept, decision=Decision.CLARIFY, confidence=_ASKING, clarification=asked)

    def _asks(self, question: str) -> bool:
        return len(question) <= _MAX_QUESTION and language_of(question) is language_of(self._query.query)

    def _answers(self, option: str) -> bool:
        """Say whether an option holds words, all of which were said before."""
        scene = self._scene
        return len(option) <= _MAX_QUESTION and bool(scene.content(option)) and not scene.unknown(option)

    def _interpretations(self, proposal: Proposal) -> Rewrite | None:
        found = [text for each in proposal.interpretations if (text := self._grounded(each)) is not None]
        texts = {fold(text): text for text in reversed(found)}
        if len(texts) < 2:
            return None
        weight = 1 / len(texts)
        offered = tuple(Alternative(texts[key], weight) for key in sorted(texts))
        return replace(self._kept, decision=Decision.REWRITE, confidence=weight, alternatives=offered)

    def _grounded(self, text: str) -> str | None:
        """Return an interpretation as its edits make it; None where one of them has no evidence, or there is none."""
        if self._unfit(text):
            return None
        edits, dropped = self._scene.edits(text)
        if dropped or not edits or lost(self._query, edits):
            return None
        return apply_edits(self._query.query, edits)

    def _rewrite(self, proposed: str) -> Rewrite:
        if not proposed:
            return self._kept
        if reason := self._unfit(proposed):
            return replace(self._kept, dropped=(DroppedEdit("query", proposed[:_MAX_QUESTION], reason),))
        edits, dropped = self._scene.edits(proposed)
        text = apply_edits(self._query.query, edits)
        if text == self._query.query:
            return replace(self._kept, dropped=dropped)
        return replace(
            self._kept,
            rewrite=text,
            decision=Decision.REWRITE,
            confidence=_CONFIDENCE,
            edits=edits,
            dropped=dropped,
        )

    def _unfit(self, text: str) -> str:
        """Say why `text` is no rewrite of the query, whatever its words; nothing where it may be one."""
        query = self._query.query
        if len(text) > len(query) + _MAX_GROWTH:
            return "much longer than the query"
        if language_of(text) is not language_of(query):
            return "in another language than the query"
        unknown = self._scene.unknown(text)
        if len(unknown) > _MOST_UNKNOWN and 2 * len(unknown) > len(self._scene.content(text)):
            return "most of its words stand nowhere: an answer, not a query"
        return ""
