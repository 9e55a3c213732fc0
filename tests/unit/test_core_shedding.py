"""Which attempts are ended for want of memory, what becomes of their jobs, and what is begun meanwhile."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.model import FileRef, JobState
from imgoptd.core.pressure import CALM_S, FULL_S, Level, Strain
from imgoptd.core.scaling import FleetState
from imgoptd.core.shedding import GONE_S, RATE_S, Attempt, choose
from imgoptd.core.telling import WELL_S
from imgoptd.core.turn import Turn
from tests.unit.disk import Content
from tests.unit.dispatching import DONE, drop, let_go, running
from tests.unit.edge import MIB
from tests.unit.world import World

MACHINE = e.Sensed(available_bytes=6000 * MIB, limit_bytes=8000 * MIB, psi_some_rate=0.0, cpus=8)
FLOOR = 240 * MIB
"""3 % of it; what is never given out are 960 MiB."""


def attempt(worker: int, lost_cpu_s: float, mib: int, *, fits: bool = True) -> Attempt:
    return Attempt(worker, lost_cpu_s, mib * MIB, fits)


def chosen(*attempts: Attempt, mib: int) -> list[int]:
    return sorted(one.worker for one in choose(attempts, mib * MIB))


# ---- the choice -----------------------------------------------------------------------------------------------------


def test_those_are_ended_whose_end_costs_least_for_what_it_frees() -> None:
    old, young, small = attempt(1, 10.0, 500), attempt(2, 1.0, 400), attempt(3, 0.9, 10)
    assert chosen(old, young, small, mib=100) == [2]
    assert chosen(old, young, small, mib=405) == [2, 3]


def test_none_is_ended_that_another_makes_needless() -> None:
    assert chosen(attempt(1, 0.1, 20), attempt(2, 5.0, 600), attempt(3, 90.0, 700), mib=300) == [2]


def test_the_last_one_goes_on_unless_it_cannot_fit_any_more() -> None:
    assert chosen(attempt(1, 1.0, 100), mib=900) == []
    assert chosen(attempt(1, 1.0, 100, fits=False), mib=900) == [1]
    assert chosen(attempt(1, 1.0, 100, fits=False), attempt(2, 9.0, 100), mib=900) == [1]


def test_who_holds_nothing_is_not_ended() -> None:
    assert chosen(attempt(1, 0.0, 0), attempt(2, 5.0, 100), attempt(3, 6.0, 100), mib=50) == [2]


attempts = st.lists(
    st.builds(Attempt, st.integers(), st.floats(0, 100), st.integers(0, 1 << 30), st.booleans()),
    max_size=8,
    unique_by=lambda one: one.worker,
)


@given(attempts, st.integers(1, 4 << 30))
def test_never_more_are_ended_than_the_shortfall_needs_and_one_that_fits_is_left(
    running_now: list[Attempt], shortfall: int
) -> None:
    ended = choose(running_now, shortfall)
    freed = sum(one.frees_bytes for one in ended)
    assert all(freed - one.frees_bytes < shortfall for one in ended), "without any of them it would be too little"
    if any(one.fits for one in running_now):
        assert any(one.fits for one in running_now if one not in ended)
    spared = [one for one in running_now if one not in ended and one.frees_bytes]
    assert freed >= shortfall or len(spared) <= 1, "more could have been done"


# ---- in the engine --------------------------------------------------------------------------------------------------


def three_that_run() -> tuple[World, list[FileRef]]:
    """Each holds 300 MiB; the second has taken the least CPU time."""
    world = World(workers_max=4, machine=MACHINE, timeout_s=1000.0)
    refs = drop(world, "panorama", 3, hang=True)
    world.run(1.0)
    assert set(running(world)) == set(refs)
    world.holds = dict.fromkeys(refs, 300 * MIB)
    world.cpu_s = {number: 0.1 if one.tasks[0][0] == refs[1] else 5.0 for number, one in world.workers.items()}
    world.run(5.0)
    return world, refs


def sink(world: World, available: int) -> None:
    """So slowly that no speed is seen: it is not expected to go on."""
    world.now_s += 2.0
    sense(world, available_bytes=available)


def sense(world: World, **changes: object) -> None:
    world.machine = replace(world.machine, **changes)  # type: ignore[arg-type]  # names are checked by replace itself
    world.post(world.sensed())
    world.settle_answers()


def sheds(world: World) -> list[c.KillWorker]:
    return [one for one in world.asked(c.KillWorker) if one.why == "shed"]


def said(world: World, event: str) -> list[c.Announce]:
    return [one for one in world.asked(c.Announce) if one.event == event]


def test_with_too_little_memory_the_cheapest_attempt_is_ended_and_waits_again_without_blame() -> None:
    world, refs = three_that_run()
    sink(world, FLOOR - 10 * MIB)
    assert len(sheds(world)) == 1
    assert set(running(world)) == {refs[0], refs[2]}
    record = world.store.files[refs[1]]
    assert (record.state, record.attempts) == (JobState.QUEUED, 0)
    assert "no fault of the file" in world.store.steps[refs[1]][-1][1]
    assert world.engine.jobs.by_ref[refs[1]].kills == 0
    assert not said(world, "worker"), "no worker was lost: it was ended"
    world.hanging.clear()
    sense(world, available_bytes=3000 * MIB)
    world.run()
    assert {world.state(ref) for ref in refs} == {DONE}


def test_as_many_are_ended_at_once_as_the_shortfall_asks_for_but_the_last() -> None:
    world, _ = three_that_run()
    sink(world, 10 * MIB)
    assert len(sheds(world)) == 1, "one is enough"
    world, refs = three_that_run()
    world.holds = dict.fromkeys(refs, 100 * MIB)
    sink(world, MIB)
    assert len(sheds(world)) == 2
    world.run(20.0)
    assert len(sheds(world)) == 2, "the last goes on, whatever comes"
    assert len(running(world)) == 1


def test_while_the_daemon_stops_attempts_are_ended_as_ever() -> None:
    world, refs = three_that_run()
    world.post(e.DrainRequested())
    sink(world, FLOOR - 10 * MIB)
    assert set(running(world)) == {refs[0], refs[2]}
    assert world.store.files[refs[1]].state is JobState.QUEUED
    world.hanging.clear()
    world.settle_answers()
    assert world.engine.drained()


def test_others_follow_with_the_next_reading_that_shows_too_little_after_a_moment_to_be_gone() -> None:
    world, _ = three_that_run()
    sink(world, FLOOR - 10 * MIB)
    world.now_s += GONE_S - 0.01
    sense(world)
    assert len(sheds(world)) == 1
    world.now_s += 0.01
    sense(world)
    assert len(sheds(world)) == 2


def test_where_tasks_wait_for_memory_one_attempt_is_ended_in_two_seconds() -> None:
    world, _ = three_that_run()
    sense(world, psi_some_rate=0.5)
    world.run(RATE_S - 0.1)
    assert len(sheds(world)) == 1
    world.run(0.4)
    assert len(sheds(world)) == 2


def test_what_was_ended_does_not_go_back_into_the_same_trap() -> None:
    world, refs = three_that_run()
    sink(world, FLOOR - 10 * MIB)
    sense(world, available_bytes=FLOOR + 290 * MIB)
    world.run(20.0)
    assert len(running(world)) == 2
    assert world.engine.dispatcher.conditions.state is FleetState.PAUSE
    sense(world, available_bytes=4000 * MIB)
    world.run(CALM_S + 0.5)
    assert set(running(world)) == set(refs)


def test_a_job_that_a_lowered_limit_leaves_no_room_for_is_ended_though_it_is_the_last_and_held() -> None:
    world = World(machine=MACHINE, timeout_s=1000.0)
    (ref,) = drop(world, "panorama", hang=True)
    world.run(1.0)
    world.holds = {ref: 300 * MIB}
    world.run(1.0)
    world.now_s += 2.0
    sense(world, available_bytes=0, limit_bytes=450 * MIB)
    assert len(sheds(world)) == 1
    sense(world, available_bytes=400 * MIB)
    world.run(5.0)
    assert world.state(ref) == (JobState.HELD, "needs-memory")
    world.hanging.clear()
    sense(world, available_bytes=3000 * MIB, limit_bytes=4000 * MIB)
    world.run()
    assert world.state(ref) == DONE


def test_a_lower_budget_ends_nothing_while_the_memory_is_there() -> None:
    world, refs = three_that_run()
    world.engine.handle(replace(world.config, memory_budget_bytes=500 * MIB), world.now_s)
    world.engine.end_turn(world.now_s)
    assert not sheds(world)
    assert set(running(world)) == set(refs)


# ---- a pause --------------------------------------------------------------------------------------------------------


def test_during_a_pause_what_runs_goes_on_and_nothing_is_begun_or_started() -> None:
    world = World(workers_max=4, machine=MACHINE, timeout_s=1000.0)
    (first,) = drop(world, "panorama", hang=True)
    world.run(1.0)
    sense(world, psi_some_rate=0.1)
    drop(world, "photo", 4)
    started = len(world.asked(c.StartWorker))
    world.run(8.0)
    assert running(world) == [first]
    assert len(world.asked(c.StartWorker)) == started
    assert not sheds(world)
    let_go(world, first)
    assert world.state(first) == DONE
    sense(world, psi_some_rate=0.0)
    world.run()
    assert world.engine.story.counts["done"] == 5


def test_what_waits_in_a_workers_hands_is_not_begun_during_a_pause_either() -> None:
    world = World(workers_max=1, machine=MACHINE, timeout_s=1000.0)
    first, second = drop(world, "photo", 2, hang=True)
    world.run(1.0)
    assert running(world) == [first, second]
    sense(world, psi_some_rate=0.1)
    assert running(world) == [first]
    assert world.state(second)[0] is JobState.QUEUED
    assert second not in world.open, "its descriptors are closed"


def test_on_a_machine_that_others_keep_full_one_job_runs_at_a_time() -> None:
    full = replace(MACHINE, available_bytes=600 * MIB)
    world = World(workers_max=4, machine=full, timeout_s=1000.0)
    (large,) = drop(world, "panorama")
    refs = drop(world, "photo", 3, hang=True)
    world.run(FULL_S - 1)
    assert len(running(world)) == 0
    world.run(2.0)
    world.run(5.0)
    assert len(running(world)) == 1
    world.hanging.clear()
    world.run(60.0)
    assert {world.state(ref) for ref in refs} == {DONE}
    assert world.state(large)[0] is JobState.QUEUED, "there is no room for it"
    sense(world, available_bytes=3000 * MIB)
    world.run()
    assert world.state(large) == DONE


def test_with_nothing_to_do_nothing_is_held_back() -> None:
    world, refs = three_that_run()
    sense(world, psi_some_rate=0.1)
    let_go(world, *refs)
    world.run(1.0)
    assert world.engine.dispatcher.conditions.state is FleetState.RUN
    assert world.engine.at_rest()


# ---- what is said ---------------------------------------------------------------------------------------------------


def test_each_change_of_state_is_said_once_with_its_reason_and_its_end_when_it_has_lasted() -> None:
    world, _ = three_that_run()
    sink(world, FLOOR - 10 * MIB)
    for _ in range(5):  # it comes and goes
        sense(world, available_bytes=1600 * MIB)
        world.run(CALM_S + 0.5)
        sense(world, available_bytes=500 * MIB)
        world.run(1.0)
    sense(world, available_bytes=3000 * MIB)
    world.run(WELL_S + CALM_S + 0.5)
    entries = said(world, "pressure")
    assert [dict(one.fields)["TO_STATE"] for one in entries] == ["shed", "run"]
    assert entries[0].message == (
        "run -> shed: 230 MiB of 7.81 GiB of memory are available; running jobs are ended where that helps, and wait "
        "again without blame"
    )
    assert [one.priority for one in entries] == [4, 5]
    assert dict(entries[0].fields)["SHORTFALL_BYTES"] != "0"


def test_ending_attempts_is_a_decision_about_workers_with_all_its_inputs() -> None:
    world, _ = three_that_run()
    sink(world, FLOOR - 10 * MIB)
    (entry,) = [one for one in said(world, "scale") if "(pressure)" in one.message]
    assert entry.message.startswith("workers 3 -> 2 (pressure): 230 MiB of 7.81 GiB of memory are available")
    assert entry.message.endswith("1 job is ended and waits again")
    assert dict(entry.fields)["STATE"] == "shed"
    assert world.engine.dispatcher.scaler.last is not None
    assert world.engine.dispatcher.scaler.last.reason == "pressure"


def test_that_nothing_is_known_yet_at_the_start_is_not_said_but_that_nothing_can_be_known_is() -> None:
    world = World(machine=MACHINE)
    drop(world, "photo")
    world.run()
    assert not said(world, "pressure")
    world = World(machine=e.Sensed(cpus=4))
    drop(world, "photo")
    world.run()
    (entry,) = said(world, "pressure")
    assert "cannot be read; one job runs at a time" in entry.message


# ---- held -----------------------------------------------------------------------------------------------------------


def test_a_held_job_gets_its_chance_when_its_kind_turns_out_to_need_less() -> None:
    world = World(budget_bytes=350 * MIB, machine=MACHINE)
    (held,) = drop(world, "panorama")
    world.run()
    assert world.state(held) == (JobState.HELD, "needs-memory")
    for _ in range(10):  # far less than was feared
        world.engine.jobs.estimator.learn(world.store.files[held], Content("panorama").outcome().effort, 0)
    drop(world, "photo", hang=True)
    world.run(10.0)
    assert world.state(held) == DONE


@given(st.floats(0.0, 1e6))
@example(54.141)  # with it, (now + WELL_S) - now is less than WELL_S
def test_at_its_own_deadline_what_is_better_is_told(now_s: float) -> None:
    engine = Engine()
    told, conditions = engine.dispatcher.told, engine.dispatcher.conditions
    conditions.strain = Strain(Level.PAUSE)
    told.tell(Turn(now_s), conditions, engine.dispatcher.inputs)
    conditions.strain = Strain()
    told.tell(Turn(now_s), conditions, engine.dispatcher.inputs)
    due_s = told.next_deadline_s()
    assert due_s is not None
    told.tell(Turn(due_s), conditions, engine.dispatcher.inputs)
    assert told.next_deadline_s() is None
