"""Is it the file, or its disk? A file of our own is made, written and put on disk where the trouble was."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.replace.names import new_temp_name
from imgoptd.adapters.room import want_of_room
from imgoptd.adapters.troubles import READ_ONLY, reason_of
from imgoptd.core.model import Failure, FailureKind

PAGE_BYTES = 4096
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS})
"""As for a job's output: a filesystem, kernel or layer without O_TMPFILE."""


@dataclass(frozen=True, slots=True)
class FolderProbe:
    failure: Failure | None
    """None: the disk is well, or its trouble is about rights and names, which say nothing of a disk."""
    shown: bool = False
    """The filesystem's own figures say it: nothing was written."""


def probe_folder(folder: Folder, path: bytes, dev: int, need_bytes: int) -> FolderProbe:
    """Try the folder that holds `path`, or the nearest one above that is still there, on the device `dev` (0: any).

    Never raises OSError. A crash leaves nothing, or, on a filesystem without O_TMPFILE in the microseconds between
    making and unlinking, an empty file with the hidden name of a temp, which no scan takes notice of.
    """
    try:
        parent_fd = _nearest(folder, path)
    except OSError as error:
        return FolderProbe(_failure(error, "the folder cannot be opened"))
    try:
        return _probe(parent_fd, dev, need_bytes)
    except OSError as error:
        return FolderProbe(_failure(error, "a file of our own cannot be written there"))
    finally:
        os.close(parent_fd)


def _probe(parent_fd: int, dev: int, need_bytes: int) -> FolderProbe:
    """Raises OSError."""
    if dev and os.fstat(parent_fd).st_dev != dev:
        return FolderProbe(None)  # the disk has gone from there, and its files with it: each look will say so
    space = os.fstatvfs(parent_fd)
    if space.f_flag & os.ST_RDONLY:
        return FolderProbe(Failure(FailureKind.TRANSIENT, READ_ONLY, "its filesystem is read-only"), shown=True)
    full = want_of_room(space, max(PAGE_BYTES, need_bytes), most_is_floor=True)
    if full is not None:
        return FolderProbe(full, shown=True)
    fd = _nameless(parent_fd)
    try:
        os.write(fd, bytes(PAGE_BYTES))
        os.fsync(fd)
    finally:
        os.close(fd)
    return FolderProbe(None)


def _nearest(folder: Folder, path: bytes) -> int:
    """An O_PATH descriptor; the caller owns it. Raises OSError."""
    while True:
        try:
            return folder.open_parent(path)
        except (FileNotFoundError, NotADirectoryError):
            path = path.rpartition(b"/")[0]
            if not path:
                raise


def _nameless(parent_fd: int) -> int:
    """An empty file without a name, open for writing. Raises OSError."""
    try:
        return os.open(b".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=parent_fd)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
    name = new_temp_name()
    fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=parent_fd)
    try:
        os.unlink(name, dir_fd=parent_fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def _failure(error: OSError, doing: str) -> Failure | None:
    reason = reason_of(error)
    if reason is None:
        return None
    return Failure(FailureKind.TRANSIENT, reason, f"{doing}: {error.strerror or error}")
