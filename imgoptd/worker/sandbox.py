"""What a worker may no longer do once the codecs are loaded. Works as root and as any user.

Each protection has a name that says what it prevents, not how. A kernel without one of them leaves that name out; the
rest still holds. The kernel interfaces are documented in landlock(7), prctl(2) and proc_pid_oom_score_adj(5).
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
SIGKILL = 9

CAPABILITY_VERSION_3 = 0x20080522
CAPABILITY_SETS = bytes(2 * 3 * 4)
"""Of capset(2): effective, permitted and inheritable, in two halves of 32 bits each, all empty."""

LANDLOCK_CREATE_RULESET = 444
LANDLOCK_RESTRICT_SELF = 446
LANDLOCK_CREATE_RULESET_VERSION = 1
FILES_OF_ABI = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""(ABI, rights to files it can deny): the first thirteen, then linking elsewhere, truncating, and device ioctls."""
TCP = 0b11
"""Bind and connect, from ABI 4."""
SCOPES = 0b11
"""Abstract sockets and signals beyond the sandbox, from ABI 6."""

OPEN_FILES = 32
"""Its socket, the standard streams, two files below /proc, two descriptors of a task, and what a codec may want."""
OOM_SCORE = 500
"""Out of 1000: when memory ends, the kernel shall pick a worker, never the daemon."""

_libc = ctypes.CDLL(None, use_errno=True)


def raise_oom_score() -> None:
    """Offer this process to the kernel first. Never lowers a score; silent where /proc is not writable."""
    try:
        with open("/proc/self/oom_score_adj", "r+b", buffering=0) as score:
            if int(score.read()) < OOM_SCORE:
                score.write(str(OOM_SCORE).encode())
    except OSError:
        pass  # a hidden or read-only /proc: the daemon's own unit may have set it for all of us


def enter(drop_uid: int | None, parent: int) -> tuple[str, ...]:
    """Give up rights for good; returns the names of the protections that hold.

    `drop_uid` is the user and group to become, which takes root. `parent` is the process whose death ends this one.
    Raises OSError where a right cannot be given up that any kernel lets go of, and ProcessLookupError where the parent
    is gone already.
    """
    names = ["no-core-dumps", "no-new-privileges"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    if drop_uid is not None:
        os.setgroups([])
        os.setresgid(drop_uid, drop_uid, drop_uid)
        os.setresuid(drop_uid, drop_uid, drop_uid)
        names.append("own-user")
    _drop_capabilities()
    names.append("no-capabilities")
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    die_with(parent)
    return (*names, *deny_files_and_network())


def _drop_capabilities() -> None:
    """Give up the rights over all files that a service holds: Landlock leaves chmod and chown to them."""
    _checked(_libc.capset(struct.pack("=Ii", CAPABILITY_VERSION_3, 0), CAPABILITY_SETS))


def die_with(parent: int) -> None:
    """Be killed when `parent` ends. To be called after a change of user, which resets it.

    Raises ProcessLookupError where it has ended already.
    """
    _prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != parent:
        raise ProcessLookupError("the parent is gone")


def landlock_abi() -> int:
    """The kernel's Landlock ABI; 0 where it has none or a filter forbids it."""
    return max(
        0, int(_libc.syscall(LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), LANDLOCK_CREATE_RULESET_VERSION))
    )


def deny_files_and_network() -> tuple[str, ...]:
    """Deny all that Landlock can deny here, open descriptors excepted; returns the names of what is denied.

    It leaves UDP, stat and chmod to others: there is no `no-network` to be had from it.
    """
    abi = landlock_abi()
    if abi < 1:
        return ()
    files = sum(rights for since, rights in FILES_OF_ABI if abi >= since)
    fields = [files, *([TCP] if abi >= 4 else []), *([SCOPES] if abi >= 6 else [])]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _checked(_libc.syscall(LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        _checked(_libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return (
        "no-files",
        *(("no-tcp",) if abi >= 4 else ()),
        *(("no-abstract-sockets", "no-signals") if abi >= 6 else ()),
    )


def _prctl(option: int, value: int) -> None:
    _checked(_libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
