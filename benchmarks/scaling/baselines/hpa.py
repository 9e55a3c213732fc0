"""Kubernetes' Horizontal Pod Autoscaler on CPU utilisation, with the default behaviour of autoscaling/v2.

From "Horizontal Pod Autoscaling" (kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/):

- every 15 s (`--horizontal-pod-autoscaler-sync-period`) desired = ceil(current * metric / target);
- nothing is done while the ratio is within 0.1 of 1 (`--horizontal-pod-autoscaler-tolerance`);
- up: no stabilisation; at most 100 % or 4 pods, whichever is more, within 15 s;
- down: the highest recommendation of the last 300 s; up to 100 % within 15 s.

The target is a utilisation of 80 %, the API's default where no metric is named. A worker is a pod that asks for one
CPU.

In its favour: at most as many as there are CPUs, at least one; a pod's utilisation is measured from its start on
instead of over a window that began before it; none is taken out of the count for being young; a pod that is to go
finishes its job; one that was killed is replaced at once instead of after a back-off.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.scaling.baselines.common import give_in_order, grow, shrink
from benchmarks.scaling.policy import Action, PoolWorkerState, View
from benchmarks.scaling.trace import Trace

SYNC_S = 15.0
TOLERANCE = 0.1
TARGET = 0.8
DOWN_STABILISATION_S = 300.0


@dataclass(frozen=True, slots=True)
class Change:
    """A scaling policy: how much at once, within its period."""

    pods: int = 0
    percent: float = 0.0


UP = (Change(percent=100), Change(pods=4))
DOWN = (Change(percent=100),)


def recommended(current: int, metric: float, target: float, tolerance: float = TOLERANCE) -> int:
    """Pods that would bring the metric to its target."""
    ratio = metric / target
    if abs(ratio - 1) <= tolerance + 1e-9:
        return current
    # A product that is whole but for the last digit of a float is whole.
    return math.ceil(current * ratio - 1e-9)


def most_change(current: int, policies: Sequence[Change]) -> int:
    """Pods that may be added or removed at once: the policy that allows most is chosen."""
    return max(max(one.pods, math.ceil(current * one.percent / 100 - 1e-9)) for one in policies)


class HpaPool:
    def __init__(self, trace: Trace) -> None:
        self._most = trace.changes[0].cpus
        self._replicas = 1
        self._advice: deque[tuple[float, int]] = deque()
        """Recommendations of the last 300 s."""
        self._before: dict[int, float] = {}
        """CPU seconds of each worker at the last look."""
        self._looked_s = trace.start_s
        self.next_wake_s: float | None = trace.start_s

    def wake(self, now_s: float, view: View) -> Iterator[Action]:
        if self.next_wake_s is not None and now_s >= self.next_wake_s:
            self._sync(now_s, view)
            self.next_wake_s += SYNC_S
        yield from grow(self._replicas - len(view.workers))
        yield from give_in_order(view)
        yield from shrink(view, len(view.workers) - self._replicas)

    def _sync(self, now_s: float, view: View) -> None:
        used = self._utilisation(now_s, view)
        if used is None:
            return
        wanted = min(self._most, max(1, recommended(self._replicas, used, TARGET)))
        self._advice.append((now_s, wanted))
        while self._advice[0][0] < now_s - DOWN_STABILISATION_S:
            self._advice.popleft()
        if wanted > self._replicas:
            self._replicas = min(wanted, self._replicas + most_change(self._replicas, UP))
        else:
            highest = max(number for _, number in self._advice)
            wanted = min(self._replicas, highest)
            self._replicas = max(wanted, self._replicas - most_change(self._replicas, DOWN))

    def _utilisation(self, now_s: float, view: View) -> float | None:
        """Mean of the running pods since the last look; None where none has run for any time."""
        shares = []
        for worker in view.workers.values():
            since_s = now_s - max(self._looked_s, worker.born_s)
            if worker.state is not PoolWorkerState.STARTING and since_s > 0:
                shares.append((view.cpu_s(worker.id) - self._before.get(worker.id, 0.0)) / since_s)
        self._before = {worker: view.cpu_s(worker) for worker in view.workers}
        self._looked_s = now_s
        return sum(shares) / len(shares) if shares else None
