"""Let tests import the state machine, which is run by hand too, from beside the other proofs."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "faults"))
