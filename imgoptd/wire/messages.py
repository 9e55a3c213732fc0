"""What the daemon, its worker template and its workers say to each other.

One msgpack message is one SOCK_SEQPACKET packet; descriptors ride beside it (SCM_RIGHTS). No path ever reaches a
worker.
"""

from __future__ import annotations

import msgspec

from imgoptd.core.model import Failure, ImageFacts, JobSettings, Outcome

FRAME_LIMIT_BYTES = 65536
"""A longer packet is a protocol error: the peer is broken or lies, and is ended."""

TASK_BEGINS = b"\0"
"""What a worker writes to its standard error before each task: its last words are what follows."""


# ---- daemon -> template ---------------------------------------------------------------------------------------------


class Spawn(msgspec.Struct, tag="spawn", frozen=True):
    """Fork a worker. Its end of a socketpair rides beside the message, and what becomes its standard error."""

    worker: int
    nice: int = 0
    drop_uid: int | None = None
    """Where the daemon is root: the unprivileged uid (and gid) the worker takes."""


# ---- template -> daemon ---------------------------------------------------------------------------------------------


class Spawned(msgspec.Struct, tag="spawned", frozen=True):
    worker: int
    pid: int


class Exited(msgspec.Struct, tag="exited", frozen=True):
    worker: int
    pid: int
    status: int
    """Exit status, or the negated signal number."""


# ---- daemon -> worker -----------------------------------------------------------------------------------------------


class ProbeTask(msgspec.Struct, tag="probe", frozen=True):
    """One descriptor rides beside it: the input, read-only."""

    task: int


class OptimizeTask(msgspec.Struct, tag="optimize", frozen=True):
    """Two descriptors ride beside it: the input, read-only, and an empty output."""

    task: int
    facts: ImageFacts
    settings: JobSettings
    memory_bytes: int = 0
    """Reservation: what the task may take above the idle worker, which then bounds itself. 0: the daemon does that."""


class Recall(msgspec.Struct, tag="recall", frozen=True):
    """Give back a task that was not begun. One that was is answered as usual, and this one not at all."""

    task: int


# ---- worker -> daemon -----------------------------------------------------------------------------------------------


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """The first message of a worker: its sandbox stands and its codecs are loaded."""

    protections: tuple[str, ...] = ()
    """Which protections hold, such as `no-files`, `no-network`, `no-new-privileges`."""
    codecs: dict[str, str] = {}
    """Of each format: the libraries that work on it, with their versions."""


class ProbeReply(msgspec.Struct, tag="probed", frozen=True):
    task: int
    facts: ImageFacts | None = None
    failure: Failure | None = None


class OptimizeReply(msgspec.Struct, tag="optimized", frozen=True):
    task: int
    outcome: Outcome


class Recalled(msgspec.Struct, tag="recalled", frozen=True):
    """The task was given back: nothing was done, and no other answer follows."""

    task: int


ToTemplate = Spawn
FromTemplate = Spawned | Exited
Task = ProbeTask | OptimizeTask
ToWorker = Task | Recall
Answer = ProbeReply | OptimizeReply | Recalled
FromWorker = Ready | Answer
