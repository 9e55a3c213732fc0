"""What waits in the store alone is taken up from a real store when there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from imgoptd.adapters.journald import Log
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import events as e
from imgoptd.core.commands import SaveFile
from imgoptd.core.model import FileRecord, FileRef, Identity, JobState
from imgoptd.core.overflow import Overflow
from imgoptd.daemon.overflowing import Overflowing

FILES = 300


def records(*, fresh: bool) -> list[SaveFile]:
    names = [b"%s-%d.jpg" % (b"fresh" if fresh else b"bulk", number) for number in range(FILES)]
    return [
        SaveFile(FileRecord(FileRef(b"/w", name), Identity(1, 2, 3, 4), JobState.QUEUED, uid=0, fresh=fresh))
        for name in names
    ]


class Walks:
    """An overflow of FILES jobs of each class over a real store, and what was posted."""

    def __init__(self, store: StoreThread) -> None:
        self.overflow = Overflow()
        self.posted: list[e.Event] = []
        self.room = False
        self.tasks: list[asyncio.Task[None]] = []
        for fresh in (True, False):
            self.overflow.most[fresh] = 0
            for _ in range(FILES):
                assert self.overflow.takes(fresh=fresh, in_memory=1)
        self.overflowing = Overflowing(
            self.overflow,
            store,
            Log("text"),
            post=self.posted.append,
            has_room=lambda: self.room,
            accompany=self._begin,
        )

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.get_running_loop().create_task(work))
        return self.tasks[-1]


def test_all_of_each_class_is_told_once_there_is_room(tmp_path: Path) -> None:
    async def test() -> None:
        store = await StoreThread.open(tmp_path)
        await store.commit([*records(fresh=True), *records(fresh=False)])
        walks = Walks(store)
        walks.overflowing.turned()
        assert walks.tasks == []
        walks.room = True
        for _ in range(3):
            walks.overflowing.turned()
        assert len(walks.tasks) == 2, "one walk at a time for each class"
        await asyncio.gather(*walks.tasks)
        told = [event.record.ref for event in walks.posted if isinstance(event, e.Recovered)]
        assert sorted(told) == sorted(one.record.ref for fresh in (True, False) for one in records(fresh=fresh))
        walks.overflowing.turned()
        assert len(walks.tasks) == 2, "nobody knows yet what was handed over: a next walk would count it again"
        ends = [event for event in walks.posted if isinstance(event, e.TakenUp)]
        assert sorted((end.fresh, end.jobs) for end in ends) == [(False, FILES), (True, FILES)]
        for end in ends:
            walks.overflow.taken_up(fresh=end.fresh, jobs=end.jobs)
        assert walks.overflow.jobs == 0
        walks.overflowing.turned()
        assert len(walks.tasks) == 2, "nothing is left to be taken up"
        await store.close()

    asyncio.run(test())


def test_a_walk_stops_in_its_tracks_while_there_is_no_room(tmp_path: Path) -> None:
    async def test() -> None:
        store = await StoreThread.open(tmp_path)
        await store.commit(records(fresh=True))
        walks = Walks(store)
        walks.room = True
        walks.overflowing.turned()
        walks.room = False
        while not walks.posted:  # noqa: ASYNC110  # a list is no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert sum(isinstance(event, e.Recovered) for event in walks.posted) == 256, "one page"
        walks.room = True
        await asyncio.gather(*walks.tasks)
        assert sum(isinstance(event, e.Recovered) for event in walks.posted) == FILES
        await store.close()

    asyncio.run(test())
