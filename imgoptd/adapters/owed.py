"""Answers that are owed to us, and how long one may be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

ANSWER_S = 20.0
"""Who is silent for so long hangs: an answer takes a millisecond, and a few seconds on a machine that thrashes."""
GRACE_S = 2.0
"""Where all processes were stopped together, as when a container is frozen, the answer comes when they go on."""


class Owed:
    """Runs in the event loop."""

    def __init__(self, on_overdue: Callable[[], None]) -> None:
        """`on_overdue` is called for each answer that did not come in time, which is not owed any more then."""
        self._on_overdue = on_overdue
        self._timers: dict[int, asyncio.TimerHandle] = {}

    def add(self, worker: int) -> None:
        """Something about this worker has to be told from now on."""
        if worker not in self._timers:
            self._wait(worker, ANSWER_S, self._late)

    def drop(self, worker: int) -> None:
        """It was told, or nobody wants to know any more."""
        timer = self._timers.pop(worker, None)
        if timer is not None:
            timer.cancel()

    def clear(self) -> None:
        for worker in list(self._timers):
            self.drop(worker)

    def _wait(self, worker: int, for_s: float, then: Callable[[int], None]) -> None:
        self._timers[worker] = asyncio.get_running_loop().call_later(for_s, then, worker)

    def _late(self, worker: int) -> None:
        self._wait(worker, GRACE_S, self._overdue)

    def _overdue(self, worker: int) -> None:
        self.drop(worker)
        self._on_overdue()
