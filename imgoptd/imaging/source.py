"""Read access to a file's bytes by position, from a descriptor or from memory.

Files are read with pread and never mapped: a file that somebody shortens under a mapping ends the process with SIGBUS,
while a short read is an answer that can be handled.
"""

from __future__ import annotations

import os
from typing import Protocol

from imgoptd.core.model import Failure, FailureKind
from imgoptd.imaging.failures import Unfit

SMALL_READ_BYTES = 4096
WINDOW_BYTES = 256 * 1024


class Source(Protocol):
    @property
    def size(self) -> int:
        """Length of the file in bytes, fixed when the source was made."""

    def read(self, offset: int, count: int) -> bytes:
        """The `count` bytes at `offset`, fewer only where the file ends."""


class BytesSource:
    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, count: int) -> bytes:
        return self._data[offset : offset + count]


class FileSource:
    """Reads ahead a little, so that walking over small headers is not one system call each."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._start = 0
        self._block = b""

    @property
    def size(self) -> int:
        return self._size

    def read(self, offset: int, count: int) -> bytes:
        count = max(0, min(count, self._size - offset))
        begin = offset - self._start
        if begin < 0 or begin + count > len(self._block):
            self._start, begin = offset, 0
            self._block = read_exactly(self._descriptor, offset, min(max(count, SMALL_READ_BYTES), self._size - offset))
        return self._block[begin : begin + count]


def read_exactly(descriptor: int, offset: int, count: int) -> bytes:
    """`count` bytes at `offset`. Raises OSError, and Unfit (CHANGED) where the file has become shorter."""
    pieces = []
    while count > 0:
        piece = os.pread(descriptor, count, offset)
        if not piece:
            raise Unfit(Failure(FailureKind.CHANGED, "changed", "the file became shorter while it was read"))
        pieces.append(piece)
        offset += len(piece)
        count -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_whole(descriptor: int) -> bytes:
    """The file's bytes. Raises Unfit (CHANGED) where its size changed meanwhile."""
    size = os.fstat(descriptor).st_size
    data = read_exactly(descriptor, 0, size)
    if os.fstat(descriptor).st_size != size:
        raise Unfit(Failure(FailureKind.CHANGED, "changed", "the file's size changed while it was read"))
    return data
