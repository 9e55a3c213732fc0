"""Waiting for the store: what cannot be asked or made durable now is tried again, not given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from imgoptd.adapters.journald import Log
from imgoptd.adapters.store import StoreError

RETRY_S = 1.0
RETRY_MOST_S = 8.0

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], log: Log) -> T:
    """The answer of a call to the store, however long it takes until the store can give it. End it by cancelling."""
    delay_s = RETRY_S
    while True:
        try:
            return await call()
        except StoreError as error:
            log.say("error", f"the store cannot be used: {error}; next try in {delay_s:.0f} s", 2)
        await asyncio.sleep(delay_s)
        delay_s = min(RETRY_MOST_S, delay_s * 2)
