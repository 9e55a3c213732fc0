"""What waits for a worker: per trust domain, files to probe and jobs to run, each in order of priority."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from imgoptd.core.job import Job, Stage
from imgoptd.core.model import Domain

READY_WINDOW = 1024
"""With this many probed jobs waiting in a domain, jobs come before further probes of bulk files."""
BACKFILL_LOOK = 32
"""How many jobs behind one that does not fit the memory are tried instead of it."""

Entry = tuple[tuple[bool, int, float, int], Job]


class _Queue:
    """A heap of jobs with lazy removal: an entry counts only while its job is in the stage it was put in for."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._heap: list[Entry] = []
        self.members: set[Job] = set()

    def push(self, job: Job) -> None:
        self.members.add(job)
        heapq.heappush(self._heap, (job.order, job))

    def remove(self, job: Job) -> None:
        self.members.discard(job)

    def head(self) -> Job | None:
        while self._heap:
            order, job = self._heap[0]
            if job in self.members and order == job.order:
                return job
            heapq.heappop(self._heap)
        return None

    def first(self, count: int, suits: Callable[[Job], bool]) -> Job | None:
        """The first of the next `count` jobs that suits; it stays in the queue."""
        passed: list[Entry] = []
        found = None
        while len(passed) < count and (job := self.head()) is not None:
            passed.append(heapq.heappop(self._heap))
            if suits(job):
                found = job
                break
        for entry in passed:
            heapq.heappush(self._heap, entry)
        return found


class Backlog:
    """Holds jobs in stage UNPROBED or READY. Totals are kept, not counted anew."""

    def __init__(self) -> None:
        self._probes: dict[Domain, _Queue] = {}
        self._ready: dict[Domain, _Queue] = {}
        self.ready_cpu_s = 0.0
        self.jobs = 0
        self.bytes = 0

    def add(self, job: Job) -> None:
        queues = self._probes if job.stage is Stage.UNPROBED else self._ready
        queues.setdefault(job.domain, _Queue(job.stage)).push(job)
        self._count(job, 1)

    def remove(self, job: Job) -> None:
        """Take the job out, wherever it waits. Its stage must still be the one it was added in."""
        queues = self._probes if job.stage is Stage.UNPROBED else self._ready
        queue = queues[job.domain]
        queue.remove(job)
        if not queue.members:
            del queues[job.domain]
        self._count(job, -1)

    def domains(self) -> Iterator[Domain]:
        """Every domain with something waiting."""
        yield from self._probes.keys() | self._ready.keys()

    def next_probe(self, domain: Domain) -> Job | None:
        """The next file to probe, unless enough probed jobs wait already."""
        queue = self._probes.get(domain)
        job = queue.head() if queue else None
        ready = self._ready.get(domain)
        if job and ready and len(ready.members) >= READY_WINDOW and not job.record.fresh:
            return None
        return job

    def next_ready(self, domain: Domain) -> Job | None:
        queue = self._ready.get(domain)
        return queue.head() if queue else None

    def backfill(self, domain: Domain, suits: Callable[[Job], bool]) -> Job | None:
        """A job that suits among the first BACKFILL_LOOK of the domain."""
        queue = self._ready.get(domain)
        return queue.first(BACKFILL_LOOK, suits) if queue else None

    def urgency(self, domain: Domain) -> tuple[bool, int] | None:
        """How urgent the domain's most urgent work is; None when nothing waits."""
        heads = (self.next_probe(domain), self.next_ready(domain))
        return min((job.urgency for job in heads if job is not None), default=None)

    def _count(self, job: Job, sign: int) -> None:
        self.jobs += sign
        self.bytes += sign * job.record.identity.size
        if job.stage is Stage.READY:
            # Sums of floats drift: never below nothing.
            self.ready_cpu_s = max(0.0, self.ready_cpu_s + sign * job.estimate.cpu_s)
