"""The default encoder beside sentence-transformers, which reads the same files by torch."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from querywright.retrieval.encoders import Encoder, SentenceEncoder, minilm_folder

TEXT = (
    "Antidisestablishmentarianism coffee's naïve café re-run iPhone15 A-1032 3.14 $5,000 U.S. don't e-mail "
    "https://example.com/a?b=c the of and to revenue fell quarter üñîçødé ﬁnance ＡＢＣ №5 C++ C# 50% <b>bold</b> "
    "snake_case camelCase 🙂 ½ ß İstanbul 1e-9 (parenthesis) … — “quoted” 東京 한국 привет مرحبا"
)

ODD = [
    "",
    " ",
    "\t\n",
    "?!",
    "\x00",
    "a\x00b",
    "\u200b\u200d\ufeff",
    "e\u0301 é",
    "🙂" * 300,
    "x" * 5_000,
    "a." * 700,
    "[CLS] [SEP] [MASK] [PAD]",
    "  leading and trailing  ",
    "line\nbreak\r\nand\ttab",
    "\ufffd\ufffe",
    "UPPER lower MiXeD",
    "这是中文",
]


@pytest.fixture(scope="module")
def torch_encoder() -> Iterator[SentenceEncoder]:
    os.environ["HF_HUB_OFFLINE"] = "1"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine several would wait for one another
    yield SentenceEncoder("torch", minilm_folder())
    torch.set_num_threads(threads)


def of_all_lengths() -> list[str]:
    random = np.random.default_rng(0)
    lengths = [*range(1, 8), 40, 100, 1_000, 2_000]
    return [" ".join(random.choice(TEXT.split(), length)) for length in lengths] + [
        "word " * n for n in (253, 254, 255, 300)
    ]


@pytest.mark.parametrize("texts", [of_all_lengths(), ODD], ids=["lengths", "odd"])
def test_equals_torch(encoder: Encoder, torch_encoder: SentenceEncoder, texts: list[str]) -> None:
    ours, theirs = encoder.encode_documents(texts), torch_encoder.encode_documents(texts)
    assert np.all((ours.astype(np.float64) * theirs).sum(axis=1) >= 1 - 1e-4)
    assert ours == pytest.approx(theirs, abs=1e-5)
    some = texts[:8]
    queries = np.concatenate([encoder.encode_queries([text]) for text in some])
    assert queries == pytest.approx(torch_encoder.encode_queries(some), abs=1e-5)
