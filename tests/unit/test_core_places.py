"""Sick disks: what lies there waits together, is told of once, and goes on by itself."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.backlog import Backlog
from imgoptd.core.breaker import State
from imgoptd.core.job import Stage
from imgoptd.core.model import (
    Failure,
    FailureKind,
    FileRef,
    JobState,
    Place,
)
from tests.unit.disk import Content
from tests.unit.many_files import OTHER, PLACE, all_done, deferred_job, drop, names, said, sick
from tests.unit.world import ROOT, World, folder


def test_a_sick_disk_is_told_once_for_all_its_files_and_only_those_under_way_get_a_row() -> None:
    world, refs = sick()
    assert said(world, "disk-ill", "deferred") == ["disk-ill"]
    states = [world.store.files[ref].state for ref in refs]
    assert set(states) == {JobState.QUEUED, JobState.DEFERRED}
    assert states.count(JobState.DEFERRED) <= 4
    assert world.engine.deferred() == len(refs), "all are shown as waiting"


def test_nothing_of_a_sick_disk_is_given_out_and_no_worker_is_kept_for_it() -> None:
    world, _ = sick()
    given = len(world.asked(c.SendJob))
    world.run(3600.0)
    assert len(world.asked(c.SendJob)) == given
    assert not world.workers
    assert world.engine.at_rest(), "there is nothing that could be done now"
    assert 120 <= len(world.asked(c.ProbeFolder)) <= 130, "it is tried every half minute"


def test_other_folders_go_on_meanwhile() -> None:
    world, _ = sick()
    elsewhere = names(3, OTHER)
    drop(world, elsewhere)
    world.run(10.0)
    assert all_done(world, elsewhere)


def test_all_files_of_a_disk_go_on_within_a_minute_of_its_being_well() -> None:
    world, refs = sick()
    world.run(3600.0)
    world.disk.sick.clear()
    world.run(60.0)
    assert all_done(world, refs)
    assert said(world, "disk-ill", "disk-well", "deferred") == ["disk-ill", "disk-well"]
    assert all(world.store.files[ref].attempts == 0 for ref in refs)


def test_a_file_that_was_put_off_for_long_goes_on_when_its_disk_was_sick_and_is_well() -> None:
    world, [long_off, other] = World(workers_max=1), names(2)
    drop(world, [long_off])
    for _ in range(6):
        world.answer(world.until(c.SendJob), "fail")
    world.settle_answers()
    assert (world.engine.jobs.next_due_s() or 0.0) - world.now_s == 160.0
    drop(world, [other])
    world.until(c.SendJob)
    world.disk.sick.add(ROOT)
    world.run(4.0)
    world.disk.sick.clear()
    world.run(6.0)
    assert all_done(world, [long_off, other])


def test_a_sick_disk_lengthens_no_files_own_delay() -> None:
    world, refs = World(workers_max=2), names(2)
    drop(world, refs)
    world.until(c.Exchange)
    assert len(world.asked(c.SendJob)) == 2
    world.disk.sick.add(ROOT)
    world.run(40.0)
    world.disk.sick.clear()
    for _ in refs:
        world.answer(world.until(c.SendJob), "fail")
    world.turn()
    for ref in refs:
        assert world.engine.jobs.by_ref[ref].due_s - world.now_s == 5.0


def test_a_disk_that_never_answers_keeps_its_files_back_and_a_late_answer_lets_them_go() -> None:
    world, refs = World(), names(5)
    drop(world, refs)
    world.answer(world.until(c.SendJob), "fail")
    probe = world.until(c.ProbeFolder)
    world.pending.remove(probe)  # the disk hangs
    world.run(120.0)
    assert said(world, "disk-ill", "deferred") == ["disk-ill"]
    assert world.engine.at_rest() and world.engine.deferred() == len(refs)
    world.post(e.FolderProbed(PLACE, None))
    world.run(1.0)
    assert all_done(world, refs)
    world.post(e.FolderProbed(PLACE, Failure(FailureKind.TRANSIENT, "io-error", "an echo")))
    world.turn()
    assert world.engine.jobs.places.breakers.known == {}, "nobody asked"


def test_a_want_of_our_own_is_told_once_and_held_against_no_file() -> None:
    world, refs = World(), names(8)
    drop(world, refs)
    job = world.until(c.SendJob)
    world.pending.remove(job)
    world.post(e.TaskRefused(job.worker, job.ref, Failure(FailureKind.TRANSIENT, "no-descriptors", "too many")))
    world.run(3.0)
    assert said(world, "disk-ill", "deferred") == ["disk-ill"]
    world.run(10.0)
    assert all_done(world, refs)


def test_a_file_whose_disk_is_well_was_in_trouble_by_itself_and_is_told_of() -> None:
    world = World()
    drop(world, names(1))
    world.answer(world.until(c.SendJob), "fail")
    world.run(2.0)
    assert said(world, "disk-ill", "deferred") == ["deferred"]
    assert len(world.asked(c.ProbeFolder)) == 1
    world.run()
    assert all_done(world, names(1))


def test_a_file_says_that_its_disk_is_the_reason_and_when_it_is_tried_next() -> None:
    world, _ = sick()
    job = next(job for job in world.engine.jobs.by_ref.values() if job.record.state is JobState.QUEUED)
    places = world.engine.jobs.places
    kept = places.kept_back(job.ref, job.place, world.now_s)
    assert kept is not None and kept.reason == "io-error"
    assert "on its disk" in kept.detail and "tried again in " in kept.detail
    world.until(c.ProbeFolder)
    kept = places.kept_back(job.ref, job.place, world.now_s)
    assert kept is not None and kept.detail.endswith("tried again now")
    assert places.kept_back(FileRef(OTHER, b"a"), Place(OTHER, 1), world.now_s) is None


def test_while_a_disk_is_only_suspected_its_files_are_not_called_deferred() -> None:
    world, refs = World(), names(10)
    drop(world, refs)
    world.answer(world.until(c.SendJob), "fail")
    world.turn()
    assert world.engine.jobs.places.breakers.state(PLACE) is State.SUSPECTED
    assert world.engine.jobs.places.kept_back(refs[5], PLACE, world.now_s) is None
    assert world.engine.deferred() == 1
    assert not world.engine.at_rest()


def test_a_file_that_changes_while_its_disk_is_sick_is_done_as_it_is_then() -> None:
    world, refs = sick(6)
    for ref in refs:
        world.overwrite(ref, newer := Content("photo", 999))
    world.run(60.0)
    assert not all_done(world, refs[:1])
    world.disk.sick.clear()
    world.run()
    assert [world.disk.files[ref].content for ref in refs] == [newer.optimized()] * 6


def test_a_sick_disk_is_met_again_after_a_crash_and_told_again_once() -> None:
    world, refs = sick()
    world.crash()
    world.run(60.0)
    assert said(world, "disk-ill", "deferred") == ["disk-ill", "disk-ill"]
    world.disk.sick.clear()
    world.run()
    assert all_done(world, refs)


def test_a_folder_taken_out_and_in_again_begins_without_suspicion() -> None:
    world, refs = sick()
    world.configure(folders=(folder(OTHER),))
    world.run(5.0)
    assert world.engine.deferred() == 0
    assert world.engine.next_deadline_s() is None or not world.engine.jobs.places.breakers.known
    world.disk.sick.clear()
    world.configure(folders=(folder(), folder(OTHER)))
    world.run()
    assert all_done(world, refs)


def test_of_two_disks_in_one_folder_only_the_sick_one_is_shut() -> None:
    backlog, jobs = Backlog(), [deferred_job(number, 0.0, dev=dev) for number, dev in enumerate([1, 2, 1, 2])]
    for job in jobs:
        job.stage = Stage.READY
        backlog.add(job)
    backlog.shut(PLACE)
    assert (backlog.jobs, backlog.bytes, backlog.jobs_on(PLACE), backlog.jobs_below(ROOT)) == (2, 20, 2, 4)
    assert backlog.next_ready(jobs[0].domain) is jobs[1]
    assert backlog.backfill(jobs[0].domain, lambda job: job.place == PLACE) is None
    backlog.add(more := deferred_job(4, 0.0, dev=1))
    assert backlog.next_probe(more.domain) is None, "what comes to a shut disk waits, too"
    backlog.remove(jobs[1])
    backlog.remove(jobs[3])
    assert (list(backlog.domains()), backlog.urgency(more.domain)) == ([], None)
    backlog.open(PLACE)
    assert (backlog.next_ready(more.domain), backlog.next_probe(more.domain)) == (jobs[0], more)
    assert (backlog.jobs, backlog.bytes) == (3, 30)
