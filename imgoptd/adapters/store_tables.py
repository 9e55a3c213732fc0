"""What each table holds, and the checksum that each row carries. Pure."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from imgoptd.adapters.store_rows import FILE_COLUMNS, INTENT_COLUMNS, KEPT_COLUMNS, OUTPUT_COLUMNS, RECEIPT_COLUMNS

COLUMNS: dict[str, str] = {
    "meta": "key, value",
    "root": "id, path, baseline",
    "file": f"id, root, path, {FILE_COLUMNS}",
    "intent": f"file, {INTENT_COLUMNS}",
    "output": f"file, {OUTPUT_COLUMNS}",
    "receipt": f"id, file, wall_ms, {RECEIPT_COLUMNS}",
    "kept": f"id, file, wall_ms, {KEPT_COLUMNS}",
    "total": "key, value",
    "step": "file, seq, wall_ms, step, text",
    "learned": "kind, root, uid, codecs, memory, cpu, growth",
}
"""Every column but the last, `crc`, the checksum of the others; the key comes first."""

DISPENSABLE = frozenset({"learned"})
"""Tables of which a row that is not what was written is left out, and no sign that the store is damaged."""

_pack = msgspec.msgpack.Encoder().encode


def since_key(root: int) -> str:
    """Of the row in `meta` that says when the first scan of a folder was begun."""
    return f"since {root}"


def checksum(table: str, *values: Any) -> int:
    """CRC-32 of a row's values, in the order of COLUMNS, and of its table's name.

    It covers their msgpack form, which tells text, bytes, numbers and NULL apart and is the same in all versions.
    """
    return zlib.crc32(_pack((table, *values)))


def sealed(table: str, *values: Any) -> tuple[Any, ...]:
    """The row as it is stored: the values, and their checksum."""
    return *values, checksum(table, *values)


def is_sound(table: str, row: Sequence[Any]) -> bool:
    """Are these the values that were stored? `row` ends with its checksum."""
    try:
        return bool(checksum(table, *row[:-1]) == row[-1])
    except (UnicodeEncodeError, OverflowError):
        return False  # text that was never UTF-8 was never ours


def insert(table: str, verb: str = "INSERT") -> str:
    """The statement that stores a row of `sealed`."""
    columns = COLUMNS[table]
    places = "?, " * (columns.count(",") + 1)
    return f"{verb} INTO {table} ({columns}, crc) VALUES ({places}?)"


def of_sound(table: str) -> str:
    """An SQL condition, for a connection that was taught."""
    return f"crc = row_crc('{table}', {COLUMNS[table]})"


def teach(connection: sqlite3.Connection) -> None:
    """Let SQL on this connection compute checksums: `row_crc('total', key, value)`."""
    connection.create_function("row_crc", -1, checksum, deterministic=True)
