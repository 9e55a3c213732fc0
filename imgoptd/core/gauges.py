"""What each worker takes now: CPU and memory from one reading to the next. Kept in memory, for show alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imgoptd.core.events import WorkerReading

RATE_S = 0.5
"""A share of CPU is taken over at least this long: the kernel counts in ticks of 10 ms."""


@dataclass(slots=True)
class Gauge:
    cpu_s: float | None = None
    """Since the worker was forked; None is unknown."""
    cpu_share: float | None = None
    """Of one CPU, between the last two readings that lie apart far enough."""
    peak_bytes: int = 0
    """The highest reading of its resident memory."""
    begun_s: float = 0.0
    begun_cpu_s: float | None = None


class Gauges:
    def __init__(self) -> None:
        self.workers: dict[int, Gauge] = {}

    def read(self, readings: Iterable[WorkerReading], now_s: float) -> None:
        """Take in a reading of all workers; what is known of others is forgotten."""
        before, self.workers = self.workers, {}
        for reading in readings:
            gauge = self.workers[reading.worker] = before.get(reading.worker) or Gauge()
            gauge.peak_bytes = max(gauge.peak_bytes, reading.rss_bytes)
            gauge.cpu_s = reading.cpu_s
            self._rate(gauge, now_s)

    def of(self, worker: int) -> Gauge:
        """An empty one where nothing was read yet."""
        return self.workers.get(worker) or Gauge()

    def _rate(self, gauge: Gauge, now_s: float) -> None:
        if gauge.cpu_s is None:
            gauge.cpu_share = gauge.begun_cpu_s = None
            return
        if gauge.begun_cpu_s is not None:
            if now_s - gauge.begun_s < RATE_S:
                return
            gauge.cpu_share = max(0.0, gauge.cpu_s - gauge.begun_cpu_s) / (now_s - gauge.begun_s)
        gauge.begun_s, gauge.begun_cpu_s = now_s, gauge.cpu_s
