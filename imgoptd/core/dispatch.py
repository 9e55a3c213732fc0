"""Bringing work and workers together: who gives, how many workers there are, who starts and who leaves."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core.conditions import Conditions
from imgoptd.core.fleet import Fleet, Worker, WorkerState
from imgoptd.core.giving import Giver
from imgoptd.core.intake import Intake
from imgoptd.core.model import Domain
from imgoptd.core.scaling import FleetState, Inputs, Scaler
from imgoptd.core.sharing import Sharing
from imgoptd.core.turn import Turn

PROBE_CPU_S = 0.002
"""Taken for one waiting probe in the backlog's CPU seconds."""


class Dispatcher:
    def __init__(self, intake: Intake, fleet: Fleet) -> None:
        self.jobs = intake.jobs
        self.fleet = fleet
        self.conditions = Conditions()
        self.scaler = Scaler()
        self._sharing = Sharing(intake, fleet, self.conditions)
        self._giver = Giver(intake.jobs, fleet, self.conditions, self._sharing)

    def inputs(self) -> Inputs:
        jobs, fleet = self.jobs, self.fleet
        serving = list(fleet.serving())
        running = [job for worker in serving for job in worker.tasks]
        waiting = jobs.backlog.jobs
        return Inputs(
            workers=len(serving),
            idle_workers=len(fleet.idle()),
            workers_min=self.conditions.workers_min,
            workers_max=self.conditions.workers_max,
            backlog_jobs=(0 if self.conditions.draining else waiting) + len(running),
            backlog_cpu_s=(0.0 if self.conditions.draining else jobs.backlog.ready_cpu_s + PROBE_CPU_S * waiting)
            + sum(job.estimate.cpu_s or PROBE_CPU_S for job in running),
            cpus=self.conditions.sensed.cpus,
            others_cpus=self.conditions.sensed.others_cpus,
            available_bytes=self.conditions.sensed.available_bytes,
            reserved_bytes=fleet.reserved_bytes(),
            budget_bytes=self.conditions.budget_bytes,
            psi_some_avg10=self.conditions.sensed.psi_some_avg10,
            psi_some_rate=self.conditions.sensed.psi_some_rate,
            draining=self.conditions.draining,
        )

    def run(self, turn: Turn, *, may_start: bool = True) -> None:
        """Give work to those who have room, then grow, shrink, and move workers between domains."""
        self.conditions.state = self._fleet_state(blocked=False)
        if not self.conditions.draining and self._giver.give(turn):
            self.conditions.state = self._fleet_state(blocked=True)
        self._scale(turn, may_start)

    def _fleet_state(self, *, blocked: bool) -> FleetState:
        if self.conditions.draining:
            return FleetState.DRAIN
        if self.conditions.sensed.available_bytes is None and self.conditions.budget_bytes is None:
            return FleetState.BLIND
        return FleetState.CONSTRAINED if blocked else FleetState.RUN

    def _scale(self, turn: Turn, may_start: bool) -> None:
        decision = self.scaler.decide(self.inputs(), turn.now_s, may_start=may_start)
        self.conditions.wanted = decision.wanted
        for _ in range(decision.start):
            domain = self._sharing.neediest()
            if domain is None:
                break
            self._start(turn, domain)
        for worker in self.fleet.idle()[: decision.retire]:
            self._retire(turn, worker)
        if not self.conditions.draining and may_start:
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

    def _move_between_domains(self, turn: Turn) -> None:
        """An idle worker makes way for one of a domain that nobody serves, or whose workers are too few."""
        for worker in self.fleet.idle():
            domain = self._sharing.waiting_elsewhere(worker, turn.now_s) or self._sharing.crowded_elsewhere(worker)
            if domain is not None:
                self._retire(turn, worker)
                self._start(turn, domain)

    def _start(self, turn: Turn, domain: Domain) -> None:
        worker = self.fleet.add(domain, turn.now_s)
        turn.act(c.StartWorker(worker.id, domain))

    def _retire(self, turn: Turn, worker: Worker) -> None:
        worker.state = WorkerState.DRAINING
        turn.act(c.RetireWorker(worker.id))
