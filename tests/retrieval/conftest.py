"""Collections of either engine, so that the same tests run over both.

What holds in a folder only is tested with `Collection` itself; these are the differences of Milvus, and why:

- A snapshot shows what is written later: Milvus keeps no earlier states. So a reader may see a batch in part where
  documents were replaced, which is two calls (`test_snapshots_do_not_change_under_their_holder`).
- Scores by words of documents that came one by one differ by up to a thousandth from a clean build's until `flush`:
  a passage's weights are made when it is written, with the mean length of then.
- A collection made without an encoder has no room for vectors, so that one cannot be added later; and one that was
  made with another encoder goes on with that one, there is no encoding anew (`test_unchanged_documents_...`).
- Of equally good passages at the very end of a list a hundred deep, Milvus chooses which ones it returns.
- A passage of more than 65,535 bytes is refused, as are more than 4,096 values in the metadata of a document; ranges
  do not look into fields of several values, and compare the first 256 bytes of strings.
- There are no files: what is damaged, of another format or no collection is Milvus's affair. Nor are there backups:
  `copy` to a folder and back that up.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

from querywright.retrieval.collection import Collection
from querywright.retrieval.encoders import Encoder
from querywright.retrieval.joined import OneCollection
from querywright.retrieval.milvus_calls import Milvus
from querywright.retrieval.remote import RemoteCollection
from querywright.retrieval.remote_home import RemoteCollections, stored_as

_numbers = count()

Open = Callable[..., OneCollection]
"""Opens the collection of a name with an encoder; made where there is none, the same one again else."""


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Milvus]:
    """Return one Milvus for all tests: milvus-lite, in process."""
    if find_spec("pymilvus") is None or find_spec("milvus_lite") is None:
        pytest.skip("pymilvus and milvus-lite are not installed")
    opened = Milvus(str(tmp_path_factory.mktemp("milvus") / "lite.db"))
    yield opened
    opened.close()


@pytest.fixture(params=["local", "milvus"])
def open_collection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Return what opens a collection, once with each engine."""
    if request.param == "local":
        yield lambda name, encoder=None, load=None: Collection(tmp_path / name, encoder, load=load)
        return
    milvus = request.getfixturevalue("milvus")
    made: dict[str, str] = {}

    def opened(
        name: str, encoder: Encoder | None = None, load: Callable[[str], Encoder] | None = None
    ) -> RemoteCollection:
        if name not in made:
            made[name] = f"{name}-{next(_numbers)}"
            RemoteCollections(milvus, tmp_path, lambda: encoder).create(made[name])
        return RemoteCollection(made[name], milvus, stored_as(made[name]), encoder, load=load)

    yield opened
    for name in made.values():
        RemoteCollections(milvus, tmp_path).drop(name)


@pytest.fixture
def collection(open_collection: Open, word_encoder: Encoder) -> Iterator[OneCollection]:
    """Return an empty collection with the cheap encoder."""
    with open_collection("demo", word_encoder) as opened:
        yield opened
