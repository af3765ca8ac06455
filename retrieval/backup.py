"""A store copied while others write it; a copy checked as if a stranger had made it; one put in another's place."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from .. import StorageError
from .store import BUSY_MS, LARGEST_STEP, SCHEMA, DiskFullError, Store, UnreadableError, sqlite_errors

_PAGES = 1_000
"""So many are copied at a time."""

_AHEAD = 2**40
"""What is restored goes so far ahead of the store: what is written while it is made ready does not catch up."""

_MOST = 2**62
"""No honest generation is higher."""

_STATE = "SELECT value, (SELECT count(*) FROM documents) FROM main.meta WHERE key = 'generation'"

_TABLES = ("documents", "meta", "passages", "vectors")

_UNKNOWN = f"""
SELECT name FROM sqlite_schema WHERE NOT (
    type = 'table' AND name IN {_TABLES} AND sql NOT LIKE 'CREATE VIRTUAL%'
        AND sql NOT LIKE '%check%' AND sql NOT LIKE '%default%'
        AND sql NOT LIKE '%collate%' AND sql NOT LIKE '%conflict%'
    OR type = 'index' AND (name = 'documents_written' OR name LIKE 'sqlite_autoindex_%') OR name LIKE 'sqlite_stat_')
"""  # noqa: S608 # of constants

_SHAPE = f"""
SELECT t.name, t.wr, t.strict, c.cid, c.name, c.type, c."notnull", c.pk, c.hidden
    FROM pragma_table_list t JOIN pragma_table_xinfo(t.name) c WHERE t.schema = 'main' AND t.name IN {_TABLES}
UNION ALL
SELECT t.name, i."unique", i.partial, k.seqno, k.name, k.coll, k.desc, k.key, i.origin
    FROM pragma_table_list t JOIN pragma_index_list(t.name) i JOIN pragma_index_xinfo(i.name) k
    WHERE t.schema = 'main' AND t.name IN {_TABLES}
UNION ALL
SELECT t.name, f.id, f.seq, f."table", f."from", f."to", f.on_update, f.on_delete, f.match
    FROM pragma_table_list t JOIN pragma_foreign_key_list(t.name) f WHERE t.schema = 'main' AND t.name IN {_TABLES}
ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""  # noqa: S608 # of constants

_FAULTS = {
    "no generation, or one that cannot be": f"""
        SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'generation' AND typeof(value) = 'integer'
        AND value BETWEEN coalesce((SELECT max(generation) FROM documents), 0) AND {_MOST})""",  # noqa: S608 # a number
    "no encoder": "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'encoder' AND typeof(value) = 'text')",
    "rows without what they belong to": "SELECT 1 FROM pragma_foreign_key_check LIMIT 1",
    "passages under wrong ids": "SELECT 1 FROM passages WHERE passage_id <> doc_id || '#' || ordinal LIMIT 1",
    "passages in unknown languages": "SELECT 1 FROM passages WHERE language NOT IN ('en', 'zh') LIMIT 1",
    "documents without all of their passages": """
        SELECT 1 FROM documents d LEFT JOIN (SELECT doc_id, count(*) AS n FROM passages GROUP BY doc_id) p
        USING (doc_id) WHERE p.n IS NOT d.passages LIMIT 1""",
    "metadata that cannot be read": """
        SELECT 1 FROM documents WHERE NOT json_valid(metadata) OR json_type(metadata) <> 'object' LIMIT 1""",
    "metadata of an unknown kind": """
        SELECT 1 FROM documents d, json_each(d.metadata) m WHERE m.type IN ('null', 'object') LIMIT 1""",
}
"""What rows may be that this package did not write so, and a query that finds such a row."""


@dataclass(frozen=True, slots=True)
class StoreState:
    """Which state of a store a copy holds."""

    generation: int
    documents: int


def copy_store(source: Path, target: Path, begun: Callable[[], None] = lambda: None) -> StoreState:
    """Copy a store into a new file as it is at this moment, whoever writes it meanwhile.

    `begun` is called as soon as that moment is settled. Raises StorageError where the store cannot be read or is
    damaged, or the copy cannot be written.
    """
    with sqlite_errors(source), _opened(source) as reading:
        reading.execute("BEGIN")
        state = _state(reading)
        begun()
        try:
            _copy_pages(reading, target)
        except apsw.FullError as error:
            raise DiskFullError(f"{target.parent}: the disk is full; no copy was made") from error
    if damage := damage_of(target):
        raise StorageError(f"{source}: damaged: {damage}")
    return state


def _copy_pages(reading: apsw.Connection, target: Path) -> None:
    """Copy what an open transaction reads: what others write neither disturbs that nor gets in."""
    with _opened(target, create=True) as writing:
        writing.pragma("synchronous", "off")  # what it becomes a part of is forced to disk
        with writing.backup("main", reading, "main") as copying:
            while not copying.done:
                copying.step(_PAGES)
        writing.pragma("journal_mode", "delete")  # no further files beside it


def check_store(path: Path) -> StoreState:
    """Check a store that may come from anybody and is nobody's else, bring it up to date and say what it holds.

    Raises UnreadableError that says what is wrong.
    """
    if damage := damage_of(path):
        raise UnreadableError(f"{path}: damaged: {damage}")
    with sqlite_errors(path), _opened(path) as connection:
        if unknown := connection.execute(_UNKNOWN).get:
            raise UnreadableError(f"{path}: damaged: it holds {str(unknown)[:100]!r}, which no collection does")
    Store(path).close()
    with sqlite_errors(path), _opened(path) as connection:
        if connection.execute(_SHAPE).fetchall() != _own_shape():
            raise UnreadableError(f"{path}: damaged: its tables are not a collection's")
        for fault, query in _FAULTS.items():
            if connection.execute(query).fetchall():
                raise UnreadableError(f"{path}: damaged: it holds {fault}")
        return _state(connection)


def renumber(path: Path, beyond: int) -> int:
    """Give all documents of a store that is nobody's else a generation far ahead of theirs and of `beyond`."""
    with sqlite_errors(path), _opened(path) as connection, connection:
        ahead = max(_state(connection).generation, beyond) + _AHEAD + _step()
        connection.execute("UPDATE documents SET generation = ?", (ahead,))
        connection.execute("UPDATE meta SET value = ? WHERE key = 'generation'", (ahead,))
    return ahead


def replace_store(live: Path, prepared: Path, token: str, ready: Callable[[int], None]) -> None:
    """Put what `prepared` holds in place of all that `live` holds, in one transaction, whoever uses it meanwhile.

    `ready` is called with the generation that this makes, just before it is committed. `replaced_by` returns
    `token` from then on. Raises what `Store.write` does, and then nothing has changed.
    """
    with sqlite_errors(live), _opened(live) as connection:
        connection.pragma("synchronous", "full")
        connection.execute("ATTACH ? AS prepared", (str(prepared),))
        connection.execute("BEGIN IMMEDIATE")
        generation = _fill(connection)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('restored', ?)", (token,))
        ready(generation)
        connection.execute("COMMIT")
        connection.execute("PRAGMA main.wal_checkpoint(TRUNCATE)").fetchall()  # busy is an answer, no error


def replaced_by(path: Path) -> str | None:
    """Return the token of what was put in a store's place last; None where nothing was."""
    with sqlite_errors(path), _opened(path) as connection:
        found = connection.execute("SELECT value FROM meta WHERE key = 'restored'").get
    return None if found is None else str(found)


def state_of(path: Path) -> StoreState:
    """Return which state a store is in. Raises StorageError where it cannot be read."""
    with sqlite_errors(path), _opened(path) as connection:
        return _state(connection)


def damage_of(path: Path) -> str:
    """Return what SQLite finds wrong with a store; "" for nothing. Raises StorageError where it cannot be read."""
    with sqlite_errors(path), _opened(path) as connection:
        try:
            found = str(connection.execute("PRAGMA integrity_check(1)").get)
        except (apsw.CorruptError, apsw.NotADBError) as error:
            return str(error)
    return "" if found == "ok" else found


def _fill(connection: apsw.Connection) -> int:
    """Move all rows over and return the generation that they get."""
    before = _state(connection).generation
    rows: list[Any] = connection.execute("SELECT key, value FROM prepared.meta").fetchall()
    prepared = dict(rows)
    ahead: int = prepared["generation"]
    # Foreign keys are off here, so that SQLite drops whole tables and copies pages of rows.
    for table in ("vectors", "passages", "documents"):
        connection.execute(f"DELETE FROM main.{table}")  # noqa: S608 # of three constants
        connection.execute(f"INSERT INTO main.{table} SELECT * FROM prepared.{table}")  # noqa: S608 # likewise
    if ahead <= before:
        ahead = before + _step()
        connection.execute("UPDATE main.documents SET generation = ?", (ahead,))
    connection.execute("UPDATE main.meta SET value = ? WHERE key = 'generation'", (ahead,))
    connection.execute("UPDATE main.meta SET value = ? WHERE key = 'encoder'", (prepared["encoder"],))
    return ahead


def _step() -> int:
    return 1 + secrets.randbelow(LARGEST_STEP)


def _state(connection: apsw.Connection) -> StoreState:
    rows: list[Any] = connection.execute(_STATE).fetchall()
    if not rows:
        raise UnreadableError(f"{connection.filename}: damaged: its meta table lacks a row")
    return StoreState(*rows[0])


def _own_shape() -> list[tuple[Any, ...]]:
    """Return what tables, columns and indexes this version makes."""
    fresh = apsw.Connection(":memory:")
    try:
        fresh.execute(SCHEMA)
        return fresh.execute(_SHAPE).fetchall()
    finally:
        fresh.close()


@contextmanager
def _opened(path: Path, *, create: bool = False) -> Iterator[apsw.Connection]:
    """Open a file for a while; its schema may call nothing that has effects."""
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    connection = apsw.Connection(str(path), flags=flags)
    try:
        connection.set_busy_timeout(BUSY_MS)
        connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
        yield connection
    finally:
        connection.close()
