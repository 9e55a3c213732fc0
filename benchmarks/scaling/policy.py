"""What a pool that works by other rules than imgoptd sees of the simulated machine, and what it may do.

A baseline is a `Pool`, made anew for each run by a function of the trace: `benchmarks.scaling.baselines.BASELINES` is a
`dict[str, Callable[[Trace], Pool]]` by the names that the table shows. It is woken whenever something happened (jobs
arrived, a worker came up, was through with its job, or died) and at the time that it asks for. What it answers is done
in order, at once; a job that is given to an idle worker begins `HANDING_S` later.

A lower bound for everybody is `benchmarks.scaling.bounds.bound(trace) -> Bound(seconds, binds)`, from the first job's
arrival on, for all jobs but `trace.impossible()`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from benchmarks.scaling.trace import TraceJob


class PoolWorkerState(StrEnum):
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"


@dataclass(slots=True, eq=False)
class PoolWorker:
    """A worker process as its pool knows it."""

    id: int
    born_s: float
    state: PoolWorkerState = PoolWorkerState.STARTING
    job: TraceJob | None = None
    given_s: float = 0.0
    """When it was given its job."""
    idle_since_s: float = 0.0


class View(Protocol):
    """Read only, and always of now."""

    @property
    def queue(self) -> deque[TraceJob]:
        """What waits, first come first. What was killed is at its end, and may be tried 5 times in all."""

    @property
    def workers(self) -> dict[int, PoolWorker]:
        """Those that live, oldest first."""

    @property
    def cpus(self) -> int:
        """Of the machine, now."""

    @property
    def memory_bytes(self) -> int:
        """The machine's limit, now."""

    @property
    def available_bytes(self) -> int:
        """What nobody uses, neighbours included."""

    @property
    def cpu_share(self) -> float:
        """CPUs that each busy worker gets, 0..1."""

    def rss_bytes(self, worker: int) -> int: ...

    def cpu_s(self, worker: int) -> float:
        """CPU seconds that it took since it was started."""

    def cpu_s_of_all(self) -> float:
        """CPU seconds that all workers took, the dead ones included: a rate is a difference of two of these."""


@dataclass(frozen=True, slots=True)
class StartWorker:
    """One more worker: it idles START_S later."""


@dataclass(frozen=True, slots=True)
class StopWorker:
    """End an idle worker, or one that starts. A busy one is not stopped: ValueError."""

    worker: int


@dataclass(frozen=True, slots=True)
class KillWorker:
    """End a worker at once. Its job goes back to the queue and counts as no failed try; its work is lost."""

    worker: int
    to_front: bool = False
    """Where in the queue the job goes."""


@dataclass(frozen=True, slots=True)
class Give:
    """Give an idle worker a job that waits. ValueError where one of the two does not."""

    worker: int
    job: TraceJob


Action = StartWorker | StopWorker | KillWorker | Give


class Pool(Protocol):
    @property
    def next_wake_s(self) -> float | None:
        """When it wants to be woken although nothing happened; None: not before something does."""

    def wake(self, now_s: float, view: View) -> Iterable[Action]: ...
