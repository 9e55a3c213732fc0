"""A machine in simulated time: CPUs shared, memory that grows, and a kernel that kills when there is none left.

From one event to the next everything is linear, so time goes from event to event and nothing is sampled.

CPU. Neighbours take what they want first, and at least 2 % of the CPUs remain ours: workers run at nice 10, weight 110
against 1024 of nice 0 (sched_prio_to_weight in the kernel's kernel/sched/core.c), so a contended CPU would leave us a
tenth; 2 % is on the safe side. The rest is shared equally by busy workers, none of which uses more than one CPU.

Memory. A job's grows from 0 to `peak_bytes` over the first quarter of its CPU time and stays to its end: images are
decoded, then their pixels are worked on. An idle worker holds IDLE_BYTES, whoever starts the workers SUPERVISOR_BYTES.
Neighbours approach what they will hold at 1 GiB/s, the order of what a process that touches fresh pages can do. A limit
is raised at once, and lowered at 1 GiB/s as far as it is free, as memory.limit_in_bytes is (a lower one is refused).
When all use exceeds the limit the kernel kills the worker of ours that holds most, again until it fits; its work is
lost.

Pressure. `some` of PSI is taken to rise from 0 at a use of 97 % of the limit to 1 at 100 %, as reclaim finds less and
less. Nobody is slowed down by it.

Processes. A worker idles START_S after it is started (12 ms were measured of a fork server with loaded codecs). A job
is in its worker's hands HANDING_S after it was given out. A probe of the file is a part of `cpu_s`: pools that do not
probe pay the same.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.scaling.accounts import FULL_AT, PRESSED_AT, Totals, stalled_s, time_above
from benchmarks.scaling.trace import IDLE_BYTES, SUPERVISOR_BYTES, Change, TraceJob

GIB = 1 << 30
START_S = 0.015
HANDING_S = 0.001
BYTES_PER_S = float(GIB)
GROWS_FOR = 0.25
"""Share of a job's CPU time in which its memory grows."""
LEAST_SHARE = 0.02
CLOSE_BYTES = 1.0
"""Amounts that differ by less are the same: floats drift."""


class Up(NamedTuple):
    """The worker idles."""

    worker: int


class Done(NamedTuple):
    worker: int
    job: TraceJob


class OverLimit(NamedTuple):
    """The job would grow beyond what it was allowed: it ended with a MemoryError, and its worker idles."""

    worker: int
    job: TraceJob
    lost_cpu_s: float


class OomKilled(NamedTuple):
    """The kernel killed the worker, and what it worked on."""

    worker: int
    job: TraceJob | None
    lost_cpu_s: float


class Due(NamedTuple):
    """What was asked for by `after`."""

    what: object


class Pressed(NamedTuple):
    """All use rose above PRESSED_AT of the limit: somebody begins to wait for memory."""


Happening = Up | Done | OverLimit | OomKilled | Due | Pressed


@dataclass(slots=True, eq=False)
class Run:
    """A job in a worker. `began` and the like are readings of the clock of busy workers, in CPU seconds of each."""

    worker: int
    job: TraceJob
    began: float
    grown: float
    """When its memory stops growing."""
    slope: float
    """Bytes per CPU second while it grows."""
    growing: bool = True
    over: bool = False


@dataclass(slots=True, eq=False)
class _Worker:
    up: bool = False
    run: Run | None = None
    cpu_s: float = 0.0
    """Of the jobs that are over."""


class Machine:
    def __init__(self, start: Change) -> None:
        self.now_s = start.at_s
        self.totals = Totals()
        self.cpus = start.cpus
        self.limit = float(start.memory_bytes)
        self.neighbour = float(start.neighbour_bytes)
        self._settings = start
        self._workers: dict[int, _Worker] = {}
        self._timers: list[tuple[float, int, Up | Due]] = []
        self._ends: list[tuple[float, int, Run]] = []
        """Of what runs, by the clock of busy workers: the next thing that happens to each."""
        self._clock = 0.0
        self._busy = 0
        self._share = 0.0
        self._seq = itertools.count()
        self._held = float(SUPERVISOR_BYTES)
        """What is held and does not change."""
        self._slope = 0.0
        """Of all jobs that grow, in bytes per CPU second of each."""
        self._offset = 0.0
        """What they hold: slope * clock - offset."""
        self._growing = 0
        self._pressed = False

    # ---- what one sees ----------------------------------------------------------------------------------------------

    @property
    def use(self) -> float:
        """Bytes that everybody holds."""
        return self._held + self.neighbour + (self._slope * self._clock - self._offset if self._growing else 0.0)

    @property
    def cpu_share(self) -> float:
        """CPUs that each busy worker has; for the first one if there is none."""
        return self._share if self._busy else min(1.0, self._ours())

    @property
    def settled(self) -> bool:
        """No change is under way."""
        return self.neighbour == self._settings.neighbour_bytes and self.limit == self._settings.memory_bytes

    def rss_bytes(self, worker: int) -> int:
        run = self._workers[worker].run
        return IDLE_BYTES + (int(self._holds(run)) if run is not None else 0)

    def cpu_s(self, worker: int) -> float:
        one = self._workers[worker]
        return one.cpu_s + (self._clock - one.run.began if one.run is not None else 0.0)

    def is_busy(self, worker: int) -> bool:
        return self._workers[worker].run is not None

    def _holds(self, run: Run) -> float:
        return run.slope * (min(self._clock, run.grown) - run.began)

    # ---- what one does ----------------------------------------------------------------------------------------------

    def change(self, settings: Change) -> None:
        """The machine is to become this."""
        self._settings = settings
        self.cpus = settings.cpus
        self.limit = max(self.limit, float(settings.memory_bytes))
        self._reshare()

    def after(self, delay_s: float, what: object) -> None:
        """Have `Due(what)` happen."""
        heapq.heappush(self._timers, (self.now_s + delay_s, next(self._seq), Due(what)))

    def start(self, worker: int) -> None:
        self._workers[worker] = _Worker()
        self._held += IDLE_BYTES
        self.totals.starts += 1
        heapq.heappush(self._timers, (self.now_s + START_S, next(self._seq), Up(worker)))

    def end(self, worker: int) -> float:
        """End the worker at once; returns the CPU seconds that were lost with its job."""
        one = self._workers[worker]
        lost_cpu_s = self._stop(one, one.run, lost=True) if one.run is not None else 0.0
        del self._workers[worker]
        self._held -= IDLE_BYTES
        return lost_cpu_s

    def run(self, worker: int, job: TraceJob, allowed_bytes: float = math.inf) -> None:
        """The idle worker begins the job. It fails when it would hold more than `allowed_bytes`."""
        one = self._workers[worker]
        if one.run is not None or not one.up:
            raise ValueError(f"worker {worker} is busy, or starts")
        grows_for = job.cpu_s * GROWS_FOR
        run = one.run = Run(worker, job, self._clock, self._clock + grows_for, job.peak_bytes / grows_for)
        self._busy += 1
        self._growing += 1
        self._slope += run.slope
        self._offset += run.slope * run.began
        if job.peak_bytes > allowed_bytes:
            run.over = True
            next_at = run.began + allowed_bytes / run.slope
        else:
            next_at = run.grown
        heapq.heappush(self._ends, (next_at, next(self._seq), run))
        self._reshare()

    def _stop(self, one: _Worker, run: Run, *, lost: bool) -> float:
        """The job leaves the worker; returns the CPU seconds that it took."""
        took_s = self._clock - run.began
        if run.growing:
            self._grow_no_more(run)
        else:
            self._held -= run.job.peak_bytes
        one.run = None
        one.cpu_s += took_s
        self._busy -= 1
        self._reshare()
        if lost:
            self.totals.lost_cpu_s += took_s
        return took_s

    def _grow_no_more(self, run: Run) -> None:
        run.growing = False
        self._growing -= 1
        self._slope -= run.slope
        self._offset -= run.slope * run.began
        if not self._growing:
            self._slope = self._offset = 0.0

    def _ours(self) -> float:
        return max(LEAST_SHARE * self.cpus, self.cpus - self._settings.neighbour_cpus)

    def _reshare(self) -> None:
        self._share = min(1.0, self._ours() / self._busy) if self._busy else 0.0

    # ---- time -------------------------------------------------------------------------------------------------------

    def next_s(self) -> float:
        """When something happens by itself; infinity: never."""
        next_s = self._timers[0][0] if self._timers else math.inf
        while self._ends and self._is_stale(self._ends[0][2]):
            heapq.heappop(self._ends)
        if self._ends:
            next_s = min(next_s, self.now_s + max(0.0, self._ends[0][0] - self._clock) / self._share)
        use_rate, neighbour_rate, limit_rate = self._rates()
        if neighbour_rate:
            next_s = min(next_s, self.now_s + (self._settings.neighbour_bytes - self.neighbour) / neighbour_rate)
        if limit_rate:
            next_s = min(next_s, self.now_s + (self._settings.memory_bytes - self.limit) / limit_rate)
        room, closing = self.limit - self.use, use_rate - limit_rate
        if closing > 0 and room > CLOSE_BYTES:
            next_s = min(next_s, self.now_s + room / closing)
        room, closing = PRESSED_AT * self.limit - self.use, use_rate - PRESSED_AT * limit_rate
        if closing > 0 and room > CLOSE_BYTES and not self._pressed:
            next_s = min(next_s, self.now_s + room / closing)
        return max(self.now_s, next_s)

    def advance(self, to_s: float) -> list[Happening]:
        """Go on to that moment, not beyond `next_s()`, and tell what happened at it."""
        self._pass(to_s)
        happened: list[Happening] = []
        while self._timers and self._timers[0][0] <= self.now_s:
            what = heapq.heappop(self._timers)[2]
            if isinstance(what, Due):
                happened.append(what)
            elif what.worker in self._workers:
                self._workers[what.worker].up = True
                happened.append(what)
        self._reach_ends(happened)
        self._kill(happened)
        pressed = self.use >= PRESSED_AT * self.limit - CLOSE_BYTES
        if pressed and not self._pressed:
            happened.append(Pressed())
        self._pressed = pressed
        return happened

    def _is_stale(self, run: Run) -> bool:
        one = self._workers.get(run.worker)
        return one is None or one.run is not run

    def _rates(self) -> tuple[float, float, float]:
        """Bytes a second by which all use, the neighbours' part of it, and the limit change."""
        to_come = self._settings.neighbour_bytes - self.neighbour
        neighbour_rate = math.copysign(BYTES_PER_S, to_come) if to_come else 0.0
        use_rate = self._slope * self._share + neighbour_rate
        if self.limit <= self._settings.memory_bytes:
            return use_rate, neighbour_rate, 0.0
        if self.limit - self.use > CLOSE_BYTES:
            return use_rate, neighbour_rate, -BYTES_PER_S
        return use_rate, neighbour_rate, min(0.0, max(use_rate, -BYTES_PER_S))

    def _pass(self, to_s: float) -> None:
        """Let the time until then pass: everything is linear."""
        span_s = to_s - self.now_s
        if span_s <= 0:
            return
        use_rate, neighbour_rate, limit_rate = self._rates()
        use, limit, share, totals = self.use, self.limit, self._share, self.totals
        if self.neighbour == 0 and self.settled:
            totals.above_90_s += time_above(use - FULL_AT * limit, use_rate, span_s)
        totals.stalled_s += stalled_s(use, limit, use_rate, limit_rate, span_s)
        totals.cpu_s += self._busy * share * span_s
        totals.others_cpu_s += min(self._settings.neighbour_cpus, self.cpus - self._busy * share) * span_s
        self._clock += share * span_s
        if neighbour_rate:
            left = self._settings.neighbour_bytes - self.neighbour
            step = neighbour_rate * span_s
            self.neighbour = self._settings.neighbour_bytes if abs(left - step) < CLOSE_BYTES else self.neighbour + step
        if limit_rate:
            limit += limit_rate * span_s
            aim = self._settings.memory_bytes
            self.limit = aim if limit < aim + CLOSE_BYTES else limit
        self.now_s = to_s

    def _reach_ends(self, happened: list[Happening]) -> None:
        """What is due by the clock of busy workers, and what is so near that no float could tell."""
        close = self._clock + 1e-9 * max(1.0, self._clock * 1e-3)
        while self._ends and self._ends[0][0] <= close:
            run = heapq.heappop(self._ends)[2]
            if self._is_stale(run):
                continue
            one = self._workers[run.worker]
            if run.over:
                happened.append(OverLimit(run.worker, run.job, self._stop(one, run, lost=True)))
            elif run.growing:
                self._grow_no_more(run)
                self._held += run.job.peak_bytes
                heapq.heappush(self._ends, (run.began + run.job.cpu_s, next(self._seq), run))
            else:
                self._stop(one, run, lost=False)
                happened.append(Done(run.worker, run.job))

    def _kill(self, happened: list[Happening]) -> None:
        while self._workers and self._is_full():
            worker = max(self._workers, key=lambda one: (self.rss_bytes(one), one))
            run = self._workers[worker].run
            lost_cpu_s = self.end(worker)
            self.totals.oom_kills += 1
            happened.append(OomKilled(worker, run.job if run else None, lost_cpu_s))

    def _is_full(self) -> bool:
        room = self.limit - self.use
        if room < -CLOSE_BYTES:
            return True
        use_rate, _, limit_rate = self._rates()
        return room <= CLOSE_BYTES and use_rate > limit_rate
