"""A causal language model from a folder on this machine, as a LangChain chat model. Nothing is downloaded."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import Field, PrivateAttr
from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteriaList

from .. import InputError, StorageError
from .deadline import seconds_left

MAX_NEW_TOKENS = 512
"""How much a model writes at most: a proposal with a question and its options."""

LOOKUP_TOKENS = 10
"""How many tokens at once are guessed to go on as the prompt does where the last ones stood there."""

_ROLES = {"system": "system", "human": "user", "ai": "assistant"}


def load_local_model(folder: Path) -> LocalChatModel:
    """Read the model and the tokenizer in `folder`, safetensors only.

    Raises InputError for what is no such folder, StorageError for files that are damaged.
    """
    name = f"chat model local:{folder}"
    if not (folder / "config.json").is_file():
        raise InputError(f"{name}: expected a folder with config.json, a tokenizer and *.safetensors")
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{name}: no *.safetensors in it: weights in other formats are not read")
    given = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **given)
        model = AutoModelForCausalLM.from_pretrained(str(folder), use_safetensors=True, dtype=torch.float32, **given)
    except Exception as error:  # each part has its own
        raise StorageError(f"{name}: cannot be read: {type(error).__name__}") from error
    return LocalChatModel(folder=folder, model=model, tokenizer=tokenizer)


class LocalChatModel(BaseChatModel):
    """Answers greedily on the CPU, one question after the other, and stops at the deadline.

    What it writes repeats much of what it reads, so it guesses several tokens at once from the prompt and checks
    them in one pass (prompt lookup decoding); the text is the same as without, up to rounding.
    """

    folder: Path
    model: Any = Field(repr=False, exclude=True)
    tokenizer: Any = Field(repr=False, exclude=True)
    lookup_tokens: int = LOOKUP_TOKENS
    _free: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "local"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 # LangChain's
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 # likewise
        **_: Any,  # noqa: ANN401 # likewise
    ) -> ChatResult:
        left = seconds_left()
        if not self._free.acquire(timeout=-1 if left is None else max(left, 0)):
            raise TimeoutError("the local model was busy until the deadline")
        try:
            message = self._answer(self._read(messages))
        finally:
            self._free.release()
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _read(self, messages: Sequence[BaseMessage]) -> torch.Tensor:
        """Return the prompt's tokens, 1 x n."""
        turns = [{"role": _ROLES.get(message.type, "user"), "content": str(message.text)} for message in messages]
        if self.tokenizer.chat_template is None:
            text = "\n\n".join(turn["content"] for turn in turns) + "\n\n"
            ids = self.tokenizer(text, return_tensors="pt")["input_ids"]
        else:
            # Models that can think before they answer are told not to; the other templates ignore the word.
            ids = self.tokenizer.apply_chat_template(
                turns, add_generation_prompt=True, return_tensors="pt", return_dict=True, enable_thinking=False
            )["input_ids"]
        tensor: torch.Tensor = ids
        return tensor

    def _answer(self, prompt: torch.Tensor) -> AIMessage:
        """Go on after `prompt`; raise TimeoutError where the deadline comes first."""
        ends = self.tokenizer.eos_token_id
        written = self.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=ends if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([_at_deadline]),
            prompt_lookup_num_tokens=self.lookup_tokens or None,
        )[0, prompt.shape[1] :]
        if _past_deadline():
            raise TimeoutError("the local model did not finish before the deadline")
        read, wrote = prompt.shape[1], len(written)
        usage = UsageMetadata(input_tokens=read, output_tokens=wrote, total_tokens=read + wrote)
        return AIMessage(self.tokenizer.decode(written, skip_special_tokens=True), usage_metadata=usage)


def _past_deadline() -> bool:
    left = seconds_left()
    return left is not None and left <= 0


def _at_deadline(ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
    return torch.full((ids.shape[0],), _past_deadline())
