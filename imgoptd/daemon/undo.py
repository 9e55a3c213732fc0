"""Kept originals: counted at the start, removed when they are older than `keep`, brought back when asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from imgoptd.adapters import undo
from imgoptd.adapters.beneath import Folder, KernelTooOld
from imgoptd.adapters.journald import Log
from imgoptd.adapters.replace import UNFINISHED, Refused
from imgoptd.adapters.store_kept import KeptRows, Told
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.job import WAITING
from imgoptd.core.model import Failure, FailureKind, FileRef, Kept
from imgoptd.core.text import show_path
from imgoptd.daemon.folders import Folders
from imgoptd.daemon.patience import patiently
from imgoptd.daemon.unfinished import Unfinished

SWEEP_S, SWEEP_LEAST_S = 3600.0, 60.0
"""The longest and the shortest time between two sweeps; a tenth of `keep` where that lies between."""
SWEEP_STEP = 64
"""Originals removed in one go by a thread."""
SWEEP_PAUSE_S = 0.05
BUSY_S = 10.0
"""How long a restore waits for a job at the path to end by itself."""
BUSY_PAUSE_S = 0.05

T = TypeVar("T")


class Undo:
    def __init__(
        self,
        post: Callable[[e.Event], None],
        edge: ThreadPoolExecutor,
        *,
        engine: Engine,
        store: StoreThread,
        folders: Folders,
        unfinished: Unfinished,
        log: Log,
        state_dir: bytes,
        keep_s: float,
    ) -> None:
        self._post = post
        self._edge = edge
        self._engine = engine
        self._store = store
        self._folders = folders
        self._unfinished = unfinished
        self._log = log
        self._state_dir = state_dir
        self.keep_s = keep_s
        """How long originals are kept; `keep_for` changes it."""
        self._changed = asyncio.Event()
        self._open: dict[FileRef, tuple[undo.OpenRestore, bool]] = {}
        """Restores between their check and their end, and whether another file may be moved aside for them."""
        self._answers: dict[FileRef, asyncio.Future[tuple[Failure | None, str]]] = {}
        self._asked: set[FileRef] = set()
        """Paths for which somebody waits for a restore, from before its check: there is one at a time of each."""
        self._removing = asyncio.Lock()
        """Held while old originals are removed: the name of one that is being restored may stand for another file."""

    # ---- retention --------------------------------------------------------------------------------------------------

    async def count(self) -> None:
        """Tell the engine how much is kept."""
        files, size_bytes = await patiently(lambda: self._store.kept(lambda rows: rows.total()), self._log)
        self._post(e.UndoChanged(files, size_bytes))

    async def sweep_forever(self) -> None:
        """Remove what is older than `keep`: now, when it is changed, and every hour or more often."""
        while True:
            self._changed.clear()
            await self.sweep()
            try:
                async with asyncio.timeout(min(SWEEP_S, max(SWEEP_LEAST_S, self.keep_s / 10))):
                    await self._changed.wait()
            except TimeoutError:
                pass  # time for the next one

    def keep_for(self, keep_s: float) -> None:
        """A reload says how long originals are kept from now on; files that wait for room may depend on it."""
        if keep_s != self.keep_s:
            self.keep_s = keep_s
            self._changed.set()

    async def sweep(self) -> None:
        """Remove what is older than `keep`. What cannot be reached now waits for the next time."""
        after = b""
        before_s = max(0.0, time.time() - self.keep_s)
        while True:
            batch = await patiently(partial(self._store.kept, partial(_old, before_s, after)), self._log)
            if not batch:
                return
            async with self._removing:
                old = [kept for kept in batch if kept.ref not in self._asked]
                gone = await self._in_thread(partial(self._remove, old))
                if gone:
                    await patiently(partial(self._store.commit, [c.DropKept(kept) for kept in gone]), self._log)
                    self._post(e.UndoChanged(-len(gone), -sum(kept.identity.size for kept in gone)))
            after = batch[-1].at.name
            await asyncio.sleep(SWEEP_PAUSE_S)

    def _remove(self, batch: Sequence[Kept]) -> list[Kept]:
        """In a thread: those that are gone, or are no longer ours to remove."""
        gone = []
        for kept in batch:
            path = show_path(kept.ref.full)
            try:
                trouble = undo.remove_kept(self._folder_of(kept), kept, self._state_dir)
            except (OSError, KernelTooOld) as error:
                text = f"the old original of {path} cannot be removed now: {error}; it is tried again later"
                self._log.say("warning", text, 4, PATH=path)
                continue
            if trouble:
                where = show_path(kept.at.name)
                self._log.say("warning", f"the kept original {where} of {path} is left: {trouble}", 4, PATH=path)
            gone.append(kept)
        return gone

    def _folder_of(self, kept: Kept) -> Folder | None:
        """Raises OSError. What is watched no longer still holds what was kept in it."""
        if kept.at.place is None:
            return None
        return self._folders.folder(kept.ref.root) or Folder(kept.ref.root)

    # ---- bringing back ----------------------------------------------------------------------------------------------

    async def bring_back(self, paths: Sequence[tuple[FileRef, bytes]], *, force: bool) -> list[dict[str, Any]]:
        """The newest kept original of each path; one answer each."""
        answers = []
        for ref, path in paths:
            failure, detail, size_bytes = await self._bring_newest_back(ref, force)
            answers.append(
                {
                    "path": path,
                    "restored": failure is None,
                    "reason": failure.reason if failure else "",
                    "detail": detail,
                    "bytes": size_bytes,
                }
            )
        return answers

    async def _bring_newest_back(self, ref: FileRef, force: bool) -> tuple[Failure | None, str, int]:
        """With the size of the original, in bytes."""
        if ref in self._asked:
            busy = Failure(FailureKind.CHANGED, "busy", "the file is being restored already")
            return busy, busy.detail, 0
        self._asked.add(ref)
        try:
            async with self._removing:
                rows = [kept for _, kept in await self.kept_of(ref)]
            if rows:
                return *await self._bring_back(rows[0], force), rows[0].identity.size
            detail = "no original of this file is kept; [undo] says which are, and for how long"
            return Failure(FailureKind.REJECTED, "nothing-kept", detail), detail, 0
        finally:
            self._asked.discard(ref)

    async def kept_of(self, ref: FileRef) -> list[Told]:
        """What is kept of the path, the newest first."""
        return await self._store.kept(partial(_of, ref))

    async def since(self, seconds: float, below: Sequence[bytes]) -> list[FileRef]:
        """The files whose newest original was kept in the last `seconds`, below one of the folders if any is named."""
        since_s = max(0.0, time.time() - seconds)
        rows = await self._store.kept(lambda rows: rows.since(since_s))
        prefixes = tuple(folder.rstrip(b"/") + b"/" for folder in below)
        return [kept.ref for _, kept in rows if not prefixes or kept.ref.full.startswith(prefixes)]

    async def _bring_back(self, kept: Kept, force: bool) -> tuple[Failure | None, str]:
        ref = kept.ref
        await self._wait_for_job(ref)
        unsettled = await self._folders.finish([ref])
        if ref in unsettled:  # its row names a temp that may hold somebody's file: it must not be forgotten
            detail = f"an interrupted replace or restore of the file comes first: {unsettled[ref]}"
            return Failure(FailureKind.TRANSIENT, UNFINISHED, detail), detail
        failure, detail = await self._ask(kept, force, by_copy=False)
        if failure is not None and failure.reason == undo.NO_RENAME:
            failure, detail = await self._ask(kept, force, by_copy=True)
        return failure, detail

    async def _ask(self, kept: Kept, force: bool, *, by_copy: bool) -> tuple[Failure | None, str]:
        """Check, then leave it to the engine, which first makes durable what the names are to be."""
        ref = kept.ref
        opened = await self._in_thread(partial(self._check, kept, force, by_copy))
        if isinstance(opened, Failure):
            return opened, opened.detail
        try:
            known = await patiently(partial(self._store.file, ref), self._log)
        except BaseException:  # the client has gone: the descriptors are nobody's yet
            opened.close()
            raise
        answer: asyncio.Future[tuple[Failure | None, str]] = asyncio.get_running_loop().create_future()
        self._open[ref] = opened, force
        self._answers[ref] = answer
        self._post(e.RestoreAsked(opened.kept, known))
        return await answer

    async def _wait_for_job(self, ref: FileRef) -> None:
        """A job that a worker has is not taken from it: most end soon. The engine has the last word."""
        deadline_s = time.monotonic() + BUSY_S
        while time.monotonic() < deadline_s:
            job = self._engine.jobs.by_ref.get(ref)
            if job is None or job.stage in WAITING:
                return
            await asyncio.sleep(BUSY_PAUSE_S)

    def _check(self, kept: Kept, force: bool, by_copy: bool) -> undo.OpenRestore | Failure:
        try:
            folder = self._folders.held(kept.ref.root)
            return undo.open_restore(folder, kept, self._state_dir, force=force, by_copy=by_copy)
        except Refused as refused:
            return refused.failure
        except OSError as error:
            return Failure(FailureKind.TRANSIENT, "io-error", error.strerror or str(error))

    async def restore(self, kept: Kept) -> None:
        """The engine's answer to what was asked: it is durable that the file is restored; now it is done."""
        opened, force = self._open[kept.ref]
        done = await self._in_thread(partial(_restore, opened, force))
        if isinstance(done, Failure):
            if done.reason == UNFINISHED:
                self._unfinished.keep_restore(kept)
            self._post(e.RestoreFailed(kept, done))
        else:
            self._post(e.Restored(kept, show_path(done.beside)))

    def answer(self, command: c.AnswerRestore) -> None:
        """All is durable: let go, and tell who asked."""
        opened = self._open.pop(command.ref, None)
        if opened is not None:
            opened[0].close()
        waiting = self._answers.pop(command.ref, None)
        if waiting is not None and not waiting.done():
            waiting.set_result((command.failure, command.detail))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._edge, call)


def _restore(opened: undo.OpenRestore, force: bool) -> undo.PutBack | Failure:
    """In a thread."""
    try:
        return undo.restore(opened, force=force)
    except Refused as refused:
        return refused.failure
    except Exception as error:  # a fault of ours: how the names stand now is for the recovery to see
        return Failure(FailureKind.TRANSIENT, UNFINISHED, f"{type(error).__name__}: {error}; please report it")


def _old(before_s: float, after: bytes, rows: KeptRows) -> list[Kept]:
    return [kept for _, kept in rows.before(before_s, after, SWEEP_STEP)]


def _of(ref: FileRef, rows: KeptRows) -> list[Told]:
    return rows.of(ref)
