"""The watched folders: held, armed, scanned, and found again when they were lost."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from imgoptd.adapters import replace as swap
from imgoptd.adapters.beneath import Folder, KernelTooOld
from imgoptd.adapters.journald import Log
from imgoptd.adapters.scanner import scan
from imgoptd.adapters.store import StoreError
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.adapters.watcher import Trouble, Watcher, WatchError
from imgoptd.config.rules import PathRules
from imgoptd.config.schema import Watch
from imgoptd.core import events as e
from imgoptd.core.model import Failure, FailureKind, FileRef, HintKind, Intent
from imgoptd.core.recovery import records_after
from imgoptd.core.text import show_path
from imgoptd.daemon.patience import patiently

CLOCK_REALTIME_COARSE = 5
"""The clock that the kernel stamps files with (clock_gettime(2)); the finer one runs up to a tick ahead of it."""
SCAN_BATCH = 512
SCAN_PAUSE_S = 0.02
OUT_OF_REACH = frozenset({Trouble.MISSING, Trouble.REPLACED, Trouble.NOT_ARMED})
CHECK_S = 2.0
"""How often the folders are checked for being lost or found."""


T = TypeVar("T")


@dataclass(slots=True)
class _Root:
    watch: Watch
    rules: PathRules
    folder: Folder | None = None
    """Let go of, never closed: a thread may still be using it, and its descriptor's number would soon be another's."""
    trouble: str = ""
    """Why it is not watched now; empty: all is well."""
    scan: asyncio.Task[None] | None = None
    """The last scan of the whole folder."""


class Folders:
    def __init__(
        self,
        post: Callable[[e.Event], None],
        tasks: asyncio.TaskGroup,
        edge: ThreadPoolExecutor,
        *,
        store: StoreThread,
        log: Log,
        watcher: Watcher | None,
        has_room: Callable[[], bool],
    ) -> None:
        """`watcher` is None where the folders are only scanned. `has_room`: may a scan bring in more candidates now?"""
        self._post = post
        self._tasks = tasks
        self._edge = edge
        self._store = store
        self._log = log
        self._watcher = watcher
        self._has_room = has_room
        self._roots: dict[bytes, _Root] = {}
        self._unfinished: dict[FileRef, Intent] = {}
        """Replaces whose names are still to be put right, by file."""
        self._finishing = asyncio.Lock()
        """One at a time puts names right: a folder that is found again and a look at a file of it may both want to."""
        self._changing = asyncio.Lock()
        """Arming and letting go: a reload and the regular check would stumble over each other."""
        self._scans: set[asyncio.Task[None]] = set()

    def folder(self, root: bytes) -> Folder | None:
        """The held folder, or None while it is out of reach."""
        known = self._roots.get(root)
        return known.folder if known else None

    def held(self, root: bytes) -> Folder:
        """The held folder. Raises Refused while it is out of reach."""
        folder = self.folder(root)
        if folder is None:
            detail = "its watched folder is out of reach"
            raise swap.Refused(Failure(FailureKind.TRANSIENT, "folder-lost", detail))
        return folder

    def covering(self, path: bytes) -> FileRef | None:
        """The innermost watched folder around an absolute path, and the path below it; None outside of all."""
        found = None
        for root in self._roots:
            prefix = root.rstrip(b"/") + b"/"
            if path.startswith(prefix) and path != prefix and (found is None or len(root) > len(found.root)):
                found = FileRef(root, path[len(prefix) :])
        return found

    def ignored(self, ref: FileRef) -> str | None:
        """Why the rules leave the file alone, or None."""
        return self._roots[ref.root].rules.ignores(ref.path)

    def troubles(self) -> dict[bytes, str]:
        return {root: known.trouble for root, known in self._roots.items() if known.trouble}

    def roots(self) -> list[Watch]:
        return [known.watch for known in self._roots.values()]

    # ---- coming and going -------------------------------------------------------------------------------------------

    async def load_intents(self) -> int:
        """Take in the replaces that were under way when the daemon last ended; they are put right as folders come."""
        intents = await self._store.intents()
        self._unfinished.update({intent.ref: intent for intent in intents})
        return len(intents)

    async def apply(self, watches: Sequence[Watch]) -> None:
        """Watch just these: new ones are armed and scanned, gone ones let go, changed ones changed."""
        async with self._changing:
            await self._apply(watches)

    async def _apply(self, watches: Sequence[Watch]) -> None:
        wanted = {watch.path: watch for watch in watches}
        for root in [root for root in self._roots if root not in wanted]:
            await self._drop(self._roots.pop(root))
        for path, watch in wanted.items():
            known = self._roots.get(path)
            if known is not None and known.watch == watch:
                continue
            if known is not None:
                await self._drop(known)
            self._roots[path] = _Root(watch, PathRules.of(watch))
            await self._arm(self._roots[path], first=True)

    def close(self) -> None:
        """End the scans under way."""
        for task in self._scans:
            task.cancel()

    async def watch_over(self) -> None:
        """Forever: notice folders that were lost, and arm them again when they are back."""
        while True:
            await asyncio.sleep(CHECK_S)
            async with self._changing:
                await self._check()

    async def _check(self) -> None:
        watcher = self._watcher
        if watcher is None:
            return
        troubles = {trouble.root: trouble for trouble in await self._in_thread(watcher.check)}
        for root, known in list(self._roots.items()):
            trouble = troubles.get(root)
            if trouble is None and known.folder is not None:
                continue
            if trouble is not None and known.folder is not None:
                if trouble.kind in OUT_OF_REACH:
                    self._lost(known, trouble.sentence)
                else:
                    text = f"{trouble.sentence}; it is watched anew"
                    self._log.say("warning", text, 4, ROOT=show_path(root))
            await self._arm(known, first=False)

    def hear(self) -> None:
        """Take in what the watcher has heard."""
        if self._watcher is None:
            return
        batch = self._watcher.drain()
        for ref, kind in batch.hints:
            known = self._roots.get(ref.root)
            if known is not None and known.rules.ignores(ref.path) is None:
                self._post(e.Hinted(ref, kind))
        for desync in batch.desyncs:
            known = self._roots.get(desync.root)
            if known is None or (desync.path and known.rules.ignores_dir(desync.path) is not None):
                continue
            if not desync.path:
                text = f"{show_path(desync.root)} is scanned again: {desync.why}"
                self._log.say("desync", text, 5, ROOT=show_path(desync.root), REASON=desync.why)
            kind = HintKind.ARRIVED if desync.path else HintKind.FOUND
            self._begin_scan(known, desync.path, kind)

    async def _arm(self, known: _Root, *, first: bool) -> None:
        """Hold, watch, recover, scan: in this order, so that nothing falls between."""
        since_ns = time.clock_gettime_ns(CLOCK_REALTIME_COARSE)
        try:
            folder = await self._in_thread(lambda: Folder(known.watch.path))
            if self._watcher is not None:
                await self._in_thread(partial(self._watch, self._watcher, known.watch, first=first))
            status = await self._in_thread(lambda: os.stat(known.watch.path))
            if (status.st_dev, status.st_ino) != folder.identity:
                raise OSError(errno.ESTALE, "it was replaced just now")
        except WatchError as error:
            self._lost(known, str(error))
            return
        except (OSError, KernelTooOld) as error:
            sentence = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._lost(known, f"watched folder {show_path(known.watch.path)}: {sentence}")
            return
        known.folder = folder
        if known.trouble:
            self._found(known)
        refs = [ref for ref in self._unfinished if ref.root == known.watch.path]
        await self.finish_replaces(refs)
        if not await patiently(lambda: self._store.has_baseline(known.watch.path), self._log):
            self._post(e.BaselineStarted(known.watch.path, since_ns))
        # What the watcher asked for when it was armed again may have been heard too early, while no folder was held.
        self._begin_scan(known, b"", HintKind.FOUND)

    def _watch(self, watcher: Watcher, watch: Watch, *, first: bool) -> None:
        """In a thread. Raises WatchError."""
        if first:
            watcher.arm(watch.path, watch.recursive, watch.backend)
        else:
            watcher.rearm(watch.path)
        backend = watcher.backend_of(watch.path)
        if backend.name == "poll":
            text = f"{show_path(watch.path)} is polled: {backend.why}"
            self._log.say("warning", text, 5 if watch.backend == "poll" else 4, ROOT=show_path(watch.path))

    async def _drop(self, known: _Root) -> None:
        if self._watcher is not None:
            watcher = self._watcher
            await self._in_thread(lambda: watcher.disarm(known.watch.path))
        known.folder = None
        if known.scan is not None:
            known.scan.cancel()

    def _lost(self, known: _Root, sentence: str) -> None:
        if known.trouble != sentence:
            known.trouble = sentence
            mend = "bring it back, or take it out of the configuration"
            text = f"{sentence}; {mend}; it is looked for every {CHECK_S:.0f} s"
            self._log.say("folder-lost", text, 3, ROOT=show_path(known.watch.path))
        known.folder = None

    def _found(self, known: _Root) -> None:
        text = f"{show_path(known.watch.path)} is watched again and scanned for what came meanwhile"
        self._log.say("folder-found", text, 5, ROOT=show_path(known.watch.path))
        known.trouble = ""

    # ---- scanning ---------------------------------------------------------------------------------------------------

    def _begin_scan(self, known: _Root, start: bytes, kind: HintKind) -> None:
        if known.folder is None:
            return  # it is scanned when it is found again
        if not start:
            self._post(e.ScanStarted(known.watch.path))
        task = self._tasks.create_task(self._scan(known, start, kind))
        self._scans.add(task)
        task.add_done_callback(self._scans.discard)
        if not start:
            # An older scan of the same folder is superseded, and must not report its end as this one's.
            if known.scan is not None:
                known.scan.cancel()
            known.scan = task

    async def _scan(self, known: _Root, start: bytes, kind: HintKind) -> None:
        """Hint at every file below `start`, in batches, no faster than the engine takes them in."""
        root, folder, rules = known.watch.path, known.folder, known.rules
        assert folder is not None
        complete = True

        def failed(path: bytes, error: OSError) -> None:
            nonlocal complete
            complete = complete and path != start
            self._say_unreadable(root, path, error)

        walk = scan(folder, known.watch.recursive, lambda path: bool(rules.ignores_dir(path)), failed, start)
        try:
            while batch := await self._in_thread(lambda: _take(walk, rules)):
                for path in batch:
                    self._post(e.Hinted(FileRef(root, path), kind))
                while not self._has_room():  # noqa: ASYNC110  # room comes by turns of the loop, which signal nothing
                    await asyncio.sleep(SCAN_PAUSE_S)
        except OSError as error:
            complete = False
            text = f"scan of {show_path(root)} stopped: {error.strerror or error}"
            self._log.say("warning", text, 4, ROOT=show_path(root))
        if not start:
            self._post(e.ScanFinished(root, complete and known.folder is folder))

    def _say_unreadable(self, root: bytes, path: bytes, error: OSError) -> None:
        where = show_path(root.rstrip(b"/") + b"/" + path)
        text = f"the folder {where} cannot be read ({error.strerror}): give this user r and x on it, or exclude it"
        self._log.say("warning", text, 4, ROOT=show_path(root))

    # ---- replaces that were interrupted -----------------------------------------------------------------------------

    def keep_unfinished(self, intent: Intent) -> None:
        """The names of this replace could not be put right now; it is tried again before the file is next looked at."""
        self._unfinished[intent.ref] = intent

    async def finish_replaces(self, refs: Sequence[FileRef]) -> dict[FileRef, str]:
        """Put the names of interrupted replaces right, and make durable what came of them.

        Returns those for which it could not be done now, with the reason.
        """
        unsettled: dict[FileRef, str] = {}
        for ref in refs:
            if ref not in self._unfinished:
                continue
            async with self._finishing:
                trouble = await self._finish_replace(ref)
            if trouble:
                self._log.say("warning", f"{show_path(ref.full)}: {trouble}", 4, PATH=show_path(ref.full))
                unsettled[ref] = trouble
        return unsettled

    async def _finish_replace(self, ref: FileRef) -> str:
        """Empty when it is done; else why it could not be."""
        intent = self._unfinished.get(ref)
        known_root = self._roots.get(ref.root)
        if intent is None:
            return ""  # done just before
        if known_root is None or known_root.folder is None:
            return "its watched folder is out of reach"
        recovery = await self._in_thread(partial(swap.recover, known_root.folder, intent))
        if not recovery.settled:
            return recovery.sentence
        known = await self._store.file(ref)
        profile = known_root.watch.settings.profile
        records = records_after(intent, known, recovery.finished, recovery.identity, recovery.sentence, profile)
        try:
            await self._store.commit(records)
        except StoreError as error:
            return str(error)  # to put the names right once more does no harm
        del self._unfinished[ref]
        return ""

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._edge, call)


def _take(walk: Iterator[bytes], rules: PathRules) -> list[bytes]:
    """The next paths of a walk that the rules let through; empty at its end."""
    batch: list[bytes] = []
    while not batch:
        taken = list(itertools.islice(walk, SCAN_BATCH))
        if not taken:
            return []
        batch = [path for path in taken if rules.ignores(path) is None]
    return batch
