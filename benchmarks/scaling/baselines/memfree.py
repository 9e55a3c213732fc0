"""GNU parallel: `parallel -j CPUS --memfree SIZE --retries N`, as of version 20221122.

From parallel(1), `--memfree`: with less than SIZE free no job is started; with less than half of SIZE free the youngest
job is killed and put back on the queue. In the source: after each start the free memory is read again
(`start_more_jobs`), jobs are killed until there is enough (`kill_youngster_if_not_enough_mem`), a killed one comes
first again (`unget`), and between looks it sleeps from 0.2 ms on, 1.1 times longer each time, at most 1 s, half as long
after something happened (`reap_usleep`).

SIZE is the user's to choose, once: "minimum memory free when starting another job". Who reads that takes what the
largest job is expected to take, and so does this; over the traces where memory binds it took 1.25 to 3.17 times the
bound. Who tries smaller ones finds half of it faster, as those that end give room to those just started (1.19 to 2.62),
and with a quarter that the kernel kills (seed 1). It is no more than half of what the machine ever leaves free for
jobs: a SIZE close to all of that runs jobs one by one, and one above it none.
A kill counts as a try (`should_be_retried`); here only that of a job that ran alone, which no retry would help. It
looks ten times in the time that has passed since something happened, which is what its sleeping comes to, but never
less often than every 100 ms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from benchmarks.scaling.baselines.common import busy, idle
from benchmarks.scaling.policy import Action, Give, KillWorker, PoolWorker, PoolWorkerState, StartWorker, View
from benchmarks.scaling.trace import IDLE_BYTES, SUPERVISOR_BYTES, Trace, TraceJob

LONGEST_SLEEP_S = 0.1
SHORTEST_SLEEP_S = 0.002
OF_ROOM = 0.5
RETRIES = 5


def may_start(free_bytes: int, size: int) -> bool:
    return free_bytes >= size


def must_kill(free_bytes: int, size: int) -> bool:
    return free_bytes < size / 2


def fair_size(trace: Trace) -> int:
    """SIZE in bytes; see the module."""
    impossible = trace.impossible()
    largest = max((job.predicted_bytes for job in trace.jobs if job.id not in impossible), default=0)
    workers = trace.changes[0].cpus * IDLE_BYTES
    room = min(one.memory_bytes - one.neighbour_bytes for one in trace.changes) - SUPERVISOR_BYTES - workers
    return max(0, min(largest + IDLE_BYTES, int(OF_ROOM * room)))


class MemfreePool:
    def __init__(self, trace: Trace, size: int | None = None) -> None:
        self._size = fair_size(trace) if size is None else size
        self._jobs = trace.changes[0].cpus
        self._happened_s = trace.start_s
        self._failed: Counter[str] = Counter()
        """Kills of each job that ran alone."""
        self.next_wake_s: float | None = trace.start_s

    def wake(self, now_s: float, view: View) -> Iterator[Action]:
        if self.next_wake_s is None or now_s < self.next_wake_s:
            self._happened_s = now_s
        while must_kill(view.available_bytes, self._size) and (youngest := _youngest(view)) is not None:
            if youngest.job is not None and busy(view) == 1:
                self._failed[youngest.job.id] += 1
            yield KillWorker(youngest.id, to_front=True)
        for _ in range(self._jobs - len(view.workers)):
            yield StartWorker()
        for worker in idle(view):
            job = self._first(view)
            if job is None or not may_start(view.available_bytes, self._size):
                break
            yield Give(worker.id, job)
        self.next_wake_s = self._next_look(now_s, view)

    def _first(self, view: View) -> TraceJob | None:
        """Of the queue, without those that were tried often enough."""
        return next((job for job in view.queue if self._failed[job.id] < RETRIES), None)

    def _next_look(self, now_s: float, view: View) -> float | None:
        if not busy(view) and self._first(view) is None:
            return None
        return now_s + min(LONGEST_SLEEP_S, max(SHORTEST_SLEEP_S, 0.1 * (now_s - self._happened_s)))


def _youngest(view: View) -> PoolWorker | None:
    """Who began last; of those that began at once, who came last in the queue."""
    working = [worker for worker in view.workers.values() if worker.state is PoolWorkerState.BUSY]
    return max(working, key=lambda worker: (worker.given_s, worker.id), default=None)
