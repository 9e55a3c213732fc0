"""What every decision about workers and jobs rests on: the last reading of the machine, and the limits in force."""

from __future__ import annotations

from dataclasses import dataclass, field

from imgoptd.core.admission import MemoryView
from imgoptd.core.events import Sensed
from imgoptd.core.scaling import FleetState


@dataclass(slots=True)
class Conditions:
    sensed: Sensed = field(default_factory=Sensed)
    workers_min: int = 0
    workers_max: int = 1
    budget_bytes: int | None = None
    draining: bool = False
    state: FleetState = FleetState.RUN
    wanted: int = 0
    """Workers wanted by the last decision."""

    def memory(self) -> MemoryView:
        return MemoryView(self.sensed.available_bytes, self.sensed.limit_bytes, self.budget_bytes)
