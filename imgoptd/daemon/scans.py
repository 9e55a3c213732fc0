"""Scans of watched folders: what stands there is compared with what the store knows, and only the rest is hinted at."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.journald import Log
from imgoptd.adapters.scanner import walk
from imgoptd.adapters.store import StoreError
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.adapters.troubles import TOO_LONG_MEND
from imgoptd.adapters.watcher import Watcher, WatchError
from imgoptd.core import events as e
from imgoptd.core.model import FileRef, HintKind
from imgoptd.core.rescan import Found, Merge, Terms, next_s
from imgoptd.core.since import Since
from imgoptd.core.text import show_path
from imgoptd.daemon.patience import patiently
from imgoptd.daemon.watched import Watched

ROWS = 4096
"""Rows of the store read in one go."""
STOOD = 256
"""Files told of in one event; all of them become rows of one commit."""
BELOW_AT_ONCE = 4
"""Scans of parts of one watched folder: a thousand folders that appeared would otherwise all wait for room together."""
PAUSE_S = 0.02
REST_MOST_S = 10.0
"""A folder whose events go on being lost is scanned half of the time at most, and rests no longer than this."""
UNLISTED_S, UNLISTED_MOST_S = 5.0, 60.0
"""Until a folder that is held but cannot be listed (no descriptors left, say) is tried again; doubled each time."""
SAY_AGAIN_S = 60.0
"""Events lost once more within this time are counted, not said."""
UNREAD_MOST = 1000
"""Unreadable folders that are remembered, of each watched one; the regular scan finds the others."""
UNREAD_TRIES = 50


class Scans:
    def __init__(
        self,
        post: Callable[[e.Event], None],
        tasks: asyncio.TaskGroup,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        *,
        store: StoreThread,
        log: Log,
        watcher: Watcher | None,
        has_room: Callable[[], bool],
        patient: bool,
    ) -> None:
        """As in Folders."""
        self._post = post
        self._tasks = tasks
        self._in_thread = in_thread
        self._store = store
        self._log = log
        self._watcher = watcher
        self._has_room = has_room
        self._patient = patient
        self._running: set[asyncio.Task[None]] = set()
        self._below: defaultdict[bytes, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(BELOW_AT_ONCE))
        """By watched folder: who scans a part of it."""

    def close(self) -> None:
        """End the scans under way."""
        for task in self._running:
            task.cancel()

    def whole(self, known: Watched, why: str, *, regular: bool = False) -> None:
        """Scan the folder. Where that is being done another pass follows, for it may have been too early."""
        folder = known.folder
        if folder is None:
            return  # it is scanned when it is found again
        known.rescan = why
        if known.scan is not None and not known.scan.done():
            if known.scanned is folder:
                known.again = True
                return
            # Superseded: it walks what stood here before, and must not report its end as this one's.
            known.scan.cancel()
        known.scanned = folder
        if not regular:
            self._post(e.ScanStarted(known.watch.path))
        known.scan = self._begin(self._scan_whole(known, folder, regular))

    def below(self, known: Watched, path: bytes, kind: HintKind, baseline: Since | None = None) -> None:
        """Scan what lies below a folder of the watched one."""
        if known.folder is not None:
            terms = self._terms(known, baseline)
            self._begin(self._scan_below(known, known.folder, path, kind, terms))

    def desynced(self, known: Watched, why: str) -> None:
        """Changes anywhere in the folder may have gone unheard."""
        if known.folder is None:
            return  # it is scanned when it is found again
        now_s = time.monotonic()
        if known.said_s is None or now_s - known.said_s >= SAY_AGAIN_S:
            again = f" (and {known.unsaid} times since this was last said)" if known.unsaid else ""
            shown = show_path(known.watch.path)
            self._log.say("desync", f"{shown} is scanned again: {why}{again}", 5, ROOT=shown, REASON=why)
            known.said_s, known.unsaid = now_s, 0
        else:
            known.unsaid += 1
        self.whole(known, why)

    async def look_again(self, known: Watched) -> None:
        """What has come within reach again, and whether it is time for a scan for no particular reason."""
        await self._try_unread(known)
        due_s = known.next_scan_s
        if due_s is not None and time.monotonic() >= due_s and known.folder is not None:
            known.next_scan_s = None
            self.whole(known, "", regular=True)

    # ---- scanning ---------------------------------------------------------------------------------------------------

    def _begin(self, work: Any) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _terms(self, known: Watched, baseline: Since | None, *, regular: bool = False) -> Terms:
        spare = known.watch.existing == "ignore" and self._patient
        return Terms(
            spare,
            baseline if spare else None,
            spare_companions=known.watch.companions == "leave" and self._patient,
            part_hard_links=known.watch.hard_links == "part",
            patient=self._patient,
            output=known.watch.output,
            regular=regular,
        )

    async def _scan_whole(self, known: Watched, folder: Folder, regular: bool) -> None:
        root = known.watch.path
        if regular:
            await self._renew(root)
        complete, took_s, told, unlisted_s = True, 0.0, not regular, UNLISTED_S
        while True:
            known.again = False
            began_s = time.monotonic()
            unread: dict[bytes, Since | None] = {}
            terms = self._terms(known, known.baseline, regular=regular)
            complete = await self._pass(known, folder, b"", HintKind.FOUND, terms, unread)
            if complete:
                known.unread, known.unlisted = unread, False
            took_s = time.monotonic() - began_s
            if known.folder is not folder or not (known.again or (self._patient and not complete)):
                break
            if complete:
                await asyncio.sleep(min(took_s, REST_MOST_S))
            else:  # held and watched, but not listed: nothing else would ask for what stands there
                await asyncio.sleep(unlisted_s)
                unlisted_s = min(UNLISTED_MOST_S, unlisted_s * 2)
            regular = regular and not known.again
        if complete:
            known.baseline = None
        elif known.folder is folder:
            known.trouble = f"{show_path(root)} cannot be listed"
        known.rescan = ""
        known.next_scan_s = next_s(time.monotonic(), took_s)
        if told:
            self._post(e.ScanFinished(root, complete and known.folder is folder))

    async def _scan_below(self, known: Watched, folder: Folder, path: bytes, kind: HintKind, terms: Terms) -> None:
        async with self._below[known.watch.path]:
            if known.folder is folder:
                await self._pass(known, folder, path, kind, terms, known.unread)

    async def _pass(
        self,
        known: Watched,
        folder: Folder,
        start: bytes,
        kind: HintKind,
        terms: Terms,
        unread: dict[bytes, Since | None],
    ) -> bool:
        """Compare once, no faster than the engine takes in what comes of it. False: `start` could not be scanned."""
        root, rules = known.watch.path, known.rules
        complete = True

        def failed(path: bytes, error: OSError) -> None:
            nonlocal complete
            complete = complete and path != start
            if path not in known.unread and path not in unread and not self._is_told(known, path, error):
                self._say_unreadable(root, path, error)
            known.unlisted = known.unlisted or not path
            if path and len(unread) < UNREAD_MOST:
                unread[path] = known.unread.get(path, terms.baseline)

        merge = Merge(terms, lambda path: rules.ignores(path) is not None, start, time.monotonic)
        pieces = walk(folder, known.watch.recursive, lambda path: bool(rules.ignores_dir(path)), failed, start)
        after = b""
        while not merge.over:
            if merge.wants_rows:
                after = merge.after
                page = await patiently(partial(self._store.known, root, after, ROWS), self._log)
                merge.rows(page, last=len(page) < ROWS, proven=False)
            elif merge.wants_proof:
                await patiently(partial(self._store.prove_known, root, after, ROWS), self._log)
                merge.proven()
            found: Found = await self._in_thread(partial(merge.advance, pieces))
            await self._tell(root, found, kind)
        return complete

    async def _tell(self, root: bytes, found: Found, kind: HintKind) -> None:
        for at in range(0, len(found.stood), STOOD):
            self._post(e.StoodBefore(root, tuple(found.stood[at : at + STOOD])))
        for path in found.hints:
            self._post(e.Hinted(FileRef(root, path), kind))
        if found.gone:
            try:
                await self._store.forget([FileRef(root, path) for path in found.gone])
            except StoreError:
                pass  # the next scan finds them again
        if found.hints or found.stood:
            while not self._has_room():  # noqa: ASYNC110  # room comes by turns of the loop, which signal nothing
                await asyncio.sleep(PAUSE_S)

    async def _renew(self, root: bytes) -> None:
        """Before a regular scan: watch what is not watched, by inotify where it was exhausted and is so no more."""
        watcher = self._watcher
        if watcher is None:
            return
        try:
            backend = await self._in_thread(lambda: watcher.renew(root))
        except (WatchError, KeyError):
            return  # the check that is made every few seconds sees to it
        if backend is not None:
            shown = show_path(root)
            self._log.say("folder-found", f"{shown} is polled no more: there are inotify watches again", 5, ROOT=shown)

    # ---- unreadable folders -----------------------------------------------------------------------------------------

    async def _try_unread(self, known: Watched) -> None:
        folder = known.folder
        if folder is None or not known.unread:
            return
        paths = list(known.unread)[:UNREAD_TRIES]
        readable = await self._in_thread(lambda: [path for path in paths if _can_be_listed(folder, path)])
        for path in paths:
            if path in known.unread and path not in readable:
                known.unread[path] = known.unread.pop(path)  # to the end of the line
        for path in readable:
            baseline = known.unread.pop(path, None)
            if self._watcher is not None:
                await self._in_thread(partial(self._watcher.extend, known.watch.path, path))
            self.below(known, path, HintKind.FOUND, baseline)

    def _is_told(self, known: Watched, path: bytes, error: OSError) -> bool:
        """Of the watched folder itself: was it said before, or will the regular check say that rights were lost?"""
        return not path and (known.unlisted or (self._watcher is not None and error.errno == errno.EACCES))

    def _say_unreadable(self, root: bytes, path: bytes, error: OSError) -> None:
        where = show_path(root.rstrip(b"/") + b"/" + path)
        mend = "give this user r and x on it, or exclude it"
        if error.errno == errno.ENAMETOOLONG:
            mend = f"{TOO_LONG_MEND}, or exclude it"
        text = f"the folder {where} cannot be read ({error.strerror}): {mend}"
        self._log.say("warning", text, 4, ROOT=show_path(root))


def _can_be_listed(folder: Folder, path: bytes) -> bool:
    try:
        fd = folder.open_folder(path)
    except OSError:
        return False
    try:
        return os.access(b".", os.X_OK, dir_fd=fd, effective_ids=True)
    finally:
        os.close(fd)
