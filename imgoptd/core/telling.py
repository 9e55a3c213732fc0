"""What an operator is told of decisions about workers: a sentence for a person, every input as a field."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imgoptd.core.conditions import Conditions
from imgoptd.core.fleet import Worker
from imgoptd.core.pressure import Cause, Level, Strain
from imgoptd.core.scaling import Decision, FleetState, Inputs, Reason
from imgoptd.core.text import show_bytes, show_seconds
from imgoptd.core.turn import Turn

WELL_S = 10.0
"""That things are better is said when it has lasted so long: what comes and goes is said once."""
_SEVERITY = {FleetState.RUN: 0, FleetState.BLIND: 1, FleetState.PAUSE: 2, FleetState.SHED: 3}


def scale(turn: Turn, decision: Decision, because: str = "") -> None:
    """The number of workers changes. `because` is said in place of what the reason says by itself."""
    turn.announce(
        "scale",
        f"workers {decision.before} -> {decision.after} ({decision.reason}): {because or why(decision)}",
        5,
        FROM=decision.before,
        TO=decision.after,
        REASON=decision.reason,
        WANTED=decision.wanted,
        COOLDOWN_S=f"{decision.cooldown_s:.3f}",
        **dict(decision.inputs.as_fields()),
    )


def shed(ended: Sequence[Worker], strain: Strain, inputs: Inputs) -> str:
    """Why attempts are ended."""
    jobs = "1 job is ended and waits again" if len(ended) == 1 else f"{len(ended)} jobs are ended and wait again"
    return f"{_cause(strain, inputs)}; {jobs}"


def recycled(turn: Turn, worker: Worker, successor: Worker | None) -> None:
    """A worker has served its time."""
    then = f"worker {successor.id} takes its place" if successor is not None else "nothing waits for another"
    turn.announce(
        "worker",
        f"worker {worker.id} (pid {worker.pid}) leaves (recycle): {worker.recycled_for}; {then}",
        6,
        worker=worker.id,
        pid=worker.pid,
        status=0,
        reason="recycle",
    )


def why(decision: Decision) -> str:
    """What a reason means here, by the inputs that decided."""
    inputs, reason = decision.inputs, decision.reason
    if reason is Reason.STOP:
        return f"the daemon stops; still running: {inputs.backlog_jobs}"
    if reason is Reason.IDLE:
        have = "has" if inputs.idle_workers == 1 else "have"
        idle = f"{inputs.idle_workers} {have} had nothing to do for {show_seconds(decision.cooldown_s)}"
        return f"{idle}; {_work(inputs)}"
    if reason is Reason.MEMORY:
        return f"{_memory(inputs)}, and the next job has to wait for it; {_work(inputs)}"
    if reason is Reason.PRESSURE:
        return f"{_memory(inputs)}; {_waiting(inputs.psi_some_rate)}"
    if reason is Reason.CPU:
        others = "an unknown part" if inputs.others_cpus is None else f"{inputs.others_cpus:.1f}"
        return f"others keep {others} of {inputs.cpus} CPUs busy; {_work(inputs)}"
    if reason in (Reason.LIMITS, Reason.START):
        return f"[workers] min is {inputs.workers_min} and max {inputs.workers_max}; {_work(inputs)}"
    if reason is Reason.COMMAND:
        return f"an operator asked for {inputs.workers_min} to {inputs.workers_max}; {_work(inputs)}"
    return f"{_work(inputs)}; {inputs.workers_max} workers are allowed on {inputs.cpus} CPUs"


def _work(inputs: Inputs) -> str:
    if not inputs.backlog_jobs:
        return "no job waits or runs"
    jobs = "1 job" if inputs.backlog_jobs == 1 else f"{inputs.backlog_jobs} jobs"
    return f"{jobs} of about {show_seconds(inputs.backlog_cpu_s)} of CPU time wait or run"


def _memory(inputs: Inputs) -> str:
    if inputs.available_bytes is None and inputs.budget_bytes is None:
        return "nothing is known of the memory, so that one job runs at a time"
    free = f"{_bytes(inputs.available_bytes)} of memory are available, {show_bytes(inputs.reserved_bytes)} reserved"
    return free if inputs.budget_bytes is None else f"{free} of a budget of {show_bytes(inputs.budget_bytes)}"


def _waiting(rate: float | None) -> str:
    if rate is None:
        return "how long tasks wait for memory is unknown"
    return f"tasks waited for memory for {rate:.0%} of the last moment".replace("%", " %")


def _bytes(value: int | None) -> str:
    return "an unknown part" if value is None else show_bytes(value)


class StateTold:
    """Tells each change of state once: what is worse at once, what is better when it has lasted."""

    def __init__(self) -> None:
        self.told = FleetState.RUN
        self._better_since_s: float | None = None

    def tell(self, turn: Turn, conditions: Conditions, inputs: Callable[[], Inputs]) -> None:
        """`inputs` is asked only where there is something to say."""
        state = _spoken_of(conditions)
        if _SEVERITY[state] >= _SEVERITY[self.told]:
            self._better_since_s = None
            if state is not self.told:
                self._say(turn, state, conditions.strain, inputs())
        elif self._better_since_s is None:
            self._better_since_s = turn.now_s
        elif turn.now_s >= self._better_since_s + WELL_S:  # as the deadline has it, to the last bit
            self._better_since_s = None
            self._say(turn, state, conditions.strain, inputs())

    def next_deadline_s(self) -> float | None:
        return None if self._better_since_s is None else self._better_since_s + WELL_S

    def _say(self, turn: Turn, state: FleetState, strain: Strain, inputs: Inputs) -> None:
        before, self.told = self.told, state
        turn.announce(
            "pressure",
            f"{before} -> {state}: {_state_sentence(state, strain, inputs)}",
            5 if state in (FleetState.RUN, FleetState.PAUSE) else 4,
            FROM_STATE=before,
            TO_STATE=state,
            CAUSE=strain.cause or "none",
            SHORTFALL_BYTES=strain.shortfall_bytes,
            **dict(inputs.as_fields()),
        )


def _spoken_of(conditions: Conditions) -> FleetState:
    """The state as far as it is a matter of memory: an operator's own wishes, and what lasts for moments, are not."""
    if conditions.strain.level is Level.SHED:
        return FleetState.SHED
    if conditions.strain.level is Level.PAUSE:
        return FleetState.PAUSE
    return FleetState.BLIND if conditions.blind and conditions.was_read else FleetState.RUN


def _state_sentence(state: FleetState, strain: Strain, inputs: Inputs) -> str:
    if state is FleetState.RUN:
        then = "work goes on" if inputs.backlog_jobs else "nothing waits now"
        return f"memory is short no longer ({_memory(inputs)}); {then}"
    if state is FleetState.BLIND:
        return "the memory of this machine cannot be read; one job runs at a time. Is /proc mounted?"
    then = {
        FleetState.PAUSE: "no job is begun until that is over",
        FleetState.SHED: "running jobs are ended where that helps, and wait again without blame",
    }[state]
    return f"{_cause(strain, inputs)}; {then}"


def _cause(strain: Strain, inputs: Inputs) -> str:
    if strain.cause is Cause.WAITING:
        return f"{_waiting(inputs.psi_some_rate)}, {_bytes(inputs.available_bytes)} are available"
    falling = ", and others take it fast" if strain.cause is Cause.FALLING else ""
    left, all_of_it = _bytes(inputs.available_bytes), _bytes(inputs.limit_bytes)
    return f"{left} of {all_of_it} of memory are available{falling}"
