"""What is known of one kind of job, and which of two ways to foretell what a job takes has done better."""

from __future__ import annotations

from typing import NamedTuple

from imgoptd.core.evidence import MOST_DOMAINS, Belief, Ratios, believe, middle, upper
from imgoptd.core.model import Domain

LEAST_TRUSTED, MOST_TRUSTED = 0.25, 4.0
"""A ratio beyond is taken as this: what a worker says of itself must not stop the work of others."""
CPU_TRUSTED = 8.0
"""Likewise of CPU seconds, that and its inverse: machines differ by more."""
GREW_MOST = 8.0
GROWTH_JOBS = 4
"""With fewer nothing is said of how jobs grow after they came to rest."""
GROWTH_SHARE = 0.95

YARDSTICK_JOBS = 4
"""After so many it may take the place of the table,"""
CLEARLY = 0.8
"""if it errs by so much less,"""
PRECISE = 0.05
"""and not where both tell to within a few hundredths."""


class Beliefs(NamedTuple):
    memory: Belief
    cpu: Belief
    cpu_factor: float
    """The median, which no single job moves."""


NOTHING = Beliefs(believe(()), believe(()), 1.0)


class Kind:
    """What was learned of one kind of job: ratios of actual to predicted, and of later to earlier."""

    def __init__(self) -> None:
        self.memory = Ratios(LEAST_TRUSTED, MOST_TRUSTED)
        self.cpu = Ratios(1 / CPU_TRUSTED, CPU_TRUSTED)
        self.growth = Ratios(1.0, GREW_MOST)
        self._later: dict[Domain, float | None] = {}
        self._believed: dict[tuple[Domain, float], Beliefs] = {}
        """By domain and prior spread."""

    def forget(self) -> None:
        """More was learned: what was worked out is no longer true."""
        self._believed.clear()
        self._later.clear()

    def believed(self, domain: Domain, prior_spread: float) -> Beliefs:
        """Worked out once after each lesson."""
        key = domain, prior_spread
        if key not in self._believed:
            if len(self._believed) >= MOST_DOMAINS:
                self._believed.clear()
            cpu = self.cpu.of(domain)
            self._believed[key] = Beliefs(believe(self.memory.of(domain), prior_spread), believe(cpu), middle(cpu))
        return self._believed[key]

    def later_growth(self, domain: Domain) -> float | None:
        """How many times what it held at rest a job takes at its peak; None: too few were seen.

        Worked out once after each lesson: it is asked for with every reading of every worker.
        """
        if domain not in self._later:
            if len(self._later) >= MOST_DOMAINS:
                self._later.clear()
            self._later[domain] = upper(self.growth.of(domain), GROWTH_SHARE, GROWTH_JOBS)
        return self._later[domain]


def is_better(one: Belief, other: Belief) -> bool:
    """Has it foretold clearly better, for long enough?"""
    return one.jobs >= YARDSTICK_JOBS and max(one.deviation, PRECISE) < CLEARLY * other.deviation
