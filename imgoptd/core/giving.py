"""Who of the workers is given what: probes and jobs, as far as the memory reaches."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core.admission import Holding, fits
from imgoptd.core.conditions import Conditions
from imgoptd.core.fleet import Fleet, Worker
from imgoptd.core.job import Job, Stage
from imgoptd.core.jobs import Jobs
from imgoptd.core.learning import renew
from imgoptd.core.model import Failure, FailureKind
from imgoptd.core.sharing import Sharing
from imgoptd.core.text import show_bytes
from imgoptd.core.turn import Turn

NEEDS_MEMORY = "needs-memory"
PROBES_IN_A_ROW = 64
"""Probes a worker is given between two jobs, if a job waits: the first job after a start does not wait for them all."""
CONSTRAINED_S = 10.0
"""How long smaller jobs may pass one that waits for memory; then room is kept for it."""


class Giver:
    def __init__(self, jobs: Jobs, fleet: Fleet, conditions: Conditions, sharing: Sharing) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self._conditions = conditions
        self._sharing = sharing
        self._blocked: Job | None = None
        """The first job in line, while it waits for memory or for its turn to run alone."""
        self._blocked_since_s = 0.0

    def give(self, turn: Turn) -> bool:
        """Returns whether the first in line has to wait for memory."""
        blocked = False
        if self._blocked is not None and not self._is_waiting(self._blocked):
            self._blocked = None
        for worker in self._takers():
            while worker.available and not self._sharing.should_yield(worker, turn.now_s):
                jobs_turn = self._is_jobs_turn(worker)
                if not jobs_turn and self._give_probe(turn, worker):
                    continue
                job, waits = self._pick(turn, worker)
                blocked = blocked or waits
                if job is not None:
                    self._send(turn, worker, job)
                elif jobs_turn and not worker.tasks:
                    worker.probes_in_a_row = 0  # no job can start now, and probes need no room
                else:
                    break
        return blocked

    def _takers(self) -> list[Worker]:
        """Who may be given work, idle ones first, so that work spreads before it stacks.

        The youngest of more workers than there may be get none: so they come to leave, however much waits.
        """
        return sorted(list(self._fleet.serving())[: self._conditions.workers_max], key=lambda one: len(one.tasks))

    def _give_probe(self, turn: Turn, worker: Worker) -> bool:
        job = self._jobs.backlog.next_probe(worker.domain)
        if job is None or not worker.has_room_for_probe():
            return False
        self._jobs.given_out(turn, job)
        self._fleet.give(worker, job)
        worker.probes_in_a_row += 1
        turn.act(c.SendProbe(worker.id, job.ref, job.record.identity))
        return True

    def _is_jobs_turn(self, worker: Worker) -> bool:
        """Has the worker probed for long enough, with a job waiting that is no less urgent than the next probe?"""
        if worker.probes_in_a_row < PROBES_IN_A_ROW:
            return False
        job, probe = self._jobs.backlog.next_ready(worker.domain), self._jobs.backlog.next_probe(worker.domain)
        return job is not None and (probe is None or job.urgency <= probe.urgency)

    def _pick(self, turn: Turn, worker: Worker) -> tuple[Job | None, bool]:
        """A job for the worker, and whether the first in line has to wait for memory."""
        backlog = self._jobs.backlog
        while (job := backlog.next_ready(worker.domain)) is not None and self._must_wait(job):
            self._jobs.hold(turn, job, self._why_held(job))
        if job is None:
            return None, False
        kept_for = self._room_kept_for(turn.now_s)
        if kept_for is not None and job.urgency >= kept_for.urgency:
            if worker.domain != kept_for.domain:
                return None, True
            job = kept_for
        if self._may_start(worker, job):
            return job, False
        if not worker.has_room_for_job(job):
            return None, False
        if self._blocked is None:
            self._blocked, self._blocked_since_s = job, turn.now_s
        if job.solo or kept_for is not None:
            return None, True
        return backlog.backfill(worker.domain, lambda other: self._may_start(worker, other)), True

    def _room_kept_for(self, now_s: float) -> Job | None:
        """The job that has been passed for long enough; a worker of its domain must be there to take it."""
        job = self._blocked
        if job is None or now_s - self._blocked_since_s <= CONSTRAINED_S:
            return None
        return job if any(worker.domain == job.domain for worker in self._takers()) else None

    def _is_waiting(self, job: Job) -> bool:
        mine = self._jobs.by_ref.get(job.ref) is job and job.stage is Stage.READY
        return mine and not self._jobs.backlog.is_shut(job.place) and not self._must_wait(job)

    def _may_start(self, worker: Worker, job: Job) -> bool:
        if not worker.has_room_for_job(job) or not self._solitude(worker, job) or not self._jobs.undo.may_start(job):
            return False
        if self._conditions.room_bytes is not None and self._need(job) > self._conditions.room_bytes:
            return False
        view, others = self._conditions.memory(), self._fleet.holdings(without=worker)
        if not worker.tasks:
            return fits(self._need(job), view, others)
        # Prefetched behind another: only the larger of the two counts, and it must fit as if it ran now.
        need = max(self._need(job), worker.reserved_bytes)
        return need <= worker.reserved_bytes or fits(need, view, [*others, Holding(1, 0)])

    def _solitude(self, worker: Worker, job: Job) -> bool:
        """A job that must run alone waits until nothing runs, and nothing starts beside it."""
        others = [one for other in self._fleet.workers.values() for one in other.tasks if one.stage is Stage.WORKING]
        if job.solo:
            return not others
        return not any(one.solo for one in others)

    def _need(self, job: Job) -> int:
        """What is reserved for the job. Of one that needs more than there may ever be given, all that may be."""
        if not job.solo:  # such a one is given twice what was not enough
            renew(self._jobs.estimator, job)
        asked, most = job.estimate.memory_bytes * (2 if job.solo else 1), self._conditions.memory().largest_job_bytes()
        return asked if most is None else min(asked, most)

    def never_fits(self, job: Job) -> bool:
        """Does it need more than there is, all told?"""
        most = self._conditions.memory().largest_job_bytes()
        return most is not None and job.estimate.likely_bytes > most

    def _must_wait(self, job: Job) -> bool:
        """For a change of circumstances: nothing that runs now could make room by its end."""
        return self.never_fits(job) or self._jobs.undo.is_full_for(job)

    def _why_held(self, job: Job) -> Failure:
        if not self.never_fits(job):
            return self._jobs.undo.why_full()
        most = self._conditions.memory().largest_job_bytes() or 0
        detail = (
            f"it needs about {show_bytes(job.estimate.likely_bytes)} and {show_bytes(most)} is all there is; "
            "raise [workers] memory_budget or give the machine more memory"
        )
        return Failure(FailureKind.EXHAUSTED, NEEDS_MEMORY, detail)

    def _send(self, turn: Turn, worker: Worker, job: Job) -> None:
        facts = job.record.facts
        assert facts is not None
        if job is self._blocked:
            self._blocked = None
        self._jobs.given_out(turn, job)
        job.reserved_bytes = need = self._need(job)
        worker.probes_in_a_row = 0
        self._fleet.give(worker, job)
        identity = job.record.identity
        turn.act(c.SendJob(worker.id, job.ref, identity, facts, job.settings, need, job.mirror, job.previous_sha256))
