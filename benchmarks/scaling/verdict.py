"""What a supervisor must reach, judged over many contests: a row for each demand, with the contest that was worst."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.scaling.contest import Contest, Setting

Figure = Callable[[Contest], float | None]
"""Of a contest; None: it says nothing of that."""


@dataclass(frozen=True, slots=True)
class Demand:
    text: str
    most: float
    figure: Figure
    average: bool = False
    """The average over all contests is judged, not the worst of them."""


@dataclass(frozen=True, slots=True)
class Row:
    demand: Demand
    contests: int
    """That say something of it."""
    value: float
    mean: float
    worst: Setting
    failing: int
    """Contests whose own figure is beyond the limit."""

    @property
    def met(self) -> bool:
        return self.value <= self.demand.most + 1e-9


def _over_bound(binds: str) -> Figure:
    return lambda one: one.over_bound(one.ours) if one.binds == binds else None


def _over_best(one: Contest) -> float | None:
    best_s = one.best_makespan_s()
    return (one.ours.makespan_s or 0.0) / best_s if best_s else None


def _over_best_by_memory(one: Contest) -> float | None:
    return _over_best(one) if one.binds == "memory" else None


def _fresh_over_best(*, mixed: bool) -> Figure:
    return lambda one: one.fresh_over_best() if one.mixed is mixed else None


DEMANDS = (
    Demand("OOM kills", 0, lambda one: one.ours.oom_kills),
    Demand("jobs unfinished that can be done", 0, lambda one: max(0, one.ours.unfinished - one.impossible)),
    Demand("makespan / bound where CPU binds", 1.15, _over_bound("cpu")),
    Demand("makespan / bound where memory binds", 1.5, _over_bound("memory")),
    Demand("makespan / best baseline that finishes", 1.02, _over_best),
    Demand("the same on average where memory binds", 0.8, _over_best_by_memory, average=True),
    Demand("p99 of fresh drops amid bulk / best baseline", 0.75, _fresh_over_best(mixed=True)),
    Demand("the same where all are fresh drops", 1.02, _fresh_over_best(mixed=False)),
    Demand("CPU time thrown away", 0.01, lambda one: one.ours.waste_ratio),
    Demand("worker starts per 1,000 jobs", 50, lambda one: 1000 * one.ours.starts / max(1, one.jobs)),
    Demand("seconds above 90 % of memory without a neighbour", 0, lambda one: one.ours.above_90_s),
)


def judge(contests: Mapping[Setting, Contest]) -> list[Row]:
    """Of demands that some contest says something of."""
    rows = []
    for demand in DEMANDS:
        figures = {setting: figure for setting, one in contests.items() if (figure := demand.figure(one)) is not None}
        if not figures:
            continue
        worst = max(figures, key=lambda setting: figures[setting])
        mean = statistics.fmean(figures.values())
        value = mean if demand.average else figures[worst]
        failing = sum(figure > demand.most + 1e-9 for figure in figures.values())
        rows.append(Row(demand, len(figures), value, mean, worst, failing))
    return rows


def by_trace(contests: Mapping[Setting, Contest]) -> dict[tuple[str, float], list[Contest]]:
    """All seeds of a trace and sigma together, in the order of the contests."""
    found: dict[tuple[str, float], list[Contest]] = {}
    for setting, one in contests.items():
        found.setdefault((setting.name, setting.sigma), []).append(one)
    return found


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are there."""
    there = [value for value in values if value is not None]
    return statistics.fmean(there) if there else None
