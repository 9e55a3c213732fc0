"""How an original that was kept comes back, and stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import (
    FileRecord,
    HintKind,
    Identity,
    Intent,
    JobState,
    Kept,
    KeptAt,
    Restoring,
)
from imgoptd.core.recovery import records_after, records_after_restore
from tests.unit.disk import Content
from tests.unit.kept import PHOTO, REF, done, worked_on
from tests.unit.world import ROOT

# ---- bringing back --------------------------------------------------------------------------------------------------


def test_a_restored_original_is_left_alone_whatever_is_heard_of_it() -> None:
    world = done()
    before = worked_on(world)
    world.ask_restore(REF)
    world.run()
    assert world.disk.files[REF].content == PHOTO
    assert world.state(REF) == (JobState.SKIPPED, "restored")
    assert world.store.kept == {} and world.engine.jobs.undo.bytes == 0
    for kind in HintKind:
        world.hint(REF, kind)
    world.scan(ROOT)
    world.run()
    world.crash()
    world.run()
    assert worked_on(world) == before


def test_a_restored_file_with_new_content_is_worked_on_again() -> None:
    world = done()
    world.ask_restore(REF)
    world.run()
    world.overwrite(REF, Content("photo", 9))
    world.run()
    assert world.state(REF) == (JobState.DONE, "optimized")


def test_a_retry_asks_for_the_restored_file_to_be_worked_on_again() -> None:
    world = done()
    world.ask_restore(REF)
    world.run()
    del world.finished[REF]  # what the world holds against doing a content twice: here somebody asks for it
    world.post(e.RetryRequested(REF))
    world.run()
    assert world.state(REF) == (JobState.DONE, "optimized")
    assert len(world.store.kept) == 1


def test_a_retry_while_an_original_comes_back_changes_nothing() -> None:
    world = done()
    world.ask_restore(REF)
    restore = world.until(c.Restore)
    world.post(e.RetryRequested(REF))
    world.turn()
    world.answer(restore)
    world.run()
    assert world.state(REF) == (JobState.SKIPPED, "restored")


def test_that_it_is_restored_is_durable_before_a_name_changes() -> None:
    world = done()
    (kept,) = world.store.kept.values()
    world.ask_restore(REF)
    world.until(c.Restore)
    assert world.state(REF) == (JobState.SKIPPED, "restored")
    assert world.store.files[REF].identity == kept.identity
    assert world.store.kept[kept.at.name].restoring == Restoring(b"", kept.identity)


def test_hints_while_an_original_comes_back_are_heard_afterwards() -> None:
    world = done()
    world.ask_restore(REF)
    restore = world.until(c.Restore)
    looks = len(world.asked(c.LookAt))
    world.hint(REF, HintKind.CLOSED)
    world.turn()
    assert len(world.asked(c.LookAt)) == looks
    world.answer(restore)
    world.overwrite(REF, Content("photo", 9))  # right behind the exchange
    world.run()
    assert world.state(REF) == (JobState.DONE, "optimized")


def test_a_refused_restore_leaves_the_row_as_it_was_and_the_original_kept() -> None:
    world = done()
    row = world.store.files[REF]
    kept = dict(world.store.kept)
    world.ask_restore(REF)
    world.answer(world.until(c.Restore), "fail")
    world.run()
    assert (world.store.files[REF], world.store.kept) == (row, kept)
    (answer,) = world.asked(c.AnswerRestore)
    assert answer.failure is not None and answer.failure.reason == "io-error"


def test_a_file_that_took_the_results_place_meanwhile_is_worked_on_after_the_refusal() -> None:
    world = done()
    world.ask_restore(REF)
    restore = world.until(c.Restore)
    world.drop(REF, Content("photo", 9))
    world.answer(restore)
    world.run()
    assert world.state(REF) == (JobState.DONE, "optimized")
    assert {kept.sha256 for kept in world.store.kept.values()} == {PHOTO.sha256, Content("photo", 9).sha256}


def test_a_waiting_job_makes_way_for_the_original() -> None:
    world = done()
    world.drop(REF, Content("huge", 5))
    world.run()
    assert world.state(REF)[0] is JobState.HELD
    world.ask_restore(REF)
    world.run()
    (answer,) = world.asked(c.AnswerRestore)
    assert answer.failure is not None and answer.failure.reason == "not-our-result"
    assert world.state(REF)[0] is JobState.HELD, "refused: it waits again"


@pytest.mark.parametrize("stage", [c.SendProbe, c.SendJob, c.Prepare, c.Exchange])
def test_while_a_worker_or_a_replace_has_the_file_a_restore_is_refused(stage: type) -> None:
    world = done()
    world.drop(REF, Content("photo", 9))
    world.until(stage)
    world.ask_restore(REF)
    world.turn()
    (answer,) = world.asked(c.AnswerRestore)
    assert answer.failure is not None and answer.failure.reason == "busy"
    world.run()
    assert world.state(REF) == (JobState.DONE, "optimized")


def test_a_drain_waits_for_a_restore() -> None:
    world = done()
    world.ask_restore(REF)
    restore = world.until(c.Restore)
    world.post(e.DrainRequested())
    world.turn()
    assert not world.engine.drained()
    world.answer(restore)
    world.turn()
    world.turn()
    assert world.engine.drained()


@pytest.mark.parametrize("how", ["well", "fail", "unfinished"])
def test_killed_within_a_restore_the_next_start_knows_how_it_stands(how: str) -> None:
    world = done()
    before = worked_on(world)
    world.ask_restore(REF)
    world.answer(world.until(c.Restore), how)
    world.crash()
    world.run()
    restored = how != "fail"
    assert world.state(REF) == ((JobState.SKIPPED, "restored") if restored else (JobState.DONE, "optimized"))
    assert len(world.store.kept) == (0 if restored else 1)
    assert worked_on(world) == before


def test_names_left_in_disorder_are_put_right_before_the_next_look() -> None:
    world = done()
    world.ask_restore(REF)
    world.answer(world.until(c.Restore), "unfinished")
    world.run()
    (answer,) = world.asked(c.AnswerRestore)
    assert answer.failure is not None and answer.failure.reason == "unfinished"
    assert world.state(REF) == (JobState.SKIPPED, "restored")
    assert world.store.kept == {}


def test_a_restore_while_the_first_scan_runs_does_not_keep_it_from_ending() -> None:
    world = done()
    world.store.baselines.clear()
    world.post(e.BaselineStarted(ROOT))
    world.post(e.ScanStarted(ROOT))
    world.post(e.Hinted(REF, HintKind.FOUND))
    world.turn()
    world.ask_restore(REF)
    world.turn()
    world.post(e.ScanFinished(ROOT))
    world.run()
    assert world.store.baselines == {ROOT}


# ---- what a recovery leads to ---------------------------------------------------------------------------------------

ORIGINAL, RESULT = Identity(1, 10, 100, 5), Identity(1, 11, 60, 5)
INTENT = Intent(REF, b".tmp", ORIGINAL, RESULT, "bb", "aa", KeptAt(b"", b"aa-1"))
KEPT = Kept(REF, KeptAt(b"", b"aa-1"), ORIGINAL, "aa", RESULT, "bb", Restoring(b"", ORIGINAL))
ROW = FileRecord(REF, ORIGINAL, JobState.SKIPPED, reason="restored")


def test_an_original_found_kept_is_recorded_whether_the_result_still_stands_or_not() -> None:
    finished = records_after(INTENT, None, True, RESULT, "finished", "archive", ORIGINAL)
    replaced = records_after(INTENT, None, False, Identity(1, 99, 7, 7), "replaced", "archive", ORIGINAL)
    assert c.SaveKept(replace(KEPT, restoring=None)) in finished
    assert c.SaveKept(replace(KEPT, restoring=None)) in replaced
    assert not any(isinstance(one, c.SaveKept) for one in records_after(INTENT, None, True, RESULT, "", "archive"))


def test_a_restore_taken_back_makes_the_result_a_finished_file_again() -> None:
    records = records_after_restore(KEPT, ROW, True, RESULT._replace(dev=7), "taken back")
    (row,) = [one.record for one in records if isinstance(one, c.SaveFile)]
    assert (row.state, row.identity, row.sha256) == (JobState.DONE, RESULT._replace(dev=7), "bb")
    assert (row.bytes_before, row.bytes_after) == (100, 60)
    assert c.SaveKept(replace(KEPT, restoring=None)) in records


def test_of_a_strangers_file_at_the_path_a_recovered_restore_says_nothing() -> None:
    records = records_after_restore(KEPT, ROW, False, Identity(1, 99, 7, 7), "gone")
    assert not any(isinstance(one, c.SaveFile) for one in records)
    assert c.DropKept(KEPT) in records
    assert not any(isinstance(one, c.SaveFile) for one in records_after_restore(KEPT, None, True, None, "gone"))
