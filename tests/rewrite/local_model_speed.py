"""What does prompt lookup decoding bring a local model that repeats what it reads? Run by hand.

    .venv/bin/python tests/rewrite/local_model_speed.py [--steps 600]

Trains a model of two layers to say what it was told (a minute or two), then lets it repeat texts that it
never saw, with the lookup and without. Prints how many answers are right, the same both ways, the passes through the
model and the seconds. The gain is the most that there is: a model that rewrites repeats less.
"""

from __future__ import annotations

import argparse
import random
import string
import sys
import tempfile
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from querywright.rewrite.local_model import LocalChatModel, load_local_model

SIGNS = string.ascii_letters + string.digits + "-+"
TURN, END = len(SIGNS), len(SIGNS) + 1
BATCH = 64
LENGTHS = (8, 32)
ROUNDS = 20


def tokenizer() -> PreTrainedTokenizerFast:
    """Return one token a sign; what was asked ends with a token of its own."""
    vocabulary = {sign: at for at, sign in enumerate([*SIGNS, "<|turn|>", "<|end|>"])}
    signs = Tokenizer(models.BPE(vocabulary, []))
    signs.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(
        tokenizer_object=signs,
        eos_token="<|end|>",
        additional_special_tokens=["<|turn|>"],
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = "{% for message in messages %}{{ message.content }}<|turn|>{% endfor %}"
    return made


def trained(steps: int) -> LlamaForCausalLM:
    """Return a model that has learnt to repeat."""
    config = LlamaConfig(
        vocab_size=END + 1,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=END,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    for step in range(steps):
        said = torch.randint(len(SIGNS), (BATCH, random.randint(*LENGTHS)))
        turn, end = (torch.full((BATCH, 1), token) for token in (TURN, END))
        ids = torch.cat([said, turn, said, end], 1)
        labels = ids.clone()
        labels[:, : said.shape[1] + 1] = -100
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 99:
            sys.stdout.write(f"step {step + 1}: loss {loss.item():.3f}\n")
    return model


def measure(model: LocalChatModel, texts: list[str]) -> tuple[list[str], int, float]:
    """Return what the model says, the passes that it took and the seconds."""
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    hook = model.model.register_forward_pre_hook(count)
    begun = time.perf_counter()
    said = [model.invoke([("human", text)]).text for text in texts]
    seconds = time.perf_counter() - begun
    hook.remove()
    return said, passes, seconds


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=600)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    torch.manual_seed(0)
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trained(steps).save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        model = load_local_model(Path(folder))
    texts = ["".join(random.choices(SIGNS, k=random.randint(*LENGTHS))) for _ in range(ROUNDS)]
    without = model.model_copy(update={"lookup_tokens": 0})
    for warm in (model, without):
        measure(warm, texts[:2])
    fast, slow = measure(model, texts), measure(without, texts)
    right = sum(said == text for said, text in zip(fast[0], texts, strict=True))
    sys.stdout.write(
        f"{right} of {ROUNDS} repeated, {sum(map(str.__eq__, fast[0], slow[0]))} the same both ways\n"
        f"with lookup {fast[1]} passes, {fast[2]:.2f} s; without {slow[1]} passes, {slow[2]:.2f} s: "
        f"{slow[1] / fast[1]:.1f} x fewer passes, {slow[2] / fast[2]:.1f} x as fast\n"
    )


if __name__ == "__main__":
    main()
