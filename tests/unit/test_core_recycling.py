"""Workers that make way for fresh ones, and those that must leave before their work is done."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core.model import Domain, JobState
from imgoptd.core.recycling import AGE_S, GROWTH_BYTES
from tests.unit.disk import ALICE
from tests.unit.dispatching import DONE, drop, let_go, running, serving
from tests.unit.edge import MIB
from tests.unit.world import ROOT, World


def said(world: World, event: str) -> list[str]:
    return [one.message for one in world.asked(c.Announce) if one.event == event]


def alive(world: World) -> list[int]:
    return [worker.id for worker in world.engine.fleet.serving()]


def test_a_worker_that_is_an_hour_old_is_replaced_between_two_jobs_in_the_same_turn() -> None:
    world = World(workers_max=1, timeout_s=10 * AGE_S)
    first, second = drop(world, "panorama", 2, hang=True)
    world.run(1.0)
    world.now_s += AGE_S
    world.run(1.0)
    assert (running(world), alive(world)) == ([first], [1])
    world.hanging.discard(first)
    while alive(world) == [1]:
        world._busy_step()
        turn = world.turn()
    assert c.RetireWorker(1) in turn
    assert c.StartWorker(2, Domain(ROOT, ALICE)) in turn
    world.run(1.0)
    assert (running(world), alive(world)) == ([second], [2])
    (message,) = said(world, "worker")
    assert message == "worker 1 (pid 4001) leaves (recycle): it is 1 h old; worker 2 takes its place"
    assert len(said(world, "scale")) == 1, "there are as many as before"


def test_one_that_is_kept_with_nothing_to_do_is_replaced_when_it_is_an_hour_old_one_after_the_other() -> None:
    world = World(workers_min=2, workers_max=2)
    world.run(AGE_S - 1.0)
    before = alive(world)
    world.run(2.0)
    assert len(before) == len(alive(world)) == 2
    assert not set(before) & set(alive(world))
    order = [one for one in world.actions if isinstance(one, c.RetireWorker | c.StartWorker)][2:]
    assert [type(one) for one in order] == [c.RetireWorker, c.StartWorker] * 2


def test_at_its_own_deadline_a_worker_is_old_enough() -> None:
    world = World(workers_min=1, workers_max=1)
    world.run(1.0)
    (worker,) = world.engine.fleet.workers.values()
    worker.started_s = 763.775  # (started_s + AGE_S) - started_s is less than AGE_S
    recycling = world.engine.dispatcher._recycling
    assert recycling.due(recycling.next_deadline_s() or 0.0) == [worker]


def test_one_that_holds_more_and_more_with_nothing_to_do_is_replaced() -> None:
    world = World(workers_max=1, workers_min=1)
    drop(world, "photo", hang=True)
    world.run(1.0)
    (worker,) = alive(world)
    world.left_over = {worker: GROWTH_BYTES}
    let_go(world, *running(world))
    world.post(world.sensed())
    world.run(1.0)
    assert alive(world) == [worker], "so much is allowed"
    world.left_over = {worker: GROWTH_BYTES + MIB}
    world.post(world.sensed())
    world.run(1.0)
    assert alive(world) == [worker + 1]
    assert "holds 65.0 MiB more than at first" in said(world, "worker")[0]


def test_where_nothing_waits_no_other_takes_its_place() -> None:
    world = World(workers_max=1)
    drop(world, "photo", hang=True)
    world.run(1.0)
    world.left_over = {1: 2 * GROWTH_BYTES}
    world.engine.handle(world.sensed(), world.now_s)
    let_go(world, *running(world))
    world.engine.fleet.workers[1].started_s -= AGE_S
    world.run(1.0)
    assert alive(world) == []
    assert said(world, "worker")[0].endswith("nothing waits for another")


def test_fewer_workers_are_allowed_and_what_waits_in_the_hands_of_the_youngest_goes_back_at_once() -> None:
    world = World(workers_max=2, timeout_s=1000.0)
    refs = drop(world, "photo", 4, hang=True)
    world.run(1.0)
    assert len(serving(world)) == 2
    kept, leaving = (worker.tasks for worker in world.engine.fleet.workers.values())
    begun, waiting = leaving[0].ref, leaving[1].ref
    stays = [job.ref for job in kept]
    world.configure(workers_max=1)
    world.run(1.0)
    assert running(world) == [*stays, begun]
    assert world.state(waiting)[0] is JobState.QUEUED
    assert world.store.files[waiting].attempts == 0
    world.hanging.clear()
    world.run()
    assert {world.state(ref) for ref in refs} == {DONE}
    assert len([one for one in world.asked(c.SendJob) if one.ref == waiting]) == 2


def test_a_task_that_its_worker_has_begun_by_then_ends_as_ever() -> None:
    world = World(workers_max=2, timeout_s=1000.0)
    refs = drop(world, "photo", 4, hang=True)
    world.run(1.0)
    world.configure(workers_max=1)
    world.turn()
    (recall,) = [one for one in world.pending if isinstance(one, c.Recall)]
    world.hanging.clear()
    for number in list(world.workers):  # the worker gets on before it is asked
        world.work(number)
    world.answer(recall)
    world.run()
    assert {world.state(ref) for ref in refs} == {DONE}
    assert len([one for one in world.asked(c.SendJob) if one.ref == recall.ref]) == 1


def test_a_burst_of_unprobed_files_starts_a_worker_for_each_processor_in_the_first_turn() -> None:
    world = World(workers_max=8, timeout_s=1000.0)
    world.machine = type(world.machine)(available_bytes=16 << 30, limit_bytes=32 << 30, cpus=8)
    world.post(world.machine)
    drop(world, "photo", 100)
    world.until(c.StartWorker)
    assert len([one for one in world.pending if isinstance(one, c.StartWorker)]) == 8
