"""Which attempts are ended when memory runs short: those whose end costs least for what it frees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from imgoptd.core import commands as c
from imgoptd.core.fleet import Fleet, Worker
from imgoptd.core.pressure import Cause, Strain
from imgoptd.core.turn import Turn
from imgoptd.core.vitals import Vitals

SHED = "shed"
"""Why a worker is ended then."""
GONE_S = 0.09
"""So long they are waited for before others follow, by another reading: less than from one to the next. Who needs
longer to be gone is counted as going."""
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
    """Those to end: together they cover the shortfall, none of them needlessly, and lose as little CPU time as may be.

    Where all together do not cover it, all are ended but one. One is always left, unless none can fit any more.
    """
    chosen = _cheapest(attempts, shortfall_bytes)
    fitting = [one for one in attempts if one.fits]
    if fitting and all(one in chosen for one in fitting):
        left = max(fitting, key=lambda one: one.lost_cpu_s)
        chosen = _cheapest([one for one in attempts if one is not left], shortfall_bytes)
    return chosen


def _cheapest(attempts: Sequence[Attempt], shortfall_bytes: int) -> list[Attempt]:
    holding = [one for one in attempts if one.frees_bytes > 0]
    ranked = sorted(holding, key=lambda one: (one.lost_cpu_s / max(MIB, one.frees_bytes), one.worker))
    chosen = min(_covers(ranked, shortfall_bytes), key=lambda some: sum(one.lost_cpu_s for one in some), default=ranked)
    for one in sorted(chosen, key=lambda one: -one.lost_cpu_s):
        if sum(other.frees_bytes for other in chosen if other is not one) >= shortfall_bytes:
            chosen.remove(one)
    return chosen


def _covers(ranked: list[Attempt], shortfall_bytes: int) -> Iterator[list[Attempt]]:
    """Of the cheapest for each byte, so many first, then the one that covers the rest for the least."""
    freed = 0
    for count, one in enumerate(ranked):
        if freed >= shortfall_bytes:
            return
        covering = [other for other in ranked[count:] if freed + other.frees_bytes >= shortfall_bytes]
        if covering:
            yield [*ranked[:count], min(covering, key=lambda other: other.lost_cpu_s)]
        freed += one.frees_bytes


class Shedder:
    def __init__(self, fleet: Fleet, vitals: Vitals) -> None:
        self._fleet = fleet
        self._vitals = vitals
        self._next_s = 0.0
        self._judged = 0
        """The number of the reading that was acted on last."""

    def shed(self, turn: Turn, strain: Strain, largest_job_bytes: int | None) -> list[Worker]:
        """End as many attempts as the shortfall asks for; returns their workers."""
        if self._vitals.readings == self._judged:
            return []  # what was ended by this reading, it does not show
        if turn.now_s < self._next_s:
            return []
        self._judged = self._vitals.readings
        running = [one for one in self._fleet.workers.values() if one.handed and one.reserved_bytes]
        going = sum(self._vitals.frees_bytes(one) for one in running if one.killed_for) + self._vitals.gone_bytes
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
