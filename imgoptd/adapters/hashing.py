"""Content hashes, read by the daemon itself: a worker's word is never the key of anything."""

from __future__ import annotations

import hashlib
import os

PIECE_BYTES = 1 << 20


def sha256_of(fd: int) -> str:
    """SHA-256 of the whole file, hex. The descriptor's offset is not moved, so a worker may read at the same time.

    Raises OSError when the file cannot be read.
    """
    digest = hashlib.sha256()
    offset = 0
    while piece := os.pread(fd, PIECE_BYTES, offset):
        digest.update(piece)
        offset += len(piece)
    return digest.hexdigest()
