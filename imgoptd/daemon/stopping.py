"""Being told to stop: once means finish what runs, twice means at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from imgoptd.adapters import notify
from imgoptd.adapters.journald import Log
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.daemon.loop import Loop


class Stopping:
    def __init__(self, turns: Loop, engine: Engine, log: Log, timeout_s: Callable[[], float]) -> None:
        """`timeout_s`: the `stop_timeout` in force."""
        self._turns = turns
        self._engine = engine
        self._log = log
        self._timeout_s = timeout_s
        self.asked = 0
        """How often it was asked for."""

    def at_rest(self) -> None:
        """A run of its own has nothing left to do."""
        self.asked = 1
        self._turns.post(e.DrainRequested())

    def asked_for(self) -> None:
        """The first time: drain. The second: at once; what was running is done again at the next start."""
        self.asked += 1
        if self.asked > 1:
            text = "stopping at once: what was running is done again at the next start"
            self._log.say("drain", text, 4, JOBS=self._engine.fleet.running_jobs())
            self._turns.stop()
            return
        notify.stopping("finishing what runs")
        self._turns.post(e.DrainRequested())
        asyncio.get_running_loop().call_later(self._timeout_s() * 0.9, self._give_up)

    def _give_up(self) -> None:
        text = (
            f"stop_timeout ({self._timeout_s():.0f} s) is nearly over: what still runs is done again at the next start"
        )
        self._log.say("drain", text, 4, JOBS=self._engine.fleet.running_jobs())
        self._turns.stop()
