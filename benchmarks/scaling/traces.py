"""Traces by name and seed: what a supervisor meets in a year, each so small that it is simulated in seconds.

Sizes follow what was measured of real files (ARCHITECTURE.md, costs a prediction rests on): bytes and CPU seconds by
format and pixels. What a job truly takes is scattered about that by 10 %, and what is predicted of it by a log-normal
error of the given sigma about what it truly takes: 0.2 is a table that knows its formats, 0.5 one that does not.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from benchmarks.scaling.trace import DEFAULT_PRIORITY, MIB, Change, Trace, TraceJob

GIB = 1 << 30
MEGA = 1_000_000
SCATTER = 0.1
COSTS = {
    "jpeg": (10 * MIB, 10.2, 0.003, 0.065, 0.4),
    "webp": (10 * MIB, 12.0, 0.003, 0.30, 0.3),
    "png": (8 * MIB, 16.5, 0.003, 1.0, 1.2),
}
"""Bytes, bytes a pixel, CPU seconds, CPU seconds a megapixel; and bytes of the file a pixel."""


@dataclass(slots=True)
class Maker:
    """Jobs with chance and errors of their own."""

    chance: random.Random
    sigma: float
    jobs: list[TraceJob] = field(default_factory=list)

    def add(
        self,
        at_s: float,
        format: str,
        pixels: float,
        *,
        fresh: bool = False,
        folder: str = "photos",
        priority: int = DEFAULT_PRIORITY,
        cpu_factor: float = 1.0,
        peak_bytes: float | None = None,
        predicted_factor: float | None = None,
    ) -> None:
        """`predicted_factor`: predicted over true memory and CPU; None: as chance will have it."""
        base, per_pixel, cpu_base_s, cpu_per_megapixel_s, file_per_pixel = COSTS[format]
        peak = (base + per_pixel * pixels) * self._scattered() if peak_bytes is None else peak_bytes
        cpu_s = (cpu_base_s + cpu_per_megapixel_s * pixels / MEGA) * self._scattered() * cpu_factor
        errors = [predicted_factor or self.chance.lognormvariate(0.0, self.sigma) for _ in range(2)]
        self.jobs.append(
            TraceJob(
                round(at_s, 6),
                f"{len(self.jobs):05}.{format}",
                fresh,
                folder,
                max(2, int(pixels * file_per_pixel)),
                int(pixels),
                format,
                round(cpu_s, 6),
                int(peak),
                int(peak * errors[0]),
                round(cpu_s * errors[1], 6),
                priority,
            )
        )

    def photo(self, at_s: float, median_megapixels: float = 12.0, **others: object) -> None:
        """As cameras and phones make them, and some screenshots."""
        format = self.chance.choices(["jpeg", "webp", "png"], [0.85, 0.1, 0.05])[0]
        megapixels = min(60.0, self.chance.lognormvariate(math.log(median_megapixels), 0.5))
        if format == "png":
            megapixels = min(megapixels, 4.0)
        self.add(at_s, format, megapixels * MEGA, **others)  # type: ignore[arg-type]  # passed on as they came

    def icon(self, at_s: float, **others: object) -> None:
        self.add(at_s, "png", self.chance.uniform(0.002, 0.06) * MEGA, **others)  # type: ignore[arg-type]  # likewise

    def _scattered(self) -> float:
        return self.chance.lognormvariate(0.0, SCATTER)

    def trace(self, *changes: Change) -> Trace:
        return Trace("", tuple(sorted(self.jobs, key=lambda job: job.at_s)), changes)


Builder = Callable[[Maker], Trace]


def _burst(make: Maker) -> Trace:
    for _ in range(800):
        make.photo(0.0)
    return make.trace(Change(0.0, 8, 16 * GIB))


def _trickle(make: Maker) -> Trace:
    at_s = 0.0
    for _ in range(300):
        at_s += make.chance.expovariate(1.2)
        make.photo(at_s, fresh=True)
    return make.trace(Change(0.0, 4, 4 * GIB))


def _sawtooth(make: Maker) -> Trace:
    """Bursts, each for a little longer than the machine needs for it; a third is dropped, the rest found."""
    for tooth in range(10):
        for number in range(80):
            fresh = number % 3 == 0
            make.photo(tooth * 14.0 + make.chance.uniform(0.0, 1.0), fresh=fresh, folder="drop" if fresh else "photos")
    return make.trace(Change(0.0, 8, 8 * GIB))


def _giants_among_icons(make: Maker) -> Trace:
    for number in range(2000):
        if number % 100 == 37:
            make.add(0.0, "jpeg", make.chance.uniform(70, 110) * MEGA)
        else:
            make.icon(0.0)
    return make.trace(Change(0.0, 4, 3 * GIB))


def _noisy_neighbour(make: Maker) -> Trace:
    for _ in range(600):
        make.photo(0.0)
    taken = [0.0, 6.0, 2.0, 7.0, 0.5, 8.0, 3.0] * 12
    changes = [Change(7.0 * step, 8, 8 * GIB, cpus) for step, cpus in enumerate(taken)]
    return make.trace(*changes)


def _memory_neighbour(make: Maker) -> Trace:
    for _ in range(400):
        make.photo(0.0, 36.0)
    held = [0.0, 1.5, 3.0, 4.5, 6.0, 4.0, 1.0]
    changes = [Change(12.0 * step, 16, 8 * GIB, 0.5, int(held[step % len(held)] * GIB)) for step in range(70)]
    return make.trace(*changes)


def _shrinking_limit(make: Maker) -> Trace:
    for _ in range(400):
        make.photo(0.0, 30.0)
    limits = [8.0, 6.0, 4.5, 3.5, 2.5, 2.0]
    return make.trace(*(Change(8.0 * step, 16, int(gib * GIB)) for step, gib in enumerate(limits)))


def _growing_limit(make: Maker) -> Trace:
    for _ in range(400):
        make.photo(0.0, 24.0)
    limits = [1.25, 1.5, 2.0, 3.0, 5.0, 8.0]
    return make.trace(*(Change(15.0 * step, 16, int(gib * GIB)) for step, gib in enumerate(limits)))


def _poison(make: Maker) -> Trace:
    """Six that are known to be too large for the machine, and three that nobody would think so of."""
    for number in range(400):
        if number % 64 == 20:
            make.add(0.0, "jpeg", 400 * MEGA)
        elif number % 128 == 50:
            make.add(0.0, "webp", 10 * MEGA, peak_bytes=3.0 * GIB, predicted_factor=0.05)
        else:
            make.photo(0.0)
    return make.trace(Change(0.0, 4, 2 * GIB))


def _long_tail(make: Maker) -> Trace:
    for _ in range(600):
        make.photo(0.0, 6.0, cpu_factor=min(60.0, make.chance.paretovariate(1.1)))
    return make.trace(Change(0.0, 8, 8 * GIB))


def _many_folders(make: Maker) -> Trace:
    """A dozen of uneven size, and one that comes later and is more urgent than they are."""
    for number in range(12):
        for _ in range(20 + 12 * number):
            make.photo(0.0, 8.0, folder=f"album-{number:02}")
    for _ in range(60):
        make.photo(20.0, 8.0, folder="shop", priority=1)
    return make.trace(Change(0.0, 4, 4 * GIB))


def _memory_bound(make: Maker) -> Trace:
    for _ in range(400):
        make.photo(0.0, 30.0)
    return make.trace(Change(0.0, 16, 4 * GIB))


def _scans(make: Maker) -> Trace:
    """Pages from a scanner, each long at work with much memory; now and then a photo is dropped."""
    for _ in range(160):
        make.add(0.0, "png", make.chance.uniform(8, 30) * MEGA)
    for number in range(40):
        make.photo(5.0 + 4.0 * number + make.chance.uniform(0.0, 3.0), fresh=True, folder="drop")
    return make.trace(Change(0.0, 16, 4 * GIB))


def _small_machine(make: Maker) -> Trace:
    for number in range(600):
        if number % 3:
            make.icon(0.0)
        else:
            make.add(0.0, "jpeg", make.chance.uniform(0.5, 3.5) * MEGA)
    return make.trace(Change(0.0, 1, 256 * MIB))


def _large_machine(make: Maker) -> Trace:
    for _ in range(4000):
        make.photo(0.0, 16.0)
    return make.trace(Change(0.0, 128, 256 * GIB))


def _drops_amid_bulk(make: Maker) -> Trace:
    for _ in range(5000):
        make.photo(0.0, 3.0)
    at_s = 10.0
    while at_s < 250.0:
        at_s += make.chance.expovariate(0.5)
        for _ in range(make.chance.choice([1, 1, 1, 2, 8])):
            make.photo(at_s, fresh=True, folder="drop")
    return make.trace(Change(0.0, 4, 4 * GIB))


def _half_predicted(make: Maker) -> Trace:
    for _ in range(400):
        make.photo(0.0, 24.0, predicted_factor=0.5)
    return make.trace(Change(0.0, 16, 3 * GIB))


def _twice_predicted(make: Maker) -> Trace:
    for _ in range(400):
        make.photo(0.0, 24.0, predicted_factor=2.0)
    return make.trace(Change(0.0, 16, 3 * GIB))


BUILDERS: dict[str, Builder] = {
    "burst": _burst,
    "trickle": _trickle,
    "sawtooth": _sawtooth,
    "giants-among-icons": _giants_among_icons,
    "noisy-neighbour": _noisy_neighbour,
    "memory-neighbour": _memory_neighbour,
    "shrinking-limit": _shrinking_limit,
    "growing-limit": _growing_limit,
    "poison": _poison,
    "long-tail": _long_tail,
    "many-folders": _many_folders,
    "memory-bound": _memory_bound,
    "scans": _scans,
    "small-machine": _small_machine,
    "large-machine": _large_machine,
    "drops-amid-bulk": _drops_amid_bulk,
    "half-predicted": _half_predicted,
    "twice-predicted": _twice_predicted,
}


def make(name: str, seed: int, sigma: float = 0.2) -> Trace:
    """The trace of that name. Raises KeyError for a name that is none."""
    made = BUILDERS[name](Maker(random.Random(f"{name} {seed}"), sigma))
    return replace(made, name=name)


def names(only: Iterable[str] = ()) -> list[str]:
    """All, or those of them; raises KeyError for one that is none."""
    chosen = list(only) or list(BUILDERS)
    for name in chosen:
        BUILDERS[name]
    return chosen
