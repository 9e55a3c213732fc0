"""Readings of the machine: memory, pressure, CPUs, and what our own processes take. Unknown is None, never zero."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import psutil

from imgoptd.adapters.cgroup import Groups, parse_flat, read
from imgoptd.core.events import Sensed, WorkerReading

V = TypeVar("V")

_RATE_WINDOW_S = 1.0
"""Rates are taken over at least this long: readings come in bursts, and a rate over a millisecond is noise."""

_SHORTEST_WINDOW_S = 0.1
"""Less than ten clock ticks tell nothing of CPU time."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Limits:
    """The frame that a configured fraction of memory and `max = 0` refer to."""

    memory_bytes: int | None
    """The smallest of the machine's memory and the limits of our control groups."""
    cpus: int


@dataclass(frozen=True, slots=True)
class Pressure:
    """The `some` line of a pressure file."""

    avg10: float
    """Percent of the last ten seconds."""
    total_us: int


def parse_meminfo(text: str) -> tuple[int | None, int | None]:
    """(MemAvailable, MemTotal) of /proc/meminfo, in bytes."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name in ("MemAvailable", "MemTotal") and words and words[0].isdigit():
            found[name] = int(words[0]) * 1024  # the kernel writes kB and means KiB
    return found.get("MemAvailable"), found.get("MemTotal")


def parse_pressure(text: str) -> Pressure | None:
    """The `some` line of /proc/pressure/memory or a group's memory.pressure; None where there is none."""
    for line in text.splitlines():
        words = line.split()
        if not words or words[0] != "some":
            continue
        values = dict(word.partition("=")[::2] for word in words[1:])
        try:
            return Pressure(float(values["avg10"]), int(values["total"]))
        except (KeyError, ValueError):
            return None
    return None


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


class Sensors:
    """Reads the machine. One object for the daemon's life: rates compare a reading with earlier ones."""

    def __init__(self, proc: str = "/proc") -> None:
        """`proc` is where procfs is mounted."""
        self._proc = proc
        self._memberships = ""
        self._groups = Groups("", "")
        self._totals_us: deque[tuple[float, tuple[int | None, ...]]] = deque()
        self._cpu_times: deque[tuple[float, tuple[float | None, ...]]] = deque()
        self._processes: dict[int, psutil.Process] = {}

    def read(self, worker_pids: Mapping[int, int], helper_pids: Iterable[int] = ()) -> Sensed:
        """A reading of now.

        worker_pids: worker -> pid. helper_pids: further processes of ours, such as the template that forks the workers;
        through it the CPU time of workers that have ended stays counted as ours.
        """
        now_s = time.monotonic()
        self._find_groups()
        group = self._groups.memory()
        available, total = parse_meminfo(read(f"{self._proc}/meminfo"))
        rooms = [value for value in (available, group.headroom_bytes) if value is not None]
        limits = [value for value in (total, group.limit_bytes) if value is not None]
        avg10, rate = self._pressure(now_s)
        affinity = os.sched_getaffinity(0)
        own_cpu_s, rss = self._own(worker_pids, helper_pids)
        return Sensed(
            available_bytes=min(rooms, default=None),
            limit_bytes=min(limits, default=None),
            psi_some_avg10=avg10,
            psi_some_rate=rate,
            cpus=self._cpus(affinity),
            others_cpus=self._others(now_s, affinity, own_cpu_s),
            workers=tuple(WorkerReading(*one) for one in sorted(rss.items())),
        )

    def limits(self) -> Limits:
        """Memory and CPUs that this process may use at most."""
        self._find_groups()
        _, total = parse_meminfo(read(f"{self._proc}/meminfo"))
        known = [value for value in (total, self._groups.memory().limit_bytes) if value is not None]
        return Limits(min(known, default=None), self._cpus(os.sched_getaffinity(0)))

    def oom_kills(self) -> int | None:
        """How often the kernel has killed a process of our group for memory, or of the machine where no group counts.

        A rise beside a worker ended by SIGKILL means that memory ended it; signal 9 alone does not.
        """
        self._find_groups()
        kills = self._groups.oom_kills()
        return parse_flat(read(f"{self._proc}/vmstat"), "oom_kill") if kills is None else kills

    def _find_groups(self) -> None:
        memberships = read(f"{self._proc}/self/cgroup")
        if memberships != self._memberships:  # at the first reading, and when someone has moved us
            self._memberships = memberships
            self._groups = Groups(read(f"{self._proc}/self/mountinfo"), memberships)

    def _cpus(self, affinity: set[int]) -> int:
        quota = self._groups.cpu_quota()
        return len(affinity) if quota is None else max(1, min(len(affinity), math.ceil(quota)))

    def _pressure(self, now_s: float) -> tuple[float | None, float | None]:
        """(avg10 in percent, rate 0..1): the worse of the whole machine and our own group."""
        texts = (read(f"{self._proc}/pressure/memory"), self._groups.memory_pressure())
        found = [parse_pressure(text) for text in texts]
        totals = tuple(None if pressure is None else pressure.total_us for pressure in found)
        base = _window(self._totals_us, now_s, totals)
        rates = []
        if base is not None:
            then_s, then = base
            for new, old in zip(totals, then, strict=True):
                if new is not None and old is not None:
                    rates.append(min(1.0, max(0.0, (new - old) / 1e6 / (now_s - then_s))))
        averages = [pressure.avg10 for pressure in found if pressure is not None]
        return max(averages, default=None), max(rates, default=None)

    def _others(self, now_s: float, affinity: set[int], own_cpu_s: float | None) -> float | None:
        if own_cpu_s is None:
            return None
        busy_ticks = parse_busy_ticks(read(f"{self._proc}/stat"), affinity)
        busy_s = None if busy_ticks is None else busy_ticks / _TICKS_PER_S
        base = _window(self._cpu_times, now_s, (busy_s, own_cpu_s, float(len(affinity))))
        if base is None or busy_s is None:
            return None
        then_s, (then_busy_s, then_own_s, then_cpus) = base
        if then_busy_s is None or then_own_s is None or then_cpus != len(affinity):
            return None
        others_s = (busy_s - then_busy_s) - (own_cpu_s - then_own_s)
        return min(float(len(affinity)), max(0.0, others_s / (now_s - then_s)))

    def _own(self, worker_pids: Mapping[int, int], helper_pids: Iterable[int]) -> tuple[float | None, dict[int, int]]:
        """(CPU seconds of our processes so far, worker -> resident bytes)."""
        helpers = {os.getpid(), *helper_pids}
        cpu_s: float | None
        try:
            cpu_s = sum(self._cpu_s(pid, with_children=True) for pid in helpers)
            cpu_s += sum(self._cpu_s(pid, with_children=False) for pid in worker_pids.values())
        except OSError:  # /proc cannot be read, for want of descriptors, say
            cpu_s = None
        rss: dict[int, int] = {}
        for worker, pid in worker_pids.items():
            resident = self._rss(pid)
            if resident is not None:
                rss[worker] = resident
        for pid in self._processes.keys() - helpers - set(worker_pids.values()):
            del self._processes[pid]
        return cpu_s, rss

    def _cpu_s(self, pid: int, with_children: bool) -> float:
        try:
            times = self._process(pid).cpu_times()
        except psutil.Error:  # it has ended: its parent's children time has it once it is reaped
            return 0.0
        own = times.user + times.system
        return float(own + times.children_user + times.children_system if with_children else own)

    def _rss(self, pid: int) -> int | None:
        try:
            return int(self._process(pid).memory_info().rss) or None  # 0: a zombie
        except (psutil.Error, OSError):
            return None

    def _process(self, pid: int) -> psutil.Process:
        process = self._processes.get(pid)
        if process is None:
            process = self._processes[pid] = psutil.Process(pid)
        return process


def _window(samples: deque[tuple[float, V]], now_s: float, value: V) -> tuple[float, V] | None:
    """Add a sample; return the one to compare it with, or None when that would say nothing yet."""
    while len(samples) > 1 and now_s - samples[1][0] >= _RATE_WINDOW_S:
        samples.popleft()
    base = samples[0] if samples and now_s - samples[0][0] >= _SHORTEST_WINDOW_S else None
    samples.append((now_s, value))
    return base
