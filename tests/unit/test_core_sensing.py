"""When the sensors are read, and what follows the machine from reading to reading."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.limits import Limits
from imgoptd.core.sensing import ALERT_S, SENSE_ALERT_S, SENSE_HELD_S, SENSE_LEAST_S, SENSE_S, SENSE_SHORT_S, Sensing

MIB = 1 << 20
CONFIGURED = e.Configured(1, (), workers_min=0, workers_max=0, job_timeout_s=10.0)


def sensing_since(now_s: float) -> Sensing:
    sensing = Sensing()
    sensing.sensing(now_s)
    return sensing


def test_with_work_the_sensors_are_read_four_times_a_second() -> None:
    assert sensing_since(10.0).next_s(work=True, held=False) == 10.0 + SENSE_S


@pytest.mark.parametrize(("workers", "after_s"), [(1, SENSE_SHORT_S), (16, SENSE_SHORT_S), (40, 0.12), (500, SENSE_S)])
def test_while_a_job_waits_for_memory_they_are_read_more_often_the_fewer_workers_there_are(
    workers: int, after_s: float
) -> None:
    due_s = sensing_since(10.0).next_s(work=True, held=False, short_of_memory=True, workers=workers)
    assert due_s == pytest.approx(10.0 + after_s)


def test_held_jobs_alone_ask_for_few_readings_and_nothing_to_do_for_none() -> None:
    assert sensing_since(10.0).next_s(work=False, held=True) == 10.0 + SENSE_HELD_S
    assert sensing_since(10.0).next_s(work=False, held=False) is None


def test_an_alert_is_looked_after_at_once_and_with_nothing_to_do_not_at_all() -> None:
    sensing = sensing_since(10.0)
    sensing.alerted(10.2)

    due_s = sensing.next_s(work=True, held=False)
    assert due_s is not None and due_s <= 10.2
    assert sensing.next_s(work=False, held=False) is None


def test_after_an_alert_readings_are_dense_for_a_while() -> None:
    sensing = sensing_since(10.0)
    sensing.alerted(10.0)
    sensing.sensing(10.1)
    assert sensing.next_s(work=True, held=False) == 10.1 + SENSE_ALERT_S
    sensing.sensing(10.1 + ALERT_S)
    assert sensing.next_s(work=True, held=False) == 10.1 + ALERT_S + SENSE_S


@given(st.lists(st.floats(0.0, 0.2), min_size=1, max_size=200))
def test_however_many_alerts_come_readings_keep_their_distance(pauses_s: list[float]) -> None:
    sensing, now_s, read_s = sensing_since(0.0), 0.0, [0.0]
    for pause_s in pauses_s:
        now_s += pause_s
        sensing.alerted(now_s)
        due_s = sensing.next_s(work=True, held=False)
        if due_s is not None and now_s >= due_s:
            sensing.sensing(now_s)
            read_s.append(now_s)

    assert all(later - earlier >= SENSE_LEAST_S - 1e-9 for earlier, later in itertools.pairwise(read_s))
    assert now_s - read_s[-1] < SENSE_LEAST_S + 1e-9


def test_the_engine_asks_for_no_reading_on_an_alert_while_it_has_nothing_to_do() -> None:
    engine = Engine()
    assert engine.end_turn(0.0) == [c.Sense()]
    engine.handle(e.Sensed(available_bytes=1 << 30, limit_bytes=2 << 30), 0.0)
    engine.handle(e.Alerted("test"), 1.0)

    assert engine.end_turn(1.0) == []
    assert engine.next_deadline_s() is None


@pytest.mark.parametrize(
    ("limits", "cpus", "workers"),
    [
        (Limits(0, 0), 3, (0, 3)),
        (Limits(8, 0), 3, (3, 3)),
        (Limits(1, 6), 3, (1, 6)),
    ],
)
def test_without_a_configured_most_the_cpus_are_it(limits: Limits, cpus: int, workers: tuple[int, int]) -> None:
    assert limits.workers(e.Sensed(cpus=cpus)) == workers


def test_a_budget_in_percent_is_that_of_the_limit_and_unknown_with_it() -> None:
    half = Limits(budget_fraction=0.5)

    assert half.budget(e.Sensed(limit_bytes=512 * MIB)) == 256 * MIB
    assert half.budget(e.Sensed()) is None
    assert Limits(budget_bytes=7).budget(e.Sensed(limit_bytes=512 * MIB)) == 7


def test_the_engine_follows_cpus_and_memory_that_change_without_a_reload() -> None:
    engine = Engine()
    conditions = engine.dispatcher.conditions
    machine = e.Sensed(available_bytes=MIB, limit_bytes=1024 * MIB, cpus=4)
    engine.handle(machine, 0.0)
    engine.handle(replace(CONFIGURED, memory_budget_fraction=0.5), 0.0)
    assert (conditions.workers_max, conditions.budget_bytes) == (4, 512 * MIB)

    engine.handle(replace(machine, cpus=1, limit_bytes=256 * MIB), 1.0)

    assert (conditions.workers_max, conditions.budget_bytes) == (1, 128 * MIB)


def test_readings_are_dense_while_memory_is_short() -> None:
    sensing = sensing_since(1.0)
    sensing.uneasy(1.0)
    assert sensing.next_s(work=True, held=False) == 1.0 + SENSE_ALERT_S
    sensing.sensing(1.0 + ALERT_S)
    assert sensing.next_s(work=True, held=False) == 1.0 + ALERT_S + SENSE_S


@pytest.mark.parametrize(("available", "uneasy"), [(80, True), (800, False)])
def test_the_engine_is_uneasy_while_a_reading_shows_too_little(available: int, uneasy: bool) -> None:
    engine = Engine()
    engine.handle(e.Sensed(available_bytes=available * MIB, limit_bytes=1024 * MIB, cpus=4), 0.0)
    assert engine.dispatcher.is_uneasy() is uneasy
