"""Signs of life: what systemd is told after each healthy turn."""

from __future__ import annotations

import time
from collections.abc import Callable

from imgoptd.adapters import notify

STATUS_S = 5.0
"""How often the line for `systemctl status` is sent anew, at most."""


class Signs:
    def __init__(self, summary: Callable[[], str]) -> None:
        """`summary`: the state of the daemon on one line."""
        self._summary = summary
        self.every_s = notify.watchdog_interval_s()
        """How often systemd wants to hear from us; None: it does not."""
        self._pinged_s = self._told_s = 0.0

    def turned(self) -> None:
        """A full healthy turn lies behind us."""
        now_s = time.monotonic()
        if self.every_s is not None and now_s - self._pinged_s >= self.every_s / 2:
            self._pinged_s = now_s
            notify.watchdog()
        if now_s - self._told_s >= STATUS_S:
            self._told_s = now_s
            notify.status(self._summary())
