"""What an operator asks of the whole daemon until its next start: another range of workers, a pause.

Neither is durable: a start begins as the configuration says. A reload changes what was configured, and leaves alone
what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from imgoptd.core import events as e
from imgoptd.core.conditions import Conditions
from imgoptd.core.fleet import Fleet
from imgoptd.core.scaling import Inputs, Reason
from imgoptd.core.turn import Turn


class Range(NamedTuple):
    """How many workers there may be."""

    least: int
    most: int

    def __str__(self) -> str:
        return f"{self.least} to {self.most}"

    def nearest(self, workers: int) -> int:
        """So many of them, if they may be so many."""
        return max(self.least, min(self.most, workers))


class Steering:
    """Keeps the limits in `Conditions` as the last of configuration and operator wants them."""

    def __init__(self, conditions: Conditions, fleet: Fleet, inputs: Callable[[], Inputs]) -> None:
        """`inputs`: all that a decision on the number of workers would rest on now."""
        self._conditions = conditions
        self._inputs = inputs
        self._fleet = fleet
        self.configured = Range(conditions.workers_min, conditions.workers_max)
        self._least: int | None = None
        self._most: int | None = None

    @property
    def in_force(self) -> Range:
        return Range(self._conditions.workers_min, self._conditions.workers_max)

    def with_(self, least: int | None, most: int | None) -> Range:
        """The range as it would be if this was asked for too. None: as it is. What does not fit is seen in it."""
        least = self._least if least is None else least
        most = self._most if most is None else most
        return Range(self.configured.least if least is None else least, self.configured.most if most is None else most)

    # ---- events -----------------------------------------------------------------------------------------------------

    def configure(self, least: int, most: int) -> None:
        """The configuration says so now."""
        self.configured = Range(least, most)
        self._apply()

    def scale_asked(self, turn: Turn, event: e.ScaleAsked) -> None:
        """Take over what was asked for. A range that is none was refused before it came here."""
        before = self.in_force
        if event.workers_min is not None:
            self._least = event.workers_min
        if event.workers_max is not None:
            self._most = event.workers_max
        self._apply()
        text = f"{self.in_force} workers by command, until the next start (before: {before}, configured: "
        self._tell(turn, f"{text}{self.configured}); `imgoptctl scale --auto` gives the range back")

    def scale_returned(self, turn: Turn, event: e.ScaleReturned) -> None:
        before = self.in_force
        self._least = self._most = None
        self._apply()
        self._tell(turn, f"{self.in_force} workers by command, as configured (before: {before})")

    def pause_asked(self, turn: Turn, event: e.PauseAsked) -> None:
        if self._conditions.paused:
            return
        self._conditions.paused = True
        running = self._fleet.running_jobs()
        those = "; none runs" if not running else ", the one that runs is finished"
        those = those if running < 2 else f", the {running} that run are finished"
        self._tell(turn, f"paused by command: no job is given out{those}; `imgoptctl resume` goes on")

    def resume_asked(self, turn: Turn, event: e.ResumeAsked) -> None:
        if not self._conditions.paused:
            return
        self._conditions.paused = False
        self._tell(turn, "resumed by command: jobs are given out again")

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _apply(self) -> None:
        """Where a reload left an asked least above the configured most, the most counts: it is a promise."""
        least, most = self.with_(None, None)
        self._conditions.workers_min, self._conditions.workers_max = min(least, most), most
        self._conditions.overridden = self._least is not None or self._most is not None

    def _tell(self, turn: Turn, text: str) -> None:
        inputs = self._inputs()
        after = self.in_force.nearest(inputs.workers)
        fields: dict[str, object] = {"FROM": inputs.workers, "TO": after, "REASON": Reason.COMMAND}
        turn.announce("scale", text, 5, **fields, **dict(inputs.as_fields()))
