"""Mounts, by /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import re

_OCTAL = re.compile(rb"\\([0-7]{3})")


def mount_of(fd: int) -> int | None:
    """Number of the mount through which the descriptor was opened; None where /proc does not say.

    Nothing can be renamed from one mount to another, even of the same filesystem (bind mounts).
    """
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            for line in file:
                if line.startswith(b"mnt_id:"):
                    return int(line.split()[1])
    except OSError:
        pass  # without /proc the rename itself will tell
    return None


def mounts_below(folder: bytes) -> frozenset[bytes]:
    """One `device mountpoint` for each mount strictly below `folder`, a real path; empty where /proc is mute."""
    prefix = folder.rstrip(b"/") + b"/"
    found = set()
    for line in _lines("/proc/self/mountinfo"):
        fields = line.split(b" ", 5)
        if len(fields) < 6:
            continue
        # space, tab, newline and backslash are written as \ooo
        point = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), fields[4])
        if point.startswith(prefix) and point != prefix:
            found.add(fields[2] + b" " + point)
    return frozenset(found)


def is_read_only_mount(fd: int) -> bool:
    """May the file not be written to through its mount, although its filesystem is writable?

    So it is with a read-only bind mount, and with what systemd's ProtectSystem= hides from a service: somebody wanted
    it. A filesystem that is read-only as a whole may have turned so by an error, and may turn back: not this one's.
    """
    try:
        if not os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            return False
    except OSError:
        return False
    number = next((line.split()[1] for line in _lines(f"/proc/self/fdinfo/{fd}") if line.startswith(b"mnt_id:")), b"")
    for line in _lines("/proc/self/mountinfo"):
        fields = line.split()
        if number and fields[0] == number:
            return b"ro" in fields[5].split(b",") and b"ro" not in fields[-1].split(b",")
    return False


def _lines(path: str) -> list[bytes]:
    """Empty where /proc is mute."""
    try:
        with open(path, "rb") as file:
            return file.readlines()
    except OSError:
        return []
