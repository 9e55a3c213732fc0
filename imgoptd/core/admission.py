"""How much memory a job may have now. Prediction is the guard: it starts when its peak fits beside all others'."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

MIB = 1 << 20
RESERVE_FRACTION = 0.12
RESERVE_LEAST_BYTES = 96 * MIB
POOLED_DEVIATIONS = 3.0
"""Many jobs seldom all take much: of all together so many standard deviations above the mean are booked, where that is
less than the sum of what each is bound to."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What one worker is allowed to take and what it has already."""

    reserved_bytes: int
    """Of its running job, above the idle worker; 0 when idle."""
    growth_bytes: int
    """What it may still take of that."""
    likely_bytes: float | None = None
    """The mean of what it will take of `reserved_bytes`; None: nothing is known but those."""
    variance: float = 0.0
    """Of what it will take, in bytes squared."""

    @property
    def mean_bytes(self) -> float:
        return self.reserved_bytes if self.likely_bytes is None else min(self.likely_bytes, self.reserved_bytes)

    @property
    def mean_growth_bytes(self) -> float:
        """What it is likely to take more."""
        return max(0.0, self.mean_bytes - (self.reserved_bytes - self.growth_bytes))


@dataclass(frozen=True, slots=True)
class MemoryView:
    """The machine as admission sees it. None is unknown."""

    available_bytes: int | None
    limit_bytes: int | None
    """The smallest of machine, cgroup and configured budget."""
    budget_bytes: int | None
    """Configured: what all workers together may hold."""

    @property
    def reserve_bytes(self) -> int:
        """What is never given out: the machine's own air to breathe."""
        if self.limit_bytes is None:
            return RESERVE_LEAST_BYTES
        return max(int(RESERVE_FRACTION * self.limit_bytes), RESERVE_LEAST_BYTES)

    def free_bytes(self, holdings: Iterable[Holding]) -> int | None:
        """What a further job may take; None when nothing is known of the machine's memory."""
        held = list(holdings)
        return self.free_beside(sum(one.reserved_bytes for one in held), sum(one.growth_bytes for one in held))

    def free_beside(self, reserved_bytes: int, growth_bytes: int) -> int | None:
        """The same beside jobs that may take so much in all, and so much more than at the last reading."""
        bounds = []
        if self.available_bytes is not None:
            bounds.append(self.available_bytes - self.reserve_bytes - growth_bytes)
        largest = self.largest_job_bytes()
        if largest is not None:
            bounds.append(largest - reserved_bytes)
        return min(bounds) if bounds else None

    def largest_job_bytes(self) -> int | None:
        """The most a job may ever ask for; more is held with that reason. None: unknown, so nothing is refused."""
        bounds = []
        if self.limit_bytes is not None:
            bounds.append(self.limit_bytes - self.reserve_bytes)
        if self.budget_bytes is not None:
            bounds.append(self.budget_bytes)
        return min(bounds) if bounds else None


class Ledger:
    """What the workers hold, kept in sums: what is free beside a worker is told at once, however many there are."""

    def __init__(self, view: MemoryView, holdings: dict[int, Holding]) -> None:
        """`holdings`: by the worker's number, of those that have tasks."""
        self._view = view
        self._holdings = dict(holdings)
        self._reserved_bytes = sum(one.reserved_bytes for one in holdings.values())
        self._growth_bytes = sum(one.growth_bytes for one in holdings.values())
        self._mean_bytes = sum(one.mean_bytes for one in holdings.values())
        self._mean_growth_bytes = sum(one.mean_growth_bytes for one in holdings.values())
        self._variance = sum(one.variance for one in holdings.values())
        self._running = sum(one.reserved_bytes > 0 for one in holdings.values())

    def put(self, worker: int, holding: Holding) -> None:
        """It holds this from now on."""
        old = self._holdings.get(worker, Holding(0, 0))
        self._holdings[worker] = holding
        self._reserved_bytes += holding.reserved_bytes - old.reserved_bytes
        self._growth_bytes += holding.growth_bytes - old.growth_bytes
        self._mean_bytes += holding.mean_bytes - old.mean_bytes
        self._mean_growth_bytes += holding.mean_growth_bytes - old.mean_growth_bytes
        self._variance += holding.variance - old.variance
        self._running += (holding.reserved_bytes > 0) - (old.reserved_bytes > 0)

    def runs_without(self, worker: int) -> bool:
        """Does any other worker run a job?"""
        own = self._holdings.get(worker)
        return self._running - (own is not None and own.reserved_bytes > 0) > 0

    def free_without(self, worker: int) -> int | None:
        """What the worker may take, beside what all others may; None when nothing is known of the machine's memory."""
        own = self._holdings.get(worker, Holding(0, 0))
        more = math.ceil(POOLED_DEVIATIONS * math.sqrt(max(0.0, self._variance - own.variance)))
        reserved, growth = self._reserved_bytes - own.reserved_bytes, self._growth_bytes - own.growth_bytes
        pooled = math.ceil(self._mean_bytes - own.mean_bytes) + more
        pooled_growth = math.ceil(self._mean_growth_bytes - own.mean_growth_bytes) + more
        return self._view.free_beside(min(reserved, pooled), min(growth, pooled_growth))

    def need_bytes(self, worker: int, holding: Holding) -> int:
        """How much less would be free if the worker began with a job that holds this."""
        own = self._holdings.get(worker, Holding(0, 0))
        before = max(0.0, self._variance - own.variance)
        deviation = math.sqrt(before + holding.variance) - math.sqrt(before)
        return min(holding.reserved_bytes, math.ceil(holding.mean_bytes + POOLED_DEVIATIONS * deviation))
