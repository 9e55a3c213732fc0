"""What becomes of files in a folder that has an output tree."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.mirroring import COPIES_AT_ONCE
from imgoptd.core.model import Failure, FailureKind, FileRef, JobState
from tests.unit.disk import Content
from tests.unit.replaces import TREE
from tests.unit.world import ROOT, World, folder

PHOTO, TIGHT, GIF = Content("photo"), Content("tight"), Content("gif")
A, B = FileRef(ROOT, b"a.jpg"), FileRef(ROOT, b"b.jpg")
MIRRORED = folder(output=TREE)


def row(world: World, ref: FileRef) -> tuple[JobState, str]:
    record = world.store.files[ref]
    return record.state, record.reason


def test_a_result_goes_into_the_tree_and_the_row_stays_that_of_the_original() -> None:
    world = World(MIRRORED)
    world.drop(A, PHOTO)
    identity = world.disk.files[A].identity
    world.run()
    assert row(world, A) == (JobState.DONE, "optimized")
    record = world.store.files[A]
    assert (record.identity, record.sha256, record.output) == (identity, PHOTO.sha256, TREE)
    assert world.disk.files[A].content == PHOTO
    assert world.tree[A].content == PHOTO.optimized()
    assert "in /srv/small" in record.detail


def test_a_picture_without_a_result_is_copied_and_what_is_none_is_not() -> None:
    world = World(MIRRORED)
    refs = {FileRef(ROOT, kind.encode()): Content(kind) for kind in ("tight", "gif", "text", "corrupt", "wrong")}
    for ref, content in refs.items():
        world.drop(ref, content)
    world.run()
    copied = {ref for ref in refs if [step for step, _ in world.store.steps[ref]][-2:] == ["copied", "skipped"]}
    assert copied == set(world.tree) == {FileRef(ROOT, b"tight"), FileRef(ROOT, b"gif")}
    assert all(world.tree[ref].content == refs[ref] for ref in copied)
    assert world.store.receipts == []


def test_read_only_and_hard_linked_originals_and_those_that_belong_to_others_are_mirrored() -> None:
    world = World(MIRRORED)
    for ref, content in ((A, PHOTO), (B, TIGHT)):
        world.drop(ref, content)
        world.disk.files[ref].mode, world.disk.files[ref].nlink = 0o444, 2
        world.disk.files[ref].leave = Failure(FailureKind.REJECTED, "in-manifest", "SHA256SUMS names it")
    world.run()
    assert {ref: file.content for ref, file in world.tree.items()} == {A: PHOTO.optimized(), B: TIGHT}


def test_a_touched_original_is_known_by_its_output_and_a_removed_output_is_made_again() -> None:
    world = World(MIRRORED)
    world.drop(A, PHOTO)
    world.drop(B, GIF)
    world.run()
    before = dict(world.tree)
    for ref in (A, B):
        world.overwrite(ref, world.disk.files[ref].content)
    world.run()
    assert row(world, A) == (JobState.SKIPPED, "known")
    assert [step for step, _ in world.store.steps[B]].count("copied") == 1
    assert world.tree == before
    world.tree.clear()
    for ref in (A, B):
        world.overwrite(ref, world.disk.files[ref].content)
    world.run()
    assert {ref: file.content for ref, file in world.tree.items()} == {A: PHOTO.optimized(), B: GIF}


def test_a_result_of_ours_among_the_originals_is_copied() -> None:
    world = World(MIRRORED)
    world.drop(A, PHOTO)
    world.run()
    world.drop(B, PHOTO.optimized())
    world.run()
    assert row(world, B) == (JobState.SKIPPED, "own-result")
    assert world.tree[B].content == PHOTO.optimized()


def test_what_was_finished_in_place_or_for_another_tree_is_judged_anew() -> None:
    world = World(folder())
    world.drop(A, PHOTO)
    world.run()
    for output in (TREE, b"/srv/other"):
        world.configure(folders=(folder(output=output),))
        world.scan(ROOT)
        world.run()
        assert world.store.files[A].output == output
    world.drop(B, PHOTO)
    world.run()
    world.configure(folders=(folder(),))
    world.scan(ROOT)
    world.run()
    assert world.disk.files[B].content == PHOTO.optimized(), "in place once more"


def test_what_stood_there_before_is_left_alone_whatever_the_tree() -> None:
    world = World(MIRRORED, files={A: PHOTO})
    world.run()
    world.configure(folders=(folder(output=b"/srv/other"),))
    world.scan(ROOT)
    world.run()
    assert row(world, A) == (JobState.SKIPPED, "existing")
    assert world.tree == {}


def until_copies(world: World, number: int) -> list[c.Copy]:
    """Everything but copies is answered until so many are under way."""
    while len(copies := [one for one in world.pending if isinstance(one, c.Copy)]) < number:
        world.turn()
        for action in [one for one in world.pending if not isinstance(one, c.Copy)]:
            world.answer(action)
        for worker in list(world.workers):
            world.work(worker)
    return copies


def gifs(world: World, number: int) -> set[FileRef]:
    refs = {FileRef(ROOT, b"%d.gif" % one) for one in range(number)}
    for ref in sorted(refs):
        world.drop(ref, GIF)
    return refs


def test_a_few_originals_are_copied_at_a_time_and_in_the_end_all() -> None:
    world = World(MIRRORED)
    refs = gifs(world, 3 * COPIES_AT_ONCE)
    until_copies(world, COPIES_AT_ONCE)
    for _ in range(5):
        world.turn()
        assert sum(isinstance(one, c.Copy) for one in world.pending) == COPIES_AT_ONCE
    world.run()
    assert set(world.tree) == refs


def test_no_copy_is_begun_while_draining() -> None:
    world = World(MIRRORED)
    refs = gifs(world, COPIES_AT_ONCE + 3)
    until_copies(world, COPIES_AT_ONCE)
    world.post(e.DrainRequested())
    world.settle_answers()
    assert world.engine.drained()
    assert len(world.tree) == COPIES_AT_ONCE
    world.crash()
    world.run()
    assert set(world.tree) == refs


def test_failed_copies_let_others_begin_and_are_tried_again() -> None:
    world = World(MIRRORED)
    refs = gifs(world, COPIES_AT_ONCE + 1)
    failed = until_copies(world, COPIES_AT_ONCE)
    for copy in failed:
        world.answer(copy, "fail")
    world.turn()
    assert row(world, failed[0].ref) == (JobState.DEFERRED, "no-space")
    assert {one.ref for one in world.pending if isinstance(one, c.Copy)} == refs - {copy.ref for copy in failed}
    world.run()
    assert set(world.tree) == refs


def test_an_output_placed_before_a_crash_is_ours_after_it() -> None:
    for content in (PHOTO, GIF):
        world = World(MIRRORED)
        world.drop(A, content)
        while not any(isinstance(one, c.Exchange) for one in world.pending):
            world.turn()
            for action in [one for one in world.pending if not isinstance(one, c.Exchange)]:
                world.answer(action)
            for number in list(world.workers):
                world.work(number)
        [exchange] = [one for one in world.pending if isinstance(one, c.Exchange)]
        world.answer(exchange)  # it stands there, and the daemon dies before it hears of it
        placed = replace(world.tree[A])
        world.crash()
        world.run()
        assert world.tree[A] == placed
        assert row(world, A) == ((JobState.DONE, "optimized") if content is PHOTO else (JobState.SKIPPED, "left-alone"))
        world.overwrite(A, Content("photo", tag=5))
        world.run()
        assert world.tree[A].content == Content("photo", tag=5).optimized(), "an earlier output may be replaced"


def until(world: World, kind: type[c.Action]) -> None:
    """Everything is answered until an action of that kind waits for its answer; workers work until then."""
    while not any(isinstance(one, kind) for one in world.pending):
        world.turn()
        if any(isinstance(one, kind) for one in world.pending):
            return
        for action in list(world.pending):
            world.answer(action)
        for number in list(world.workers):
            world.work(number)


@pytest.mark.parametrize("kind", [c.SendJob, c.Prepare])
def test_a_job_under_way_when_an_output_tree_is_configured_leaves_its_original_alone(kind: type[c.Action]) -> None:
    world = World(folder())
    world.drop(A, PHOTO)
    until(world, kind)
    world.configure(folders=(MIRRORED,))
    world.run()
    assert world.disk.files[A].content == PHOTO
    assert world.tree[A].content == PHOTO.optimized()
    assert world.store.files[A].output == TREE


@pytest.mark.parametrize("kind", [c.SendJob, c.Prepare, c.Exchange])
def test_a_job_under_way_when_its_output_tree_is_taken_back_replaces_its_original(kind: type[c.Action]) -> None:
    world = World(MIRRORED)
    world.drop(A, PHOTO)
    until(world, kind)
    world.configure(folders=(folder(),))
    world.run()
    assert world.disk.files[A].content == PHOTO.optimized()
    assert (row(world, A), world.store.files[A].output) == ((JobState.DONE, "optimized"), b"")
    assert (A in world.tree) == (kind is c.Exchange), "what was durably begun is finished"


def test_copies_that_wait_or_run_when_another_output_tree_is_configured_go_there() -> None:
    world = World(MIRRORED)
    refs = gifs(world, COPIES_AT_ONCE + 3)
    until_copies(world, COPIES_AT_ONCE)
    world.configure(folders=(folder(output=b"/srv/other"),))
    world.run()
    assert {ref: world.store.files[ref].output for ref in refs} == dict.fromkeys(refs, b"/srv/other")
    assert all([step for step, _ in world.store.steps[ref]].count("copied") == 1 for ref in refs)
