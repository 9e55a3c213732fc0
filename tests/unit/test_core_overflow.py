"""More jobs than memory is to hold: the others wait in the store, and none is forgotten."""

from __future__ import annotations

from imgoptd.core import events as e
from imgoptd.core.model import FileRef, HintKind, JobState
from tests.unit.dispatching import DONE, drop
from tests.unit.world import World


def crowded(most: int) -> World:
    """Paused, so that what comes waits."""
    world = World(workers_max=1)
    world.engine.jobs.overflow.most = {False: most, True: most}
    world.post(e.PauseAsked())
    world.turn()
    return world


def take_up(world: World) -> None:
    """As the daemon does when there is room: all unfinished rows are told, whatever is known of them."""
    jobs = world.engine.jobs.overflow.waiting(fresh=True)
    for record in world.store.files.values():
        if record.state in (JobState.QUEUED, JobState.ACTIVE) and record.fresh:
            world.post(e.Recovered(record))
    world.post(e.TakenUp(True, jobs))
    world.run(5.0)


def test_beyond_the_bound_jobs_wait_in_the_store_as_queued() -> None:
    world = crowded(3)
    refs = drop(world, "photo", 10)
    world.run(5.0)
    assert len(world.engine.jobs.by_ref) == 3
    assert world.engine.jobs.overflow.jobs == 7
    assert [world.store.files[ref].state for ref in refs] == [JobState.QUEUED] * 10
    assert not world.engine.at_rest()


def test_they_are_taken_up_until_all_are_done() -> None:
    world = crowded(3)
    refs: list[FileRef] = drop(world, "photo", 10)
    world.run(5.0)
    world.post(e.ResumeAsked())
    walks = 0
    while world.engine.jobs.overflow.jobs:
        world.run(60.0)
        take_up(world)
        walks += 1
    world.run(60.0)
    assert [world.state(ref) for ref in refs] == [DONE] * 10
    assert walks <= 4
    assert world.engine.at_rest()


def test_what_came_during_a_walk_waits_for_the_next_one() -> None:
    world = crowded(1)
    drop(world, "photo", 3)
    world.run(5.0)
    before = world.engine.jobs.overflow.waiting(fresh=True)
    drop(world, "photo", 2)
    world.run(5.0)
    world.post(e.TakenUp(True, before))
    world.turn()
    assert world.engine.jobs.overflow.jobs == 2


def test_a_file_that_waits_in_the_store_is_looked_at_when_somebody_writes_to_it() -> None:
    world = crowded(1)
    _, late = drop(world, "photo", 2)
    world.run(5.0)
    assert late not in world.engine.jobs.by_ref
    world.engine.jobs.overflow.most = {False: 9, True: 9}
    world.post(e.Hinted(late, HintKind.CLOSED))
    world.run(5.0)
    assert late in world.engine.jobs.by_ref


def test_what_the_last_run_left_counts_until_it_is_handed_over() -> None:
    world = crowded(100)
    refs = drop(world, "photo", 3)
    world.run(5.0)
    overflow = world.engine.jobs.overflow
    overflow.left_over = 2
    assert overflow.jobs == 2 and not world.engine.at_rest()
    for ref in refs:
        world.post(e.Recovered(world.store.files[ref]))
    world.turn()
    assert overflow.jobs == 0
