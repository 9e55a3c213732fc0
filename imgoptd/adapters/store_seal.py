"""A small file beside the store that remembers how far the store had come, so that a store that lost commits is known.

SQLite takes a log that is missing, is another's, or is damaged in the middle for one that ends early: what was
committed after that is gone without a word. So each commit counts itself in the database, and the count is noted here
once the commit is durable. The note itself is not flushed: what of it survives a power cut speaks of commits that do,
too. The store may thus be ahead of its seal, but a store behind its seal has lost commits.
"""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from imgoptd.adapters.store_files import NAME, StoreError, sync_folder

SEAL = "store.seal"

_HEADER_BYTES = 32
_TEXT = re.compile(
    rb"imgoptd store seal 1: state=(\w+) *version=(\d+) log=([01]) opened=(\d+) commits=(\d+) salts=([0-9a-f]{16}) "
)
_NO_SALTS = bytes(8)
_BEGUN_ANEW_MOST = 2**16
"""How often the log may have been begun anew since the seal's last note. Another store's log passes once in so many,
and then still has to hold as many commits as the seal counts.
"""


class SealState(StrEnum):
    OPEN = "open"
    """In use, or not closed well: what the log holds may stand nowhere else."""
    CLOSED = "closed"
    """All stands in the database; the log is of no account."""
    DAMAGED = "damaged"
    """Damage was found while the store was in use."""


@dataclass(frozen=True, slots=True)
class Seal:
    state: SealState
    version: int
    """Of the schema, written before the store is brought to it."""
    log: bool = True
    """Is there a write-ahead log? Some filesystems cannot have one."""
    opened: int = 0
    """Commits that had been made when the store was opened; all of them stand in the database itself."""
    commits: int = 0
    """Commits that have been made. The database counts as many, or a few more."""
    salts: bytes = _NO_SALTS
    """Of the log at the last commit: what tells one log from another (https://www.sqlite.org/fileformat2.html#walformat)."""

    def pack(self) -> bytes:
        """Always of the same length, below a sector's: it is overwritten in place."""
        text = (
            f"imgoptd store seal 1: state={self.state:<7} version={self.version:06} log={self.log:d}"
            f" opened={self.opened:020} commits={self.commits:020} salts={self.salts.hex()} "
        ).encode()
        return text + b"crc=%08x\n" % zlib.crc32(text)


class BrokenSeal(Exception):
    """The file is there and is no seal."""


def unpack(data: bytes) -> Seal:
    """Raises BrokenSeal."""
    found = _TEXT.match(data)
    if found is None or data[found.end() :] != b"crc=%08x\n" % zlib.crc32(found[0]):
        raise BrokenSeal
    state, version, log, opened, commits, salts = found.groups()
    if state.decode() not in set(SealState):
        raise BrokenSeal
    return Seal(
        SealState(state.decode()), int(version), log == b"1", int(opened), int(commits), bytes.fromhex(salts.decode())
    )


def read(state_dir: Path) -> Seal | None:
    """The seal of the store, or None where there is none. Raises BrokenSeal, StoreError."""
    try:
        data = (state_dir / SEAL).read_bytes()
        return unpack(data) if data else None  # a crash may come between making and writing it
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{state_dir / SEAL} cannot be read: {error.strerror}; mend its rights") from error


class Keeper:
    """Holds the seal of an open store, and follows its commits."""

    def __init__(self, state_dir: Path, seal: Seal) -> None:
        """Write the seal durably. Raises StoreError."""
        self._log_path = f"{state_dir / NAME}-wal"
        self._log = -1
        try:
            self._descriptor = os.open(state_dir / SEAL, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                self._write(seal)
                sync_folder(state_dir)
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise StoreError(
                f"{state_dir / SEAL} cannot be written: {error.strerror}; look at the filesystem of state_dir"
            ) from error

    def _write(self, seal: Seal) -> None:
        data = seal.pack()
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))
        os.fsync(self._descriptor)
        self.seal = seal

    def put(self, seal: Seal) -> bool:
        """Write another seal durably; False where that failed, and the older one may stand."""
        try:
            self._write(seal)
        except OSError:
            return False
        return True

    def committed(self, commits: int) -> None:
        """A commit is durable; note it."""
        salts = self._salts() if self.seal.log else _NO_SALTS
        self.seal = replace(self.seal, commits=commits, salts=salts)
        try:
            os.pwrite(self._descriptor, self.seal.pack(), 0)
        except OSError:
            pass  # the older note stands, and is as true

    def _salts(self) -> bytes:
        try:
            if self._log < 0:
                self._log = os.open(self._log_path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._log, 8, 16).ljust(8, b"\0")
        except OSError:
            return self.seal.salts

    def close(self) -> None:
        if self._log >= 0:
            os.close(self._log)
        os.close(self._descriptor)


# ---- what the files themselves tell, before SQLite opens them -------------------------------------------------------


def trouble(state_dir: Path, seal: Seal | None) -> str:
    """What is wrong with the store's files by its seal, in words; empty where nothing is."""
    database, log = _beginning(state_dir / NAME), _beginning(Path(f"{state_dir / NAME}-wal"))
    if not database:
        lost = bool(log) or (seal is not None and seal.commits > 0)
        return "the database is missing or empty" if lost else ""
    if seal is not None and seal.state is SealState.DAMAGED:
        return "damage was found while it was in use"
    if database[18:20] not in (b"\1\1", b"\2\2"):
        return "the header of the database is damaged"
    if seal is None or seal.state is SealState.CLOSED or not seal.log or seal.commits == seal.opened:
        return ""
    return _trouble_of_log(log, seal.salts)


def _trouble_of_log(log: bytes, salts: bytes) -> str:
    """A store that was not closed well needs its log, and just this one."""
    if len(log) < _HEADER_BYTES:
        return "its write-ahead log is missing or empty, and commits with it"
    if not _is_log_header(log):
        return "the header of its write-ahead log is damaged"
    # Each time it is begun anew the first half of the salts counts up, and the second is drawn anew. Notes are not
    # flushed: a power cut may take those of half a minute, in which a busy store begins its log anew many times.
    ahead = (int.from_bytes(log[16:20], "big") - int.from_bytes(salts[:4], "big")) % 2**32
    follows = 0 < ahead <= _BEGUN_ANEW_MOST
    return "" if log[16:24] == salts or follows else "its write-ahead log is another one"


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(100)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}; mend its rights") from error


def _is_log_header(header: bytes) -> bool:
    """Is its checksum right? (https://www.sqlite.org/fileformat2.html#checksum_algorithm)"""
    magic = int.from_bytes(header[:4], "big")
    if magic not in (0x377F0682, 0x377F0683):
        return False
    order = "big" if magic & 1 else "little"
    words = [int.from_bytes(header[place : place + 4], order) for place in range(0, 24, 4)]  # type: ignore[arg-type]
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) % 2**32
        second = (second + odd + first) % 2**32
    return header[24:32] == first.to_bytes(4, "big") + second.to_bytes(4, "big")
