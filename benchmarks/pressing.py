"""Real memory pressure in control groups of our own: processes that read more of a file than their group may hold.

What they read is page cache, so the kernel reclaims and reads again, and kills nobody.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20
_V1, _UNIFIED, _V2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")

_READER = """
import mmap, os, select, sys
with open(sys.argv[1], "rb") as file:
    pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
go = False
print("up", flush=True)
while True:
    for at in range(0, len(pages), 4096):
        if at % (1 << 20) == 0:
            while not go or select.select([0], [], [], 0)[0]:
                line = os.read(0, 1)
                if not line: sys.exit()
                go = line == b"g"
        pages[at]
"""


class Unable(Exception):
    """This machine lacks what is needed; str() says what."""


class Group(NamedTuple):
    """A memory group with a limit, and the group of version 2 beside it that counts the pressure."""

    folders: tuple[Path, ...]

    @property
    def pressure(self) -> Path:
        return self.folders[-1] / "memory.pressure"

    def enter(self) -> None:
        """Put the calling process in; for `preexec_fn`."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text("0")


@contextmanager
def group(limit_bytes: int) -> Iterator[Group]:
    """Raises Unable."""
    name = f"imgoptd-bench-{os.getpid()}"
    if (_V1 / "memory.limit_in_bytes").exists() and (_UNIFIED / "cgroup.procs").exists():
        folders, file = [_V1 / name, _UNIFIED / name], "memory.limit_in_bytes"
    elif (_V2 / "cgroup.subtree_control").exists() and "memory" in (_V2 / "cgroup.subtree_control").read_text().split():
        folders, file = [_V2 / name], "memory.max"
    else:
        raise Unable("no memory controller to make a group in")
    with ExitStack() as made:
        try:
            for folder in folders:
                folder.mkdir()
                made.callback(_remove, folder)
            (folders[0] / file).write_text(str(limit_bytes))
        except OSError as error:
            raise Unable(f"no memory group can be made: {error}") from None
        found = Group(tuple(folders))
        if not found.pressure.exists():
            raise Unable("the kernel counts no pressure for groups (psi=1 on its command line)")
        yield found


def _remove(folder: Path) -> None:
    for _ in range(500):  # its last process may not be gone yet
        try:
            folder.rmdir()
            return
        except OSError:
            time.sleep(0.02)
    folder.rmdir()


class Readers:
    """Processes in the group that wait for memory from `go` until `rest`."""

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def go(self) -> None:
        self._say(b"g")

    def rest(self) -> None:
        self._say(b"r")

    def _say(self, word: bytes) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(word)
            process.stdin.flush()


@contextmanager
def readers(where: Group, scratch: Path, count: int, file_bytes: int) -> Iterator[Readers]:
    """`scratch` must lie on a disk: what is in memory anyway cannot be reclaimed."""
    file = scratch / "pages"
    with file.open("wb") as out:
        for _ in range(file_bytes // MIB):
            out.write(os.urandom(MIB))
        out.flush()
        os.fsync(out.fileno())
        # Out of the cache: whose pages they are is decided by who reads them first.
        os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            processes.append(_start([sys.executable, "-c", _READER, str(file)], where.enter))
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield Readers(processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
        file.unlink()


def _start(command: list[str], enter: Callable[[], None]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=enter)
