"""What becomes of a file before it is a job: what is gone or unreadable, and content that is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.model import FileKind, FileRef, HintKind, JobState
from tests.unit.disk import Content
from tests.unit.world import ROOT, World

A, B = FileRef(ROOT, b"a.jpg"), FileRef(ROOT, b"b.jpg")
PHOTO = Content("photo")


def probes(world: World) -> int:
    return len(world.asked(c.SendProbe))


# ---- gone and unreadable --------------------------------------------------------------------------------------------


def test_a_file_that_vanishes_while_it_settles_ends_as_vanished() -> None:
    world = World()
    world.disk.put(A, PHOTO, writers=1)
    world.hint(A, HintKind.CREATED)
    world.run(0.5)
    del world.disk.files[A]
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "vanished")


def test_a_file_moved_away_before_its_turn_and_back_again_is_done() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.turn()
    world.answer(world.asked(c.LookAt)[-1])
    world.turn()
    assert world.state(A) == (JobState.QUEUED, "")
    file = world.disk.files.pop(A)
    world.hint(A, HintKind.MOVED)
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "vanished")
    world.disk.files[A] = file
    world.hint(A, HintKind.MOVED)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_content_read_by_a_failed_attempt_never_passes_for_finished_after_the_file_was_away() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.answer(world.until(c.Prepare), "fail")
    world.turn()
    assert world.store.files[A].sha256 == PHOTO.sha256
    del world.disk.files[A]
    world.hint(A, HintKind.MOVED)
    world.run()
    world.drop(A, PHOTO)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_a_finished_file_that_somebody_removes_keeps_its_story() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.run()
    del world.disk.files[A]
    world.hint(A, HintKind.MOVED)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_an_unreadable_file_is_deferred_longer_each_time_and_done_when_it_can_be_read() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.disk.files[A].kind = FileKind.UNREADABLE
    dues = []
    for _ in range(4):
        world.settle_answers()
        assert world.state(A) == (JobState.DEFERRED, "unreadable")
        due_s = world.engine.jobs.next_due_s()
        assert due_s is not None
        dues.append(due_s - world.now_s)
        world.now_s = due_s
    assert dues == [5.0, 10.0, 20.0, 40.0]
    world.disk.files[A].kind = FileKind.REGULAR
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_a_file_with_too_long_a_path_is_left_for_good_and_looked_at_when_something_is_heard_of_it() -> None:
    world = World()
    world.drop(A, PHOTO)
    file = world.disk.files[A]
    file.kind, file.pinnable, file.unreadable_for = FileKind.UNREADABLE, False, "path-too-long"
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "path-too-long")
    assert world.engine.next_deadline_s() is None, "nothing is tried by itself"
    told = len(world.store.steps[A])
    world.hint(A, HintKind.CLOSED)
    world.run()
    assert len(world.store.steps[A]) == told, "told once"
    file.kind = FileKind.REGULAR
    world.hint(A, HintKind.CLOSED)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_a_file_that_stays_unreadable_is_looked_at_every_40_s_and_said_and_written_down_no_more() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.disk.files[A].kind = FileKind.UNREADABLE
    world.run(200.0)
    world.actions.clear()
    said = world.store.files[A]
    world.run(4_000.0)
    assert world.actions == [c.LookAt(A)] * 100
    assert world.store.files[A] is said
    world.disk.files[A].kind = FileKind.REGULAR
    world.run(40.0)
    assert world.state(A) == (JobState.DONE, "optimized")


@pytest.mark.parametrize("pinnable", [True, False])
def test_a_finished_file_that_cannot_be_read_for_a_while_is_not_done_again(pinnable: bool) -> None:
    world = World()
    world.drop(A, Content("tight"))
    world.run()
    done = world.store.files[A]
    world.disk.files[A].kind, world.disk.files[A].pinnable = FileKind.UNREADABLE, pinnable
    world.scan(ROOT)
    world.run()
    assert world.store.files[A] == done
    world.disk.files[A].kind = FileKind.REGULAR
    world.scan(ROOT)
    world.run()
    assert (world.store.files[A], probes(world)) == (done, 1)


def test_a_finished_file_that_was_changed_into_an_unreadable_one_is_deferred() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.run()
    world.disk.put(A, Content("photo", 2), kind=FileKind.UNREADABLE)
    world.hint(A, HintKind.MOVED)
    world.settle_answers()
    assert world.state(A) == (JobState.DEFERRED, "unreadable")


# ---- what waits already ---------------------------------------------------------------------------------------------


def test_a_file_that_waits_by_its_row_already_is_queued_without_a_write() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.until(c.SendProbe)
    said = list(world.store.steps[A])
    world.crash()
    world.until(c.SendProbe)
    assert world.store.steps[A] == said
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


@pytest.mark.parametrize("changes", [{"uid": 7}, {"state": JobState.ACTIVE}, {"state": JobState.DEFERRED}])
def test_a_row_that_says_something_else_of_a_waiting_file_is_written_anew(changes: dict[str, object]) -> None:
    world = World()
    world.drop(A, PHOTO)
    world.until(c.SendProbe)
    row = world.store.files[A]
    world.store.files[A] = replace(row, **changes)  # type: ignore[arg-type]  # names are checked by replace itself
    world.crash()
    world.until(c.SendProbe)
    assert world.store.files[A] == row
    assert [step for step, _ in world.store.steps[A]].count("queued") == 2


def test_a_drop_that_waits_stays_a_fresh_one_when_a_scan_finds_it() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.until(c.SendProbe)
    world.engine = Engine()
    world.begin_anew()
    for event in (world.machine, world.config, e.FolderFound(ROOT), e.Hinted(A, HintKind.FOUND)):
        world.post(event)
    world.until(c.SendProbe)
    assert world.engine.jobs.by_ref[A].record.fresh


# ---- content that is known ------------------------------------------------------------------------------------------


def test_a_finished_file_is_left_alone_by_every_later_scan_and_start() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.drop(B, Content("tight"))
    world.run()
    for _ in range(2):
        world.crash()
        world.scan(ROOT)
        world.run()
    assert (probes(world), world.state(A)[1], world.state(B)[1]) == (2, "optimized", "not-smaller")


def test_the_same_content_written_anew_to_its_path_is_recognised_without_work() -> None:
    world = World()
    world.drop(A, Content("tight"))
    world.run()
    world.overwrite(A, Content("tight"))
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "known")
    world.overwrite(A, Content("tight"))
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "known")


def test_a_copy_of_a_result_is_recognised_as_our_own() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.run()
    world.drop(B, PHOTO.optimized())
    world.run()
    assert world.state(B) == (JobState.DONE, "own-result")


def test_other_content_at_a_finished_path_is_done() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.run()
    world.overwrite(A, Content("photo", 2))
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
    assert [receipt.before_sha256 for receipt in world.store.receipts] == [PHOTO.sha256, Content("photo", 2).sha256]
