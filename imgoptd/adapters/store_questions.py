"""Questions to the store: what it knows of files, folders and results. Every row that is read is looked at."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

from imgoptd.adapters import store_learned
from imgoptd.adapters.store_check import READ_ERRORS
from imgoptd.adapters.store_files import StoreDamaged
from imgoptd.adapters.store_kept import KeptRows
from imgoptd.adapters.store_opening import failed
from imgoptd.adapters.store_rows import Known, digest, file_from, intent_from, output_from, receipt_from
from imgoptd.adapters.store_schema import UNFINISHED
from imgoptd.adapters.store_tables import COLUMNS, is_sound, of_sound, since_key
from imgoptd.core.estimate import Lesson
from imgoptd.core.model import FileRecord, FileRef, Intent, Output, Receipt

HISTORY_STEPS = 50
"""Steps kept for each file: the last ones."""

TOTALS = ("done", "skipped", "quarantined", "bytes_before", "bytes_after", "saved")

_OF_FILE = "file = (SELECT id FROM file WHERE root = (SELECT id FROM root WHERE path = ?) AND path = ?)"
_PAGE_ROWS = 500
_KNOWN = (
    "FROM file WHERE root = (SELECT id FROM root WHERE path = ?) AND path > ? AND state IS NOT NULL"
    " ORDER BY path LIMIT ?"
)


class Questions:
    """Every method raises StoreError where SQLite fails, StoreDamaged where that is for damage."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def file(self, ref: FileRef) -> FileRecord | None:
        """The row of the path, or None where its state was never saved."""
        rows = self._rows(
            "file", "root = (SELECT id FROM root WHERE path = ?) AND path = ? AND state IS NOT NULL", *ref
        )
        return file_from(ref, rows[0][3:]) if rows else None

    def unfinished(self) -> Iterator[FileRecord]:
        """Every file that is queued, active, deferred or held, in the order the store first heard of them.

        Read in pages: commits may come in between, and memory holds one page.
        """
        after = 0
        while page := self.unfinished_after(after, _PAGE_ROWS):
            yield from (record for _, record in page)
            after = page[-1][0]

    def unfinished_after(self, after: int, limit: int, *, fresh: bool | None = None) -> list[tuple[int, FileRecord]]:
        """A page of unfinished files behind the key `after` (0 at first), each with its key; empty at the end.

        `fresh`: only fresh drops, or only others.
        """
        of_these = "" if fresh is None else f" AND fresh = {int(fresh)}"
        return self._page(UNFINISHED + of_these, after, limit)

    def _page(self, condition: str, after: int, limit: int) -> list[tuple[int, FileRecord]]:
        rows = self._rows("file", f"{condition} AND id > ? ORDER BY id LIMIT ?", after, limit)
        roots = {number: self._rows("root", "id = ?", number)[0][1] for number in {row[1] for row in rows}}
        return [(row[0], file_from(FileRef(roots[row[1]], row[2]), row[3:])) for row in rows]

    def count_unfinished(self) -> int:
        return int(self._query(f"SELECT count(*) FROM file WHERE {UNFINISHED}")[0][0])

    def quarantined(self, after: int) -> list[tuple[int, FileRef]]:
        """A page of the quarantined files behind the key `after` (0 at first), each with its key; empty at the end."""
        return [(number, record.ref) for number, record in self._page("state = 'quarantined'", after, _PAGE_ROWS)]

    def in_state(self, state: str, before: int, span: int) -> tuple[int, list[FileRecord]]:
        """The files in that state among the `span` rows before the key `before`, the last first heard of first.

        Returns where to go on, too: 0 at the end. Begin with a `before` beyond all keys.
        """
        last = int(self._query("SELECT coalesce(max(id), 0) FROM file WHERE id < ?", (before,))[0][0])
        after = max(0, last - span)
        page = self._page(f"state = '{state}' AND id <= {last}", after, span) if last else []
        return after + 1 if after else 0, [record for _, record in reversed(page)]

    def known(self, root: bytes, after: bytes, limit: int) -> list[Known]:
        """What is known of the folder's files whose path sorts after `after`: the first `limit`, in byte order of path.

        `b""` begins at the first; a list shorter than `limit` is the last. These rows alone are not looked at, which
        would cost as much as all the rest of a rescan: before anything is made of one, `prove_known` is to be called.
        """
        rows = self._query(f"SELECT path, identity, state, reason, output {_KNOWN}", (root, after, limit))
        return list(map(tuple.__new__, repeat(Known), rows))

    def prove_known(self, root: bytes, after: bytes, limit: int) -> None:
        """Look at all that `known` returns. Raises StoreDamaged where a row of it is not what was written."""
        proofs = self._query(f"SELECT {of_sound('file')} {_KNOWN}", (root, after, limit))
        if not all(sound for (sound,) in proofs):
            raise _bad_row("file")

    def intents(self) -> list[Intent]:
        """The replaces that were begun and neither finished nor given up, oldest file first."""
        return [
            intent_from(FileRef(root[1], file[2]), row[1:])
            for row in self._rows("intent", "TRUE ORDER BY file")
            for file in self._rows("file", "id = ?", row[0])
            for root in self._rows("root", "id = ?", file[1])
        ]

    def history(self, ref: FileRef) -> list[tuple[float, str, str]]:
        """The last steps of the file, oldest first: wall-clock seconds since 1970, step, text."""
        rows = self._rows("step", f"{_OF_FILE} ORDER BY seq DESC LIMIT {HISTORY_STEPS}", *ref)
        return [(wall_ms / 1000, step, text) for _, _, wall_ms, step, text in reversed(rows)]

    def receipts(self, ref: FileRef) -> list[Receipt]:
        """Of every finished replace at the path, oldest first."""
        return [receipt_from(ref, row[3:]) for row in self._rows("receipt", f"{_OF_FILE} ORDER BY id", *ref)]

    def output(self, ref: FileRef, root: bytes) -> Output | None:
        """What we put into the output tree at `root` for the file."""
        rows = self._rows("output", f"{_OF_FILE} AND root = ?", *ref, root)
        return output_from(ref, rows[0][1:]) if rows else None

    def has_outputs(self, root: bytes) -> bool:
        """Was anything ever put into the output tree at `root`?"""
        return bool(self._rows("output", "root = ? LIMIT 1", root))

    def trees(self) -> list[bytes]:
        """Every output tree into which anything was ever put. Walks the table: 0.1 s for a million rows."""
        return [root for (root,) in self._query("SELECT DISTINCT root FROM output")]

    def is_result(self, sha256: str) -> bool:
        """Is the content, named by its hash in hexadecimal, a result that stands in a receipt of any file?"""
        wanted = digest(sha256)
        return wanted is not None and bool(self._rows("receipt", "after_sha256 = ? LIMIT 1", wanted))

    def totals(self) -> dict[str, int]:
        """Counts and bytes for all time; the keys are TOTALS."""
        return dict.fromkeys(TOTALS, 0) | dict(self._rows("total", "TRUE"))

    def has_baseline(self, root: bytes) -> bool:
        """Has the first scan of the folder been completed once?"""
        return bool(self._rows("root", "path = ? AND baseline = 1", root))

    def learned(self, codecs: str) -> list[Lesson]:
        """What was learned of what jobs take, under these versions of the codecs."""
        return store_learned.lessons(self._query(store_learned.READ), codecs)

    @property
    def kept(self) -> KeptRows:
        """The originals that are kept."""
        return KeptRows(self._rows)

    def baseline_since(self, root: bytes) -> int:
        """When a first scan of the folder was begun that is not complete yet, in ns of the files' clock; 0: never."""
        numbers = [row[0] for row in self._rows("root", "path = ?", root)]
        return sum(row[1] for number in numbers for row in self._rows("meta", "key = ?", since_key(number)))

    def _rows(self, table: str, where: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows as in COLUMNS. Raises StoreDamaged for one that is not what was written."""
        rows = self._query(f"SELECT {COLUMNS[table]}, crc FROM {table} WHERE {where}", values)
        if not all(is_sound(table, row) for row in rows):
            raise _bad_row(table)
        return [row[:-1] for row in rows]

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except READ_ERRORS as error:
            raise failed("read", error) from error


def _bad_row(table: str) -> StoreDamaged:
    return StoreDamaged(
        f"a row of the store's table {table} is not what was written; the store is set aside and rebuilt when it is "
        "next opened"
    )
