"""What readings tell of each worker over time: how fast it grows, what its job has cost, what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imgoptd.core.events import WorkerReading
from imgoptd.core.fleet import Fleet, Worker, WorkerState
from imgoptd.core.job import Job
from imgoptd.core.pressure import AHEAD_S


@dataclass(slots=True)
class _Vital:
    read_s: float
    rss_bytes: int
    cpu_s: float | None
    first_idle_bytes: int | None
    """Resident memory when it was started, or else when it was first read idle."""
    idle_growth_bytes: int = 0
    speed_bps: float = 0.0
    """Bytes of resident memory a second that it grew by between the last two readings."""
    head: Job | None = None
    head_cpu_s: float | None = None
    """Of the worker, at the last reading before that job became the first in its hands."""


class Vitals:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._known: dict[int, _Vital] = {}
        self.readings = 0
        """How often they came."""
        self.gone_bytes = 0
        """Held, by the last readings, by workers that had ended when they came: it is free, and nobody says so yet."""

    def take(self, readings: Iterable[WorkerReading], now_s: float) -> int | None:
        """Take readings in. Returns what our jobs hold above idle workers; None where one of them could not be read."""
        self._known = {number: one for number, one in self._known.items() if number in self._fleet.workers}
        held, read = 0, set()
        self.readings, self.gone_bytes = self.readings + 1, 0
        for reading in readings:
            worker = self._fleet.workers.get(reading.worker)
            if worker is None:
                self.gone_bytes += reading.rss_bytes
                continue
            read.add(worker.id)
            held += max(0, reading.rss_bytes - (worker.idle_rss_bytes or 0))
            self._take_one(worker, reading, now_s)
        up = {one.id for one in self._fleet.workers.values() if one.state is not WorkerState.STARTING}
        return held if up <= read else None

    def _take_one(self, worker: Worker, reading: WorkerReading, now_s: float) -> None:
        vital = self._known.get(worker.id)
        if vital is None:
            vital = self._known[worker.id] = _Vital(now_s, reading.rss_bytes, reading.cpu_s, worker.idle_rss_bytes)
        head = worker.handed[0] if worker.handed else None
        if head is not vital.head:
            vital.head, vital.head_cpu_s = head, vital.cpu_s
        if now_s > vital.read_s:
            vital.speed_bps = max(0.0, (reading.rss_bytes - vital.rss_bytes) / (now_s - vital.read_s))
        vital.read_s, vital.rss_bytes, vital.cpu_s = now_s, reading.rss_bytes, reading.cpu_s
        if worker.state is WorkerState.IDLE:
            if vital.first_idle_bytes is None:
                vital.first_idle_bytes = reading.rss_bytes
            vital.idle_growth_bytes = reading.rss_bytes - vital.first_idle_bytes

    def idle_growth_bytes(self, worker: Worker) -> int:
        """How much more it held when it was last read idle than when it was started."""
        vital = self._known.get(worker.id)
        return vital.idle_growth_bytes if vital is not None else 0

    def lost_cpu_s(self, worker: Worker, now_s: float) -> float:
        """CPU seconds that its running job has taken, never more than the time it has run."""
        ran_s = now_s - worker.head_since_s
        vital = self._known.get(worker.id)
        if vital is None or vital.cpu_s is None or vital.head_cpu_s is None or vital.head is not worker.handed[0]:
            return ran_s
        return min(ran_s, max(0.0, vital.cpu_s - vital.head_cpu_s) + now_s - vital.read_s)

    def frees_bytes(self, worker: Worker) -> int:
        """What its end makes free: what it holds above an idle worker, and what it is about to take."""
        return self._grown_bytes(worker) + self.growing_bytes(worker)

    def growing_bytes(self, worker: Worker) -> int:
        """What its job takes within AHEAD_S if it goes on as it did, within its reservation."""
        vital = self._known.get(worker.id)
        if vital is None or not worker.handed:
            return 0
        left = max(0, worker.reserved_bytes - self._grown_bytes(worker))
        return min(left, int(vital.speed_bps * AHEAD_S))

    def _grown_bytes(self, worker: Worker) -> int:
        vital = self._known.get(worker.id)
        return max(0, vital.rss_bytes - (worker.idle_rss_bytes or 0)) if vital is not None else 0
