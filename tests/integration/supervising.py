"""A supervisor and its folders over a real store and real files; its pool only keeps what it is given."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.journald import Log
from imgoptd.adapters.look import ignore_lease_signals, look
from imgoptd.adapters.pool import WorkerGone
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.config.schema import Watch
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.model import FileRef, Identity, ImageFacts, JobSettings
from imgoptd.daemon.folders import Folders
from imgoptd.daemon.outputs import Outputs
from imgoptd.daemon.supervisor import Supervisor
from imgoptd.daemon.undo import Undo
from imgoptd.daemon.unfinished import Unfinished

E = TypeVar("E")

TIMEOUT_S = 20.0


class Bench:
    """`pool_gone`: workers to which nothing can be handed over."""

    def __init__(self, root: Path, tasks: asyncio.TaskGroup, edge: ThreadPoolExecutor, store: Any, state: Path) -> None:
        self.root = os.fsencode(root)
        self.store = store
        self.events: list[e.Event] = []
        self._news = asyncio.Event()
        self.pool_gone: set[int] = set()
        self.handed: dict[int, Sequence[int]] = {}
        self.log_fd = os.memfd_create("log")
        log = Log("text", stderr_fd=self.log_fd)
        state_dir = os.fsencode(state)
        outputs = Outputs(edge, store, log)
        self.unfinished = Unfinished(self._post, edge, store, log, state_dir, outputs)
        self.folders = Folders(
            self._post,
            tasks,
            edge,
            store=store,
            log=log,
            watcher=None,
            has_room=lambda: True,
            unfinished=self.unfinished,
            outputs=outputs,
        )
        self.engine = Engine()
        self.undo = Undo(
            self._post,
            edge,
            engine=self.engine,
            store=store,
            folders=self.folders,
            unfinished=self.unfinished,
            log=log,
            state_dir=state_dir,
            keep_s=3600.0,
        )
        self.supervisor = Supervisor(
            self._post,
            tasks,
            edge,
            store=store,
            pool=self,  # type: ignore[arg-type]  # what stands in for it here has the methods that are called
            folders=self.folders,
            log=log,
            sense=lambda: None,
            spool_dir=state_dir,
            unfinished=self.unfinished,
            undo=self.undo,
        )

    # ---- the pool ----

    def send_job(self, worker: int, ref: FileRef, task: object, fds: Sequence[int]) -> None:
        if worker in self.pool_gone:
            raise WorkerGone
        self.handed[worker] = fds

    # ---- what comes of it ----

    def _post(self, event: e.Event) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[E], count: int = 1) -> E:
        """The `count`-th event of that kind, waited for."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.of(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return self.of(kind)[count - 1]

    async def look(self, path: bytes) -> e.Looked:
        seen = len(self.of(e.Looked))
        self.supervisor.perform([c.LookAt(FileRef(self.root, path))])
        return await self.until(e.Looked, seen + 1)

    def send(self, worker: int, path: bytes, identity: Identity) -> c.SendJob:
        return c.SendJob(worker, FileRef(self.root, path), identity, ImageFacts("jpeg"), JobSettings(), 1 << 20, None)

    def identity(self, path: bytes) -> Identity:
        folder = Folder(self.root)
        found = look(folder, path).identity
        folder.close()
        assert found is not None
        return found

    def said(self) -> str:
        return os.pread(self.log_fd, 1 << 20, 0).decode()


@asynccontextmanager
async def supervised(root: Path, state: Path, wrap: type[Any] | None = None) -> AsyncIterator[Bench]:
    """`wrap`: a class to stand between the bench and the real store."""
    ignore_lease_signals()
    store = await StoreThread.open(state)
    edge = ThreadPoolExecutor(4)
    try:
        async with asyncio.TaskGroup() as tasks:
            bench = Bench(root, tasks, edge, wrap(store) if wrap else store, state)
            await bench.folders.apply([Watch(bench.root)])
            yield bench
        bench.supervisor.close()
        os.close(bench.log_fd)
    finally:
        edge.shutdown()
        await store.close()
