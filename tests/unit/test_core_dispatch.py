"""Who gets what: trust domains, moving between them, batches, and how many workers there are."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.estimate import BESIDE_FACTOR, FIRST_FACTOR
from imgoptd.core.fleet import HEADROOM, PROBE_DEPTH
from imgoptd.core.giving import PROBES_IN_A_ROW
from imgoptd.core.job import Stage
from imgoptd.core.model import FileRef
from imgoptd.core.sharing import DOMAIN_TURN_MOST_S
from tests.unit.disk import ALICE, BOB, Content
from tests.unit.dispatching import DONE, URGENT, drop, given, let_go, needs, running, serving
from tests.unit.edge import MIB
from tests.unit.world import ROOT, World, folder

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
    drop(world, "photo", uid=BOB)  # less than a tenth of a second of work
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


def test_domains_of_equal_urgency_take_turns_of_half_a_minute_at_most() -> None:
    world = World(workers_max=1, timeout_s=1000.0)
    drop(world, "panorama", 3, uid=ALICE, hang=True)
    drop(world, "panorama", 3, uid=BOB, hang=True)
    world.run(0.0)
    for _ in range(6):
        world.run(DOMAIN_TURN_MOST_S + 1)
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


def test_the_first_job_does_not_wait_until_all_that_was_found_is_probed() -> None:
    world = World(folder(optimize_existing=True), workers_max=1)
    for number in range(PROBES_IN_A_ROW + PROBE_DEPTH):
        world.disk.put(FileRef(ROOT, b"%d.jpg" % number), Content("photo", number))
    world.scan(ROOT)
    world.until(c.SendJob)
    assert len(world.asked(c.SendProbe)) == PROBES_IN_A_ROW
    world.run()
    assert {world.state(ref) for ref in world.disk.files} == {DONE}


def test_a_drop_amid_bulk_is_probed_behind_the_jobs_in_hand_not_behind_all_that_are_ready() -> None:
    world = World(folder(optimize_existing=True), workers_max=1)
    bulk = [FileRef(ROOT, b"%d.jpg" % number) for number in range(20)]
    for number, ref in enumerate(bulk):
        world.disk.put(ref, Content("photo", number))
    world.hanging.update(bulk)
    world.scan(ROOT)
    world.until(c.SendJob)
    world.run(0.0)
    first, second = running(world)
    (fresh,) = drop(world, "photo")
    world.run(1.0)
    assert world.asked(c.SendProbe)[-1].ref == fresh
    let_go(world, first, second)
    assert fresh in given(world)[:4]


def test_a_probe_never_waits_behind_a_large_job() -> None:
    world = World(workers_max=1)
    drop(world, "panorama", hang=True)
    world.until(c.SendJob)
    drop(world, "photo")
    world.run(1.0)
    assert len(world.asked(c.SendProbe)) == 1


def test_tiny_jobs_fill_a_worker() -> None:
    world = World(workers_max=1)
    refs = [FileRef(ROOT, b"%02d.jpg" % number) for number in range(30)]
    for number, ref in enumerate(refs):
        world.drop(ref, Content("icon", number, size=2000))
    world.hanging.update(refs)
    world.until(c.SendJob)
    world.run(0.0)
    assert running(world) == refs[:PROBE_DEPTH]


def test_a_worker_goes_on_probing_while_no_job_can_start() -> None:
    world = World(folder(optimize_existing=True), budget_bytes=needs("panorama") * 3 // 2)
    (running_alone,) = drop(world, "panorama", hang=True)
    world.until(c.SendJob)
    for number in range(PROBES_IN_A_ROW + 2 * PROBE_DEPTH):
        world.disk.put(FileRef(ROOT, b"%d.jpg" % number), Content("panorama", number))
    world.scan(ROOT)
    world.run(5.0)
    assert running(world) == [running_alone]
    assert len(world.asked(c.SendProbe)) == 1 + PROBES_IN_A_ROW + 2 * PROBE_DEPTH


def test_a_large_job_never_waits_behind_another_in_a_worker() -> None:
    world = World(workers_max=1)
    refs = drop(world, "panorama", 3, hang=True)
    world.run(0.0)
    assert running(world) == refs[:1]
    assert world.engine.jobs.backlog.jobs == 2


def test_work_spreads_over_idle_workers_before_it_stacks() -> None:
    world = World(workers_max=2, workers_min=2)
    let_go(world, *(large := drop(world, "panorama", 2, hang=True)))
    world.run(0.0)
    let_go(world, *large)
    drop(world, "photo", 2, hang=True)
    world.run(0.0)
    assert sorted(len(worker.tasks) for worker in world.engine.fleet.workers.values()) == [1, 1]


# ---- how many -------------------------------------------------------------------------------------------------------


def test_fewer_workers_allowed_by_a_reload_leave_as_their_jobs_end_however_much_waits() -> None:
    world = World(workers_max=3, timeout_s=1000.0, machine=e.Sensed(available_bytes=1 << 40, cpus=4))
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


def test_no_more_workers_are_started_than_can_begin_a_job_with_the_memory_there_is() -> None:
    first = needs("panorama")
    most = first + int(2 * first * BESIDE_FACTOR / FIRST_FACTOR) + 10 * MIB
    world = World(workers_max=8, budget_bytes=most, machine=e.Sensed(1 << 36, 1 << 36, cpus=8))
    refs = drop(world, "panorama", hang=True)
    world.run(0.0)
    refs += drop(world, "panorama", 20, hang=True)
    world.run(2.0)
    assert len(running(world)) == 3
    assert len(serving(world)) <= 4, "one shows when there is room again"
    let_go(world, *refs)
    world.run()
    assert {world.state(ref) for ref in refs} == {DONE}


def test_nobody_is_moved_to_a_domain_whose_work_waits_for_memory() -> None:
    world = World(folder(), folder(URGENT, priority=0), workers_max=4, budget_bytes=needs("panorama") + MIB)
    drop(world, "panorama", hang=True)
    world.run(0.0)
    drop(world, "panorama", 20, root=URGENT, hang=True)
    world.run(3.0)
    urgent = [start for start in world.asked(c.StartWorker) if start.domain.root == URGENT]
    assert len(urgent) == 1
