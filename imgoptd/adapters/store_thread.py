"""The store for asyncio: one thread owns the Store, and calls are done in the order they were made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from imgoptd.adapters.store import Known, Store
from imgoptd.adapters.store_kept import KeptRows
from imgoptd.core.commands import Record
from imgoptd.core.model import FileRecord, FileRef, Intent, Receipt

T = TypeVar("T")


class StoreThread:
    """Methods as in Store. A caller that is cancelled stops waiting; what it asked for is done all the same."""

    def __init__(self, store: Store, executor: ThreadPoolExecutor) -> None:
        self._store = store
        self._executor = executor
        self.opened_fresh_because = store.opened_fresh_because

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
        await self._run(self._store.close)
        self._executor.shutdown()

    async def commit(self, records: Sequence[Record]) -> None:
        if records:
            await self._run(lambda: self._store.commit(records))

    async def file(self, ref: FileRef) -> FileRecord | None:
        return await self._run(lambda: self._store.file(ref))

    async def files(self, refs: Sequence[FileRef]) -> list[FileRecord | None]:
        """The rows of many files in one go."""
        return await self._run(lambda: [self._store.file(ref) for ref in refs])

    async def unfinished(self) -> list[FileRecord]:
        return await self._run(lambda: list(self._store.unfinished()))

    async def quarantined(self, after: int) -> list[tuple[int, FileRef]]:
        return await self._run(lambda: self._store.quarantined(after))

    async def known(self, root: bytes, after: bytes, limit: int) -> list[Known]:
        return await self._run(lambda: self._store.known(root, after, limit))

    async def forget(self, refs: Sequence[FileRef]) -> int:
        return await self._run(lambda: self._store.forget(refs))

    async def intents(self) -> list[Intent]:
        return await self._run(self._store.intents)

    async def history(self, ref: FileRef) -> list[tuple[float, str, str]]:
        return await self._run(lambda: self._store.history(ref))

    async def receipts(self, ref: FileRef) -> list[Receipt]:
        return await self._run(lambda: self._store.receipts(ref))

    async def is_result(self, sha256: str) -> bool:
        return await self._run(lambda: self._store.is_result(sha256))

    async def totals(self) -> dict[str, int]:
        return await self._run(self._store.totals)

    async def has_baseline(self, root: bytes) -> bool:
        return await self._run(lambda: self._store.has_baseline(root))

    async def kept(self, ask: Callable[[KeptRows], T]) -> T:
        """What the question to the rows of kept originals is answered with."""
        return await self._run(lambda: ask(self._store.kept))

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)
