"""One look at a path: what stands there, which content, and whether anybody is still writing to it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable
from dataclasses import replace

from imgoptd.adapters import fsinfo
from imgoptd.adapters.beneath import Folder, reopen_for_reading
from imgoptd.adapters.listings import Listings
from imgoptd.adapters.mounts import is_read_only_mount
from imgoptd.adapters.spelling import listed_as
from imgoptd.adapters.troubles import TOO_LONG_MEND, reason_of
from imgoptd.core.finished import PATH_TOO_LONG
from imgoptd.core.model import Failure, FileKind, Identity, Lease, Look
from imgoptd.core.whole import ends_whole

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


def ignore_lease_signals() -> None:
    """Ignore SIGIO in the whole process; call once, from the main thread.

    A writer that comes while we hold a lease for a moment makes the kernel send us a signal. Leases taken here ask for
    SIGURG, which is ignored unless a program asks for it; where the kernel cannot queue that, it sends SIGIO, which
    would end the process.
    """
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def identity_of(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def leased_stat(fd: int) -> tuple[Lease, os.stat_result]:
    """Take a read lease on a file opened read-only, stat it while the lease holds, give the lease back at once.

    GRANTED: no local process had the file open for writing, or mapped writable, while the result was taken. BUSY: one
    has, or came while we looked. UNAVAILABLE: the filesystem or our rights allow no leases (fcntl(2): the file's owner
    or CAP_LEASE). A granted lease says nothing of writers on other machines or behind FUSE.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        busy = error.errno in (errno.EAGAIN, errno.EBUSY)
        return (Lease.BUSY if busy else Lease.UNAVAILABLE), os.fstat(fd)
    try:
        status = os.fstat(fd)
        # A writer waiting for the lease is not a holder yet; the kernel shows it by a lease that is being broken.
        unbroken = fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK
    finally:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return (Lease.GRANTED if unbroken else Lease.BUSY), status


def look(folder: Folder, path: bytes, *, ends: bool = False, listings: Listings | None = None) -> Look:
    """Look at `path` below the folder, without following a link or opening anything but a regular file.

    With `ends`, a few bytes of its head and end are read to tell `ends_whole`.

    Never raises for a file's own troubles: they are UNREADABLE, with what the kernel said in `detail`. A folder on the
    way that is a symbolic link makes the path a SYMLINK. The identity was taken while the lease held. Where case makes
    no difference, a path that the folder lists in another spelling is GONE; `listings` are asked there.
    """
    try:
        pin = folder.pin(path)
    except OSError as error:
        return _unpinnable(error)
    try:
        listed = listed_as(folder, path, os.fstat(pin), listings or Listings())
        if listed is not None:
            return Look(FileKind.GONE, listed_as=listed)
        return _look_at(pin, ends)
    except OSError as error:
        return Look(FileKind.GONE) if error.errno in _GONE else _unreadable(error, identity_of(os.fstat(pin)))
    finally:
        os.close(pin)


def look_around(seen: Look, leave: Callable[[], Failure | None]) -> Look:
    """The look at a regular file, with why it is to be left alone for the sake of others, as `leave` has it.

    UNREADABLE, or GONE, where `leave` raises OSError: a folder on the way cannot be looked at.
    """
    try:
        return replace(seen, leave=leave())
    except OSError as error:
        return Look(FileKind.GONE) if error.errno in _GONE else _unreadable(error, seen.identity)


def _look_at(pin: int, ends: bool) -> Look:
    status = os.fstat(pin)
    if stat.S_ISLNK(status.st_mode):
        return Look(FileKind.SYMLINK, detail="a symbolic link, never followed")
    if not stat.S_ISREG(status.st_mode):
        return Look(FileKind.OTHER, detail=f"{_kind_name(status.st_mode)}, not a file with content")
    try:
        fd = reopen_for_reading(pin)
    except BlockingIOError:
        # Another process holds a lease for writing; with O_NONBLOCK the kernel does not make us wait for it.
        return _regular(status, Lease.BUSY, pin)
    try:
        lease, status = leased_stat(fd)
        whole = ends and ends_whole(lambda offset, size: os.pread(fd, size, offset), status.st_size)
        return _regular(status, lease, pin, immutable=fsinfo.is_immutable(fd), whole=whole)
    finally:
        os.close(fd)


def _regular(status: os.stat_result, lease: Lease, fd: int, *, immutable: bool = False, whole: bool = False) -> Look:
    return Look(
        FileKind.REGULAR,
        identity=identity_of(status),
        uid=status.st_uid,
        mode=stat.S_IMODE(status.st_mode),
        nlink=status.st_nlink,
        immutable=immutable,
        lease=lease,
        close_is_whole=fsinfo.close_is_whole(fd),
        ends_whole=whole,
        read_only_mount=is_read_only_mount(fd),
        ctime_ns=status.st_ctime_ns,
    )


def _unpinnable(error: OSError) -> Look:
    if error.errno in _GONE:
        return Look(FileKind.GONE)
    if error.errno == errno.ELOOP:
        return Look(FileKind.SYMLINK, detail="a folder on the way is a symbolic link, never followed")
    if error.errno == errno.EXDEV:
        return Look(FileKind.UNREADABLE, detail="the path leads out of the watched folder")
    return _unreadable(error)


def _unreadable(error: OSError, identity: Identity | None = None) -> Look:
    """`identity` where it could be told which file it is, so that one that was finished is known again."""
    reason = error.strerror or f"error {error.errno}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return Look(FileKind.UNREADABLE, identity, detail=f"not readable by this process ({reason})")
    if error.errno == errno.ENAMETOOLONG:
        detail = f"its name, or its path below the watched folder, is longer than the kernel takes: {TOO_LONG_MEND}"
        return Look(FileKind.UNREADABLE, identity, detail=detail, reason=PATH_TOO_LONG)
    word = reason_of(error) or "unreadable"
    return Look(FileKind.UNREADABLE, identity, detail=f"not readable ({reason})", reason=word)


def _kind_name(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
