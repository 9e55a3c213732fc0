"""A real pool in an event loop of its own, what it has posted, and descriptors to give to its workers."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import psutil

from imgoptd.adapters.pool import Pool
from imgoptd.core import events as e
from imgoptd.core.model import FileRef

E = TypeVar("E")

NOBODY = 65534
TIMEOUT_S = 20.0


class Posted:
    """A pool, and its events in their order."""

    def __init__(self) -> None:
        self.events: list[e.Event] = []
        self.told: list[str] = []
        self._news = asyncio.Event()
        self.pool = Pool(
            self._post,
            nice=0,
            drop_uid=NOBODY if os.geteuid() == 0 else None,
            oom_kills=lambda: None,
            warn=self.told.append,
        )

    def _post(self, event: e.Event) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, kind: type[E], worker: int) -> list[E]:
        return [event for event in self.events if isinstance(event, kind) and getattr(event, "worker", 0) == worker]

    async def until(self, kind: type[E], worker: int) -> E:
        """The first event of that kind about that worker, waited for."""
        async with asyncio.timeout(TIMEOUT_S):
            while not (found := self.of(kind, worker)):
                self._news.clear()
                await self._news.wait()
        return found[0]

    async def started(self, worker: int) -> int:
        """Start a worker and wait for it; its pid."""
        self.pool.start(worker)
        return (await self.until(e.WorkerStarted, worker)).pid

    async def probed(self, worker: int, data: bytes, name: bytes = b"a") -> e.Probed:
        """Have a file of that content probed."""
        self.events = [event for event in self.events if not isinstance(event, e.Probed)]
        with memory_file(data) as descriptor:
            self.pool.send_probe(worker, FileRef(b"/w", name), descriptor)
        return await self.until(e.Probed, worker)


@asynccontextmanager
async def running() -> AsyncIterator[Posted]:
    posted = Posted()
    posted.pool.open()
    try:
        yield posted
    finally:
        await posted.pool.close()


@contextmanager
def memory_file(data: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("input")
    try:
        os.write(descriptor, data)
        yield descriptor
    finally:
        os.close(descriptor)


def state_of(pid: int) -> str:
    """Of psutil.STATUS_*; `zombie` also where there is no such process any more."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)


async def gone(pid: int) -> bool:
    """Wait for the end of a process; whoever is its parent then may take its time to notice."""
    await become(lambda: state_of(pid) == psutil.STATUS_ZOMBIE)
    return True


async def become(true: Callable[[], bool]) -> None:
    """Let the loop run until it is so."""
    async with asyncio.timeout(TIMEOUT_S):
        while not true():  # noqa: ASYNC110  # other processes set no event of ours
            await asyncio.sleep(0.005)


def open_descriptors() -> int:
    gc.collect()  # what earlier tests left to the collector must not be freed between two counts
    return len(os.listdir("/proc/self/fd"))
