"""The tables of the store, as steps from one version to the next. A step that was released is never edited."""

from __future__ import annotations

import sqlite3
import zlib

from imgoptd.adapters.store_tables import insert, sealed

UNFINISHED = "state IN ('queued', 'active', 'deferred', 'held')"
"""Stands word for word in the partial index and in the query: only then does SQLite use the one for the other."""

_UNCHECKED = {
    "root": "id, path, baseline",
    "file": "id, root, path, state, identity, reason, detail, uid, fresh, attempts, sha256, facts, bytes_before,"
    " bytes_after, output",
    "step": "file, seq, wall_ms, step, text",
    "intent": "file, temp_name, original, result, result_sha256, original_sha256, keep_place, keep_name, tree,"
    " source, source_sha256",
    "output": "file, root, identity, sha256, source_sha256",
    "kept": "id, file, wall_ms, place, name, bytes, identity, sha256, result, result_sha256, restoring_temp, restoring",
    "receipt": "id, file, wall_ms, before_sha256, after_sha256, bytes_before, bytes_after, profile",
    "total": "key, value",
}
"""The tables of version 3 and their columns, as they were."""


def _with_checksum(table: str, columns: str) -> str:
    return f"""
    ALTER TABLE {table} ADD COLUMN crc INTEGER NOT NULL DEFAULT 0;
    UPDATE {table} SET crc = row_crc('{table}', {columns});
    """


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
    # 2: originals that are kept, and where those of replaces under way will be
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
    # 3: output trees
    """
    ALTER TABLE file ADD COLUMN output BLOB NOT NULL DEFAULT x'';  -- the tree it was judged for

    ALTER TABLE intent ADD COLUMN tree BLOB;  -- the tree the result goes into; NULL: the original's place
    ALTER TABLE intent ADD COLUMN source TEXT;
    ALTER TABLE intent ADD COLUMN source_sha256 BLOB;

    CREATE TABLE output (  -- what we put into a tree
        file INTEGER NOT NULL REFERENCES file (id),
        root BLOB NOT NULL,
        identity TEXT NOT NULL,
        sha256 BLOB,
        source_sha256 BLOB,
        PRIMARY KEY (file, root)
    ) STRICT, WITHOUT ROWID;
    """,
    # 4: a checksum in each row, a count of the commits, and the checksum of the schema
    f"""
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,  -- 'commits' that were made, 'schema': see `schema_checksum`, 'since N': see `since_key`
        value INTEGER NOT NULL,
        crc INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('commits', 0, row_crc('meta', 'commits', 0));
    {"".join(_with_checksum(table, columns) for table, columns in _UNCHECKED.items())}
    """,
    # 5: what was learned of what jobs take
    """
    CREATE TABLE learned (
        kind BLOB NOT NULL,
        root BLOB NOT NULL,  -- with uid: the trust domain whose jobs taught it
        uid INTEGER NOT NULL,
        codecs BLOB NOT NULL,  -- versions
        memory BLOB NOT NULL,  -- ratios of actual to predicted: thousandths of their natural logarithm, int16 each
        cpu BLOB NOT NULL,
        growth BLOB NOT NULL,
        crc INTEGER NOT NULL
    ) STRICT;
    """,
)

CHECKED_FROM = 4
"""The version from which on rows carry checksums."""

VERSION = len(MIGRATIONS)
"""Of the schema; stands in the file as `PRAGMA user_version`."""


def version_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def schema_checksum(connection: sqlite3.Connection) -> int:
    """CRC-32 of the definitions of all tables and indexes, as the file holds them."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    return zlib.crc32(ascii(rows).encode())


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the store to VERSION, each step in a transaction of its own. Raises sqlite3.Error; what was done stays.

    The connection must have been taught `row_crc`.
    """
    for number in range(version_of(connection), VERSION):
        try:
            connection.executescript(f"BEGIN IMMEDIATE;{MIGRATIONS[number]};PRAGMA user_version = {number + 1}")
            if number + 1 >= CHECKED_FROM:
                row = sealed("meta", "schema", schema_checksum(connection))
                connection.execute(insert("meta", "INSERT OR REPLACE"), row)
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
