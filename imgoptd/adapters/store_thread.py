"""The store for asyncio: one thread owns the Store, and calls are done in the order they were made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from imgoptd.adapters.store import Known, Store, StoreDamaged
from imgoptd.adapters.store_check import check_beside
from imgoptd.adapters.store_kept import KeptRows
from imgoptd.core.commands import Record
from imgoptd.core.estimate import Lesson
from imgoptd.core.model import FileRecord, FileRef, Intent, JobState, Output, Receipt

T = TypeVar("T")


class StoreThread:
    """Methods as in Store. A caller that is cancelled stops waiting; what it asked for is done all the same."""

    def __init__(self, store: Store, executor: ThreadPoolExecutor) -> None:
        """In a coroutine."""
        self._store = store
        self._executor = executor
        self._closing = threading.Event()
        self._checking: asyncio.Task[None] | None = None
        self.opened_fresh_because = store.opened_fresh_because
        self.damage: asyncio.Future[StoreDamaged] = asyncio.get_running_loop().create_future()
        """Done as soon as damage is met, by whatever call: this store is then to be closed and opened anew."""

    @classmethod
    async def open(cls, state_dir: Path) -> StoreThread:
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        try:
            store = await asyncio.get_running_loop().run_in_executor(executor, Store.open, state_dir)
        except BaseException:
            executor.shutdown(wait=False)
            raise
        return cls(store, executor)

    async def close(self) -> None:
        """Do what was asked for before, then close the store and end the thread."""
        self._closing.set()
        if self._checking is not None:
            await asyncio.gather(self._checking, return_exceptions=True)
        await self._run(self._store.close)
        self._executor.shutdown()

    async def check(self) -> None:
        """Read what opening a large store left unread, beside the work. Raises StoreDamaged, StoreError."""
        if self._store.checked:
            return
        self._checking = asyncio.ensure_future(self._check())
        await self._checking

    async def _check(self) -> None:
        # A thread of its own: the store's has commits to make.
        found = await asyncio.to_thread(check_beside, self._store.path, self._closing.is_set)
        if found:
            raise await self._damaged(StoreDamaged(f"the store is damaged: {found}"))

    async def commit(self, records: Sequence[Record]) -> None:
        if records:
            await self._run(lambda: self._store.commit(records))

    async def file(self, ref: FileRef) -> FileRecord | None:
        return await self._run(lambda: self._store.file(ref))

    async def files(self, refs: Sequence[FileRef]) -> list[FileRecord | None]:
        """The rows of many files in one go."""
        return await self._run(lambda: [self._store.file(ref) for ref in refs])

    async def unfinished_after(
        self, after: int, limit: int, *, fresh: bool | None = None
    ) -> list[tuple[int, FileRecord]]:
        return await self._run(lambda: self._store.unfinished_after(after, limit, fresh=fresh))

    async def count_unfinished(self) -> int:
        return await self._run(self._store.count_unfinished)

    async def quarantined(self, after: int) -> list[tuple[int, FileRef]]:
        return await self._run(lambda: self._store.quarantined(after))

    async def in_state(self, state: JobState, before: int, span: int) -> tuple[int, list[FileRecord]]:
        return await self._run(lambda: self._store.in_state(state, before, span))

    async def known(self, root: bytes, after: bytes, limit: int) -> list[Known]:
        return await self._run(lambda: self._store.known(root, after, limit))

    async def prove_known(self, root: bytes, after: bytes, limit: int) -> None:
        await self._run(lambda: self._store.prove_known(root, after, limit))

    async def forget(self, refs: Sequence[FileRef]) -> int:
        return await self._run(lambda: self._store.forget(refs))

    async def intents(self) -> list[Intent]:
        return await self._run(self._store.intents)

    async def history(self, ref: FileRef) -> list[tuple[float, str, str]]:
        return await self._run(lambda: self._store.history(ref))

    async def receipts(self, ref: FileRef) -> list[Receipt]:
        return await self._run(lambda: self._store.receipts(ref))

    async def outputs(self, refs: Sequence[tuple[FileRef, bytes]]) -> list[Output | None]:
        """What stands for each file in that output tree, as far as we put it there; an empty root has none."""
        wanted = list(refs)
        if not any(root for _, root in wanted):
            return [None] * len(wanted)
        return await self._run(lambda: [self._store.output(ref, root) if root else None for ref, root in wanted])

    async def has_outputs(self, root: bytes) -> bool:
        return await self._run(lambda: self._store.has_outputs(root))

    async def trees(self) -> list[bytes]:
        return await self._run(lambda: self._store.trees())

    async def is_result(self, sha256: str) -> bool:
        return await self._run(lambda: self._store.is_result(sha256))

    async def learned(self, codecs: str) -> list[Lesson]:
        return await self._run(lambda: self._store.learned(codecs))

    async def totals(self) -> dict[str, int]:
        return await self._run(self._store.totals)

    async def baseline_since(self, root: bytes) -> int:
        return await self._run(lambda: self._store.baseline_since(root))

    async def has_baseline(self, root: bytes) -> bool:
        return await self._run(lambda: self._store.has_baseline(root))

    async def kept(self, ask: Callable[[KeptRows], T]) -> T:
        """What the question to the rows of kept originals is answered with."""
        return await self._run(lambda: ask(self._store.kept))

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        except StoreDamaged as error:
            raise await self._damaged(error) from error

    async def _damaged(self, error: StoreDamaged) -> StoreDamaged:
        if not self.damage.done():
            self.damage.set_result(error)
            await asyncio.get_running_loop().run_in_executor(self._executor, self._store.mark_damaged)
        return error
