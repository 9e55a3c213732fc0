"""Many files in one folder, dropped, and what became of them together."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core.breaker import State
from imgoptd.core.job import Job
from imgoptd.core.model import (
    Domain,
    FileRecord,
    FileRef,
    Identity,
    JobSettings,
    JobState,
    Place,
)
from tests.unit.disk import Content
from tests.unit.world import ROOT, World, folder

OTHER = b"/srv/other"
PLACE = Place(ROOT, 1)


def names(count: int, root: bytes = ROOT) -> list[FileRef]:
    return [FileRef(root, b"%02d.jpg" % number) for number in range(count)]


def drop(world: World, refs: list[FileRef]) -> None:
    for ref in refs:
        world.drop(ref, Content("photo", world.disk.number()))


def said(world: World, *events: str) -> list[str]:
    return [one.event for one in world.asked(c.Announce) if one.event in events]


def all_done(world: World, refs: list[FileRef]) -> bool:
    return all(world.state(ref) == (JobState.DONE, "optimized") for ref in refs)


def sick(count: int = 40) -> tuple[World, list[FileRef]]:
    """A world with files on a disk whose breaker is open."""
    world, refs = World(folder(), folder(OTHER)), names(count)
    drop(world, refs)
    world.until(c.SendJob)
    world.disk.sick.add(ROOT)
    world.run(4.0)
    assert world.engine.jobs.places.breakers.state(PLACE) is State.OPEN
    return world, refs


def deferred_job(number: int, due_s: float, dev: int = 1) -> Job:
    record = FileRecord(FileRef(ROOT, b"%d" % number), Identity(dev, number, 10, 1), JobState.DEFERRED)
    return Job(record, Domain(ROOT, 0), 5, JobSettings(), number, 0.0, due_s=due_s)
