"""A turn: first durable, then done; and what a store that cannot be written does to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from imgoptd.adapters.store import StoreError
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.model import FileKind, FileRef, HintKind, Identity, JobState, Lease, Look
from imgoptd.core.policy import FolderPolicy
from imgoptd.daemon import loop as loops
from imgoptd.daemon.loop import Loop

ROOT = b"/w"
REF = FileRef(ROOT, b"a.jpg")
LOOK = Look(FileKind.REGULAR, Identity(1, 2, 3000, 4), mode=0o644, lease=Lease.GRANTED, close_is_whole=True)


class Failing:
    """A real store whose commits fail as often as told first."""

    def __init__(self, store: StoreThread, failures: int) -> None:
        self._store = store
        self._left = failures

    async def commit(self, records: Sequence[c.Record]) -> None:
        self._left -= 1
        if self._left >= 0:
            raise StoreError("no space left")
        await self._store.commit(records)


class Bench:
    def __init__(
        self, store: Any, monkeypatch: pytest.MonkeyPatch, retry_s: float = 0.1, give_up_s: float | None = None
    ) -> None:
        monkeypatch.setattr(loops, "STORE_RETRY_S", retry_s)
        self.story: list[str] = []
        """What happened, in its order."""
        self.turns = 0
        self.loop = Loop(Engine(), store, self._perform, self._after_turn, self._failed, give_up_s)

    def _perform(self, actions: Sequence[c.Action]) -> None:
        self.story += [type(action).__name__ for action in actions if not isinstance(action, c.Sense)]

    def _after_turn(self) -> None:
        self.turns += 1

    def _failed(self, error: StoreError, delay_s: float) -> None:
        self.story.append(f"{error}, again in {delay_s:g} s")

    async def waits(self) -> None:
        """Until a commit has failed, after one look."""
        while len(self.story) < 2:  # noqa: ASYNC110  # a story is no event
            await asyncio.sleep(0.01)

    async def queue_a_file(self) -> None:
        """Up to where a row must be stored and a worker started for it."""
        self.loop.post(e.Configured(1, (FolderPolicy(ROOT, 0.0),), 0, 1, 60.0))
        self.loop.post(e.Hinted(REF, HintKind.CLOSED))
        await self.loop.turn()
        assert self.story == ["LookAt"]
        self.loop.post(e.Looked(REF, LOOK, None))


def test_nothing_is_done_before_it_is_durable_and_work_goes_on_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        store = await StoreThread.open(tmp_path)
        bench = Bench(Failing(store, 2), monkeypatch)
        await bench.queue_a_file()
        await bench.loop.turn()
        assert bench.story[1:3] == ["no space left, again in 0.1 s", "no space left, again in 0.2 s"]
        assert "StartWorker" in bench.story[3:]
        record = await store.file(REF)
        assert record is not None and record.state is JobState.QUEUED
        assert bench.turns == 2
        await store.close()

    asyncio.run(test())


def test_waits_between_tries_grow_to_a_bound_below_the_watchdogs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "STORE_RETRY_MOST_S", 0.2)

    async def test() -> None:
        store = await StoreThread.open(tmp_path)
        bench = Bench(Failing(store, 4), monkeypatch)
        await bench.queue_a_file()
        await bench.loop.turn()
        waits = [line.rsplit(" ", 2)[1] for line in bench.story if line.startswith("no space")]
        assert waits == ["0.1", "0.2", "0.2", "0.2"]
        await store.close()

    asyncio.run(test())


def test_a_loop_that_waits_for_its_store_ends_when_told_to_with_nothing_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        store = await StoreThread.open(tmp_path)
        bench = Bench(Failing(store, 1_000_000), monkeypatch, retry_s=3600.0)
        await bench.queue_a_file()
        running = asyncio.create_task(bench.loop.run(lambda: False, None))
        async with asyncio.timeout(20):
            await bench.waits()
            bench.loop.stop()
            await running
        assert bench.story[2:] == []
        assert bench.turns == 1
        assert await store.file(REF) is None
        await store.close()

    asyncio.run(test())


def test_a_run_that_shall_end_gives_a_store_up_that_cannot_be_written_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        store = await StoreThread.open(tmp_path)
        bench = Bench(Failing(store, 1_000_000), monkeypatch, give_up_s=0.15)
        await bench.queue_a_file()
        with pytest.raises(StoreError, match="no space left"):
            await bench.loop.turn()
        assert bench.turns == 1, "nothing was done in the turn that could not be made durable"
        await store.close()

    asyncio.run(test())


def test_what_happens_while_the_store_is_waited_for_is_taken_in_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = FileRef(ROOT, b"b.jpg")

    async def test() -> None:
        store = await StoreThread.open(tmp_path)
        bench = Bench(Failing(store, 1), monkeypatch)
        await bench.queue_a_file()
        running = asyncio.create_task(bench.loop.run(lambda: bench.story.count("LookAt") == 2, None))
        async with asyncio.timeout(20):
            await bench.waits()
            bench.loop.post(e.Hinted(other, HintKind.CLOSED))
            assert "LookAt" not in bench.story[1:]
            await running
        await store.close()

    asyncio.run(test())


def test_a_turn_is_made_again_and_again_although_nothing_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        store = await StoreThread.open(tmp_path)
        bench = Bench(store, monkeypatch)
        async with asyncio.timeout(20):
            await bench.loop.run(lambda: bench.turns == 5, 0.01)
        assert os.listdir(tmp_path)
        await store.close()

    asyncio.run(test())


def test_work_under_way_waits_for_none_of_many_hints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        store = await StoreThread.open(tmp_path)
        bench = Bench(store, monkeypatch)
        heard: list[str] = []
        handle = bench.loop.engine.handle

        def hear(event: e.Event, now_s: float) -> list[c.Command]:
            heard.append(type(event).__name__)
            return handle(event, now_s)

        monkeypatch.setattr(bench.loop.engine, "handle", hear)
        bench.loop.post(e.Configured(1, (FolderPolicy(ROOT, 0.0),), 0, 1, 60.0))
        for number in range(10_000):
            bench.loop.post(e.Hinted(FileRef(ROOT, b"%d.jpg" % number), HintKind.CLOSED))
        await bench.loop.turn()
        before = len(heard)
        assert 32 <= before < 10_001, "a turn takes some events, and not all of very many"
        bench.loop.post(e.WorkerStarted(1, 4711, None))
        bench.loop.post(e.PauseAsked())
        await bench.loop.turn()
        assert heard[before : before + 2] == ["WorkerStarted", "PauseAsked"]
        assert bench.loop.waiting == 10_003 - len(heard)
        await store.close()

    asyncio.run(test())
