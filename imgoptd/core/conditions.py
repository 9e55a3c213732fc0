"""What every decision about workers and jobs rests on: the last reading of the machine, and the limits in force."""

from __future__ import annotations

from dataclasses import dataclass, field

from imgoptd.core.admission import MemoryView
from imgoptd.core.events import Sensed
from imgoptd.core.pressure import Strain
from imgoptd.core.scaling import FleetState


@dataclass(slots=True)
class Conditions:
    sensed: Sensed = field(default_factory=Sensed)
    was_read: bool = False
    """Has the machine been read at all? Before that, nothing is known for no bad reason."""
    workers_min: int = 0
    workers_max: int = 1
    spares_beside: bool = False
    """The configuration leaves it to the machine how many there may be: parked ones may stand beside them."""
    budget_bytes: int | None = None
    overridden: bool = False
    """The range of workers is an operator's, not the configured one."""
    draining: bool = False
    paused: bool = False
    """By an operator: nothing more is given out."""
    strain: Strain = field(default_factory=Strain)
    """How short of memory the machine is, by the last reading."""
    state: FleetState = FleetState.RUN
    room_bytes: int | None = None
    """On a machine that others keep full: what a job may take at most. None: admission decides alone."""
    wanted: int = 0
    """Workers wanted by the last decision."""

    def memory(self) -> MemoryView:
        return MemoryView(self.sensed.available_bytes, self.sensed.limit_bytes, self.budget_bytes)

    @property
    def blind(self) -> bool:
        """Nothing is known of what memory there is."""
        return self.sensed.available_bytes is None and self.budget_bytes is None
