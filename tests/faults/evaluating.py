"""Processes to be killed: for each line on standard input, one that evaluates a data set by words alone.

Prints the process's id, "begun" once it rewrites and searches, and at last how it ended. Each is a fork of this one,
which has imported everything and runs no thread, so that ten of them take no longer than their work.

Usage: python evaluating.py HOME DATASET OUT
"""

import os
import sys
from pathlib import Path

from querywright.eval.evaluation import run
from querywright.retrieval.home import Collections
from querywright.service.pipeline import Pipeline
from querywright.service.settings import Settings

ARMS = ("none", "concat", "auto", "gold", "gold+orig")


def evaluate(home: Path, dataset: Path, out: Path) -> None:
    """Evaluate, and print when the work begins."""
    settings = Settings(home=home, encoder="none", budget_ms=20_000)
    told = 0

    def tell(task: str, done: int, total: int) -> None:
        nonlocal told
        told += 1
        if told == 1:
            print("begun", flush=True)

    pipeline, collections = Pipeline(settings), Collections(home)
    try:
        run(
            [dataset],
            ARMS,
            ["lexical"],
            pipeline,
            collections,
            out,
            7,
            tell,
            encoder="none",
            settings=settings,
        )
    finally:
        pipeline.close()
        collections.close()


def main(home: Path, dataset: Path, out: Path) -> None:
    """Serve until the input ends."""
    for _ in sys.stdin:
        process = os.fork()
        if not process:
            evaluate(home, dataset, out)
            os._exit(0)
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
