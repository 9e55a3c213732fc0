"""One turn: drain the inbox, ask the engine, make durable what must be, then act. The daemon does nothing else."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import get_args

from imgoptd.adapters.store import StoreDamaged, StoreError
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.events import Event

TURN_EVENTS = 2000
"""Events taken in one turn: more would keep actions waiting."""
TURN_S, TURN_EVENTS_LEAST = 0.003, 32
"""No further ones once the turn has taken so long, if it took that many: others need the loop, too."""
STORE_RETRY_S = 1.0
STORE_RETRY_MOST_S = 8.0
"""Well below the WatchdogSec of the unit (30 s)."""

_RECORDS = get_args(c.Record)
_URGENT = (
    *(e.WorkerStarted, e.WorkerExited, e.TaskStarted, e.Recognised, e.TaskRefused, e.Probed, e.Finished),
    *(e.Prepared, e.Exchanged, e.Standing, e.ReplaceFailed, e.Sensed, e.Alerted, e.DrainRequested),
    *(e.PauseAsked, e.ResumeAsked, e.ScaleAsked, e.ScaleReturned),
)
"""What work under way and operators wait for; it goes before hints and looks, of which there may be thousands.

A hint or a look may come at any time, so that it may as well come later. Each kind of these keeps its order.
"""


class Loop:
    """Owns the engine. `post` may be called from the event loop's thread only."""

    def __init__(
        self,
        engine: Engine,
        store: StoreThread,
        perform: Callable[[Sequence[c.Action]], None],
        after_turn: Callable[[], None],
        store_failed: Callable[[StoreError, float], None],
        give_up_s: float | None = None,
    ) -> None:
        """`store_failed` is told why a commit failed and when it is tried again (seconds).

        With `give_up_s` a commit that fails for longer is not waited for: `turn` raises its StoreError.
        """
        self.engine = engine
        self._store = store
        self._perform = perform
        self._after_turn = after_turn
        self._store_failed = store_failed
        self._give_up_s = give_up_s
        self._urgent: deque[Event] = deque()
        self._inbox: deque[Event] = deque()
        self._wake = asyncio.Event()
        self.stopped = False
        self.store_trouble = ""
        """Why the store cannot be written just now."""

    def post(self, event: Event) -> None:
        (self._urgent if isinstance(event, _URGENT) else self._inbox).append(event)
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Events that no turn has taken yet."""
        return len(self._urgent) + len(self._inbox)

    def stop(self) -> None:
        """Leave after the turn under way, whatever is still to do."""
        self.stopped = True
        self._wake.set()

    async def run(self, finished: Callable[[], bool], at_least_every_s: float | None) -> None:
        """Turn after turn until `finished()` or `stop`. A turn is made at least that often even if nothing happens."""
        while not self.stopped:
            await self.turn()
            if finished():
                return
            await self._wait(at_least_every_s)

    async def turn(self) -> None:
        now_s = time.monotonic()
        commands: list[c.Command] = []
        for number in range(min(self.waiting, TURN_EVENTS)):
            if number >= TURN_EVENTS_LEAST and time.monotonic() - now_s > TURN_S:
                break
            commands.extend(self.engine.handle((self._urgent or self._inbox).popleft(), now_s))
        commands.extend(self.engine.end_turn(now_s))
        records: list[c.Record] = []
        actions: list[c.Action] = []
        for command in commands:
            if isinstance(command, _RECORDS):
                records.append(command)
            else:
                actions.append(command)  # type: ignore[arg-type]  # a Command that is no Record is an Action
        if records and not await self._commit(records):
            return
        self._perform(actions)
        self._after_turn()

    async def _commit(self, records: Sequence[c.Record]) -> bool:
        """Nothing is done before it is durable: with the store's disk full, the daemon waits. False: told to stop."""
        delay_s = STORE_RETRY_S
        began_s = time.monotonic()
        while True:
            try:
                await self._store.commit(records)
                self.store_trouble = ""
                return True
            except StoreDamaged:
                raise  # to wait mends nothing: it is to be rebuilt
            except StoreError as error:
                if self._give_up_s is not None and time.monotonic() - began_s >= self._give_up_s:
                    raise
                self.store_trouble = str(error)
                self._store_failed(error, delay_s)
            for _ in range(int(delay_s * 10)):
                if self.stopped:
                    return False
                await asyncio.sleep(0.1)
            delay_s = min(STORE_RETRY_MOST_S, delay_s * 2)

    async def _wait(self, at_least_every_s: float | None) -> None:
        if self.waiting or self.stopped:
            # Let sockets and threads have their say between two turns.
            await asyncio.sleep(0)
            return
        self._wake.clear()
        times = [at_least_every_s] if at_least_every_s is not None else []
        deadline_s = self.engine.next_deadline_s()
        if deadline_s is not None:
            times.append(max(0.0, deadline_s - time.monotonic()))
        try:
            async with asyncio.timeout(min(times, default=None)):
                await self._wake.wait()
        except TimeoutError:
            pass  # a deadline: the next turn sees to it
