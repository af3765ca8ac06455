"""Let tests import the proofs that stand beside them, and keep their many small collections in memory."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put temporary folders in memory where the system has a place for that: what is synced is seen by models."""
    if os.access("/dev/shm", os.W_OK):
        monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
