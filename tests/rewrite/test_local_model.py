"""A real, if tiny, causal language model in a folder: made here, read from disk, asked like any other."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from querywright import InputError, StorageError
from querywright.rewrite.chat_failures import LLMTimeoutError
from querywright.rewrite.chat_models import load_chat_model
from querywright.rewrite.deadline import within
from querywright.rewrite.llm import LLMRewriter
from querywright.rewrite.local_model import MAX_NEW_TOKENS, LocalChatModel, load_local_model
from querywright.rewrite.query import Query, Role, Turn
from querywright.rewrite.rewriter import Chain

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
EN = Query("how do I use it?", (Turn(Role.USER, "what are customer profiles?"),))


def tokenizer() -> PreTrainedTokenizerFast:
    """Return one token a byte, and a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({char: at for at, char in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>", additional_special_tokens=SPECIAL[1:])
    fast.chat_template = TEMPLATE
    return fast


def model() -> LlamaForCausalLM:
    """Return random weights that say the byte after next again and again, whatever is read."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=256 + len(SPECIAL),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=256,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Let no pass of so small a model wait for a core that another test has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a model of random weights."""
    path = tmp_path_factory.mktemp("model")
    model().save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def local(folder: Path) -> LocalChatModel:
    return load_local_model(folder)


@pytest.fixture
def passes(local: LocalChatModel) -> Iterator[list[int]]:
    """Return the list of how many tokens each pass through the model reads."""
    seen: list[int] = []
    hook = local.model.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    yield seen
    hook.remove()


def test_it_is_loaded_by_name(folder: Path) -> None:
    assert isinstance(load_chat_model(f"local:{folder}"), LocalChatModel)
    assert "Llama" not in repr(load_chat_model(f"local:{folder}"))


def test_it_answers_and_counts(local: LocalChatModel) -> None:
    message = local.invoke([("system", "a"), ("human", "b")])
    assert message.usage_metadata["input_tokens"] == len("ab") + 3
    assert 0 < message.usage_metadata["output_tokens"] <= MAX_NEW_TOKENS
    assert message.text == local.invoke([("system", "a"), ("human", "b")]).text


def test_it_needs_no_template(folder: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(folder, tmp_path / "bare")
    for file in bare.glob("chat_template*"):
        file.unlink()
    assert load_local_model(bare).invoke([("system", "a"), ("human", "b")]).usage_metadata["input_tokens"] == 6


def test_random_weights_say_nothing_that_is_taken(local: LocalChatModel) -> None:
    made = Chain([LLMRewriter(local, seconds=60)], budget_seconds=60).rewrite(EN)
    assert made.rewrite == EN.query
    assert made.usage is not None
    assert made.usage.calls == 1


def test_it_stops_at_the_deadline(local: LocalChatModel, passes: list[int]) -> None:
    slow = local.model_copy(update={"lookup_tokens": 0})
    begun = time.perf_counter()
    with within(0.1), pytest.raises(LLMTimeoutError):
        LLMRewriter(slow).rewrite(EN)
    assert time.perf_counter() - begun < 0.4
    time.sleep(0.2)
    done = len(passes)
    time.sleep(0.2)
    assert len(passes) == done, "it must not go on for nobody"


def test_prompt_lookup_writes_the_same_in_fewer_passes(local: LocalChatModel, passes: list[int]) -> None:
    written = local.invoke([("system", "a"), ("human", "b")]).text
    with_lookup = len(passes)
    plain = local.model_copy(update={"lookup_tokens": 0})
    passes.clear()
    assert plain.invoke([("system", "a"), ("human", "b")]).text == written
    assert with_lookup < len(passes)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (shutil.rmtree, InputError, "expected a folder with config.json"),
        (lambda path: (path / "config.json").unlink(), InputError, "expected a folder with config.json"),
        (lambda path: (path / "model.safetensors").rename(path / "pytorch_model.bin"), InputError, "no .*safetensors"),
        (lambda path: (path / "model.safetensors").write_bytes(b"x" * 100), StorageError, "cannot be read"),
        (lambda path: (path / "tokenizer.json").write_text("{"), StorageError, "cannot be read"),
        (lambda path: (path / "config.json").write_text("{}"), StorageError, "cannot be read"),
    ],
)
def test_a_folder_that_is_no_model(
    folder: Path, tmp_path: Path, spoil: Any, error: type[Exception], message: str
) -> None:
    spoiled = shutil.copytree(folder, tmp_path / "spoiled")
    spoil(spoiled)
    with pytest.raises(error, match=message) as caught:
        load_chat_model(f"local:{spoiled}")
    assert str(caught.value).startswith(f"chat model local:{spoiled}: ")
