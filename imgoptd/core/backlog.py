"""What waits for a worker, in which order (`core.line` within a trust domain, `core.ranking` between domains).

What waits on a disk that is shut stays where it is, at no cost, and counts for nothing until the disk is opened again.
All but the shutting and opening of a disk takes O(log n) of n jobs, however many domains there are.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Iterable, Iterator
from typing import NamedTuple

from imgoptd.core.job import Job, Stage
from imgoptd.core.line import Lane, Line, Totals
from imgoptd.core.model import Domain, Place
from imgoptd.core.ranking import Rank, Ranking


class _Entry(NamedTuple):
    """What was counted when the job came: what is known of it may change while it waits."""

    lane: Lane
    stage: Stage
    fresh: bool
    totals: Totals


class Backlog:
    """Holds jobs in stage UNPROBED or READY. Totals are of what may be given out."""

    def __init__(self) -> None:
        self._lines: dict[Domain, Line] = {}
        self._entries: dict[Job, _Entry] = {}
        self._places: dict[Place, dict[Domain, Lane]] = {}
        self._roots: dict[bytes, set[Place]] = {}
        self._shut: set[Place] = set()
        self._lost: set[bytes] = set()
        self._ranking = Ranking()
        self._changed: dict[Domain, float] = {}
        """Domains to be ranked anew, with the moment since when their work waits at the latest."""
        self._totals = Totals()
        self.last_drop_s: float | None = None
        """When the last fresh drop that ever waited here was noticed."""

    # ---- disks and folders ------------------------------------------------------------------------------------------

    def shut(self, place: Place) -> None:
        self._shut.add(place)
        self._mark((place,))

    def open(self, place: Place) -> None:
        self._shut.discard(place)
        self._mark((place,))

    def shut_folder(self, root: bytes) -> None:
        self._lost.add(root)
        self._mark(self._roots.get(root, ()))

    def open_folder(self, root: bytes) -> None:
        self._lost.discard(root)
        self._mark(self._roots.get(root, ()))

    def is_shut(self, place: Place) -> bool:
        return place in self._shut or place.root in self._lost

    def jobs_on(self, place: Place) -> int:
        """How many wait there, shut or not."""
        return sum(lane.totals.jobs for lane in self._places.get(place, {}).values())

    def jobs_below(self, root: bytes) -> int:
        """How many wait in the folder, shut or not."""
        return sum(self.jobs_on(place) for place in self._roots.get(root, ()))

    def _mark(self, places: Iterable[Place]) -> None:
        for place in places:
            shut = self.is_shut(place)
            for domain, lane in self._places.get(place, {}).items():
                if lane.shut != shut:
                    lane.shut = shut
                    self._totals.shift(-1 if shut else 1, lane.totals)
                    self._changed.setdefault(domain, 0.0)

    # ---- in and out -------------------------------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        if job in self._entries:
            raise ValueError(f"{job.ref} waits already")
        lane = self._lane(job)
        totals = Totals.of(job)
        self._entries[job] = _Entry(lane, job.stage, job.record.fresh, totals)
        lane.push(job)
        lane.totals.shift(1, totals)
        if not lane.shut:
            self._totals.shift(1, totals)
        if job.record.fresh:
            self.last_drop_s = max(job.noticed_s, self.last_drop_s or job.noticed_s)
        self._changed.setdefault(job.domain, job.noticed_s)

    def remove(self, job: Job) -> None:
        """Take the job out, wherever it waits."""
        lane, stage, fresh, totals = self._entries.pop(job)
        lane.remove(job, stage, fresh=fresh)
        lane.totals.shift(-1, totals)
        if not lane.shut:
            self._totals.shift(-1, totals)
        if not lane.totals.jobs:
            self._forget_lane(job.domain, lane)
        self._changed.setdefault(job.domain, job.noticed_s)

    def give_out(self, job: Job, now_s: float) -> None:
        """Take it out for a worker: it was its domain's turn."""
        line, urgency = self._lines[job.domain], (not job.record.fresh, job.priority)
        line.given_out(job)
        if self._entries[job].stage is Stage.READY:
            self._settle()
            self._ranking.update(job.domain, self._urgency(job.domain) or urgency, now_s)
            self._ranking.served(job.domain, fresh=job.record.fresh, cpu_s=job.estimate.cpu_s, now_s=now_s)
        self.remove(job)

    def _lane(self, job: Job) -> Lane:
        line = self._lines.get(job.domain)
        if line is None:
            line = self._lines[job.domain] = Line()
        lane = line.lanes.get(job.place)
        if lane is None:
            lane = line.lanes[job.place] = Lane(job.place, shut=self.is_shut(job.place))
            self._places.setdefault(job.place, {})[job.domain] = lane
            self._roots.setdefault(job.place.root, set()).add(job.place)
        return lane

    def _forget_lane(self, domain: Domain, lane: Lane) -> None:
        place, line = lane.place, self._lines[domain]
        del line.lanes[place]
        if not line.lanes:
            del self._lines[domain]
        del self._places[place][domain]
        if not self._places[place]:
            del self._places[place]
            self._roots[place.root].discard(place)
            if not self._roots[place.root]:
                del self._roots[place.root]

    # ---- what may be given out --------------------------------------------------------------------------------------

    @property
    def jobs(self) -> int:
        return self._totals.jobs

    @property
    def bytes(self) -> int:
        return self._totals.bytes

    @property
    def ready_cpu_s(self) -> float:
        """What the probed jobs are expected to take."""
        return self._totals.cpu_ns / 1e9

    @property
    def unprobed(self) -> tuple[int, int]:
        """How many files wait to be probed, and their bytes."""
        return self._totals.unprobed, self._totals.unprobed_bytes

    @property
    def jobs_kept_back(self) -> int:
        """How many wait on disks that are shut and in folders that are lost."""
        return len(self._entries) - self.jobs

    def domains(self) -> list[Domain]:
        """Every domain with something waiting."""
        self._settle()
        return self._ranking.waiting()

    def jobs_of(self, domain: Domain) -> int:
        line = self._lines.get(domain)
        return line.jobs if line is not None else 0

    def ready_cpu_s_of(self, domain: Domain) -> float:
        line = self._lines.get(domain)
        return line.ready_cpu_s if line is not None else 0.0

    def next_probe(self, domain: Domain) -> Job | None:
        """The next file to probe, unless enough probed jobs wait already."""
        line = self._lines.get(domain)
        return line.next_probe() if line is not None else None

    def next_ready(self, domain: Domain) -> Job | None:
        line = self._lines.get(domain)
        return line.next_ready() if line is not None else None

    def short_bulk(self, domain: Domain) -> Job | None:
        """The first bulk job that takes little time."""
        line = self._lines.get(domain)
        return line.short_bulk() if line is not None else None

    def least_bulk(self, domain: Domain, suits: Callable[[Job], bool]) -> Job | None:
        """A bulk job that suits and needs little memory."""
        line = self._lines.get(domain)
        return line.least_bulk(suits) if line is not None else None

    def backfill(self, domain: Domain, suits: Callable[[Job], bool]) -> Job | None:
        """A job that suits, among the first of each size on each disk."""
        line = self._lines.get(domain)
        return line.backfill(suits) if line is not None else None

    def urgency(self, domain: Domain) -> tuple[bool, int] | None:
        """How urgent the domain's most urgent work is; None when nothing waits."""
        return self._urgency(domain)

    def rank(self, domain: Domain, now_s: float, *, served: bool) -> Rank | None:
        """Where the domain stands among all; None when nothing waits."""
        self._settle()
        return self._ranking.rank(domain, now_s, served=served)

    def foremost(self, skip: Container[Domain] = ()) -> Domain | None:
        """Whose work comes first, of all domains but these."""
        self._settle()
        return self._ranking.first(skip)

    def upcoming(self) -> Iterator[Job]:
        """What may be given out, of all domains, by urgency. Nothing may change meanwhile; a few cost little."""
        lanes = (lane for line in self._lines.values() for lane in line.open())
        return heapq.merge(*(lane.in_order() for lane in lanes), key=lambda job: job.order)

    def kept_back(self) -> Iterator[Job]:
        """What waits on disks that are shut and in folders that are lost, in no order."""
        shut = (lane for lanes in self._places.values() for lane in lanes.values() if lane.shut)
        return (job for lane in shut for job in lane.members())

    def _urgency(self, domain: Domain) -> tuple[bool, int] | None:
        line = self._lines.get(domain)
        return line.urgency() if line is not None else None

    def _settle(self) -> None:
        """Rank anew what changed since the last question."""
        for domain, noticed_s in self._changed.items():
            self._ranking.update(domain, self._urgency(domain), noticed_s)
        self._changed.clear()
