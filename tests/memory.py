"""Files that live in memory alone, for what takes descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def memory_file(data: bytes = b"") -> Iterator[int]:
    descriptor = os.memfd_create("image", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, data)
        yield descriptor
    finally:
        os.close(descriptor)
