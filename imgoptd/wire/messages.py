"""What the daemon, its worker template and its workers say to each other.

One msgpack message is one SOCK_SEQPACKET packet; descriptors ride beside it (SCM_RIGHTS). No path ever reaches a
worker.
"""

from __future__ import annotations

import msgspec

from imgoptd.core.model import Failure, ImageFacts, JobSettings, Outcome

FRAME_LIMIT_BYTES = 65536
"""A longer packet is a protocol error: the peer is broken or lies, and is ended."""


# ---- daemon -> template ---------------------------------------------------------------------------------------------


class Spawn(msgspec.Struct, tag="spawn", frozen=True):
    """Fork a worker; its end of a socketpair rides beside the message."""

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
    """Reservation: what the task may take above the idle worker. The worker bounds itself; 0: unbounded."""


# ---- worker -> daemon -----------------------------------------------------------------------------------------------


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """The first message of a worker: its sandbox stands and its codecs are loaded."""

    protections: tuple[str, ...] = ()
    """Which protections hold, such as `no-files`, `no-network`, `no-new-privileges`."""


class ProbeReply(msgspec.Struct, tag="probed", frozen=True):
    task: int
    facts: ImageFacts | None = None
    failure: Failure | None = None


class OptimizeReply(msgspec.Struct, tag="optimized", frozen=True):
    task: int
    outcome: Outcome


ToTemplate = Spawn
FromTemplate = Spawned | Exited
ToWorker = ProbeTask | OptimizeTask
FromWorker = Ready | ProbeReply | OptimizeReply
