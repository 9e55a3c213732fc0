"""How many workers are wanted, and why. Each decision is a value with its reason and all its inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import StrEnum

CPU_S_PER_WORKER = 1.0
"""A further worker is wanted for each second of CPU that waits."""
COOLDOWN_S = 15.0
COOLDOWN_MOST = 8
"""The cooldown doubles up to this factor when growing follows a retirement within FLAP_S."""
FLAP_S = 30.0


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
    BLIND = "blind"
    """Nothing is known of the machine's memory: one job at a time."""
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a decision rests on. None is unknown."""

    workers: int
    """Alive and not leaving."""
    idle_workers: int
    workers_min: int
    workers_max: int
    backlog_jobs: int
    """Waiting, probing or running."""
    backlog_cpu_s: float
    cpus: int
    others_cpus: float | None
    available_bytes: int | None
    reserved_bytes: int
    budget_bytes: int | None
    psi_some_avg10: float | None
    psi_some_rate: float | None
    draining: bool = False

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

    @property
    def after(self) -> int:
        return self.before + self.start - self.retire


def wanted_workers(inputs: Inputs) -> tuple[int, Reason]:
    """How many workers there should be, and which bound decided."""
    if inputs.draining:
        return min(inputs.workers, inputs.backlog_jobs), Reason.STOP
    if not inputs.backlog_jobs:
        return inputs.workers_min, Reason.IDLE
    others = inputs.others_cpus or 0.0
    bounds = {
        Reason.LIMITS: inputs.workers_max,
        Reason.CPU: max(1, math.floor(inputs.cpus - others / 2 + 0.5)),
        Reason.BACKLOG: min(inputs.backlog_jobs, max(1, math.ceil(inputs.backlog_cpu_s / CPU_S_PER_WORKER))),
    }
    reason = min(bounds, key=lambda name: (bounds[name], name is not Reason.BACKLOG))
    return min(inputs.workers_max, max(1, inputs.workers_min, bounds[reason])), reason


class Scaler:
    """Grows at once; shrinks by half of the idle surplus after a cooldown that doubles when growing follows."""

    def __init__(self) -> None:
        self._surplus_since_s: float | None = None
        self._due_s: float | None = None
        self._retired_s: float | None = None
        self._factor = 1
        self.last: Decision | None = None
        """The last decision that changed something."""

    def decide(self, inputs: Inputs, now_s: float, *, may_start: bool = True) -> Decision:
        wanted, reason = wanted_workers(inputs)
        start = retire = 0
        self._due_s = None
        if inputs.workers < wanted and not inputs.draining:
            if may_start:
                start = wanted - inputs.workers
                reason = self._grown(now_s, reason, inputs)
        elif inputs.workers > wanted:
            retire, reason = self._shrink(inputs, wanted, reason, now_s)
        else:
            self._surplus_since_s = None
        decision = Decision(inputs.workers, wanted, reason, start, retire, inputs)
        if start or retire:
            self.last = decision
        return decision

    def next_deadline_s(self) -> float | None:
        """When the retirement of a worker that idles now becomes due, or None."""
        return self._due_s

    @property
    def _cooldown_s(self) -> float:
        return COOLDOWN_S * self._factor

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
        due_s = self._surplus_since_s + self._cooldown_s
        if now_s < due_s or not surplus:
            self._due_s = due_s if surplus else None
            return 0, reason
        self._surplus_since_s = now_s
        self._retired_s = now_s
        return math.ceil(surplus / 2), Reason.IDLE if reason is Reason.BACKLOG else reason
