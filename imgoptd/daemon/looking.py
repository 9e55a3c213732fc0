"""Looks at files, many at a time, without keeping the threads at the edge from the work under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from imgoptd.adapters.companions import Companions
from imgoptd.adapters.journald import Log
from imgoptd.adapters.listings import Listings
from imgoptd.adapters.look import look, look_around
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.judgement import counts_what_lies_around
from imgoptd.core.model import FileKind, FileRef, Look
from imgoptd.daemon.folders import Folders
from imgoptd.daemon.patience import patiently

LOOKS_AT_ONCE = 128
"""By a thread, in one go."""
LOOKERS = 3
"""Of the threads at the edge: a job that is to be opened waits for none of ten thousand looks."""
T = TypeVar("T")


class Looking:
    def __init__(
        self,
        post: Callable[[e.Event], None],
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        begin: Callable[[Coroutine[Any, Any, None]], None],
        *,
        store: StoreThread,
        folders: Folders,
        log: Log,
        listings: Listings,
        companions: Companions,
        fault: Callable[[FileRef, Exception], object],
    ) -> None:
        """`in_thread`: make a call that may block. `begin`: do it beside. `fault`: tell of an error of ours."""
        self._post = post
        self._call = in_thread
        self._begin = begin
        self._store = store
        self._folders = folders
        self._log = log
        self._listings = listings
        self._companions = companions
        self._fault = fault
        self._waiting: deque[c.LookAt] = deque()
        self._lookers = 0
        self.asked = 0
        """Looks that were asked for and are not answered yet."""

    def at(self, looks: Sequence[c.LookAt]) -> None:
        self.asked += len(looks)
        self._waiting.extend(looks)
        # One for each piece, though others look already: they may look at a disk that does not answer.
        for _ in range(0, len(looks), LOOKS_AT_ONCE):
            if self._lookers < LOOKERS:
                self._lookers += 1
                self._begin(self._look_on())

    async def _look_on(self) -> None:
        """Look as long as anything waits to be looked at."""
        try:
            while self._waiting:
                await self._look([self._waiting.popleft() for _ in range(min(len(self._waiting), LOOKS_AT_ONCE))])
        finally:
            self._lookers -= 1

    async def _in_thread(self, call: Callable[[], T]) -> T:
        answer: T = await self._call(call)
        return answer

    async def _look(self, commands: Sequence[c.LookAt]) -> None:
        refs = [command.ref for command in commands]
        unsettled = await self._folders.finish(refs)
        looks = await self._in_thread(lambda: [self._look_at(one, unsettled.get(one.ref)) for one in commands])
        known = await patiently(lambda: self._store.files(refs), self._log)
        asked = [
            number
            for number, (ref, record) in enumerate(zip(refs, known, strict=True))
            if leaves_companions(self._folders, ref.root) and counts_what_lies_around(looks[number], record)
        ]
        if asked:
            around = await self._in_thread(lambda: [self._look_around(refs[one], looks[one]) for one in asked])
            for number, seen in zip(asked, around, strict=True):
                looks[number] = seen
        outputs = await patiently(lambda: self._store.outputs([(one.ref, one.output) for one in commands]), self._log)
        self.asked -= len(commands)
        for ref, seen, record, output in zip(refs, looks, known, outputs, strict=True):
            self._post(e.Looked(ref, seen, record, output))

    def _look_at(self, command: c.LookAt, unsettled: str | None) -> Look:
        ref = command.ref
        if unsettled is not None:
            # A further replace would forget the name under which the last one may have left the original.
            return Look(FileKind.UNREADABLE, detail=f"an earlier replace is still to be put right: {unsettled}")
        folder = self._folders.folder(ref.root)
        if folder is None:
            return Look(FileKind.UNREADABLE, detail="its watched folder is out of reach")
        try:
            seen = look(folder, ref.path, ends=command.ends, listings=self._listings)
            if seen.listed_as and self._folders.ignored(FileRef(ref.root, seen.listed_as)):
                return Look(FileKind.GONE)
            return seen
        except Exception as error:  # one file's trouble, ours or the system's, must not stop the others
            self._fault(ref, error)
            return Look(FileKind.UNREADABLE, detail=f"{type(error).__name__}: {error}")

    def _look_around(self, ref: FileRef, seen: Look) -> Look:
        folder = self._folders.folder(ref.root)
        if folder is None:
            return Look(FileKind.UNREADABLE, detail="its watched folder is out of reach")
        try:
            return look_around(seen, lambda: self._companions.leave(folder, ref.path))
        except Exception as error:
            self._fault(ref, error)
            return Look(FileKind.UNREADABLE, detail=f"{type(error).__name__}: {error}")


def leaves_companions(folders: Folders, root: bytes) -> bool:
    """Are files of the folder left alone for the sake of what lies around them?"""
    return any(watch.path == root and watch.companions == "leave" and not watch.output for watch in folders.roots())
