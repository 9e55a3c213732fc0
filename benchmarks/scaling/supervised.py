"""imgoptd's own engine on the simulated machine: the adapters' answers in simulated time, and nothing else.

The engine is the one that the daemon runs. What is simulated is the edge: looks and replaces take no time, a task is in
its worker's hands HANDING_S after it was sent (tasks sent in a row are under way together, as packets in a socket are),
a probe costs nothing there (its CPU is a part of the job's). Of what a job takes the engine is told the trace's
predictions, in place of the daemon's table of costs, and learns from what jobs took. A job that would grow beyond its
reservation ends with a MemoryError. When somebody begins to wait for memory the engine is alerted, as by a PSI trigger.

A trace's job is complete when it arrives: `settle` is 0. It tells of no timeout, so `job_timeout` is out of reach.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import get_args

from benchmarks.scaling.machine import HANDING_S, Done, Due, Happening, Machine, OomKilled, OverLimit, Pressed, Up
from benchmarks.scaling.score import Ledger, Score
from benchmarks.scaling.trace import IDLE_BYTES, MIB, Coming, Trace, TraceJob
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.costs import Prediction
from imgoptd.core.engine import Engine
from imgoptd.core.model import (
    Effort,
    Failure,
    FailureKind,
    FileKind,
    FileRecord,
    FileRef,
    HintKind,
    Identity,
    ImageFacts,
    JobState,
    Lease,
    Look,
    Outcome,
    Verdict,
)
from imgoptd.core.policy import FolderPolicy

UID = 1000
RECORDS = get_args(c.Record)
NEVER_S = 1e9
READINGS_S = 1.0
"""How far back the rates of a reading reach, at least."""
ALERT_S = 0.05
"""From the first stall to the alert: a PSI trigger tells of 50 ms."""
MOST_TURNS = 10_000
"""At one moment; more is an endless loop of questions and answers."""
MEMORY = Failure(FailureKind.EXHAUSTED, "memory", "the memory given was not enough")

READING = "= "
"""How a line begins that tells of a reading; the fleet's state and a comma follow."""

Told = Callable[[float, str], None]
"""Takes the time and a line of what the engine said or the machine was."""


class Stalled(Exception):
    """The engine has work, and nothing that could bring it on will ever happen."""


@dataclass(slots=True, eq=False)
class _Worker:
    tasks: deque[c.SendProbe | c.SendJob] = field(default_factory=deque)
    """In its hands; the first one runs."""
    began_s: float = 0.0


class SupervisedRun:
    def __init__(self, trace: Trace, told: Told | None = None) -> None:
        self._trace = trace
        self._told = told
        self._machine = Machine(trace.changes[0])
        self._ledger = Ledger(trace)
        self._jobs: dict[FileRef, TraceJob] = {}
        self._identities: dict[FileRef, Identity] = {}
        self._rows: dict[FileRef, FileRecord] = {}
        self._workers: dict[int, _Worker] = {}
        self._inbox: list[e.Event] = []
        self._readings: deque[tuple[float, float, float]] = deque()
        """Of the last seconds: when, CPU seconds of others, seconds stalled."""
        self._sensed_s = -math.inf
        for number, job in enumerate(trace.jobs, 1):
            ref = FileRef(root(job.folder), job.id.encode(errors="surrogateescape"))
            self._jobs[ref] = job
            self._identities[ref] = Identity(1, number, max(2, job.bytes), number)
        self.engine = Engine(predict=self._predict)

    def _predict(self, record: FileRecord) -> Prediction:
        job = self._jobs[record.ref]
        return Prediction(max(1.0, float(job.predicted_bytes)), max(1e-6, job.predicted_cpu_s))

    # ---- time -------------------------------------------------------------------------------------------------------

    def run(self) -> Score:
        """Let the trace happen until the engine is at rest. Raises Stalled."""
        machine, coming = self._machine, Coming(self._trace)
        machine.now_s = self._trace.start_s
        self._begin()
        self._turns()
        while not self._is_over(coming):
            deadline_s = self.engine.next_deadline_s()
            due_s = math.inf if deadline_s is None else max(deadline_s, machine.now_s)
            now_s = min(machine.next_s(), coming.next_s(), due_s)
            if now_s == math.inf:
                raise Stalled(f"at {machine.now_s:.3f} s {self.engine.unfinished()} files wait, and nothing is due")
            for one in machine.advance(now_s):
                self._take(one)
            for change in coming.changes(now_s):
                machine.change(change)
                if self._told is not None:
                    self._told(now_s, f"the machine changes: {change}")
            self._arrive(coming.jobs(now_s))
            if self._inbox or now_s >= due_s:
                self._turns()
        return self.score()

    def score(self) -> Score:
        """So far."""
        return self._ledger.score(self._machine.totals)

    def _is_over(self, coming: Coming) -> bool:
        """What is held then waits for a change that the trace does not tell of."""
        if coming.next_s() < math.inf or self.engine.unfinished() or self.engine.deferred():
            return False
        held = self.engine.jobs.held
        return not held or (self._machine.settled and self._sensed_s >= self._machine.now_s - READINGS_S)

    def _begin(self) -> None:
        priorities: dict[str, int] = {}
        for job in self._trace.jobs:
            priorities.setdefault(job.folder, job.priority)
        folders = tuple(
            FolderPolicy(root(folder), settle_s=0.0, priority=priority, optimize_existing=True)
            for folder, priority in sorted(priorities.items())
        )
        self._sense()
        self._inbox.append(e.Configured(1, folders, 0, 0, NEVER_S))
        self._inbox += [e.FolderFound(folder.root) for folder in folders]

    def _arrive(self, jobs: Iterable[TraceJob]) -> None:
        """Fresh ones are moved into their folder; the others are found by scans of theirs."""
        found: dict[bytes, list[FileRef]] = {}
        for job in jobs:
            ref = FileRef(root(job.folder), job.id.encode(errors="surrogateescape"))
            if job.fresh:
                self._inbox.append(e.Hinted(ref, HintKind.MOVED))
            else:
                found.setdefault(ref.root, []).append(ref)
        for folder, refs in found.items():
            self._inbox.append(e.ScanStarted(folder))
            self._inbox += [e.Hinted(ref, HintKind.FOUND) for ref in refs]
            self._inbox.append(e.ScanFinished(folder))

    def _turns(self) -> None:
        """Turns of the daemon, until nothing is left to answer at this moment."""
        now_s, engine = self._machine.now_s, self.engine
        for _ in range(MOST_TURNS):
            events, self._inbox = self._inbox, []
            commands: list[c.Command] = []
            for event in events:
                commands += engine.handle(event, now_s)
            commands += engine.end_turn(now_s)
            for command in commands:
                if isinstance(command, RECORDS):
                    self._keep(command)
                else:
                    self._perform(command)  # type: ignore[arg-type]  # what is no record is an action
            if not self._inbox:
                return
        raise Stalled(f"at {now_s:.3f} s turn follows turn and no time passes")

    def _keep(self, record: c.Record) -> None:
        if not isinstance(record, c.SaveFile):
            return
        row = record.record
        self._rows[row.ref] = row
        if row.state is JobState.DONE:
            self._ledger.finish(self._jobs[row.ref], self._machine.now_s)

    # ---- the edge ---------------------------------------------------------------------------------------------------

    def _perform(self, action: c.Action) -> None:
        match action:
            case c.SendProbe() | c.SendJob():
                self._machine.after(HANDING_S, action)
            case c.LookAt(ref):
                self._inbox.append(e.Looked(ref, self._look(ref), self._rows.get(ref)))
            case c.Prepare(ref, size_bytes):
                temp = Identity(1, -self._identities[ref].ino, size_bytes, 1)
                self._inbox.append(e.Prepared(ref, b".result", self._identities[ref], temp, "result"))
            case c.Exchange(intent):
                assert intent.result is not None
                self._inbox.append(e.Exchanged(intent.ref, intent.result))
            case c.Sense():
                self._sense()
            case c.Announce(event, message):
                if self._told is not None and event != "file":
                    self._told(self._machine.now_s, message)
            case c.StartWorker(worker):
                self._workers[worker] = _Worker()
                self._machine.start(worker)
            case c.RetireWorker(worker):
                self._end(worker, 0)
            case c.KillWorker(worker):
                self._end(worker, -9)
            case c.ProbeFolder(place):
                self._inbox.append(e.FolderProbed(place, None))
            case c.Recall(worker, ref):
                self._recall(worker, ref)
            case c.Discard():
                pass
            case _:
                raise AssertionError(f"the simulated edge has no answer to {type(action).__name__}")

    def _look(self, ref: FileRef) -> Look:
        return Look(
            FileKind.REGULAR,
            self._identities[ref],
            uid=UID,
            mode=0o644,
            lease=Lease.GRANTED,
            close_is_whole=True,
            ends_whole=True,
        )

    def _end(self, worker: int, status: int) -> None:
        if self._workers.pop(worker, None) is not None:
            self._machine.end(worker)
            self._inbox.append(e.WorkerExited(worker, status))

    def _take(self, what: Happening) -> None:
        match what:
            case Up(worker):
                self._inbox.append(e.WorkerStarted(worker, worker, IDLE_BYTES))
            case Due(c.SendProbe() | c.SendJob() as task):
                self._hand_over(task)
            case Pressed():
                self._machine.after(ALERT_S, what)
            case Due(Pressed()):
                self._inbox.append(e.Alerted("pressure"))
            case Done(worker, job):
                size = max(2, job.bytes)
                effort = self._effort(worker, job.cpu_s, job.peak_bytes)
                self._finish(worker, Outcome(Verdict.OPTIMIZED, size // 2, effort=effort))
            case OverLimit(worker, _, lost_cpu_s):
                task = self._workers[worker].tasks[0]
                assert isinstance(task, c.SendJob)
                self._tell_lost("more than was reserved", what, f"{_mib(task.memory_bytes)} reserved")
                effort = self._effort(worker, lost_cpu_s, task.memory_bytes)
                self._finish(worker, Outcome(Verdict.FAILED, failure=MEMORY, effort=effort))
            case OomKilled(worker):
                self._tell_lost("OOM kill", what, f"{_mib(self._machine.use)} still used")
                del self._workers[worker]
                self._inbox.append(e.WorkerExited(worker, -9, oom_killed=True))

    def _recall(self, number: int, ref: FileRef) -> None:
        """What the worker has in hand and has not begun goes back; of anything else the usual answer follows."""
        worker = self._workers.get(number)
        if worker is None:
            return
        for task in list(worker.tasks)[1:]:
            if task.ref == ref:
                worker.tasks.remove(task)
                self._inbox.append(e.Recalled(number, ref))

    def _tell_lost(self, why: str, what: OverLimit | OomKilled, more: str) -> None:
        if self._told is not None and what.job is not None:
            job = what.job
            said = f"{_mib(job.peak_bytes)} needed, {_mib(job.predicted_bytes)} predicted, {more}"
            self._told(self._machine.now_s, f"{why}: {job.id}, {what.lost_cpu_s:.2f} CPU s lost; {said}")

    def _effort(self, worker: int, cpu_s: float, peak_bytes: int) -> Effort:
        return Effort(cpu_s, self._machine.now_s - self._workers[worker].began_s, IDLE_BYTES + peak_bytes)

    def _hand_over(self, task: c.SendProbe | c.SendJob) -> None:
        worker = self._workers.get(task.worker)
        if worker is None:
            self._inbox.append(e.TaskRefused(task.worker, task.ref, None))
            return
        sha256 = "content" if isinstance(task, c.SendJob) else ""
        self._inbox.append(e.TaskStarted(task.worker, task.ref, sha256))
        worker.tasks.append(task)
        if len(worker.tasks) == 1:
            self._go_on(task.worker, worker)

    def _finish(self, number: int, outcome: Outcome) -> None:
        worker = self._workers[number]
        self._inbox.append(e.Finished(number, worker.tasks.popleft().ref, outcome))
        self._go_on(number, worker)

    def _go_on(self, number: int, worker: _Worker) -> None:
        """Its next tasks: probes are answered at once, a job runs."""
        while worker.tasks:
            task = worker.tasks[0]
            job = self._jobs[task.ref]
            if isinstance(task, c.SendJob):
                worker.began_s = self._machine.now_s
                self._machine.run(number, job, task.memory_bytes)
                return
            worker.tasks.popleft()
            facts = ImageFacts(job.format, max(1, job.pixels), 1, channels=3)
            self._inbox.append(e.Probed(number, task.ref, facts))

    def _sense(self) -> None:
        """A reading as the sensors give it: what others keep busy and pressure as rates over at least a second."""
        machine, now_s = self._machine, self._machine.now_s
        self._sensed_s = now_s
        self._readings.append((now_s, machine.totals.others_cpu_s, machine.totals.stalled_s))
        while len(self._readings) > 2 and self._readings[1][0] <= now_s - READINGS_S:
            self._readings.popleft()
        then_s, others_cpu_s, stalled_s = self._readings[0]
        span_s = now_s - then_s
        self._inbox.append(
            e.Sensed(
                available_bytes=max(0, int(machine.limit - machine.use)),
                limit_bytes=int(machine.limit),
                psi_some_rate=(machine.totals.stalled_s - stalled_s) / span_s if span_s else 0.0,
                cpus=machine.cpus,
                others_cpus=(machine.totals.others_cpu_s - others_cpu_s) / span_s if span_s else 0.0,
                workers=tuple(
                    e.WorkerReading(number, machine.rss_bytes(number), machine.cpu_s(number))
                    for number in self._workers
                ),
            )
        )
        if self._told is not None:
            busy = sum(machine.is_busy(number) for number in self._workers)
            state = self.engine.dispatcher.conditions.state
            self._told(
                now_s,
                f"{READING}{state}, {len(self._workers)} workers, {busy} busy at {machine.cpu_share:.2f} CPUs; "
                f"{machine.use / machine.limit:.1%} of {_mib(machine.limit)} used, "
                f"{_mib(self.engine.fleet.reserved_bytes())} reserved; "
                f"{self.engine.jobs.backlog.jobs} wait",
            )


def root(folder: str) -> bytes:
    """The watched folder of that name."""
    return b"/traced/" + folder.encode(errors="surrogateescape")


def _mib(count: float) -> str:
    return f"{count / MIB:.0f} MiB"
