"""The control groups this process lies in: how much memory and CPU they leave it. Versions 1 and 2, and both at once.

Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the kernel, cgroups(7).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

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


class Groups:
    """The folders of our groups, from the innermost outwards, found once."""

    def __init__(self, mountinfo: str, memberships: str) -> None:
        mounts, paths = parse_mounts(mountinfo), parse_memberships(memberships)
        self.v2 = _folders([m for m in mounts if m.version == 2], paths.get(""))
        self.v1_memory = _folders([m for m in mounts if "memory" in m.controllers], paths.get("memory"))
        self.v1_cpu = _folders([m for m in mounts if "cpu" in m.controllers], paths.get("cpu"))

    def memory(self) -> Memory:
        """Read limits and use of every level. In a hybrid set-up one version alone has the memory controller."""
        limits: list[int] = []
        rooms: list[int] = []
        for folder in self.v2:
            found = [parse_limit(read(f"{folder}/memory.{name}")) for name in ("max", "high")]
            _level(folder, found, "memory.current", "inactive_file", limits, rooms)
        for folder in self.v1_memory:
            found = [parse_limit(read(f"{folder}/memory.limit_in_bytes"))]
            _level(folder, found, "memory.usage_in_bytes", "total_inactive_file", limits, rooms)
        return Memory(min(limits, default=None), min(rooms, default=None))

    def cpu_quota(self) -> float | None:
        """The smallest CPU quota of our groups, in CPUs."""
        quotas = [parse_cpu_max(read(f"{folder}/cpu.max")) for folder in self.v2]
        quotas += [
            cpus_of_quota(read(f"{folder}/cpu.cfs_quota_us"), read(f"{folder}/cpu.cfs_period_us"))
            for folder in self.v1_cpu
        ]
        return min((quota for quota in quotas if quota is not None), default=None)

    def memory_pressure(self) -> str:
        """The text of our own group's memory.pressure; empty where there is none."""
        return read(f"{self.v2[0]}/memory.pressure") if self.v2 else ""

    def oom_kills(self) -> int | None:
        """OOM kills counted by our innermost group; None where none counts them."""
        files = [f"{folder}/memory.events" for folder in self.v2[:1]]
        files += [f"{folder}/memory.oom_control" for folder in self.v1_memory[:1]]
        counts = [parse_flat(read(file), "oom_kill") for file in files]
        return next((count for count in counts if count is not None), None)


def read(path: str) -> str:
    """The text of a small kernel file; empty when it is missing, forbidden or switched off (EOPNOTSUPP)."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _level(
    folder: str, found: list[int | None], use_file: str, cache_key: str, limits: list[int], rooms: list[int]
) -> None:
    limit = min((value for value in found if value is not None), default=None)
    if limit is None:
        return
    limits.append(limit)
    use = parse_limit(read(f"{folder}/{use_file}"))
    if use is not None:
        # Pages of files that nobody used lately are charged to the group but given back before it hurts.
        cache = parse_flat(read(f"{folder}/memory.stat"), cache_key) or 0
        rooms.append(max(0, limit - use + min(cache, use)))


def _folders(mounts: list[Mount], path: str | None) -> list[str]:
    """The group's folder and its ancestors' as far as the first mount that shows it does."""
    if path is None:
        return []
    for mount in mounts:
        root = mount.root.rstrip("/")
        if path == root or path.startswith(root + "/"):
            return [mount.point + level for level in parents(path[len(root) :])]
    return []
