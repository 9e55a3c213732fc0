"""What a simulated machine lives through: files that arrive, and the machine as it changes.

A trace is a file of JSON lines, sorted by `t` (seconds):

    {"t", "kind": "job", "id", "fresh", "folder", "bytes", "pixels", "format", "cpu_s", "peak_bytes",
     "predicted_bytes", "predicted_cpu_s"}
    {"t", "kind": "machine", "cpus", "memory_bytes", "neighbour_cpus", "neighbour_bytes"}

`peak_bytes` and `predicted_bytes` are what the job holds above an idle worker. A job line may have a `priority` (0
first .. 9 last, else 5): the folder's, told by its first job. The first machine line tells what the machine is at the
start. Further keys are left alone.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

MIB = 1 << 20
IDLE_BYTES = 4 * MIB
"""Of a worker without a job: 3.9 MB of proportional memory were measured of an idle forked one on Debian 12."""
SUPERVISOR_BYTES = 64 * MIB
"""Of what starts the workers, whoever it is: imgoptd and its template hold 50 to 60 MB between them."""
DEFAULT_PRIORITY = 5


class TraceError(Exception):
    """The trace cannot be read; the text says where and why."""


@dataclass(frozen=True, slots=True, eq=False)
class TraceJob:
    """A file that is complete at `at_s`; what it truly takes, and what is predicted of it."""

    at_s: float
    id: str
    fresh: bool
    folder: str
    bytes: int
    pixels: int
    format: str
    cpu_s: float
    peak_bytes: int
    """Above the idle worker."""
    predicted_bytes: int
    predicted_cpu_s: float
    priority: int = DEFAULT_PRIORITY


@dataclass(frozen=True, slots=True)
class Change:
    """The machine from `at_s` on."""

    at_s: float
    cpus: int
    memory_bytes: int
    neighbour_cpus: float = 0.0
    """What others would keep busy."""
    neighbour_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    name: str
    jobs: tuple[TraceJob, ...]
    """By time, in the order in which they are heard of."""
    changes: tuple[Change, ...]
    """By time, at least one; the first is what the machine is at the start."""

    @property
    def start_s(self) -> float:
        """When the first thing happens."""
        return min(self.jobs[0].at_s, self.changes[0].at_s) if self.jobs else self.changes[0].at_s

    @property
    def first_job_s(self) -> float:
        return self.jobs[0].at_s if self.jobs else self.start_s

    @property
    def most_cpus(self) -> int:
        return max(change.cpus for change in self.changes)

    @property
    def most_bytes(self) -> int:
        return max(change.memory_bytes for change in self.changes)

    @property
    def cpu_s(self) -> float:
        return sum(job.cpu_s for job in self.jobs)

    def impossible(self) -> frozenset[str]:
        """Ids of jobs that do not fit the machine at its largest, even alone: nobody can finish them."""
        room = self.most_bytes - SUPERVISOR_BYTES - IDLE_BYTES
        return frozenset(job.id for job in self.jobs if job.peak_bytes > room)

    def shuffled(self, seed: int) -> Trace:
        """The same, with jobs of one moment in another order, as folders are listed in no order."""
        chance = random.Random(seed)
        return replace(self, jobs=tuple(sorted(self.jobs, key=lambda job: (job.at_s, chance.random()))))


def read(path: str) -> Trace:
    """Raises TraceError for what is no trace, `FILE:LINE: what is wrong`, and OSError for what cannot be read."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return parse(file, path)


def parse(lines: Iterable[str], name: str) -> Trace:
    """Raises TraceError."""
    jobs: list[TraceJob] = []
    changes: list[Change] = []
    seen: set[str] = set()
    latest_s = -math.inf
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            one = _line(text)
            if one.at_s < latest_s:
                raise TraceError(f"t = {one.at_s:g} comes after t = {latest_s:g}; sort the lines by t")
            latest_s = one.at_s
            if isinstance(one, Change):
                changes.append(one)
            elif one.id in seen:
                raise TraceError(f"id {one.id!r} stands there twice; give each job its own")
            else:
                seen.add(one.id)
                jobs.append(one)
        except TraceError as error:
            raise TraceError(f"{name}:{number}: {error}") from None
    if not changes:
        raise TraceError(f'{name}: it has no line of kind "machine"; add one that tells what the machine is')
    return Trace(name, tuple(jobs), tuple(changes))


def lines(trace: Trace) -> Iterable[str]:
    """As `parse` reads it, each with its newline."""
    # The machine's lines first: the order of one moment tells nothing but that of its jobs.
    both: list[TraceJob | Change] = [*trace.changes, *trace.jobs]
    for one in sorted(both, key=lambda one: one.at_s):
        yield json.dumps(_as_line(one)) + "\n"


def _as_line(one: TraceJob | Change) -> dict[str, object]:
    if isinstance(one, Change):
        named: dict[str, object] = {"t": one.at_s, "kind": "machine"}
    else:
        named = {"t": one.at_s, "kind": "job"}
    for key in one.__slots__:
        if key != "at_s" and (key != "priority" or getattr(one, key) != DEFAULT_PRIORITY):
            named[key] = getattr(one, key)
    return named


def _line(text: str) -> TraceJob | Change:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise TraceError(f"it is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise TraceError("it is no JSON object")
    kind = found.get("kind")
    if kind == "machine":
        return _change(found)
    if kind == "job":
        return _job(found)
    raise TraceError(f'kind = {json.dumps(kind)}; it is "job" or "machine"')


def _change(found: Mapping[str, object]) -> Change:
    return Change(
        _number(found, "t"),
        int(_number(found, "cpus", least=1)),
        int(_number(found, "memory_bytes", least=1)),
        _number(found, "neighbour_cpus", least=0),
        int(_number(found, "neighbour_bytes", least=0)),
    )


def _job(found: Mapping[str, object]) -> TraceJob:
    fresh = found.get("fresh")
    if not isinstance(fresh, bool):
        raise TraceError(
            f"fresh = {json.dumps(fresh)}; it is true or false" if "fresh" in found else "fresh is missing"
        )
    cpu_s = _number(found, "cpu_s", least=0)
    if not cpu_s:
        raise TraceError("cpu_s = 0; each job takes some time")
    return TraceJob(
        _number(found, "t"),
        _text(found, "id"),
        fresh,
        _text(found, "folder"),
        int(_number(found, "bytes", least=0)),
        int(_number(found, "pixels", least=0)),
        _text(found, "format"),
        cpu_s,
        int(_number(found, "peak_bytes", least=0)),
        int(_number(found, "predicted_bytes", least=0)),
        _number(found, "predicted_cpu_s", least=0),
        int(_number(found, "priority", least=0)) if "priority" in found else DEFAULT_PRIORITY,
    )


def _number(found: Mapping[str, object], key: str, least: float = -math.inf) -> float:
    value = found.get(key)
    if key not in found:
        raise TraceError(f"{key} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < least:
        at_least = f" of at least {least:g}" if least > -math.inf else ""
        raise TraceError(f"{key} = {json.dumps(value)}; it is a number{at_least}")
    return float(value)


def _text(found: Mapping[str, object], key: str) -> str:
    """Names may be numbers, too."""
    value = found.get(key)
    if key not in found:
        raise TraceError(f"{key} is missing")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TraceError(f"{key} = {json.dumps(value)}; it is a text")
    return str(value)


class Coming:
    """What of a trace is still to come."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._next_job = 0
        self._next_change = 1  # the first is what the machine is at the start

    def next_s(self) -> float:
        """Infinity: nothing."""
        jobs, changes = self._trace.jobs, self._trace.changes
        job_s = jobs[self._next_job].at_s if self._next_job < len(jobs) else math.inf
        return min(job_s, changes[self._next_change].at_s if self._next_change < len(changes) else math.inf)

    def jobs(self, now_s: float) -> tuple[TraceJob, ...]:
        """Those that arrive by now."""
        first, jobs = self._next_job, self._trace.jobs
        while self._next_job < len(jobs) and jobs[self._next_job].at_s <= now_s:
            self._next_job += 1
        return jobs[first : self._next_job]

    def changes(self, now_s: float) -> tuple[Change, ...]:
        first, changes = self._next_change, self._trace.changes
        while self._next_change < len(changes) and changes[self._next_change].at_s <= now_s:
            self._next_change += 1
        return changes[first : self._next_change]
