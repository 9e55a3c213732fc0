"""Which filesystems are mounted below a folder, by /proc/self/mountinfo (proc_pid_mountinfo(5))."""

from __future__ import annotations

import re

_OCTAL = re.compile(rb"\\([0-7]{3})")


def mounts_below(folder: bytes) -> frozenset[bytes]:
    """One `device mountpoint` for each mount strictly below `folder`, a real path; empty where /proc is mute."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            lines = file.readlines()
    except OSError:
        return frozenset()
    prefix = folder.rstrip(b"/") + b"/"
    found = set()
    for line in lines:
        fields = line.split(b" ", 5)
        if len(fields) < 6:
            continue
        # space, tab, newline and backslash are written as \ooo
        point = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), fields[4])
        if point.startswith(prefix) and point != prefix:
            found.add(fields[2] + b" " + point)
    return frozenset(found)
