"""The folder the store lives in: made, locked for one daemon, and a damaged store set aside."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from pathlib import Path

NAME = "store.sqlite"
COMPANIONS = ("", "-wal", "-shm", "-journal")
"""What SQLite keeps: the database, its write-ahead log and the log's shared memory, or its rollback journal."""


class StoreError(Exception):
    """The store cannot be used or written. The text says why and what to do; nothing of a failed commit was applied."""


class StoreDamaged(StoreError):
    """Something in the store is not what was written. Opening it anew sets it aside and rebuilds it."""


def sync_folder(folder: Path) -> None:
    """Make the names in it durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(state_dir: Path) -> None:
    """Make the folder, 0700, and in it the database file, 0600 (SQLite gives its companions the same mode)."""
    try:
        if not state_dir.is_dir():
            if not state_dir.parent.exists():
                os.makedirs(state_dir.parent)
            os.mkdir(state_dir, 0o700)
        descriptor = os.open(state_dir / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(
            f"state_dir {state_dir} cannot be used: {error.strerror}; "
            "give a folder that the daemon may write to, as [daemon] state_dir"
        ) from error


class Lock:
    """Held by the one daemon that uses the folder; the kernel frees it when that process ends, however it ends."""

    def __init__(self, state_dir: Path) -> None:
        try:
            self._descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(f"state_dir {state_dir} cannot be locked: {error.strerror}; mend its rights") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
        except BlockingIOError as error:
            holder = os.pread(self._descriptor, 20, 0).strip().decode("ascii", "replace") or "unknown"
            os.close(self._descriptor)
            raise StoreError(
                f"another imgoptd uses {state_dir} (pid {holder}); stop it, or give this one a state_dir of its own"
            ) from error
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError(f"state_dir {state_dir} cannot be locked: {error.strerror}") from error

    def release(self) -> None:
        # The file stays: to remove it could take the name from a daemon that has just locked it.
        os.close(self._descriptor)


class InUse:
    """The files of an open store: do they still stand where the next start looks for them?

    What was removed or replaced goes on working for who has it open, and all of it is gone with the process.
    """

    def __init__(self, database: Path) -> None:
        """To be made when SQLite has opened them."""
        paths = [f"{database}{companion}" for companion in ("", "-wal")]
        self._inodes = {path: inode for path in paths if (inode := _inode(path)) is not None}

    def lost(self) -> bool:
        try:
            return any(_inode(path) != inode for path, inode in self._inodes.items())
        except OSError:
            return False  # nobody can tell now


def _inode(path: str) -> tuple[int, int] | None:
    """None where nothing stands at the path. Raises OSError."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


class LogHold:
    """Keeps SQLite from moving and removing the log when the last connection is closed, until it is let go of.

    SQLite does so only where it gets the database for itself alone (the lock of
    https://www.sqlite.org/lockingv3.html#locking, in unix a lock of these bytes). A lock of an open file description
    (fcntl(2)) counts as another's, in the same process too. Close the connection before the hold: closing a file
    frees all locks that the process has on it.
    """

    _SHARED_FIRST, _SHARED_BYTES = 0x40000002, 510

    def __init__(self, database: Path) -> None:
        """Where the filesystem has no such locks nothing is held. Raises StoreError."""
        try:
            self._descriptor = os.open(database, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise StoreError(f"{database} cannot be opened: {error.strerror}; mend its rights") from error
        try:
            self._lock(fcntl.F_RDLCK)
        except OSError:
            pass  # the log goes as SQLite has it

    def let_go(self) -> None:
        try:
            self._lock(fcntl.F_UNLCK)
        except OSError:
            pass  # it was not held

    def _lock(self, kind: int) -> None:
        lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, self._SHARED_FIRST, self._SHARED_BYTES, 0)  # struct flock
        fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, lock)

    def close(self) -> None:
        os.close(self._descriptor)


def set_aside(state_dir: Path, wall_s: float) -> Path:
    """Rename the database and its companions to `store.sqlite.damaged-<UTC>`; the new name of the database."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(wall_s))
    aside = state_dir / f"{NAME}.damaged-{stamp}"
    number = 1
    while any(os.path.lexists(f"{aside}{companion}") for companion in COMPANIONS):
        number += 1
        aside = state_dir / f"{NAME}.damaged-{stamp}-{number}"
    # The database first: should we end half way, SQLite drops a log that has no database, but would take an old
    # database without its log for a whole one.
    for companion in COMPANIONS:
        try:
            os.rename(f"{state_dir / NAME}{companion}", f"{aside}{companion}")
        except FileNotFoundError:
            pass  # a store that was closed well has no companions
        except OSError as error:
            raise StoreError(f"the damaged store in {state_dir} cannot be renamed: {error.strerror}") from error
    return aside
