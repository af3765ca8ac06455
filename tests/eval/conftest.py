"""A tiny data set on disk, which tests break one piece at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

CORPUS = [
    {"_id": "refund", "title": "Refunds", "text": "How to return a parcel and get the money back."},
    {"_id": "export", "title": "Export", "text": "Export the customer list of the CRM as a table."},
    {"_id": "import", "title": "Import", "text": "Import contacts into the CRM from a table."},
    {"_id": "laptop bag", "title": "Bags", "text": "A laptop bag with two pockets made of canvas."},
    {"_id": "weather", "title": "Weather", "text": "Rain is expected in the evening near the coast."},
    {"_id": "invoice", "title": "Invoices", "text": "An invoice lists what was bought and when to pay."},
    {
        "_id": "warranty",
        "title": "Warranty",
        "text": "The laptop warranty lasts for two years after purchase.",
    },
    {"_id": "blank", "title": "", "text": ""},
]
QUERIES: list[dict[str, object]] = [
    {
        "_id": "c1<::>1",
        "text": "export the customer list",
        "rewrite": "export the customer list",
        "lang": "en",
    },
    {
        "_id": "c1<::>2",
        "text": "and the other way round?",
        "history": [
            {"role": "user", "text": "export the customer list"},
            {"role": "assistant", "text": "Use the export button of the CRM."},
        ],
        "profile": {"product": "CRM", "facts": ["works in sales"]},
        "now": "2024-07-15T10:00:00+08:00",
        "rewrite": "import contacts into the CRM",
        "problem": "missing_entity",
    },
    {"_id": "c2", "text": "laptop warranty"},
    {"_id": "c 3", "text": "zzz qqq xyzzy"},
    {"_id": "unjudged", "text": "parcel money back"},
    {"_id": "only zero", "text": "parcel money"},
]
QRELS = [
    ("c1<::>1", "export", 1),
    ("c1<::>2", "import", 2),
    ("c2", "warranty", 1),
    ("c2", "laptop bag", 0),
    ("c 3", "refund", 1),
    ("only zero", "refund", 0),
]


def _write_dataset(
    folder: Path,
    corpus: Sequence[Mapping[str, object]] = CORPUS,
    queries: Sequence[Mapping[str, object]] = QUERIES,
    qrels: Sequence[tuple[str, str, int]] = QRELS,
) -> Path:
    """Write a data set in the BEIR layout into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{doc}\t{grade}" for query, doc, grade in qrels)]
    (folder / "qrels.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return the folder of a correct data set."""
    return _write_dataset(tmp_path / "tiny")


@pytest.fixture(scope="session")
def write_dataset() -> Callable[..., Path]:
    """Return the function that writes a data set, whole or with parts of the caller's."""
    return _write_dataset
