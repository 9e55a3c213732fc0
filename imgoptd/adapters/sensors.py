"""Readings of the machine: memory, pressure, CPUs, and what our own processes take. Unknown is None, never zero."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil

from imgoptd.adapters.cgroup import Groups, Quota, parse_flat
from imgoptd.adapters.kernel_files import KernelFiles, read
from imgoptd.adapters.process_stats import ProcessStats
from imgoptd.adapters.psi import PressureGauge, Samples, parse_pressure
from imgoptd.core.events import Sensed, WorkerReading

ROOMY = 0.25
"""With so much of the machine's memory available, who waits for memory does so under a limit of his own."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Limits:
    """The frame that a configured fraction of memory and `max = 0` refer to."""

    memory_bytes: int | None
    """The smallest of the machine's memory and the limits of our control groups."""
    cpus: int
    cpu_quota: float | None = None
    """CPUs, of the quota that `cpus` was rounded up from; None: it was not."""


def parse_meminfo(text: str) -> tuple[int | None, int | None]:
    """(MemAvailable, MemTotal) of /proc/meminfo, in bytes."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name in ("MemAvailable", "MemTotal") and words and words[0].isdigit():
            found[name] = int(words[0]) * 1024  # the kernel writes kB and means KiB
    return found.get("MemAvailable"), found.get("MemTotal")


def parse_busy_ticks(text: str, cpus: Iterable[int]) -> int | None:
    """Clock ticks since boot that the given CPUs were not idle, by /proc/stat (proc(5)).

    Stolen time counts as busy: another guest had the CPU. Guest time does not: it is part of user time already.
    """
    wanted = {f"cpu{number}" for number in cpus}
    busy = None
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] not in wanted or len(words) < 5 or not all(word.isdigit() for word in words[1:]):
            continue
        user, nice, system, _idle, *rest = (int(word) for word in words[1:9])
        busy = (busy or 0) + user + nice + system + sum(rest[1:])  # rest[0] is iowait: idle
    return busy


@dataclass(frozen=True, slots=True)
class _CpuTimes:
    """What the CPUs did up to a moment, in seconds. None is unknown."""

    busy_s: float | None
    own_s: float
    quota_used_s: float | None
    affinity: frozenset[int]


class Sensors:
    """Reads the machine. One object for the daemon's life: rates compare a reading with earlier ones."""

    def __init__(self, proc: str = "/proc") -> None:
        """`proc` is where procfs is mounted."""
        self._proc = proc
        self._files = KernelFiles()
        self._memberships = ""
        self.groups = Groups("", "")
        """Another object from the moment on that somebody moved us to other groups."""
        self._gauge = PressureGauge()
        self._cpu_times: Samples[_CpuTimes] = Samples()
        self._stats = ProcessStats(proc)
        self._helpers: dict[int, psutil.Process] = {}

    def close(self) -> None:
        """Let go of all descriptors."""
        self._files.close()
        self._stats.close()
        self.groups.close()

    def read(self, worker_pids: Mapping[int, int], helper_pids: Iterable[int] = ()) -> Sensed:
        """A reading of now.

        worker_pids: worker -> pid. helper_pids: further processes of ours, such as the template that forks the workers;
        through it the CPU time of workers that have ended stays counted as ours.
        """
        now_s = time.monotonic()
        self._find_groups()
        group = self.groups.memory()
        available, total = parse_meminfo(self._read("meminfo"))
        rooms = [value for value in (available, group.headroom_bytes) if value is not None]
        limits = [value for value in (total, group.limit_bytes) if value is not None]
        roomy = available is not None and total is not None and available > ROOMY * total
        avg10, rate = self._pressure(now_s, roomy=roomy, full=group.full)
        affinity, quota = frozenset(os.sched_getaffinity(0)), self.groups.cpu_quota()
        readings, workers_s = self._workers(worker_pids)
        own_s = self._own_cpu_s(helper_pids, workers_s)
        return Sensed(
            available_bytes=min(rooms, default=None),
            limit_bytes=min(limits, default=None),
            psi_some_avg10=avg10,
            psi_some_rate=rate,
            cpus=_cpus(affinity, quota),
            cpu_quota=quota.cpus if quota and quota.cpus < len(affinity) else None,
            others_cpus=self._others(now_s, affinity, quota, own_s),
            workers=readings,
        )

    def limits(self) -> Limits:
        """Memory and CPUs that this process may use at most."""
        self._find_groups()
        _, total = parse_meminfo(self._read("meminfo"))
        known = [value for value in (total, self.groups.memory().limit_bytes) if value is not None]
        affinity, quota = os.sched_getaffinity(0), self.groups.cpu_quota()
        fraction = quota.cpus if quota and quota.cpus < len(affinity) else None
        return Limits(min(known, default=None), _cpus(affinity, quota), fraction)

    def pressure_rises(self) -> float | None:
        """Share of the time since the last call, or the last reading, in which somebody waited for memory, 0..1.

        Costs a few microseconds, and what it sees counts in the rate of the next reading.
        """
        self._gauge.rates(time.monotonic(), [parse_pressure(text) for text in self._pressure_texts()])
        return self._gauge.newest()

    def oom_kills(self) -> int | None:
        """How often the kernel has killed a process of our group for memory, or of the machine where no group counts.

        A rise beside a worker ended by SIGKILL means that memory ended it; signal 9 alone does not.
        """
        self._find_groups()
        kills = self.groups.oom_kills()
        return parse_flat(self._read("vmstat"), "oom_kill") if kills is None else kills

    def _read(self, name: str) -> str:
        return self._files.read(f"{self._proc}/{name}")

    def _find_groups(self) -> None:
        memberships = self._read("self/cgroup")
        if memberships != self._memberships:  # at the first reading, and when someone has moved us
            self._memberships = memberships
            self.groups.close()
            self.groups = Groups(read(f"{self._proc}/self/mountinfo"), memberships)
            self._gauge.forget()

    # ---- pressure ---------------------------------------------------------------------------------------------------

    def _pressure_texts(self) -> tuple[str, str]:
        return self._read("pressure/memory"), self.groups.memory_pressure()

    def _pressure(self, now_s: float, *, roomy: bool, full: bool) -> tuple[float | None, float | None]:
        """(avg10 in percent, rate 0..1): the worse of the whole machine and our own group.

        On a roomy machine others wait under limits of their own, which would not ease if we paused: our own group
        alone counts there. Where it does not tell (version 1), nothing of ours waits unless it is full.
        """
        machine, own = (parse_pressure(text) for text in self._pressure_texts())
        rates = self._gauge.rates(now_s, (machine, own))
        if roomy and own is not None:
            return own.avg10, rates[1]
        averages = [pressure.avg10 for pressure in (machine, own) if pressure is not None]
        rate = max((rate for rate in rates if rate is not None), default=None)
        return max(averages, default=None), 0.0 if roomy and not full and rate is not None else rate

    # ---- CPUs -------------------------------------------------------------------------------------------------------

    def _others(self, now_s: float, affinity: frozenset[int], quota: Quota | None, own_s: float | None) -> float | None:
        """CPUs that others keep from us: on the CPUs we may use, or under the quota that we share with them.

        A quota keeps us from some CPUs anyway; who is busy on as many takes nothing from us.
        """
        if own_s is None:
            return None
        busy_ticks = parse_busy_ticks(self._read("stat"), affinity)
        now = _CpuTimes(
            None if busy_ticks is None else busy_ticks / _TICKS_PER_S, own_s, quota.used_s if quota else None, affinity
        )
        base = self._cpu_times.add(now_s, now)
        if base is None:
            return None
        then_s, then = base
        if own_s < then.own_s or then.affinity != affinity:
            return None  # less than before: a process of ours is gone, and nobody has its time yet
        own_cpus = (own_s - then.own_s) / (now_s - then_s)
        spared = max(0.0, len(affinity) - quota.cpus) if quota else 0.0
        found = []
        if now.busy_s is not None and then.busy_s is not None:
            found.append((now.busy_s - then.busy_s) / (now_s - then_s) - own_cpus - spared)
        if now.quota_used_s is not None and then.quota_used_s is not None:
            found.append((now.quota_used_s - then.quota_used_s) / (now_s - then_s) - own_cpus)
        return min(float(len(affinity)), max(0.0, *found)) if found else None

    # ---- our own processes ------------------------------------------------------------------------------------------

    def _workers(self, pids: Mapping[int, int]) -> tuple[tuple[WorkerReading, ...], float]:
        """What can be read of each worker, and their CPU seconds together."""
        self._stats.keep(pids.values())
        readings, cpu_s = [], 0.0
        for worker, pid in sorted(pids.items()):
            taken = self._stats.read(pid)
            if taken is None:  # it has ended: its parent has its time once it is reaped
                continue
            cpu_s += taken.cpu_s
            if taken.rss_bytes is not None:
                readings.append(WorkerReading(worker, taken.rss_bytes, taken.cpu_s))
        return tuple(readings), cpu_s

    def _own_cpu_s(self, helper_pids: Iterable[int], workers_s: float) -> float | None:
        """CPU seconds of our processes so far, of those that ended and were reaped too."""
        helpers = {os.getpid(), *helper_pids}
        for pid in self._helpers.keys() - helpers:
            del self._helpers[pid]
        try:
            return workers_s + sum(self._with_children_s(pid) for pid in helpers)
        except OSError:  # /proc cannot be read, for want of descriptors, say
            return None

    def _with_children_s(self, pid: int) -> float:
        try:
            process = self._helpers.get(pid) or self._helpers.setdefault(pid, psutil.Process(pid))
            times = process.cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system + times.children_user + times.children_system)


def _cpus(affinity: Iterable[int], quota: Quota | None) -> int:
    """How many may be used: never none, and a part of one counts as one.

    The affinity follows the cpuset of our group by itself, in both versions: shrunk and grown again.
    """
    allowed = len(set(affinity))
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota.cpus)))
