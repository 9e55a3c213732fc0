"""Originals growing old, over a real store and real files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import FileKind, Kept, Restoring
from tests.integration.pooling import open_descriptors
from tests.integration.supervising import Bench, supervised
from tests.integration.test_daemon_supervisor import Full
from tests.replacing import NEWER, OLD
from tests.undoing import keep, kept_file

Test = Callable[[Bench, Kept], Coroutine[Any, Any, None]]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The watched folder, with one file, and the state folder."""
    made = (tmp_path / "watched", tmp_path / "state")
    for folder in made:
        folder.mkdir()
    (made[0] / "a.jpg").write_bytes(OLD)
    return made


def with_kept(places: tuple[Path, Path], test: Test) -> None:
    root, state = places

    async def run() -> None:
        async with supervised(root, state) as bench:
            kept = keep(root, state)
            await bench.store.commit([c.SaveKept(kept)])
            await test(bench, kept)

    asyncio.run(run())


async def rows(bench: Bench) -> int:
    files, _ = await bench.store.kept(lambda kept: kept.total())
    return int(files)


def test_what_is_younger_than_keep_stays_and_what_is_older_goes(places: tuple[Path, Path]) -> None:
    async def test(bench: Bench, kept: Kept) -> None:
        await bench.undo.count()
        await bench.undo.sweep()
        assert (await rows(bench), kept_file(kept, places[1]).exists()) == (1, True)
        bench.undo.keep_s = -1.0  # as if two seconds had passed
        await bench.undo.sweep()
        assert (await rows(bench), kept_file(kept, places[1]).exists()) == (0, False)
        assert bench.of(e.UndoChanged) == [e.UndoChanged(1, len(OLD)), e.UndoChanged(-1, -len(OLD))]

    with_kept(places, test)


def test_in_a_folder_that_is_watched_no_longer_originals_grow_old_too(places: tuple[Path, Path]) -> None:
    async def test(bench: Bench, kept: Kept) -> None:
        await bench.folders.apply([])
        bench.undo.keep_s = -1.0
        await bench.undo.sweep()
        assert (await rows(bench), kept_file(kept, places[1]).exists()) == (0, False)

    with_kept(places, test)


def test_what_is_out_of_reach_is_kept_in_mind_until_it_is_back(places: tuple[Path, Path]) -> None:
    root, state = places

    async def test(bench: Bench, kept: Kept) -> None:
        await bench.folders.apply([])
        bench.undo.keep_s = -1.0
        root.rename(root.parent / "unplugged")
        await bench.undo.sweep()
        assert await rows(bench) == 1
        assert "tried again later" in bench.said()
        (root.parent / "unplugged").rename(root)
        await bench.undo.sweep()
        assert (await rows(bench), kept_file(kept, state).exists()) == (0, False)

    with_kept(places, test)


def test_a_file_that_is_not_what_was_kept_is_left_and_said_aloud(places: tuple[Path, Path]) -> None:
    async def test(bench: Bench, kept: Kept) -> None:
        kept_file(kept, places[1]).write_bytes(NEWER)
        bench.undo.keep_s = -1.0
        await bench.undo.sweep()
        assert await rows(bench) == 0
        assert kept_file(kept, places[1]).read_bytes() == NEWER
        assert "is left: it is not the file that was kept" in bench.said()

    with_kept(places, test)


@pytest.mark.parametrize("interrupted", [True, False])
def test_an_original_on_a_disk_that_is_not_mounted_is_not_taken_for_gone(
    places: tuple[Path, Path], interrupted: bool
) -> None:
    root, state = places

    async def test(bench: Bench, kept: Kept) -> None:
        kept_file(kept, state).rename(root / "elsewhere")
        kept_file(kept, state).parent.rmdir()  # what the empty mount point looks like, but for its device number
        other_disk = replace(kept, identity=kept.identity._replace(dev=kept.identity.dev + 1))
        restoring = replace(other_disk, restoring=Restoring(b"", other_disk.identity))
        await bench.store.commit([c.SaveKept(restoring if interrupted else other_disk)])
        if interrupted:
            bench.unfinished.keep_restore(restoring)
            looked = await bench.look(b"a.jpg")
            assert looked.look.kind is FileKind.UNREADABLE
        else:
            bench.undo.keep_s = -1.0
            await bench.undo.sweep()
        assert await rows(bench) == 1

    with_kept(places, test)


def test_of_many_who_restore_a_file_at_once_all_but_one_are_told_that_it_is_busy(places: tuple[Path, Path]) -> None:
    async def test(bench: Bench, kept: Kept) -> None:
        wish = [(kept.ref, kept.ref.full)]
        asking = [asyncio.create_task(bench.undo.bring_back(wish, force=False)) for _ in range(8)]
        async with asyncio.timeout(20):
            while sum(task.done() for task in asking) < 7:
                await asyncio.wait([task for task in asking if not task.done()], return_when=asyncio.FIRST_COMPLETED)
        assert {task.result()[0]["reason"] for task in asking if task.done()} == {"busy"}
        await bench.until(e.RestoreAsked)
        assert len(bench.of(e.RestoreAsked)) == 1
        for task in asking:  # one waits for the engine, which nobody runs here
            task.cancel()

    with_kept(places, test)


def test_a_restore_waits_for_a_store_that_cannot_be_read_and_leaves_no_descriptor_when_its_client_goes(
    places: tuple[Path, Path],
) -> None:
    root, state = places

    async def run() -> None:
        async with supervised(root, state, Full) as bench:
            kept = keep(root, state)
            await bench.store.commit([c.SaveKept(kept)])
            wish = [(kept.ref, kept.ref.full)]
            before = open_descriptors()
            bench.store.unreadable = True
            asking = asyncio.create_task(bench.undo.bring_back(wish, force=False))
            for _ in range(2000):
                if "the store cannot be used" in bench.said():
                    break
                await asyncio.sleep(0.01)
            assert not asking.done() and open_descriptors() > before
            asking.cancel()
            await asyncio.wait([asking])
            assert open_descriptors() == before
            assert bench.of(e.RestoreAsked) == []

    asyncio.run(run())


def test_an_old_original_that_is_just_being_restored_is_not_removed(places: tuple[Path, Path]) -> None:
    async def test(bench: Bench, kept: Kept) -> None:
        restoring = asyncio.create_task(bench.undo.bring_back([(kept.ref, kept.ref.full)], force=False))
        await bench.until(e.RestoreAsked)
        bench.undo.keep_s = -1.0
        await bench.undo.sweep()
        assert (await rows(bench), kept_file(kept, places[1]).exists()) == (1, True)
        restoring.cancel()

    with_kept(places, test)


def test_a_restore_that_was_interrupted_is_put_right_before_another_begins(places: tuple[Path, Path]) -> None:
    root, _ = places

    async def test(bench: Bench, kept: Kept) -> None:
        interrupted = replace(kept, restoring=Restoring(b".imgoptd-0123456789abcdef.tmp", kept.result))
        await bench.store.commit([c.SaveKept(interrupted)])
        bench.unfinished.keep_restore(interrupted)
        root.rename(root.parent / "unplugged")
        await bench.folders.apply([])
        answers = await bench.undo.bring_back([(kept.ref, kept.ref.full)], force=True)
        assert answers[0]["reason"] == "unfinished"
        assert "out of reach" in answers[0]["detail"]
        ((_, row),) = await bench.undo.kept_of(kept.ref)
        assert row.restoring == interrupted.restoring

    with_kept(places, test)
