"""Which job fits the memory now. Prediction is the guard: a job is admitted when its peak fits beside all others'."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MIB = 1 << 20
RESERVE_FRACTION = 0.12
RESERVE_LEAST_BYTES = 96 * MIB


@dataclass(frozen=True, slots=True)
class Holding:
    """What one worker is allowed to take and what it has already."""

    reserved_bytes: int
    """Of its running job, above the idle worker; 0 when idle."""
    growth_bytes: int
    """What it may still take of that."""


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
        bounds = []
        if self.available_bytes is not None:
            bounds.append(self.available_bytes - self.reserve_bytes - sum(one.growth_bytes for one in held))
        if self.budget_bytes is not None:
            bounds.append(self.budget_bytes - sum(one.reserved_bytes for one in held))
        return min(bounds) if bounds else None

    def largest_job_bytes(self) -> int | None:
        """The most a job may ever ask for; more is held with that reason. None: unknown, so nothing is refused."""
        bounds = []
        if self.limit_bytes is not None:
            bounds.append(self.limit_bytes - self.reserve_bytes)
        if self.budget_bytes is not None:
            bounds.append(self.budget_bytes)
        return min(bounds) if bounds else None


def fits(need_bytes: int, view: MemoryView, holdings: Iterable[Holding]) -> bool:
    """May a job of this predicted peak start now?

    With no job running the first may always start (if it is not larger than the whole budget, which the caller holds):
    waiting would not free anything of ours. Blind, one job runs at a time.
    """
    running = [one for one in holdings if one.reserved_bytes]
    if not running:
        return True
    free = view.free_bytes(running)
    return free is not None and need_bytes <= free
