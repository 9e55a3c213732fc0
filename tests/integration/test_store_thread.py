"""The store as asyncio sees it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from imgoptd.adapters.store import Store, StoreError
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core.commands import (
    AppendStep,
    BaselineTaken,
    SaveFile,
    SaveIntent,
    SaveReceipt,
)
from imgoptd.core.model import (
    JobState,
)
from tests.integration.stored import IDENTITY, INTENT, ODD, OTHER_SHA, RECEIPT, REF, record


def test_the_store_serves_asyncio_from_a_thread_of_its_own(state_dir: Path) -> None:
    async def use() -> None:
        store = await StoreThread.open(state_dir)
        try:
            assert store.opened_fresh_because == ""
            await store.commit([])
            await asyncio.gather(
                store.commit([SaveFile(record()), AppendStep(REF, "queued", "found"), SaveIntent(INTENT)]),
                store.commit([SaveReceipt(RECEIPT), BaselineTaken(b"/srv/a")]),
            )
            assert await store.file(REF) == record()
            assert await store.files([REF, ODD]) == [record(), None]
            assert await store.count_unfinished() == 1
            assert await store.unfinished_after(0, 10) == [(1, record())]
            assert await store.unfinished_after(1, 10) == []
            [known] = await store.known(REF.root, b"", 10)
            assert (known.path, known.identity, known.state, known.reason) == (REF.path, IDENTITY, JobState.QUEUED, "")
            assert await store.forget([REF]) == 0
            await store.check()
            assert await store.intents() == [INTENT]
            assert len(await store.history(REF)) == 1
            assert await store.receipts(REF) == [RECEIPT]
            assert await store.is_result(OTHER_SHA)
            assert (await store.totals())["saved"] == 200
            assert await store.has_baseline(b"/srv/a")
        finally:
            await store.close()
        with pytest.raises(RuntimeError):
            await store.totals()

    asyncio.run(use())
    Store.open(state_dir).close()  # the lock is free again


def test_an_error_of_the_store_reaches_the_asyncio_caller(store: Store, state_dir: Path) -> None:
    with pytest.raises(StoreError, match="another imgoptd uses"):
        asyncio.run(StoreThread.open(state_dir))
