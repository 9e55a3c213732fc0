"""When the machine counts as short of memory, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgoptd.core.conditions import Conditions
from imgoptd.core.dispatch import Dispatcher
from imgoptd.core.fleet import Fleet, WorkerState
from imgoptd.core.intake import Intake
from imgoptd.core.model import Domain
from imgoptd.core.pressure import CALM_S, FULL_S, Cause, Gauge, Level, Reading, Strain
from imgoptd.core.recycling import Recycling
from imgoptd.core.story import Story
from imgoptd.core.telling import StateTold
from imgoptd.core.turn import Turn
from imgoptd.core.vitals import Vitals

MIB = 1 << 20
LIMIT = 1000 * MIB
RESERVE = 120 * MIB
STEP_S = 0.25


def reading(
    available: int | None = 500,
    rate: float | None = 0.0,
    *,
    held: int | None = 0,
    growing: int = 0,
    limit: int | None = LIMIT,
) -> Reading:
    """`available`, `held` and `growing` in MiB."""
    known = None if available is None else available * MIB
    return Reading(known, limit, RESERVE, rate, None if held is None else held * MIB, growing * MIB)


def follow(*readings: Reading) -> list[Level]:
    gauge = Gauge()
    return [gauge.take(one, number * STEP_S).level for number, one in enumerate(readings)]


@pytest.mark.parametrize(
    ("one", "level", "cause"),
    [
        (reading(), Level.CALM, Cause.NONE),
        (reading(rate=0.05), Level.CALM, Cause.NONE),
        (reading(rate=0.06), Level.PAUSE, Cause.WAITING),
        (reading(rate=0.21), Level.SHED, Cause.WAITING),
        (reading(available=90), Level.CALM, Cause.NONE),
        (reading(available=89), Level.PAUSE, Cause.LOW),
        (reading(available=30), Level.PAUSE, Cause.LOW),
        (reading(available=29), Level.SHED, Cause.LOW),
        (reading(available=80, growing=60), Level.SHED, Cause.FALLING),
        (reading(available=None, rate=None), Level.CALM, Cause.NONE),
        (reading(available=None, rate=0.3), Level.SHED, Cause.WAITING),
        (reading(available=89, rate=None, limit=None), Level.PAUSE, Cause.LOW),
        (reading(available=29, rate=None, limit=None), Level.SHED, Cause.LOW),
    ],
)
def test_what_one_reading_asks_for(one: Reading, level: Level, cause: Cause) -> None:
    strain = Gauge().take(one, 0.0)
    assert (strain.level, strain.cause) == (level, cause)


def test_the_shortfall_is_what_is_missing_to_the_floor() -> None:
    assert Gauge().take(reading(available=10), 0.0).shortfall_bytes == 20 * MIB
    assert Gauge().take(reading(available=10, growing=5), 0.0).shortfall_bytes == 25 * MIB
    assert Gauge().take(reading(rate=0.9), 0.0).shortfall_bytes == 0


def test_a_pause_ends_when_all_has_been_well_for_a_second_without_a_break() -> None:
    between = reading(available=110)  # above what begins a pause, below what ends it
    pause, calm = Level.PAUSE, Level.CALM
    well = [reading()] * int(CALM_S / STEP_S)
    assert follow(reading(80), *well, reading()) == [pause] * 5 + [calm]
    assert follow(reading(80), *[between] * 9) == [pause] * 10
    assert follow(reading(80), *well, reading(120, held=380), *well, reading()) == [pause] * 10 + [calm]
    assert follow(between, between) == [calm, calm]


def test_after_the_worst_is_over_the_pause_goes_on() -> None:
    shed, pause, calm = Level.SHED, Level.PAUSE, Level.CALM
    assert follow(reading(10), reading(200), *[reading(200)] * 4) == [shed, pause, pause, pause, pause, calm]


def test_a_neighbour_that_takes_memory_fast_is_met_before_it_has_taken_it() -> None:
    """150 MiB in a quarter of a second: as much again is expected, and 20 MiB are missing then."""
    gauge = Gauge()
    gauge.take(reading(310), 0.0)
    strain = gauge.take(reading(160), 0.25)
    assert (strain.level, strain.cause, strain.shortfall_bytes) == (Level.SHED, Cause.FALLING, 20 * MIB)


def test_what_our_own_jobs_take_is_no_fall() -> None:
    gauge = Gauge()
    gauge.take(reading(310, held=0), 0.0)
    assert gauge.take(reading(160, held=150), 0.25).level is Level.CALM


def test_a_fall_is_not_carried_on_for_longer_than_it_has_lasted() -> None:
    gauge = Gauge()
    gauge.take(reading(160), 0.0)
    assert gauge.take(reading(100), 0.1).level is Level.PAUSE, "300 MiB at that speed, but 60 are seen"
    assert gauge.take(reading(100), 0.35).cause is Cause.LOW, "it has ended, and too little is left to go on"


def test_a_reading_without_one_of_the_workers_tells_of_no_fall() -> None:
    gauge = Gauge()
    gauge.take(reading(200, held=200), 0.0)
    assert gauge.take(reading(200, held=None), 0.25).level is Level.CALM
    assert gauge.take(reading(200, held=200), 0.5).level is Level.CALM


def test_what_was_before_a_long_time_without_a_reading_counts_for_nothing() -> None:
    gauge = Gauge()
    assert gauge.take(reading(80), 0.0).level is Level.PAUSE
    assert gauge.take(reading(800), 60.0).level is Level.CALM
    assert gauge.take(reading(350), 600.0).level is Level.CALM, "that others took 450 MiB meanwhile is no speed"


def test_a_machine_that_others_keep_full_is_told_from_one_in_trouble() -> None:
    gauge = Gauge()
    full = [gauge.take(reading(80), step * STEP_S) for step in range(int(FULL_S / STEP_S) + 1)]
    assert {one.level for one in full} == {Level.PAUSE}
    assert not gauge.is_merely_full(reading(80), FULL_S - STEP_S)
    assert gauge.is_merely_full(reading(80), FULL_S)
    assert not gauge.is_merely_full(reading(80, rate=0.06), FULL_S), "tasks wait for memory"


@pytest.mark.parametrize("then", [reading(110), reading(500, rate=0.03)])
def test_what_is_neither_well_nor_pressing_is_a_machine_that_is_full_whatever_began_it(then: Reading) -> None:
    gauge = Gauge()
    gauge.take(reading(160), 0.0)
    assert gauge.take(reading(110, rate=0.1), 0.25).level is Level.PAUSE
    for step in range(2, int(FULL_S / STEP_S) + 2):
        assert gauge.take(then, step * STEP_S).level is Level.PAUSE
    assert gauge.is_merely_full(then, FULL_S + STEP_S)


readings = st.builds(
    reading,
    st.none() | st.integers(0, 400),
    st.none() | st.floats(0, 1),
    held=st.none() | st.integers(0, 400),
    growing=st.integers(0, 100),
)


@given(st.lists(st.tuples(st.floats(0.01, 1.0), readings), max_size=40))
def test_whatever_comes_work_begins_again_only_after_a_calm_second_and_a_shortfall_is_shed(
    steps: list[tuple[float, Reading]],
) -> None:
    gauge, now_s, before = Gauge(), 0.0, Strain()
    pressed_s: float | None = None
    for delay_s, one in steps:
        now_s += delay_s
        strain = gauge.take(one, now_s)
        known = one.available_bytes
        if known is not None and known < one.floor_bytes:
            assert strain.level is Level.SHED
        if strain.level is Level.SHED:
            assert strain.shortfall_bytes > 0 or strain.cause is Cause.WAITING
        else:
            assert strain.shortfall_bytes == 0
        assert (strain.level is Level.CALM) == (strain.cause is Cause.NONE)
        well = known is None or known > RESERVE
        if (one.rate is not None and one.rate >= 0.01) or not well:
            pressed_s = now_s
        if before.level is not Level.CALM and strain.level is Level.CALM:
            assert pressed_s is None or now_s - pressed_s >= CALM_S
        before = strain


@given(st.lists(readings, max_size=20))
def test_after_the_pressure_ends_work_goes_on(past: list[Reading]) -> None:
    gauge = Gauge()
    for number, one in enumerate(past):
        gauge.take(one, number * STEP_S)
    end_s = len(past) * STEP_S
    # The first calm reading still may show a rise or fall against the last; one window later nothing of it is left.
    levels = [gauge.take(reading(900), end_s + step * STEP_S).level for step in range(12)]
    assert levels[-1] is Level.CALM


@example(1014.1, 496.4)
@given(st.floats(0.0, 1e7), st.floats(0.0, 1e7))
def test_at_its_own_deadline_there_is_something_to_do(began_s: float, started_s: float) -> None:
    told, conditions = StateTold(), Conditions(strain=Strain(Level.PAUSE))
    told.tell(Turn(began_s), conditions, Dispatcher(Intake(Story()), Fleet()).inputs)
    conditions.strain = Strain()
    told.tell(Turn(began_s), conditions, Dispatcher(Intake(Story()), Fleet()).inputs)
    due_s = told.next_deadline_s()
    assert due_s is not None
    told.tell(turn := Turn(due_s), conditions, Dispatcher(Intake(Story()), Fleet()).inputs)
    assert turn.commands and told.next_deadline_s() is None

    fleet = Fleet()
    worker = fleet.add(Domain(b"/a", 0), started_s)
    worker.state = WorkerState.IDLE
    recycling = Recycling(fleet, Vitals(fleet))
    due_s = recycling.next_deadline_s()
    assert due_s is not None
    assert recycling.due(due_s) == [worker]
