"""Taking up what waits in the store alone, as memory empties."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from imgoptd.adapters.journald import Log
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import events as e
from imgoptd.core.overflow import Overflow
from imgoptd.daemon.leftovers import take_up


class Overflowing:
    """Begins a walk through the store for each class of jobs when there is room, one at a time."""

    def __init__(
        self,
        overflow: Overflow,
        store: StoreThread,
        log: Log,
        *,
        post: Callable[[e.Event], None],
        has_room: Callable[[], bool],
        accompany: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        """`accompany`: have it done beside the turns."""
        self._overflow = overflow
        self._store = store
        self._log = log
        self._post = post
        self._has_room = has_room
        self._accompany = accompany
        self._begun = {False: 0, True: 0}

    def turned(self) -> None:
        """A turn is over: is there anything to take up, and room for it?"""
        if not self._overflow.jobs or not self._has_room():
            return
        for fresh in (True, False):
            over = self._overflow.times_taken_up(fresh=fresh) == self._begun[fresh]
            if self._overflow.waiting(fresh=fresh) and over:
                self._begun[fresh] += 1
                self._accompany(self._walk(fresh))

    async def _walk(self, fresh: bool) -> None:
        # Those that come meanwhile may lie behind the place the walk has reached: they are left to the next one.
        jobs = self._overflow.waiting(fresh=fresh)
        await take_up(self._store, self._log, self._post, self._has_room, classes=(fresh,))
        self._post(e.TakenUp(fresh, jobs))
