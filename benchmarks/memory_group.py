"""A memory cgroup (v1) of its own: processes join it, and the kernel kills one when they take more than it has."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType

TREE = Path("/sys/fs/cgroup/memory")
SAMPLES_PER_S = 20
EMPTY_WITHIN_S = 10.0


class Unavailable(Exception):
    """There can be no such group here; the text says why and what to do."""


def join(path: Path) -> None:
    """This process, from now on; what it holds already stays where it was counted."""
    (path / "cgroup.procs").write_text(str(os.getpid()))


class Group:
    """A context manager; at its end every process must have left. Raises Unavailable.

    https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
    """

    def __init__(self, limit_bytes: int) -> None:
        self.path = TREE / f"imgoptd-bench.{os.getpid()}.{time.monotonic_ns()}"
        self.peak_rss_bytes = 0
        """Highest sum of anonymous memory, at 20 samples a second: what no reclaim gives back without swap."""
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._limit_bytes = limit_bytes

    def __enter__(self) -> Group:
        try:
            self.path.mkdir()
            (self.path / "memory.limit_in_bytes").write_text(str(self._limit_bytes))
        except OSError as error:
            raise Unavailable(
                f"no memory cgroup (v1) can be made below {TREE}: {error.strerror}; "
                "run it as root where cgroup v1 has the memory controller"
            ) from None
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._sampler.join()
        gives_up_s = time.monotonic() + EMPTY_WITHIN_S
        while True:
            try:
                self.path.rmdir()
                return
            except OSError:  # busy while a killed process is being taken apart
                if time.monotonic() > gives_up_s:
                    raise
                time.sleep(0.05)

    def entering(self, command: list[str]) -> list[str]:
        """A command that runs the given one in the group, from its first instruction on."""
        return ["/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.path), *command]

    def oom_kills(self) -> int:
        rows = dict(row.split() for row in (self.path / "memory.oom_control").read_text().splitlines())
        return int(rows["oom_kill"])

    def peak_bytes(self) -> int:
        """Page cache included, which is there to be given back."""
        return int((self.path / "memory.max_usage_in_bytes").read_text())

    def _sample(self) -> None:
        while not self._over.wait(1 / SAMPLES_PER_S):
            rows = (self.path / "memory.stat").read_text().splitlines()
            self.peak_rss_bytes = max(self.peak_rss_bytes, *(int(row.split()[1]) for row in rows if row[:4] == "rss "))
