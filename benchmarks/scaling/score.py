"""What became of the jobs of a simulation, in the figures that policies are compared by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.scaling.accounts import Totals
from benchmarks.scaling.trace import Trace, TraceJob


@dataclass(frozen=True, slots=True)
class Score:
    makespan_s: float | None
    """From the first job's arrival to the last end of a job; None: no job ended well."""
    unfinished: int
    oom_kills: int
    fresh_p99_s: float | None
    """Of fresh jobs that were finished, from arrival to end; None: there were none."""
    waste_ratio: float
    """CPU seconds thrown away, as a share of those of all jobs."""
    starts: int
    """Of workers."""
    above_90_s: float

    def as_json(self) -> dict[str, float | int | None]:
        rounded = (
            (name, round(value, 6) if isinstance(value, float) else value) for name, value in asdict(self).items()
        )
        return dict(rounded)


@dataclass(slots=True)
class Ledger:
    """When each job was finished."""

    trace: Trace
    finished_s: dict[str, float] = field(default_factory=dict)

    def finish(self, job: TraceJob, now_s: float) -> None:
        self.finished_s[job.id] = now_s

    def score(self, totals: Totals) -> Score:
        jobs, finished_s = self.trace.jobs, self.finished_s
        waits = [finished_s[job.id] - job.at_s for job in jobs if job.fresh and job.id in finished_s]
        return Score(
            makespan_s=max(finished_s.values()) - self.trace.first_job_s if finished_s else None,
            unfinished=len(jobs) - len(finished_s),
            oom_kills=totals.oom_kills,
            fresh_p99_s=percentile(waits, 0.99) if waits else None,
            waste_ratio=totals.lost_cpu_s / self.trace.cpu_s if jobs else 0.0,
            starts=totals.starts,
            above_90_s=totals.above_90_s,
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The least of the values that so large a share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
