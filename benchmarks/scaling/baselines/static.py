"""A pool of one worker a CPU, for good: `multiprocessing.Pool()`, `xargs -P $(nproc)`, a unit with N processes.

A worker that dies is replaced at once, as multiprocessing's pool does (`Pool._maintain_pool`).
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.scaling.baselines.common import give_in_order, grow
from benchmarks.scaling.policy import Action, View
from benchmarks.scaling.trace import Trace


class StaticPool:
    def __init__(self, trace: Trace) -> None:
        self._size = trace.changes[0].cpus
        self.next_wake_s: float | None = trace.start_s
        """It stands ready before the first job comes."""

    def wake(self, now_s: float, view: View) -> Iterator[Action]:
        self.next_wake_s = None
        yield from grow(self._size - len(view.workers))
        yield from give_in_order(view)
