"""What jobs taught: when it is saved, and how it is told."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.estimate import Estimate, Estimator
from imgoptd.core.job import Job
from imgoptd.core.model import Effort, FailureKind, Outcome, Verdict
from imgoptd.core.text import show_bytes
from imgoptd.core.turn import Turn

SAVE_S = 60.0
"""What was learned is saved that often at most, and at the end. A crash costs the lessons of a minute."""


class Notebook:
    """Keeps what the estimator learned for the next run."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self._codecs = ""
        self._saved = estimator.lessons_learned
        self._due_s: float | None = None

    def restore(self, event: e.Learned) -> None:
        """Begin with what was learned in earlier runs."""
        self._codecs = event.codecs
        self._estimator.restore(event.lessons)

    def save(self, turn: Turn, *, ending: bool) -> None:
        """Save what is new, if it is time. `ending`: nothing runs any more, and nothing will be started."""
        if self._estimator.lessons_learned == self._saved:
            return
        if self._due_s is None:
            self._due_s = turn.now_s + SAVE_S
        if ending or turn.now_s >= self._due_s:
            turn.record(c.SaveLearned(self._codecs, self._estimator.lessons()))
            self._saved, self._due_s = self._estimator.lessons_learned, None

    def next_deadline_s(self) -> float | None:
        """When what is new is to be saved; None while nothing is."""
        return self._due_s


def learn(estimator: Estimator, job: Job, outcome: Outcome, idle_rss_bytes: int | None) -> None:
    """A worker is through with the job: what it took is told in its story, and learned from."""
    job.took = show_effort(outcome.effort, idle_rss_bytes)
    if job.record.facts is None:
        return
    if outcome.verdict is not Verdict.FAILED:
        estimator.learn(job.record, outcome.effort, idle_rss_bytes)
        peak_bytes = outcome.effort.peak_bytes
        if job.growth is not None and peak_bytes and idle_rss_bytes is not None:
            estimator.learn_growth(job.record, job.growth.rested_bytes, peak_bytes - idle_rss_bytes)
    elif outcome.failure is not None and outcome.failure.kind is FailureKind.EXHAUSTED:
        estimator.learn_short(job.record, job.reserved_bytes)


def show_estimate(estimate: Estimate) -> str:
    """As the story of a file tells it: `needs about 120 MiB and 2.1 CPU s (learned from 64 jobs)`."""
    jobs = estimate.learned_from
    source = f"learned from {jobs} job{'s' if jobs > 1 else ''}" if jobs else "by the table, nothing was learned yet"
    return f"needs about {show_bytes(estimate.likely_bytes)} and {_seconds(estimate.cpu_s)} CPU s ({source})"


def show_effort(effort: Effort, idle_rss_bytes: int | None) -> str:
    """Likewise what it took; empty where nothing is known."""
    above = effort.peak_bytes - idle_rss_bytes if effort.peak_bytes and idle_rss_bytes is not None else 0
    parts = [show_bytes(above)] if above > 0 else []
    parts += [f"{_seconds(effort.cpu_s)} CPU s"] if effort.cpu_s > 0 else []
    return f"took {' and '.join(parts)}" if parts else ""


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.2g}"
