"""What waits for a worker: per trust domain and disk, files to probe and jobs to run, each in order of priority.

What waits on a disk that is shut stays where it is, at no cost, and counts for nothing until the disk is opened again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

from imgoptd.core.job import Job, Stage
from imgoptd.core.model import Domain, Place
from imgoptd.core.upcoming import in_order

READY_WINDOW = 1024
"""With this many probed jobs waiting in a domain, jobs come before further probes of bulk files."""
FRESH_WINDOW = 64
"""The same of fresh drops: they are done as they came, so that to know more of them changes nothing."""
BACKFILL_LOOK = 32
"""How many jobs behind one that does not fit the memory are tried instead of it."""

Entry = tuple[tuple[bool, int, float, int], Job]


class _Queue:
    """A heap of jobs with lazy removal: an entry counts only while its job is in the stage it was put in for."""

    def __init__(self) -> None:
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

    def upcoming(self) -> Iterator[Job]:
        """Its jobs in order; the queue must not change meanwhile."""
        return (job for order, job in in_order(self._heap) if job in self.members and order == job.order)

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


class _Lane:
    """What waits of one domain on one disk."""

    def __init__(self, *, shut: bool) -> None:
        self.probes = _Queue()
        self.ready = _Queue()
        self.bytes = 0
        self.unprobed_bytes = 0
        self.ready_cpu_s = 0.0
        self.ready_fresh = 0
        self.shut = shut

    @property
    def jobs(self) -> int:
        return len(self.probes.members) + len(self.ready.members)

    def queue(self, stage: Stage) -> _Queue:
        return self.probes if stage is Stage.UNPROBED else self.ready

    def count(self, job: Job, sign: int) -> None:
        self.bytes += sign * job.record.identity.size
        if job.stage is Stage.UNPROBED:
            self.unprobed_bytes += sign * job.record.identity.size
        elif job.stage is Stage.READY:
            self.ready_fresh += sign * job.record.fresh
            # Sums of floats drift: never below nothing.
            self.ready_cpu_s = max(0.0, self.ready_cpu_s + sign * job.estimate.cpu_s)

    def next_probe(self) -> Job | None:
        job = self.probes.head()
        if job is None:
            return None
        fresh = job.record.fresh
        enough = self.ready_fresh >= FRESH_WINDOW if fresh else len(self.ready.members) >= READY_WINDOW
        return None if enough else job


class Backlog:
    """Holds jobs in stage UNPROBED or READY. Totals are of what may be given out."""

    def __init__(self) -> None:
        self._lanes: dict[Domain, dict[Place, _Lane]] = {}
        self._shut: set[Place] = set()
        self._lost: set[bytes] = set()

    # ---- disks and folders ------------------------------------------------------------------------------------------

    def shut(self, place: Place) -> None:
        self._shut.add(place)
        self._mark()

    def open(self, place: Place) -> None:
        self._shut.discard(place)
        self._mark()

    def shut_folder(self, root: bytes) -> None:
        self._lost.add(root)
        self._mark()

    def open_folder(self, root: bytes) -> None:
        self._lost.discard(root)
        self._mark()

    def is_shut(self, place: Place) -> bool:
        return place in self._shut or place.root in self._lost

    def jobs_on(self, place: Place) -> int:
        """How many wait there, shut or not."""
        return sum(lanes[place].jobs for lanes in self._lanes.values() if place in lanes)

    def jobs_below(self, root: bytes) -> int:
        """How many wait in the folder, shut or not."""
        return sum(lane.jobs for domain, lanes in self._lanes.items() if domain.root == root for lane in lanes.values())

    def _mark(self) -> None:
        for lanes in self._lanes.values():
            for place, lane in lanes.items():
                lane.shut = self.is_shut(place)

    # ---- in and out -------------------------------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        lanes = self._lanes.setdefault(job.domain, {})
        lane = lanes.get(job.place)
        if lane is None:
            lane = lanes[job.place] = _Lane(shut=self.is_shut(job.place))
        lane.queue(job.stage).push(job)
        lane.count(job, 1)

    def remove(self, job: Job) -> None:
        """Take the job out, wherever it waits. Its stage must still be the one it was added in."""
        lanes = self._lanes[job.domain]
        lane = lanes[job.place]
        lane.queue(job.stage).remove(job)
        lane.count(job, -1)
        if not lane.jobs:
            del lanes[job.place]
        if not lanes:
            del self._lanes[job.domain]

    # ---- what may be given out --------------------------------------------------------------------------------------

    @property
    def jobs(self) -> int:
        return sum(lane.jobs for lane in self._open_lanes())

    @property
    def jobs_kept_back(self) -> int:
        return sum(lane.jobs for lanes in self._lanes.values() for lane in lanes.values() if lane.shut)

    @property
    def bytes(self) -> int:
        return sum(lane.bytes for lane in self._open_lanes())

    @property
    def ready_cpu_s(self) -> float:
        return sum(lane.ready_cpu_s for lane in self._open_lanes())

    @property
    def unprobed(self) -> tuple[int, int]:
        """How many files wait to be probed, and their bytes."""
        lanes = list(self._open_lanes())
        return sum(len(lane.probes.members) for lane in lanes), sum(lane.unprobed_bytes for lane in lanes)

    def domains(self) -> Iterator[Domain]:
        """Every domain with something waiting."""
        return (domain for domain in self._lanes if any(True for _ in self._open(domain)))

    def next_probe(self, domain: Domain) -> Job | None:
        """The next file to probe, unless enough probed jobs wait already."""
        return _first(lane.next_probe() for lane in self._open(domain))

    def next_ready(self, domain: Domain) -> Job | None:
        return _first(lane.ready.head() for lane in self._open(domain))

    def backfill(self, domain: Domain, suits: Callable[[Job], bool]) -> Job | None:
        """A job that suits among the first BACKFILL_LOOK of the domain on each disk."""
        return _first(lane.ready.first(BACKFILL_LOOK, suits) for lane in self._open(domain))

    def kept_back(self) -> Iterator[Job]:
        """What waits on disks that are shut and in folders that are lost, in no order."""
        shut = (lane for lanes in self._lanes.values() for lane in lanes.values() if lane.shut)
        return (job for lane in shut for queue in (lane.ready, lane.probes) for job in queue.members)

    def upcoming(self) -> Iterator[Job]:
        """What may be given out, of all domains, in the order of urgency. Whoever takes a few pays for a few."""
        queues = [queue for lane in self._open_lanes() for queue in (lane.ready, lane.probes)]
        return heapq.merge(*(queue.upcoming() for queue in queues), key=lambda job: job.order)

    def urgency(self, domain: Domain) -> tuple[bool, int] | None:
        """How urgent the domain's most urgent work is; None when nothing waits."""
        heads = (self.next_probe(domain), self.next_ready(domain))
        return min((job.urgency for job in heads if job is not None), default=None)

    def _open(self, domain: Domain) -> Iterator[_Lane]:
        return (lane for lane in self._lanes.get(domain, {}).values() if not lane.shut)

    def _open_lanes(self) -> Iterator[_Lane]:
        return (lane for lanes in self._lanes.values() for lane in lanes.values() if not lane.shut)


def _first(jobs: Iterable[Job | None]) -> Job | None:
    return min((job for job in jobs if job is not None), key=lambda job: job.order, default=None)
