"""Originals that are kept: room for them, and what waits for room."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.job import Job
from imgoptd.core.model import (
    Domain,
    FileRecord,
    FileRef,
    Identity,
    JobSettings,
    JobState,
)
from imgoptd.core.undo import UNDO_FULL, UndoRoom
from tests.unit.disk import Content
from tests.unit.kept import KEEP, OTHER, PHOTO, REF, done, keeping
from tests.unit.world import ROOT, World


def a_job(size: int, number: int, settings: JobSettings = KEEP) -> Job:
    record = FileRecord(FileRef(ROOT, b"%d" % number), Identity(1, number, size, 1), JobState.QUEUED)
    return Job(record, Domain(ROOT, 0), 5, settings, number, 0.0)


# ---- keeping --------------------------------------------------------------------------------------------------------


def test_the_original_is_kept_in_the_same_commit_as_the_receipt() -> None:
    world = keeping()
    world.drop(REF, PHOTO)
    original = world.disk.files[REF].identity
    exchange = world.until(c.Exchange)
    assert exchange.intent.keep is not None
    world.answer(exchange)
    records = [one for one in world.turn() if isinstance(one, c.SaveReceipt | c.SaveKept | c.DropIntent)]
    assert [type(one) for one in records] == [c.DropIntent, c.SaveReceipt, c.SaveKept]
    (kept,) = world.store.kept.values()
    assert (kept.ref, kept.identity, kept.sha256) == (REF, original, PHOTO.sha256)
    assert (kept.result, kept.result_sha256) == (world.disk.files[REF].identity, PHOTO.optimized().sha256)
    assert world.engine.jobs.undo.bytes == PHOTO.size


def test_nothing_is_kept_unless_the_settings_say_so() -> None:
    world = World()
    world.drop(REF, PHOTO)
    world.run()
    assert not any(action.keep_original for action in world.asked(c.Prepare))
    assert world.store.kept == {}


# ---- room -----------------------------------------------------------------------------------------------------------


def test_room_counts_what_is_kept_and_what_runs() -> None:
    room = UndoRoom()
    room.max_bytes = 100
    first, second = a_job(60, 1), a_job(50, 2)
    assert room.may_start(first)
    room.pledge(first)
    assert not room.may_start(second), "the first may have to be kept"
    assert not room.is_full_for(second), "yet it may also come to nothing"
    room.release(first.ref)
    room.release(first.ref)
    assert room.may_start(second)
    room.changed(1, 60)
    assert room.is_full_for(second)


def test_a_job_whose_original_is_not_kept_needs_no_room() -> None:
    room = UndoRoom()
    job = a_job(50, 1, JobSettings())
    assert room.may_start(job) and not room.is_full_for(job)
    room.pledge(job)
    assert room.may_start(a_job(0, 2))


def test_jobs_are_held_at_the_bound_and_go_on_when_originals_grow_old() -> None:
    world = done(undo_max_bytes=PHOTO.size * 3 // 2)
    world.drop(OTHER, Content("photo", 2))
    world.run()
    assert world.state(OTHER) == (JobState.HELD, UNDO_FULL)
    assert "max_size" in world.store.files[OTHER].detail
    assert world.disk.files[OTHER].content.kind == "photo"
    world.age(next(iter(world.store.kept)))
    world.run()
    assert world.state(OTHER) == (JobState.DONE, "optimized")


def test_of_what_is_held_only_as_much_goes_on_as_there_is_room_for() -> None:
    world = done(undo_max_bytes=PHOTO.size)
    for number in range(4):
        world.drop(FileRef(ROOT, b"%d.jpg" % number), Content("photo", 10 + number))
    world.run()
    held = [file for file in world.store.files.values() if file.state is JobState.HELD]
    assert len(held) == 4
    world.age(next(iter(world.store.kept)))
    world.run()
    assert [file.state for file in world.store.files.values()].count(JobState.HELD) == 3
    assert world.engine.jobs.undo.bytes == PHOTO.size


def test_more_memory_is_no_reason_to_go_on_for_what_waits_for_room() -> None:
    world = done(undo_max_bytes=PHOTO.size)
    world.drop(OTHER, Content("photo", 2))
    world.run()
    world.post(e.Sensed(available_bytes=1 << 40, limit_bytes=1 << 40, cpus=4))
    world.run()
    assert world.state(OTHER) == (JobState.HELD, UNDO_FULL)
    assert [step for step, _ in world.store.steps[OTHER]].count("held") == 1


def test_a_larger_bound_lets_held_jobs_go_on() -> None:
    world = done(undo_max_bytes=PHOTO.size)
    world.drop(OTHER, Content("photo", 2))
    world.run()
    world.configure(undo_max_bytes=PHOTO.size * 2)
    world.run()
    assert world.state(OTHER) == (JobState.DONE, "optimized")


def test_what_is_kept_counts_after_a_restart() -> None:
    world = done(undo_max_bytes=PHOTO.size)
    world.crash()
    world.run()
    assert world.engine.jobs.undo.bytes == PHOTO.size
