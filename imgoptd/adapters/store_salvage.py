"""What is sound in a damaged store goes into a new one: every row that can be read and whose checksum is right."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from imgoptd.adapters.store_check import READ_ERRORS, read_only
from imgoptd.adapters.store_rows import UNSEEN
from imgoptd.adapters.store_tables import COLUMNS, insert, is_sound, sealed

_BATCH_ROWS = 500
_LAST_KEY = 2**63 - 1


def salvage(damaged: Path, new: sqlite3.Connection) -> Counter[str]:
    """Copy into the new store, which is empty, and say how many rows of each table were saved. Memory is bounded.

    No folder counts as scanned before: its first scan is made again, so that a file whose row was lost is taken for
    one that stood there, and not for new. The new store must not enforce foreign keys. Raises sqlite3.Error where it
    cannot be written; what cannot be read is not there.
    """
    old = read_only(damaged)
    try:
        old.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        # What of the schema cannot be parsed costs its own table or index, not all of them.
        old.execute("PRAGMA writable_schema = ON")
        new.execute("BEGIN IMMEDIATE")
        for table in ("root", "file", "intent", "output", "receipt", "kept", "total", "step"):
            rows = _sound_rows(old, table)
            while batch := list(islice(rows, _BATCH_ROWS)):
                if table == "root":
                    batch = [sealed("root", number, path, 0) for number, path, _, _ in batch]
                new.executemany(insert(table, "INSERT OR IGNORE"), batch)
    finally:
        old.close()
    _drop_strays(new)
    saved = Counter({table: _count(new, table) for table in ("file", "intent", "receipt", "kept", "total", "step")})
    _adopt_receipts(new)
    new.execute("COMMIT")
    return saved


def _sound_rows(old: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """Every sound row that can be reached, in order of its key; pages that cannot be read are walked around."""
    key = COLUMNS[table].split(", ")[0]
    question = f"SELECT {COLUMNS[table]}, crc FROM {table}"
    if table == "total":
        question += " WHERE ? < 0"  # always true: its few keys are words
    else:
        question += f" WHERE {key} > ? ORDER BY {key}"
    last: int | None = -1
    stride = 1
    while last is not None:
        try:
            for row in old.execute(question, (last,)):
                if is_sound(table, row):
                    last, stride = (last if table == "total" else row[0]), 1
                    yield row
            return
        except READ_ERRORS:
            if table == "total":
                return
            # Where not one sound row comes before the next error, ever more is left out, so that this ends.
            last = _beyond(old, f"SELECT {key} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT 1", last + stride - 1)
            stride *= 2


def _beyond(old: sqlite3.Connection, question: str, last: int) -> int | None:
    """The first number after `last` from which on rows can be read again; None where there is none."""
    if last >= _LAST_KEY:
        return None
    bad, reach = last, 1
    while not _can_read(old, question, good := min(last + reach, _LAST_KEY)):
        if good == _LAST_KEY:
            return None
        bad, reach = good, reach * 2
    while good - bad > 1:
        middle = (good + bad) // 2
        if _can_read(old, question, middle):
            good = middle
        else:
            bad = middle
    return good


def _can_read(old: sqlite3.Connection, question: str, after: int) -> bool:
    try:
        old.execute(question, (after,)).fetchall()
    except READ_ERRORS:
        return False
    return True


def _drop_strays(new: sqlite3.Connection) -> None:
    """Rows that speak of files of which nobody knows any more where they lie."""
    new.execute("DELETE FROM file WHERE root NOT IN (SELECT id FROM root)")
    for table in ("intent", "output", "kept", "step"):
        new.execute(f"DELETE FROM {table} WHERE file NOT IN (SELECT id FROM file)")


def _adopt_receipts(new: sqlite3.Connection) -> None:
    """A receipt whose file is lost stays, with a file of no folder: its content is our result wherever it lies."""
    if new.execute("SELECT 1 FROM receipt WHERE file NOT IN (SELECT id FROM file)").fetchone() is None:
        return
    root, file = _count(new, "root", "max(id)") + 1, _count(new, "file", "max(id)") + 1
    new.execute(insert("root", "INSERT OR IGNORE"), sealed("root", root, b"", 0))
    [(root,)] = new.execute("SELECT id FROM root WHERE path = x''").fetchall()
    new.execute(insert("file"), sealed("file", file, root, b"lost %d" % file, *UNSEEN))
    columns = COLUMNS["receipt"].replace("file", str(file), 1)
    new.execute(
        f"UPDATE receipt SET file = {file}, crc = row_crc('receipt', {columns}) WHERE file NOT IN (SELECT id FROM file)"
    )


def _count(new: sqlite3.Connection, table: str, what: str = "count(*)") -> int:
    return int(new.execute(f"SELECT {what} FROM {table}").fetchone()[0] or 0)
