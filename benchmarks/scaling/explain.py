"""What imgoptd decides over time on a trace, and the machine as it was then."""

from __future__ import annotations

from typing import TextIO

from benchmarks.scaling.supervised import READING, Stalled, SupervisedRun
from benchmarks.scaling.trace import Trace

EVERY_S = 1.0
"""Readings are told so often, and when the state changes."""


def run(trace: Trace, out: TextIO) -> None:
    """Write a line for each decision, and at last the figures."""
    last: tuple[float, str] = (trace.start_s - EVERY_S, "")

    def tell(now_s: float, text: str) -> None:
        nonlocal last
        if text.startswith(READING):
            state = text.split(",")[0]
            if state == last[1] and now_s - last[0] < EVERY_S:
                return
            last = now_s, state
        out.write(f"{now_s:10.3f}  {text}\n")

    simulated = SupervisedRun(trace, tell)
    try:
        score = simulated.run()
    except Stalled as error:
        out.write(f"stalled: {error}\n")
        score = simulated.score()
    out.write(f"{score}\n")
