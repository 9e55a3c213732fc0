"""When the sensors are read: with the work, and at once when something says that the machine runs short."""

from __future__ import annotations

SENSE_S = 0.25
"""How often the sensors are read while there is work."""
SENSE_SHORT_S, SENSE_SHORT_PER_WORKER_S = 0.05, 0.003
"""The same while a job waits for memory: what those that run give back is seen then. A reading takes 0.1 to 0.35 ms
of a CPU with 16 workers, and more with more."""
SENSE_HELD_S = 5.0
"""The same while jobs are held and nothing else is to do."""
SENSE_ALERT_S = 0.1
"""The same for ALERT_S after an alert, or a reading by which memory is short or falls fast."""
ALERT_S = 5.0
SENSE_LEAST_S = 0.05
"""Alerts come in swarms: a reading is made this long after the last one at the earliest."""


class Sensing:
    def __init__(self) -> None:
        self.sensed_s: float | None = None
        """When a reading was last asked for."""
        self._alert_s: float | None = None
        self._look_now = False

    def alerted(self, now_s: float) -> None:
        """Something waits for memory: look now, and look often for a while."""
        self._alert_s = now_s
        self._look_now = True

    def uneasy(self, now_s: float) -> None:
        """By the last reading memory is short, or falls fast: look often for a while."""
        self._alert_s = now_s

    def sensing(self, now_s: float) -> None:
        """A reading is asked for."""
        self.sensed_s = now_s
        self._look_now = False

    def next_s(self, *, work: bool, held: bool, short_of_memory: bool = False, workers: int = 0) -> float | None:
        """When the sensors are to be read next; None while there is nothing to decide by them.

        `work`: jobs wait or run. `held`: jobs wait for a limit to be raised. `short_of_memory`: a job waits for others
        to give memory back.
        """
        if self.sensed_s is None:
            return float("-inf")
        if work:
            every_s = self._every_s(self.sensed_s)
            if short_of_memory:
                every_s = min(every_s, max(SENSE_SHORT_S, SENSE_SHORT_PER_WORKER_S * workers))
            return self.sensed_s + every_s
        # Jobs held for want of memory get their chance when a limit is raised.
        return self.sensed_s + SENSE_HELD_S if held else None

    def _every_s(self, sensed_s: float) -> float:
        if self._look_now:
            return SENSE_LEAST_S
        alert = self._alert_s is not None and sensed_s < self._alert_s + ALERT_S
        return SENSE_ALERT_S if alert else SENSE_S
