"""Run one of the proofs: kills or speed."""

import argparse
import json
import sys
import time

from .kills import kills
from .speed import speed


def main() -> int:
    """Run it, print what was done or measured and what was wrong; return 1 if anything was."""
    parser = argparse.ArgumentParser(prog="nodes", description=__doc__)
    proofs = parser.add_subparsers(dest="proof", required=True)
    killed = proofs.add_parser("kills")
    killed.add_argument("--runs", type=int, default=10)
    killed.add_argument("--shards", type=int, default=16)
    timed = proofs.add_parser("speed")
    timed.add_argument("--shards", type=int, default=12)
    timed.add_argument("--rounds", type=int, default=4)
    for one in (killed, timed):
        one.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if asked.proof == "speed":
        print(json.dumps(speed(asked.shards, asked.rounds, asked.seed), indent=1))
        return 0
    started = time.monotonic()
    told, faults = kills(asked.runs, asked.seed, asked.shards)
    print(f"kills: {asked.runs}, seed {asked.seed}, {time.monotonic() - started:.0f} s")
    print("\n".join(f"  {count:7}  {name}" for name, count in sorted(told.items())))
    print("\n".join(f"WRONG: {fault}" for fault in faults[:20]))
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
