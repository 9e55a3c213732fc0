"""Wall time, CPU time and memory of a command with all its descendants."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil

SAMPLES_PER_S = 20
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(slots=True)
class Effort:
    wall_s: float = 0.0
    cpu_s: float = 0.0
    """User and system time of the command and every descendant."""
    peak_pss_bytes: int = 0
    """Highest sum of proportional set sizes over the tree, at 20 samples a second."""
    peak_process_bytes: int = 0
    """Highest resident set of one process, so sampled."""
    samples: int = 0
    status: int = 0
    output: str = ""
    errors: str = ""
    extra: dict[str, float] = field(default_factory=dict)


def become_subreaper() -> None:
    """Orphaned descendants come to this process, so that their CPU time is counted too. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def run(command: Sequence[str | Path], timeout_s: float = 1800.0) -> Effort:
    """Run to the end. Needs `become_subreaper` and no other children of this process. Raises TimeoutError."""
    effort = Effort()
    began = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    over = threading.Event()
    readers = [
        threading.Thread(target=_sample, args=(process.pid, effort, over)),
        threading.Thread(target=_read, args=(process.stdout, effort, "output")),
        threading.Thread(target=_read, args=(process.stderr, effort, "errors")),
    ]
    killer = threading.Timer(timeout_s, process.kill)
    for thread in (*readers, killer):
        thread.start()
    _, status, usage = os.wait4(process.pid, 0)
    effort.wall_s = time.monotonic() - began
    killer.cancel()
    over.set()
    effort.status = process.returncode = os.waitstatus_to_exitcode(status)
    effort.cpu_s = usage.ru_utime + usage.ru_stime + _reap_orphans()
    for thread in readers:
        thread.join()
    process.stdout.close()
    process.stderr.close()
    if effort.wall_s >= timeout_s:
        raise TimeoutError(f"{command[0]} ran for more than {timeout_s:g} s")
    return effort


def _reap_orphans() -> float:
    """CPU seconds of descendants that nobody else waited for."""
    cpu_s = 0.0
    while True:
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return cpu_s
        cpu_s += usage.ru_utime + usage.ru_stime


def _read(pipe: IO[bytes], effort: Effort, name: str) -> None:
    setattr(effort, name, pipe.read().decode("utf-8", "replace"))


def _sample(pid: int, effort: Effort, over: threading.Event) -> None:
    while not over.wait(1 / SAMPLES_PER_S):
        pss = [pss_bytes(one) for one in tree(pid)]
        effort.samples += 1
        effort.peak_pss_bytes = max(effort.peak_pss_bytes, sum(proportional for proportional, _ in pss))
        effort.peak_process_bytes = max(effort.peak_process_bytes, *(resident for _, resident in pss), 0)


def tree(pid: int) -> list[int]:
    """The process and its descendants, as far as they are still there."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def pss_bytes(pid: int) -> tuple[int, int]:
    """Proportional and resident set size, from /proc/PID/smaps_rollup (Linux 4.14); zeros once it has ended."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    sizes = {row.split()[0]: int(row.split()[1]) * 1024 for row in rows[1:]}
    return sizes.get("Pss:", 0), sizes.get("Rss:", 0)
