"""A process to be killed: upsert batches for ever, printing a line for each that is acknowledged.

Usage: python upserting.py FOLDER FIRST - document numbers begin at FIRST.
"""

import sys
from itertools import count
from pathlib import Path

from querywright.retrieval.collection import Collection
from querywright.retrieval.passage import Document

BATCH = 5


def text(number: int) -> str:
    """Return a text of several passages, each of which names its document."""
    return "\n\n".join(f"document {number} part {part} " + "words " * 190 for part in range(2 + number % 3))


def main(folder: Path, first: int) -> None:
    """Upsert without end; every third batch replaces documents of the one before it."""
    with Collection(folder) as collection:
        for batch in count(first // BATCH):
            numbers = range(batch * BATCH, (batch + 1) * BATCH)
            collection.upsert([Document(f"d{number}", text(number)) for number in numbers], whole=False)
            print(numbers.stop, flush=True)
            if batch % 3 == 0:
                again = [Document(f"d{number}", text(number), "again") for number in numbers]
                collection.upsert(again, whole=False)
                print(numbers.stop, "again", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
