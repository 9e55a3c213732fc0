"""The watched folders: held, armed, scanned, and found again when they were lost."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from imgoptd.adapters import replace as swap
from imgoptd.adapters.beneath import Folder, KernelTooOld
from imgoptd.adapters.journald import Log
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.adapters.watcher import Trouble, Watcher, WatchError
from imgoptd.config.overlaps import trees_inside
from imgoptd.config.rules import PathRules
from imgoptd.config.schema import Watch
from imgoptd.core import events as e
from imgoptd.core.model import Failure, FailureKind, FileRef, HintKind
from imgoptd.core.since import Since
from imgoptd.core.text import show_path
from imgoptd.daemon.outputs import Outputs
from imgoptd.daemon.patience import patiently
from imgoptd.daemon.scans import Scans
from imgoptd.daemon.unfinished import Unfinished
from imgoptd.daemon.watched import Watched

CLOCK_REALTIME_COARSE = 5
"""The clock that the kernel stamps files with (clock_gettime(2)); the finer one runs up to a tick ahead of it."""
OUT_OF_REACH = frozenset({Trouble.MISSING, Trouble.REPLACED, Trouble.FORBIDDEN, Trouble.NOT_ARMED})
CHECK_S = 2.0
"""How often the folders are checked for being lost or found."""


T = TypeVar("T")


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
        hears_more: Callable[[], bool] = lambda: True,
        patient: bool = True,
        unfinished: Unfinished,
        outputs: Outputs,
    ) -> None:
        """`watcher` is None where the folders are only scanned. `has_room`: may a scan bring in more candidates now?
        `hears_more`: may the watcher?

        Not `patient`: what failed before, and what stood there before, is treated as new (`--once`).
        """
        self._post = post
        self._edge = edge
        self._store = store
        self._log = log
        self._watcher = watcher
        self._hears_more = hears_more
        self._unheard = False
        self._roots: dict[bytes, Watched] = {}
        self.outputs = outputs
        self._unfinished = unfinished
        self._changing = asyncio.Lock()
        """Arming and letting go: a reload and the regular check would stumble over each other."""
        self._scans = Scans(
            post,
            tasks,
            self._in_thread,
            store=store,
            log=log,
            watcher=watcher,
            has_room=has_room,
            patient=patient,
        )

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
        known = self._roots.get(ref.root)
        return known.rules.ignores(ref.path) if known is not None else "its folder is watched no longer"

    def troubles(self) -> dict[bytes, str]:
        """What keeps each from being watched, or its results from being put into its output tree."""
        return {root: trouble for root, known in self._roots.items() if (trouble := self._trouble(known))}

    def _trouble(self, known: Watched) -> str:
        return known.trouble or self.outputs.trouble(known.watch.output)

    def roots(self) -> list[Watch]:
        return [known.watch for known in self._roots.values()]

    def shown(self) -> list[dict[str, object]]:
        """Each folder for `status`: how it is watched and why so, and what is wrong or being made good."""
        return [self._shown(known) for known in self._roots.values()]

    def _shown(self, known: Watched) -> dict[str, object]:
        watch = known.watch
        watcher = self._watcher
        backend = watcher.backend_of(watch.path) if watcher is not None and watcher.knows(watch.path) else None
        return {
            "path": watch.path,
            "profile": watch.profile,
            "output": watch.output,
            "trouble": self._trouble(known),
            "backend": backend.name if backend is not None else "none",
            "why": backend.why if backend is not None else "it is not watched",
            "rescan": known.rescan,
        }

    # ---- coming and going -------------------------------------------------------------------------------------------

    async def apply(self, watches: Sequence[Watch]) -> None:
        """Watch just these: new ones are armed and scanned, gone ones let go, changed ones changed."""
        async with self._changing:
            await self._apply(watches)

    async def _apply(self, watches: Sequence[Watch]) -> None:
        wanted = {watch.path: watch for watch in watches}
        await self.outputs.apply(watches)
        for root in [root for root in self._roots if root not in wanted]:
            await self._drop(self._roots.pop(root))
        for path, watch in wanted.items():
            known = self._roots.get(path)
            if known is not None and known.watch == watch:
                continue
            if known is not None:
                await self._drop(known)
            self._roots[path] = Watched(watch, PathRules.of(watch, await self._former_trees(watch)))
            self._post(e.FolderLost(path, ""))  # what is heard while it is armed waits for the folder to be held
            await self._arm(self._roots[path], first=True)

    async def _former_trees(self, watch: Watch) -> tuple[bytes, ...]:
        """With an output tree, what stands in an earlier one is not mirrored in its turn: each change of trees would
        double them. In place there is no harm in looking at it.
        """
        if not watch.output:
            return ()
        trees = await patiently(self._store.trees, self._log)
        return await self._in_thread(partial(trees_inside, watch.path, trees))

    def close(self) -> None:
        """End the scans under way."""
        self._scans.close()

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
        await self.outputs.check()
        for known in list(self._roots.values()):
            self._tell_tree(known)
        troubles = {trouble.root: trouble for trouble in await self._in_thread(watcher.check)}
        for root, known in list(self._roots.items()):
            trouble = troubles.get(root)
            if trouble is None and known.folder is not None:
                await self._scans.look_again(known)
                continue
            if trouble is not None and known.folder is not None:
                if trouble.kind is Trouble.REPLACED:
                    self._lost(known, trouble.sentence)
                elif trouble.kind in OUT_OF_REACH:
                    known.folder = None  # arming fails now, and says why
                else:
                    text = f"{trouble.sentence}; it is watched anew"
                    self._log.say("warning", text, 4, ROOT=show_path(root))
            await self._arm(known, first=False, why=trouble.sentence if trouble else "")

    def hear(self) -> None:
        """Take in what the watcher has heard, or leave it there until there is room: its box is bounded, too."""
        if self._watcher is None:
            return
        self._unheard = not self._hears_more()
        if self._unheard:
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
            if desync.path:
                self._scans.below(known, desync.path, HintKind.ARRIVED)
            else:
                self._scans.desynced(known, desync.why)

    def turned(self) -> None:
        """A turn is over: is there room for what was left unheard?"""
        if self._unheard:
            self.hear()

    async def _arm(self, known: Watched, *, first: bool, why: str = "") -> None:
        """Hold, watch, recover, scan: in this order, so that nothing falls between."""
        at_s = time.monotonic()  # first: too much may seem to have passed since, never too little
        since = Since(time.clock_gettime_ns(CLOCK_REALTIME_COARSE), at_s)
        try:
            folder = await self._in_thread(lambda: Folder(known.watch.path))
            if self._watcher is not None:
                await self._in_thread(partial(self._watch, self._watcher, known, first=first))
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
        self._post(e.FolderFound(known.watch.path))
        known.tree_lost = False
        self._tell_tree(known)
        if known.trouble:
            self._found(known)
        await self.finish(self._unfinished.below(known.watch.path))
        known.baseline = None
        if not await patiently(lambda: self._store.has_baseline(known.watch.path), self._log):
            # A first scan that a crash cut short is begun anew, but what came after its beginning is new all the same.
            begun_ns = await patiently(lambda: self._store.baseline_since(known.watch.path), self._log)
            known.baseline = since.begun(begun_ns)
            self._post(e.BaselineStarted(known.watch.path, known.baseline))
        # What the watcher asked for when it was armed again may have been heard too early, while no folder was held.
        self._scans.whole(known, why)

    def _tell_tree(self, known: Watched) -> None:
        """Without its output tree nothing of a folder can be done, as if it were lost itself."""
        sentence = self.outputs.trouble(known.watch.output)
        if known.folder is None or bool(sentence) == known.tree_lost:
            return
        known.tree_lost = bool(sentence)
        if sentence:
            self._post(e.FolderLost(known.watch.path, sentence))
        else:
            self._post(e.FolderFound(known.watch.path))
            self._scans.whole(known, "its output folder is there again")

    def _watch(self, watcher: Watcher, known: Watched, *, first: bool) -> None:
        """In a thread. Raises WatchError."""
        watch = known.watch
        if first or not watcher.knows(watch.path):
            watcher.arm(watch.path, watch.recursive, watch.backend)
        else:
            watcher.rearm(watch.path)
        backend = watcher.backend_of(watch.path)
        polled = backend.why if backend.name == "poll" else ""
        if polled and polled != known.polled:
            text = f"{show_path(watch.path)} is polled: {polled}"
            self._log.say("warning", text, 5 if watch.backend == "poll" else 4, ROOT=show_path(watch.path))
        known.polled = polled

    async def _drop(self, known: Watched) -> None:
        if self._watcher is not None:
            watcher = self._watcher
            await self._in_thread(lambda: watcher.disarm(known.watch.path))
        known.folder = None
        if known.scan is not None:
            known.scan.cancel()

    def _lost(self, known: Watched, sentence: str) -> None:
        if known.trouble != sentence:
            known.trouble = sentence
            mend = "bring it back, or take it out of the configuration"
            text = f"{sentence}; {mend}; it is looked for every {CHECK_S:.0f} s"
            self._log.say("folder-lost", text, 3, ROOT=show_path(known.watch.path))
            self._post(e.FolderLost(known.watch.path, sentence))
        known.folder = None

    def _found(self, known: Watched) -> None:
        text = f"{show_path(known.watch.path)} is watched again and scanned for what came meanwhile"
        self._log.say("folder-found", text, 5, ROOT=show_path(known.watch.path))
        known.trouble = ""

    # ---- what was interrupted ---------------------------------------------------------------------------------------

    async def finish(self, refs: Sequence[FileRef]) -> dict[FileRef, str]:
        """Put the names of interrupted replaces and restores right; those that cannot be now, with the reason."""
        return await self._unfinished.finish(refs, self.folder, self._profile)

    def _profile(self, root: bytes) -> str:
        return self._roots[root].watch.settings.profile

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._edge, call)
