"""Room for a large job that waits for memory: what may run beside it without making it wait any longer.

A job that is passed by smaller ones could wait for ever, and room that is kept by letting nothing start leaves the CPUs
idle. So, when its turn has come, only that passes it which will be gone before enough is free for it, or which fits
beside it (backfilling with one reservation, as batch schedulers of clusters have it: Lifka, "The ANL/IBM SP scheduling
system", 1995).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Running(NamedTuple):
    ends_in_s: float
    """As predicted."""
    bytes: int
    """What is free for others then."""


class Gap(NamedTuple):
    """What others may have until the one that waits can start, and beside it."""

    opens_in_s: float
    """When enough is free for it, as predicted."""
    beside_bytes: int
    """What will be left over then."""

    def admits(self, need_bytes: int, cpu_s: float) -> bool:
        """May a job that fits now start, without the other having to wait for it?"""
        return need_bytes <= self.beside_bytes or cpu_s <= self.opens_in_s


def gap_for(need_bytes: int, free_bytes: int, running: Iterable[Running]) -> Gap:
    """When a job of this need can start, if nothing else does. With nothing running any more it starts in any case."""
    opens_in_s = 0.0
    for one in sorted(running):
        if free_bytes >= need_bytes:
            break
        free_bytes += one.bytes
        opens_in_s = max(0.0, one.ends_in_s)
    return Gap(opens_in_s, max(0, free_bytes - need_bytes))
