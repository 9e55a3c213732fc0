"""How workers end, and what that says of the file they worked on: crash, hang, lack of memory, or no fault of it."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core import endings
from imgoptd.core import events as e
from imgoptd.core.fleet import Fleet, Worker, WorkerState
from imgoptd.core.job import Job
from imgoptd.core.jobs import Jobs
from imgoptd.core.model import Failure, FailureKind
from imgoptd.core.shedding import SHED
from imgoptd.core.turn import Turn

START_TIMEOUT_S = 30.0
"""A worker that has not said it is ready by then is ended."""
LEAVE_TIMEOUT_S = 10.0
"""Likewise one that is still there so long after it was to leave: one that was taken over need not."""
QUICK_DEATHS = 5
"""Workers that die in a row before doing anything; then starting is paused."""
QUICK_DEATH_PAUSE_S = 30.0
_MOST_KILLS = {endings.KILLED: endings.MAX_KILLS, endings.OOM: endings.MAX_OOM_KILLS}


class Exits:
    def __init__(self, jobs: Jobs, fleet: Fleet) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self.job_timeout_s = 300.0
        self.start_paused_until_s: float | None = None
        self._quick_deaths = 0

    def worker_exited(self, turn: Turn, event: e.WorkerExited) -> None:
        worker = self._fleet.workers.pop(event.worker, None)
        if worker is None:
            return
        running = worker.overdue or (worker.handed[0] if worker.handed else None)
        tools, within = _tools(worker, running), _kept_within(running)
        ending = endings.of_worker(event, worker.killed_for, tools, self.job_timeout_s, within=within)
        retired = worker.state is WorkerState.DRAINING and not worker.killed_for
        if not retired and ending.reason != SHED:
            self._died(turn, worker, event, ending)
        for job in worker.tasks:
            turn.act(c.Discard(job.ref))
            # Ended for being overdue, it may have got on to the next task before it was gone.
            if job is running:
                self._follow(turn, job, ending)
            else:
                self._jobs.back_to_queue(turn, job, detail="its worker was lost, through no fault of the file")

    def _follow(self, turn: Turn, job: Job, ending: endings.Ending) -> None:
        """What becomes of the job that the worker was at."""
        job.kills += ending.reason in _MOST_KILLS and not ending.blames
        if ending.reason in (endings.OOM, endings.MEMORY) and ending.blames and job.record.facts is not None:
            self._jobs.estimator.learn_short(job.record, job.reserved_bytes)
        if ending.blames:
            self._jobs.lost(turn, job, ending.reason, ending.says)
        elif job.kills > _MOST_KILLS.get(ending.reason, endings.MAX_KILLS):
            self._jobs.failed(
                turn, job, Failure(FailureKind.TRANSIENT, ending.reason, f"{ending.says}, again and again")
            )
        else:
            self._jobs.back_to_queue(turn, job, detail=f"{ending.says}, through no fault of the file")

    def _died(self, turn: Turn, worker: Worker, event: e.WorkerExited, ending: endings.Ending) -> None:
        starting = worker.state is WorkerState.STARTING
        paused = self.start_paused_until_s is not None
        if not (event.unstarted or (starting and paused)):  # those are told of together
            then = "" if worker.state is WorkerState.DRAINING else "; a new one takes its place"
            turn.announce(
                "worker",
                f"worker {worker.id} (pid {worker.pid}) lost: {ending.says}{then}",
                4,
                worker=worker.id,
                pid=worker.pid,
                status=event.status,
                oom=event.oom_killed,
                reason=ending.reason,
            )
        if event.innocent and not event.unstarted:
            return  # it says nothing of whether workers can be started
        self._quick_deaths = self._quick_deaths + 1 if starting and not paused else 0
        if self._quick_deaths >= QUICK_DEATHS:
            self.start_paused_until_s = turn.now_s + QUICK_DEATH_PAUSE_S
            self._quick_deaths = 0
            why = event.unstarted or "run `imgoptd --check` to see what is wrong with the codecs"
            turn.announce(
                "error",
                f"{QUICK_DEATHS} workers in a row could not be started; next try in {QUICK_DEATH_PAUSE_S:.0f} s: {why}",
                3,
            )

    def started_well(self) -> None:
        """A worker has done something: they can be started."""
        self._quick_deaths = 0

    def end_overdue(self, turn: Turn) -> None:
        for worker in self._fleet.workers.values():
            overdue_s = self.overdue_s(worker)
            if overdue_s is not None and turn.now_s >= overdue_s and not worker.killed_for:
                leaving = worker.state is WorkerState.DRAINING
                too_long = endings.LEAVE_TIMEOUT if leaving else endings.START_TIMEOUT
                worker.killed_for = endings.TIMEOUT if worker.handed else too_long
                worker.overdue = worker.handed[0] if worker.handed else None
                turn.act(c.KillWorker(worker.id, worker.killed_for))

    def overdue_s(self, worker: Worker) -> float | None:
        """When the worker has taken too long for what it does now; None: it does nothing.

        What the daemon itself still opens or reads for it is not on its account: a disk that hangs is no file's fault.
        """
        if worker.handed:
            return worker.head_since_s + self.job_timeout_s
        if worker.state is WorkerState.DRAINING:
            return worker.leaving_since_s + LEAVE_TIMEOUT_S
        return worker.started_s + START_TIMEOUT_S if worker.state is WorkerState.STARTING else None


def _kept_within(job: Job | None) -> bool:
    """Was the job seen at work, and never to hold more than was reserved for it?

    All jobs together are given less than there is, and each is bounded: so who is OOM-killed then pays for others.
    """
    growth = job.growth if job is not None else None
    return growth is not None and growth.readings > 1 and job is not None and growth.seen_bytes <= job.reserved_bytes


def _tools(worker: Worker, job: Job | None) -> str:
    """What was at work on the job: `jpeg (simplejpeg 1.9.0)`; empty for a probe, which runs no codec."""
    if job is None or job.record.facts is None:
        return ""
    format_ = job.record.facts.format
    return f"{format_} ({worker.codecs[format_]})" if format_ in worker.codecs else format_
