"""What fits the memory: waiting, passing, room that is kept, what is held, and jobs that run alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.costs import Prediction, predict
from imgoptd.core.estimate import BESIDE_FACTOR, FIRST_FACTOR
from imgoptd.core.giving import CONSTRAINED_S
from imgoptd.core.model import FileRecord, FileRef, HintKind, JobState
from imgoptd.core.policy import FolderPolicy
from imgoptd.core.scaling import FleetState
from tests.unit.disk import BOB, Content
from tests.unit.dispatching import DONE, URGENT, A, B, C, drop, given, let_go, needs, running
from tests.unit.edge import MIB
from tests.unit.world import ROOT, World, folder

# ---- memory ---------------------------------------------------------------------------------------------------------


def tight(*folders: FolderPolicy) -> World:
    """Memory for one panorama and some photos beside it."""
    return World(*folders, workers_max=2, budget_bytes=needs("panorama") + 100 * MIB, timeout_s=1000.0)


def test_a_job_that_does_not_fit_waits_and_smaller_ones_pass_it() -> None:
    world = tight()
    first, second = drop(world, "panorama", 2, hang=True)
    small = drop(world, "photo", 4)
    world.run(1.0)
    assert given(world) == [first, *small]
    assert world.engine.dispatcher.conditions.state is FleetState.CONSTRAINED
    let_go(world, first)
    assert running(world) == [second]


def test_where_memory_is_scarce_small_jobs_of_a_kind_that_is_not_known_come_first_and_teach_of_it() -> None:
    files = {A: Content("mural", 1), B: Content("poster", 2), C: Content("poster", 3)}
    plenty, scarce = (
        World(folder(optimize_existing=True), workers_max=1, budget_bytes=budget, files=files)
        for budget in (needs("mural"), needs("mural") - 10 * MIB)
    )
    for world in (plenty, scarce):
        world.untouchable.clear()  # what stands there is to be worked on
    plenty.run()
    assert given(plenty)[0] == A, "the largest first"
    scarce.run()
    assert given(scarce)[0] != A


def test_beside_a_first_job_of_its_kind_that_may_take_much_another_begins_with_less() -> None:
    one = needs("panorama")
    assert one * BESIDE_FACTOR / FIRST_FACTOR < one - 10 * MIB
    world = World(workers_max=2, budget_bytes=2 * one - 10 * MIB, timeout_s=1000.0)
    first = drop(world, "panorama", hang=True)
    world.run(0.0)
    second = drop(world, "panorama", hang=True)
    world.run(0.0)
    assert given(world) == [*first, *second]


def test_after_ten_seconds_of_being_passed_room_is_kept_for_it() -> None:
    world = World(workers_max=2, budget_bytes=needs("mural") + 10 * MIB, timeout_s=1000.0)
    (first,), (second,) = drop(world, "photo", hang=True), drop(world, "mural", hang=True)
    world.run(0.0)
    for _ in range(int(CONSTRAINED_S)):
        small = drop(world, "photo")
        world.run(1.0)
        assert given(world)[-1:] == small, "they pass"
    world.run(0.5)
    late = drop(world, "photo", 3)
    world.run(20.0)
    assert not set(late) & set(given(world)), "they wait now"
    let_go(world, first)
    assert running(world) == [second]
    let_go(world, second)
    world.run(1.0)
    assert set(late) <= set(given(world))


def test_what_fits_beside_it_passes_it_for_as_long_as_it_takes() -> None:
    world = tight()
    first, second = drop(world, "panorama", 2, hang=True)
    world.run(CONSTRAINED_S + 0.5)
    late = drop(world, "photo", 3)
    world.run(1.0)
    assert set(late) <= set(given(world)), "the CPU does not idle"
    let_go(world, first)
    assert running(world) == [second]


def test_what_ends_before_there_is_room_for_it_passes_it() -> None:
    # Three panoramas at a time would fit; the first is to take much longer than a photo.
    world = World(workers_max=2, budget_bytes=needs("mural") + 10 * MIB, timeout_s=1000.0)
    (first,), (second,) = drop(world, "panorama", hang=True), drop(world, "mural", hang=True)
    world.run(CONSTRAINED_S + 0.5)
    (worker,) = [one for one in world.engine.fleet.workers.values() if one.tasks]
    worker.head_since_s = world.now_s  # as if it had just begun
    (late,) = drop(world, "photo")
    world.run(0.0)
    assert late in given(world)
    assert running(world)[0] == first and second not in running(world)


def test_room_is_kept_from_other_domains_too() -> None:
    world = World(workers_max=3, workers_min=3, budget_bytes=needs("panorama") + 10 * MIB, timeout_s=1000.0)
    mine = drop(world, "photo", hang=True)
    others = drop(world, "photo", 60, uid=BOB, hang=True)
    world.run(0.0)
    (large,) = drop(world, "panorama")
    world.run(0.0)
    let_go(world, *mine)
    while large not in given(world) and world.store.files[others[-1]].state is not JobState.DONE:
        world.run(1.0)
        let_go(world, running(world)[0])  # and others begin at once: BOB always has some running
    assert world.store.files[others[-1]].state is JobState.QUEUED
    world.hanging.clear()
    world.run()
    assert world.engine.story.counts["done"] == 62


def overlap(world: World, before: list[FileRef]) -> list[FileRef]:
    """Other jobs of BOB's begin, if they may, before the ones before them end: no moment is without one."""
    following = drop(world, "photo", 2, uid=BOB, hang=True)
    world.run(1.0)
    let_go(world, *before)
    return following


def test_a_larger_job_that_comes_to_stand_before_it_does_not_take_the_room_that_is_kept() -> None:
    world = World(folder(optimize_existing=True), budget_bytes=needs("panorama") + 100 * MIB, timeout_s=1000.0)
    first, second, larger = A, B, C
    world.hanging.update((first, second, larger))
    for ref, kind in ((first, "panorama"), (second, "panorama"), (larger, "mural")):
        world.disk.put(ref, Content(kind, 1 if ref == first else 2))
        world.scan(ROOT)
        world.run(1.5)
        if ref == second:
            world.run(CONSTRAINED_S)
    assert given(world) == [first]
    let_go(world, first)
    assert running(world) == [second]
    let_go(world, second)
    assert running(world) == [larger]


@pytest.mark.parametrize("how", ["overwritten", "gone"])
def test_room_is_not_kept_for_a_job_that_is_none_any_more(how: str) -> None:
    world = tight()
    first, second = drop(world, "panorama", 2, hang=True)
    world.run(CONSTRAINED_S + 0.5)
    if how == "gone":
        del world.disk.files[second]
        world.hint(second, HintKind.MOVED)
    else:
        world.overwrite(second, Content("photo", 1))
    world.hanging.discard(second)
    small = drop(world, "photo", 3)
    world.run(1.0)
    assert set(small) <= set(given(world))
    let_go(world, first)
    world.run()
    assert given(world).count(second) == (how == "overwritten")


def test_the_job_that_room_is_kept_for_goes_to_a_worker_of_its_own_domain_alone() -> None:
    world = World(workers_max=2, workers_min=2, budget_bytes=needs("panorama") + needs("photo"), timeout_s=1000.0)
    mine, others = drop(world, "photo", hang=True), drop(world, "panorama", 2, uid=BOB, hang=True)
    world.run(0.0)
    (large,) = drop(world, "panorama")
    let_go(world, *mine)
    mine = drop(world, "photo", hang=True)
    world.run(CONSTRAINED_S + 0.5)
    assert set(running(world)) == {*mine, others[0]}
    let_go(world, others[0])  # now there is room, but its own worker is busy
    world.run(1.0)
    assert running(world) == mine
    let_go(world, *mine)
    assert large in given(world)
    world.hanging.clear()
    world.run()
    assert world.engine.story.counts["done"] == 5


def test_more_urgent_work_passes_a_job_that_room_is_kept_for() -> None:
    world = tight(folder(priority=5), folder(URGENT, priority=0))
    world.run(1.0)
    drop(world, "panorama", 2, hang=True)
    world.run(0.0)
    world.run(CONSTRAINED_S + 0.5)
    (urgent,) = drop(world, "photo", root=URGENT)
    world.run(1.0)
    assert world.state(urgent) == DONE


def test_blind_one_job_runs_at_a_time() -> None:
    world = World(workers_max=3, machine=e.Sensed(cpus=4))
    refs = drop(world, "panorama", 3, hang=True)
    world.run(5.0)
    assert running(world) == refs[:1]
    assert world.engine.dispatcher.conditions.state is FleetState.BLIND
    world.hanging.clear()
    world.run()
    assert {world.state(ref) for ref in refs} == {DONE}


def test_the_machines_memory_counts_what_running_jobs_may_still_take() -> None:
    panorama = needs("panorama")
    limit = 3000 * MIB  # of which 360 MiB are never given out
    beside = int(panorama * BESIDE_FACTOR / FIRST_FACTOR)
    machine = e.Sensed(available_bytes=360 * MIB + panorama + beside - MIB, limit_bytes=limit, cpus=4)
    world = World(workers_max=3, machine=machine)
    refs = drop(world, "panorama", 2, hang=True)
    world.run(0.5)
    assert running(world) == refs[:1], "the first has not taken its memory yet, and the second does not fit beside it"
    (worker,) = [one for one in world.workers if world.workers[one].tasks]
    used = machine.available_bytes or 0
    world.machine = replace(
        machine, available_bytes=used - panorama // 2, workers=(e.WorkerReading(worker, 30 * MIB + panorama),)
    )
    world.post(world.machine)
    world.run(0.5)
    assert set(running(world)) == set(refs), "it took half of what was feared"


# ---- held -----------------------------------------------------------------------------------------------------------


def test_a_job_larger_than_all_memory_is_held_with_the_reason_and_stops_nobody() -> None:
    world = World()
    (huge,) = drop(world, "huge")
    (photo,) = drop(world, "photo")
    world.run()
    assert world.state(huge) == (JobState.HELD, "needs-memory")
    assert "raise [workers] memory_budget" in world.store.files[huge].detail
    assert world.state(photo) == DONE
    assert world.engine.at_rest()


def test_a_larger_budget_gives_what_was_held_its_chance() -> None:
    world = World(budget_bytes=100 * MIB)
    (held,) = drop(world, "panorama")
    world.run()
    assert world.state(held) == (JobState.HELD, "needs-memory")
    world.configure(memory_budget_bytes=1000 * MIB)
    world.run()
    assert world.state(held) == DONE


@pytest.mark.parametrize("unreadable_between", [False, True])
def test_a_machine_with_more_memory_gives_what_was_held_its_chance(unreadable_between: bool) -> None:
    small = e.Sensed(available_bytes=200 * MIB, limit_bytes=256 * MIB, cpus=4)
    world = World(machine=small)
    (held,) = drop(world, "panorama")
    world.run()
    assert world.state(held) == (JobState.HELD, "needs-memory")
    if unreadable_between:
        world.post(e.Sensed(cpus=4))
        world.run()
        assert world.state(held) == (JobState.HELD, "needs-memory"), "knowing nothing is no reason to try"
    world.machine = e.Sensed(available_bytes=900 * MIB, limit_bytes=1000 * MIB, cpus=4)
    world.post(world.machine)
    world.run()
    assert world.state(held) == DONE


def test_while_nothing_is_learned_and_no_limit_changes_held_jobs_cost_nothing() -> None:
    world = World()
    drop(world, "huge", 3)
    world.run(20.0)
    estimator, asked = world.engine.jobs.estimator, []

    def counted(record: FileRecord) -> Prediction:
        asked.append(record.ref)
        return predict(record)

    estimator._predict = counted
    readings = len(world.asked(c.Sense))
    world.run(60.0)
    assert len(world.asked(c.Sense)) > readings + 5
    assert not asked
    world.configure(memory_budget_bytes=2000 * MIB)
    world.run(6.0)
    assert len(set(asked)) == 3, "another limit may change everything"


def test_what_merely_had_to_end_is_given_no_more_the_next_time_than_it_was() -> None:
    world = World(workers_max=1, timeout_s=1000.0)
    world.drop(A, Content("greedy"))
    first = world.until(c.SendJob)
    world.answer(first)
    world.work(first.worker)
    world.hanging.add(A)
    world.run(1.0)
    for _ in range(3):
        again = world.asked(c.SendJob)[-1]
        assert (again.ref, again.memory_bytes) == (A, 2 * first.memory_bytes)
        world.end_worker(again.worker, -9)
        world.run(1.0)


# ---- alone ----------------------------------------------------------------------------------------------------------


def a_job_that_must_run_alone(world: World) -> FileRef:
    (ref,) = drop(world, "bursting")
    while not (ref in world.store.files and world.store.files[ref].attempts):
        world.run(0.1)
    return ref


def test_a_job_that_must_run_alone_waits_for_all_others_and_nothing_starts_beside_it() -> None:
    world = World(workers_max=2, timeout_s=1000.0)
    (long,) = drop(world, "panorama", hang=True)
    world.run(0.0)
    alone = a_job_that_must_run_alone(world)
    world.run(1.0)
    assert running(world) == [long]
    world.hanging.add(alone)
    let_go(world, long)
    assert running(world) == [alone]
    (other,) = drop(world, "photo", uid=BOB)
    world.run(5.0)
    assert running(world) == [alone]
    let_go(world, alone)
    world.run()
    assert (world.state(alone)[0], world.state(other)[0]) == (JobState.QUARANTINED, JobState.DONE)


def test_a_job_that_must_run_alone_gets_its_turn_however_much_another_domain_has_to_do() -> None:
    world = World(workers_max=2, timeout_s=1000.0)
    others = drop(world, "photo", uid=BOB, hang=True)
    world.run(0.0)
    alone = a_job_that_must_run_alone(world)
    for _ in range(2 * int(CONSTRAINED_S)):
        others = overlap(world, others)
    assert world.state(alone) == (JobState.QUARANTINED, "oom-killed")
    let_go(world, *others)
    world.run()
    assert world.engine.unfinished() == 0
