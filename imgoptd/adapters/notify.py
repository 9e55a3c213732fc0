"""Messages to the service manager (sd_notify). Without systemd each is a no-op that returns False."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from systemd import daemon

from imgoptd.core.text import one_line


def ready(status: str = "") -> bool:
    """The daemon watches its folders and answers its socket. Also ends a reload."""
    return _notify("READY=1", *_status(status))


def reloading() -> bool:
    """A reload begins; `ready` must follow. Units of Type=notify-reload need the time beside it (sd_notify(3))."""
    return _notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")


def status(text: str) -> bool:
    """The line that `systemctl status` shows."""
    return _notify(*_status(text))


def stopping(status: str = "") -> bool:
    """The daemon drains and then ends."""
    return _notify("STOPPING=1", *_status(status))


def extend_timeout(seconds: float) -> bool:
    """The start (or stop) goes on and may take that much longer from now on."""
    return _notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")


def watchdog() -> bool:
    """Sign of life. To be sent only after a full healthy turn."""
    return _notify("WATCHDOG=1")


def watchdog_interval_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """How often `watchdog` is due: half of what the unit's WatchdogSec allows; None when nobody waits for it."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        allowed_us = int(environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return allowed_us / 2e6 if allowed_us > 0 else None


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={one_line(text)}",) if text else ()


def _notify(*lines: str) -> bool:
    if not os.environ.get("NOTIFY_SOCKET") or not lines:
        return False
    try:
        return bool(daemon.notify("\n".join(lines)))
    except OSError:  # the manager's socket went away or its queue is full: not worth the daemon's life
        return False
