"""What the control interface asks of the daemon, and where the answers come from."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from imgoptd.adapters.control_errors import ControlError, NotSeen
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.job import Stage
from imgoptd.core.model import FileRef, JobState
from imgoptd.daemon.files import Files
from imgoptd.daemon.folders import Folders
from imgoptd.daemon.queue import Queue
from imgoptd.daemon.report import Report
from imgoptd.daemon.undo import Undo

TAKEN_S, TAKEN_PAUSE_S = 2.0, 0.01


class Backend:
    """Passes on what is asked; it decides nothing."""

    def __init__(
        self,
        engine: Engine,
        store: StoreThread,
        folders: Folders,
        undo: Undo,
        *,
        post: Callable[[e.Event], None],
        reload: Callable[[], Awaitable[dict[str, Any]]],
        store_trouble: Callable[[], str],
        cpus: Callable[[], int],
    ) -> None:
        """`cpus`: how many we may use. `store_trouble`: why the store cannot be written just now, or empty."""
        self.report = Report(engine, folders, store_trouble)
        self.files = Files(engine, store, folders, undo)
        self._queue = Queue(engine, store, self.files)
        self._cpus = cpus
        self._engine = engine
        self._store = store
        self._folders = folders
        self._post = post
        self._undo = undo
        self._reload = reload

    def status(self) -> dict[str, Any]:
        return self.report.status()

    def workers(self) -> list[dict[str, Any]]:
        return self.report.workers()

    def qshape(self) -> dict[str, Any]:
        return self.report.qshape()

    async def why(self, path: bytes) -> dict[str, Any]:
        return await self.files.why(path)

    async def wait(self, paths: Sequence[bytes], timeout_s: float | None) -> list[dict[str, Any]]:
        return await self.files.wait(paths, timeout_s)

    async def reload(self) -> dict[str, Any]:
        return await self._reload()

    async def jobs(self, state: str | None, limit: int) -> dict[str, Any]:
        return await self._queue.jobs(state, limit)

    # ---- steering ---------------------------------------------------------------------------------------------------

    def scale_range(self) -> dict[str, Any]:
        return self.report.scale_range()

    async def scale(self, least: int | None, most: int | None) -> dict[str, Any]:
        steering, conditions = self._engine.steering, self._engine.dispatcher.conditions
        wanted = steering.with_(least, self._cpus() if most == 0 else most)
        if wanted.least > wanted.most:
            said = f"{wanted.least} workers at least and {wanted.most} at most is no range"
            raise ControlError(said, f"give min and max together (configured: {steering.configured})")
        self._post(e.ScaleAsked(least, None if most is None else wanted.most))
        await self._taken(lambda: conditions.overridden and steering.in_force == wanted)
        return self.report.scale_range()

    async def scale_auto(self) -> dict[str, Any]:
        conditions = self._engine.dispatcher.conditions
        self._post(e.ScaleReturned())
        await self._taken(lambda: not conditions.overridden)
        return self.report.scale_range()

    async def pause(self) -> dict[str, Any]:
        return await self._pause(e.PauseAsked(), paused=True)

    async def resume(self) -> dict[str, Any]:
        return await self._pause(e.ResumeAsked(), paused=False)

    async def _pause(self, event: e.PauseAsked | e.ResumeAsked, *, paused: bool) -> dict[str, Any]:
        conditions = self._engine.dispatcher.conditions
        changed = conditions.paused is not paused
        self._post(event)
        await self._taken(lambda: conditions.paused is paused)
        return {"changed": changed, **self.report.pause()}

    async def _taken(self, is_so: Callable[[], bool]) -> None:
        """Until a turn took the event, so that what is asked next shows it. With a store that hangs it waits there."""
        deadline_s = time.monotonic() + TAKEN_S
        while not is_so() and time.monotonic() < deadline_s:  # noqa: ASYNC110  # a turn under way signals nothing
            await asyncio.sleep(TAKEN_PAUSE_S)

    async def retry(self, paths: Sequence[bytes] | None) -> dict[str, Any]:
        if paths is None:
            return await self._retry_failed()
        refs = [self.files.watched(path) for path in paths]
        known = await self._store.files(refs)
        modes = await asyncio.to_thread(lambda: [_mode_of(ref) for ref in refs])
        if None in modes:
            raise NotSeen(paths[modes.index(None)])
        answers = []
        for path, ref, record, mode in zip(paths, refs, known, modes, strict=True):
            state, _, _ = self.files.state(ref, record)
            ignored = self._folders.ignored(ref)
            detail = f"the folder's rules leave it alone: {ignored}" if ignored is not None else ""
            if mode is not None and stat.S_ISDIR(mode):
                detail = "it is a folder; name the files in it"
            if state == JobState.ACTIVE:
                detail = "it is being worked on"
            if not detail:
                self._post(e.RetryRequested(ref))
            answers.append({"path": path, "state": state, "queued": not detail, "detail": detail})
        return {"files": answers, "queued": sum(answer["queued"] for answer in answers)}

    async def _retry_failed(self) -> dict[str, Any]:
        jobs = self._engine.jobs
        refs = {job.ref for job in jobs.by_ref.values() if job.stage is Stage.WAITING}
        last = 0
        while page := await self._store.quarantined(last):
            last = page[-1][0]
            refs.update(ref for _, ref in page if self._folders.folder(ref.root) is not None)
        for ref in refs:
            self._post(e.RetryRequested(ref))
        return {"files": [], "queued": len(refs)}

    async def restore(
        self, paths: Sequence[bytes], since_s: float | None, folders: Sequence[bytes], force: bool
    ) -> list[dict[str, Any]]:
        files = [(self.files.watched(path), path) for path in paths]
        if since_s is not None:
            named = {ref for ref, _ in files}
            files += [(ref, ref.full) for ref in await self._undo.since(since_s, folders) if ref not in named]
        return await self._undo.bring_back(files, force=force)


def _mode_of(ref: FileRef) -> int | None:
    """Of what stands at the path; None where nothing does, or none can tell."""
    try:
        return os.lstat(ref.full).st_mode
    except OSError:
        return None
