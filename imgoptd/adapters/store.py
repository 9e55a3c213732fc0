"""The durable truth: files, their history, intents, receipts and totals, in SQLite.

WAL with `synchronous=FULL`: a commit that returned survives a power cut, and one that did not return is there in full
or not at all. Where the filesystem cannot do WAL, SQLite stays with its rollback journal: slower, as durable.
Every row carries a checksum that is looked at whenever it is read (`store_tables`); what is lost as a whole is known by
the seal (`store_seal`). One object, one thread; `store_thread.StoreThread` gives it to asyncio.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from imgoptd.adapters import store_files, store_kept, store_learned
from imgoptd.adapters.store_check import READ_ERRORS
from imgoptd.adapters.store_files import StoreDamaged, StoreError
from imgoptd.adapters.store_opening import (
    CHECKED_AT_ONCE_BYTES,
    Opened,
    all_in_database,
    commits_of,
    failed,
    open_or_begin,
    put_beside,
)
from imgoptd.adapters.store_questions import HISTORY_STEPS, TOTALS, Questions
from imgoptd.adapters.store_rows import (
    FILE_COLUMNS,
    UNSEEN,
    Known,
    clean,
    row_of,
    row_of_intent,
    row_of_output,
    row_of_receipt,
)
from imgoptd.adapters.store_seal import SealState
from imgoptd.adapters.store_tables import COLUMNS, checksum, insert, sealed, since_key
from imgoptd.core.commands import (
    AppendStep,
    BaselineBegun,
    BaselineTaken,
    DropIntent,
    DropKept,
    Record,
    SaveFile,
    SaveIntent,
    SaveKept,
    SaveLearned,
    SaveOutput,
    SaveReceipt,
)
from imgoptd.core.model import FileRecord, FileRef, JobState, Receipt

__all__ = ["HISTORY_STEPS", "TOTALS", "Known", "Store", "StoreDamaged", "StoreError"]

_INSERT = {table: insert(table) for table in COLUMNS}
_PUT = {table: insert(table, "INSERT OR REPLACE") for table in COLUMNS}
_UPDATE_FILE = (
    f"UPDATE file SET {', '.join(f'{column} = ?' for column in FILE_COLUMNS.split(', '))}, crc = ? WHERE id = ?"
)
_TRIM_EVERY_STEPS = 10


class Store(Questions):
    """Made by `open`. Every method raises StoreError where SQLite fails, StoreDamaged where that is for damage."""

    def __init__(self, path: Path, opened: Opened, lock: store_files.Lock, wall: Callable[[], float]) -> None:
        super().__init__(opened.connection)
        self._keeper = opened.keeper
        self._log_hold = opened.log_hold
        self._lock = lock
        self._wall = wall
        self.path = path
        """Of the database."""
        self._commits = commits_of(opened.connection)
        self._files = store_files.InUse(path)
        self._roots: dict[bytes, int] = {}
        self._closed = False
        self.opened_fresh_because = opened.rebuilt_because
        """Not empty where a damaged store was set aside and rebuilt: a sentence to be said aloud."""
        self.checked = opened.checked
        """False for a large store: what was not read yet may still be damaged, and is to be checked while in use."""

    @classmethod
    def open(
        cls,
        state_dir: Path,
        wall: Callable[[], float] = time.time,
        checked_at_once_bytes: int = CHECKED_AT_ONCE_BYTES,
    ) -> Store:
        """Open or begin the store of the folder. `wall` gives wall-clock seconds since 1970.

        A damaged store is set aside under another name, never removed, and what is sound in it is taken over. Raises
        StoreError where another daemon holds the folder, where the store is of a newer version, and where the folder
        cannot be used.
        """
        store_files.make_folder(state_dir)
        lock = store_files.Lock(state_dir)
        try:
            opened = open_or_begin(state_dir, wall, checked_at_once_bytes)
            return cls(state_dir / store_files.NAME, opened, lock, wall)
        except BaseException:
            lock.release()
            raise

    def close(self) -> None:
        """Move the log into the database, if that can be done, and let the folder go. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._files.lost():
                self._put_beside()
            if all_in_database(self._connection) and self._put_seal(SealState.CLOSED):
                if self._log_hold is not None:
                    self._log_hold.let_go()
                try:
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                except sqlite3.Error:
                    pass  # the log is of no account any more
            # Else the log stays, whatever could be moved by now: the seal says that it is needed.
            self._connection.close()
        finally:
            if self._log_hold is not None:
                self._log_hold.close()
            self._keeper.close()
            self._lock.release()

    def _put_beside(self) -> None:
        try:
            put_beside(self._connection, self.path.parent)
        except (StoreError, sqlite3.Error, OSError):
            pass  # no room for it: the next store begins empty

    def mark_damaged(self) -> None:
        """Damage was found: the next opening rebuilds the store, even if it does not meet the damage."""
        self._put_seal(SealState.DAMAGED)

    def _put_seal(self, state: SealState) -> bool:
        seal = self._keeper.seal
        return seal.state is not SealState.DAMAGED and self._keeper.put(replace(seal, state=state))

    # ---- writing ----------------------------------------------------------------------------------------------------

    def commit(self, records: Sequence[Record]) -> None:
        """Make all records durable in one transaction, in their order; when it raises, none of them is."""
        if not records:
            return
        totals: Counter[str] = Counter()
        with self._transaction():
            for record in records:
                self._apply(record, totals)
            for key, added in totals.items():
                self._add_to_total(key, added)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        commits = self._commits + 1
        if self._files.lost():
            raise StoreDamaged("the store's files were removed or replaced while in use; it is put back as it was")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._put("meta", "commits", commits)
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, READ_ERRORS):
                raise failed("written", error) from error
            raise
        self._commits = commits
        self._keeper.committed(commits)

    def _roll_back(self) -> None:
        self._roots.clear()  # it may name rows that are gone again
        if self._connection.in_transaction:  # SQLite may have rolled back by itself, as it can on a full disk
            self._connection.execute("ROLLBACK")

    def forget(self, refs: Sequence[FileRef]) -> int:
        """Remove the rows and steps of files that have vanished, in one transaction; how many went.

        Only what was skipped goes: a receipt proves what is a result of ours, an output what of an output tree is, an
        intent what is still to be put right, and an original may be kept of it. What stood there before the folder was
        watched stays known, too: it may come back (a disk that is mounted again, say), and would then be taken for new.
        """
        with self._transaction():
            return sum(self._forget(ref) for ref in refs)

    def _forget(self, ref: FileRef) -> int:
        found = self._connection.execute(
            "SELECT id FROM file WHERE root = (SELECT id FROM root WHERE path = ?) AND path = ?"
            " AND state = 'skipped' AND reason <> 'existing'"
            " AND NOT EXISTS (SELECT 1 FROM receipt WHERE file = file.id)"
            " AND NOT EXISTS (SELECT 1 FROM intent WHERE file = file.id)"
            " AND NOT EXISTS (SELECT 1 FROM kept WHERE file = file.id)"
            " AND NOT EXISTS (SELECT 1 FROM output WHERE file = file.id)",
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
                self._put("intent", self._file_id(intent.ref), *row_of_intent(intent))
            case DropIntent(ref):
                self._connection.execute("DELETE FROM intent WHERE file = ?", (self._file_id(ref),))
            case SaveReceipt(receipt):
                self._save_receipt(receipt, totals)
            case SaveKept(kept):
                store_kept.save(self._connection, self._file_id(kept.ref), self._wall_ms(), kept)
            case DropKept(kept):
                store_kept.drop(self._connection, kept)
            case SaveOutput(output):
                self._put("output", self._file_id(output.ref), *row_of_output(output))
            case SaveLearned():
                store_learned.save(self._connection, record)
            case BaselineBegun(root, wall_ns):
                key = since_key(self._root_id(root))
                if not self._rows("meta", "key = ?", key):
                    self._put("meta", key, wall_ns)
            case BaselineTaken(root):
                self._connection.execute("DELETE FROM meta WHERE key = ?", (since_key(self._root_id(root)),))
                number = self._root_id(root)
                crc = checksum("root", number, root, 1)
                self._connection.execute("UPDATE root SET baseline = 1, crc = ? WHERE id = ?", (crc, number))

    def _save_file(self, record: FileRecord, totals: Counter[str]) -> None:
        if record.state is JobState.SETTLING:
            raise ValueError("a settling file is not stored: after a restart it is looked at anew")
        file, root = self._file_id(record.ref), self._root_id(record.ref.root)
        row = row_of(record)
        if record.state in (JobState.SKIPPED, JobState.QUARANTINED):
            [was] = self._rows("file", "id = ?", file)
            # Another content that ends in the same state counts again, the same one does not.
            totals[record.state.value] += was[3:5] != row[:2]
        self._connection.execute(_UPDATE_FILE, (*sealed("file", file, root, record.ref.path, *row)[3:], file))

    def _append_step(self, file: int, step: str, text: str) -> None:
        last = self._connection.execute("SELECT max(seq) FROM step WHERE file = ?", (file,)).fetchone()[0]
        seq = (last or 0) + 1
        self._insert("step", file, seq, self._wall_ms(), clean(step), clean(text))
        if seq % _TRIM_EVERY_STEPS == 0:
            self._connection.execute("DELETE FROM step WHERE file = ? AND seq <= ?", (file, seq - HISTORY_STEPS))

    def _save_receipt(self, receipt: Receipt, totals: Counter[str]) -> None:
        file = self._file_id(receipt.ref)
        self._insert("receipt", self._next_id("receipt"), file, self._wall_ms(), *row_of_receipt(receipt))
        totals["done"] += 1
        totals["bytes_before"] += receipt.bytes_before
        totals["bytes_after"] += receipt.bytes_after
        totals["saved"] += receipt.bytes_before - receipt.bytes_after

    def _add_to_total(self, key: str, added: int) -> None:
        before = sum(value for _, value in self._rows("total", "key = ?", key))
        self._put("total", key, before + added)

    def _wall_ms(self) -> int:
        return round(self._wall() * 1000)

    def _root_id(self, root: bytes) -> int:
        if root not in self._roots:
            found = self._rows("root", "path = ?", root)
            number = found[0][0] if found else self._next_id("root")
            if not found:
                self._insert("root", number, root, 0)
            self._roots[root] = number
        return self._roots[root]

    def _file_id(self, ref: FileRef) -> int:
        """The file's key; a row that only names it is made where there is none."""
        root = self._root_id(ref.root)
        found = self._connection.execute("SELECT id FROM file WHERE root = ? AND path = ?", (root, ref.path)).fetchone()
        if found is not None:
            return int(found[0])
        file = self._next_id("file")
        self._insert("file", file, root, ref.path, *UNSEEN)
        return file

    def _next_id(self, table: str) -> int:
        return int(self._connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0] or 0) + 1

    def _insert(self, table: str, *row: Any) -> None:
        self._connection.execute(_INSERT[table], sealed(table, *row))

    def _put(self, table: str, *row: Any) -> None:
        """Store the row in the place of one with the same key. Not for rows that others speak of."""
        self._connection.execute(_PUT[table], sealed(table, *row))
