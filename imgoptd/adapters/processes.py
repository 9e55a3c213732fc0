"""Other processes: how much they hold, and their end."""

from __future__ import annotations

import os
import resource
import signal


def kill(pidfd: int) -> None:
    """End the process behind a pidfd at once; nothing where it has ended already."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended already


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process by /proc/PID/statm (proc(5)); None where it cannot be read."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None


def data_bytes(pid: int) -> int | None:
    """Private writable memory that a process has mapped, which RLIMIT_DATA counts; None where it cannot be read."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(b"VmData:"))
    except (OSError, ValueError, StopIteration):  # a zombie has no such line
        return None


def template_environment() -> dict[str, str]:
    """The environment for the template and its workers."""
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "VIPS_BLOCK_UNTRUSTED": "1"}
    # What systemd gave us is for us alone: a worker must not speak in our name.
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "MEMORY_PRESSURE_WATCH"):
        environment.pop(name, None)
    return environment
