"""Does what the engine asks for: commands become calls of adapters, their results events."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from imgoptd.adapters import replace as swap
from imgoptd.adapters.companions import Companions
from imgoptd.adapters.folder_probe import probe_folder
from imgoptd.adapters.journald import Log
from imgoptd.adapters.listings import Listings
from imgoptd.adapters.pool import Pool, WorkerGone
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.adapters.troubles import reason_of
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import Failure, FailureKind, FileRef, KeptAt
from imgoptd.core.text import show_path
from imgoptd.daemon import openings
from imgoptd.daemon.folders import Folders
from imgoptd.daemon.looking import Looking, leaves_companions
from imgoptd.daemon.patience import patiently
from imgoptd.daemon.undo import Undo
from imgoptd.daemon.unfinished import Unfinished
from imgoptd.wire.messages import OptimizeTask

_LOST = Failure(FailureKind.TRANSIENT, "internal", "its open files were lost; please report it")
T = TypeVar("T")


class Supervisor:
    def __init__(
        self,
        post: Callable[[e.Event], None],
        tasks: asyncio.TaskGroup,
        edge: ThreadPoolExecutor,
        *,
        store: StoreThread,
        pool: Pool,
        folders: Folders,
        log: Log,
        sense: Callable[[], None],
        spool_dir: bytes,
        unfinished: Unfinished,
        undo: Undo,
    ) -> None:
        """`edge`: the threads in which calls that may block are made. `sense`: posts a reading of the machine."""
        self._post = post
        self._tasks = tasks
        self._edge = edge
        self._store = store
        self._pool = pool
        self._folders = folders
        self._log = log
        self._sense = sense
        self._spool_dir = spool_dir
        listings = Listings()
        self._companions = Companions(listings)
        self._looking = Looking(
            post, self._in_thread, self._begin, store=store, folders=folders, log=log, listings=listings,
            companions=self._companions, fault=self._fault,
        )  # fmt: skip
        self._unfinished = unfinished
        self._undo = undo
        self._open: dict[FileRef, swap.OpenJob] = {}
        """The descriptors of each job from its start to its end."""
        self._running: set[asyncio.Task[None]] = set()
        self._warned_not_atomic: set[bytes] = set()

    @property
    def looking(self) -> int:
        """Looks that were asked for and are not answered yet."""
        return self._looking.asked

    def perform(self, actions: Sequence[c.Action]) -> None:
        """Start everything; nothing here waits."""
        looks: list[c.LookAt] = []
        probes: dict[int, list[c.SendProbe]] = defaultdict(list)
        for action in actions:
            match action:
                case c.LookAt():
                    looks.append(action)
                case c.ProbeFolder():
                    self._begin(self._probe_folder(action))
                case c.SendProbe(worker):
                    probes[worker].append(action)
                case c.SendJob():
                    self._begin(self._send_job(action))
                case c.Prepare(ref):
                    self._begin(self._prepare(ref, partial(self._prepare_all, action)))
                case c.Copy():
                    self._begin(self._copy(action))
                case c.Exchange():
                    self._begin(self._exchange(action))
                case c.Discard(ref):
                    self._close(ref)
                case c.Restore(kept):
                    self._begin(self._undo.restore(kept))
                case c.AnswerRestore():
                    self._undo.answer(action)
                case c.StartWorker(worker):
                    self._pool.start(worker)
                case c.RetireWorker(worker):
                    self._pool.retire(worker)
                case c.KillWorker(worker):
                    self._pool.kill(worker)
                case c.Recall(worker, ref):
                    self._pool.recall(worker, ref)
                case c.Sense():
                    self._sense()
                case c.Announce():
                    self._log.emit(action)
        self._looking.at(looks)
        for worker, batch in probes.items():
            self._begin(self._send_probes(worker, batch))

    def close(self) -> None:
        """Let go of every job: results that were not committed cease to exist."""
        for ref in list(self._open):
            self._close(ref)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def give_up(self) -> None:
        """End what is under way; a call that a thread makes already is finished by it."""
        for task in self._running:
            task.cancel()

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._edge, call)

    # ---- folders ----------------------------------------------------------------------------------------------------

    async def _probe_folder(self, command: c.ProbeFolder) -> None:
        place, path = command.place, command.ref.path
        try:
            folders = self._folders
            folder = folders.outputs.held(command.output) if command.output else folders.held(command.ref.root)
        except swap.Refused as refused:
            # If it is lost for good this question is forgotten. It may be back at once: no answer would be waited for.
            self._post(e.FolderProbed(place, refused.failure, shown=True))
            return
        dev = 0 if command.output else place.dev
        found = await self._in_thread(partial(probe_folder, folder, path, dev, command.need_bytes))
        self._post(e.FolderProbed(place, found.failure, found.shown))

    # ---- handing over -----------------------------------------------------------------------------------------------

    async def _send_probes(self, worker: int, batch: Sequence[c.SendProbe]) -> None:
        opened = await self._in_thread(lambda: [self._guarded(one.ref, self._open_input, one) for one in batch])
        for one, result in zip(batch, opened, strict=True):
            if isinstance(result, Failure):
                self._post(e.TaskRefused(worker, one.ref, result))
                continue
            try:
                self._pool.send_probe(worker, one.ref, result)
            except WorkerGone:
                self._post(e.TaskRefused(worker, one.ref, None))
            else:
                self._post(e.TaskStarted(worker, one.ref))
            finally:
                os.close(result)

    def _open_input(self, command: c.SendProbe) -> int:
        return swap.open_input(self._folders.held(command.ref.root), command.ref.path, command.identity)

    async def _send_job(self, command: c.SendJob) -> None:
        arguments = (self._folders, command, self._refuse_companion, self._spool_dir)
        job = await self._in_thread(lambda: self._guarded(command.ref, openings.open_job, *arguments))
        if isinstance(job, Failure):
            self._post(e.TaskRefused(command.worker, command.ref, job))
            return
        sha256 = job.sha256
        try:
            own = await patiently(lambda: self._store.is_result(sha256), self._log)
        except asyncio.CancelledError:
            job.close()
            raise
        stands = openings.stands(job)
        if own or stands or sha256 == command.known_sha256:
            job.close()
            self._post(e.Recognised(command.worker, command.ref, sha256, own and not stands))
            return
        task = OptimizeTask(0, command.facts, command.settings, command.memory_bytes)
        try:
            self._pool.send_job(command.worker, command.ref, task, [job.input_fd, job.output_fd])
        except WorkerGone:
            # The job may be another worker's by now, with descriptors of its own: only ours are closed.
            job.close()
            self._post(e.TaskRefused(command.worker, command.ref, None))
        else:
            self._open[command.ref] = job
            self._post(e.TaskStarted(command.worker, command.ref, sha256))

    async def _copy(self, command: c.Copy) -> None:
        """The original's own bytes go into the output tree."""
        arguments = (self._folders, command, self._spool_dir)
        opened = await self._in_thread(lambda: self._guarded(command.ref, openings.open_copy, *arguments))
        if isinstance(opened, Failure):
            self._post(e.ReplaceFailed(command.ref, opened))
        elif isinstance(opened, e.Standing):
            self._post(opened)
        else:
            self._open[command.ref] = opened
            await self._prepare(command.ref, openings.prepare_copy)

    # ---- replacing --------------------------------------------------------------------------------------------------

    async def _prepare(self, ref: FileRef, work: Callable[[Any], tuple[swap.PreparedResult, KeptAt | None]]) -> None:
        job = self._open.get(ref)
        if job is None:
            self._replace_failed(ref, _LOST)
            return
        done = await self._in_thread(lambda: self._guarded(ref, work, job))
        if isinstance(done, Failure):
            self._replace_failed(ref, done)
        else:
            result, keep = done
            self._post(e.Prepared(ref, result.temp_name, job.displaces, result.result, result.sha256, keep))

    def _prepare_all(self, command: c.Prepare, job: swap.OpenJob) -> tuple[swap.PreparedResult, KeptAt | None]:
        ref, keep = command.ref, None
        if command.keep_original:
            keep = swap.prepare_keeping(job, self._folders.held(ref.root), ref.path, self._spool_dir)
        ready = swap.prepare(job, command.size_bytes)
        # After the long work and before anything is written down: a manifest may have come meanwhile.
        self._refuse_companion(ref)
        return ready, keep

    def _refuse_companion(self, ref: FileRef) -> None:
        """Raise Refused if the file is to be left alone for the sake of others around it; and OSError."""
        if leaves_companions(self._folders, ref.root):
            leave = self._companions.leave(self._folders.held(ref.root), ref.path)
            if leave is not None:
                raise swap.Refused(leave)

    async def _exchange(self, command: c.Exchange) -> None:
        intent = command.intent
        job = self._open.get(intent.ref)
        if job is None:
            self._replace_failed(intent.ref, _LOST)
            return
        done = await self._in_thread(lambda: self._guarded(intent.ref, openings.put, job, intent))
        if isinstance(done, Failure):
            if done.reason == swap.UNFINISHED:
                self._unfinished.keep_replace(intent)
            self._replace_failed(intent.ref, done)
        elif isinstance(done, swap.Materialised):
            sha256, keep = intent.result_sha256, intent.keep
            self._post(e.Prepared(intent.ref, intent.temp_name, intent.original, done.result, sha256, keep))
        else:
            self._close(intent.ref)
            if not done.atomic:
                self._warn_not_atomic(intent.mirrored.root if intent.mirrored is not None else intent.ref.root)
            self._post(e.Exchanged(intent.ref, done.result, done.kept))

    def _replace_failed(self, ref: FileRef, failure: Failure) -> None:
        self._close(ref)
        self._post(e.ReplaceFailed(ref, failure))

    def _warn_not_atomic(self, root: bytes) -> None:
        if root not in self._warned_not_atomic:
            self._warned_not_atomic.add(root)
            text = f"the filesystem of {show_path(root)} cannot exchange two names; results are renamed into place"
            self._log.say("warning", text, 4, ROOT=show_path(root))

    # ---- troubles ---------------------------------------------------------------------------------------------------

    def _guarded(self, ref: FileRef, call: Callable[..., T], *arguments: object) -> T | Failure:
        """In a thread: the result, or the failure as data, whatever went wrong."""
        try:
            return call(*arguments)
        except swap.Refused as refused:
            return refused.failure
        except OSError as error:
            reason = reason_of(error) or "io-error"
            return Failure(FailureKind.TRANSIENT, reason, error.strerror or str(error))
        except Exception as error:  # a fault of ours costs this file's attempt, not the daemon
            self._fault(ref, error)
            return Failure(FailureKind.TRANSIENT, "internal", f"{type(error).__name__}: {error}")

    def _fault(self, ref: FileRef, error: Exception) -> None:
        lines = "".join(traceback.format_exception(error)).strip().splitlines()
        text = f"internal error on {show_path(ref.full)}: {error}; please report it: {' | '.join(lines[-6:])}"
        self._log.say("error", text, 3, PATH=show_path(ref.full))

    def _close(self, ref: FileRef) -> None:
        job = self._open.pop(ref, None)
        if job is not None:
            job.close()
