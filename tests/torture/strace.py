"""strace at a running process: calls counted, or the Nth of one made to fail or to be the last."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from types import TracebackType

from tests.torture.report import CannotRun

_CALL = re.compile(rb"^(?:(\d+) +)?([a-z_0-9]+)\(")

_NAMED = (
    "open openat openat2 link linkat rename renameat renameat2 unlink unlinkat newfstatat fstat statx fstatfs statfs"
)
_OPENED = "fstat fstatfs lseek pread64 pwrite64 write fsync fdatasync ftruncate fallocate ioctl"
_ATTRIBUTES = "fchown fchmod flistxattr fgetxattr fsetxattr fremovexattr utimensat"
FILE_CALLS = frozenset(f"{_NAMED} {_OPENED} {_ATTRIBUTES}".split(" "))
"""Calls that a disk, a filesystem or missing rights can make fail. Without fcntl: SQLite waits for half a minute for a
lock that could not be let go, which no disk brings about."""


def needs_strace() -> None:
    """Raises CannotRun where there is none, or none may be used."""
    if shutil.which("strace") is None:
        raise CannotRun("strace is not installed (apt-get install strace)")
    done = subprocess.run(
        ["strace", "-e", "trace=none", "-e", "inject=getppid:error=EIO:when=1", "true"],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise CannotRun(f"strace may not be used here: {done.stderr.decode(errors='replace').strip()}")


class Strace:
    """Attached from `with` to its end, or to the end of what it traces.

    `inject` is what strace(1) takes after `-e inject=`; without it the calls are written down. The count of `when=N` is
    each thread's own and begins at the attaching.
    """

    def __init__(self, pid: int, inject: str = "", *, threads: bool = False) -> None:
        self._written = tempfile.NamedTemporaryFile(prefix="imgoptd-strace-")  # noqa: SIM115  # closed by __exit__
        words = ["strace", "-o", self._written.name, *(["-f"] if threads else []), "-p", str(pid)]
        if inject:
            words += ["-e", f"trace={inject.split(':')[0]}", "-e", f"inject={inject}"]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def __enter__(self) -> Strace:
        assert self._process.stderr is not None
        said = self._process.stderr.readline()
        if b"attached" not in said:
            self._end()
            raise AssertionError(f"strace did not attach: {said.decode(errors='replace')}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        """Detach: on SIGINT it lets go of every thread. Does nothing more where it has ended with what it traced."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        assert self._process.stderr is not None
        self._process.stderr.read()
        self._process.wait()
        self._process.stderr.close()
        self.calls, self.injected = _counted(Path(self._written.name).read_bytes())
        self._written.close()


def _counted(written: bytes) -> tuple[dict[str, int], int]:
    """How often each call was made, by the thread that made it most often; and how many were injected."""
    by_thread: Counter[tuple[bytes, str]] = Counter()
    for line in written.splitlines():
        found = _CALL.match(line)
        if found:
            by_thread[found[1] or b"", found[2].decode()] += 1
    calls: dict[str, int] = {}
    for (_, call), number in by_thread.items():
        calls[call] = max(calls.get(call, 0), number)
    return calls, written.count(b"(INJECTED)")
