"""An inotify queue that overflows soon."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

QUEUE_LIMIT = Path("/proc/sys/fs/inotify/max_queued_events")


@contextlib.contextmanager
def short_queue() -> Iterator[None]:
    """Queues made meanwhile hold 16 events. The value is the machine's: one test at a time, and put back at once."""
    with QUEUE_LIMIT.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = QUEUE_LIMIT.read_text()
        try:
            QUEUE_LIMIT.write_text("16")
        except OSError as error:
            pytest.skip(f"the queue's limit cannot be set here: {error}")
        try:
            yield
        finally:
            QUEUE_LIMIT.write_text(before)
