"""The durable truth: files, their history, intents, receipts and totals, in SQLite.

WAL with `synchronous=FULL`: a commit that returned survives a power cut, and one that did not return is there in full
or not at all. Where the filesystem cannot do WAL, SQLite stays with its rollback journal: slower, as durable.
One object, one thread; `store_thread.StoreThread` gives it to asyncio.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imgoptd.adapters import store_files, store_kept
from imgoptd.adapters.store_files import StoreError
from imgoptd.adapters.store_rows import (
    FILE_COLUMNS,
    INTENT_COLUMNS,
    RECEIPT_COLUMNS,
    Known,
    clean,
    digest,
    file_from,
    identity_from,
    intent_from,
    receipt_from,
    row_of,
    row_of_intent,
    row_of_receipt,
)
from imgoptd.adapters.store_schema import UNFINISHED, VERSION, migrate, version_of
from imgoptd.core.commands import (
    AppendStep,
    BaselineTaken,
    DropIntent,
    DropKept,
    Record,
    SaveFile,
    SaveIntent,
    SaveKept,
    SaveReceipt,
)
from imgoptd.core.model import FileRecord, FileRef, Intent, JobState, Receipt

__all__ = ["Known", "Store", "StoreError"]

HISTORY_STEPS = 50
"""Steps kept for each file: the last ones."""

TOTALS = ("done", "skipped", "quarantined", "bytes_before", "bytes_after", "saved")

_TRIM_EVERY_STEPS = 10
_PAGE_ROWS = 500
_LOG_LIMIT_BYTES = 64 << 20


class Store:
    """Made by `open`. Every method raises StoreError where SQLite fails."""

    def __init__(self, connection: sqlite3.Connection, lock: store_files.Lock, wall: Callable[[], float]) -> None:
        self._connection = connection
        self._lock = lock
        self._wall = wall
        self._roots: dict[bytes, int] = {}
        self._closed = False
        self.opened_fresh_because = ""
        """Not empty where a damaged store was set aside and a new one begun: a sentence to be said aloud."""

    @classmethod
    def open(cls, state_dir: Path, wall: Callable[[], float] = time.time) -> Store:
        """Open or begin the store of the folder. `wall` gives wall-clock seconds since 1970.

        A damaged store is set aside under another name, never removed. Raises StoreError where another daemon holds
        the folder, where the store is of a newer version, and where the folder cannot be used.
        """
        store_files.make_folder(state_dir)
        lock = store_files.Lock(state_dir)
        try:
            connection, because = _open_or_begin(state_dir, wall)
        except BaseException:
            lock.release()
            raise
        store = cls(connection, lock, wall)
        store.opened_fresh_because = because
        return store

    def close(self) -> None:
        """Move the log into the database and let the folder go. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            pass  # the log keeps what could not be moved (a full disk, say), and the next start reads it
        self._connection.close()
        self._lock.release()

    # ---- writing ----------------------------------------------------------------------------------------------------

    def commit(self, records: Sequence[Record]) -> None:
        """Make all records durable in one transaction, in their order; when it raises, none of them is."""
        if not records:
            return
        totals: Counter[str] = Counter()
        with self._transaction():
            for record in records:
                self._apply(record, totals)
            for total in totals.items():
                self._connection.execute(
                    "INSERT INTO total VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = value + excluded.value",
                    total,
                )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error):
                raise _failed("written", error) from error
            raise

    def _roll_back(self) -> None:
        self._roots.clear()  # it may name rows that are gone again
        if self._connection.in_transaction:  # SQLite may have rolled back by itself, as it can on a full disk
            self._connection.execute("ROLLBACK")

    def forget(self, refs: Sequence[FileRef]) -> int:
        """Remove the rows and steps of files that have vanished, in one transaction; how many went.

        Only what was skipped goes: a receipt proves what is a result of ours, an intent what is still to be put right,
        and an original may be kept of it. What stood there before the folder was watched stays known, too: it may come
        back (a disk that is mounted again, say), and would then be taken for new.
        """
        with self._transaction():
            return sum(self._forget(ref) for ref in refs)

    def _forget(self, ref: FileRef) -> int:
        found = self._connection.execute(
            "SELECT id FROM file WHERE root = (SELECT id FROM root WHERE path = ?) AND path = ?"
            " AND state = 'skipped' AND reason <> 'existing'"
            " AND NOT EXISTS (SELECT 1 FROM receipt WHERE file = file.id)"
            " AND NOT EXISTS (SELECT 1 FROM intent WHERE file = file.id)"
            " AND NOT EXISTS (SELECT 1 FROM kept WHERE file = file.id)",
            ref,
        ).fetchone()
        if found is None:
            return 0
        self._connection.execute("DELETE FROM step WHERE file = ?", found)
        self._connection.execute("DELETE FROM file WHERE id = ?", found)
        return 1

    def _apply(self, record: Record, totals: Counter[str]) -> None:
        match record:
            case SaveFile(file):
                self._save_file(file, totals)
            case AppendStep(ref, step, text):
                self._append_step(self._file_id(ref), step, text)
            case SaveIntent(intent):
                self._connection.execute(
                    f"INSERT OR REPLACE INTO intent (file, {INTENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (self._file_id(intent.ref), *row_of_intent(intent)),
                )
            case DropIntent(ref):
                self._connection.execute("DELETE FROM intent WHERE file = ?", (self._file_id(ref),))
            case SaveReceipt(receipt):
                self._save_receipt(receipt, totals)
            case SaveKept(kept):
                store_kept.save(self._connection, self._file_id(kept.ref), self._wall_ms(), kept)
            case DropKept(kept):
                store_kept.drop(self._connection, kept)
            case BaselineTaken(root):
                self._connection.execute("UPDATE root SET baseline = 1 WHERE id = ?", (self._root_id(root),))

    def _save_file(self, record: FileRecord, totals: Counter[str]) -> None:
        if record.state is JobState.SETTLING:
            raise ValueError("a settling file is not stored: after a restart it is looked at anew")
        file = self._file_id(record.ref)
        row = row_of(record)
        if record.state in (JobState.SKIPPED, JobState.QUARANTINED):
            was = self._connection.execute("SELECT state, identity FROM file WHERE id = ?", (file,)).fetchone()
            # Another content that ends in the same state counts again, the same one does not.
            totals[record.state.value] += was != row[:2]
        assignments = ", ".join(f"{column} = ?" for column in FILE_COLUMNS.split(", "))
        self._connection.execute(f"UPDATE file SET {assignments} WHERE id = ?", (*row, file))

    def _append_step(self, file: int, step: str, text: str) -> None:
        last = self._connection.execute("SELECT max(seq) FROM step WHERE file = ?", (file,)).fetchone()[0]
        seq = (last or 0) + 1
        self._connection.execute(
            "INSERT INTO step VALUES (?, ?, ?, ?, ?)", (file, seq, self._wall_ms(), clean(step), clean(text))
        )
        if seq % _TRIM_EVERY_STEPS == 0:
            self._connection.execute("DELETE FROM step WHERE file = ? AND seq <= ?", (file, seq - HISTORY_STEPS))

    def _save_receipt(self, receipt: Receipt, totals: Counter[str]) -> None:
        self._connection.execute(
            f"INSERT INTO receipt (file, wall_ms, {RECEIPT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self._file_id(receipt.ref), self._wall_ms(), *row_of_receipt(receipt)),
        )
        totals["done"] += 1
        totals["bytes_before"] += receipt.bytes_before
        totals["bytes_after"] += receipt.bytes_after
        totals["saved"] += receipt.bytes_before - receipt.bytes_after

    def _wall_ms(self) -> int:
        return round(self._wall() * 1000)

    def _root_id(self, root: bytes) -> int:
        if root not in self._roots:
            self._connection.execute("INSERT OR IGNORE INTO root (path) VALUES (?)", (root,))
            found = self._connection.execute("SELECT id FROM root WHERE path = ?", (root,)).fetchone()
            self._roots[root] = found[0]
        return self._roots[root]

    def _file_id(self, ref: FileRef) -> int:
        """The file's key; a row that only names it is made where there is none."""
        key = (self._root_id(ref.root), ref.path)
        found = self._connection.execute("SELECT id FROM file WHERE root = ? AND path = ?", key).fetchone()
        if found is not None:
            return int(found[0])
        return self._connection.execute("INSERT INTO file (root, path) VALUES (?, ?)", key).lastrowid or 0

    # ---- reading ----------------------------------------------------------------------------------------------------

    def file(self, ref: FileRef) -> FileRecord | None:
        """The row of the path, or None where its state was never saved."""
        rows = self._of_file(f"SELECT {FILE_COLUMNS} FROM file WHERE id = ? AND state IS NOT NULL", ref)
        return file_from(ref, rows[0]) if rows else None

    def unfinished(self) -> Iterator[FileRecord]:
        """Every file that is queued, active, deferred or held, in the order the store first heard of them.

        Read in pages: commits may come in between, and memory holds one page.
        """
        last = 0
        while True:
            rows = self._query(
                f"SELECT file.id, (SELECT path FROM root WHERE id = file.root), path, {FILE_COLUMNS} FROM file"
                f" WHERE {UNFINISHED} AND id > ? ORDER BY id LIMIT {_PAGE_ROWS}",
                (last,),
            )
            for row in rows:
                yield file_from(FileRef(row[1], row[2]), row[3:])
            if len(rows) < _PAGE_ROWS:
                return
            last = rows[-1][0]

    def quarantined(self, after: int) -> list[tuple[int, FileRef]]:
        """A page of the quarantined files behind the key `after` (0 at first), each with its key; empty at the end."""
        rows = self._query(
            "SELECT file.id, root.path, file.path FROM file JOIN root ON root.id = file.root"
            f" WHERE state = 'quarantined' AND file.id > ? ORDER BY file.id LIMIT {_PAGE_ROWS}",
            (after,),
        )
        return [(row[0], FileRef(row[1], row[2])) for row in rows]

    def known(self, root: bytes, after: bytes, limit: int) -> list[Known]:
        """What is known of the folder's files whose path sorts after `after`: the first `limit`, in byte order of path.

        `b""` begins at the first; a list shorter than `limit` is the last.
        """
        rows = self._query(
            "SELECT path, identity, state, reason FROM file WHERE root = (SELECT id FROM root WHERE path = ?)"
            " AND path > ? AND state IS NOT NULL ORDER BY path LIMIT ?",
            (root, after, limit),
        )
        return [Known(path, identity_from(identity), JobState(state), reason) for path, identity, state, reason in rows]

    def intents(self) -> list[Intent]:
        """The replaces that were begun and neither finished nor given up, oldest file first."""
        rows = self._query(
            f"SELECT root.path, file.path, {INTENT_COLUMNS} FROM intent"
            " JOIN file ON file.id = intent.file JOIN root ON root.id = file.root ORDER BY file.id"
        )
        return [intent_from(FileRef(row[0], row[1]), row[2:]) for row in rows]

    def history(self, ref: FileRef) -> list[tuple[float, str, str]]:
        """The last steps of the file, oldest first: wall-clock seconds since 1970, step, text."""
        rows = self._of_file(
            f"SELECT wall_ms, step, text FROM step WHERE file = ? ORDER BY seq DESC LIMIT {HISTORY_STEPS}", ref
        )
        return [(wall_ms / 1000, step, text) for wall_ms, step, text in reversed(rows)]

    def receipts(self, ref: FileRef) -> list[Receipt]:
        """Of every finished replace at the path, oldest first."""
        rows = self._of_file(f"SELECT {RECEIPT_COLUMNS} FROM receipt WHERE file = ? ORDER BY id", ref)
        return [receipt_from(ref, row) for row in rows]

    def is_result(self, sha256: str) -> bool:
        """Is the content, named by its hash in hexadecimal, a result that stands in a receipt of any file?"""
        wanted = digest(sha256)
        return wanted is not None and bool(
            self._query("SELECT 1 FROM receipt WHERE after_sha256 = ? LIMIT 1", (wanted,))
        )

    def totals(self) -> dict[str, int]:
        """Counts and bytes for all time; the keys are TOTALS."""
        return dict.fromkeys(TOTALS, 0) | dict(self._query("SELECT key, value FROM total"))

    def has_baseline(self, root: bytes) -> bool:
        """Has the first scan of the folder been completed once?"""
        return bool(self._query("SELECT 1 FROM root WHERE path = ? AND baseline = 1", (root,)))

    @property
    def kept(self) -> store_kept.KeptRows:
        """The originals that are kept."""
        return store_kept.KeptRows(self._query)

    def _of_file(self, sql: str, ref: FileRef) -> list[Any]:
        key = "(SELECT id FROM file WHERE root = (SELECT id FROM root WHERE path = ?) AND path = ?)"
        return self._query(sql.replace("?", key, 1), ref)

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _failed("read", error) from error


# ---- opening --------------------------------------------------------------------------------------------------------


class _Damaged(Exception):
    """The check found the database inconsistent."""


def _open_or_begin(state_dir: Path, wall: Callable[[], float]) -> tuple[sqlite3.Connection, str]:
    path = state_dir / store_files.NAME
    try:
        try:
            return _connect(path), ""
        except (sqlite3.DatabaseError, _Damaged) as error:
            if isinstance(error, sqlite3.DatabaseError) and not _is_damage(error):
                raise
            aside = store_files.set_aside(state_dir, wall())
            store_files.make_folder(state_dir)
            because = f"the store was damaged ({error}): it was set aside as {aside}, and a new one was begun"
            return _connect(path), because
    except sqlite3.Error as error:
        raise _failed("opened", error) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        version = version_of(connection)
        if version > VERSION:
            raise StoreError(
                f"{path} was written by a newer imgoptd (schema {version}, this one knows {VERSION}); "
                "run that version, or give this one a state_dir of its own"
            )
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise _Damaged(found)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_LIMIT_BYTES}")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_damage(error: sqlite3.Error) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: sqlite3.Error) -> int:
    """The primary result code (https://www.sqlite.org/rescode.html); 0 for an error of Python's own module."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _failed(what: str, error: sqlite3.Error) -> StoreError:
    if _is_damage(error):
        mend = "restart imgoptd: it sets a damaged store aside and begins a new one"
    elif _code(error) == sqlite3.SQLITE_FULL:
        mend = "free some space on the filesystem of state_dir"
    else:
        mend = "look at the filesystem of state_dir"
    return StoreError(f"the store cannot be {what}: {error}; {mend}")
