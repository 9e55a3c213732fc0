"""Who of the workers is given what: probes and jobs, as far as the memory reaches.

| memory | rule |
|---|---|
| what a job may take | as much as it asks for where its share of what is free allows that, never less than suffices |
| after a crash or want of memory | twice what that attempt might take; after an OOM kill nothing runs beside it |
| the first in line does not fit | for CONSTRAINED_S whatever fits passes it |
| thereafter | more urgent work passes it, and what is gone or fits beside it when there is room |
| after STARVED_S | nothing passes it but what fits beside it |
| a tenth of the budget | is for fresh drops while they come |
| the last free worker | takes no long bulk job while fresh drops come and short ones wait |
"""

from __future__ import annotations

from typing import NamedTuple

from imgoptd.core import commands as c
from imgoptd.core.admission import Holding, Ledger
from imgoptd.core.alone import room_bytes
from imgoptd.core.conditions import Conditions
from imgoptd.core.fleet import Fleet, Worker
from imgoptd.core.job import Job, Stage
from imgoptd.core.jobs import Jobs
from imgoptd.core.model import Failure, FailureKind
from imgoptd.core.packing import Gap, Running, gap_for
from imgoptd.core.sharing import Sharing
from imgoptd.core.sizes import SHORT_CPU_S
from imgoptd.core.text import show_bytes
from imgoptd.core.turn import Turn

NEEDS_MEMORY = "needs-memory"
PROBES_IN_A_ROW = 64
"""Probes a worker is given between two jobs, if a job waits: the first job after a start does not wait for them all."""
CONSTRAINED_S = 10.0
"""How long smaller jobs may pass one that waits for memory; then room is kept for it."""
STARVED_S = 60.0
"""After so long even more urgent ones must leave that room."""
DROPS_S = 60.0
"""Fresh drops come, for so long after the last one."""
FRESH_SHARE = 0.1
TEACHERS = 4
"""So many jobs of a kind are small ones, where memory is scarce and nothing was learned of it."""


class _Ask(NamedTuple):
    least_bytes: int
    most_bytes: int


class Giver:
    def __init__(self, jobs: Jobs, fleet: Fleet, conditions: Conditions, sharing: Sharing) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self._conditions = conditions
        self._sharing = sharing
        self._blocked: Job | None = None
        """The first job in line, while it waits for memory."""
        self._blocked_since_s = 0.0
        self._now_s = 0.0
        self._ledger = Ledger(conditions.memory(), {})
        self._one_runs_alone = False
        self._stuck = sharing.stuck

    def give(self, turn: Turn) -> bool:
        """Returns whether the first in line has to wait for memory."""
        blocked = False
        self._now_s = turn.now_s
        self._ledger = Ledger(self._conditions.memory(), self._fleet.holdings())
        self._stuck.clear()
        self._one_runs_alone = any(one.solo for worker in self._fleet.workers.values() for one in worker.tasks)
        self._sharing.look()
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
                    self._send(turn, worker, *job)
                elif jobs_turn and not worker.tasks:
                    worker.probes_in_a_row = 0  # no job can start now, and probes need no room
                else:
                    break
        return blocked

    def never_fits(self, job: Job) -> bool:
        """Is it likely to need more than there is, all told?"""
        most = self._conditions.memory().largest_job_bytes()
        return most is not None and self._likely_bytes(job) > most

    def _likely_bytes(self, job: Job) -> int:
        estimate = self._jobs.estimator.estimate(job.record)
        return estimate.likely_bytes or estimate.memory_bytes

    # ---- probes -----------------------------------------------------------------------------------------------------

    def _takers(self) -> list[Worker]:
        """Who may be given work, idle ones first, so that work spreads before it stacks.

        The youngest of more workers than there may be get none: so they come to leave, however much waits.
        """
        return sorted(list(self._fleet.serving())[: self._conditions.workers_max], key=lambda one: len(one.tasks))

    def _give_probe(self, turn: Turn, worker: Worker) -> bool:
        has_room = worker.has_room_for_probe()
        if not has_room and not worker.has_room_for_urgent_probe():
            return False
        job = self._jobs.backlog.next_probe(worker.domain)
        if job is None:
            return False
        ready = self._jobs.backlog.next_ready(worker.domain)
        if not has_room and (ready is None or ready.urgency <= job.urgency):
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

    # ---- which job --------------------------------------------------------------------------------------------------

    def _pick(self, turn: Turn, worker: Worker) -> tuple[tuple[Job, int] | None, bool]:
        """A job for the worker and what it may take, and whether the first in line has to wait for memory."""
        if not worker.tasks and worker.domain in self._stuck:
            return None, True
        backlog = self._jobs.backlog
        while (job := backlog.next_ready(worker.domain)) is not None and self._must_wait(job):
            self._jobs.hold(turn, job, self._why_held(job))
        if job is None:
            return None, False
        kept_for = self._room_kept_for(job)
        if kept_for is not None and worker.domain == kept_for.domain:
            job = kept_for
        elif self._leaves_long_ones(worker, job):
            job = backlog.short_bulk(worker.domain) or job
        else:
            job = self._teacher(worker, job) or job
        if not worker.has_room_for_job(job):
            return None, False
        gap = self._gap(kept_for) if kept_for is not None and job is not kept_for else None
        room = self._room(worker, job, gap)
        if room is not None:
            return (job, room), False
        if self._blocked is None:
            self._blocked, self._blocked_since_s = job, turn.now_s
        found = self._backfill(worker)
        if found is None and not worker.tasks:
            self._stuck.add(worker.domain)
        return found, True

    def _teacher(self, worker: Worker, job: Job) -> Job | None:
        """Where little is known of the job's kind and memory is scarce: a small one of it, which tells more soon.

        A large one would be given much more than it is likely to need, and would tell late.
        """
        estimator = self._jobs.estimator
        if worker.tasks or job.record.fresh or job.doubled:
            return None
        estimate = estimator.estimate(job.record)
        if estimate.learned_from >= TEACHERS:
            return None
        free = self._ledger.free_without(worker.id)
        if free is None or estimate.memory_bytes <= free // self._free_slots():
            return None
        kind = estimator.kind(job.record)

        def teaches(other: Job) -> bool:
            same = not other.record.fresh and other.urgency == job.urgency and estimator.kind(other.record) == kind
            return same and not self._must_wait(other)

        return self._jobs.backlog.least_bulk(worker.domain, teaches)

    def _backfill(self, worker: Worker) -> tuple[Job, int] | None:
        """A job that fits, and that does not make the first in line wait once room is kept for that."""
        gaps: dict[Job | None, Gap | None] = {None: None}

        def room(job: Job) -> int | None:
            if self._must_wait(job) or not worker.has_room_for_job(job):
                return None
            kept_for = self._room_kept_for(job)
            if kept_for not in gaps:
                gaps[kept_for] = self._gap(kept_for) if kept_for is not None else None
            return self._room(worker, job, gaps[kept_for])

        job = self._jobs.backlog.backfill(worker.domain, lambda other: room(other) is not None)
        found = room(job) if job is not None else None
        return (job, found) if job is not None and found is not None else None

    def _room_kept_for(self, job: Job) -> Job | None:
        """The one that this job may not make wait: it has been passed for long enough.

        A worker of its domain must be there to take it.
        """
        blocked = self._blocked
        if blocked is None or self._now_s - self._blocked_since_s <= CONSTRAINED_S:
            return None
        if job.urgency < blocked.urgency and self._now_s - self._blocked_since_s <= STARVED_S:
            return None
        return blocked if any(worker.domain == blocked.domain for worker in self._takers()) else None

    def _is_waiting(self, job: Job) -> bool:
        mine = self._jobs.by_ref.get(job.ref) is job and job.stage is Stage.READY
        return mine and not self._jobs.backlog.is_shut(job.place) and not self._must_wait(job)

    def _leaves_long_ones(self, worker: Worker, job: Job) -> bool:
        """Is it the last worker that could take a fresh drop, while they come, and the job a long one?"""
        if job.record.fresh or job.estimate.cpu_s <= SHORT_CPU_S or not self._drops_come():
            return False
        busy = sum(1 for other in self._fleet.serving() if other.tasks and other is not worker)
        return busy >= self._conditions.workers_max - 1

    def _drops_come(self) -> bool:
        last_s = self._jobs.backlog.last_drop_s
        return last_s is not None and self._now_s - last_s <= DROPS_S

    # ---- how much memory --------------------------------------------------------------------------------------------

    def _room(self, worker: Worker, job: Job, gap: Gap | None) -> int | None:
        """What the job may take if it starts now; None: it may not. `gap`: what it must leave to another."""
        if not self._jobs.undo.may_start(job):
            return None
        if self._ledger.runs_without(worker.id) and (job.solo or self._one_runs_alone):
            return None
        ask, held = self._ask(job), worker.reserved_bytes
        most = self._conditions.room_bytes
        if most is not None:
            if ask.least_bytes > most:
                return None
            ask = _Ask(ask.least_bytes, min(ask.most_bytes, most))
        if worker.tasks and gap is not None:
            return None  # what its worker holds would be free later
        if worker.tasks and ask.least_bytes <= held:
            return min(ask.most_bytes, held)  # it waits behind another, and takes no more than that
        free = self._ledger.free_without(worker.id)
        if not worker.tasks and not self._ledger.runs_without(worker.id):
            # Waiting would not free anything of ours, whatever others hold.
            wanted = max(ask.least_bytes, min(ask.most_bytes, free if free is not None else ask.most_bytes))
            idle = sum(one.grown_bytes for one in self._fleet.serving() if not one.tasks)
            alone = room_bytes(self._conditions.memory(), idle)
            return wanted if alone is None else min(wanted, alone)
        if free is None:
            return None  # blind, one job runs at a time
        if not job.record.fresh and job is not self._blocked and self._drops_come():
            free -= self._kept_for_drops()
        need_bytes = self._need(worker, job, ask)
        if need_bytes > free or (gap is not None and not gap.admits(need_bytes, job.estimate.cpu_s)):
            return None
        if need_bytes < ask.least_bytes:
            return ask.most_bytes  # it is not what it may take that counts
        share = free // self._free_slots() if gap is None else 0
        return max(ask.least_bytes, min(ask.most_bytes, share))

    def _need(self, worker: Worker, job: Job, ask: _Ask) -> int:
        """What has to be free for the job: as much as suffices, less where it is booked together with many others."""
        estimate = self._jobs.estimator.estimate(job.record)
        if job.doubled or not estimate.is_known:
            return ask.least_bytes
        holding = Holding(ask.least_bytes, ask.least_bytes, estimate.mean_bytes, estimate.variance)
        return self._ledger.need_bytes(worker.id, holding)

    def _ask(self, job: Job) -> _Ask:
        """What would do, and what would be welcome; neither more than there is."""
        # Anew: more may have been learned since the job was probed.
        estimate = self._jobs.estimator.estimate(job.record)
        all_there_is = self._conditions.memory().largest_job_bytes()
        least, most = estimate.least_bytes or estimate.memory_bytes, estimate.memory_bytes
        if not estimate.learned_from and not self._tells_soon(job):
            least = most
        if job.doubled:
            least = most = max(most, 2 * job.failed_bytes) if job.failed_bytes else 2 * most
        if all_there_is is not None:
            least, most = min(least, all_there_is), min(most, all_there_is)
        return _Ask(least, most)

    def _tells_soon(self, job: Job) -> bool:
        """Does one of its kind run?"""
        kind = self._jobs.estimator.kind
        return kind(job.record) in (kind(one.record) for one in self._fleet.at_work())

    def _free_slots(self) -> int:
        """Workers that could run a job besides those that do, this one included."""
        busy = sum(1 for worker in self._fleet.serving() if worker.tasks)
        return max(1, self._conditions.workers_max - busy)

    def _kept_for_drops(self) -> int:
        """What of their tenth fresh drops do not hold now."""
        tenth = int(FRESH_SHARE * (self._conditions.memory().largest_job_bytes() or 0))
        tasks = (job for worker in self._fleet.workers.values() for job in worker.tasks)
        return max(0, tenth - sum(job.booked_bytes for job in tasks if job.record.fresh))

    def _gap(self, kept_for: Job) -> Gap:
        """Until when, and beside what, others may use the room that is kept for the job."""
        running = [
            Running(worker.remaining_s(self._now_s), worker.reserved_bytes)
            for worker in self._fleet.workers.values()
            if worker.tasks
        ]
        if kept_for.solo:
            return Gap(max((one.ends_in_s for one in running), default=0.0), 0)
        gap = gap_for(self._ask(kept_for).least_bytes, self._ledger.free_without(0) or 0, running)
        # Predictions of time may be wrong again and again: in the end they do not count any more.
        return gap if self._now_s - self._blocked_since_s <= STARVED_S else gap._replace(opens_in_s=0.0)

    # ---- held, sent -------------------------------------------------------------------------------------------------

    def _must_wait(self, job: Job) -> bool:
        """For a change of circumstances: nothing that runs now could make room by its end."""
        return self.never_fits(job) or self._jobs.undo.is_full_for(job)

    def _why_held(self, job: Job) -> Failure:
        if not self.never_fits(job):
            return self._jobs.undo.why_full()
        likely, most = self._likely_bytes(job), self._conditions.memory().largest_job_bytes() or 0
        detail = (
            f"it needs about {show_bytes(likely)} and {show_bytes(most)} is all there is; "
            "raise [workers] memory_budget or give the machine more memory"
        )
        return Failure(FailureKind.EXHAUSTED, NEEDS_MEMORY, detail)

    def _send(self, turn: Turn, worker: Worker, job: Job, memory_bytes: int) -> None:
        facts = job.record.facts
        assert facts is not None
        if job is self._blocked:
            self._blocked = None
        job.estimate = self._jobs.estimator.estimate(job.record)
        self._jobs.given_out(turn, job)
        job.reserved_bytes = memory_bytes
        most = self._conditions.memory().largest_job_bytes()
        job.had_all = most is not None and memory_bytes >= most
        worker.probes_in_a_row = 0
        self._fleet.give(worker, job)
        self._ledger.put(worker.id, worker.holding())
        self._one_runs_alone = self._one_runs_alone or job.solo
        record, settings = job.record, job.settings
        turn.act(
            c.SendJob(
                worker.id, job.ref, record.identity, facts, settings, memory_bytes, job.mirror, job.previous_sha256
            )
        )
