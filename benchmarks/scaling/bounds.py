"""What nobody can beat: a lower bound of the makespan of a trace, whatever the pool does.

It is the largest of three, each true by itself of every schedule on the simulated machine:

- **cpu**: for each moment r, the jobs that arrive at r or later take Σ cpu_s, and no CPU second of before r helps them:
  none of it ends before the earliest T at which the CPUs left by the neighbours add up to that between r and T.
- **memory**: the same with bytes times seconds. A job's memory grows from nothing to its peak within the first quarter
  of its CPU time and stays, and it has at most one CPU, so that it takes at least 7/8 of peak * cpu_s, and what its
  worker holds besides. Since not every set of jobs fills the memory to the last byte (of jobs above a half no two fit),
  the same is done with the sizes under dual feasible functions: whatever fits together still does under each of them
  (Fekete and Schepers, "New classes of fast lower bounds for bin packing problems", Math. Programming 91, 2001).
- **path**: each job arrives, then has one CPU at most, and for its last three quarters room for its peak without a gap.

With at most `exact.MOST_JOBS` jobs and a machine that stays as it is, the optimum is searched for (see `exact`).
Jobs that do not fit the machine at its largest are left out: nobody finishes them.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.scaling import exact
from benchmarks.scaling.machine import BYTES_PER_S, GROWS_FOR, LEAST_SHARE
from benchmarks.scaling.trace import IDLE_BYTES, SUPERVISOR_BYTES, Change, Trace, TraceJob

_UNIT_FRACTIONS = (1, 2, 3, 4)
_CUT_OFFS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)


@dataclass(frozen=True, slots=True)
class Bound:
    seconds: float
    """From the arrival of the first job on: nobody is through with all earlier."""
    binds: str
    """cpu, memory or path: which of the three it is. Of an optimum: what makes it as large as it is."""


class Capacity:
    """So much a second at each moment, in steps. The first reaches back without end, the last on without end."""

    def __init__(self, steps: Sequence[tuple[float, float]]) -> None:
        self.starts = [start for start, _ in steps]
        self.rates = [rate for _, rate in steps]
        self.sums = [0.0]
        """What there was from the first start to each start."""
        for index in range(1, len(steps)):
            self.sums.append(self.sums[-1] + (self.starts[index] - self.starts[index - 1]) * self.rates[index - 1])

    def until(self, at_s: float) -> float:
        """What there was from the first start to then."""
        index = max(0, bisect.bisect_right(self.starts, at_s) - 1)
        return self.sums[index] + (at_s - self.starts[index]) * self.rates[index]

    def reached(self, amount: float) -> float:
        """The earliest moment until which there was that much; infinite if there never is."""
        index = max(0, bisect.bisect_left(self.sums, amount) - 1)
        missing = amount - self.sums[index]
        if missing <= 0:
            return self.starts[index]
        return self.starts[index] + missing / self.rates[index] if self.rates[index] > 0 else float("inf")

    def most_after(self, at_s: float) -> float:
        """The highest rate from then on."""
        return max(self.rates[max(0, bisect.bisect_right(self.starts, at_s) - 1) :])

    def gaps(self, least: float) -> list[tuple[float, float]]:
        """The spans of time in which the rate is at least that, the last one without end."""
        found: list[tuple[float, float]] = []
        for index, rate in enumerate(self.rates):
            if rate < least:
                continue
            start = self.starts[index] if index else float("-inf")
            end = self.starts[index + 1] if index + 1 < len(self.starts) else float("inf")
            if found and found[-1][1] == start:
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
        return found


def bound(trace: Trace) -> Bound:
    """Zero seconds, and path, for a trace without a job that can be done."""
    impossible = trace.impossible()
    jobs = [job for job in trace.jobs if job.id not in impossible]
    if not jobs:
        return Bound(0.0, "path")
    begin_s = trace.first_job_s
    cpus, room = cpus_left(trace.changes), room_left(trace.changes, jobs)
    ends = {
        "cpu": area_end(((job.at_s, job.cpu_s) for job in jobs), cpus),
        "memory": max(
            area_end(((job.at_s, job.cpu_s * (0.875 * job.peak_bytes + IDLE_BYTES)) for job in jobs), room),
            packing_end(jobs, room),
        ),
        "path": path_end(jobs, cpus, room),
    }
    binds = max(ends, key=lambda name: ends[name])
    found = Bound(max(0.0, ends[binds] - begin_s), binds)
    changes = len(set(cpus.rates)) > 1 or len(set(room.rates)) > 1
    if len(jobs) > exact.MOST_JOBS or changes or any(job.peak_bytes + IDLE_BYTES > room.rates[0] for job in jobs):
        return found
    optimum = exact.search(
        [exact.Block(job.at_s - begin_s, job.cpu_s, job.peak_bytes + IDLE_BYTES) for job in jobs],
        slots=trace.most_cpus,
        room=int(room.rates[0]),
        ramp=GROWS_FOR,
    )
    if optimum is None or optimum.seconds <= found.seconds:
        return found
    return Bound(optimum.seconds, "memory" if optimum.memory_binds else found.binds)


# ---- what the machine has -------------------------------------------------------------------------------------------


def cpus_left(changes: Iterable[Change]) -> Capacity:
    """CPUs that the neighbours leave to us."""
    return Capacity([(one.at_s, max(one.cpus - one.neighbour_cpus, LEAST_SHARE * one.cpus)) for one in changes])


def room_left(changes: Sequence[Change], jobs: Iterable[TraceJob]) -> Capacity:
    """Bytes for workers and their jobs, never less than there are.

    A limit is lowered and a neighbour grows at `BYTES_PER_S`, so less room counts from the end of that on; more room
    counts at once. A limit waits for what is in use, too: for as long as the longest job may take at the worst.
    """
    longest_s = max((job.cpu_s for job in jobs), default=0.0)
    slowest = min(max(1 - one.neighbour_cpus / one.cpus, LEAST_SHARE) for one in changes)
    spans: list[tuple[float, float, float]] = []  # from, to, bytes
    settled_s = float("-inf")
    for index, one in enumerate(changes):
        start, end = one.at_s if index else float("-inf"), float("inf")
        if index + 1 < len(changes):
            then = changes[index + 1]
            lowered = max(0, one.memory_bytes - then.memory_bytes)
            grown = max(0, then.neighbour_bytes - one.neighbour_bytes)
            settled_s = max(settled_s, then.at_s) + (lowered + grown) / BYTES_PER_S
            end = settled_s + (longest_s / slowest if lowered else 0.0)
        spans.append((start, end, max(0, one.memory_bytes - one.neighbour_bytes - SUPERVISOR_BYTES)))
    moments = sorted({changes[0].at_s, *(start for start, _, _ in spans[1:]), *(end for _, end, _ in spans[:-1])})
    return Capacity([(at_s, max(room for start, end, room in spans if start <= at_s < end)) for at_s in moments])


# ---- the three ------------------------------------------------------------------------------------------------------


def area_end(works: Iterable[tuple[float, float]], capacity: Capacity) -> float:
    """The earliest end of all works (moment of arrival, amount), for the worst moment to begin the sum at."""
    latest, amount = float("-inf"), 0.0
    for at_s, work in sorted(works, reverse=True):
        amount += work
        latest = max(latest, capacity.reached(capacity.until(at_s) + amount))
    return latest


def packing_end(jobs: Sequence[TraceJob], room: Capacity) -> float:
    """The same for shares of the memory, as each of the dual feasible functions sees them.

    They are shares of the largest room there will be from a moment on; what varies below it is `area_end`'s matter.
    """
    latest, seen = float("-inf"), 0
    for begin_s in (jobs[0].at_s, *room.starts):
        most = int(room.most_after(begin_s))
        if most in (0, seen):
            continue
        seen = most
        late = [job for job in jobs if job.at_s >= begin_s]
        for function in (*map(unit_fraction, _UNIT_FRACTIONS), *map(cut_off, _CUT_OFFS)):
            works = [(job.at_s, job.cpu_s * _held(job.peak_bytes + IDLE_BYTES, most, function)) for job in late]
            latest = max(latest, area_end(works, Capacity([(begin_s, 1.0)])))
    return latest


def _held(size: int, most: int, function: Callable[[int, int], float]) -> float:
    """Share of the room times share of the CPU time; the growth counts in four steps, each as it begins."""
    growing = sum(function(size * step // 4, most) for step in (1, 2, 3))
    return (1 - GROWS_FOR) * function(size, most) + GROWS_FOR / 4 * growing


def unit_fraction(k: int) -> Callable[[int, int], float]:
    """u(k) of Fekete and Schepers: with k = 1 whatever is larger than a half takes all."""

    def function(size: int, most: int) -> float:
        whole, rest = divmod(size * (k + 1), most)
        return whole / k if rest else size / most

    return function


def cut_off(share: float) -> Callable[[int, int], float]:
    """What is smaller than the share takes nothing, and what leaves less than the share beside it takes all."""

    def function(size: int, most: int) -> float:
        if size > (1 - share) * most:
            return 1.0
        return size / most if size >= share * most else 0.0

    return function


def path_end(jobs: Iterable[TraceJob], cpus: Capacity, room: Capacity) -> float:
    """The latest of the earliest ends of each job, were it alone."""
    one_cpu = Capacity([(start, min(1.0, rate)) for start, rate in zip(cpus.starts, cpus.rates, strict=True)])
    least = min(room.rates)
    latest = float("-inf")
    for job in jobs:
        done = one_cpu.until(job.at_s)
        end = one_cpu.reached(done + job.cpu_s)
        size = job.peak_bytes + IDLE_BYTES
        if size > least:
            plateau_s = (1 - GROWS_FOR) * job.cpu_s
            grown_s = one_cpu.reached(done + GROWS_FOR * job.cpu_s)
            spans = [(max(start, grown_s), stop) for start, stop in room.gaps(size)]
            end = max(end, min((start + plateau_s for start, stop in spans if start + plateau_s <= stop), default=end))
        latest = max(latest, end)
    return latest
