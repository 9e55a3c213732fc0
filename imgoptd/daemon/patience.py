"""Waiting: what the store cannot do now is tried again, not given up, and the service manager hears of a long start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from imgoptd.adapters import notify
from imgoptd.adapters.journald import Log
from imgoptd.adapters.store import StoreDamaged, StoreError

RETRY_S = 1.0
RETRY_MOST_S = 8.0
START_STEP_S = 10.0

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], log: Log) -> T:
    """The answer of a call to the store, however long it takes until the store can give it. End it by cancelling.

    Raises StoreDamaged.
    """
    delay_s = RETRY_S
    while True:
        try:
            return await call()
        except StoreDamaged:
            raise  # to wait mends nothing: it is to be rebuilt
        except StoreError as error:
            log.say("error", f"the store cannot be used: {error}; next try in {delay_s:.0f} s", 2)
        await asyncio.sleep(delay_s)
        delay_s = min(RETRY_MOST_S, delay_s * 2)


async def ask_for_time() -> None:
    """While a large store is read, or a large or slow tree is armed, systemd is told that the start goes on."""
    while True:
        notify.extend_timeout(START_STEP_S * 3)
        notify.watchdog()
        await asyncio.sleep(START_STEP_S)
