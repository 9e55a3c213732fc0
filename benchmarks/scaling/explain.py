"""What imgoptd decides over time on a trace, the machine as it was then, and at last where the memory went."""

from __future__ import annotations

from typing import TextIO

from benchmarks.scaling.supervised import READING, Stalled, SupervisedRun
from benchmarks.scaling.trace import IDLE_BYTES, Trace
from imgoptd.core.engine import Engine

EVERY_S = 1.0
"""Readings are told so often, and when the state changes."""


class Shares:
    """Of the limit, on average over the time in which jobs ran, as the engine's readings have it."""

    def __init__(self) -> None:
        self._span_s = 0.0
        self._sums = {"used": 0.0, "booked": 0.0, "held by jobs": 0.0}
        self._last: tuple[float, tuple[float, ...]] | None = None

    def take(self, now_s: float, engine: Engine) -> None:
        """It is so from now on, until it is taken in again."""
        if self._last is not None:
            then_s, shares = self._last
            self._span_s += now_s - then_s
            for name, share in zip(self._sums, shares, strict=True):
                self._sums[name] += (now_s - then_s) * share
        self._last = None
        sensed, fleet = engine.dispatcher.conditions.sensed, engine.fleet
        if sensed.available_bytes is not None and sensed.limit_bytes and fleet.running_jobs():
            held = sum(one.rss_bytes - IDLE_BYTES for one in sensed.workers)
            amounts = (sensed.limit_bytes - sensed.available_bytes, fleet.reserved_bytes(), held)
            self._last = now_s, tuple(amount / sensed.limit_bytes for amount in amounts)

    def __str__(self) -> str:
        told = (f"{name} {total / self._span_s:.1%}" for name, total in self._sums.items() if self._span_s)
        return f"memory while jobs ran: {', '.join(told) or 'none did'}"


def run(trace: Trace, out: TextIO) -> None:
    """Write a line for each decision, and at last the figures."""
    last: tuple[float, str] = (trace.start_s - EVERY_S, "")
    shares = Shares()

    def tell(now_s: float, text: str) -> None:
        nonlocal last
        if text.startswith(READING):
            shares.take(now_s, simulated.engine)
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
    out.write(f"{shares}\n{score}\n")
