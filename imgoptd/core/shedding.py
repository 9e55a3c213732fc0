"""Which attempts are ended when memory runs short: those whose end costs least for what it frees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imgoptd.core import commands as c
from imgoptd.core.fleet import Fleet, Worker
from imgoptd.core.pressure import Cause, Strain
from imgoptd.core.turn import Turn
from imgoptd.core.vitals import Vitals

SHED = "shed"
"""Why a worker is ended then."""
GONE_S = 0.5
"""So long they are waited for before others follow."""
RATE_S = 2.0
"""The same where only a rate asks for it: it is an average over up to two seconds, and tells late that it worked."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Attempt:
    """A job that runs."""

    worker: int
    lost_cpu_s: float
    """CPU seconds thrown away if it is ended now."""
    frees_bytes: int
    """What it holds and is about to take."""
    fits: bool = True
    """False: there is no longer as much memory, all told, as it may take."""


def choose(attempts: Sequence[Attempt], shortfall_bytes: int) -> list[Attempt]:
    """Those to end: least CPU lost for each byte freed first, until the shortfall is covered, and none without need.

    One is always left, unless it cannot fit any more.
    """
    ranked = sorted(attempts, key=lambda one: (one.lost_cpu_s / max(MIB, one.frees_bytes), one.worker))
    fitting = [one for one in ranked if one.fits]
    if fitting:
        ranked.remove(fitting[-1])
    chosen: list[Attempt] = []
    freed = 0
    for one in ranked:
        if freed >= shortfall_bytes:
            break
        if one.frees_bytes > 0:
            chosen.append(one)
            freed += one.frees_bytes
    for one in sorted(chosen, key=lambda one: -one.lost_cpu_s):
        if freed - one.frees_bytes >= shortfall_bytes:
            chosen.remove(one)
            freed -= one.frees_bytes
    return chosen


class Shedder:
    def __init__(self, fleet: Fleet, vitals: Vitals) -> None:
        self._fleet = fleet
        self._vitals = vitals
        self._next_s = 0.0

    def shed(self, turn: Turn, strain: Strain, largest_job_bytes: int | None) -> list[Worker]:
        """End as many attempts as the shortfall asks for; returns their workers."""
        if turn.now_s < self._next_s:
            return []
        running = [one for one in self._fleet.workers.values() if one.handed and one.reserved_bytes]
        going = sum(self._vitals.frees_bytes(one) for one in running if one.killed_for)
        # Where tasks wait for memory, nobody says for how much of it: one attempt is ended, then they are asked again.
        shortfall = max(1, strain.shortfall_bytes) - going
        attempts = self._attempts((one for one in running if not one.killed_for), turn.now_s, largest_job_bytes)
        workers = [self._fleet.workers[one.worker] for one in choose(attempts, shortfall)]
        for worker in workers:
            worker.killed_for = SHED
            turn.act(c.KillWorker(worker.id, SHED))
        if workers:
            self._next_s = turn.now_s + (RATE_S if strain.cause is Cause.WAITING else GONE_S)
        return workers

    def _attempts(self, workers: Iterable[Worker], now_s: float, most: int | None) -> list[Attempt]:
        vitals = self._vitals
        return [
            Attempt(
                one.id,
                vitals.lost_cpu_s(one, now_s),
                vitals.frees_bytes(one),
                fits=most is None or one.reserved_bytes <= most,
            )
            for one in workers
        ]
