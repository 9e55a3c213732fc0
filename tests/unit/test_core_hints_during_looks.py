"""A look takes time, and shows the file as it was: what is heard meanwhile must not be lost with its answer."""

from __future__ import annotations

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import FileRef, HintKind, JobState
from tests.unit.disk import Content
from tests.unit.world import ROOT, World

A = FileRef(ROOT, b"a.jpg")
PHOTO, OTHER = Content("photo"), Content("other")

lost = pytest.mark.xfail(
    reason="intake drops the candidate, and with it the hint that came during the look", strict=True
)


def answer_later(world: World) -> e.Looked:
    """The look at A is made now; its answer is for the test to post."""
    look = world.until(c.LookAt)
    world.pending.remove(look)
    return e.Looked(look.ref, world.disk.look(look.ref), world.store.files.get(look.ref))


@lost
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


@lost
def test_a_file_that_is_made_anew_while_a_look_finds_it_gone_is_worked_on() -> None:
    world = World()
    world.hint(A, HintKind.CREATED)
    looked = answer_later(world)
    world.drop(A, PHOTO)
    world.post(looked)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
