"""A store that is damaged while it is in use: it is looked for, and whoever meets it, the run ends."""

from __future__ import annotations

import asyncio

from imgoptd.adapters.journald import Log
from imgoptd.adapters.store import StoreDamaged, StoreError
from imgoptd.adapters.store_thread import StoreThread


async def look_for_damage(store: StoreThread, log: Log) -> None:
    """Read what opening a large store left unread."""
    try:
        await store.check()
    except StoreDamaged:
        pass  # `raise_damage` has it already
    except StoreError as error:
        log.say("warning", str(error), 4)


async def raise_damage(store: StoreThread) -> None:
    """Wait for damage, as long as it takes, and raise it."""
    raise await asyncio.shield(store.damage)
