"""The control groups this process lies in: how much memory and CPU they leave it. Versions 1 and 2, and both at once.

Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the kernel, cgroups(7).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from imgoptd.adapters.kernel_files import KernelFiles

FULL = 0.9
"""From this share of its limit on, page cache included, a group may have pages taken back; below it none are."""
V1_UNLIMITED_BYTES = (1 << 63) - 4096
"""Version 1 shows `unlimited` as the largest whole page."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted cgroup hierarchy."""

    version: int
    controllers: frozenset[str]
    """Version 1 only."""
    root: str
    """The group that stands at the mount point; not `/` in a container without its own cgroup namespace."""
    point: str


@dataclass(frozen=True, slots=True)
class Memory:
    limit_bytes: int | None
    """The smallest limit of the group and its ancestors; None: unlimited, or none can be read."""
    headroom_bytes: int | None
    """What may still be taken before the first limit is reached, page cache that can be dropped counted as free."""
    full: bool = False
    """Pages of ours may be taken back now, for the sake of the limit of the group or of an ancestor."""


def parse_mounts(mountinfo: str) -> list[Mount]:
    """The cgroup hierarchies in /proc/self/mountinfo."""
    mounts = []
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if not separator or len(left) < 5 or len(right) < 3:
            continue
        if right[0] == "cgroup2":
            mounts.append(Mount(2, frozenset(), left[3], left[4]))
        elif right[0] == "cgroup":
            mounts.append(Mount(1, frozenset(right[2].split(",")), left[3], left[4]))
    return mounts


def parse_memberships(text: str) -> dict[str, str]:
    """/proc/self/cgroup as controller -> path of the group; the version 2 group stands under the empty name."""
    memberships = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            memberships.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return memberships


def parse_limit(text: str) -> int | None:
    """A memory limit of either version in bytes; None when it is no limit."""
    word = text.strip()
    if not word.isdigit() or int(word) >= V1_UNLIMITED_BYTES:
        return None
    return int(word)


def parse_cpu_max(text: str) -> float | None:
    """`cpu.max` of version 2 (`quota period`) as a number of CPUs; None when unlimited."""
    quota, _, period = text.strip().partition(" ")
    return cpus_of_quota(quota, period)


def cpus_of_quota(quota_us: str, period_us: str) -> float | None:
    """A CPU quota as a number of CPUs; None when there is none (`max`, `-1`, or not readable)."""
    if not quota_us.strip().isdigit() or not period_us.strip().isdigit() or int(period_us) == 0:
        return None
    return int(quota_us) / int(period_us)


def parse_flat(text: str, key: str) -> int | None:
    """The value of `key` in a flat-keyed file such as memory.stat."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdigit():
            return int(value)
    return None


def parents(path: str) -> Iterable[str]:
    """`/a/b` -> `/a/b`, `/a`, `` (the root)."""
    path = path.rstrip("/")
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


class Quota(NamedTuple):
    cpus: float
    used_s: float | None
    """CPU seconds that all processes under this quota have taken so far; None is unknown."""


class Groups:
    """The folders of our groups, from the innermost outwards, found once."""

    def __init__(self, mountinfo: str, memberships: str) -> None:
        mounts, paths = parse_mounts(mountinfo), parse_memberships(memberships)
        self._files = KernelFiles()
        self.v2 = _folders([m for m in mounts if m.version == 2], paths.get(""))
        self.v1_memory = _folders([m for m in mounts if "memory" in m.controllers], paths.get("memory"))
        self.v1_cpu = _folders([m for m in mounts if "cpu" in m.controllers], paths.get("cpu"))

    def close(self) -> None:
        """Let go of the descriptors."""
        self._files.close()

    def memory(self) -> Memory:
        """Read limits and use of every level. In a hybrid set-up one version alone has the memory controller."""
        levels = [self._level(folder, ("memory.max", "memory.high"), "memory.current") for folder in self.v2]
        levels += [
            self._level(folder, ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_")
            for folder in self.v1_memory
        ]
        limits = [level.limit_bytes for level in levels if level.limit_bytes is not None]
        rooms = [level.headroom_bytes for level in levels if level.headroom_bytes is not None]
        return Memory(min(limits, default=None), min(rooms, default=None), any(level.full for level in levels))

    def _level(self, folder: str, limit_files: Sequence[str], use_file: str, of_all: str = "") -> Memory:
        """Of one group. `of_all`: what stands before the names of sums over a group and those in it (version 1)."""
        limits = [parse_limit(self._read(folder, name)) for name in limit_files]
        limit = min((value for value in limits if value is not None), default=None)
        if limit is None:
            return Memory(None, None)
        use = parse_limit(self._read(folder, use_file))
        if use is None:
            return Memory(limit, None, full=True)  # for all we know
        # Pages of files are charged to the group but given back before it hurts: all that nobody used lately, and half
        # of the others, which would be read again. (Without these a group full of cache looked full for good.)
        stat = self._read(folder, "memory.stat")
        idle, used = (parse_flat(stat, f"{of_all}{name}_file") or 0 for name in ("inactive", "active"))
        return Memory(limit, max(0, limit - use + min(idle + used // 2, use)), use > FULL * limit)

    def cpu_quota(self) -> Quota | None:
        """The smallest CPU quota of our groups."""
        quotas = [self._quota_v2(folder) for folder in self.v2] + [self._quota_v1(folder) for folder in self.v1_cpu]
        return min((quota for quota in quotas if quota is not None), key=lambda quota: quota.cpus, default=None)

    def _quota_v2(self, folder: str) -> Quota | None:
        cpus = parse_cpu_max(self._read(folder, "cpu.max"))
        if cpus is None:
            return None
        used_us = parse_flat(self._read(folder, "cpu.stat"), "usage_usec")
        return Quota(cpus, None if used_us is None else used_us / 1e6)

    def _quota_v1(self, folder: str) -> Quota | None:
        cpus = cpus_of_quota(self._read(folder, "cpu.cfs_quota_us"), self._read(folder, "cpu.cfs_period_us"))
        if cpus is None:
            return None
        used_ns = self._read(folder, "cpuacct.usage").strip()  # where both controllers are mounted together
        return Quota(cpus, int(used_ns) / 1e9 if used_ns.isdigit() else None)

    @property
    def pressure_file(self) -> str | None:
        """Our own group's memory.pressure, which may not be there; None in the root group, where it is the machine's.

        A container may show its own group as the root. Only the true root has no `cgroup.type`.
        """
        if len(self.v2) > 1 or (self.v2 and os.path.exists(f"{self.v2[0]}/cgroup.type")):
            return f"{self.v2[0]}/memory.pressure"
        return None

    def memory_pressure(self) -> str:
        """The text of our own group's memory.pressure; empty where there is none."""
        return self._files.read(self.pressure_file) if self.pressure_file else ""

    def oom_kills(self) -> int | None:
        """How many processes of our group were OOM-killed, for want of memory in whichever group; None: not counted.

        Version 2 counts those of the groups in ours too. Version 1 does not; but all our processes are in one.
        """
        files = [f"{folder}/memory.events" for folder in self.v2[:1]]
        files += [f"{folder}/memory.oom_control" for folder in self.v1_memory[:1]]
        counts = [parse_flat(self._files.read(file), "oom_kill") for file in files]
        return next((count for count in counts if count is not None), None)

    def _read(self, folder: str, name: str) -> str:
        return self._files.read(f"{folder}/{name}")


def _folders(mounts: list[Mount], path: str | None) -> list[str]:
    """The group's folder and its ancestors' as far as the first mount that shows it does."""
    if path is None:
        return []
    for mount in mounts:
        root = mount.root.rstrip("/")
        if path == root or path.startswith(root + "/"):
            return [mount.point + level for level in parents(path[len(root) :])]
    return []
