"""What is indexed and rewritten, and what came of it, as far as one process and another can agree."""

import json
import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from querywright import Querywright
from querywright.retrieval.collection import BATCH_SIZE
from querywright.retrieval.sources import read_jsonl
from querywright.rewrite.catalog import Catalog
from querywright.rewrite.query import Query
from querywright.service.cluster import Cluster
from querywright.service.demo import folder
from querywright.service.schemas import read_query, to_json
from querywright.service.sharding import AT_ONCE

NAMES = ("query", "history", "profile", "now")


@dataclass(frozen=True)
class Batches:
    """Documents in a file and queries, in both languages."""

    documents: Path
    queries: Sequence[Query]
    catalog: Catalog

    @classmethod
    def drawn(cls, place: Path, shards: int, seed: int, words: int) -> "Batches":
        """Draw `shards` shards of documents of so many `words`, and of queries, from the demo's."""
        drawn, texts = random.Random(seed), [row["text"] for _, row in read_jsonl(folder() / "corpus.jsonl")]
        pieces = {
            "en": sorted({word for text in texts for word in re.findall(r"[a-z]+", text.lower())}),
            "zh": sorted({clause for text in texts for clause in re.findall(r"[\u4e00-\u9fff]+", text)}),
        }
        documents = place / "documents.jsonl"
        with documents.open("w", encoding="utf-8") as file:
            for number in range(shards * BATCH_SIZE - BATCH_SIZE // 2):
                chosen = drawn.choices(pieces["zh" if number % 8 == 0 else "en"], k=drawn.randint(1, 2 * words - 1))
                file.write(json.dumps({"doc_id": f"d{number}", "text": " ".join(chosen)}) + "\n")
        asked = [row for _, row in read_jsonl(folder() / "queries.jsonl")]
        rows = [drawn.choice(asked) for _ in range(shards * AT_ONCE - AT_ONCE // 2)]
        queries = [
            read_query(row["text"], row.get("history"), row.get("profile"), row["now"], None)
            for row in rows
            if row.get("now")
        ]
        return cls(documents, queries, Catalog.load(folder() / "catalog.toml"))

    def rewritten(self, querywright: Querywright, cluster: Cluster | None) -> Iterator[list[bytes]]:
        """Yield what is made of the queries, with the collection that was indexed asked."""
        options = {"collection": "drawn", "catalog": self.catalog, "cluster": cluster}
        for made in querywright.rewrite_batches(self.queries, **options):
            yield [timeless(to_json(one)) for one in made]


def timeless(row: bytes) -> bytes:
    """Return a row without what differs from run to run: times, and the tokens that are signed with one."""
    return re.sub(rb'"(seconds|start|token)":("[^"]*"|[-+0-9.e]+)', b"", row)


def stored(home: Path) -> list[tuple[object, ...]]:
    """Return every document, passage and vector of the collection, to the last bit, in the order of writing."""
    with sqlite3.connect(home / "drawn" / "documents.sqlite") as connection:
        tables = {
            "documents": "doc_id, title, text, metadata, digest, encoder",
            "passages": "passage_id, doc_id, text, language",
            "vectors": "passage_id, space, vector",
        }
        return [
            row
            for table, columns in tables.items()
            for row in connection.execute(f"SELECT {columns} FROM {table} ORDER BY rowid")
        ]
