"""Predicted memory and CPU seconds of a job, corrected by what jobs really took."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from imgoptd.core.model import Effort, FileRecord

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Cost:
    """`base_bytes + bytes_per_pixel * pixels + copies * file size`, and CPU seconds likewise."""

    base_bytes: int
    bytes_per_pixel: float
    copies: float
    cpu_base_s: float
    cpu_s_per_megapixel: float


# Measured on Debian 12 with simplejpeg 1.9, Pillow 13, mozjpeg-lossless-optimization 1.3.2 and pyoxipng 9.1.1 (see
# ARCHITECTURE.md): each row covers every measured point of its operation, the strict decode before and the comparison
# after included. The row of interlaced PNG is a guess on the safe side: no large one was at hand.
COSTS: dict[tuple[str, bool], Cost] = {
    ("jpeg", False): Cost(10 * MIB, 10.2, 3.0, 0.003, 0.065),
    ("jpeg", True): Cost(10 * MIB, 13.0, 3.0, 0.003, 0.17),
    ("png", False): Cost(8 * MIB, 16.5, 3.0, 0.003, 1.0),
    ("png", True): Cost(8 * MIB, 24.0, 3.0, 0.003, 1.1),
}
UNKNOWN_COST = Cost(16 * MIB, 32.0, 3.0, 0.01, 2.0)

FIRST_FACTOR = 1.15
"""Safety factor until enough jobs of a kind were seen."""
MOST_TRUSTED = 3.0
"""A ratio beyond this is taken as this: what a worker says of itself must not stop the work of others."""
FIRST_CPU_S_PER_MIB = 0.1
LEAST_CPU_S = 0.02
"""Taken for a file that was not probed yet, while nothing was learned."""
ENOUGH_SAMPLES = 8
WINDOW = 64


@dataclass(frozen=True, slots=True)
class Estimate:
    memory_bytes: int
    """Peak above the idle worker, safety factor included."""
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a job takes by what is known of its file alone, before anything was learned."""

    memory_bytes: float
    cpu_s: float


Predict = Callable[[FileRecord], Prediction]
"""Of a file that was probed."""


def predict(record: FileRecord) -> Prediction:
    """By the table of costs: format, way of coding, pixels, depth and size of the file."""
    facts = record.facts
    assert facts is not None
    cost = COSTS.get((facts.format, facts.progressive), UNKNOWN_COST)
    pixels, depth = facts.pixels, max(1.0, facts.depth_bits / 8)
    memory = cost.base_bytes + cost.bytes_per_pixel * pixels * depth + cost.copies * record.identity.size
    return Prediction(float(memory), cost.cpu_base_s + cost.cpu_s_per_megapixel * pixels / 1e6)


class Estimator:
    """Keeps, for each format and way of coding, the last ratios of actual to predicted memory and CPU time."""

    def __init__(self, predict: Predict = predict) -> None:
        self._predict = predict
        self._memory: dict[tuple[str, bool], deque[float]] = {}
        self._cpu: dict[tuple[str, bool], deque[float]] = {}
        self._per_mib: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        """(CPU seconds, MiB of file) of the last jobs, of whatever kind."""

    def mean_cpu_s(self, size_bytes: int) -> float:
        """What a file of which only the size is known will take, by what the last ones took for each MiB."""
        if len(self._per_mib) < ENOUGH_SAMPLES:
            return max(LEAST_CPU_S, FIRST_CPU_S_PER_MIB * size_bytes / MIB)
        cpu_s, mib = sum(one[0] for one in self._per_mib), sum(one[1] for one in self._per_mib)
        return cpu_s / max(mib, 1e-3) * size_bytes / MIB

    def estimate(self, record: FileRecord) -> Estimate:
        """Of a file that was probed."""
        raw, key = self._predict(record), _kind(record)
        return Estimate(int(raw.memory_bytes * self._memory_factor(key)), raw.cpu_s * self._cpu_factor(key))

    def learn(self, record: FileRecord, effort: Effort, idle_rss_bytes: int | None) -> None:
        """Take in what a finished job took. Jobs too small to measure teach nothing about memory."""
        raw, key = self._predict(record), _kind(record)
        above = effort.peak_bytes - idle_rss_bytes if effort.peak_bytes and idle_rss_bytes is not None else 0
        if above > 16 * MIB:
            self._memory.setdefault(key, deque(maxlen=WINDOW)).append(min(MOST_TRUSTED, above / raw.memory_bytes))
        if effort.cpu_s > 0:
            self._per_mib.append((effort.cpu_s, record.identity.size / MIB))
            self._cpu.setdefault(key, deque(maxlen=WINDOW)).append(min(MOST_TRUSTED, effort.cpu_s / raw.cpu_s))

    def _memory_factor(self, key: tuple[str, bool]) -> float:
        """The 95th percentile of actual over predicted; never below 0.8 of the table, so that luck is not trusted."""
        seen = self._memory.get(key, ())
        if len(seen) < ENOUGH_SAMPLES:
            return max(FIRST_FACTOR, *seen, FIRST_FACTOR)
        ranked = sorted(seen)
        return max(0.8, ranked[min(len(ranked) - 1, int(0.95 * len(ranked)))])

    def _cpu_factor(self, key: tuple[str, bool]) -> float:
        """The median of actual over predicted."""
        seen = self._cpu.get(key, ())
        return sorted(seen)[len(seen) // 2] if len(seen) >= ENOUGH_SAMPLES else 1.0


def _kind(record: FileRecord) -> tuple[str, bool]:
    assert record.facts is not None
    return record.facts.format, record.facts.progressive
