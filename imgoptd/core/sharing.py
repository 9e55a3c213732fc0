"""Whose turn it is: which trust domain the workers serve."""

from __future__ import annotations

from imgoptd.core.conditions import Conditions
from imgoptd.core.fleet import Fleet, Worker
from imgoptd.core.intake import Intake
from imgoptd.core.model import Domain
from imgoptd.core.scaling import FleetState

DOMAIN_TURN_S = 10.0
"""How long a worker may go on with its own domain while equally urgent work of another waits."""


class Sharing:
    def __init__(self, intake: Intake, fleet: Fleet, conditions: Conditions) -> None:
        self._jobs = intake.jobs
        self._intake = intake
        self._fleet = fleet
        self._conditions = conditions

    def neediest(self) -> Domain | None:
        """Whose worker to start next: the most urgent waiting work, among equals the domain with the fewest workers."""
        backlog = self._jobs.backlog
        workers = [worker.domain for worker in self._fleet.serving()]
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

    def should_yield(self, worker: Worker, now_s: float) -> bool:
        """Does work of another domain come before the worker's own, with nobody serving it?"""
        return not self._conditions.draining and self.waiting_elsewhere(worker, now_s) is not None

    def waiting_elsewhere(self, worker: Worker, now_s: float) -> Domain | None:
        backlog = self._jobs.backlog
        own = backlog.urgency(worker.domain)
        served = {other.domain for other in self._fleet.serving()}
        for domain in backlog.domains():
            urgency = backlog.urgency(domain)
            if domain in served or urgency is None:
                continue
            if own is None or urgency < own or (urgency == own and now_s - worker.started_s > DOMAIN_TURN_S):
                return domain
        return None

    def crowded_elsewhere(self, worker: Worker) -> Domain | None:
        """Where work is left over, for a worker that is wanted but has none of its own."""
        waiting = self._jobs.backlog.jobs and self._jobs.backlog.urgency(worker.domain) is None
        surplus = sum(1 for _ in self._fleet.serving()) > self._conditions.wanted
        return self.neediest() if waiting and not surplus and self._conditions.state is FleetState.RUN else None
