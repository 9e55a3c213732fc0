"""Memory pressure: how much of the time somebody waits for memory, by the kernel's own count of microseconds.

Source: Documentation/accounting/psi.rst of the kernel. `avg10` moves every two seconds, `total` at each read: so the
rate is our own, from `total`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

V = TypeVar("V")

RATE_WINDOW_S = 1.0
"""Rates are taken over at least this long: readings come in bursts, and a rate over a millisecond is noise."""
SHORTEST_WINDOW_S = 0.1
"""Less than ten clock ticks tell nothing of CPU time."""
LONGEST_WINDOW_S = 10.0
"""What was read longer ago, before a time with nothing to do, tells nothing of now."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """The `some` line of a pressure file."""

    avg10: float
    """Percent of the last ten seconds."""
    total_us: int


def parse_pressure(text: str) -> Pressure | None:
    """The `some` line of /proc/pressure/memory or a group's memory.pressure; None where there is none."""
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] != "some":
            continue
        values = dict(word.partition("=")[::2] for word in words[1:])
        try:
            return Pressure(float(values["avg10"]), int(values["total"]))
        except (KeyError, ValueError):
            return None
    return None


class Samples(deque[tuple[float, V]]):
    """What a count showed when. Rates compare the last sample with the youngest one that is old enough."""

    def add(self, now_s: float, value: V) -> tuple[float, V] | None:
        """Take one in; return the one to compare it with, or None when that would say nothing yet."""
        while self and now_s - self[0][0] > LONGEST_WINDOW_S:
            self.popleft()
        while len(self) > 1 and now_s - self[1][0] >= RATE_WINDOW_S:
            self.popleft()
        base = self[0] if self and now_s - self[0][0] >= SHORTEST_WINDOW_S else None
        self.append((now_s, value))
        return base


class PressureGauge:
    """The rates of some pressure files, each by its place in the sequence."""

    def __init__(self) -> None:
        self._samples: Samples[tuple[int | None, ...]] = Samples()

    def rates(self, now_s: float, found: Sequence[Pressure | None]) -> list[float | None]:
        """Share of the last second (or little more) in which somebody waited, 0..1 each; None is unknown."""
        totals = tuple(None if pressure is None else pressure.total_us for pressure in found)
        base = self._samples.add(now_s, totals)
        if base is None:
            return [None] * len(totals)
        return [_rate(now_s - base[0], new, old) for new, old in zip(totals, base[1], strict=True)]

    def newest(self) -> float | None:
        """The highest of the rates between the last two readings, which may be few milliseconds apart."""
        if len(self._samples) < 2:
            return None
        (then_s, then), (now_s, now) = self._samples[-2], self._samples[-1]
        rates = (_rate(now_s - then_s, new, old) for new, old in zip(now, then, strict=True))
        return max((rate for rate in rates if rate is not None), default=None)

    def forget(self) -> None:
        """The files are others from now on."""
        self._samples.clear()


def _rate(seconds: float, new_us: int | None, old_us: int | None) -> float | None:
    if new_us is None or old_us is None or seconds <= 0:
        return None
    return min(1.0, max(0.0, (new_us - old_us) / 1e6 / seconds))
