"""One worker as the pool holds it: its sockets, its tasks, the bound of its memory, and what it said last."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from imgoptd.adapters.bounding import bound_data
from imgoptd.adapters.processes import data_bytes, kill
from imgoptd.core.model import FileRef
from imgoptd.wire import frames
from imgoptd.wire import messages as m

PIPE_BYTES = 65536
"""What a pipe holds (pipe(7))."""
DESCRIPTORS_EACH, DESCRIPTORS_KEPT = 10, 64
"""What a worker and its readings take of ours with a job in hand, and what is kept for all else: without any left no
file could be opened and no operator heard."""
MOST_WORDS = 400
"""Bytes of a worker's last words; the end of them tells what happened."""


def most_workers() -> int:
    """As many as there are descriptors for; one at least."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (descriptors - DESCRIPTORS_KEPT) // DESCRIPTORS_EACH)


class Task(NamedTuple):
    ref: FileRef
    reply: type[m.ProbeReply] | type[m.OptimizeReply]
    """What must answer it."""
    growth_bytes: int = 0
    """How much more data than when it is idle the worker may map for it; 0: unbounded."""


@dataclass(slots=True, eq=False)
class PoolWorker:
    id: int
    sock: socket.socket
    stderr: int
    """Where its standard error comes out, non-blocking."""
    receiver: frames.Receiver[m.FromWorker]
    pid: int = 0
    pidfd: int = -1
    tasks: dict[int, Task] = field(default_factory=dict)
    recalled: set[int] = field(default_factory=set)
    """Tasks that it was asked to give back."""
    codecs: Mapping[str, str] = field(default_factory=dict)
    ready: bool = False
    asked_to_end: bool = False
    lied: bool = False
    """It broke the protocol, and was ended for it."""
    said: bytes = b""
    idle_data_bytes: int | None = None
    """What it had mapped when it last had nothing to do, or at its first job."""

    def bound(self, coming: Task | None = None) -> bool:
        """Bound it for what it has and what comes; lifted when that is nothing to be bounded.

        Its tasks run one after the other, so the largest counts. False where it cannot be told what it has mapped, for
        want of a descriptor, say. Raises PermissionError where the kernel forbids it.
        """
        if not self.tasks or self.idle_data_bytes is None:  # a probe that it has in hand maps next to nothing
            self.idle_data_bytes = data_bytes(self.pid)
        growths = [task.growth_bytes for task in self.tasks.values()]
        most = max((*growths, coming.growth_bytes if coming else 0))
        limit = self.idle_data_bytes + most if most and self.idle_data_bytes is not None else None
        bound_data(self.pid, self.pidfd, limit)
        return not most or limit is not None

    def number_of(self, ref: FileRef) -> int | None:
        """The task on that file; None where it has none."""
        return next((number for number, task in self.tasks.items() if task.ref == ref), None)

    def kill(self) -> None:
        if self.pidfd >= 0:
            kill(self.pidfd)

    def hear(self) -> None:
        """Take in what it has said on its standard error, so that there is room for more. Kept is the last task's."""
        try:
            said = self.said + os.read(self.stderr, PIPE_BYTES)
        except BlockingIOError:
            return
        self.said = said.rpartition(m.TASK_BEGINS)[2][-MOST_WORDS:]

    def words(self) -> str:
        """The end of what it said over its last task, on one line. It may be a lie."""
        self.hear()
        return " | ".join(self.said.decode("utf-8", "replace").split("\n")).strip(" |")

    def close(self) -> None:
        self.sock.close()
        os.close(self.stderr)
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
