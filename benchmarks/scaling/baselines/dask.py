"""Dask's adaptive deployment: `cluster.adapt(minimum=1, maximum=CPUS)`, as of distributed 2026.8.

From docs.dask.org/en/stable/adaptive.html and its configuration (`distributed.adaptive`): it looks every second
(`interval`), wants the work done within 5 s (`target-duration`), and closes a worker that was suggested 3 times running
(`wait-count`). From `Scheduler.adaptive_target`: ceil(occupancy / 5 s) workers, no more than there are tasks, at least
one while tasks wait and there is none; the occupancy of more than 100 waiting tasks is that of the first 100, scaled
up; twice the workers when their stored results take more than 60 % of their memory. If that is fewer than there are,
those without a task are suggested (`Scheduler.workers_to_close`).

In its favour: at least one worker, so that a task need not wait for the next look; what a task takes is predicted for
each, not the average of its kind; a task is not bound to a worker before that is free (a scheduler hands out 1.1 a
thread). The rule about stored results is here, but a job leaves none, so it never doubles: to count the memory of
running tasks there would only start more of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from benchmarks.scaling.baselines.common import give_in_order, grow
from benchmarks.scaling.policy import Action, PoolWorkerState, StopWorker, View
from benchmarks.scaling.trace import Trace

INTERVAL_S = 1.0
TARGET_DURATION_S = 5.0
WAIT_COUNT = 3
SAMPLE = 100
FULL_AT = 0.6


def target(
    occupancy_s: float,
    waiting: int,
    running: int,
    workers: int,
    *,
    duration_s: float = TARGET_DURATION_S,
    stored_share: float = 0.0,
) -> int:
    """Workers wanted. `occupancy_s`: CPU seconds of all tasks; `stored_share`: of the workers' memory, by results."""
    wanted = min(math.ceil(occupancy_s / duration_s), waiting + running)
    if waiting and not workers:
        wanted = max(1, wanted)
    return max(wanted, 2 * workers if stored_share > FULL_AT else 0)


def occupancy_of(predicted_s: Iterable[float], waiting: int) -> float:
    """CPU seconds of those that wait: of the first 100, scaled up to all."""
    return sum(islice(predicted_s, SAMPLE)) * max(1.0, waiting / SAMPLE)


class Suggestions:
    """Who is to be closed: suggested so many times running."""

    def __init__(self, wait_count: int = WAIT_COUNT) -> None:
        self._wait_count = wait_count
        self._counts: Counter[int] = Counter()

    def firm(self, suggested: Iterable[int]) -> list[int]:
        self._counts = Counter({worker: self._counts[worker] + 1 for worker in suggested})
        closing = [worker for worker, count in self._counts.items() if count >= self._wait_count]
        for worker in closing:
            del self._counts[worker]
        return closing


class DaskPool:
    def __init__(self, trace: Trace) -> None:
        self._most, self._least = trace.changes[0].cpus, 1
        self._suggestions = Suggestions()
        self.next_wake_s: float | None = trace.start_s

    def wake(self, now_s: float, view: View) -> Iterator[Action]:
        yield from grow(self._least - len(view.workers))
        if self.next_wake_s is not None and now_s >= self.next_wake_s:
            yield from self._look(view)
        yield from give_in_order(view)
        if self.next_wake_s is None or now_s >= self.next_wake_s:
            quiet = not view.queue and len(view.workers) <= self._least
            self.next_wake_s = None if quiet else (math.floor(now_s / INTERVAL_S) + 1) * INTERVAL_S

    def _look(self, view: View) -> Iterator[Action]:
        working = [worker for worker in view.workers.values() if worker.job is not None]
        running_s = sum(worker.job.predicted_cpu_s for worker in working if worker.job is not None)
        occupancy_s = running_s + occupancy_of((job.predicted_cpu_s for job in view.queue), len(view.queue))
        wanted = target(occupancy_s, len(view.queue), len(working), len(view.workers))
        wanted = min(self._most, max(self._least, wanted))
        if wanted >= len(view.workers):
            self._suggestions.firm(())
            yield from grow(wanted - len(view.workers))
            return
        without = [worker.id for worker in view.workers.values() if worker.state is PoolWorkerState.IDLE]
        firm = self._suggestions.firm(without[::-1][: len(view.workers) - self._least])
        for worker in firm:
            yield StopWorker(worker)
