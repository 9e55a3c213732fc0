"""What jobs taught: when it is saved, and how it is told."""

from __future__ import annotations

from dataclasses import replace

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.estimate import Estimate, Estimator
from imgoptd.core.job import Job
from imgoptd.core.model import Effort, FailureKind, Outcome, Verdict
from imgoptd.core.text import show_bytes
from imgoptd.core.turn import Turn

SAVE_S = 60.0
"""What was learned is saved that often at most, and at the end. A crash costs the lessons of a minute."""


SEEN_CPU_S = 1.0
"""From so many CPU seconds on the kernel's word counts where a worker says less: one that was taken over could seem
cheap, and get more than its share for its domain. What was seen of shorter jobs may have been the next one's."""


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
    effort = _believed(outcome.effort, job)
    job.took = show_effort(effort, idle_rss_bytes)
    if job.record.facts is None:
        return
    if outcome.verdict is not Verdict.FAILED:
        estimator.learn(job.record, effort, idle_rss_bytes)
        peak_bytes = effort.peak_bytes
        if job.growth is not None and peak_bytes and idle_rss_bytes is not None:
            estimator.learn_growth(job.record, job.growth.rested_bytes, peak_bytes - idle_rss_bytes)
    elif outcome.failure is not None and outcome.failure.kind is FailureKind.EXHAUSTED:
        estimator.learn_short(job.record, job.reserved_bytes)


def _believed(effort: Effort, job: Job) -> Effort:
    """What the worker says, but for less CPU time than the kernel has seen it take."""
    seen_s = job.growth.cpu_s if job.growth is not None else 0.0
    return replace(effort, cpu_s=seen_s) if seen_s >= max(SEEN_CPU_S, effort.cpu_s) else effort


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
