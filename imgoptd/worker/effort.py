"""What a task takes: CPU, wall and the peak of resident memory."""

from __future__ import annotations

import ctypes
import os
import resource
import time

from imgoptd.core.bounds import data_growth_bytes
from imgoptd.core.model import Effort

TRIM_ABOVE_BYTES = 8 << 20
"""A worker that has grown by more since it started holds freed memory that is worth handing back to the kernel."""

_libc = ctypes.CDLL(None)


class Meter:
    """Opens what it needs below /proc when made, before a sandbox closes it off. Not usable in a forked child.

    The peak is VmHWM, reset through clear_refs before each task; getrusage's ru_maxrss would give the parent's.
    """

    def __init__(self) -> None:
        self._status = self._open("/proc/self/status", os.O_RDONLY)
        self._clear = self._open("/proc/self/clear_refs", os.O_WRONLY)
        self._cpu_s = self._wall_s = 0.0
        self._base_bytes = self._field(b"VmRSS:")

    @staticmethod
    def _open(path: str, flags: int) -> int | None:
        try:
            return os.open(path, flags | os.O_CLOEXEC)
        except OSError:
            return None  # no /proc here: the peak stays unknown

    def bound(self, format_: str, memory_bytes: int) -> None:
        """Let allocations fail that go beyond what was reserved for a job of that format, until `lift`.

        The worker does it to itself (a soft RLIMIT_DATA), before it looks at the file, where the daemon may not.
        """
        if idle_bytes := self._field(b"VmData:"):
            self._limit(idle_bytes + data_growth_bytes(format_, memory_bytes))

    def lift(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    @staticmethod
    def _limit(limit: int) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY and not 0 <= limit <= hard:
            limit = hard
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))

    def start(self) -> None:
        """A task begins."""
        if self._clear is not None:
            os.pwrite(self._clear, b"5", 0)
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    def stop(self) -> Effort:
        """The task is done."""
        cpu_s, wall_s = time.process_time() - self._cpu_s, time.perf_counter() - self._wall_s
        peak = self._field(b"VmHWM:") if self._clear is not None else 0
        return Effort(cpu_s, wall_s, peak)

    def trim(self) -> None:
        """Give back what earlier tasks have freed, or the next prediction starts from a wrong base."""
        if self._field(b"VmRSS:") - self._base_bytes > TRIM_ABOVE_BYTES:
            _libc.malloc_trim(ctypes.c_size_t(0))

    def _field(self, name: bytes) -> int:
        """A size of /proc/self/status in bytes; 0 is unknown."""
        if self._status is None:
            return 0
        for line in os.pread(self._status, 8192, 0).splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        return 0
