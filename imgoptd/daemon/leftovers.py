"""What the last run left to do, handed to the engine page by page, no faster than it takes it in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from imgoptd.adapters.journald import Log
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import events as e
from imgoptd.daemon.patience import patiently

PAGE_FILES = 256
"""Few enough that looking at them does not keep the first jobs waiting."""
PAUSE_S = 0.02


async def take_up(
    store: StoreThread,
    log: Log,
    post: Callable[[e.Event], None],
    has_room: Callable[[], bool],
    roots: Collection[bytes] | None = None,
    classes: Collection[bool] = (True, False),
) -> None:
    """Post every unfinished file, or those of some folders, fresh drops first. Raises StoreDamaged; end it by
    cancelling.

    `classes`: only fresh drops, or only others. What the engine has got hold of meanwhile by a scan may be among them:
    it knows what it knows.
    """
    for fresh in classes:
        after = 0
        while page := await patiently(partial(store.unfinished_after, after, PAGE_FILES, fresh=fresh), log):
            after = page[-1][0]
            for _, record in page:
                if roots is None or record.ref.root in roots:
                    post(e.Recovered(record))
            while not has_room():  # noqa: ASYNC110  # room comes by turns of the loop, which signal nothing
                await asyncio.sleep(PAUSE_S)
