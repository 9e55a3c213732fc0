"""What the filesystem behind a descriptor is and can be trusted with."""

from __future__ import annotations

import errno
import fcntl
import struct

from imgoptd.adapters.filesystems import filesystem_behind

# _IOR('f', 1, long): the number counts a long, the kernel writes an int (<linux/fs.h>).
_FS_IOC_GETFLAGS = 2 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 1
_FS_IOC_SETFLAGS = 1 << 30 | struct.calcsize("l") << 16 | ord("f") << 8 | 2
_IMMUTABLE = 0x10
_APPEND_ONLY = 0x20
_HARMLESS = 0x08 | 0x40 | 0x80
"""Synchronous writes, no dump, no access time: flags a user sets on a file that say nothing of its content."""


def close_is_whole(fd: int) -> bool:
    """Is this a local filesystem of which every close after writing is reported to watchers?"""
    try:
        return filesystem_behind(fd).tells_closes
    except OSError:
        return False


def keeps_order(fd: int) -> bool:
    """Do changes of names reach the disk in the order in which they were made? What cannot be asked does not count."""
    try:
        return filesystem_behind(fd).keeps_order
    except OSError:
        return False


def is_immutable(fd: int) -> bool:
    """Is the file immutable or append-only (`chattr +i`, `+a`)? False where the filesystem knows no such flags."""
    return bool(_flags(fd) & (_IMMUTABLE | _APPEND_ONLY))


def copy_harmless_flags(source_fd: int, target_fd: int) -> None:
    """Copy the `chattr` flags S, d and A, where both files can have them. Never fails: they are conveniences."""
    wanted = _flags(source_fd) & _HARMLESS
    present = _flags(target_fd)
    if wanted == present & _HARMLESS:
        return
    try:
        fcntl.ioctl(target_fd, _FS_IOC_SETFLAGS, struct.pack("l", present & ~_HARMLESS | wanted))
    except OSError:
        pass  # not every filesystem takes every flag


def _flags(fd: int) -> int:
    try:
        answer = fcntl.ioctl(fd, _FS_IOC_GETFLAGS, bytes(struct.calcsize("l")))
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EACCES):
            return 0
        raise
    return int(struct.unpack_from("i", answer)[0])
