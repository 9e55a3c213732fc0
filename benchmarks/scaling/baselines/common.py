"""What all of them do alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from benchmarks.scaling.policy import Action, Give, PoolWorker, PoolWorkerState, StartWorker, StopWorker, View


def idle(view: View) -> list[PoolWorker]:
    """Workers that wait for a job, oldest first."""
    return [worker for worker in view.workers.values() if worker.state is PoolWorkerState.IDLE]


def busy(view: View) -> int:
    """Workers with a job."""
    return sum(1 for worker in view.workers.values() if worker.state is PoolWorkerState.BUSY)


def give_in_order(view: View) -> list[Action]:
    """Who idles gets what came first."""
    return [Give(worker.id, job) for worker, job in zip(idle(view), view.queue, strict=False)]


def grow(workers: int) -> Iterator[Action]:
    for _ in range(workers):
        yield StartWorker()


def shrink(view: View, workers: int) -> Iterable[Action]:
    """End as many, the youngest first, but none that works."""
    return [StopWorker(worker.id) for worker in idle(view)[::-1][: max(0, workers)]]
