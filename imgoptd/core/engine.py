"""The engine: events in, commands out. It sees no clock, file, process or thread; `now_s` is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.attempts import Attempts
from imgoptd.core.costs import Predict, predict
from imgoptd.core.dispatch import Dispatcher
from imgoptd.core.exits import Exits
from imgoptd.core.fleet import Fleet, WorkerState
from imgoptd.core.gauges import Gauges
from imgoptd.core.intake import Intake
from imgoptd.core.job import Job, Stage
from imgoptd.core.learning import Notebook
from imgoptd.core.limits import Limits
from imgoptd.core.model import FileRef
from imgoptd.core.restores import Restores
from imgoptd.core.scaling import FleetState
from imgoptd.core.sensing import Sensing
from imgoptd.core.story import Story
from imgoptd.core.turn import Turn


class Engine:
    def __init__(self, predict: Predict = predict) -> None:
        """`predict`: what a job takes, by its file alone."""
        self.story = Story()
        self.intake = Intake(self.story, predict)
        self.jobs = self.intake.jobs
        self.attempts = Attempts(self.jobs, self.story)
        self.restores = Restores(self.story, self.intake)
        self.fleet = Fleet()
        self.exits = Exits(self.jobs, self.fleet)
        self.dispatcher = Dispatcher(self.intake, self.fleet)
        self.notebook = Notebook(self.jobs.estimator)
        self.steering = self.dispatcher.steering
        self.gauges = Gauges()
        self.generation = 0
        self._sensing = Sensing()
        self._handlers: dict[type, Callable[[Turn, Any], None]] = {
            e.Configured: self._configured,
            e.Hinted: lambda turn, event: self.intake.attend(turn, event.ref, event.kind),
            e.BaselineStarted: lambda turn, event: self.intake.baseline_started(turn, event.root, event.since),
            e.ScanStarted: lambda turn, event: self.intake.scan_started(event.root),
            e.ScanFinished: lambda turn, event: self.intake.scan_finished(turn, event.root, event.complete),
            e.StoodBefore: lambda turn, event: self.intake.stood_before(turn, event.root, event.files),
            e.FolderLost: lambda turn, event: self.intake.folder_lost(event.root, event.sentence),
            e.FolderFound: lambda turn, event: self.intake.folder_found(turn, event.root),
            e.FolderProbed: lambda turn, event: self.jobs.places.probed(turn, event),
            e.Looked: lambda turn, event: self.intake.looked(turn, event),
            e.Recovered: lambda turn, event: self.intake.recovered(turn, event.record),
            e.Learned: lambda turn, event: self.notebook.restore(event),
            e.TakenUp: lambda turn, event: self.jobs.overflow.taken_up(fresh=event.fresh, jobs=event.jobs),
            e.WorkerStarted: self._worker_started,
            e.WorkerExited: self.exits.worker_exited,
            e.TaskStarted: self._task_started,
            e.Recognised: self._recognised,
            e.TaskRefused: self._task_refused,
            e.Probed: self._probed,
            e.Finished: self._finished,
            e.Prepared: self._prepared,
            e.Exchanged: self._exchanged,
            e.Standing: self._standing,
            e.ReplaceFailed: self._replace_failed,
            e.Sensed: self._sensed,
            e.Alerted: lambda turn, event: self._sensing.alerted(turn.now_s),
            e.Recalled: self._recalled,
            e.UndoChanged: lambda turn, event: self.restores.undo_changed(turn, event.files, event.bytes),
            e.RestoreAsked: lambda turn, event: self.restores.asked(turn, event),
            e.Restored: lambda turn, event: self.restores.restored(turn, event),
            e.RestoreFailed: lambda turn, event: self.restores.failed(turn, event),
            e.DrainRequested: self._drain,
            e.ScaleAsked: self.steering.scale_asked,
            e.ScaleReturned: self.steering.scale_returned,
            e.PauseAsked: self.steering.pause_asked,
            e.ResumeAsked: self.steering.resume_asked,
            e.RetryRequested: lambda turn, event: self.intake.retry(turn, event.ref),
            e.Tick: lambda turn, event: None,
        }

    def handle(self, event: e.Event, now_s: float) -> list[c.Command]:
        """Take one event in. `end_turn` must follow after the last event of a turn."""
        turn = Turn(now_s)
        self._handlers[type(event)](turn, event)
        return turn.commands

    def end_turn(self, now_s: float) -> list[c.Command]:
        """After the events of a turn: what is due, who gets what, how many workers there should be."""
        turn = Turn(now_s)
        if not self.dispatcher.conditions.draining:
            self.intake.due(turn)
            if not self.dispatcher.conditions.paused:
                self.attempts.start_copies(turn)
        self.exits.end_overdue(turn)
        if self.exits.start_paused_until_s is not None and now_s >= self.exits.start_paused_until_s:
            self.exits.start_paused_until_s = None
        self.dispatcher.run(turn, may_start=self.exits.start_paused_until_s is None)
        ending = self.dispatcher.conditions.draining and not self.fleet.running_jobs()
        self.notebook.save(turn, ending=ending)
        sense_s = self._next_sense_s()
        if sense_s is not None and now_s >= sense_s:
            self._sensing.sensing(now_s)
            turn.act(c.Sense())
        return turn.commands

    def next_deadline_s(self) -> float | None:
        """When `end_turn` should run again although nothing happens; None: not before an event."""
        times = [self.intake.next_deadline_s() if not self.dispatcher.conditions.draining else None]
        times.append(self.dispatcher.next_deadline_s())
        times.append(self.exits.start_paused_until_s)
        times.append(self.notebook.next_deadline_s())
        times += [self.exits.overdue_s(worker) for worker in self.fleet.workers.values() if not worker.killed_for]
        if self._sensing.sensed_s is not None:
            times.append(self._next_sense_s())
        return min((time for time in times if time is not None), default=None)

    def unfinished(self) -> int:
        """Files in memory that something is still to be done for, held and deferred ones not counted."""
        waiting = self.deferred() + len(self.jobs.held)
        return len(self.jobs.by_ref) + len(self.intake.settler.candidates) - waiting

    def deferred(self) -> int:
        """Files that wait for a time, a lost folder or a sick disk."""
        lost = self.jobs.places.lost
        withheld = sum(len(refs) for root, refs in self.intake.withheld.items() if lost.get(root))
        return len(self.jobs.deferred) + self.jobs.places.parked() + withheld

    def at_rest(self) -> bool:
        """Nothing is being looked at, scanned, worked on or replaced."""
        suspected = self.jobs.places.breakers.suspected()
        return not self.intake.baselines.scanning and not suspected and self.unfinished() + self.jobs.overflow.jobs == 0

    def drained(self) -> bool:
        """Draining, and nothing runs or is being put in place any more."""
        if not self.dispatcher.conditions.draining or self.fleet.running_jobs() or self.restores.under_way:
            return False  # the usual answer, asked for after each turn: without a look at every job
        return not any(job.stage is Stage.REPLACING for job in self.jobs.by_ref.values())

    def _next_sense_s(self) -> float | None:
        running, paused = bool(self.fleet.running_jobs()), self.dispatcher.conditions.paused
        # What a pause keeps back needs no reading: it is as quiet as with nothing to do.
        work = running or bool(self.jobs.backlog.jobs and not paused)
        return self._sensing.next_s(
            work=work,
            held=bool(self.jobs.held and not paused),
            short_of_memory=self.dispatcher.conditions.state is FleetState.CONSTRAINED,
            workers=len(self.fleet.workers),
        )

    # ---- configuration and surroundings -----------------------------------------------------------------------------

    def _configured(self, turn: Turn, event: e.Configured) -> None:
        self.generation = event.generation
        self.intake.configure(turn, event.folders, event.patient)
        self.exits.job_timeout_s = event.job_timeout_s
        self.jobs.undo.max_bytes = event.undo_max_bytes
        self.dispatcher.limit(Limits.of(event))

    def _sensed(self, turn: Turn, event: e.Sensed) -> None:
        self.gauges.read(event.workers, turn.now_s)
        self.dispatcher.sensed(turn, event)
        if self.dispatcher.is_uneasy():
            self._sensing.uneasy(turn.now_s)

    def _drain(self, turn: Turn, event: e.DrainRequested) -> None:
        if not self.dispatcher.conditions.draining:
            self.dispatcher.conditions.draining = True
            running = self.fleet.running_jobs()
            queued = self.jobs.backlog.jobs
            turn.announce("drain", f"stopping: {running} running, {queued} stay queued", 5, jobs=running)

    # ---- workers ----------------------------------------------------------------------------------------------------

    def _worker_started(self, turn: Turn, event: e.WorkerStarted) -> None:
        worker = self.fleet.workers.get(event.worker)
        if worker is None or worker.state is not WorkerState.STARTING:
            return
        worker.state = WorkerState.IDLE
        worker.pid = event.pid
        worker.codecs = event.codecs
        worker.idle_rss_bytes = event.rss_bytes
        worker.rss_bytes = event.rss_bytes or 0

    # ---- tasks ------------------------------------------------------------------------------------------------------

    def _task_started(self, turn: Turn, event: e.TaskStarted) -> None:
        job = self.fleet.handed_over(event.worker, event.ref, turn.now_s)
        if job is not None and event.sha256:
            self.attempts.read(job, event.sha256)

    def _recognised(self, turn: Turn, event: e.Recognised) -> None:
        taken = self.fleet.take_back(event.worker, event.ref, turn.now_s)
        if taken is not None:
            self.attempts.recognised(turn, taken[1], event)

    def _task_refused(self, turn: Turn, event: e.TaskRefused) -> None:
        taken = self.fleet.take_back(event.worker, event.ref, turn.now_s)
        if taken is None:
            return
        if event.failure is not None:
            self.jobs.failed(turn, taken[1], event.failure)
        else:
            self.jobs.back_to_queue(turn, taken[1], detail="its worker had gone")

    def _recalled(self, turn: Turn, event: e.Recalled) -> None:
        taken = self.fleet.take_back(event.worker, event.ref, turn.now_s)
        if taken is not None:
            turn.act(c.Discard(event.ref))
            self.jobs.back_to_queue(turn, taken[1], detail="it was given back unbegun")

    def _probed(self, turn: Turn, event: e.Probed) -> None:
        taken = self.fleet.take_back(event.worker, event.ref, turn.now_s)
        if taken is not None:
            self.exits.started_well()
            self.attempts.probed(turn, taken[1], event)

    def _finished(self, turn: Turn, event: e.Finished) -> None:
        taken = self.fleet.take_back(event.worker, event.ref, turn.now_s)
        if taken is None:
            return
        worker, job = taken
        effort = event.outcome.effort
        worker.jobs_done += 1
        worker.cpu_s += effort.cpu_s
        worker.peak_bytes = max(worker.peak_bytes, effort.peak_bytes)
        worker.bytes_in += job.record.identity.size
        worker.bytes_out += event.outcome.size_bytes or job.record.identity.size
        self.attempts.finished(turn, job, event.outcome, worker.idle_rss_bytes)

    # ---- replacing --------------------------------------------------------------------------------------------------

    def _replacing(self, ref: FileRef) -> Job | None:
        job = self.jobs.by_ref.get(ref)
        return job if job is not None and job.stage is Stage.REPLACING else None

    def _prepared(self, turn: Turn, event: e.Prepared) -> None:
        job = self._replacing(event.ref)
        if job is not None:
            self.attempts.prepared(turn, job, event)

    def _exchanged(self, turn: Turn, event: e.Exchanged) -> None:
        job = self._replacing(event.ref)
        if job is not None:
            self.attempts.exchanged(turn, job, event)

    def _standing(self, turn: Turn, event: e.Standing) -> None:
        job = self._replacing(event.ref)
        if job is not None:
            self.attempts.standing(turn, job, event)

    def _replace_failed(self, turn: Turn, event: e.ReplaceFailed) -> None:
        job = self._replacing(event.ref)
        if job is not None:
            self.attempts.replace_failed(turn, job, event.failure)
