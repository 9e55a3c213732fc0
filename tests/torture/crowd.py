"""Many writers at once in one thread: each a generator that yields how many seconds it sleeps."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Generator

Actor = Generator[float, None, None]
LONGEST_NAP_S = 0.05


def crowd(hire: Callable[[], Actor | None], size: int, every: Callable[[], None] | None = None) -> None:
    """Keep `size` actors at work until `hire` gives none; returns when the last has ended.

    `every` is called now and then between them. What an actor raises ends them all.
    """
    order = itertools.count()
    due: list[tuple[float, int, Actor]] = []
    hiring = True
    while due or hiring:
        while hiring and len(due) < size:
            actor = hire()
            hiring = actor is not None
            if actor is not None:
                heapq.heappush(due, (time.monotonic(), next(order), actor))
        if due and (wait_s := due[0][0] - time.monotonic()) <= 0:
            _, _, actor = heapq.heappop(due)
            nap_s = next(actor, None)
            if nap_s is not None:
                heapq.heappush(due, (time.monotonic() + nap_s, next(order), actor))
        elif due:
            time.sleep(min(wait_s, LONGEST_NAP_S))
        if every is not None:
            every()
