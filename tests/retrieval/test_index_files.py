import os
import shutil
from pathlib import Path

import numpy as np
import orjson
import pytest

from querywright import StorageError
from querywright.retrieval.index_files import read_index, write_index

PARTS = {"names": b"[1,2]", "empty": b"", "numbers": np.arange(12, dtype=np.int32).reshape(3, 4), "none": np.empty(0)}
ABOUT = {"analyzer": "a", "spaces": ["x/y"]}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert write_index(tmp_path, 7, ABOUT, PARTS)
    found = read_index(tmp_path, ABOUT)
    assert found is not None
    assert found.generation == 7
    assert found.bytes("names") == b"[1,2]"
    assert found.bytes("empty") == b""
    for name in ("numbers", "none"):
        assert found.array(name).dtype == PARTS[name].dtype
        np.testing.assert_array_equal(found.array(name), PARTS[name])
    with pytest.raises(ValueError, match="read-only"):
        found.array("numbers")[0, 0] = 5


def test_only_the_last_generation_stays(tmp_path: Path) -> None:
    (tmp_path / "documents.sqlite").write_text("left alone")
    for generation in (1, 900, 30):
        write_index(tmp_path, generation, ABOUT, PARTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["documents.sqlite", "index-30", "index.lock"]


def test_files_about_something_else_are_passed_over(tmp_path: Path) -> None:
    write_index(tmp_path, 1, ABOUT, PARTS)
    assert read_index(tmp_path, {"analyzer": "b"}) is None
    assert read_index(tmp_path, {"analyzer": "a"}) is not None
    assert (tmp_path / "index-1").is_dir()


@pytest.mark.parametrize("name", ["names", "numbers.npy", "empty", "manifest.json"])
def test_damaged_files_are_set_aside(tmp_path: Path, name: str) -> None:
    write_index(tmp_path, 1, ABOUT, PARTS)
    file = tmp_path / "index-1" / name
    data = bytearray(file.read_bytes() or b"x")
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    assert read_index(tmp_path, ABOUT) is None
    assert (tmp_path / "damaged-index" / name).exists()
    assert not (tmp_path / "index-1").exists()
    assert write_index(tmp_path, 2, ABOUT, PARTS)
    assert read_index(tmp_path, ABOUT) is not None


def test_a_missing_file_and_one_of_another_generation(tmp_path: Path) -> None:
    for number in (1, 2):
        write_index(tmp_path, number, ABOUT, {"names": str(number).encode()})
        shutil.copytree(tmp_path / f"index-{number}", tmp_path / f"kept-{number}")
    (tmp_path / "index-2" / "names").write_bytes((tmp_path / "kept-1" / "names").read_bytes())
    assert read_index(tmp_path, ABOUT) is None
    shutil.copytree(tmp_path / "kept-1", tmp_path / "index-2")
    assert read_index(tmp_path, ABOUT) is None
    shutil.copytree(tmp_path / "kept-2", tmp_path / "index-2")
    (tmp_path / "index-2" / "names").unlink()
    assert read_index(tmp_path, ABOUT) is None


def test_a_manifest_of_a_later_format_is_left_alone(tmp_path: Path) -> None:
    write_index(tmp_path, 1, ABOUT, PARTS)
    manifest = tmp_path / "index-1" / "manifest.json"
    body = orjson.loads(manifest.read_bytes())["body"] | {"format": 99}
    from querywright.retrieval.index_files import _digest

    manifest.write_bytes(orjson.dumps({"sha256": _digest(body), "body": body}))
    assert read_index(tmp_path, ABOUT) is None
    assert manifest.exists()


def test_a_full_disk_says_so_and_leaves_what_was_there(tmp_path: Path, monkeypatch) -> None:
    write_index(tmp_path, 1, ABOUT, PARTS)
    calls = []

    def write(file: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        return real(file, data[: max(1, len(data) // 2)])  # short, as the system may

    real = os.write
    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StorageError, match="disk is full; the index was not saved"):
        write_index(tmp_path, 2, ABOUT, PARTS)
    monkeypatch.undo()
    found = read_index(tmp_path, ABOUT)
    assert found is not None
    assert found.generation == 1
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".unfinished")]


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:3]))
    write_index(tmp_path, 1, ABOUT, PARTS)
    assert read_index(tmp_path, ABOUT) is not None


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    import fcntl

    write_index(tmp_path, 1, ABOUT, PARTS)
    with (tmp_path / "index.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert not write_index(tmp_path, 2, ABOUT, PARTS)
    assert write_index(tmp_path, 2, ABOUT, PARTS)


def test_no_folder_holds_none(tmp_path: Path) -> None:
    assert read_index(tmp_path / "missing", ABOUT) is None
    with pytest.raises(StorageError, match="cannot be saved"):
        write_index(tmp_path / "missing", 1, ABOUT, PARTS)
