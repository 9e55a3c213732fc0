"""Runs of several policies on one trace, and what their figures say beside each other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.scaling import traces
from benchmarks.scaling.baselines import BASELINES
from benchmarks.scaling.bounds import bound
from benchmarks.scaling.policy import Pool
from benchmarks.scaling.pools import PoolRun
from benchmarks.scaling.score import Score
from benchmarks.scaling.supervised import Stalled, SupervisedRun
from benchmarks.scaling.trace import Trace

IMGOPTD = "imgoptd"
SIGNIFICANT_S = 1e-9


class Setting(NamedTuple):
    """A made trace."""

    name: str
    sigma: float
    seed: int

    def __str__(self) -> str:
        return f"{self.name} (sigma {self.sigma:g}, seed {self.seed})"


@dataclass(frozen=True, slots=True)
class Contest:
    jobs: int
    impossible: int
    """Jobs that nobody can finish."""
    bound_s: float
    binds: str
    scores: dict[str, Score]
    mixed: bool = True
    """Some jobs are fresh and some are not: else there is nothing that fresh drops could be taken ahead of."""

    @property
    def ours(self) -> Score:
        return self.scores[IMGOPTD]

    def over_bound(self, score: Score) -> float:
        """Makespan over the lower bound."""
        return (score.makespan_s or 0.0) / max(SIGNIFICANT_S, self.bound_s)

    def finishes(self, score: Score) -> bool:
        """Does everything get done that can be?"""
        return score.unfinished <= self.impossible

    def best_makespan_s(self) -> float | None:
        """Of the others that finish; None: none does."""
        return min((score.makespan_s for score in self._others() if score.makespan_s is not None), default=None)

    def best_fresh_p99_s(self) -> float | None:
        return min((score.fresh_p99_s for score in self._others() if score.fresh_p99_s is not None), default=None)

    def fresh_over_best(self) -> float | None:
        """Of our 99th percentile; None: there is nothing to compare."""
        best_s = self.best_fresh_p99_s()
        ours_s = self.ours.fresh_p99_s if IMGOPTD in self.scores else None
        return ours_s / best_s if best_s and ours_s is not None else None

    def _others(self) -> list[Score]:
        return [score for name, score in self.scores.items() if name != IMGOPTD and self.finishes(score)]

    def as_json(self) -> dict[str, Any]:
        return {
            "bound_s": round(self.bound_s, 6),
            "binds": self.binds,
            "policies": {name: score.as_json() for name, score in self.scores.items()},
        }


def supervised(trace: Trace) -> Score:
    run = SupervisedRun(trace)
    try:
        return run.run()
    except Stalled as error:
        print(f"{trace.name}: imgoptd stalled: {error}", file=sys.stderr)
        return run.score()


def _pooled(name: str, make: Callable[[Trace], Pool]) -> Callable[[Trace], Score]:
    def pooled(trace: Trace) -> Score:
        run = PoolRun(trace, make(trace))
        score = run.run()
        if run.over:
            print(f"{trace.name}: {name} is over: {run.over}", file=sys.stderr)
        return score

    return pooled


def policies() -> dict[str, Callable[[Trace], Score]]:
    """How each is run, by name."""
    return {IMGOPTD: supervised} | {name: _pooled(name, make) for name, make in BASELINES.items()}


def contest(trace: Trace, only: Sequence[str] = ()) -> Contest:
    """Have each policy live through the trace; `only`: some of them. Raises KeyError for a name that is none."""
    known = policies()
    least = bound(trace)
    scores = {name: known[name](trace) for name in (only or known)}
    mixed = len({job.fresh for job in trace.jobs}) > 1
    return Contest(len(trace.jobs), len(trace.impossible()), least.seconds, least.binds, scores, mixed)


def _contest(asked: tuple[Setting, tuple[str, ...]]) -> tuple[Setting, Contest]:
    (name, sigma, seed), only = asked
    return asked[0], contest(traces.make(name, seed, sigma), only)


def contests(
    settings: Iterable[Setting], only: Sequence[str], processes: int, tell: Callable[[Setting, Contest], None]
) -> dict[Setting, Contest]:
    """All of them, in so many processes; `tell` is called as each is done."""
    asked = [(setting, tuple(only)) for setting in settings]
    found = {}
    with ProcessPoolExecutor(processes) as pool:
        for setting, one in pool.map(_contest, asked):
            found[setting] = one
            tell(setting, one)
    return found
