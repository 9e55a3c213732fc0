"""A memory group of version 1 with a limit, and a neighbour in it that takes all memory until the kernel kills."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.torture.report import CannotRun

MEMORY = Path("/sys/fs/cgroup/memory")
MIB = 1 << 20
FIRST_VICTIM, HOG = 1000, 300
"""Scores added (proc(5), oom_score_adj). Workers have 500, the daemon none: it would come last."""
HOG_S = 10.0


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """Raises CannotRun where there is no such group to be had."""
    group = MEMORY / f"imgoptd-torture-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
    except OSError as error:
        raise CannotRun(f"no memory group of version 1 can be made here: {error}") from error
    try:
        yield group
    finally:
        deadline = time.monotonic() + 10
        while (group / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        group.rmdir()


def entering(group: Path, program: list[str]) -> list[str]:
    """The command that runs the program within the group from its first moment."""
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *program]


def oom_kills(group: Path) -> int:
    lines = (group / "memory.oom_control").read_text().split("\n")
    return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def exhaust(group: Path, victim: int) -> bool:
    """Take memory in the group until the victim has been killed for the want of it; was it?

    The victim is put first in the kernel's order. Where it ended before, nothing comes of it.
    """
    try:
        pidfd = os.pidfd_open(victim)
    except ProcessLookupError:
        return False
    try:
        Path(f"/proc/{victim}/oom_score_adj").write_text(str(FIRST_VICTIM))
    except OSError:
        os.close(pidfd)
        return False
    before = oom_kills(group)
    hog = os.fork()
    if hog == 0:
        try:
            (group / "cgroup.procs").write_text("0")
            Path("/proc/self/oom_score_adj").write_text(str(HOG))
            _take(pidfd)
        finally:
            os._exit(0)
    os.waitpid(hog, 0)
    os.close(pidfd)
    return oom_kills(group) > before


def _take(until: int) -> None:
    ended = select.poll()
    ended.register(until, select.POLLIN)
    held, deadline = [], time.monotonic() + HOG_S
    while not ended.poll(0) and time.monotonic() < deadline:
        held.append(b"x" * MIB)
