"""How many workers are wanted, and why. Each decision is a value with its reason and all its inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum

CPU_S_PER_WORKER = 0.1
"""A further worker is wanted for so many seconds of CPU that wait: starting one costs a tenth of that."""
COOLDOWN_S = 15.0
COOLDOWN_MOST = 8
"""The cooldown doubles up to this factor when growing follows a retirement within FLAP_S."""
FLAP_S = 30.0
MEMORY_PATIENCE = 4
"""So many cooldowns a surplus lasts that memory alone has no use for: each job that ends may change that, and a worker
that idles holds next to nothing."""
MEMORY_S = 2.0
"""So long after a job had to wait for memory, workers are added one at a time: whether another is of use shows then."""


class Reason(StrEnum):
    BACKLOG = "backlog"
    IDLE = "idle"
    MEMORY = "memory"
    PRESSURE = "pressure"
    CPU = "cpu"
    LIMITS = "limits"
    COMMAND = "command"
    START = "start"
    STOP = "stop"


class FleetState(StrEnum):
    RUN = "run"
    CONSTRAINED = "constrained"
    """The next job waits for memory."""
    PAUSE = "pause"
    """The machine is short of memory, or an operator wants it: nothing more is begun."""
    SHED = "shed"
    """It is so short of memory that running attempts are ended."""
    BLIND = "blind"
    """Nothing is known of the machine's memory: one job at a time."""
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a decision rests on. None is unknown."""

    workers: int
    """Alive and not leaving."""
    idle_workers: int
    busy_workers: int
    """With something in hand; the others idle or are starting."""
    workers_min: int
    workers_max: int
    backlog_jobs: int
    """Waiting, probing or running."""
    backlog_cpu_s: float
    cpus: int
    others_cpus: float | None
    available_bytes: int | None
    limit_bytes: int | None
    """The smallest of machine and cgroup."""
    reserve_bytes: int
    """What is never given out."""
    reserved_bytes: int
    """What running jobs may take."""
    budget_bytes: int | None
    psi_some_avg10: float | None
    psi_some_rate: float | None
    state: FleetState = FleetState.RUN
    draining: bool = False
    paused: bool = False
    """By an operator."""
    commanded: bool = False
    """An operator's range of workers, or pause, is in force."""
    memory_for: int | None = None
    """So many more workers could begin a job with the memory that is free now. None: unknown."""

    def as_fields(self) -> tuple[tuple[str, str], ...]:
        """As journal fields; what is unknown says so."""
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return tuple((name.upper(), "unknown" if value is None else _plain(value)) for name, value in pairs)


def _plain(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value).lower()


@dataclass(frozen=True, slots=True)
class Decision:
    """From `before` workers to `wanted`; `start` and `retire` say what to do about it now."""

    before: int
    wanted: int
    reason: Reason
    start: int
    retire: int
    inputs: Inputs
    cooldown_s: float = COOLDOWN_S
    """How long a surplus had to last for this one."""

    @property
    def after(self) -> int:
        return self.before + self.start - self.retire


def wanted_workers(inputs: Inputs, *, short_of_memory: bool = False) -> tuple[int, Reason]:
    """How many workers there should be, and which bound decided.

    short_of_memory: a job has just had to wait for memory. Then there is one worker more than have work, to show when
    that is over.
    """
    if inputs.draining:
        return min(inputs.workers, inputs.backlog_jobs), Reason.STOP
    if not inputs.backlog_jobs:
        return inputs.workers_min, Reason.IDLE
    others = inputs.others_cpus or 0.0
    bounds = {
        Reason.LIMITS: inputs.workers_max,
        # A good neighbour yields half of what others use; that always leaves a worker for each CPU that is free. From a
        # half upwards is rounded up: on 2 CPUs there are two workers while others keep no more than one busy.
        Reason.CPU: max(1, math.floor(inputs.cpus - others / 2 + 0.5)),
        Reason.BACKLOG: min(inputs.backlog_jobs, max(1, math.ceil(inputs.backlog_cpu_s / CPU_S_PER_WORKER))),
    }
    if inputs.state is FleetState.BLIND:
        bounds[Reason.MEMORY] = 1
    elif inputs.state in (FleetState.PAUSE, FleetState.SHED):
        bounds[Reason.COMMAND if inputs.paused else Reason.PRESSURE] = inputs.busy_workers
    elif short_of_memory:
        bounds[Reason.MEMORY] = inputs.busy_workers + 1
    reason = min(bounds, key=lambda name: (bounds[name], name is not Reason.BACKLOG))
    return min(inputs.workers_max, max(1, inputs.workers_min, bounds[reason])), reason


def _startable(wanted: int, inputs: Inputs) -> int:
    """How many to start now: those that memory has no room for would only idle. `min` of them do in any case."""
    missing = wanted - inputs.workers
    if inputs.memory_for is None:
        return missing
    return min(missing, max(inputs.memory_for, inputs.workers_min - inputs.workers))


_BY_COMMAND = frozenset({Reason.START, Reason.LIMITS, Reason.IDLE})
"""What an operator's range or pause decides, where one is in force."""


class Scaler:
    """Grows at once; shrinks by half of the idle surplus after a cooldown that doubles when growing follows."""

    def __init__(self) -> None:
        self._surplus_since_s: float | None = None
        self._due_s: float | None = None
        self._retired_s: float | None = None
        self._short_s: float | None = None
        """When a job was last seen to wait for memory."""
        self._factor = 1
        self.last: Decision | None = None
        """The last decision that changed something."""

    def decide(self, inputs: Inputs, now_s: float, *, may_start: bool = True) -> Decision:
        if inputs.state is FleetState.CONSTRAINED:
            self._short_s = now_s
        short = self._short_s is not None and now_s - self._short_s < MEMORY_S
        wanted, reason = wanted_workers(inputs, short_of_memory=short)
        start = retire = 0
        cooldown_s = self._cooldown_s(reason)
        self._due_s = None
        if inputs.workers < wanted and not inputs.draining:
            if may_start:
                start = _startable(wanted, inputs)
                reason = self._grown(now_s, reason, inputs) if start else Reason.MEMORY
        elif inputs.workers > wanted:
            retire, reason = self._shrink(inputs, wanted, reason, now_s)
        else:
            self._surplus_since_s = None
        if inputs.commanded and reason in _BY_COMMAND:
            reason = Reason.COMMAND
        decision = Decision(inputs.workers, wanted, reason, start, retire, inputs, cooldown_s)
        if start or retire:
            self.last = decision
        return decision

    def shed(self, inputs: Inputs, count: int) -> Decision:
        """So many busy workers are ended for want of memory."""
        after = inputs.workers - count
        self.last = Decision(
            inputs.workers, after, Reason.PRESSURE, 0, count, inputs, self._cooldown_s(Reason.PRESSURE)
        )
        return self.last

    def next_deadline_s(self) -> float | None:
        """When the retirement of a worker that idles now becomes due, or None."""
        return self._due_s

    def _cooldown_s(self, reason: Reason) -> float:
        """How long a surplus must last that is one for this reason."""
        of_memory = reason in (Reason.MEMORY, Reason.PRESSURE)
        return COOLDOWN_S * self._factor * (MEMORY_PATIENCE if of_memory else 1)

    def _grown(self, now_s: float, reason: Reason, inputs: Inputs) -> Reason:
        self._surplus_since_s = None
        if self._retired_s is not None:
            self._factor = min(COOLDOWN_MOST, self._factor * 2) if now_s - self._retired_s < FLAP_S else 1
            self._retired_s = None
        # Growing is for the work that waits, whichever bound ended it; with none waiting it is the configured least.
        return Reason.BACKLOG if inputs.backlog_jobs else Reason.START if reason is Reason.IDLE else reason

    def _shrink(self, inputs: Inputs, wanted: int, reason: Reason, now_s: float) -> tuple[int, Reason]:
        surplus = min(inputs.workers - wanted, inputs.idle_workers)
        if inputs.draining:
            return surplus, Reason.STOP
        if inputs.workers > inputs.workers_max:
            return min(inputs.workers - inputs.workers_max, inputs.idle_workers), Reason.LIMITS
        if self._surplus_since_s is None:
            self._surplus_since_s = now_s
        due_s = self._surplus_since_s + self._cooldown_s(reason)
        if now_s < due_s or not surplus:
            self._due_s = due_s if surplus else None
            return 0, reason
        self._surplus_since_s = now_s
        self._retired_s = now_s
        return math.ceil(surplus / 2), Reason.IDLE if reason is Reason.BACKLOG else reason
