"""Replaces and restores that were interrupted: their names are put right before their files are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from imgoptd.adapters import replace as swap
from imgoptd.adapters import undo
from imgoptd.adapters.beneath import Folder, KernelTooOld
from imgoptd.adapters.journald import Log
from imgoptd.adapters.store import StoreError
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.model import FileRecord, FileRef, Intent, Kept
from imgoptd.core.recovery import records_after, records_after_restore
from imgoptd.core.text import show_path
from imgoptd.daemon.outputs import Outputs

T = TypeVar("T")


class Unfinished:
    def __init__(
        self,
        post: Callable[[e.Event], None],
        edge: ThreadPoolExecutor,
        store: StoreThread,
        log: Log,
        state_dir: bytes,
        outputs: Outputs,
    ) -> None:
        """`outputs`: the trees in which names may have to be put right."""
        self._post = post
        self._edge = edge
        self._outputs = outputs
        self._store = store
        self._log = log
        self._state_dir = state_dir
        self._replaces: dict[FileRef, Intent] = {}
        self._restores: dict[FileRef, Kept] = {}
        self._said: dict[FileRef, str] = {}
        """Why it could not be done, as it was said last."""
        self._finishing = asyncio.Lock()
        """One at a time puts names right: a folder that is found again and a look at a file of it may both want to."""

    async def load(self) -> int:
        """Take in what was under way when the daemon last ended; how much that is."""
        intents = await self._store.intents()
        self._replaces.update({intent.ref: intent for intent in intents})
        restores = await self._store.kept(lambda rows: rows.restoring())
        self._restores.update({kept.ref: kept for kept in restores})
        return len(intents) + len(restores)

    def keep_replace(self, intent: Intent) -> None:
        """The names of this replace could not be put right now; it is tried again before the file is next looked at."""
        self._replaces[intent.ref] = intent

    def keep_restore(self, kept: Kept) -> None:
        self._restores[kept.ref] = kept

    def below(self, root: bytes) -> list[FileRef]:
        """The files of the watched folder with something left to be put right."""
        return [ref for ref in self._replaces.keys() | self._restores.keys() if ref.root == root]

    async def finish(
        self, refs: Sequence[FileRef], folder_of: Callable[[bytes], Folder | None], profile_of: Callable[[bytes], str]
    ) -> dict[FileRef, str]:
        """Put the names right, and make durable what came of them.

        Returns those for which it could not be done now, with the reason.
        """
        unsettled: dict[FileRef, str] = {}
        for ref in refs:
            if ref not in self._replaces and ref not in self._restores:
                continue
            async with self._finishing:
                folder = folder_of(ref.root)
                if folder is None:
                    trouble = "its watched folder is out of reach"
                else:
                    trouble = await self._finish_replace(ref, folder, profile_of(ref.root))
                    trouble = trouble or await self._finish_restore(ref, folder)
            if not trouble:
                self._said.pop(ref, None)
                continue
            unsettled[ref] = trouble
            if self._said.get(ref) != trouble:
                self._said[ref] = trouble
                self._log.say("warning", f"{show_path(ref.full)}: {trouble}", 4, PATH=show_path(ref.full))
        return unsettled

    async def _finish_replace(self, ref: FileRef, folder: Folder, profile: str) -> str:
        """Empty when it is done; else why it could not be."""
        intent = self._replaces.get(ref)
        if intent is None:
            return ""  # done just before, or never begun
        recovery = await self._in_thread(partial(self._recover, folder, intent))
        if not recovery.settled:
            return recovery.sentence
        found = recovery.finished, recovery.identity, recovery.sentence, profile, recovery.kept
        if trouble := await self._close(ref, lambda known: records_after(intent, known, *found)):
            return trouble  # to put the names right once more does no harm
        del self._replaces[ref]
        if recovery.kept is not None:
            self._post(e.UndoChanged(1, recovery.kept.size))
        return ""

    async def _finish_restore(self, ref: FileRef, folder: Folder) -> str:
        kept = self._restores.get(ref)
        if kept is None:
            return ""
        recovery = await self._in_thread(partial(undo.recover_restore, folder, kept, self._state_dir))
        if not recovery.settled:
            return recovery.sentence
        found = recovery.still_kept, recovery.identity, recovery.sentence
        if trouble := await self._close(ref, lambda known: records_after_restore(kept, known, *found)):
            return trouble
        del self._restores[ref]
        if not recovery.still_kept:
            self._post(e.UndoChanged(-1, -kept.identity.size))
        return ""

    async def _close(self, ref: FileRef, records: Callable[[FileRecord | None], Sequence[c.Record]]) -> str:
        """Make durable what follows for the file, given its row. Empty when it is done; else why not."""
        try:
            await self._store.commit(records(await self._store.file(ref)))
        except StoreError as error:
            return str(error)
        return ""

    def _recover(self, folder: Folder, intent: Intent) -> swap.Recovery:
        """In a thread: put the names right where they lie."""
        if intent.mirrored is None:
            return swap.recover(folder, intent, self._state_dir)
        recovery = self._recover_in_tree(intent, intent.mirrored.root)
        if recovery.settled or self._outputs.knows(intent.mirrored.root):
            return recovery
        # Nothing of the original hangs on it, and nobody may ever bring that tree back.
        said = "in an output folder that is not in the configuration any more something is left as it was; "
        return swap.Recovery(False, None, said + recovery.sentence)

    def _recover_in_tree(self, intent: Intent, root: bytes) -> swap.Recovery:
        try:
            return swap.recover(self._outputs.reach(root), intent)
        except swap.Refused as refused:
            return swap.Recovery(False, None, refused.failure.detail, settled=False)
        except (OSError, KernelTooOld) as error:
            said = (error.strerror if isinstance(error, OSError) else None) or str(error)
            sentence = f"its output folder {show_path(root)} is out of reach: {said}"
            return swap.Recovery(False, None, sentence, settled=False)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._edge, call)
