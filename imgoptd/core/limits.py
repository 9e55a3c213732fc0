"""The limits that were configured, as the machine of this moment makes them."""

from __future__ import annotations

from dataclasses import dataclass

from imgoptd.core.events import Configured, Sensed


@dataclass(frozen=True, slots=True)
class Limits:
    workers_min: int = 0
    workers_max: int = 1
    """0: as many as there are CPUs."""
    budget_bytes: int | None = None
    budget_fraction: float | None = None
    """Of the memory that the machine and its control groups leave."""

    @classmethod
    def of(cls, event: Configured) -> Limits:
        return cls(event.workers_min, event.workers_max, event.memory_budget_bytes, event.memory_budget_fraction)

    def workers(self, sensed: Sensed) -> tuple[int, int]:
        """(Least, most) workers."""
        most = self.workers_max or sensed.cpus
        return min(self.workers_min, most), most

    def budget(self, sensed: Sensed) -> int | None:
        """What all workers together may hold; None: no bound but the machine's own."""
        if self.budget_fraction is not None and sensed.limit_bytes is not None:
            return int(self.budget_fraction * sensed.limit_bytes)
        return self.budget_bytes
