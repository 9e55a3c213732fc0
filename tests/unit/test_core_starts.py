"""Workers that cannot be started: how often it is tried, and what is said."""

from __future__ import annotations

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.exits import QUICK_DEATH_PAUSE_S, QUICK_DEATHS
from imgoptd.core.model import Domain, FileRef, JobState
from tests.unit.disk import ALICE, Content
from tests.unit.world import ROOT, World

A, B, C = (FileRef(ROOT, name) for name in (b"a.jpg", b"b.jpg", b"c.jpg"))
PHOTO = Content("photo")
PHOTO_DOMAIN = Domain(ROOT, ALICE)


def announced(world: World, event: str) -> list[str]:
    return [one.message for one in world.asked(c.Announce) if one.event == event]


def die_while_starting(world: World, times: int) -> None:
    for _ in range(times):
        start = world.until(c.StartWorker)
        world.pending.remove(start)
        world.end_worker(start.worker, 1)
        world.turn()


def test_workers_that_die_in_a_row_while_starting_pause_the_starting_and_that_is_said() -> None:
    world = World(workers_max=1)
    world.drop(A, PHOTO)
    die_while_starting(world, QUICK_DEATHS)
    paused_s, started = world.now_s, len(world.asked(c.StartWorker))
    world.run(QUICK_DEATH_PAUSE_S - 0.1)
    assert len(world.asked(c.StartWorker)) == started
    assert any("imgoptd --check" in line for line in announced(world, "error"))
    world.until(c.StartWorker)
    assert world.now_s - paused_s == pytest.approx(QUICK_DEATH_PAUSE_S)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_after_the_pause_waiting_jobs_are_no_reason_to_turn_without_pause() -> None:
    world = World(workers_max=1)
    for ref in (A, B, C):
        world.drop(ref, Content("panorama", len(world.actions)))
    die_while_starting(world, QUICK_DEATHS)
    world.run(QUICK_DEATH_PAUSE_S)
    assert world.engine.exits.start_paused_until_s is None
    world.run()
    assert world.state(C) == (JobState.DONE, "optimized")


def test_workers_that_live_get_work_while_starting_is_paused() -> None:
    world = World(workers_min=1, workers_max=2)
    world.settle_answers()
    (survivor,) = world.workers
    world.workers[survivor].domain = world.engine.fleet.workers[survivor].domain = PHOTO_DOMAIN
    world.configure(workers_min=2)
    world.turn()
    die_while_starting(world, QUICK_DEATHS)
    assert world.engine.exits.start_paused_until_s is not None
    world.drop(A, PHOTO)
    world.settle_answers()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_a_crowd_that_cannot_be_started_is_told_of_once_with_what_to_do() -> None:
    world = World(workers_min=40, workers_max=40)
    world.turn()
    wanted = [start.worker for start in world.asked(c.StartWorker)]
    for number in wanted:
        world.workers.pop(number, None)
        world.post(e.WorkerExited(number, -9, innocent=True, unstarted="no descriptor is free; set LimitNOFILE="))
    world.turn()
    assert len(wanted) == 40
    assert announced(world, "worker") == []
    assert [line.partition(": ")[2] for line in announced(world, "error")] == [
        "no descriptor is free; set LimitNOFILE="
    ]


def test_workers_that_end_with_their_template_while_starting_say_nothing_of_the_codecs() -> None:
    world = World(workers_min=40, workers_max=40)
    world.turn()
    for start in world.asked(c.StartWorker):
        world.post(e.WorkerExited(start.worker, -9, innocent=True))
    world.turn()
    assert announced(world, "error") == []
    assert world.engine.exits.start_paused_until_s is None


def test_a_worker_that_did_something_ends_the_row_of_deaths() -> None:
    world = World(workers_max=1)
    world.drop(A, PHOTO)
    die_while_starting(world, QUICK_DEATHS - 1)
    world.answer(probe := world.until(c.SendProbe))
    world.work(probe.worker)
    world.end_worker(probe.worker, -9)
    world.turn()
    die_while_starting(world, QUICK_DEATHS - 1)
    assert world.engine.exits.start_paused_until_s is None
