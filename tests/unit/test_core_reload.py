"""What another configuration, and a new start, make of files that are under way."""

from __future__ import annotations

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import FileRef, HintKind, JobSettings, JobState
from tests.unit.disk import Content
from tests.unit.world import ROOT, World, folder

A, B = FileRef(ROOT, b"a.jpg"), FileRef(ROOT, b"b.jpg")
ELSEWHERE = b"/srv/elsewhere"
PHOTO = Content("photo")


def test_a_first_scan_cut_short_by_a_reload_that_drops_the_folder_is_not_taken_as_whole() -> None:
    elsewhere = FileRef(ELSEWHERE, b"c.jpg")
    world = World(folder(), folder(ELSEWHERE), files={elsewhere: PHOTO})
    world.run()
    world.store.baselines.clear()
    world.store.files.clear()
    world.post(e.BaselineStarted(ELSEWHERE))
    world.post(e.ScanStarted(ELSEWHERE))
    world.turn()
    world.configure(folders=(folder(),))
    world.post(e.Hinted(elsewhere, HintKind.FOUND))
    world.post(e.ScanFinished(ELSEWHERE))
    world.run()
    assert world.store.baselines == set()
    world.configure(folders=(folder(), folder(ELSEWHERE)))
    world.run()
    assert world.state(elsewhere) == (JobState.SKIPPED, "existing")
    assert world.engine.at_rest()


@pytest.mark.parametrize("stage", [c.SendProbe, c.StartWorker, c.LookAt])
def test_what_waits_in_a_folder_no_longer_watched_is_never_worked_on_until_it_is_watched_again(
    stage: type[c.SendProbe] | type[c.StartWorker] | type[c.LookAt],
) -> None:
    world, elsewhere = World(folder(), folder(ELSEWHERE)), FileRef(ELSEWHERE, b"c.jpg")
    world.run()
    world.drop(elsewhere, PHOTO)
    world.until(stage)
    world.configure(folders=(folder(),))
    world.run()
    assert world.asked(c.SendJob) == []
    assert world.engine.unfinished() == 0
    world.configure(folders=(folder(), folder(ELSEWHERE)))
    world.run()
    assert world.state(elsewhere) == (JobState.DONE, "optimized")


def test_a_deferred_file_of_a_folder_no_longer_watched_is_let_go_when_it_is_due() -> None:
    world, elsewhere = World(folder(), folder(ELSEWHERE)), FileRef(ELSEWHERE, b"c.jpg")
    world.run()
    world.drop(elsewhere, PHOTO)
    job = world.until(c.SendJob)
    world.configure(folders=(folder(),))
    world.turn()
    world.answer(job, "fail")
    world.settle_answers()
    assert world.state(elsewhere) == (JobState.DEFERRED, "io-error")
    world.run()
    assert world.engine.jobs.by_ref == {}


def test_a_file_probed_under_the_old_configuration_is_worked_on_under_the_new_one() -> None:
    world = World()
    world.drop(A, PHOTO)
    probe = world.until(c.SendProbe)
    web = folder(priority=2, settings=JobSettings("web", 0.2))
    world.configure(folders=(web,))
    world.turn()
    world.answer(probe)
    world.run()
    (job,) = world.asked(c.SendJob)
    assert job.settings == JobSettings("web", 0.2)
    assert world.store.files[A].fresh, "it is a fresh drop yet"


def test_a_running_job_ends_with_the_settings_it_began_with() -> None:
    world = World()
    world.drop(A, PHOTO)
    job = world.until(c.SendJob)
    world.configure(folders=(folder(settings=JobSettings("web", 0.2)),))
    world.turn()
    world.answer(job)
    world.run()
    assert len(world.asked(c.SendJob)) == 1
    assert world.store.receipts[0].profile == "archive"


def test_a_file_of_the_last_run_that_the_scan_found_first_is_given_out_once() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.until(c.SendJob)
    world.crash(scan_first=True)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
    assert len(world.store.receipts) == 1


def test_a_first_scan_that_lost_its_folder_is_not_taken_as_whole() -> None:
    world = World(folder())
    world.run()
    world.store.baselines.clear()
    world.post(e.BaselineStarted(ROOT))
    world.post(e.ScanStarted(ROOT))
    world.post(e.ScanFinished(ROOT, complete=False))
    world.run()
    assert world.store.baselines == set()
    assert world.engine.at_rest()
