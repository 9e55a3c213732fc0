"""The workers as the engine knows them. Each serves one trust domain for its whole life."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from imgoptd.core.admission import Holding
from imgoptd.core.events import WorkerReading
from imgoptd.core.growth import Growth
from imgoptd.core.job import Job, Stage
from imgoptd.core.model import Domain, FileRef

PROBE_DEPTH = 8
"""Probes a worker may hold at a time."""
PREFETCH_CPU_S = 0.25
"""A job expected to take less may wait in a worker behind another such one, so that none idles between small jobs."""
TINY_CPU_S = 0.05
"""Jobs that take less all together may fill a worker like probes: each waits longer for the disk than for its CPU."""
HEADROOM = 2
"""Jobs a worker may hold at a time, the running one included."""


class WorkerState(StrEnum):
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    PARKED = "parked"
    """Alive, and kept for when its domain has its turn again: see `core.spares`."""
    DRAINING = "draining"


_NOT_SERVING = frozenset({WorkerState.DRAINING, WorkerState.PARKED})


@dataclass(slots=True, eq=False)
class Worker:
    id: int
    domain: Domain
    started_s: float
    state: WorkerState = WorkerState.STARTING
    pid: int = 0
    codecs: Mapping[str, str] = field(default_factory=dict)
    """Of each format: the libraries that work on it, with their versions."""
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
    turn_since_s: float = 0.0
    """Since when it serves its domain without having been parked."""
    turn_jobs: int = 0
    """Given to it since then."""
    jobs_done: int = 0
    cpu_s: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    leaving_since_s: float = 0.0
    """Since when it is to leave, if it is."""
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
        """What its tasks may take above the idle worker. They run one after the other, so the largest counts."""
        return max((job.booked_bytes for job in self.tasks), default=0)

    @property
    def running(self) -> Job | None:
        """The task it works on."""
        return self.handed[0] if self.handed else None

    def remaining_s(self, now_s: float) -> float:
        """How long it is expected to work on what it has, with a CPU of its own; 0 where it takes longer already."""
        left_s = sum(job.estimate.cpu_s for job in self.tasks)
        if self.running is None:
            return left_s
        worked_s = now_s - self.head_since_s
        return left_s - worked_s if worked_s < self.running.estimate.cpu_s else 0.0

    def has_room_for_probe(self) -> bool:
        return (
            self.available and len(self.tasks) < PROBE_DEPTH and all(one.stage is Stage.PROBING for one in self.tasks)
        )

    def has_room_for_urgent_probe(self) -> bool:
        """May it hold a probe behind jobs? A more urgent one is not to wait until none of those is left."""
        small = all(one.estimate.cpu_s < PREFETCH_CPU_S for one in self.tasks)
        return self.available and len(self.tasks) < PROBE_DEPTH and small

    def has_room_for_job(self, job: Job) -> bool:
        if not self.available:
            return False
        if not self.tasks:
            return True
        tasks = (job, *self.tasks)
        small = all(one.estimate.cpu_s < PREFETCH_CPU_S for one in tasks)
        tiny = sum(one.estimate.cpu_s for one in tasks) < TINY_CPU_S
        most = PROBE_DEPTH if tiny else HEADROOM
        return len(self.tasks) < most and small and not any(one.solo for one in tasks)

    @property
    def grown_bytes(self) -> int:
        """What it was last seen to hold above what it held when idle."""
        return 0 if self.idle_rss_bytes is None else max(0, self.rss_bytes - self.idle_rss_bytes)

    def read(self, reading: WorkerReading, later: Sequence[float | None]) -> None:
        """Take in what the kernel says of it. `later`: as for `Growth.read`, of the job that it runs."""
        self.rss_bytes = reading.rss_bytes
        job = self.running
        if job is None or job.growth is None or self.idle_rss_bytes is None:
            return
        if job.stage is Stage.WORKING:
            job.growth.read(self.grown_bytes, reading.cpu_s, job.estimate.cpu_s, later)

    def holding(self) -> Holding:
        reserved = self.reserved_bytes
        growth = max(0, reserved - self.grown_bytes)
        if not self.tasks:
            return Holding(reserved, growth)
        likely = [job.likely_bytes for job in self.tasks]
        mean, variance = max(likely)
        return Holding(reserved, growth, max(mean, float(min(self.grown_bytes, reserved))), variance)

    def begin(self, now_s: float) -> None:
        """Another of the tasks in hand is the first one now."""
        self.head_since_s = now_s
        if self.running is not None:
            self.running.growth = Growth()


class Fleet:
    def __init__(self) -> None:
        self.workers: dict[int, Worker] = {}
        self._next_id = 1

    def add(self, domain: Domain, now_s: float) -> Worker:
        worker = Worker(self._next_id, domain, now_s, turn_since_s=now_s)
        self._next_id += 1
        self.workers[worker.id] = worker
        return worker

    @property
    def started(self) -> int:
        """Workers that were ever added."""
        return self._next_id - 1

    def serving(self) -> Iterator[Worker]:
        """Alive or starting, neither leaving nor parked."""
        return (one for one in self.workers.values() if one.state not in _NOT_SERVING)

    def idle(self) -> list[Worker]:
        return [one for one in self.workers.values() if one.state is WorkerState.IDLE and not one.killed_for]

    def holdings(self) -> dict[int, Holding]:
        """By worker, of those that have tasks."""
        return {one.id: one.holding() for one in self.workers.values() if one.tasks}

    def at_work(self) -> Iterator[Job]:
        """The jobs that workers were given, without what they probe."""
        tasks = (job for worker in self.workers.values() for job in worker.tasks)
        return (job for job in tasks if job.stage is Stage.WORKING)

    def reserved_bytes(self) -> int:
        return sum(one.reserved_bytes for one in self.workers.values())

    def running_jobs(self) -> int:
        return sum(len(one.tasks) for one in self.workers.values())

    def give(self, worker: Worker, job: Job) -> None:
        worker.tasks.append(job)
        worker.turn_jobs += job.stage is Stage.WORKING
        worker.state = WorkerState.BUSY

    def handed_over(self, worker_id: int, ref: FileRef, now_s: float) -> Job | None:
        """The worker has the task in hand. None when it holds no such task."""
        worker = self.workers.get(worker_id)
        job = next((one for one in worker.tasks if one.ref == ref), None) if worker else None
        if worker is None or job is None or job in worker.handed:
            return job
        worker.handed.append(job)
        if job is worker.running:
            worker.begin(now_s)
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
            was_running = job is worker.running
            worker.handed.remove(job)
            if was_running:
                worker.begin(now_s)
        if not worker.tasks and worker.state is WorkerState.BUSY:
            worker.state = WorkerState.IDLE
        return worker, job
