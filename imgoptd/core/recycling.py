"""Workers that have grown old or fat make way for fresh ones of the same domain, one at a time and without a gap.

What a codec leaks or leaves in pieces, an hour and 64 MiB bound. A worker's count of jobs does not matter: its memory
says it better, and a thousand icons are no reason for another fork.
"""

from __future__ import annotations

from imgoptd.core.fleet import Fleet, Worker, WorkerState
from imgoptd.core.text import show_bytes, show_seconds
from imgoptd.core.vitals import Vitals

AGE_S = 3600.0
GROWTH_BYTES = 64 << 20
"""Of the idle worker since its start: an idle one has trimmed what it can."""


class Recycling:
    def __init__(self, fleet: Fleet, vitals: Vitals) -> None:
        self._fleet = fleet
        self._vitals = vitals

    def due(self, now_s: float) -> list[Worker]:
        """Mark who is to go next, and return those that can: marked, and with nothing in hand."""
        workers = self._fleet.workers.values()
        oldest = (
            None
            if self._under_way()
            else next((one for one in workers if one.available and self._why(one, now_s)), None)
        )
        if oldest is not None:
            oldest.recycled_for = self._why(oldest, now_s)
        return [one for one in workers if one.recycled_for and one.state is WorkerState.IDLE and not one.killed_for]

    def next_deadline_s(self) -> float | None:
        """When the next one that idles becomes too old; events tell of all else."""
        if self._under_way():
            return None
        return min((one.started_s + AGE_S for one in self._fleet.idle()), default=None)

    def _under_way(self) -> bool:
        return any(one.recycled_for or one.state is WorkerState.STARTING for one in self._fleet.workers.values())

    def _why(self, worker: Worker, now_s: float) -> str:
        grown = self._vitals.idle_growth_bytes(worker)
        if grown > GROWTH_BYTES:
            return f"it holds {show_bytes(grown)} more than at first with nothing to do"
        age_s = now_s - worker.started_s
        return f"it is {show_seconds(age_s)} old" if now_s >= worker.started_s + AGE_S else ""
