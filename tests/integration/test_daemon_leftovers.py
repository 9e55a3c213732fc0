"""What the last run left is handed over in pages, each when there is room for it."""

import asyncio
from pathlib import Path

from imgoptd.adapters.journald import Log
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import events as e
from imgoptd.core.commands import SaveFile
from imgoptd.core.model import FileRecord, FileRef, Identity, JobState
from imgoptd.daemon.leftovers import PAGE_FILES, take_up

FILES = 2 * PAGE_FILES + 10


def record(number: int, *, fresh: bool = False) -> FileRecord:
    root = (b"/srv/a", b"/srv/b")[number % 2]
    return FileRecord(FileRef(root, b"%06d.jpg" % number), Identity(1, number, 10, 0), JobState.QUEUED, fresh=fresh)


def test_the_next_page_waits_for_room_and_nothing_is_left_out(tmp_path: Path) -> None:
    posted: list[e.Event] = []
    asked: list[int] = []

    def has_room() -> bool:
        asked.append(len(posted))
        return len(asked) % 3 == 0

    async def use() -> None:
        store = await StoreThread.open(tmp_path)
        log = Log("text")
        try:
            await store.commit([SaveFile(record(number)) for number in range(FILES)])
            assert await store.count_unfinished() == FILES
            await take_up(store, log, posted.append, has_room)
            everything, posted[:] = list(posted), []
            await take_up(store, log, posted.append, lambda: True, {b"/srv/b"})
            assert everything == [e.Recovered(record(number)) for number in range(FILES)]
            assert posted == [e.Recovered(record(number)) for number in range(1, FILES, 2)]
        finally:
            log.close()
            await store.close()

    asyncio.run(use())
    assert asked == [PAGE_FILES] * 3 + [2 * PAGE_FILES] * 3 + [FILES] * 3


def test_fresh_drops_come_before_what_a_scan_found(tmp_path: Path) -> None:
    posted: list[e.Event] = []

    async def use() -> None:
        store = await StoreThread.open(tmp_path)
        log = Log("text")
        try:
            await store.commit([SaveFile(record(number, fresh=number % 3 == 0)) for number in range(6)])
            await take_up(store, log, posted.append, lambda: True)
        finally:
            log.close()
            await store.close()

    asyncio.run(use())
    assert posted == [e.Recovered(record(number, fresh=number % 3 == 0)) for number in (0, 3, 1, 2, 4, 5)]
