"""Lines on standard error from a process that must not stop for a reader that has."""

from __future__ import annotations

import os
import select
import threading

_PIECE_BYTES = 4096
"""poll() promises room for one page in a pipe, no more."""
_PATIENCE_MS = 50


class Stderr:
    """Writes whole lines to a descriptor; what its reader does not take is dropped, and the loss is told later."""

    def __init__(self, descriptor: int) -> None:
        """A negative descriptor drops everything."""
        self._descriptor = descriptor
        self._patience_ms = _PATIENCE_MS
        self._lost_lines = 0
        self._inside_a_line = False
        self._one_at_a_time = threading.Lock()  # scans and replaces speak from their threads
        self._poll = select.poll()
        if descriptor >= 0:
            self._poll.register(descriptor, select.POLLOUT)

    def is_terminal(self) -> bool:
        return self._descriptor >= 0 and os.isatty(self._descriptor)

    def is_stream(self, device_and_inode: str) -> bool:
        """Whether this is the stream that $JOURNAL_STREAM (`device:inode`, see systemd.exec(5)) names."""
        if self._descriptor < 0 or not device_and_inode:
            return False
        try:
            status = os.fstat(self._descriptor)
        except OSError:
            return False
        return device_and_inode == f"{status.st_dev}:{status.st_ino}"

    def write_line(self, line: bytes) -> None:
        """Write the line and its newline, or drop it; never raises, and waits 50 ms at most."""
        if self._descriptor < 0:
            return
        with self._one_at_a_time:
            self._write_one(line)

    def _write_one(self, line: bytes) -> None:
        data = line + b"\n"
        if self._inside_a_line:
            data = b"\n" + data
        if self._lost_lines:
            data = f"({self._lost_lines} lines could not be written here)\n".encode() + data
        if self._write(data):
            self._lost_lines = 0
            self._inside_a_line = False
            self._patience_ms = _PATIENCE_MS
        else:
            self._lost_lines += 1
            # No second wait for a reader that sleeps: a terminal stopped by Ctrl-S must not slow the work.
            self._patience_ms = 0

    def _write(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            try:
                ready = self._poll.poll(self._patience_ms)
                if not ready:
                    return False
                written = os.write(self._descriptor, view[:_PIECE_BYTES])
            except BlockingIOError:
                return False
            except OSError:  # broken pipe, full disk behind a redirection, revoked terminal
                return False
            view = view[written:]
            self._inside_a_line = bool(view)
        return True
