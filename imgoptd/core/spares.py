"""Workers that are parked: alive, with nothing to do, while the work of their domain is another's turn or is to come.

A worker serves one trust domain for life, so that one that makes way for another domain would have to end, and a new
process start when its own turn comes again. Parked, it keeps its few MiB, uses no CPU, and goes on at once. It is given
nothing and counts as none of the workers; of those there are never more than `[workers] max`.

| parked are | |
|---|---|
| with `max = 0` | as many as there are CPUs, at most |
| with any other, or by an operator's command | so many that all processes are no more than `max` |
| those above, the longest parked first; each after PARKED_S | ended |
| none | while memory is short or unknown, and in a drain |
| never | one that holds FAT_BYTES more than when it was started |
"""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core.conditions import Conditions
from imgoptd.core.fleet import Fleet, Worker, WorkerState
from imgoptd.core.model import Domain
from imgoptd.core.pressure import Level
from imgoptd.core.turn import Turn
from imgoptd.core.vitals import Vitals

PARKED_S = 60.0
FAT_BYTES = 16 << 20


class Spares:
    def __init__(self, fleet: Fleet, vitals: Vitals, conditions: Conditions) -> None:
        self._fleet = fleet
        self._vitals = vitals
        self._conditions = conditions
        self._parked: dict[int, float] = {}
        """Since when, by worker, the longest first."""

    def __len__(self) -> int:
        return len(self._all())

    def make_way(self, turn: Turn, worker: Worker) -> None:
        """An idle worker leaves its place to one of another domain."""
        if self._vitals.idle_growth_bytes(worker) > FAT_BYTES:
            retire(turn, worker)
            return
        worker.state = WorkerState.PARKED
        self._parked[worker.id] = turn.now_s
        self.review(turn)

    def bring(self, turn: Turn, domain: Domain) -> Worker:
        """A worker for the domain: the one that was parked last, which idles at once; else one is started."""
        worker = next((one for one in reversed(self._all()) if one.domain == domain), None)
        if worker is not None:
            del self._parked[worker.id]
            worker.state = WorkerState.IDLE
            worker.turn_since_s, worker.turn_jobs = turn.now_s, 0
            return worker
        worker = self._fleet.add(domain, turn.now_s)
        turn.act(c.StartWorker(worker.id, domain))
        return worker

    def review(self, turn: Turn) -> None:
        """Those leave that are too many, or were parked for too long."""
        parked = self._all()
        surplus = len(parked) - self._most()
        for number, worker in enumerate(parked):
            if number < surplus or turn.now_s >= self._parked[worker.id] + PARKED_S:  # as the deadline has it
                del self._parked[worker.id]
                retire(turn, worker)

    def next_deadline_s(self) -> float | None:
        """When the next one has been parked for too long."""
        return next((since_s + PARKED_S for since_s in self._parked.values()), None)

    def _all(self) -> list[Worker]:
        workers = self._fleet.workers
        for number in [number for number in self._parked if number not in workers]:
            del self._parked[number]  # it died
        return [workers[number] for number in self._parked]

    def _most(self) -> int:
        conditions = self._conditions
        if conditions.draining or conditions.blind or conditions.strain.level is not Level.CALM:
            return 0
        if conditions.spares_beside and not conditions.overridden:
            return conditions.workers_max
        return max(0, conditions.workers_max - sum(1 for _ in self._fleet.serving()))


def retire(turn: Turn, worker: Worker) -> None:
    """The worker, which has nothing in hand, ends."""
    worker.state = WorkerState.DRAINING
    worker.leaving_since_s = turn.now_s
    turn.act(c.RetireWorker(worker.id))
