"""The bound of a worker's memory, set from outside: a soft RLIMIT_DATA by prlimit(2).

For a process of another user that takes CAP_SYS_RESOURCE, which containers withhold; one of our own user needs none.
"""

from __future__ import annotations

import os
import resource
import signal

CAP_SYS_RESOURCE = 24
"""Of linux/capability.h."""


def may_bound_workers() -> bool:
    """May this process bound its workers, which become another user if it is root? Without /proc: it may not."""
    if os.geteuid() != 0:
        return True
    try:
        with open("/proc/self/status", "rb") as status:
            effective = next(int(line.split()[1], 16) for line in status if line.startswith(b"CapEff:"))
    except (OSError, StopIteration):
        return False
    return bool(effective >> CAP_SYS_RESOURCE & 1)


def bound_data(pid: int, pidfd: int, limit_bytes: int | None) -> bool:
    """Let no private mappings of the process go beyond `limit_bytes`; None lifts the bound.

    Returns whether the process was there. Raises PermissionError where the kernel forbids it.

    A pid names its process until that was reaped, and the pidfd tells whether it was. It is asked before, so that no
    stranger is bounded: the number comes round again only after a whole lap of all pids, not between two calls.
    """
    _, most = resource.getrlimit(resource.RLIMIT_DATA)  # which the process has inherited
    limit = most if limit_bytes is None else limit_bytes
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    try:
        signal.pidfd_send_signal(pidfd, 0)
        resource.prlimit(pid, resource.RLIMIT_DATA, (limit, most))
    except ProcessLookupError:
        return False
    return True
