"""How workers end, and what that says of the file they worked on: crash, hang, lack of memory, or no fault of it."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.fleet import Fleet, Worker, WorkerState
from imgoptd.core.job import Job
from imgoptd.core.jobs import Jobs
from imgoptd.core.shedding import SHED
from imgoptd.core.turn import Turn

START_TIMEOUT_S = 30.0
"""A worker that has not said it is ready by then is ended."""
SIGKILL, SIGTERM = 9, 15
MAX_KILLS = 8
"""Times a job's worker may be killed from outside before the job is blamed for it."""
QUICK_DEATHS = 5
"""Workers that die in a row before doing anything; then starting is paused."""
QUICK_DEATH_PAUSE_S = 30.0

_LOST = "its worker was lost through no fault of the file"
_BLAMELESS = {SHED: "memory ran short, and it was ended to make room: no fault of the file"}


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
        retired = worker.state is WorkerState.DRAINING and not worker.killed_for
        if not retired and worker.killed_for != SHED:
            self._died(turn, worker, event)
        running = worker.handed[0] if worker.handed else None
        for job in worker.tasks:
            turn.act(c.Discard(job.ref))
            # Ended for being overdue, it may have got on to the next task before it was gone.
            innocent = event.innocent or (worker.killed_for and job is not worker.overdue)
            if job is not running or innocent or self._killed_from_outside(worker, job, event):
                self._jobs.back_to_queue(turn, job, detail=_BLAMELESS.get(worker.killed_for, _LOST))
            else:
                if event.oom_killed and job.record.facts is not None:
                    self._jobs.estimator.learn_short(job.record, job.reserved_bytes)
                self._jobs.lost(turn, job, worker.killed_for or "worker-lost", self._death(worker, event))

    def _killed_from_outside(self, worker: Worker, job: Job, event: e.WorkerExited) -> bool:
        """Somebody killed the worker: no fault of its file, up to a bound, since an unseen OOM kill looks the same."""
        if event.oom_killed or worker.killed_for or event.status not in (-SIGKILL, -SIGTERM):
            return False
        job.kills += 1
        return job.kills <= MAX_KILLS

    def _death(self, worker: Worker, event: e.WorkerExited) -> str:
        if worker.killed_for == "timeout":
            return f"it took longer than job_timeout ({self.job_timeout_s:.0f} s)"
        if event.oom_killed:
            return "its worker was killed for lack of memory"
        how = f"signal {-event.status}" if event.status < 0 else f"exit status {event.status}"
        task = worker.handed[0] if worker.handed else None
        doing = f" while working on {task.record.facts.format}" if task and task.record.facts else ""
        return f"its worker ended with {how}{doing}"

    def _died(self, turn: Turn, worker: Worker, event: e.WorkerExited) -> None:
        turn.announce(
            "worker",
            f"worker {worker.id} (pid {worker.pid}) lost: {self._death(worker, event)}; a new one takes its place",
            4,
            worker=worker.id,
            pid=worker.pid,
            status=event.status,
            oom=event.oom_killed,
        )
        self._quick_deaths = self._quick_deaths + 1 if worker.state is WorkerState.STARTING else 0
        if self._quick_deaths >= QUICK_DEATHS:
            self.start_paused_until_s = turn.now_s + QUICK_DEATH_PAUSE_S
            self._quick_deaths = 0
            turn.announce(
                "error",
                f"{QUICK_DEATHS} workers in a row died while starting; next try in {QUICK_DEATH_PAUSE_S:.0f} s. "
                "Run `imgoptd --check` to see what is wrong with the codecs",
                3,
            )

    def started_well(self) -> None:
        """A worker has done something: they can be started."""
        self._quick_deaths = 0

    def end_overdue(self, turn: Turn) -> None:
        for worker in self._fleet.workers.values():
            overdue_s = self.overdue_s(worker)
            if overdue_s is not None and turn.now_s >= overdue_s and not worker.killed_for:
                worker.killed_for = "timeout" if worker.handed else "start-timeout"
                worker.overdue = worker.handed[0] if worker.handed else None
                turn.act(c.KillWorker(worker.id, worker.killed_for))

    def overdue_s(self, worker: Worker) -> float | None:
        """When the worker has taken too long for what it does now; None: it does nothing.

        What the daemon itself still opens or reads for it is not on its account: a disk that hangs is no file's fault.
        """
        if worker.handed:
            return worker.head_since_s + self.job_timeout_s
        return worker.started_s + START_TIMEOUT_S if worker.state is WorkerState.STARTING else None
