"""The store's rows of kept originals."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Protocol

from imgoptd.adapters.store_rows import kept_from, row_of_kept
from imgoptd.adapters.store_tables import insert, sealed
from imgoptd.core.model import FileRef, Kept

Told = tuple[float, Kept]
"""Wall-clock seconds since 1970 at which the original was first kept, and the row."""

_OF_FILE = "file = (SELECT id FROM file WHERE root = (SELECT id FROM root WHERE path = ?) AND path = ?)"


class Rows(Protocol):
    def __call__(self, table: str, where: str, *values: Any) -> list[tuple[Any, ...]]:
        """Sound rows of a table, without their checksums, in the order of `store_tables.COLUMNS`."""


def save(connection: sqlite3.Connection, file: int, wall_ms: int, kept: Kept) -> None:
    """Insert the row, or change all of it but the time. Raises sqlite3.Error."""
    there = connection.execute("SELECT id, file, wall_ms FROM kept WHERE name = ?", (kept.at.name,)).fetchone()
    if there is None:
        last = connection.execute("SELECT max(id) FROM kept").fetchone()[0]
        there = ((last or 0) + 1, file, wall_ms)
    connection.execute(insert("kept", "INSERT OR REPLACE"), sealed("kept", *there, *row_of_kept(kept)))


def drop(connection: sqlite3.Connection, kept: Kept) -> None:
    """Raises sqlite3.Error."""
    connection.execute("DELETE FROM kept WHERE name = ?", (kept.at.name,))


class KeptRows:
    """Reading them. Every method raises StoreError where SQLite fails, StoreDamaged where that is for damage."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def of(self, ref: FileRef) -> list[Told]:
        """Those of the path, the newest first."""
        return self._told(self._rows("kept", f"{_OF_FILE} ORDER BY id DESC", *ref))

    def since(self, wall_s: float) -> list[Told]:
        """Of each path whose original was kept at that time or later, the newest."""
        newest = "id IN (SELECT max(id) FROM kept GROUP BY file)"
        return self._told(self._rows("kept", f"wall_ms >= ? AND {newest} ORDER BY id", round(wall_s * 1000)))

    def before(self, wall_s: float, after: bytes, limit: int) -> list[Told]:
        """Some of those that were kept before that time, by name, from the one behind `after` on."""
        condition = "wall_ms < ? AND name > ? AND restoring_temp IS NULL ORDER BY name LIMIT ?"
        return self._told(self._rows("kept", condition, round(wall_s * 1000), after, limit))

    def restoring(self) -> list[Kept]:
        """Those that were on their way back when the daemon last ended."""
        return [kept for _, kept in self._told(self._rows("kept", "restoring_temp IS NOT NULL ORDER BY id"))]

    def total(self) -> tuple[int, int]:
        """How many there are, and their bytes."""
        rows = self._rows("kept", "TRUE")
        return len(rows), sum(row[5] for row in rows)

    def _told(self, rows: Sequence[tuple[Any, ...]]) -> list[Told]:
        return [(row[2] / 1000, kept_from(self._ref(row[1]), row[3:])) for row in rows]

    def _ref(self, file: int) -> FileRef:
        [(_, root, path, *_)] = self._rows("file", "id = ?", file)
        [(_, folder, _)] = self._rows("root", "id = ?", root)
        return FileRef(folder, path)
