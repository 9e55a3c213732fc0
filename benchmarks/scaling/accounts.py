"""What adds up on the simulated machine, and how it does where all is linear."""

from __future__ import annotations

from dataclasses import dataclass

PRESSED_AT = 0.97
FULL_AT = 0.9
"""Use above this share of the memory is counted in `above_90_s`."""


@dataclass(slots=True)
class Totals:
    """What adds up over a simulation."""

    cpu_s: float = 0.0
    """That our workers took."""
    lost_cpu_s: float = 0.0
    """Of that, for attempts that came to nothing."""
    others_cpu_s: float = 0.0
    stalled_s: float = 0.0
    """As `total=` of /proc/pressure/memory, `some`."""
    above_90_s: float = 0.0
    """With use above FULL_AT, no neighbour that holds memory, and no change of the machine under way."""
    starts: int = 0
    oom_kills: int = 0


def time_above(above: float, rate: float, span_s: float) -> float:
    """For how long of the span something is above 0 that starts at `above` and changes by `rate` a second."""
    end = above + rate * span_s
    if above <= 0 and end <= 0:
        return 0.0
    if above > 0 and end > 0:
        return span_s
    return span_s * max(above, end) / abs(end - above)


def stalled_s(use: float, limit: float, use_rate: float, limit_rate: float, span_s: float) -> float:
    """How long, of the span, some task waited for memory."""
    above, rate = use - PRESSED_AT * limit, use_rate - PRESSED_AT * limit_rate
    above_s = time_above(above, rate, span_s)
    if not above_s:
        return 0.0
    ends = max(above, 0.0), max(above + rate * span_s, 0.0)
    width = (1 - PRESSED_AT) * (limit + limit_rate * span_s / 2)
    return min(1.0, sum(ends) / 2 / width) * above_s
