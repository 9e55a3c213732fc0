"""Lost folders: what lies there waits together, is told of once, and goes on by itself."""

from __future__ import annotations

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import (
    FileRef,
    HintKind,
    JobState,
)
from tests.unit.many_files import OTHER, all_done, drop, names, said, sick
from tests.unit.world import ROOT, World, folder

# ---- lost folders ---------------------------------------------------------------------------------------------------


def lost(*, queued: bool) -> tuple[World, list[FileRef]]:
    world, refs = World(), names(40)
    world.run()
    drop(world, refs)
    if queued:
        world.until(c.SendJob)
    world.lose(ROOT)
    world.run(120.0)
    return world, refs


@pytest.mark.parametrize("queued", [True, False], ids=["queued", "not looked at yet"])
def test_while_a_folder_is_lost_nothing_of_it_is_looked_at_tried_or_told(queued: bool) -> None:
    world, refs = lost(queued=queued)
    assert said(world, "deferred", "disk-ill") == []
    looks, sends = len(world.asked(c.LookAt)), len(world.asked(c.SendJob))
    world.hint(FileRef(ROOT, b"late.jpg"), HintKind.CREATED)
    world.run(7200.0)
    assert (len(world.asked(c.LookAt)), len(world.asked(c.SendJob))) == (looks, sends)
    assert world.asked(c.ProbeFolder) == []
    assert world.engine.at_rest() and world.engine.deferred() >= len(refs) - 1
    kept = world.engine.jobs.places.kept_back(refs[-1], None, world.now_s)
    assert kept is not None and kept.reason == "folder-lost" and "it is gone" in kept.detail
    assert (refs[-1] in world.store.files) == queued, "what was not a job yet gets no row"


@pytest.mark.parametrize("queued", [True, False], ids=["queued", "not looked at yet"])
def test_when_it_is_found_all_of_it_goes_on_at_once(queued: bool) -> None:
    world, refs = lost(queued=queued)
    world.find(ROOT)
    world.run(2.0)
    assert all_done(world, refs)


def test_a_look_that_was_under_way_when_its_folder_was_lost_says_nothing_of_the_file() -> None:
    world, [ref] = World(), names(1)
    world.run()
    drop(world, [ref])
    look = world.until(c.LookAt)
    world.lose(ROOT)
    world.turn()
    world.answer(look)
    world.run(60.0)
    assert ref not in world.store.files
    world.find(ROOT)
    world.run()
    assert all_done(world, [ref])


def test_a_look_from_before_a_change_of_the_configuration_does_not_count_a_waiting_file_twice() -> None:
    world, [ref] = World(), names(1)
    world.run()
    drop(world, [ref])
    late = world.until(c.LookAt)
    world.configure(folders=(folder(OTHER),))
    world.turn()
    world.configure(folders=(folder(),))
    world.turn()
    world.answer(late)  # the answer to the second look, which equals the first: it is to be quiet for a while yet
    world.turn()
    world.lose(ROOT)
    world.turn()
    world.answer(late)
    world.run(60.0)
    assert (world.engine.deferred(), world.engine.unfinished()) == (1, 0)


def test_the_disk_of_a_lost_folder_is_forgotten_and_a_found_one_begins_without_suspicion() -> None:
    world, refs = sick()
    world.lose(ROOT)
    world.run(3600.0)
    assert world.engine.jobs.places.breakers.known == {}
    world.disk.sick.clear()
    world.find(ROOT)
    world.run(2.0)
    assert all_done(world, refs)


def test_a_lost_folder_that_is_watched_no_more_keeps_nothing_back() -> None:
    world, _ = lost(queued=True)
    world.configure(folders=(folder(OTHER),))
    world.run(1.0)
    assert (world.engine.deferred(), world.engine.unfinished()) == (0, 0)
    world.post(e.FolderLost(ROOT, "late news"))
    world.run(1.0)
    assert world.engine.jobs.places.lost == {}


def test_what_is_heard_of_a_folder_that_is_being_armed_waits_without_being_deferred() -> None:
    world = World()
    world.post(e.FolderLost(ROOT, ""))
    [ref] = names(1)
    drop(world, [ref])
    world.run(5.0)
    assert world.asked(c.LookAt) == [] and world.engine.deferred() == 0
    world.post(e.FolderFound(ROOT))
    world.run()
    assert world.state(ref) == (JobState.DONE, "optimized")


def test_what_was_heard_of_a_folder_that_cannot_be_armed_is_deferred_until_it_is_found() -> None:
    world = World()
    world.post(e.FolderLost(ROOT, ""))
    [ref] = names(1)
    drop(world, [ref])
    world.run(5.0)
    assert world.engine.unfinished() == 1, "a run of its own waits for the end of the arming"
    world.lose(ROOT)
    world.run(5.0)
    assert (world.engine.deferred(), world.engine.unfinished()) == (1, 0)
    assert world.asked(c.LookAt) == []
    world.find(ROOT)
    world.run()
    assert world.state(ref) == (JobState.DONE, "optimized")


def test_work_that_fails_while_its_folder_is_armed_anew_is_done_without_a_word() -> None:
    world, [ref] = World(), names(1)
    drop(world, [ref])
    job = world.until(c.SendJob)
    world.configure(folders=(folder(priority=3),))
    world.post(e.FolderLost(ROOT, ""))
    world.disk.lost.add(ROOT)
    world.answer(job)
    world.run(10.0)
    assert world.state(ref) != (JobState.DONE, "optimized")
    world.find(ROOT)
    world.run()
    assert world.state(ref) == (JobState.DONE, "optimized")
    assert said(world, "deferred", "folder-lost") == []
