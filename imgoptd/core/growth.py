"""What a running job has taken so far, and whether it has come to rest.

An image mostly takes its memory early, when it is decoded, and works on the pixels after that. Of a job that has not
grown for a while only what it may still come to is booked: the rest of its reservation is of use to others.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
REST_S = 0.75
"""A job at rest has not grown for so long,"""
REST_SHARE = 0.1
"""and not in this share of the CPU seconds that it is expected to take: one that gets no CPU does not rest."""
TOLERANCE_BYTES = 2 * MIB
TOLERANCE_SHARE = 0.02
"""Growing by less than the larger of the two is no growing."""


@dataclass(slots=True)
class Growth:
    """Of one job, since a worker began with it."""

    seen_bytes: int = 0
    """The most that it was seen to hold above the idle worker."""
    at_rest_bytes: int | None = None
    """What it held when it first came to rest."""
    bound_bytes: int | None = None
    """At rest: what it may still come to. None: as much as was reserved."""
    readings: int = 0
    cpu_from_s: float | None = None
    """Of its worker, when the job began; None: unknown."""
    cpu_s: float = 0.0
    """What it took so far."""
    _base_bytes: int = 0
    _grew_s: float = 0.0
    _grew_cpu_s: float = 0.0

    def read(
        self, now_s: float, bytes_now: int, worker_cpu_s: float | None, expected_cpu_s: float, later: float | None
    ) -> None:
        """Take in a reading of its worker.

        `bytes_now`: above the idle worker. `later`: how much larger jobs of the kind end than they first rest; None is
        unknown.
        """
        self.readings += 1
        if self.readings == 1:
            # This reading may have been made a moment before the job began: it tells where to count from.
            self.cpu_from_s, self._grew_s = worker_cpu_s, now_s
            return
        if worker_cpu_s is not None and self.cpu_from_s is not None:
            self.cpu_s = worker_cpu_s - self.cpu_from_s
        self.seen_bytes = max(self.seen_bytes, bytes_now)
        if bytes_now > self._base_bytes + max(TOLERANCE_BYTES, TOLERANCE_SHARE * self._base_bytes):
            self._base_bytes, self._grew_s, self._grew_cpu_s = bytes_now, now_s, self.cpu_s
            self.bound_bytes = None
        elif self._rests(now_s, expected_cpu_s):
            if self.at_rest_bytes is None:
                self.at_rest_bytes = self.seen_bytes
            if later is not None:
                self.bound_bytes = int(self.seen_bytes * max(1.0, later))

    def _rests(self, now_s: float, expected_cpu_s: float) -> bool:
        worked_s = self.cpu_s - self._grew_cpu_s
        return self.seen_bytes > 0 and now_s - self._grew_s >= REST_S and worked_s >= REST_SHARE * expected_cpu_s > 0

    def booked_bytes(self, reserved_bytes: int) -> int:
        """What the job may take in all: its reservation, less if it rests, more if it holds more already."""
        booked = reserved_bytes if self.bound_bytes is None else min(reserved_bytes, self.bound_bytes)
        return max(booked, self.seen_bytes)
