"""What single processes take, by /proc/PID/stat and statm (proc(5)), through descriptors that are held.

Not through psutil, which opens both for each look: with 64 workers a reading took 1.0 ms, and takes 0.3 so. And a held
descriptor stays that process's own: of another one that got its number later it tells nothing (ESRCH).
"""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import NamedTuple

_CHUNK = 4096
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Taken(NamedTuple):
    cpu_s: float
    rss_bytes: int | None
    """None of a zombie. By statm: what stat tells is off by up to some dozen pages for each CPU (kernel 6.18)."""


class ProcessStats:
    def __init__(self, proc: str = "/proc") -> None:
        """`proc` is where procfs is mounted."""
        self._proc = proc
        self._held: dict[int, tuple[int, int]] = {}

    def read(self, pid: int) -> Taken | None:
        """None when the process is gone, or cannot be read."""
        try:
            stat, statm = self._held.get(pid) or self._held.setdefault(pid, self._open(pid))
            return parse(_text(stat), _text(statm))
        except OSError:  # not opened again: by that number it would be another one
            return None

    def _open(self, pid: int) -> tuple[int, int]:
        """Raises OSError."""
        stat = os.open(f"{self._proc}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return stat, os.open(f"{self._proc}/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(stat)
            raise

    def keep(self, pids: Collection[int]) -> None:
        """Forget all others."""
        for pid in self._held.keys() - set(pids):
            for fd in self._held.pop(pid):
                os.close(fd)

    def close(self) -> None:
        self.keep(())


def parse(stat: str, statm: str) -> Taken | None:
    """The line of each. A name may hold spaces and parentheses, so fields of stat are counted from the last one."""
    fields = stat.rpartition(")")[2].split()
    try:
        user, system, pages = int(fields[11]), int(fields[12]), int(statm.split()[1])  # 14 and 15, and 2 of proc(5)
    except (IndexError, ValueError):
        return None
    return Taken((user + system) / _TICKS_PER_S, pages * _PAGE_BYTES or None)


def _text(fd: int) -> str:
    return os.pread(fd, _CHUNK, 0).decode("ascii", "replace")
