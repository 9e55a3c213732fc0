"""Rows of a store, counted in a copy: to open the store itself could move its log, as only a daemon may."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path


def count(state: Path, rows: str) -> int:
    """`rows`: what stands behind FROM. Of a store that is being written it may be any number; 0 where there is none."""
    with tempfile.TemporaryDirectory(prefix="imgoptd-count-") as folder:
        for name in ("store.sqlite", "store.sqlite-wal"):
            try:
                shutil.copy(state / name, folder)
            except FileNotFoundError:
                pass  # a store that was closed well has no log
        connection = sqlite3.connect(Path(folder) / "store.sqlite")
        try:
            return int(connection.execute(f"SELECT count(*) FROM {rows}").fetchone()[0])
        except sqlite3.DatabaseError:
            return 0  # it has no tables yet
        finally:
            connection.close()
