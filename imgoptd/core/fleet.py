"""The workers as the engine knows them. Each serves one trust domain for its whole life."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from imgoptd.core.admission import Holding
from imgoptd.core.job import Job, Stage
from imgoptd.core.model import Domain, FileRef

PROBE_DEPTH = 8
"""Probes a worker may hold at a time."""
PREFETCH_CPU_S = 0.25
"""A job expected to take less may wait in a worker behind another such one, so that none idles between small jobs."""
HEADROOM = 2
"""Jobs a worker may hold at a time, the running one included."""


class WorkerState(StrEnum):
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"


@dataclass(slots=True, eq=False)
class Worker:
    id: int
    domain: Domain
    started_s: float
    state: WorkerState = WorkerState.STARTING
    pid: int = 0
    idle_rss_bytes: int | None = None
    rss_bytes: int = 0
    peak_bytes: int = 0
    tasks: list[Job] = field(default_factory=list)
    """All it was given, handed over or still being opened."""
    handed: list[Job] = field(default_factory=list)
    """Those of them that it has in hand, in that order: the first one runs."""
    head_since_s: float = 0.0
    """Since when the first one in hand has been the first."""
    probes_in_a_row: int = 0
    """Given to it since its last job."""
    jobs_done: int = 0
    cpu_s: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    killed_for: str = ""
    overdue: Job | None = None
    """The task it was ended for."""
    recycled_for: str = ""
    """Why another is to take its place as soon as it has done what it holds; it is given nothing more."""
    recalled: set[FileRef] = field(default_factory=set)
    """Tasks in its hands that it was asked to give back unbegun."""

    @property
    def available(self) -> bool:
        return self.state in (WorkerState.IDLE, WorkerState.BUSY) and not self.killed_for and not self.recycled_for

    @property
    def reserved_bytes(self) -> int:
        """Its tasks run one after the other, so the largest counts."""
        return max((job.reserved_bytes for job in self.tasks), default=0)

    def has_room_for_probe(self) -> bool:
        return (
            self.available and len(self.tasks) < PROBE_DEPTH and all(one.stage is Stage.PROBING for one in self.tasks)
        )

    def has_room_for_job(self, job: Job) -> bool:
        if not self.available:
            return False
        if not self.tasks:
            return True
        small = all(one.estimate.cpu_s < PREFETCH_CPU_S for one in (job, *self.tasks))
        return len(self.tasks) < HEADROOM and small and not job.solo

    def holding(self) -> Holding:
        reserved = self.reserved_bytes
        grown = 0 if self.idle_rss_bytes is None else max(0, self.rss_bytes - self.idle_rss_bytes)
        return Holding(reserved, max(0, reserved - grown))


class Fleet:
    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self._next_id = 1

    def add(self, domain: Domain, now_s: float) -> Worker:
        worker = Worker(self._next_id, domain, now_s)
        self._next_id += 1
        self.workers[worker.id] = worker
        return worker

    def serving(self) -> Iterator[Worker]:
        """Alive or starting, and not leaving."""
        return (one for one in self.workers.values() if one.state is not WorkerState.DRAINING)

    def idle(self) -> list[Worker]:
        return [one for one in self.workers.values() if one.state is WorkerState.IDLE and not one.killed_for]

    def holdings(self, *, without: Worker | None = None) -> list[Holding]:
        return [one.holding() for one in self.workers.values() if one.tasks and one is not without]

    def reserved_bytes(self) -> int:
        return sum(one.reserved_bytes for one in self.workers.values())

    def running_jobs(self) -> int:
        return sum(len(one.tasks) for one in self.workers.values())

    def give(self, worker: Worker, job: Job) -> None:
        worker.tasks.append(job)
        worker.state = WorkerState.BUSY

    def handed_over(self, worker_id: int, ref: FileRef, now_s: float) -> Job | None:
        """The worker has the task in hand. None when it holds no such task."""
        worker = self.workers.get(worker_id)
        job = next((one for one in worker.tasks if one.ref == ref), None) if worker else None
        if worker is None or job is None or job in worker.handed:
            return job
        if not worker.handed:
            worker.head_since_s = now_s
        worker.handed.append(job)
        return job

    def take_back(self, worker_id: int, ref: FileRef, now_s: float) -> tuple[Worker, Job] | None:
        """The task of that worker on that file ended: out of its list. None when it holds no such task."""
        worker = self.workers.get(worker_id)
        if worker is None:
            return None
        job = next((one for one in worker.tasks if one.ref == ref), None)
        if job is None:
            return None
        worker.tasks.remove(job)
        worker.recalled.discard(ref)
        if job in worker.handed:
            if job is worker.handed[0]:
                worker.head_since_s = now_s
            worker.handed.remove(job)
        if not worker.tasks and worker.state is WorkerState.BUSY:
            worker.state = WorkerState.IDLE
        return worker, job
