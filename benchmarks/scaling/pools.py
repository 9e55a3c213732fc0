"""A pool that works by other rules than imgoptd, on the simulated machine."""

from __future__ import annotations

import math
from collections import Counter, deque

from benchmarks.scaling.machine import HANDING_S, Done, Due, Happening, Machine, OomKilled, OverLimit, Pressed, Up
from benchmarks.scaling.policy import (
    Action,
    Give,
    KillWorker,
    Pool,
    PoolWorker,
    PoolWorkerState,
    StartWorker,
    StopWorker,
)
from benchmarks.scaling.score import Ledger, Score
from benchmarks.scaling.trace import Coming, Trace, TraceJob

MOST_TRIES = 5
"""Of a job whose worker the kernel kills each time; then it is unfinished."""
GIVES_UP_S = 3600.0
"""A pool that does nothing for so long, while nothing changes, never will."""
CRASHES_FOR_S = 60.0
"""A pool whose workers only start and die, for so long, is over: who runs one stops it, or systemd does."""
CRASHES = 60
"""So many deaths at least."""


class PoolRun:
    """Also the `View` that the pool has."""

    def __init__(self, trace: Trace, pool: Pool) -> None:
        self._trace = trace
        self._pool = pool
        self._machine = Machine(trace.changes[0])
        self._ledger = Ledger(trace)
        self._tries: Counter[str] = Counter()
        self._left = len(trace.jobs)
        """Jobs that may still be finished."""
        self._next_id = 1
        self._acted_s = -math.inf
        self._useful_s = trace.start_s
        """When a job was last given out or worked on."""
        self._crashes = 0
        """Workers that died since then."""
        self.over = ""
        """Why it was ended with work left, if it was."""
        self.queue: deque[TraceJob] = deque()
        self.workers: dict[int, PoolWorker] = {}

    # ---- View -------------------------------------------------------------------------------------------------------

    @property
    def cpus(self) -> int:
        return self._machine.cpus

    @property
    def memory_bytes(self) -> int:
        return int(self._machine.limit)

    @property
    def available_bytes(self) -> int:
        return int(self._machine.limit - self._machine.use)

    @property
    def cpu_share(self) -> float:
        return self._machine.cpu_share

    def rss_bytes(self, worker: int) -> int:
        return self._machine.rss_bytes(worker)

    def cpu_s(self, worker: int) -> float:
        return self._machine.cpu_s(worker)

    def cpu_s_of_all(self) -> float:
        return self._machine.totals.cpu_s

    # ---- time -------------------------------------------------------------------------------------------------------

    def run(self) -> Score:
        """Let the trace happen, until no job is left that may still be finished."""
        machine, coming = self._machine, Coming(self._trace)
        machine.now_s = self._trace.start_s
        while self._left and not self._is_stuck(coming) and not self._only_crashes():
            wake_s = self._pool.next_wake_s
            now_s = min(machine.next_s(), coming.next_s(), math.inf if wake_s is None else max(wake_s, machine.now_s))
            if now_s == math.inf:
                break
            happened = machine.advance(now_s)
            for change in coming.changes(now_s):
                machine.change(change)
            arrived = coming.jobs(now_s)
            self.queue.extend(arrived)
            for one in happened:
                self._take(one)
            news = arrived or any(not isinstance(one, Due | Pressed) for one in happened)
            if news or (wake_s is not None and wake_s <= now_s):
                for action in self._pool.wake(now_s, self):
                    if isinstance(action, Give):  # workers alone may be started, and killed, without end
                        self._acted_s = now_s
                    self._perform(action)
        return self._ledger.score(machine.totals)

    def _is_stuck(self, coming: Coming) -> bool:
        busy = any(worker.state is PoolWorkerState.BUSY for worker in self.workers.values())
        now_s = self._machine.now_s
        waits = busy or coming.next_s() < math.inf or not self._machine.settled
        if waits:
            self._acted_s = max(self._acted_s, now_s)
        return now_s - max(self._acted_s, self._trace.start_s) > GIVES_UP_S

    def _only_crashes(self) -> bool:
        now_s = self._machine.now_s
        if any(worker.state is PoolWorkerState.BUSY for worker in self.workers.values()):
            self._useful_s, self._crashes = now_s, 0
        elif self._crashes >= CRASHES and now_s - self._useful_s > CRASHES_FOR_S:
            self.over = f"for {CRASHES_FOR_S:.0f} s its workers only started and died, {self._crashes} of them"
        return bool(self.over)

    def _take(self, what: Happening) -> None:
        now_s = self._machine.now_s
        match what:
            case Up(worker):
                self.workers[worker].state = PoolWorkerState.IDLE
                self.workers[worker].idle_since_s = now_s
            case Due((int(worker), TraceJob() as job)):
                if worker in self.workers and self.workers[worker].job is job:
                    self._machine.run(worker, job)
            case Due():
                raise AssertionError(f"nobody asked for {what}")
            case Done(worker, job):
                self._ledger.finish(job, now_s)
                self._left -= 1
                one = self.workers[worker]
                one.job, one.state, one.idle_since_s = None, PoolWorkerState.IDLE, now_s
            case OomKilled(worker):
                given = self.workers.pop(worker).job
                self._crashes += 1
                if given is not None:
                    self._again(given)
            case Pressed():
                pass  # who minds memory asks for it
            case OverLimit():
                raise AssertionError("pools set no limits")

    def _again(self, job: TraceJob) -> None:
        self._tries[job.id] += 1
        if self._tries[job.id] < MOST_TRIES:
            self.queue.append(job)
        else:
            self._left -= 1

    def _perform(self, action: Action) -> None:
        now_s = self._machine.now_s
        match action:
            case StartWorker():
                self.workers[self._next_id] = PoolWorker(self._next_id, now_s)
                self._machine.start(self._next_id)
                self._next_id += 1
            case StopWorker(worker):
                if self.workers[worker].state is PoolWorkerState.BUSY:
                    raise ValueError(f"worker {worker} is busy: it is not stopped, but killed")
                del self.workers[worker]
                self._machine.end(worker)
            case KillWorker(worker, to_front):
                self._machine.end(worker)
                given = self.workers.pop(worker).job
                if given is not None:
                    self.queue.insert(0 if to_front else len(self.queue), given)
            case Give(worker, job):
                one = self.workers[worker]
                if one.state is not PoolWorkerState.IDLE:
                    raise ValueError(f"worker {worker} is {one.state}: it can take no job")
                self._unqueue(job)
                one.job, one.state, one.given_s = job, PoolWorkerState.BUSY, now_s
                self._machine.after(HANDING_S, (worker, job))

    def _unqueue(self, job: TraceJob) -> None:
        """Raises ValueError for what does not wait."""
        if self.queue and self.queue[0] is job:
            self.queue.popleft()
        else:
            self.queue.remove(job)
