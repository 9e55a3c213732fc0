"""Whose turn it is: which trust domain the workers serve. A worker serves one for life, so each change costs a start.

| a worker goes on with its domain until | it makes way |
|---|---|
| more urgent work of a domain waits that nobody serves | at once |
| more of it waits than the workers there will have begun in URGENT_WAIT_S | at once |
| as urgent work of a domain waits that received less, and nobody serves it | after its turn |
| the same, and workers serve it, but fewer | after its turn, if it lags by a turn's CPU seconds |
| nothing of its own waits, and more elsewhere than the workers there hold | at once |

A turn is DOMAIN_TURN_S and TURN_JOBS jobs long, DOMAIN_TURN_MOST_S at most.
"""

from __future__ import annotations

from collections import Counter

from imgoptd.core.conditions import Conditions
from imgoptd.core.fleet import Fleet, Worker
from imgoptd.core.intake import Intake
from imgoptd.core.model import Domain
from imgoptd.core.scaling import FleetState

DOMAIN_TURN_S = 10.0
"""How long a worker may go on with its own domain while equally urgent work of another waits."""
TURN_JOBS = 20
"""Where each turn costs a start, there is one for so many jobs."""
DOMAIN_TURN_MOST_S = 30.0
URGENT_WAIT_S = 1.0


class Sharing:
    def __init__(self, intake: Intake, fleet: Fleet, conditions: Conditions) -> None:
        self._jobs = intake.jobs
        self._intake = intake
        self._fleet = fleet
        self._conditions = conditions
        self.stuck: set[Domain] = set()
        """Domains of which no job fits the memory any more in this turn."""
        self._served: Counter[Domain] = Counter()
        """Workers by domain."""
        self._untasked: Counter[Domain] = Counter()
        """Those of them that have nothing to do yet."""
        self._unserved: Domain | None = None
        """The first of those domains with work that no worker serves."""
        self._seen = 0
        """How many workers had been started when that was counted."""

    def look(self) -> None:
        """Count anew who serves whom: at the beginning of a turn, and after each start."""
        serving = list(self._fleet.serving())
        self._served = Counter(worker.domain for worker in serving)
        self._untasked = Counter(worker.domain for worker in serving if not worker.tasks)
        self._unserved = self._jobs.backlog.foremost(self._served)
        self._seen = self._fleet.started

    def neediest(self) -> Domain | None:
        """Whose worker to start next: the most urgent work, among equals the domain with the fewest workers."""
        self.look()
        backlog = self._jobs.backlog
        ranked = []
        for domain in (*self._served, *([self._unserved] if self._unserved is not None else [])):
            rank = backlog.rank(domain, 0.0, served=False)
            if rank is not None:
                enough = domain in self.stuck or backlog.jobs_of(domain) <= self._untasked[domain]
                ranked.append((enough, rank[:2], self._served[domain], rank.received_cpu_s, domain))
        if ranked:
            return min(ranked)[-1]
        # With `min` workers kept and no work yet, they wait in the first folder for files of its owner.
        return next(iter(self._served), None) or self._first_domain()

    def _first_domain(self) -> Domain | None:
        return next((Domain(root, 0) for root in sorted(self._intake.folders)), None)

    def should_yield(self, worker: Worker, now_s: float) -> bool:
        """Does work of another domain come before the worker's own? `look` was called in this turn."""
        return not self._conditions.draining and self._elsewhere(worker, now_s) is not None

    def waiting_elsewhere(self, worker: Worker, now_s: float) -> Domain | None:
        """The domain for which the worker should make way."""
        if not self._jobs.backlog.jobs:
            return None
        if self._seen != self._fleet.started:
            self.look()
        return self._elsewhere(worker, now_s)

    def _elsewhere(self, worker: Worker, now_s: float) -> Domain | None:
        backlog = self._jobs.backlog
        # One that was given nothing yet was started for what has waited: else two domains could take turns for ever.
        own = backlog.rank(worker.domain, now_s, served=worker.turn_jobs > 0)
        other = self._unserved
        rank = backlog.rank(other, now_s, served=False) if other is not None else None
        if rank is not None:
            if own is None or rank[:2] < own[:2]:
                return other
            if rank <= own and self._turn_is_over(worker, now_s):
                return other
        if own is None or len(self._served) < 2:
            return None
        lagging = (domain for domain in self._served if self._lags(domain, worker, now_s))
        return next(lagging, None)

    def _lags(self, domain: Domain, worker: Worker, now_s: float) -> bool:
        """Is the domain served by too few, so that this worker had better serve it?"""
        backlog = self._jobs.backlog
        if domain == worker.domain or domain in self.stuck or backlog.jobs_of(domain) <= self._untasked[domain]:
            return False
        own, rank = backlog.rank(worker.domain, now_s, served=True), backlog.rank(domain, now_s, served=True)
        if own is None or rank is None:
            return False
        workers = self._served[domain]
        if rank[:2] < own[:2]:
            return backlog.ready_cpu_s_of(domain) > URGENT_WAIT_S * workers
        behind = own.received_cpu_s - rank.received_cpu_s > DOMAIN_TURN_S
        fewer = workers < self._served[worker.domain]
        return rank[:2] == own[:2] and fewer and behind and self._turn_is_over(worker, now_s)

    def _turn_is_over(self, worker: Worker, now_s: float) -> bool:
        served_s = now_s - worker.turn_since_s
        return served_s > DOMAIN_TURN_MOST_S or (served_s > DOMAIN_TURN_S and worker.turn_jobs >= TURN_JOBS)

    def crowded_elsewhere(self, worker: Worker) -> Domain | None:
        """Where work is left over, for a worker that is wanted but has none of its own."""
        backlog = self._jobs.backlog
        if not backlog.jobs or backlog.urgency(worker.domain) is not None:
            return None
        surplus = sum(1 for _ in self._fleet.serving()) > self._conditions.wanted
        if surplus or self._conditions.state is not FleetState.RUN:
            return None
        domain = self.neediest()
        return domain if domain is not None and backlog.jobs_of(domain) > self._untasked[domain] else None
