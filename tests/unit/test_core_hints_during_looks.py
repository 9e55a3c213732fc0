"""A look takes time, and shows the file as it was: what is heard meanwhile must not be lost with its answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.model import FileRef, HintKind, JobState
from imgoptd.core.turn import Turn
from tests.unit.disk import Content
from tests.unit.world import ROOT, World, folder

A = FileRef(ROOT, b"a.jpg")
PHOTO, OTHER = Content("photo"), Content("other")


def answer_later(world: World) -> e.Looked:
    """The look at A is made now; its answer is for the test to post."""
    look = world.until(c.LookAt)
    world.pending.remove(look)
    return e.Looked(look.ref, world.disk.look(look.ref), world.store.files.get(look.ref))


def test_a_change_that_is_heard_while_a_finished_file_is_looked_at_is_worked_on() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.run()
    world.hint(A, HintKind.CLOSED)  # opened and closed again, nothing else
    looked = answer_later(world)
    world.overwrite(A, OTHER)
    world.post(looked)
    world.run()
    assert world.store.files[A].identity == world.disk.files[A].identity


def test_what_the_last_run_left_is_looked_at_once_though_a_scan_found_it_just_before() -> None:
    world = World()
    world.drop(A, PHOTO)
    world.until(c.SendProbe)
    left = world.store.files[A] = replace(world.store.files[A], state=JobState.DEFERRED)
    world.engine = Engine()
    world.begin_anew()
    world.actions.clear()
    for event in (world.machine, world.config, e.FolderFound(ROOT), e.Hinted(A, HintKind.FOUND)):
        world.post(event)
    world.until(c.LookAt)
    world.post(e.Recovered(left))
    world.until(c.SendProbe)
    assert len(world.asked(c.LookAt)) == 1
    assert world.engine.jobs.by_ref[A].record.fresh


def test_a_file_that_is_made_anew_while_a_look_finds_it_gone_is_worked_on() -> None:
    world = World()
    world.hint(A, HintKind.CREATED)
    looked = answer_later(world)
    world.drop(A, PHOTO)
    world.post(looked)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_a_look_that_was_asked_for_before_a_folder_was_given_up_says_nothing_after_it_is_watched_again() -> None:
    world = World()
    world.hint(A, HintKind.CREATED)
    looked = answer_later(world)
    world.configure(folders=(folder(b"/srv/other"),))
    world.turn()
    world.configure(folders=(folder(),))
    world.drop(A, PHOTO)
    world.post(looked)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


@pytest.mark.parametrize(("kind", "task"), [("corrupt", c.SendProbe), ("wrong", c.SendJob)])
def test_a_file_found_damaged_while_it_was_written_over_is_no_bad_file(kind: str, task: type) -> None:
    world = World()
    world.drop(A, Content(kind))
    world.answer(world.until(task))
    world.disk.rewrite(A, PHOTO)
    world.disk.files[A].writers = 1
    world.run(0.5)
    world.disk.files[A].writers = 0
    world.hint(A, HintKind.CLOSED)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
    assert world.engine.story.counts[JobState.QUARANTINED] == 0


def test_a_file_that_is_still_as_it_was_found_damaged_is_quarantined_at_once() -> None:
    world = World()
    world.drop(A, Content("corrupt"))
    world.until(c.SendProbe)
    began_s = world.now_s
    world.run()
    assert world.state(A) == (JobState.QUARANTINED, "truncated")
    assert world.now_s == began_s, "no quiet time is waited for where a lease tells"


def test_a_file_of_a_lost_folder_that_is_let_go_of_waits_no_more() -> None:
    world = World()
    world.lose(ROOT)
    world.hint(A, HintKind.CREATED)
    world.turn()
    assert world.engine.deferred() == 1
    world.engine.intake.pause(Turn(world.now_s), A)
    world.turn()
    assert world.engine.deferred() == world.engine.unfinished() == 0
