"""A change that a watch must report, made to learn whether it still hears, and leaving nothing behind."""

from __future__ import annotations

import errno
import os
import secrets

_NO_NAMELESS = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
_NOT_OURS_TO_WRITE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
COOKIE = b".imgoptd-heard-"
"""Begins the name of the file that stands in where none without a name can be made; the built-in rules ignore it."""


class Unprovable(Exception):
    """No proof can be had in this folder; str() says why."""


def prove(folder: bytes) -> None:
    """Close a file after it was opened for writing in the folder: a watch hears that. Blocks as the disk does.

    A file without a name (O_TMPFILE) where there are such: its close is reported as that of `#<inode>`, seen on ext4,
    xfs, btrfs, tmpfs and overlay. Elsewhere a hidden file that is removed at once. Raises Unprovable where the folder
    may not be written; any other OSError tells nothing of the watch.
    """
    flags = os.O_WRONLY | os.O_CLOEXEC
    try:
        try:
            os.close(os.open(folder, flags | os.O_TMPFILE, 0o600))
        except OSError as error:
            if error.errno not in _NO_NAMELESS:
                raise
            name = os.path.join(folder, COOKIE + secrets.token_hex(8).encode())
            descriptor = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.unlink(name)
            finally:
                os.close(descriptor)
    except OSError as error:
        if error.errno in _NOT_OURS_TO_WRITE:
            raise Unprovable(f"it may not be written by this user ({error.strerror})") from error
        raise


def is_proof(name: bytes) -> bool:
    """Is this the name, in the watched folder itself, that a proof is reported under?"""
    return name.startswith(COOKIE) or (name[:1] == b"#" and name[1:].isdigit())
