"""How many workers there are to be, and why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgoptd.core.scaling import COOLDOWN_MOST, COOLDOWN_S, FLAP_S, Inputs, Reason, Scaler, wanted_workers

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
        ({"backlog_jobs": 2, "workers": 4, "draining": True}, 2, Reason.STOP),
    ],
)
def test_what_is_wanted_and_which_bound_decided(changes: dict[str, object], wanted: int, reason: Reason) -> None:
    assert wanted_workers(with_(**changes)) == (wanted, reason)


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
