"""Who gets what: trust domains, moving between them, memory, jobs that run alone, and what is held."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.dispatch import CONSTRAINED_S, DOMAIN_TURN_S
from imgoptd.core.fleet import HEADROOM, PROBE_DEPTH
from imgoptd.core.job import Stage
from imgoptd.core.model import Domain, FileRef, JobState
from imgoptd.core.scaling import FleetState
from tests.unit.disk import ALICE, BOB, Content
from tests.unit.edge import MIB
from tests.unit.world import ROOT, World, folder

URGENT = b"/srv/urgent"
DONE = (JobState.DONE, "optimized")
A, B, C = (FileRef(ROOT, name) for name in (b"a.jpg", b"b.jpg", b"c.jpg"))


def drop(
    world: World, kind: str, count: int = 1, *, uid: int = ALICE, root: bytes = ROOT, hang: bool = False
) -> list[FileRef]:
    """So many files with names of their own; with `hang` their jobs take until `let_go`."""
    refs = [FileRef(root, b"%d-%d.jpg" % (world.disk.number(), uid)) for _ in range(count)]
    for ref in refs:
        world.drop(ref, Content(kind, world.disk.number()), uid)
    world.hanging.update(refs if hang else ())
    return refs


def let_go(world: World, *refs: FileRef) -> None:
    """These jobs come to their end now."""
    world.hanging.difference_update(refs)
    world.run(0.0)


def given(world: World) -> list[FileRef]:
    """The files of all jobs that were given out, in order."""
    return [job.ref for job in world.asked(c.SendJob)]


def running(world: World) -> list[FileRef]:
    tasks = [job for worker in world.engine.fleet.workers.values() for job in worker.tasks]
    return [job.ref for job in tasks if job.stage is Stage.WORKING]


def serving(world: World) -> list[Domain]:
    return sorted(worker.domain for worker in world.engine.fleet.serving())


def needs(kind: str) -> int:
    """Bytes reserved for a job of the kind."""
    world = World()
    world.drop(A, Content(kind))
    return world.until(c.SendJob).memory_bytes


# ---- trust domains --------------------------------------------------------------------------------------------------


def test_files_of_two_owners_and_two_folders_never_meet_in_one_worker() -> None:
    world = World(folder(), folder(URGENT, priority=0), workers_max=1)
    refs = [*drop(world, "photo", 3), *drop(world, "photo", 3, uid=BOB), *drop(world, "photo", 3, root=URGENT)]
    world.run()
    assert {world.state(ref) for ref in refs} == {DONE}
    by_worker = {start.worker: start.domain for start in world.asked(c.StartWorker)}
    for job in world.asked(c.SendJob):
        assert by_worker[job.worker] == (job.ref.root, world.store.files[job.ref].uid)
    assert len(set(by_worker.values())) == 3


def test_work_of_a_domain_that_nobody_serves_is_done_though_there_are_as_many_workers_as_wanted() -> None:
    world = World(workers_max=1)
    drop(world, "photo")
    world.run(1.0)
    assert serving(world) == [(ROOT, ALICE)]
    (ref,) = drop(world, "photo", uid=BOB)
    world.run(1.0)
    assert world.state(ref) == DONE
    assert serving(world) == [(ROOT, BOB)]


def test_a_wanted_worker_without_work_of_its_own_helps_where_work_is_left_over() -> None:
    world = World(workers_max=2, workers_min=2)
    both = [*drop(world, "photo", uid=ALICE, hang=True), *drop(world, "photo", uid=BOB, hang=True)]
    world.run(0.0)
    let_go(world, *both)
    assert serving(world) == [(ROOT, ALICE), (ROOT, BOB)]
    refs = drop(world, "panorama", 6, uid=BOB, hang=True)
    world.run(0.0)
    assert serving(world) == [(ROOT, BOB), (ROOT, BOB)]
    assert set(running(world)) == set(refs[:2])


def test_a_worker_that_is_not_wanted_is_not_moved() -> None:
    world = World(workers_max=2, workers_min=0)
    (first,) = drop(world, "panorama", hang=True)
    world.run(0.0)
    (second,) = drop(world, "panorama", hang=True)
    world.run(0.0)
    let_go(world, first, second)
    drop(world, "photo", 6, uid=BOB)  # less than a second of work
    world.run(1.0)
    assert serving(world) == [(ROOT, ALICE), (ROOT, BOB)]
    world.run(3600.0)
    assert serving(world) == []


def test_more_urgent_work_of_another_domain_is_not_kept_waiting_by_a_long_queue() -> None:
    world = World(folder(optimize_existing=True, priority=9), folder(URGENT, priority=0), workers_max=1)
    for number in range(20):
        world.disk.put(FileRef(ROOT, b"%d.jpg" % number), Content("panorama", number))
    world.scan(ROOT)
    world.until(c.SendJob)
    (urgent,) = drop(world, "photo", root=URGENT)
    world.run()
    assert given(world).index(urgent) == 1


def test_domains_of_equal_urgency_take_turns_of_ten_seconds() -> None:
    world = World(workers_max=1, timeout_s=1000.0)
    drop(world, "panorama", 3, uid=ALICE, hang=True)
    drop(world, "panorama", 3, uid=BOB, hang=True)
    world.run(0.0)
    for _ in range(6):
        world.run(DOMAIN_TURN_S + 1)
        let_go(world, *running(world))
        world.run(1.0)
    owners = [world.store.files[ref].uid for ref in given(world)]
    assert owners in ([ALICE, BOB] * 3, [BOB, ALICE] * 3)


def test_with_no_work_yet_the_workers_to_be_kept_wait_in_the_first_folder_and_move_to_the_first_work() -> None:
    world = World(folder(b"/srv/b"), folder(b"/srv/a"), workers_min=1)
    world.run(1.0)
    assert serving(world) == [(b"/srv/a", 0)]
    (ref,) = drop(world, "photo", uid=BOB, root=b"/srv/b")
    world.run(1.0)
    assert world.state(ref) == DONE
    assert serving(world) == [(b"/srv/b", BOB)]


# ---- batches --------------------------------------------------------------------------------------------------------


def test_probes_are_given_in_batches_and_small_jobs_one_ahead() -> None:
    world = World(workers_max=1)
    refs = drop(world, "photo", 30, hang=True)
    probe = world.until(c.SendProbe)
    (worker,) = world.engine.fleet.workers.values()
    assert [job.stage for job in worker.tasks] == [Stage.PROBING] * PROBE_DEPTH
    world.answer(probe)
    world.run(0.0)
    assert running(world) == refs[:HEADROOM]


def test_a_large_job_never_waits_behind_another_in_a_worker() -> None:
    world = World(workers_max=1)
    refs = drop(world, "panorama", 3, hang=True)
    world.run(0.0)
    assert running(world) == refs[:1]
    assert world.engine.jobs.backlog.jobs == 2


def test_work_spreads_over_idle_workers_before_it_stacks() -> None:
    world = World(workers_max=2, workers_min=2)
    drop(world, "photo")
    world.run(1.0)
    drop(world, "photo", 2, hang=True)
    world.run(0.0)
    assert sorted(len(worker.tasks) for worker in world.engine.fleet.workers.values()) == [1, 1]


# ---- how many -------------------------------------------------------------------------------------------------------


def test_fewer_workers_allowed_by_a_reload_leave_as_their_jobs_end_however_much_waits() -> None:
    world = World(workers_max=3, timeout_s=1000.0)
    drop(world, "panorama", 12, hang=True)
    world.run(0.0)
    first = running(world)
    assert len(first) == 3
    world.configure(workers_max=1)
    world.run(1.0)
    let_go(world, *first)
    world.run(1.0)
    assert (len(running(world)), len(serving(world))) == (1, 1)
    world.hanging.clear()
    world.run()
    assert world.engine.story.counts["done"] == 12


# ---- memory ---------------------------------------------------------------------------------------------------------


def tight(*folders: e.FolderPolicy) -> World:
    """Memory for one panorama and some photos beside it."""
    return World(*folders, workers_max=2, budget_bytes=needs("panorama") + 100 * MIB, timeout_s=1000.0)


def test_a_job_that_does_not_fit_waits_and_smaller_ones_pass_it() -> None:
    world = tight()
    first, second = drop(world, "panorama", 2, hang=True)
    small = drop(world, "photo", 4)
    world.run(1.0)
    assert given(world) == [first, *small]
    assert world.engine.dispatcher.state is FleetState.CONSTRAINED
    let_go(world, first)
    assert running(world) == [second]


def test_after_ten_seconds_of_being_passed_room_is_kept_for_it() -> None:
    world = tight()
    first, second = drop(world, "panorama", 2, hang=True)
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
    assert running(world)[0] == second
    world.run(1.0)
    assert set(late) <= set(given(world)), "beside it there is room again"


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
    assert world.engine.dispatcher.state is FleetState.BLIND
    world.hanging.clear()
    world.run()
    assert {world.state(ref) for ref in refs} == {DONE}


def test_the_machines_memory_counts_what_running_jobs_may_still_take() -> None:
    panorama = needs("panorama")
    limit = 2000 * MIB
    machine = e.Sensed(available_bytes=240 * MIB + 2 * panorama - MIB, limit_bytes=limit, cpus=4)
    world = World(workers_max=3, machine=machine)
    refs = drop(world, "panorama", 2, hang=True)
    world.run(0.5)
    assert running(world) == refs[:1], "the first has not taken its memory yet, and the second does not fit beside it"
    (worker,) = [one for one in world.workers if world.workers[one].tasks]
    used = machine.available_bytes or 0
    world.machine = replace(machine, available_bytes=used - panorama // 2, worker_rss=((worker, 30 * MIB + panorama),))
    world.post(world.machine)
    world.run(0.5)
    assert running(world) == refs, "it took half of what was feared"


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


# ---- alone ----------------------------------------------------------------------------------------------------------


def a_job_that_must_run_alone(world: World) -> FileRef:
    (ref,) = drop(world, "deadly")
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
    others = drop(world, "photo", 2, uid=BOB, hang=True)
    world.run(0.0)
    alone = a_job_that_must_run_alone(world)
    for _ in range(2 * int(CONSTRAINED_S)):
        others = overlap(world, others)
    assert world.state(alone) == (JobState.QUARANTINED, "worker-lost")
    let_go(world, *others)
    world.run()
    assert world.engine.unfinished() == 0
