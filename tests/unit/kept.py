"""A world in which originals are kept."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core.model import (
    FileRef,
    JobSettings,
    JobState,
)
from tests.unit.disk import Content
from tests.unit.world import ROOT, World, folder

KEEP = JobSettings(keep_original=True)
REF, OTHER = FileRef(ROOT, b"a.jpg"), FileRef(ROOT, b"b.jpg")
PHOTO = Content("photo")


def keeping(**settings: object) -> World:
    return World(folder(settings=KEEP), **settings)  # type: ignore[arg-type]  # names are checked by World itself


def done(**settings: object) -> World:
    """A world in which REF was optimised and its original is kept."""
    world = keeping(**settings)
    world.drop(REF, PHOTO)
    world.run()
    assert world.state(REF) == (JobState.DONE, "optimized")
    return world


def worked_on(world: World) -> int:
    return len(world.asked(c.SendJob))
