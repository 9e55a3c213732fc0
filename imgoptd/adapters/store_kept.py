"""The store's rows of kept originals."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from imgoptd.adapters.store_rows import KEPT_COLUMNS, kept_from, row_of_kept
from imgoptd.core.model import FileRef, Kept

Told = tuple[float, Kept]
"""Wall-clock seconds since 1970 at which the original was first kept, and the row."""

_SELECT = (
    f"SELECT root.path, file.path, kept.wall_ms, {', '.join('kept.' + one for one in KEPT_COLUMNS.split(', '))}"
    " FROM kept JOIN file ON file.id = kept.file JOIN root ON root.id = file.root"
)


def save(connection: sqlite3.Connection, file: int, wall_ms: int, kept: Kept) -> None:
    """Insert the row, or change all of it but the time. Raises sqlite3.Error."""
    columns = KEPT_COLUMNS.split(", ")
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns if column != "name")
    connection.execute(
        f"INSERT INTO kept (file, wall_ms, {KEPT_COLUMNS}) VALUES (?, ?{', ?' * len(columns)})"
        f" ON CONFLICT (name) DO UPDATE SET {changes}",
        (file, wall_ms, *row_of_kept(kept)),
    )


def drop(connection: sqlite3.Connection, kept: Kept) -> None:
    """Raises sqlite3.Error."""
    connection.execute("DELETE FROM kept WHERE name = ?", (kept.at.name,))


class KeptRows:
    """Reading them. Every method raises StoreError where SQLite fails."""

    def __init__(self, query: Callable[[str, Sequence[Any]], list[Any]]) -> None:
        self._query = query

    def of(self, ref: FileRef) -> list[Told]:
        """Those of the path, the newest first."""
        return self._read("WHERE root.path = ? AND file.path = ? ORDER BY kept.id DESC", ref)

    def since(self, wall_s: float) -> list[Told]:
        """Of each path whose original was kept at that time or later, the newest."""
        rows = "kept.id IN (SELECT max(id) FROM kept GROUP BY file)"
        return self._read(f"WHERE kept.wall_ms >= ? AND {rows} ORDER BY kept.id", (round(wall_s * 1000),))

    def before(self, wall_s: float, after: bytes, limit: int) -> list[Told]:
        """Some of those that were kept before that time, by name, from the one behind `after` on."""
        condition = "kept.wall_ms < ? AND kept.name > ? AND kept.restoring_temp IS NULL"
        return self._read(f"WHERE {condition} ORDER BY kept.name LIMIT ?", (round(wall_s * 1000), after, limit))

    def restoring(self) -> list[Kept]:
        """Those that were on their way back when the daemon last ended."""
        return [kept for _, kept in self._read("WHERE kept.restoring_temp IS NOT NULL ORDER BY kept.id", ())]

    def total(self) -> tuple[int, int]:
        """How many there are, and their bytes."""
        files, size_bytes = self._query("SELECT count(*), coalesce(sum(bytes), 0) FROM kept", ())[0]
        return int(files), int(size_bytes)

    def _read(self, rest: str, values: Sequence[Any]) -> list[Told]:
        rows = self._query(f"{_SELECT} {rest}", values)
        return [(row[2] / 1000, kept_from(FileRef(row[0], row[1]), row[3:])) for row in rows]
