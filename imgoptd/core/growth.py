"""What a running job has taken so far, and whether it has come to rest.

An image mostly takes its memory early, when it is decoded, and works on the pixels after that. Of a job that has not
grown for a while only what it may still come to is booked: the rest of its reservation is of use to others. The longer
it rests, the less is to be expected: how much is learned for each stage of rest apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

MIB = 1 << 20
REST_SHARES = (0.05, 0.15, 0.3)
"""The stages: a job has not grown in these shares of the CPU seconds that it is expected to take. One that gets no CPU
does not rest."""
REST_CPU_S = 0.03
"""Nor in so many at least: the kernel counts a process's CPU time in hundredths of a second."""
TOLERANCE_BYTES = 2 * MIB
TOLERANCE_SHARE = 0.02
"""Growing by less than the larger of the two is no growing."""


@dataclass(slots=True)
class Growth:
    """Of one job, since a worker began with it."""

    seen_bytes: int = 0
    """The most that it was seen to hold above the idle worker."""
    rested_bytes: list[int] = field(default_factory=list)
    """What it held when it first came to each stage of rest that it has reached."""
    bound_bytes: int | None = None
    """At rest: what it may still come to. None: as much as was reserved."""
    readings: int = 0
    cpu_from_s: float | None = None
    """Of its worker, when the job began; None: unknown."""
    cpu_s: float = 0.0
    """What it took so far."""
    _base_bytes: int = 0
    _grew_cpu_s: float = 0.0

    def read(
        self, bytes_now: int, worker_cpu_s: float | None, expected_cpu_s: float, later: Sequence[float | None]
    ) -> None:
        """Take in a reading of its worker.

        `bytes_now`: above the idle worker. `later`: for each stage of rest, how much larger jobs of the kind end than
        they were when they first came to it; None is unknown.
        """
        self.readings += 1
        if self.readings == 1:
            # This reading may have been made a moment before the job began: it tells where to count from.
            self.cpu_from_s = worker_cpu_s
            return
        if worker_cpu_s is not None and self.cpu_from_s is not None:
            self.cpu_s = worker_cpu_s - self.cpu_from_s
        self.seen_bytes = max(self.seen_bytes, bytes_now)
        if bytes_now > self._base_bytes + max(TOLERANCE_BYTES, TOLERANCE_SHARE * self._base_bytes):
            self._base_bytes, self._grew_cpu_s = bytes_now, self.cpu_s
            self.bound_bytes = None
            return
        stages = self._stages(expected_cpu_s)
        self.rested_bytes += [self.seen_bytes] * (stages - len(self.rested_bytes))
        bounds = [int(self.seen_bytes * max(1.0, ratio)) for ratio in later[:stages] if ratio is not None]
        if bounds:
            self.bound_bytes = min(bounds)

    def _stages(self, expected_cpu_s: float) -> int:
        """How many stages of rest it has reached."""
        worked_s = self.cpu_s - self._grew_cpu_s
        if self.seen_bytes <= 0 or worked_s < REST_CPU_S or expected_cpu_s <= 0:
            return 0
        return sum(worked_s >= share * expected_cpu_s for share in REST_SHARES)

    def booked_bytes(self, reserved_bytes: int) -> int:
        """What the job may take in all: its reservation, less if it rests, more if it holds more already."""
        booked = reserved_bytes if self.bound_bytes is None else min(reserved_bytes, self.bound_bytes)
        return max(booked, self.seen_bytes)
