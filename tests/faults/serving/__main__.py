"""Prove what the service promises: `PYTHONPATH=tests/faults python -m serving PROOF`. See docs/reliability.md."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from .fuzz import fuzz
from .overhead import overhead
from .overload import overload
from .reloads import reloads
from .shutdown import shutdown
from .slow import slow


def main() -> None:
    """Run one proof and print what it measured as JSON."""
    parser = argparse.ArgumentParser(prog="serving", description=__doc__)
    proofs = parser.add_subparsers(dest="proof", required=True)
    proofs.add_parser("overload").add_argument("--seconds", type=float, default=60)
    proofs.add_parser("slow").add_argument("--connections", type=int, default=500)
    proofs.add_parser("shutdown").add_argument("--times", type=int, default=50)
    proofs.add_parser("reloads").add_argument("--times", type=int, default=100)
    proofs.add_parser("overhead").add_argument("--rounds", type=int, default=3)
    drawn = proofs.add_parser("fuzz")
    drawn.add_argument("--examples", type=int, default=2000)
    drawn.add_argument("--bodies", type=int, default=300)
    given = vars(parser.parse_args())
    proof = {
        "overload": overload,
        "slow": slow,
        "shutdown": shutdown,
        "reloads": reloads,
        "overhead": overhead,
        "fuzz": fuzz,
    }[given.pop("proof")]
    with TemporaryDirectory(prefix="serving-") as home:
        print(json.dumps(proof(Path(home), **given), indent=1))


if __name__ == "__main__":
    main()
