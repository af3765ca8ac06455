"""What the tests of the rewriting part share."""

from pathlib import Path

import pytest

import querywright
from querywright.rewrite.catalog import Catalog


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """Return the demo's catalog."""
    return Catalog.load(Path(querywright.__file__).parent / "data/demo/catalog.toml")
