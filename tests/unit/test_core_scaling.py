"""How many workers there are to be, and why."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core.scaling import (
    COOLDOWN_MOST,
    COOLDOWN_S,
    FLAP_S,
    MEMORY_PATIENCE,
    MEMORY_S,
    Decision,
    FleetState,
    Inputs,
    Reason,
    Scaler,
    wanted_workers,
)
from imgoptd.core.telling import why

IDLE = Inputs(
    workers=0,
    idle_workers=0,
    busy_workers=0,
    workers_min=0,
    workers_max=4,
    backlog_jobs=0,
    backlog_cpu_s=0.0,
    cpus=4,
    others_cpus=None,
    available_bytes=None,
    limit_bytes=None,
    reserve_bytes=0,
    reserved_bytes=0,
    budget_bytes=None,
    psi_some_avg10=None,
    psi_some_rate=None,
)


def with_(**changes: object) -> Inputs:
    return replace(IDLE, **changes)  # type: ignore[arg-type]  # names are checked by replace itself


def shrink(scaler: Scaler, workers: int, now_s: float, **changes: object) -> int:
    return scaler.decide(with_(workers=workers, idle_workers=workers, **changes), now_s).retire


@pytest.mark.parametrize(
    ("changes", "wanted", "reason"),
    [
        ({}, 0, Reason.IDLE),
        ({"workers_min": 2}, 2, Reason.IDLE),
        ({"backlog_jobs": 1, "backlog_cpu_s": 90.0}, 1, Reason.BACKLOG),
        ({"backlog_jobs": 9, "backlog_cpu_s": 0.01}, 1, Reason.BACKLOG),
        ({"backlog_jobs": 9, "backlog_cpu_s": 0.21}, 3, Reason.BACKLOG),
        ({"backlog_jobs": 9, "backlog_cpu_s": 90.0, "cpus": 8}, 4, Reason.LIMITS),
        ({"backlog_jobs": 9, "backlog_cpu_s": 90.0, "workers_max": 9}, 4, Reason.CPU),
        ({"backlog_jobs": 9, "backlog_cpu_s": 90.0, "others_cpus": 4.0}, 2, Reason.CPU),
        ({"backlog_jobs": 9, "backlog_cpu_s": 90.0, "cpus": 1, "others_cpus": 8.0}, 1, Reason.CPU),
        ({"backlog_jobs": 1, "backlog_cpu_s": 0.1, "workers_min": 3}, 3, Reason.BACKLOG),
        ({"backlog_jobs": 9, "backlog_cpu_s": 9.0, "cpus": 2, "others_cpus": 1.0}, 2, Reason.CPU),
        ({"backlog_jobs": 9, "backlog_cpu_s": 9.0, "cpus": 2, "others_cpus": 1.1}, 1, Reason.CPU),
        ({"backlog_jobs": 9, "backlog_cpu_s": 9.0, "state": FleetState.BLIND}, 1, Reason.MEMORY),
        ({"backlog_jobs": 9, "backlog_cpu_s": 9.0, "state": FleetState.PAUSE, "busy_workers": 3}, 3, Reason.PRESSURE),
        ({"backlog_jobs": 9, "backlog_cpu_s": 9.0, "state": FleetState.SHED, "busy_workers": 0}, 1, Reason.PRESSURE),
        (
            {"backlog_jobs": 9, "backlog_cpu_s": 9.0, "state": FleetState.PAUSE, "busy_workers": 3, "paused": True},
            3,
            Reason.COMMAND,
        ),
        ({"backlog_jobs": 2, "workers": 4, "draining": True}, 2, Reason.STOP),
    ],
)
def test_what_is_wanted_and_which_bound_decided(changes: dict[str, object], wanted: int, reason: Reason) -> None:
    assert wanted_workers(with_(**changes)) == (wanted, reason)


@given(cpus=st.integers(1, 128), share=st.floats(0, 1), jobs=st.integers(1, 500), most=st.integers(1, 64))
def test_there_is_a_worker_for_each_processor_that_others_leave_free_within_the_bounds(
    cpus: int, share: float, jobs: int, most: int
) -> None:
    others = cpus * share
    inputs = with_(backlog_jobs=jobs, backlog_cpu_s=1e6, cpus=cpus, others_cpus=others, workers_max=most)
    wanted, _ = wanted_workers(inputs)
    assert 1 <= wanted <= min(most, jobs, cpus)
    assert wanted >= min(most, jobs, math.floor(cpus - others))


BUSY = {"backlog_jobs": 9, "backlog_cpu_s": 90.0, "workers_max": 8, "cpus": 8}


def test_while_jobs_wait_for_memory_there_is_one_worker_more_than_have_work() -> None:
    scaler = Scaler()
    held_up = with_(**BUSY, workers=3, busy_workers=2, idle_workers=1, state=FleetState.CONSTRAINED)
    assert (scaler.decide(held_up, 0.0).wanted, scaler.decide(held_up, 0.0).reason) == (3, Reason.MEMORY)
    all_busy = replace(held_up, busy_workers=3, idle_workers=0, state=FleetState.RUN)
    assert scaler.decide(all_busy, MEMORY_S - 0.1).start == 1, "it got work: one more is tried"
    assert scaler.decide(all_busy, MEMORY_S).start == 5, "none has waited for a while"


def test_more_idle_workers_than_the_memory_has_use_for_leave_when_that_has_lasted() -> None:
    scaler = Scaler()
    idle = with_(**BUSY, workers=8, busy_workers=2, idle_workers=6, state=FleetState.CONSTRAINED)
    assert scaler.decide(idle, 0.0).retire == 0
    assert scaler.decide(idle, COOLDOWN_S * MEMORY_PATIENCE - 0.1).retire == 0
    decision = scaler.decide(idle, COOLDOWN_S * MEMORY_PATIENCE)
    assert (decision.retire, decision.reason) == (3, Reason.MEMORY)


GIB = 1 << 30


@pytest.mark.parametrize(
    ("reason", "changes", "sentence"),
    [
        (Reason.BACKLOG, {}, "9 jobs of about 1 min 30 s of CPU time wait or run; 8 workers are allowed on 8 CPUs"),
        (
            Reason.IDLE,
            {"backlog_jobs": 0, "idle_workers": 2},
            "2 have had nothing to do for 15 s; no job waits or runs",
        ),
        (
            Reason.MEMORY,
            {"available_bytes": GIB, "reserved_bytes": GIB // 2, "budget_bytes": 2 * GIB},
            "1.00 GiB of memory are available, 512 MiB reserved of a budget of 2.00 GiB, and the next job has to wait "
            "for it; 9 jobs of about 1 min 30 s of CPU time wait or run",
        ),
        (
            Reason.PRESSURE,
            {"available_bytes": GIB, "psi_some_rate": 0.123},
            "1.00 GiB of memory are available, 0 B reserved; tasks waited for memory for 12 % of the last moment",
        ),
        (
            Reason.CPU,
            {"others_cpus": 5.25},
            "others keep 5.2 of 8 CPUs busy; 9 jobs of about 1 min 30 s of CPU time wait",
        ),
        (Reason.LIMITS, {"backlog_jobs": 1}, "[workers] min is 0 and max 8; 1 job of about 1 min 30 s of CPU time"),
        (Reason.COMMAND, {"workers_min": 2}, "an operator asked for 2 to 8; "),
        (Reason.STOP, {"backlog_jobs": 2}, "the daemon stops; still running: 2"),
    ],
)
def test_each_reason_reads_as_a_sentence(reason: Reason, changes: dict[str, object], sentence: str) -> None:
    decision = Decision(2, 1, reason, 0, 1, with_(**{**BUSY, **changes}))
    assert why(decision).startswith(sentence)


def test_it_grows_at_once_and_says_from_what_to_what_and_why() -> None:
    scaler = Scaler()
    decision = scaler.decide(with_(backlog_jobs=9, backlog_cpu_s=90.0), 0.0)
    assert (decision.before, decision.start, decision.after, decision.reason) == (0, 4, 4, Reason.BACKLOG)
    assert scaler.last is decision


def test_while_starting_is_paused_nothing_grows_and_no_decision_is_remembered() -> None:
    scaler = Scaler()
    decision = scaler.decide(with_(backlog_jobs=9, backlog_cpu_s=90.0), 0.0, may_start=False)
    assert (decision.start, scaler.last) == (0, None)


def test_it_shrinks_by_half_of_the_idle_surplus_after_each_cooldown() -> None:
    scaler = Scaler()
    assert shrink(scaler, 4, 0.0) == 0
    assert scaler.next_deadline_s() == COOLDOWN_S
    assert shrink(scaler, 4, COOLDOWN_S - 0.1) == 0
    assert shrink(scaler, 4, COOLDOWN_S) == 2
    assert shrink(scaler, 2, COOLDOWN_S + 0.1) == 0
    assert shrink(scaler, 2, 2 * COOLDOWN_S) == 1
    assert shrink(scaler, 1, 3 * COOLDOWN_S) == 1


def test_work_that_comes_during_the_cooldown_ends_it() -> None:
    scaler = Scaler()
    shrink(scaler, 2, 0.0)
    scaler.decide(with_(workers=2, backlog_jobs=9, backlog_cpu_s=2.0), 10.0)
    assert shrink(scaler, 2, COOLDOWN_S) == 0
    assert shrink(scaler, 2, 2 * COOLDOWN_S) == 2 // 2


def test_busy_workers_above_what_is_wanted_are_no_reason_to_wake_up() -> None:
    scaler = Scaler()
    for now_s in (0.0, COOLDOWN_S, 10 * COOLDOWN_S):
        scaler.decide(with_(workers=2, backlog_jobs=2, backlog_cpu_s=0.5), now_s)
        assert scaler.next_deadline_s() is None


def test_growing_soon_after_a_retirement_doubles_the_cooldown_up_to_a_bound_and_later_growing_resets_it() -> None:
    scaler, now_s, cooldowns = Scaler(), 0.0, []
    for pause_s in (FLAP_S / 2, FLAP_S / 2, FLAP_S / 2, FLAP_S / 2, FLAP_S / 2, FLAP_S, FLAP_S):
        shrink(scaler, 1, now_s)
        due_s = scaler.next_deadline_s()
        assert due_s is not None
        cooldowns.append((due_s - now_s) / COOLDOWN_S)
        assert shrink(scaler, 1, due_s) == 1
        now_s = due_s + pause_s
        scaler.decide(with_(backlog_jobs=1, backlog_cpu_s=1.0), now_s)
    assert cooldowns == [1, 2, 4, COOLDOWN_MOST, COOLDOWN_MOST, COOLDOWN_MOST, 1]


def test_above_the_limit_idle_workers_leave_at_once_for_that_reason() -> None:
    decision = Scaler().decide(with_(workers=4, idle_workers=1, workers_max=2, backlog_jobs=9, backlog_cpu_s=90.0), 0.0)
    assert (decision.retire, decision.reason) == (1, Reason.LIMITS)


def test_a_drain_retires_who_idles_and_starts_nobody() -> None:
    decision = Scaler().decide(with_(workers=3, idle_workers=1, backlog_jobs=2, draining=True), 0.0)
    assert (decision.start, decision.retire, decision.reason) == (0, 1, Reason.STOP)


def test_the_inputs_are_told_as_journal_fields_and_what_is_unknown_says_so() -> None:
    told = dict(with_(backlog_cpu_s=1.5, psi_some_avg10=0.25).as_fields())
    assert told["BACKLOG_CPU_S"] == "1.500"
    assert told["PSI_SOME_AVG10"] == "0.250"
    assert told["AVAILABLE_BYTES"] == "unknown"
    assert told["DRAINING"] == "false"


def test_no_more_workers_are_started_than_memory_has_room_for_but_the_least_that_is_kept() -> None:
    work = {"backlog_jobs": 9, "backlog_cpu_s": 9.0}
    assert Scaler().decide(with_(memory_for=None, **work), 0.0).start == 4
    assert Scaler().decide(with_(memory_for=3, **work), 0.0).start == 3
    none = Scaler().decide(with_(workers=1, memory_for=0, **work), 0.0)
    assert (none.start, none.wanted, none.reason) == (0, 4, Reason.MEMORY)
    assert Scaler().decide(with_(workers=1, workers_min=2, memory_for=0, **work), 0.0).start == 1
