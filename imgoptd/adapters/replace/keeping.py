"""Keeping a displaced original: a rename into its place, or a copy where no rename leads there."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from imgoptd.adapters.beneath import reopen_for_reading
from imgoptd.adapters.hashing import PIECE_BYTES, sha256_of
from imgoptd.adapters.look import identity_of
from imgoptd.adapters.replace.attributes import copy_attributes
from imgoptd.adapters.replace.names import Names, pin_or_none, sync_folder
from imgoptd.core.model import Identity

_FICLONE = 0x40049409  # _IOW(0x94, 9, int), <linux/fs.h>
_PART = b".part"
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS})


def keep_temp(names: Names, source_fd: int, original: os.stat_result, undo_fd: int, name: bytes) -> Identity:
    """Move the displaced original, which the temp names and `source_fd` reads, to its place; durable on return.

    A rename where that is possible. Where it is not (project quotas divide a filesystem, too), or the temp was removed
    by somebody, a copy. Raises OSError and ReplaceError; the temp is then as it was, or gone: it may be kept all the
    same, and not be on disk.
    """
    try:
        names.move_temp(undo_fd, name)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.ENOENT):
            raise
        kept = copy_into(source_fd, original, undo_fd, name)
        if error.errno == errno.EXDEV:
            names.remove_temp()
        return kept
    sync_folder(undo_fd)
    return identity_of(os.fstat(source_fd))


def copy_into(source_fd: int, original: os.stat_result, undo_fd: int, name: bytes) -> Identity:
    """Copy the file behind `source_fd` with its attributes, by reflink where the filesystems allow; durable on return.

    The name appears when the copy is whole and on disk. Raises OSError and ReplaceError (see `copy_attributes`).
    """
    part = name + _PART
    named = False
    try:
        fd = os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=undo_fd)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
        fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=undo_fd)
        named = True
    try:
        copy_content(source_fd, fd)
        copy_attributes(source_fd, fd, original)
        os.fsync(fd)
        if named:
            os.rename(part, name, src_dir_fd=undo_fd, dst_dir_fd=undo_fd)
            named = False
        else:
            os.link(b"/proc/self/fd/%d" % fd, name, dst_dir_fd=undo_fd, follow_symlinks=True)
        sync_folder(undo_fd)
        return identity_of(os.fstat(fd))
    finally:
        if named:
            os.unlink(part, dir_fd=undo_fd)
        os.close(fd)


def copy_content(source_fd: int, target_fd: int) -> None:
    """Give the empty target the content of the source, sharing its blocks where that can be. Raises OSError."""
    try:
        fcntl.ioctl(target_fd, _FICLONE, source_fd)
        return
    except OSError:
        pass  # another filesystem, or one that shares no blocks
    offset = 0
    while piece := os.pread(source_fd, PIECE_BYTES, offset):
        view = memoryview(piece)
        while view:
            view = view[os.write(target_fd, view) :]
        offset += len(piece)


def find_kept(undo_fd: int, name: bytes) -> tuple[int, Identity] | None:
    """A read-only descriptor of the regular file that lies there, owned by the caller, and its identity; else None.

    Raises OSError.
    """
    pin = pin_or_none(undo_fd, name)
    if pin is None:
        return None
    try:
        status = os.fstat(pin)
        return (reopen_for_reading(pin), identity_of(status)) if stat.S_ISREG(status.st_mode) else None
    finally:
        os.close(pin)


def remove_part(undo_fd: int, name: bytes) -> None:
    """Remove a copy that a crash left unfinished; nobody else chooses such a name. Raises OSError."""
    try:
        os.unlink(name + _PART, dir_fd=undo_fd)
    except FileNotFoundError:
        pass  # as a rule there is none


def remove_copy(undo_fd: int, name: bytes, original: Identity, sha256: str) -> None:
    """Remove the copy of an original that itself stays: another inode with the same content. Raises OSError."""
    found = find_kept(undo_fd, name)
    if found is None:
        return
    fd, identity = found
    try:
        if identity.ino != original.ino and sha256_of(fd) == sha256:
            os.unlink(name, dir_fd=undo_fd)
    finally:
        os.close(fd)


def same(now: Identity, then: Identity) -> bool:
    """Equal but for the device number: those of btrfs, overlay and tmpfs are given anew at each mount."""
    return now[1:] == then[1:]
