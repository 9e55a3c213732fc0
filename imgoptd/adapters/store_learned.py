"""What was learned of what jobs take, in the store: saved as a whole, believed row by row.

Losing it costs some memory reserved in vain, so a row that is not what was written is left out, and a store that is
rebuilt begins without any.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from imgoptd import __version__
from imgoptd.adapters.store_tables import COLUMNS, insert, is_sound, sealed
from imgoptd.core.commands import SaveLearned
from imgoptd.core.estimate import Lesson
from imgoptd.core.model import Domain

READ = f"SELECT {COLUMNS['learned']}, crc FROM learned ORDER BY rowid"
_PACKAGES = ("Pillow", "mozjpeg-lossless-optimization", "simplejpeg", "pyoxipng")


def codec_versions() -> str:
    """Under which versions something is learned: with others jobs may take more or less, by another table of costs."""
    return ", ".join([f"imgoptd {__version__}", *(f"{package} {_version(package)}" for package in _PACKAGES)])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def save(connection: sqlite3.Connection, learned: SaveLearned) -> None:
    """Put it in the place of all that was saved before. Raises sqlite3.Error."""
    connection.execute("DELETE FROM learned")
    codecs = learned.codecs.encode()
    rows = [
        sealed("learned", os.fsencode(kind), domain.root, domain.uid, codecs, *map(_packed, (memory, cpu, growth)))
        for kind, domain, memory, cpu, growth in learned.lessons
    ]
    connection.executemany(insert("learned"), rows)


def lessons(rows: Iterable[Sequence[Any]], codecs: str) -> list[Lesson]:
    """What those rows of READ say that are sound and were learned under the same versions, in their order."""
    return [
        Lesson(os.fsdecode(row[0]), Domain(row[1], row[2]), *map(_unpacked, row[4:7]))
        for row in rows
        if is_sound("learned", row) and row[3] == codecs.encode()
    ]


def _packed(logs: Sequence[int]) -> bytes:
    """Thousandths of logarithms are small: two bytes each."""
    return struct.pack(f"<{len(logs)}h", *logs)


def _unpacked(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(packed) // 2}h", packed)
