"""Reads the sensors, and waits beside the turns for memory to run short: then the engine need not wait for a reading.

Two ways to hear of it: the triggers that the kernel grants, and a look at the pressure files' own count of
microseconds, which costs few of them. The second is there because without CAP_SYS_RESOURCE the kernel tells of two
seconds at their end.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from imgoptd.adapters import triggers
from imgoptd.adapters.cgroup import Groups
from imgoptd.adapters.pool import Pool
from imgoptd.adapters.sensors import Sensors
from imgoptd.core.events import Alerted, Event

PULSE_S = 0.1
"""How often the count is looked at while the engine reads the sensors, and so has something to decide."""
RISE = 0.05
"""Share of that time in which somebody waited for memory: so much is worth a reading."""
AFTER_S = 1.0
"""The count is looked at for so long after a reading: longer than readings lie apart while there is work."""
MUTED_S = 0.1
"""A trigger that told something is not listened to for so long: groups of version 1 tell it 500 times a second."""


class Vigil:
    """All calls come from the event loop."""

    def __init__(self, post: Callable[[Event], None], sensors: Sensors, pool: Pool) -> None:
        self._post = post
        self._sensors = sensors
        self._pool = pool
        self._groups: Groups | None = None
        self._armed: list[triggers.Trigger] = []
        self._timers: set[asyncio.TimerHandle] = set()
        self._pulse: asyncio.TimerHandle | None = None
        self._sensed_s = 0.0
        self._open = True
        self.refused: list[str] = []
        """Which triggers cannot be armed here, and why."""

    @property
    def senses(self) -> list[str]:
        """What would tell by itself now that memory runs short."""
        return [trigger.name for trigger in self._armed]

    def sense(self) -> None:
        """Post a reading, listen on the groups that we are in, and count for a while."""
        if not self._open:
            return
        template = self._pool.template_pid
        self._post(self._sensors.read(self._pool.pids(), [template] if template else []))
        if self._sensors.groups is not self._groups:
            self._groups = self._sensors.groups
            self._arm(self._groups)
        self._sensed_s = time.monotonic()
        if self._pulse is None and not triggers.switched_off(os.environ):
            self._next_pulse()

    def close(self) -> None:
        self._open = False
        self._disarm()
        if self._pulse is not None:
            self._pulse.cancel()

    # ---- triggers ---------------------------------------------------------------------------------------------------

    def _arm(self, groups: Groups) -> None:
        self._disarm()
        self._armed, self.refused = triggers.arm(groups, os.environ)
        for trigger in self._armed:
            self._listen(trigger)

    def _disarm(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        for trigger in list(self._armed):
            self._drop(trigger)

    def _listen(self, trigger: triggers.Trigger) -> None:
        asyncio.get_running_loop().add_reader(trigger.fd, self._told, trigger)

    def _told(self, trigger: triggers.Trigger) -> None:
        loop = asyncio.get_running_loop()
        if not trigger.take():
            self._drop(trigger)
            return
        loop.remove_reader(trigger.fd)
        self._post(Alerted(trigger.name))

        def listen_again() -> None:
            self._timers.discard(timer)
            self._listen(trigger)

        timer = loop.call_later(MUTED_S, listen_again)
        self._timers.add(timer)

    def _drop(self, trigger: triggers.Trigger) -> None:
        self._armed.remove(trigger)
        asyncio.get_running_loop().remove_reader(trigger.fd)
        trigger.close()

    # ---- the count --------------------------------------------------------------------------------------------------

    def _next_pulse(self) -> None:
        self._pulse = asyncio.get_running_loop().call_later(PULSE_S, self._count)

    def _count(self) -> None:
        self._pulse = None
        rise = self._sensors.pressure_rises()
        if rise is not None and rise >= RISE:
            self._post(Alerted("pressure"))
        if time.monotonic() - self._sensed_s < AFTER_S:
            self._next_pulse()
