"""Bringing work and workers together: who gets what, who starts, who leaves."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core.admission import Holding, MemoryView, fits
from imgoptd.core.events import Sensed
from imgoptd.core.fleet import Fleet, Worker, WorkerState
from imgoptd.core.intake import Intake
from imgoptd.core.job import Job, Stage
from imgoptd.core.model import Domain, Failure, FailureKind
from imgoptd.core.scaling import FleetState, Inputs, Scaler
from imgoptd.core.text import show_bytes
from imgoptd.core.turn import Turn

NEEDS_MEMORY = "needs-memory"
PROBE_CPU_S = 0.002
"""Taken for one waiting probe in the backlog's CPU seconds."""
PROBES_IN_A_ROW = 64
"""Probes a worker is given between two jobs, if a job waits: the first job after a start does not wait for them all."""
CONSTRAINED_S = 10.0
"""How long smaller jobs may pass one that waits for memory; then room is kept for it."""
DOMAIN_TURN_S = 10.0
"""How long a worker may go on with its own domain while equally urgent work of another waits."""


class Dispatcher:
    """Holds the limits in force and the last reading of the machine."""

    def __init__(self, intake: Intake, fleet: Fleet) -> None:
        self.jobs = intake.jobs
        self._intake = intake
        self.fleet = fleet
        self.scaler = Scaler()
        self.sensed = Sensed()
        self.workers_min = 0
        self.workers_max = 1
        self.budget_bytes: int | None = None
        self.draining = False
        self.state = FleetState.RUN
        self.wanted = 0
        """Workers wanted by the last decision."""
        self._blocked: Job | None = None
        """The first job in line, while it waits for memory or for its turn to run alone."""
        self._blocked_since_s = 0.0

    def memory(self) -> MemoryView:
        return MemoryView(self.sensed.available_bytes, self.sensed.limit_bytes, self.budget_bytes)

    def inputs(self) -> Inputs:
        jobs, fleet = self.jobs, self.fleet
        serving = list(fleet.serving())
        running = [job for worker in serving for job in worker.tasks]
        waiting = jobs.backlog.jobs
        return Inputs(
            workers=len(serving),
            idle_workers=len(fleet.idle()),
            workers_min=self.workers_min,
            workers_max=self.workers_max,
            backlog_jobs=(0 if self.draining else waiting) + len(running),
            backlog_cpu_s=(0.0 if self.draining else jobs.backlog.ready_cpu_s + PROBE_CPU_S * waiting)
            + sum(job.estimate.cpu_s or PROBE_CPU_S for job in running),
            cpus=self.sensed.cpus,
            others_cpus=self.sensed.others_cpus,
            available_bytes=self.sensed.available_bytes,
            reserved_bytes=fleet.reserved_bytes(),
            budget_bytes=self.budget_bytes,
            psi_some_avg10=self.sensed.psi_some_avg10,
            psi_some_rate=self.sensed.psi_some_rate,
            draining=self.draining,
        )

    def run(self, turn: Turn, *, may_start: bool = True) -> None:
        """Give work to those who have room, then grow, shrink, and move workers between domains."""
        self.state = self._fleet_state()
        if not self.draining:
            self._give(turn)
        self._scale(turn, may_start)

    def _fleet_state(self) -> FleetState:
        if self.draining:
            return FleetState.DRAIN
        if self.sensed.available_bytes is None and self.budget_bytes is None:
            return FleetState.BLIND
        return FleetState.RUN

    # ---- giving -----------------------------------------------------------------------------------------------------

    def _give(self, turn: Turn) -> None:
        blocked = False
        if self._blocked is not None and not self._is_waiting(self._blocked):
            self._blocked = None
        for worker in self._takers():
            while worker.available and not self._should_yield(worker, turn.now_s):
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
        if blocked and self.state is FleetState.RUN:
            self.state = FleetState.CONSTRAINED

    def _takers(self) -> list[Worker]:
        """Who may be given work, idle ones first, so that work spreads before it stacks.

        The youngest of more workers than there may be get none: so they come to leave, however much waits.
        """
        return sorted(list(self.fleet.serving())[: self.workers_max], key=lambda one: len(one.tasks))

    def _give_probe(self, turn: Turn, worker: Worker) -> bool:
        job = self.jobs.backlog.next_probe(worker.domain)
        if job is None or not worker.has_room_for_probe():
            return False
        self.jobs.given_out(turn, job)
        self.fleet.give(worker, job)
        worker.probes_in_a_row += 1
        turn.act(c.SendProbe(worker.id, job.ref, job.record.identity))
        return True

    def _is_jobs_turn(self, worker: Worker) -> bool:
        """Has the worker probed for long enough, with a job waiting that is no less urgent than the next probe?"""
        if worker.probes_in_a_row < PROBES_IN_A_ROW:
            return False
        job, probe = self.jobs.backlog.next_ready(worker.domain), self.jobs.backlog.next_probe(worker.domain)
        return job is not None and (probe is None or job.urgency <= probe.urgency)

    def _pick(self, turn: Turn, worker: Worker) -> tuple[Job | None, bool]:
        """A job for the worker, and whether the first in line has to wait for memory."""
        backlog = self.jobs.backlog
        while (job := backlog.next_ready(worker.domain)) is not None and self._must_wait(job):
            self.jobs.hold(turn, job, self._why_held(job))
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
        mine = self.jobs.by_ref.get(job.ref) is job and job.stage is Stage.READY
        return mine and not self.jobs.backlog.is_shut(job.place) and not self._must_wait(job)

    def _may_start(self, worker: Worker, job: Job) -> bool:
        if not worker.has_room_for_job(job) or not self._solitude(worker, job) or not self.jobs.undo.may_start(job):
            return False
        view, others = self.memory(), self.fleet.holdings(without=worker)
        if not worker.tasks:
            return fits(self._need(job), view, others)
        # Prefetched behind another: only the larger of the two counts, and it must fit as if it ran now.
        need = max(self._need(job), worker.reserved_bytes)
        return need <= worker.reserved_bytes or fits(need, view, [*others, Holding(1, 0)])

    def _solitude(self, worker: Worker, job: Job) -> bool:
        """A job that must run alone waits until nothing runs, and nothing starts beside it."""
        others = [one for other in self.fleet.workers.values() for one in other.tasks if one.stage is Stage.WORKING]
        if job.solo:
            return not others
        return not any(one.solo for one in others)

    def _need(self, job: Job) -> int:
        return job.estimate.memory_bytes * (2 if job.solo else 1)

    def _never_fits(self, job: Job) -> bool:
        most = self.memory().largest_job_bytes()
        return most is not None and job.estimate.memory_bytes > most

    def _must_wait(self, job: Job) -> bool:
        """For a change of circumstances: nothing that runs now could make room by its end."""
        return self._never_fits(job) or self.jobs.undo.is_full_for(job)

    def _why_held(self, job: Job) -> Failure:
        if not self._never_fits(job):
            return self.jobs.undo.why_full()
        most = self.memory().largest_job_bytes() or 0
        detail = (
            f"it needs about {show_bytes(job.estimate.memory_bytes)} and {show_bytes(most)} is all there is; "
            "raise [workers] memory_budget or give the machine more memory"
        )
        return Failure(FailureKind.EXHAUSTED, NEEDS_MEMORY, detail)

    def _send(self, turn: Turn, worker: Worker, job: Job) -> None:
        facts = job.record.facts
        assert facts is not None
        if job is self._blocked:
            self._blocked = None
        self.jobs.given_out(turn, job)
        job.reserved_bytes = need = self._need(job)
        worker.probes_in_a_row = 0
        self.fleet.give(worker, job)
        identity = job.record.identity
        turn.act(c.SendJob(worker.id, job.ref, identity, facts, job.settings, need, job.mirror, job.previous_sha256))

    # ---- scaling ----------------------------------------------------------------------------------------------------

    def _scale(self, turn: Turn, may_start: bool) -> None:
        decision = self.scaler.decide(self.inputs(), turn.now_s, may_start=may_start)
        self.wanted = decision.wanted
        for _ in range(decision.start):
            domain = self._neediest()
            if domain is None:
                break
            self._start(turn, domain)
        for worker in self.fleet.idle()[: decision.retire]:
            self._retire(turn, worker)
        if not self.draining and may_start:
            self._move_between_domains(turn)
        if decision.start or decision.retire:
            turn.announce(
                "scale",
                f"workers {decision.before} -> {decision.after} ({decision.reason}): "
                f"{decision.inputs.backlog_jobs} jobs of about {decision.inputs.backlog_cpu_s:.1f} CPU s wait or run",
                5,
                FROM=decision.before,
                TO=decision.after,
                REASON=decision.reason,
                WANTED=decision.wanted,
                **dict(decision.inputs.as_fields()),
            )

    def _neediest(self) -> Domain | None:
        """Whose worker to start next: the most urgent waiting work, among equals the domain with the fewest workers."""
        backlog = self.jobs.backlog
        workers = [worker.domain for worker in self.fleet.serving()]
        ranked = [
            (urgency, workers.count(domain), domain)
            for domain in backlog.domains()
            if (urgency := backlog.urgency(domain)) is not None
        ]
        if ranked:
            return min(ranked)[2]
        # With `min` workers kept and no work yet, they wait in the first folder for files of its owner.
        return workers[0] if workers else self._first_domain()

    def _first_domain(self) -> Domain | None:
        return next((Domain(root, 0) for root in sorted(self._intake.folders)), None)

    def _should_yield(self, worker: Worker, now_s: float) -> bool:
        """Does work of another domain come before the worker's own, with nobody serving it?"""
        return not self.draining and self._waiting_elsewhere(worker, now_s) is not None

    def _waiting_elsewhere(self, worker: Worker, now_s: float) -> Domain | None:
        backlog = self.jobs.backlog
        own = backlog.urgency(worker.domain)
        served = {other.domain for other in self.fleet.serving()}
        for domain in backlog.domains():
            urgency = backlog.urgency(domain)
            if domain in served or urgency is None:
                continue
            if own is None or urgency < own or (urgency == own and now_s - worker.started_s > DOMAIN_TURN_S):
                return domain
        return None

    def _move_between_domains(self, turn: Turn) -> None:
        """An idle worker makes way for one of a domain that nobody serves, or whose workers are too few."""
        for worker in self.fleet.idle():
            domain = self._waiting_elsewhere(worker, turn.now_s) or self._crowded_elsewhere(worker)
            if domain is not None:
                self._retire(turn, worker)
                self._start(turn, domain)

    def _crowded_elsewhere(self, worker: Worker) -> Domain | None:
        """Where work is left over, for a worker that is wanted but has none of its own."""
        waiting = self.jobs.backlog.jobs and self.jobs.backlog.urgency(worker.domain) is None
        surplus = sum(1 for _ in self.fleet.serving()) > self.wanted
        return self._neediest() if waiting and not surplus and self.state is FleetState.RUN else None

    def _start(self, turn: Turn, domain: Domain) -> None:
        worker = self.fleet.add(domain, turn.now_s)
        turn.act(c.StartWorker(worker.id, domain))

    def _retire(self, turn: Turn, worker: Worker) -> None:
        worker.state = WorkerState.DRAINING
        turn.act(c.RetireWorker(worker.id))
