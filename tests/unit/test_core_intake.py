"""What becomes of a file before it is a job: first scans, what is not ours to touch, what waits for its writer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.companions import in_manifest, sidecar_of
from imgoptd.core.engine import Engine
from imgoptd.core.judgement import counts_what_lies_around
from imgoptd.core.model import FileKind, FileRecord, FileRef, HintKind, Identity, JobState, Look
from imgoptd.core.policy import FolderPolicy
from tests.unit.disk import Content
from tests.unit.world import ROOT, World, folder

A, B = FileRef(ROOT, b"a.jpg"), FileRef(ROOT, b"b.jpg")
PHOTO = Content("photo")


def probes(world: World) -> int:
    return len(world.asked(c.SendProbe))


def texts(world: World, ref: FileRef) -> str:
    return " | ".join(f"{step}: {text}" for step, text in world.store.steps[ref])


# ---- what stood there before ----------------------------------------------------------------------------------------


def test_what_stood_there_when_the_folder_was_first_watched_is_left_alone_with_that_reason() -> None:
    world = World(files={A: PHOTO})
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "existing")
    assert "before the folder was first watched" in texts(world, A)
    assert probes(world) == 0


def test_with_existing_optimize_it_is_work_like_any_other_but_bulk() -> None:
    world = World(folder(optimize_existing=True))
    world.disk.put(A, PHOTO)
    world.scan(ROOT)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
    assert not world.store.files[A].fresh


def test_a_drop_during_the_first_scan_is_done_even_when_the_scan_finds_it_too() -> None:
    world = World(files={A: PHOTO})
    world.drop(B, PHOTO)
    world.scan(ROOT)
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "existing")
    assert world.state(B) == (JobState.DONE, "optimized")


def test_what_came_while_the_daemon_was_down_is_done() -> None:
    world = World()
    world.run()
    world.disk.put(A, PHOTO)
    world.crash()
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_the_first_scan_is_taken_only_when_all_it_found_was_looked_at() -> None:
    world = World(files={A: PHOTO, B: PHOTO})
    first, second = (one for one in list(world.pending) if isinstance(one, c.LookAt))
    world.answer(first)
    world.turn()
    assert world.store.baselines == set()
    world.crash()
    assert len([one for one in world.pending if isinstance(one, c.LookAt)]) == 2, "it begins anew"
    world.run()
    assert world.store.baselines == {ROOT}
    assert world.state(second.ref) == (JobState.SKIPPED, "existing")


def test_somebody_doing_something_to_a_file_that_stood_there_makes_it_work() -> None:
    world = World(files={A: PHOTO})
    world.run()
    world.hint(A, HintKind.CLOSED)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_a_file_that_stood_there_and_changed_while_the_daemon_was_down_is_done() -> None:
    world = World(files={A: PHOTO})
    world.run()
    world.disk.rewrite(A, Content("photo", 2))
    world.crash()
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


@pytest.mark.parametrize("pinnable", [True, False])
def test_a_file_that_stood_there_unreadable_is_left_alone_once_it_can_be_read(pinnable: bool) -> None:
    world = World(files={A: PHOTO})
    world.disk.files[A].kind, world.disk.files[A].pinnable = FileKind.UNREADABLE, pinnable
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "existing")
    world.disk.files[A].kind = FileKind.REGULAR
    for _ in range(2):
        world.crash()
        world.run()
    assert world.state(A) == (JobState.SKIPPED, "existing")
    assert world.store.files[A].identity == world.disk.files[A].identity
    world.hint(A, HintKind.CLOSED)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


# ---- what is not ours to touch --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribute", "value", "mended", "reason"),
    [
        ("mode", 0o444, 0o644, "protected"),
        ("nlink", 3, 1, "hard-linked"),
        ("leave", in_manifest("SHA256SUMS"), None, "in-checksum-manifest"),
        ("leave", sidecar_of("a.CR2"), None, "raw-sidecar"),
    ],
)
def test_what_is_not_ours_to_touch_is_skipped_until_that_changes(
    attribute: str, value: object, mended: object, reason: str
) -> None:
    world = World()
    world.drop(A, PHOTO)
    setattr(world.disk.files[A], attribute, value)
    world.run()
    assert world.state(A) == (JobState.SKIPPED, reason)
    told = len(world.store.steps[A])
    world.scan(ROOT)
    world.run()
    assert (world.state(A), len(world.store.steps[A])) == ((JobState.SKIPPED, reason), told), "told once"
    setattr(world.disk.files[A], attribute, mended)
    world.scan(ROOT)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_what_lies_around_a_file_is_not_asked_for_one_that_is_finished() -> None:
    look = Look(FileKind.REGULAR, Identity(1, 2, 3, 4))
    record = FileRecord(A, Identity(1, 2, 3, 4), JobState.DONE, "optimized")
    assert not counts_what_lies_around(look, record)
    assert not counts_what_lies_around(Look(FileKind.SYMLINK), None)
    assert counts_what_lies_around(look, None)
    assert counts_what_lies_around(look, replace(record, identity=Identity(1, 2, 3, 5)))
    assert counts_what_lies_around(look, replace(record, state=JobState.QUEUED, reason=""))
    for reason in ("in-checksum-manifest", "protected", "existing", "vanished"):
        assert counts_what_lies_around(look, replace(record, state=JobState.SKIPPED, reason=reason))


@pytest.mark.parametrize("until", [c.SendJob, c.Prepare])
def test_a_manifest_that_comes_while_a_file_is_worked_on_stops_the_work_until_it_is_gone(
    until: type[c.SendJob] | type[c.Prepare],
) -> None:
    world = World()
    world.drop(A, PHOTO)
    action = world.until(until)
    world.disk.files[A].leave = in_manifest("SHA256SUMS")
    world.answer(action)
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "in-checksum-manifest")
    assert "SHA256SUMS names it" in texts(world, A)
    assert world.disk.files[A].content == PHOTO
    world.disk.files[A].leave = None
    world.hint(A, HintKind.CLOSED)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_where_it_is_told_so_one_name_of_several_is_parted_from_the_others() -> None:
    world = World(folder(part_hard_links=True))
    world.drop(A, PHOTO)
    world.disk.files[A].nlink = 3
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (Look(FileKind.REGULAR, mode=0o444), "nobody has the right"),
        (Look(FileKind.REGULAR, mode=0o644, immutable=True), "immutable or append-only"),
        (Look(FileKind.REGULAR, mode=0o644, read_only_mount=True), "read-only for this process"),
    ],
)
def test_it_is_said_what_protects_a_file(look: Look, words: str) -> None:
    engine = Engine()
    engine.handle(e.Configured(1, (FolderPolicy(ROOT),), 0, 1, 60.0), 0.0)
    engine.handle(e.Hinted(A, HintKind.CREATED), 0.0)
    engine.end_turn(0.0)
    look = replace(look, identity=Identity(1, 2, 3, 4))
    engine.handle(e.Looked(A, look, None), 0.0)
    commands = engine.end_turn(2.0) + engine.handle(e.Looked(A, look, None), 2.0)
    (saved,) = [one.record for one in commands if isinstance(one, c.SaveFile)]
    assert (saved.state, saved.reason) == (JobState.SKIPPED, "protected")
    assert words in saved.detail


def test_a_file_told_of_in_another_spelling_than_its_folder_lists_is_worked_on_once_as_listed() -> None:
    world = World()
    world.disk.put(A, PHOTO)
    alias = FileRef(ROOT, b"A.JPG")
    world.disk.put(alias, PHOTO, listed_as=A.path)
    world.hint(alias, HintKind.CLOSED)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
    assert world.state(alias) == (JobState.SKIPPED, "vanished")
    assert "listed as a.jpg" in texts(world, alias)
    assert len(world.asked(c.SendJob)) == 1


def test_asked_for_once_more_by_another_spelling_the_file_is_done_once_more_as_listed() -> None:
    alias = FileRef(ROOT, b"A.JPG")
    world = World(files={A: PHOTO})
    world.disk.put(alias, PHOTO, listed_as=A.path)
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "existing")
    world.untouchable.clear()  # as the operator says now
    world.post(e.RetryRequested(alias))
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


@pytest.mark.parametrize(
    ("kind", "reason"), [(FileKind.SYMLINK, "symlink"), (FileKind.OTHER, "not-a-file")], ids=["symlink", "fifo"]
)
def test_links_and_fifos_are_skipped_with_their_reason(kind: FileKind, reason: str) -> None:
    world = World()
    world.disk.put(A, PHOTO, kind=kind)
    world.hint(A, HintKind.CREATED)
    world.run()
    assert world.state(A) == (JobState.SKIPPED, reason)
    assert world.store.files[A].identity.ino == 0
    told = len(world.store.steps[A])
    world.scan(ROOT)
    world.run()
    assert len(world.store.steps[A]) == told, "told once"


def test_what_took_the_place_of_a_vanished_file_or_of_a_link_is_told_as_what_it_is() -> None:
    world = World()
    world.hint(A, HintKind.CREATED)
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "vanished")
    for kind, reason in ((FileKind.SYMLINK, "symlink"), (FileKind.OTHER, "not-a-file"), (FileKind.SYMLINK, "symlink")):
        world.disk.put(A, PHOTO, kind=kind)
        world.hint(A, HintKind.MOVED)
        world.run()
        assert world.state(A) == (JobState.SKIPPED, reason)


def test_an_empty_file_is_skipped_and_done_once_something_is_written_to_it() -> None:
    world = World()
    world.drop(A, Content("photo", size=0))
    world.run()
    assert world.state(A) == (JobState.SKIPPED, "empty")
    world.overwrite(A, PHOTO)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")


def test_a_file_that_is_written_for_long_is_told_of_once() -> None:
    world = World()
    world.disk.put(A, PHOTO, writers=1)
    world.hint(A, HintKind.CREATED)
    world.run(400.0)
    told = [one for one in world.asked(c.Announce) if one.event == "settling"]
    assert len(told) == 1 and "a.jpg is still being written" in told[0].message
    world.disk.files[A].writers = 0
    world.hint(A, HintKind.CLOSED)
    world.run()
    assert world.state(A) == (JobState.DONE, "optimized")
