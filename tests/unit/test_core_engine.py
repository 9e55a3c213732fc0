"""Workers that die, hang or are killed; draining; deadlines; and who is to blame."""

from __future__ import annotations

from typing import NoReturn

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.endings import MAX_KILLS
from imgoptd.core.exits import START_TIMEOUT_S
from imgoptd.core.job import Job
from imgoptd.core.model import FileRef, JobState
from tests.unit.disk import Content
from tests.unit.edge import MIB
from tests.unit.world import ROOT, World

A, B, C = (FileRef(ROOT, name) for name in (b"a.jpg", b"b.jpg", b"c.jpg"))
PHOTO = Content("photo")


def two_in_one_worker(first: str) -> tuple[World, int]:
    """A worker works on A, of that kind, and B waits in it."""
    world = World(workers_max=1)
    world.drop(A, Content(first, 1))
    world.drop(B, Content("photo", 2))
    for _ in range(2):
        world.answer(world.until(c.SendJob))
    (worker,) = world.workers
    assert [ref for ref, _, _ in world.workers[worker].tasks] == [A, B]
    return world, worker


def announced(world: World, event: str) -> list[str]:
    return [one.message for one in world.asked(c.Announce) if one.event == event]


# ---- blame ----------------------------------------------------------------------------------------------------------


def test_a_crash_is_blamed_on_the_task_that_ran_and_not_on_the_one_behind_it() -> None:
    world, worker = two_in_one_worker("deadly")
    world.work(worker)
    world.turn()
    assert (world.store.files[A].attempts, world.state(A)) == (1, (JobState.QUEUED, "worker-crashed"))
    assert (world.store.files[B].attempts, world.state(B)) == (0, (JobState.QUEUED, ""))
    world.run()
    assert world.state(A) == (JobState.QUARANTINED, "worker-crashed")
    assert world.state(B) == (JobState.DONE, "optimized")
    assert any("crashed with signal 11 (SIGSEGV) at work on jpeg" in line for line in announced(world, "worker"))


def test_a_probe_that_costs_its_worker_is_blamed_alone_in_its_batch() -> None:
    world = World(workers_max=1)
    world.drop(A, PHOTO)
    world.drop(B, Content("deadly-to-probe"))
    world.drop(C, Content("photo", 3))
    world.run()
    assert [world.state(ref)[0] for ref in (A, B, C)] == [JobState.DONE, JobState.QUARANTINED, JobState.DONE]
    assert world.store.files[C].attempts == 0


@pytest.mark.parametrize("status", [-9, -15])
def test_a_worker_killed_from_outside_blames_nobody(status: int) -> None:
    world, worker = two_in_one_worker("photo")
    world.end_worker(worker, status)
    world.run()
    assert [world.store.files[ref].attempts for ref in (A, B)] == [0, 0]
    assert [world.state(ref)[0] for ref in (A, B)] == [JobState.DONE, JobState.DONE]


def test_a_job_whose_worker_is_killed_from_outside_again_and_again_waits_longer_and_longer_and_is_never_blamed() -> (
    None
):
    world = World(workers_max=1)
    world.drop(A, PHOTO)
    waits_s = []
    for _ in range(3):
        for _ in range(MAX_KILLS + 1):
            world.answer(job := world.until(c.SendJob))
            world.end_worker(job.worker, -9)
            world.turn()
        assert world.state(A) == (JobState.DEFERRED, "worker-killed")
        assert world.store.files[A].attempts == 0
        waits_s.append((world.engine.next_deadline_s() or 0.0) - world.now_s)
    assert waits_s == sorted(set(waits_s)), "each wait is longer than the one before"
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


@pytest.mark.parametrize(("status", "oom"), [(-9, True), (1, False), (-11, False)])
def test_a_worker_lost_to_the_oom_killer_or_by_itself_blames_its_job(status: int, oom: bool) -> None:
    world = World()
    world.drop(A, PHOTO)
    world.answer(job := world.until(c.SendJob))
    world.end_worker(job.worker, status, oom=oom)
    world.turn()
    assert world.store.files[A].attempts == 1
    again = world.until(c.SendJob)
    assert again.memory_bytes == 2 * job.memory_bytes, "at twice the prediction"


@pytest.mark.parametrize(("held_bytes", "blamed"), [(20 * MIB, 0), (4096 * MIB, 1)])
def test_an_oom_kill_is_blamed_only_on_a_job_that_was_seen_to_hold_more_than_was_reserved(
    held_bytes: int, blamed: int
) -> None:
    world = World(workers_max=1, timeout_s=1000.0)
    world.drop(A, Content("endless"))
    world.holds[A] = held_bytes
    given = []
    for times in (1, 2):
        world.answer(job := world.until(c.SendJob))
        given.append(job.memory_bytes)
        world.run(2.0)
        world.end_worker(job.worker, -9, oom=True)
        world.turn()
        assert world.store.files[A].attempts == blamed * times
    state = (JobState.QUARANTINED if blamed else JobState.DEFERRED, "oom-killed")
    assert world.state(A) == state
    learned = world.engine.jobs.estimator.estimate(world.store.files[A]).memory_bytes
    assert (learned > given[0]) is bool(blamed), "what others took says nothing of what such jobs need"


def test_workers_that_die_together_with_their_template_blame_nobody() -> None:
    world, worker = two_in_one_worker("photo")
    world.end_worker(worker, -9, innocent=True)
    world.turn()
    assert [world.store.files[ref].attempts for ref in (A, B)] == [0, 0]
    assert world.engine.jobs.by_ref[A].kills == 0


# ---- timeouts -------------------------------------------------------------------------------------------------------


def test_a_job_that_takes_longer_than_its_timeout_costs_its_worker_and_the_one_behind_it_goes_on_elsewhere() -> None:
    world, worker = two_in_one_worker("endless")
    world.run(9.9)
    assert worker in world.workers
    world.run(0.2)
    assert worker not in world.workers
    assert any("timeout: it took longer than job_timeout (10 s)" in text for _, text in world.store.steps[A])
    world.run()
    assert world.state(A) == (JobState.QUARANTINED, "timeout")
    assert (world.state(B)[0], world.store.files[B].attempts) == (JobState.DONE, 0)


def test_a_task_that_its_worker_had_just_begun_when_it_was_ended_for_the_one_before_is_not_blamed() -> None:
    world, worker = two_in_one_worker("photo")
    world.now_s += 10.0
    world.turn()
    assert c.KillWorker(worker, "timeout") in world.pending
    world.work(worker)  # it was through after all, and the kill comes when it has begun the next
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
    assert (world.state(B)[0], world.store.files[B].attempts) == (JobState.DONE, 0)


def test_each_task_has_the_whole_timeout_from_when_it_became_the_first() -> None:
    world, worker = two_in_one_worker("photo")
    world.now_s += 9.0
    world.turn()
    world.work(worker)
    world.turn()
    world.now_s += 9.0
    world.turn()
    assert world.asked(c.KillWorker) == []
    world.now_s += 1.0
    world.turn()
    assert world.asked(c.KillWorker) == [c.KillWorker(worker, "timeout")]


def test_a_worker_that_was_told_to_end_and_does_not_is_no_reason_to_turn_without_pause() -> None:
    world, _ = two_in_one_worker("endless")
    world.now_s += 10.0
    world.turn()
    for _ in range(3):
        deadline_s = world.engine.next_deadline_s()
        assert deadline_s is not None and deadline_s > world.now_s
        world.now_s = deadline_s
        world.turn()
    assert len(world.asked(c.KillWorker)) == 1


def test_a_worker_that_never_says_it_is_ready_is_ended_in_time_even_when_nothing_else_happens() -> None:
    world = World(workers_min=1)
    world.until(c.StartWorker)
    began_s = world.now_s
    while not world.asked(c.KillWorker):
        deadline_s = world.engine.next_deadline_s()
        assert deadline_s is not None
        world.now_s = deadline_s
        world.turn()
    assert world.now_s - began_s == START_TIMEOUT_S
    assert world.asked(c.KillWorker)[0].why == "start-timeout"


# ---- draining -------------------------------------------------------------------------------------------------------


def test_a_drain_finishes_what_runs_and_starts_nothing_more() -> None:
    world, _ = two_in_one_worker("photo")
    world.drop(C, Content("photo", 3))
    world.turn()
    world.post(e.DrainRequested())
    world.turn()
    given = len(world.asked(c.SendJob)) + len(world.asked(c.SendProbe))
    assert not world.engine.drained()
    world.settle_answers()
    assert world.engine.drained()
    assert [world.state(ref)[0] for ref in (A, B)] == [JobState.DONE, JobState.QUEUED], "what was not begun went back"
    assert len(world.asked(c.SendJob)) + len(world.asked(c.SendProbe)) == given
    assert world.workers == {}, "idle workers left"
    world.crash()
    world.run()
    assert [world.state(ref) for ref in (B, C)] == [(JobState.DONE, "optimized")] * 2


def test_a_replace_under_way_is_waited_for() -> None:
    world = World()
    world.drop(A, PHOTO)
    exchange = world.until(c.Exchange)
    world.post(e.DrainRequested())
    world.turn()
    assert not world.engine.drained()
    world.answer(exchange)
    world.turn()
    assert world.engine.drained()
    assert world.state(A) == (JobState.DONE, "optimized")


class NotLookedThrough(dict[FileRef, Job]):
    def values(self) -> NoReturn:
        raise AssertionError("every job is looked at")


def test_that_nothing_is_to_be_drained_is_told_without_a_look_at_every_job() -> None:
    world, _ = two_in_one_worker("photo")
    world.engine.jobs.by_ref = NotLookedThrough(world.engine.jobs.by_ref)
    assert not world.engine.drained()


def test_a_drain_that_waits_for_a_long_job_does_not_turn_without_pause() -> None:
    world = World(workers_max=2)
    world.run(1.0)
    world.drop(A, PHOTO)
    world.run()
    world.turn()  # a worker idles and its cooldown has begun
    world.drop(A, Content("endless", 2))
    world.answer(world.until(c.SendJob))
    world.post(e.DrainRequested())
    world.run(9.0)
    assert not world.engine.drained()
    world.run(2.0)
    assert world.engine.drained()
    assert world.state(A) == (JobState.QUEUED, "timeout")


def test_asking_twice_for_a_drain_is_asking_once() -> None:
    world = World()
    world.post(e.DrainRequested())
    world.post(e.DrainRequested())
    world.turn()
    assert len(announced(world, "drain")) == 1


# ---- at rest --------------------------------------------------------------------------------------------------------


def test_it_is_at_rest_when_all_is_looked_at_scanned_and_done_and_then_nothing_is_due() -> None:
    world = World(files={B: PHOTO})
    assert not world.engine.at_rest(), "the first scan is still looked at"
    world.run()
    world.drop(A, PHOTO)
    world.turn()
    assert not world.engine.at_rest()
    world.run()
    assert world.engine.at_rest()
    world.run(3600.0)
    assert world.workers == {}
    assert world.engine.next_deadline_s() is None


def test_senses_are_read_while_there_is_work_and_not_without() -> None:
    world = World()
    world.run(3600.0)
    idle = len(world.asked(c.Sense))
    assert idle == 1, "once, at the start"
    world.drop(A, Content("endless"))
    world.run(5.0)
    assert len(world.asked(c.Sense)) >= idle + 4 * 4
