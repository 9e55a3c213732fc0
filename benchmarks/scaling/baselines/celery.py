"""Celery's autoscaler: `celery worker --autoscale=MAX,MIN`, as of Celery 5.

From the workers guide, "Autoscaling": with `--autoscale=10,3` there are always 3 processes, and up to 10 if necessary.
From `celery/worker/autoscale.py` (`Autoscaler._maybe_scale`, `scale_up`, `scale_down`): with more tasks reserved than
processes it grows at once to as many as are reserved, at most MAX; with fewer it shrinks to as many, at least MIN, if
for AUTOSCALE_KEEPALIVE (30 s) neither a task was received nor a process added. Reserved is what the broker has handed
over, running tasks included: at most `worker_prefetch_multiplier` (4) times MAX (`celery/worker/components.py`). It
looks whenever a task is received. Processes that work are not ended, and lost ones are replaced (`pool.maintain_pool`).

In its favour: MAX is the number of CPUs, which is Celery's own default for a pool; MIN is 1, so that one always waits;
it also looks once a second, as its thread does where there is no event loop, and not only every keepalive.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.scaling.baselines.common import busy, give_in_order, grow, shrink
from benchmarks.scaling.policy import Action, View
from benchmarks.scaling.trace import Trace

KEEPALIVE_S = 30.0
PREFETCH_MULTIPLIER = 4
INTERVAL_S = 1.0


def change(reserved: int, processes: int, most: int, least: int) -> int:
    """How many processes to add, or to end if negative (which waits for the keepalive)."""
    if (wanted := min(reserved, most)) > processes:
        return wanted - processes
    if (wanted := max(reserved, least)) < processes:
        return wanted - processes
    return 0


class CeleryPool:
    def __init__(self, trace: Trace, *, most: int | None = None, least: int = 1) -> None:
        self._most = most or trace.changes[0].cpus
        self._least = least
        self._active_s = float("-inf")
        """When a task was received or a process added."""
        self._before = (0, 0)
        self.next_wake_s: float | None = trace.start_s

    def wake(self, now_s: float, view: View) -> Iterator[Action]:
        unfinished = len(view.queue) + busy(view)
        held_back = max(0, unfinished - self._most * PREFETCH_MULTIPLIER)
        arrived = unfinished > self._before[0] or held_back < self._before[1]
        self._before = (unfinished, held_back)
        if arrived:
            self._active_s = now_s
        missing = self._least - len(view.workers)  # at the start, and after a kill
        yield from grow(missing)
        wanted = change(unfinished - held_back, len(view.workers), self._most, self._least)
        if wanted > 0:
            self._active_s = now_s
            yield from grow(wanted)
        yield from give_in_order(view)
        if wanted < 0 and now_s - self._active_s > KEEPALIVE_S:
            yield from shrink(view, -wanted)
        # Nothing to end, nothing to wait for: the next task wakes it.
        self.next_wake_s = now_s + INTERVAL_S if len(view.workers) > self._least else None
