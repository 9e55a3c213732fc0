"""What a system call's error says of more than one file: a disk's trouble, or a want of the daemon's own."""

from __future__ import annotations

import errno

NO_SPACE = "no-space"
READ_ONLY = "read-only-filesystem"
IO_ERROR = "io-error"
NO_DESCRIPTORS = "no-descriptors"
NO_MEMORY = "no-memory"

_REASONS = {
    errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: NO_SPACE,
    errno.EROFS: READ_ONLY,
    errno.EMFILE: NO_DESCRIPTORS,
    errno.ENFILE: NO_DESCRIPTORS,
    errno.ENOMEM: NO_MEMORY,
}
_REASONS |= dict.fromkeys(
    # errno(3): of a medium, of a filesystem's structure (EUCLEAN), of a server or a FUSE program that has gone.
    (
        errno.EIO,
        errno.ENXIO,
        errno.ENODEV,
        errno.EREMOTEIO,
        errno.EUCLEAN,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
    ),
    IO_ERROR,
)

TOO_LONG_MEND = "shorten the names of the folders above it, or watch one of them"
"""For ENAMETOOLONG of what is there: its path below the watched folder exceeds 4095 bytes (path_resolution(7))."""


def reason_of(error: OSError) -> str | None:
    """The short fixed word for such an error; None where it is about the one file or its rights alone."""
    return _REASONS.get(error.errno or 0)
