"""Replaces that were interrupted: their names are put right before anything else is done to the file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from imgoptd.adapters import replace as swap
from imgoptd.adapters.beneath import Folder
from imgoptd.adapters.journald import Log
from imgoptd.adapters.store import StoreError
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core.model import FileRef, Intent
from imgoptd.core.recovery import records_after
from imgoptd.core.text import show_path


class Unfinished:
    def __init__(
        self,
        store: StoreThread,
        log: Log,
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        place: Callable[[bytes], tuple[Folder, str] | None],
    ) -> None:
        """`place`: the held folder of a root and the name of its profile, or None while it is out of reach."""
        self._store = store
        self._log = log
        self._in_thread = in_thread
        self._place = place
        self._intents: dict[FileRef, Intent] = {}
        self._finishing = asyncio.Lock()
        """One at a time puts names right: a folder that is found again and a look at a file of it may both want to."""

    async def load(self) -> int:
        """Take in the replaces that were under way when the daemon last ended; they are put right as folders come."""
        intents = await self._store.intents()
        self._intents.update({intent.ref: intent for intent in intents})
        return len(intents)

    def keep(self, intent: Intent) -> None:
        """The names of this replace could not be put right now; it is tried again before the file is next looked at."""
        self._intents[intent.ref] = intent

    def of(self, root: bytes) -> list[FileRef]:
        return [ref for ref in self._intents if ref.root == root]

    async def finish(self, refs: Sequence[FileRef]) -> dict[FileRef, str]:
        """Put the names of interrupted replaces right, and make durable what came of them.

        Returns those for which it could not be done now, with the reason.
        """
        unsettled: dict[FileRef, str] = {}
        for ref in refs:
            if ref not in self._intents:
                continue
            async with self._finishing:
                trouble = await self._finish(ref)
            if trouble:
                self._log.say("warning", f"{show_path(ref.full)}: {trouble}", 4, PATH=show_path(ref.full))
                unsettled[ref] = trouble
        return unsettled

    async def _finish(self, ref: FileRef) -> str:
        """Empty when it is done; else why it could not be."""
        intent = self._intents.get(ref)
        if intent is None:
            return ""  # done just before
        place = self._place(ref.root)
        if place is None:
            return "its watched folder is out of reach"
        folder, profile = place
        recovery = await self._in_thread(partial(swap.recover, folder, intent))
        if not recovery.settled:
            return str(recovery.sentence)
        known = await self._store.file(ref)
        records = records_after(intent, known, recovery.finished, recovery.identity, recovery.sentence, profile)
        try:
            await self._store.commit(records)
        except StoreError as error:
            return str(error)  # to put the names right once more does no harm
        del self._intents[ref]
        return ""
