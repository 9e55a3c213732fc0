"""What waits of one trust domain, and in which order it is given out.

| which | comes |
|---|---|
| fresh drops | before bulk, by the folder's priority, as they came |
| bulk | largest first (the most CPU seconds), by the folder's priority |
| every OLDEST_IN-th of either | is the one that waits longest, whatever its size and priority |
| every BULK_IN-th job, and probe | is bulk's while bulk waits, however many fresh drops come |

So of n jobs that wait, each is given out within OLDEST_IN * BULK_IN * n starts, whatever comes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge

from imgoptd.core.heap import Heap
from imgoptd.core.job import Job, Stage
from imgoptd.core.model import Place
from imgoptd.core.sizes import Sizes

READY_WINDOW = 1024
"""With this many probed jobs waiting in a domain, jobs come before further probes of bulk files."""
FRESH_WINDOW = 64
"""The same of fresh drops: they are done as they came, so that to know more of them changes nothing."""
BACKFILL_LOOK = 32
"""How many sizes of job behind one that does not fit the memory are tried instead of it."""
BULK_IN = 8
OLDEST_IN = 8


@dataclass(slots=True)
class Totals:
    """Of what waits. Whole numbers, whose sums do not drift."""

    jobs: int = 0
    bytes: int = 0
    cpu_ns: int = 0
    """What the probed ones are expected to take."""
    unprobed: int = 0
    unprobed_bytes: int = 0

    def shift(self, sign: int, by: Totals) -> None:
        self.jobs += sign * by.jobs
        self.bytes += sign * by.bytes
        self.cpu_ns += sign * by.cpu_ns
        self.unprobed += sign * by.unprobed
        self.unprobed_bytes += sign * by.unprobed_bytes

    @classmethod
    def of(cls, job: Job) -> Totals:
        size = job.record.identity.size
        if job.stage is Stage.UNPROBED:
            return cls(1, size, 0, 1, size)
        return cls(1, size, int(job.estimate.cpu_s * 1e9))


class Lane:
    """What waits of one domain on one disk."""

    def __init__(self, place: Place, *, shut: bool) -> None:
        self.place = place
        self.shut = shut
        self.fresh_probes: Heap[Job] = Heap()
        self.bulk_probes: Heap[Job] = Heap()
        self.fresh = Sizes()
        self.bulk = Sizes()
        self.fresh_by_age: Heap[Job] = Heap()
        self.bulk_by_age: Heap[Job] = Heap()
        self.totals = Totals()

    def push(self, job: Job) -> None:
        if job.stage is Stage.UNPROBED:
            (self.fresh_probes if job.record.fresh else self.bulk_probes).push(job, job.order)
        elif job.record.fresh:
            self.fresh.push(job, job.order)
            self.fresh_by_age.push(job, (job.seq,))
        else:
            self.bulk.push(job, job.order)
            self.bulk_by_age.push(job, (job.seq,))

    def remove(self, job: Job, stage: Stage, *, fresh: bool) -> None:
        """`stage` and `fresh` are what they were when the job came."""
        if stage is Stage.UNPROBED:
            (self.fresh_probes if fresh else self.bulk_probes).remove(job)
        elif fresh:
            self.fresh.remove(job)
            self.fresh_by_age.remove(job)
        else:
            self.bulk.remove(job)
            self.bulk_by_age.remove(job)

    def fresh_probe(self) -> Job | None:
        return self.fresh_probes.head() if len(self.fresh) < FRESH_WINDOW else None

    def bulk_probe(self) -> Job | None:
        return self.bulk_probes.head() if len(self.fresh) + len(self.bulk) < READY_WINDOW else None

    def in_order(self) -> Iterator[Job]:
        queues = (self.fresh, self.bulk, self.fresh_probes, self.bulk_probes)
        return merge(*(queue.in_order() for queue in queues), key=_order)

    def members(self) -> Iterator[Job]:
        for queue in (self.fresh, self.bulk, self.fresh_probes, self.bulk_probes):
            yield from queue.members()


class Line:
    """The lanes of one domain, and how often each rule of the table was kept."""

    def __init__(self) -> None:
        self.lanes: dict[Place, Lane] = {}
        self._fresh_probes_in_a_row = 0
        self._fresh_in_a_row = 0
        self._first_fresh_in_a_row = 0
        self._largest_in_a_row = 0

    @property
    def jobs(self) -> int:
        """That may be given out."""
        return sum(lane.totals.jobs for lane in self.open())

    @property
    def ready_cpu_s(self) -> float:
        return sum(lane.totals.cpu_ns for lane in self.open()) / 1e9

    def open(self) -> list[Lane]:
        return [lane for lane in self.lanes.values() if not lane.shut]

    def urgency(self) -> tuple[bool, int] | None:
        """Of the most urgent work that may be given out, whatever comes next by the table."""
        heads = [
            job
            for lane in self.open()
            for job in (lane.fresh.head(), lane.fresh_probe(), lane.bulk.head(), lane.bulk_probe())
            if job is not None
        ]
        return min((job.urgency for job in heads), default=None)

    def next_probe(self) -> Job | None:
        """The next file to probe, unless enough probed jobs wait already."""
        fresh = _first(lane.fresh_probe() for lane in self.open())
        if fresh is not None and self._fresh_probes_in_a_row < BULK_IN - 1:
            return fresh
        return _first(lane.bulk_probe() for lane in self.open()) or fresh

    def next_ready(self) -> Job | None:
        fresh = self._next_fresh()
        if fresh is not None and self._fresh_in_a_row < BULK_IN - 1:
            return fresh
        return self._next_bulk() or fresh

    def _next_fresh(self) -> Job | None:
        if self._first_fresh_in_a_row < OLDEST_IN - 1:
            return _first(lane.fresh.head() for lane in self.open())
        return _oldest(lane.fresh_by_age.head() for lane in self.open())

    def _next_bulk(self) -> Job | None:
        if self._largest_in_a_row < OLDEST_IN - 1:
            return _first(lane.bulk.head() for lane in self.open())
        return _oldest(lane.bulk_by_age.head() for lane in self.open())

    def short_bulk(self) -> Job | None:
        """The first bulk job that takes little time; None also when it is the turn of the one that waits longest."""
        if self._largest_in_a_row >= OLDEST_IN - 1:
            return None
        return _first(lane.bulk.head(short=True) for lane in self.open())

    def backfill(self, suits: Callable[[Job], bool]) -> Job | None:
        """A job that suits, in order: fresh ones first, then of bulk the largest."""
        for queues in ([lane.fresh for lane in self.open()], [lane.bulk for lane in self.open()]):
            found = _first(queue.first(BACKFILL_LOOK, suits) for queue in queues)
            if found is not None:
                return found
        return None

    def least_bulk(self, suits: Callable[[Job], bool]) -> Job | None:
        """A bulk job that suits and needs little memory."""
        found = [job for lane in self.open() if (job := lane.bulk.least(suits)) is not None]
        return min(found, key=lambda job: job.estimate.memory_bytes, default=None)

    def given_out(self, job: Job) -> None:
        """Keep count of whose turn it was. To be told before the job is removed."""
        bulk_waits = any(lane.bulk or lane.bulk_probes for lane in self.open())
        if job.stage is Stage.UNPROBED:
            self._fresh_probes_in_a_row = self._fresh_probes_in_a_row + 1 if job.record.fresh and bulk_waits else 0
        elif job.record.fresh:
            self._fresh_in_a_row = self._fresh_in_a_row + 1 if bulk_waits else 0
            oldest = _oldest(lane.fresh_by_age.head() for lane in self.open())
            self._first_fresh_in_a_row = 0 if job is oldest else self._first_fresh_in_a_row + 1
        else:
            self._fresh_in_a_row = 0
            oldest = _oldest(lane.bulk_by_age.head() for lane in self.open())
            self._largest_in_a_row = 0 if job is oldest else self._largest_in_a_row + 1


def _order(job: Job) -> tuple[bool, int, float, int]:
    return job.order


def _first(jobs: Iterable[Job | None]) -> Job | None:
    return min((job for job in jobs if job is not None), key=_order, default=None)


def _oldest(jobs: Iterable[Job | None]) -> Job | None:
    return min((job for job in jobs if job is not None), key=lambda job: job.seq, default=None)
