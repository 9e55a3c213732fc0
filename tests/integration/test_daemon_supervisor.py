"""Commands become calls and events: who owns a job's descriptors, and what stands in the way of a new look."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imgoptd.adapters.store import StoreError
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import FileKind, FileRecord, FileRef, Identity, Intent, JobState, Place
from tests.integration.pooling import open_descriptors
from tests.integration.supervising import supervised

NEW = b"smaller"


class Between:
    """A store that hands everything on."""

    def __init__(self, store: StoreThread) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class FirstAsksLong(Between):
    """The first question about a content is answered only once `go` is set."""

    def __init__(self, store: StoreThread) -> None:
        super().__init__(store)
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def is_result(self, sha256: str) -> bool:
        if not self.asked.is_set():
            self.asked.set()
            await self.go.wait()
        return await self._store.is_result(sha256)


class Full(Between):
    """Nothing can be written while `full`, and no row be read while `unreadable`."""

    full = unreadable = False

    async def file(self, ref: FileRef) -> FileRecord | None:
        if self.unreadable:
            raise StoreError("the store cannot be read: disk I/O error")
        return await self._store.file(ref)

    async def commit(self, records: Sequence[c.Record]) -> None:
        if self.full:
            raise StoreError("the store cannot be written: database or disk is full")
        await self._store.commit(records)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The watched folder and the state folder."""
    made = (tmp_path / "watched", tmp_path / "state")
    for folder in made:
        folder.mkdir()
    return made


def test_a_worker_lost_while_its_input_was_opened_costs_the_next_holder_of_the_job_nothing(
    places: tuple[Path, Path],
) -> None:
    root, state = places
    (root / "a.jpg").write_bytes(b"the original" * 100)

    async def test() -> None:
        async with supervised(root, state, FirstAsksLong) as bench:
            await bench.until(e.ScanFinished)
            identity = bench.identity(b"a.jpg")
            before = open_descriptors()
            bench.pool_gone = {1}
            bench.supervisor.perform([bench.send(1, b"a.jpg", identity)])
            await bench.store.asked.wait()
            bench.supervisor.perform([bench.send(2, b"a.jpg", identity)])
            started = await bench.until(e.TaskStarted)
            assert (started.worker, started.ref.path) == (2, b"a.jpg")
            bench.store.go.set()
            assert await bench.until(e.TaskRefused) == e.TaskRefused(1, started.ref, None)
            assert open_descriptors() == before + 3, "folder, input and output of the second holder alone"
            source, target = bench.handed[2]
            assert os.pread(source, 12, 0) == b"the original"
            os.write(target, NEW)
            bench.supervisor.perform([c.Prepare(started.ref, len(NEW))])
            prepared = await bench.until(e.Prepared)
            intent = Intent(started.ref, prepared.temp_name, identity, prepared.result, prepared.sha256, started.sha256)
            bench.supervisor.perform([c.Exchange(intent)])
            await bench.until(e.Exchanged)
            assert (root / "a.jpg").read_bytes() == NEW
            assert open_descriptors() == before

    asyncio.run(test())


def test_a_job_that_is_discarded_or_known_leaves_no_descriptor_and_no_file(places: tuple[Path, Path]) -> None:
    root, state = places
    (root / "a.jpg").write_bytes(b"the original" * 100)

    async def test() -> None:
        async with supervised(root, state) as bench:
            await bench.until(e.ScanFinished)
            identity = bench.identity(b"a.jpg")
            before = open_descriptors()
            bench.supervisor.perform([bench.send(1, b"a.jpg", identity)])
            started = await bench.until(e.TaskStarted)
            bench.supervisor.perform([c.Discard(started.ref)])
            assert open_descriptors() == before
            known = replace(bench.send(1, b"a.jpg", identity), known_sha256=started.sha256)
            bench.supervisor.perform([known])
            assert (await bench.until(e.Recognised)).own_result is False
            assert open_descriptors() == before
            bench.supervisor.perform([bench.send(1, b"a.jpg", identity._replace(size=1))])
            refused = await bench.until(e.TaskRefused)
            assert refused.failure is not None and refused.failure.reason == "changed"
            assert open_descriptors() == before
        assert os.listdir(root) == ["a.jpg"]

    asyncio.run(test())


def test_a_prepare_without_its_job_is_a_failure_of_that_file_alone(places: tuple[Path, Path]) -> None:
    async def test() -> None:
        async with supervised(*places) as bench:
            bench.supervisor.perform([c.Prepare(FileRef(bench.root, b"never opened"), 1)])
            failed = await bench.until(e.ReplaceFailed)
            assert failed.failure.reason == "internal"

    asyncio.run(test())


@pytest.mark.parametrize("output", [b"", b"/srv/small"], ids=["the folder", "its output tree"])
def test_a_disk_that_is_out_of_reach_when_it_is_tried_is_answered_for(places: tuple[Path, Path], output: bytes) -> None:
    async def test() -> None:
        async with supervised(*places) as bench:
            await bench.folders.apply([])
            place = Place(bench.root, 1)
            bench.supervisor.perform([c.ProbeFolder(place, FileRef(bench.root, b"a.jpg"), 0, output)])
            probed = await bench.until(e.FolderProbed)
            assert probed.place == place
            assert probed.failure is not None and probed.failure.reason == "folder-lost"

    asyncio.run(test())


# ---- replaces that are still to be put right ------------------------------------------------------------------------


def intent_of(root: Path, path: bytes, dev: int) -> Intent:
    original = Identity(dev, 7, 100, 1)
    return Intent(FileRef(os.fsencode(root), path), b".imgoptd-temp", original, None, "ab" * 32, "cd" * 32)


async def remembered(store: StoreThread, intent: Intent) -> None:
    record = FileRecord(intent.ref, intent.original, JobState.ACTIVE)
    await store.commit([c.SaveFile(record), c.SaveIntent(intent)])


def test_an_earlier_replace_that_is_not_settled_makes_the_file_unreadable_and_its_intent_stays(
    places: tuple[Path, Path],
) -> None:
    root, state = places
    dev = root.stat().st_dev

    async def test() -> None:
        async with supervised(root, state) as bench:
            # Its folder is missing, and the file was of another disk: perhaps one that is not mounted just now.
            intent = intent_of(root, b"disk/a.jpg", dev + 1)
            await remembered(bench.store, intent)
            bench.unfinished.keep_replace(intent)
            for _ in range(2):
                looked = await bench.look(b"disk/a.jpg")
                assert looked.look.kind is FileKind.UNREADABLE
                assert "earlier replace is still to be put right" in looked.look.detail
                assert await bench.store.intents() == [intent]
            assert bench.said().count("could not be put right yet") == 1, "it is said once"
            assert (await bench.look(b"other.jpg")).look.kind is FileKind.GONE
            (root / "disk").mkdir()
            (root / "disk" / "a.jpg").write_bytes(b"back")
            assert (await bench.look(b"disk/a.jpg")).look.kind is FileKind.REGULAR
            assert await bench.store.intents() == []

    asyncio.run(test())


def test_a_replace_whose_end_cannot_be_stored_is_put_right_again_later(places: tuple[Path, Path]) -> None:
    root, state = places
    (root / "a.jpg").write_bytes(b"whole")

    async def test() -> None:
        async with supervised(root, state, Full) as bench:
            intent = intent_of(root, b"a.jpg", root.stat().st_dev)
            await remembered(bench.store, intent)
            bench.unfinished.keep_replace(intent)
            bench.store.full = True
            looked = await bench.look(b"a.jpg")
            assert looked.look.kind is FileKind.UNREADABLE
            assert "disk is full" in looked.look.detail and "disk is full" in bench.said()
            bench.store.full, bench.store.unreadable = False, True
            assert "disk I/O error" in (await bench.look(b"a.jpg")).look.detail
            bench.store.unreadable = False
            assert await bench.store.intents() == [intent]
            assert (await bench.look(b"a.jpg")).look.kind is FileKind.REGULAR
            assert await bench.store.intents() == []

    asyncio.run(test())


def test_a_replace_is_put_right_once_although_two_ask_for_it(places: tuple[Path, Path]) -> None:
    root, state = places
    (root / "a.jpg").write_bytes(b"whole")

    async def test() -> None:
        async with supervised(root, state) as bench:
            intent = intent_of(root, b"a.jpg", root.stat().st_dev)
            await remembered(bench.store, intent)
            bench.unfinished.keep_replace(intent)
            asked = [bench.folders.finish([intent.ref]) for _ in range(3)]
            assert await asyncio.gather(*asked) == [{}, {}, {}]
            steps = [step for _, step, _ in await bench.store.history(intent.ref)]
            assert len(steps) == 1

    asyncio.run(test())


def test_a_file_whose_folder_is_not_watched_any_more_is_not_looked_at(places: tuple[Path, Path]) -> None:
    root, state = places
    (root / "a.jpg").write_bytes(b"whole")

    async def test() -> None:
        async with supervised(root, state) as bench:
            intent = intent_of(root, b"a.jpg", root.stat().st_dev)
            await remembered(bench.store, intent)
            bench.unfinished.keep_replace(intent)
            await bench.folders.apply([])
            assert (await bench.look(b"a.jpg")).look.kind is FileKind.UNREADABLE
            assert await bench.store.intents() == [intent]

    asyncio.run(test())
