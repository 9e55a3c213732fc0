"""The bound of a worker's memory, set from outside: RLIMIT_DATA by prlimit(2).

For a process of another user that takes CAP_SYS_RESOURCE, which containers withhold; a worker of our own user needs
none. With the capability the hard limit is set too, and the worker, which has no capability, cannot lift it.
"""

from __future__ import annotations

import resource
import signal

CAP_SYS_RESOURCE = 24
"""Of linux/capability.h."""


def may_raise_hard_limits() -> bool:
    """Has this process CAP_SYS_RESOURCE in effect? Without /proc it counts as not."""
    try:
        with open("/proc/self/status", "rb") as status:
            line = next(line for line in status if line.startswith(b"CapEff:"))
    except (OSError, StopIteration):
        return False
    return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)


def bound_data(pid: int, pidfd: int, limit_bytes: int | None, *, hard: bool) -> bool:
    """Let no private mappings of the process go beyond `limit_bytes`; None lifts the bound.

    `hard`: so that the process cannot lift it itself. Returns whether the process was there. Raises OSError where the
    kernel forbids it.

    A pid names its process until that was reaped, and the pidfd tells whether it was. It is asked before, so that no
    stranger is bounded: the number comes round again only after a whole lap of all pids, not between two calls.
    """
    _, most = resource.getrlimit(resource.RLIMIT_DATA)  # which the process has inherited
    limit = most if limit_bytes is None else limit_bytes
    if most != resource.RLIM_INFINITY:
        limit = min(limit, most)
    try:
        signal.pidfd_send_signal(pidfd, 0)
        resource.prlimit(pid, resource.RLIMIT_DATA, (limit, limit if hard else most))
    except ProcessLookupError:
        return False
    return True
