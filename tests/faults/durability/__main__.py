"""Run one of the proofs: kills, power, mutations, errors, states, backups or reloads."""

import os

# Children are forked, which is safe without threads only. Set before numpy and FAISS are imported.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import sys
import time
from collections import Counter


def main() -> int:
    """Run it, print what was done and what was wrong; return 1 if anything was."""
    parser = argparse.ArgumentParser(prog="durability", description=__doc__)
    commands = parser.add_subparsers(dest="proof", required=True)
    for name, size, count in (
        ("kills", "kills", 1000),
        ("power", "cuts", 1000),
        ("mutations", "mutations", 5000),
        ("errors", "calls", 500),
        ("states", "runs", 500),
        ("backups", "runs", 1000),
        ("reloads", "runs", 100),
    ):
        command = commands.add_parser(name)
        command.add_argument(f"--{size}", type=int, default=count, dest="size")
        command.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    started = time.monotonic()
    told, faults = _proof(asked.proof, asked.size, asked.seed)
    print(f"{asked.proof}: {asked.size}, seed {asked.seed}, {time.monotonic() - started:.0f} s")
    print("\n".join(f"  {count:7}  {name}" for name, count in sorted(told.items())))
    print("\n".join(f"WRONG: {fault}" for fault in faults[:20]))
    print(f"{len(faults)} faults")
    return 1 if faults else 0


def _proof(name: str, size: int, seed: int) -> tuple[Counter[str], list[str]]:
    from importlib import import_module

    return getattr(import_module(f".{name}", __package__), name)(size, seed)  # type: ignore[no-any-return]


if __name__ == "__main__":
    sys.exit(main())
