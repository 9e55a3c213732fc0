"""What an operator asks of the whole daemon: another range of workers, a pause."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import FileRef, JobState
from imgoptd.core.scaling import COOLDOWN_S, Reason
from tests.unit.dispatching import DONE, drop, given, let_go, running
from tests.unit.world import World


def ask(world: World, event: e.Event) -> None:
    world.post(event)
    world.turn()


def in_force(world: World) -> tuple[int, int, bool]:
    return (*world.engine.steering.in_force, world.engine.dispatcher.conditions.overridden)


def told(world: World) -> list[dict[str, str]]:
    """The scaling events, as fields."""
    return [dict(one.fields) for one in world.asked(c.Announce) if one.event == "scale"]


def test_each_end_of_the_range_is_asked_for_by_itself_and_stays_until_it_is_given_back() -> None:
    world = World(workers_min=1, workers_max=4)
    assert in_force(world) == (1, 4, False)
    ask(world, e.ScaleAsked(workers_max=3))
    assert in_force(world) == (1, 3, True)
    ask(world, e.ScaleAsked(workers_min=2))
    assert in_force(world) == (2, 3, True)
    ask(world, e.ScaleReturned())
    assert in_force(world) == (1, 4, False)


def test_a_reload_changes_what_was_configured_and_leaves_alone_what_was_asked_for() -> None:
    world = World(workers_min=0, workers_max=4)
    ask(world, e.ScaleAsked(workers_max=2))
    world.configure(workers_min=1, workers_max=8)
    world.turn()
    assert in_force(world) == (1, 2, True)
    ask(world, e.ScaleReturned())
    assert in_force(world) == (1, 8, False)


def test_the_most_is_never_exceeded_where_a_reload_leaves_a_least_above_it() -> None:
    world = World(workers_max=4)
    ask(world, e.ScaleAsked(workers_min=4))
    world.configure(workers_max=2)
    world.turn()
    assert in_force(world) == (2, 2, True)


def test_a_start_forgets_what_was_asked_for() -> None:
    world = World(workers_max=4)
    ask(world, e.ScaleAsked(workers_max=1))
    ask(world, e.PauseAsked())
    world.crash()
    assert in_force(world) == (0, 4, False)
    assert not world.engine.dispatcher.conditions.paused


def test_a_greater_least_starts_workers_at_once_and_says_who_wanted_them() -> None:
    world = World(workers_max=4)
    ask(world, e.ScaleAsked(workers_min=3))
    world.settle_answers()
    assert len(world.engine.fleet.workers) == 3
    asked, grown = told(world)
    assert (asked["FROM"], asked["TO"], asked["REASON"]) == ("0", "3", "command")
    assert (grown["FROM"], grown["TO"], grown["REASON"]) == ("0", "3", "command")
    assert asked.keys() >= {"BACKLOG_JOBS", "AVAILABLE_BYTES", "PSI_SOME_AVG10", "WORKERS_MIN", "WORKERS_MAX"}


def test_a_smaller_most_lets_workers_finish_and_then_leave_without_a_cooldown() -> None:
    world = World(workers_max=2, timeout_s=1000.0)
    refs = drop(world, "photo", 2, hang=True)
    world.run(5.0)
    assert len(running(world)) == 2
    ask(world, e.ScaleAsked(workers_max=1))
    assert sorted(running(world)) == sorted(refs)
    let_go(world, *refs)
    assert [world.state(ref) for ref in refs] == [DONE, DONE]
    assert len(list(world.engine.fleet.serving())) == 1
    assert told(world)[-1]["REASON"] == Reason.COMMAND


def test_paused_nothing_is_given_out_and_what_runs_is_finished() -> None:
    world = World(workers_max=1, timeout_s=1000.0)
    (first,) = drop(world, "photo", hang=True)
    world.run(5.0)
    assert running(world) == [first]
    ask(world, e.PauseAsked())
    late = drop(world, "photo", 3)
    let_go(world, first)
    world.run(60.0)
    assert world.state(first) == DONE
    assert [world.state(ref)[0] for ref in late] == [JobState.QUEUED] * 3
    ask(world, e.ResumeAsked())
    world.run(5.0)
    assert [world.state(ref) for ref in late] == [DONE] * 3


def test_paused_with_nothing_running_it_is_as_quiet_as_with_nothing_to_do() -> None:
    world = World(workers_max=2)
    ask(world, e.PauseAsked())
    drop(world, "photo", 5)
    world.run(2 * COOLDOWN_S)
    assert world.engine.next_deadline_s() is None
    assert not world.engine.fleet.workers
    assert given(world) == []


def test_idle_workers_leave_a_paused_daemon_because_of_the_command() -> None:
    world = World(workers_max=1)
    refs = drop(world, "photo")
    world.run(1.0)
    assert [world.state(ref) for ref in refs] == [DONE]
    ask(world, e.PauseAsked())
    drop(world, "photo", 3)
    world.run(2 * COOLDOWN_S)
    assert not world.engine.fleet.workers
    assert (told(world)[-1]["TO"], told(world)[-1]["REASON"]) == ("0", "command")


def test_a_pause_outlives_a_reload_and_gives_way_to_the_end() -> None:
    world = World(workers_max=1)
    ask(world, e.PauseAsked())
    refs: list[FileRef] = drop(world, "photo", 2)
    world.configure(workers_max=2)
    world.run(5.0)
    assert [world.state(ref)[0] for ref in refs] == [JobState.QUEUED] * 2
    ask(world, e.DrainRequested())
    assert world.engine.drained()


def test_asking_twice_is_told_once() -> None:
    world = World()
    for _ in range(2):
        ask(world, e.PauseAsked())
    assert len(told(world)) == 1
    for _ in range(2):
        ask(world, e.ResumeAsked())
    assert len(told(world)) == 2
