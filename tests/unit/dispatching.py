"""Short words for tests of who gets what: drop files, let their jobs hang and end, and ask who works on what."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core.job import Stage
from imgoptd.core.model import Domain, FileRef, JobState
from tests.unit.disk import ALICE, Content
from tests.unit.world import ROOT, World

URGENT = b"/srv/urgent"
DONE = (JobState.DONE, "optimized")
A, B, C = (FileRef(ROOT, name) for name in (b"a.jpg", b"b.jpg", b"c.jpg"))


def drop(
    world: World, kind: str, count: int = 1, *, uid: int = ALICE, root: bytes = ROOT, hang: bool = False
) -> list[FileRef]:
    """So many files with names of their own; with `hang` their jobs take until `let_go`."""
    refs = [FileRef(root, b"%d-%d.jpg" % (world.disk.number(), uid)) for _ in range(count)]
    for ref in refs:
        world.drop(ref, Content(kind, world.disk.number()), uid)
    world.hanging.update(refs if hang else ())
    return refs


def let_go(world: World, *refs: FileRef) -> None:
    """These jobs come to their end now."""
    world.hanging.difference_update(refs)
    world.run(0.0)


def given(world: World) -> list[FileRef]:
    """The files of all jobs that were given out, in order."""
    return [job.ref for job in world.asked(c.SendJob)]


def running(world: World) -> list[FileRef]:
    tasks = [job for worker in world.engine.fleet.workers.values() for job in worker.tasks]
    return [job.ref for job in tasks if job.stage is Stage.WORKING]


def serving(world: World) -> list[Domain]:
    return sorted(worker.domain for worker in world.engine.fleet.serving())


def needs(kind: str) -> int:
    """Bytes reserved for a job of the kind."""
    world = World()
    world.drop(A, Content(kind))
    return world.until(c.SendJob).memory_bytes
