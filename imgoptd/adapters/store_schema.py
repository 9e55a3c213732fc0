"""The tables of the store, as steps from one version to the next. A step that was released is never edited."""

from __future__ import annotations

import sqlite3

UNFINISHED = "state IN ('queued', 'active', 'deferred', 'held')"
"""Stands word for word in the partial index and in the query: only then does SQLite use the one for the other."""

MIGRATIONS: tuple[str, ...] = (
    # 1: files, their history, intents, receipts, totals
    f"""
    CREATE TABLE root (
        id INTEGER PRIMARY KEY,
        path BLOB NOT NULL UNIQUE,
        baseline INTEGER NOT NULL DEFAULT 0  -- 1: its first scan is complete
    ) STRICT;

    -- A row whose state is NULL only names a path that other tables speak of.
    CREATE TABLE file (
        id INTEGER PRIMARY KEY,
        root INTEGER NOT NULL REFERENCES root (id),
        path BLOB NOT NULL,
        state TEXT,
        identity TEXT,  -- device:inode:size:mtime_ns as text, for inodes and times may exceed 63 bits
        reason TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        uid INTEGER NOT NULL DEFAULT -1,
        fresh INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        sha256 BLOB,
        facts TEXT,  -- JSON
        bytes_before INTEGER NOT NULL DEFAULT 0,
        bytes_after INTEGER NOT NULL DEFAULT 0,
        UNIQUE (root, path)
    ) STRICT;
    CREATE INDEX file_unfinished ON file (id) WHERE {UNFINISHED};

    CREATE TABLE step (
        file INTEGER NOT NULL REFERENCES file (id),
        seq INTEGER NOT NULL,
        wall_ms INTEGER NOT NULL,  -- since 1970, UTC
        step TEXT NOT NULL,
        text TEXT NOT NULL,
        PRIMARY KEY (file, seq)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE intent (
        file INTEGER PRIMARY KEY REFERENCES file (id),
        temp_name BLOB NOT NULL,
        original TEXT NOT NULL,
        result TEXT,
        result_sha256 BLOB,
        original_sha256 BLOB
    ) STRICT;

    CREATE TABLE receipt (
        id INTEGER PRIMARY KEY,
        file INTEGER NOT NULL REFERENCES file (id),
        wall_ms INTEGER NOT NULL,
        before_sha256 BLOB,
        after_sha256 BLOB,
        bytes_before INTEGER NOT NULL,
        bytes_after INTEGER NOT NULL,
        profile TEXT NOT NULL
    ) STRICT;
    CREATE INDEX receipt_file ON receipt (file);
    CREATE INDEX receipt_after ON receipt (after_sha256);

    CREATE TABLE total (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    """,
    # originals that are kept, and where those of replaces under way will be
    """
    CREATE TABLE kept (
        id INTEGER PRIMARY KEY,
        file INTEGER NOT NULL REFERENCES file (id),
        wall_ms INTEGER NOT NULL,  -- when its result took its place
        place BLOB,  -- below the watched folder: the folder that holds .imgoptd/undo; NULL: state_dir/undo
        name BLOB NOT NULL UNIQUE,
        bytes INTEGER NOT NULL,
        identity TEXT NOT NULL,
        sha256 BLOB,
        result TEXT NOT NULL,
        result_sha256 BLOB,
        restoring_temp BLOB,  -- not NULL: it is on its way back
        restoring TEXT
    ) STRICT;
    CREATE INDEX kept_file ON kept (file);
    CREATE INDEX kept_wall ON kept (wall_ms);

    ALTER TABLE intent ADD COLUMN keep_place BLOB;
    ALTER TABLE intent ADD COLUMN keep_name BLOB;  -- NULL: the original is not kept
    """,
)

VERSION = len(MIGRATIONS)
"""Of the schema; stands in the file as `PRAGMA user_version`."""


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the store to VERSION, each step in a transaction of its own. Raises sqlite3.Error; what was done stays."""
    for number in range(version_of(connection), VERSION):
        script = f"BEGIN IMMEDIATE;{MIGRATIONS[number]};PRAGMA user_version = {number + 1};COMMIT;"
        try:
            connection.executescript(script)
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
