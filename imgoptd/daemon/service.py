"""The running daemon: everything wired together, signals, reload, and the way out."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from imgoptd.adapters import notify
from imgoptd.adapters.control import Control
from imgoptd.adapters.journald import Log
from imgoptd.adapters.look import ignore_lease_signals
from imgoptd.adapters.pool import Pool
from imgoptd.adapters.sensors import Sensors
from imgoptd.adapters.store import StoreError
from imgoptd.adapters.store_learned import codec_versions
from imgoptd.adapters.store_thread import StoreThread
from imgoptd.adapters.watcher import Watcher
from imgoptd.config.diff import diff
from imgoptd.config.load import ConfigError, load
from imgoptd.config.schema import Config
from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.text import show_path
from imgoptd.daemon.backend import Backend
from imgoptd.daemon.damage import look_for_damage, raise_damage
from imgoptd.daemon.folders import Folders
from imgoptd.daemon.garbage import Garbage
from imgoptd.daemon.leftovers import take_up
from imgoptd.daemon.loop import Loop
from imgoptd.daemon.outputs import Outputs
from imgoptd.daemon.overflowing import Overflowing
from imgoptd.daemon.patience import ask_for_time
from imgoptd.daemon.policy import configured
from imgoptd.daemon.signs import Signs
from imgoptd.daemon.stopping import Stopping
from imgoptd.daemon.supervisor import Supervisor
from imgoptd.daemon.undo import Undo
from imgoptd.daemon.unfinished import Unfinished
from imgoptd.daemon.vigil import Vigil
from imgoptd.daemon.words import exit_status_once, goodbye, greeting

CANDIDATES_MOST, LOOKS_MOST, EVENTS_MOST = 20_000, 256, 64
"""A scan waits while more files than this are to be done, more looks (which keep those at drops waiting), or events."""
EDGE_THREADS = 4
NOBODY_UID = 65534
"""Debian's `nobody`; workers need no rights of their own, since they are handed open descriptors."""
ONCE_GIVES_UP_S = 30.0
"""How long `--once` waits for a store that cannot be written."""


class Service:
    """One run of the daemon. `run` returns the exit status."""

    def __init__(self, config: Config, log: Log, *, once: bool, engine: Engine | None = None) -> None:
        """`once`: treat what stands in the folders, then end; nothing is watched and no socket is served.

        `engine`: one that is measured, in place of a new one.
        """
        self._config = config
        self._log = log
        self._once = once
        self._engine = engine or Engine()
        self._sensors = Sensors()
        self._generation = 1
        self._garbage = Garbage()
        self._begun = False
        """All folders were armed, and what the last run left was taken in."""
        self._reloading = asyncio.Lock()
        self._signs = Signs(lambda: self._backend.report.summary())
        self._edge = ThreadPoolExecutor(EDGE_THREADS, thread_name_prefix="edge")
        self._watcher: Watcher | None = None
        self._stopping: Stopping | None = None
        self._company: set[asyncio.Task[None]] = set()
        """What is done beside the turns."""
        self._at_last = ExitStack()
        """What must wait until no thread is at work any more: descriptors are closed then."""

    @property
    def config(self) -> Config:
        """The one in force."""
        return self._config

    @property
    def stopping(self) -> bool:
        """It was told to end, or has nothing left to do."""
        return self._stopping is not None and self._stopping.asked > 0

    async def run(self) -> int:
        """Raises StoreError, ControlSocketError before anything was started, and StoreDamaged at any time.

        After StoreDamaged, which may be one of a group, all has ended in order, and another run rebuilds the store.
        """
        ignore_lease_signals()
        extending = asyncio.get_running_loop().create_task(ask_for_time())
        try:
            store = await StoreThread.open(self._config.daemon.state_dir)
        finally:
            extending.cancel()
        try:
            return await self._run(store)
        finally:
            await store.close()
            self._edge.shutdown(cancel_futures=True)
            self._at_last.close()

    async def _run(self, store: StoreThread) -> int:
        loop = asyncio.get_running_loop()
        if store.opened_fresh_because:
            state_dir = show_path(os.fsencode(self._config.daemon.state_dir))
            self._log.say("store-damaged", store.opened_fresh_because, 2, STATE_DIR=state_dir)
        give_up_s = ONCE_GIVES_UP_S if self._once else None
        turns = Loop(self._engine, store, self._perform, self._after_turn, self._store_failed, give_up_s)
        self._turns = turns
        stopping = Stopping(turns, self._engine, self._log, lambda: self._config.daemon.stop_timeout_s)
        self._stopping = stopping
        self._store = store
        self._pool = Pool(
            turns.post,
            nice=self._config.workers.nice,
            drop_uid=NOBODY_UID if os.geteuid() == 0 else None,
            oom_kills=self._sensors.oom_kills,
            warn=lambda text: self._log.say("warning", text, 4),
        )
        if not self._once:
            self._watcher = Watcher(self._wake_from(loop))
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._wire(tasks, store)
            self._accompany(raise_damage(store))
            control = Control(
                os.fsencode(self._config.daemon.control),
                self._backend,
                lambda trace: self._log.say("error", trace.strip().splitlines()[-1], 3),
            )
            try:
                if not self._once:
                    await control.start()
                self._pool.open()
                self._take_signals(stopping)
                # Turns are made meanwhile: a large or slow folder must not keep us from hearing that we are to stop.
                self._accompany(self._live(store))
                await turns.run(lambda: self._finished(stopping), self._signs.every_s)
            finally:
                await self._end(control)
        self._log.say("stop", goodbye(self._engine), 5)
        if not self._once:
            return 0
        return exit_status_once(self._engine, begun=self._begun, troubled=bool(self._folders.troubles()))

    def _accompany(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it beside the turns, no longer than they are made."""
        task = self._tasks.create_task(work)
        self._company.add(task)
        task.add_done_callback(self._company.discard)
        return task

    def _wake_from(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """What the watcher's threads call when they have heard something."""

        def wake() -> None:
            loop.call_soon_threadsafe(self._folders.hear)

        return wake

    def _wire(self, tasks: asyncio.TaskGroup, store: StoreThread) -> None:
        post, state_dir = self._turns.post, os.fsencode(self._config.daemon.state_dir)
        outputs = Outputs(self._edge, store, self._log)
        self._unfinished = Unfinished(post, self._edge, store, self._log, state_dir, outputs)
        self._folders = Folders(
            post,
            tasks,
            self._edge,
            store=store,
            log=self._log,
            watcher=self._watcher,
            has_room=self._has_room,
            hears_more=lambda: len(self._engine.intake.settler.candidates) + self._turns.waiting < CANDIDATES_MOST,
            patient=not self._once,
            unfinished=self._unfinished,
            outputs=outputs,
        )
        self._undo = Undo(
            post, self._edge, engine=self._engine, store=store, folders=self._folders, unfinished=self._unfinished,
            log=self._log, state_dir=state_dir, keep_s=self._config.undo.keep_s,
        )  # fmt: skip
        self._vigil = Vigil(post, self._sensors, self._pool)
        self._supervisor = Supervisor(
            post, tasks, self._edge, store=store, pool=self._pool, folders=self._folders, log=self._log,
            sense=self._vigil.sense, spool_dir=state_dir, unfinished=self._unfinished, undo=self._undo,
        )  # fmt: skip
        self._at_last.callback(self._supervisor.close)
        self._at_last.callback(self._sensors.close)
        self._overflowing = Overflowing(
            self._engine.jobs.overflow, store, self._log,
            post=post, has_room=self._has_room, accompany=self._accompany,
        )  # fmt: skip
        self._backend = Backend(
            self._engine,
            store,
            self._folders,
            self._undo,
            post=post,
            reload=self.reload,
            store_trouble=lambda: self._turns.store_trouble,
            cpus=lambda: self._sensors.limits().cpus,
        )
        self._backend.report.senses = lambda: self._vigil.senses

    def _has_room(self) -> bool:
        calm = self._supervisor.looking < LOOKS_MOST and self._turns.waiting < EVENTS_MOST
        return calm and self._engine.unfinished() < CANDIDATES_MOST

    async def _live(self, store: StoreThread) -> None:
        async with self._reloading:
            extending = asyncio.get_running_loop().create_task(ask_for_time())
            try:
                await self._begin(store)
            finally:
                extending.cancel()
        self._accompany(self._folders.watch_over())
        self._accompany(self._undo.sweep_forever())
        self._accompany(look_for_damage(store, self._log))
        await self._take_up()
        self._engine.jobs.overflow.left_over = 0
        self._begun = True
        self._turns.post(e.Tick())

    async def _take_up(self, roots: Collection[bytes] | None = None) -> None:
        await take_up(self._store, self._log, self._turns.post, self._has_room, roots)

    # ---- the way in -------------------------------------------------------------------------------------------------

    async def _begin(self, store: StoreThread) -> None:
        """Restore what the last run left, watch the folders, and say that we are ready."""
        post = self._turns.post
        self._vigil.sense()
        post(self._configured())
        codecs = codec_versions()
        post(e.Learned(codecs, tuple(await store.learned(codecs))))
        await self._undo.count()
        interrupted = await self._unfinished.load()
        await self._folders.apply(self._config.watches)
        self._backend.report.totals = await store.totals()
        if interrupted + (unfinished := await store.count_unfinished()):
            text = f"the last run left {unfinished} files to do and {interrupted} replaces to put right"
            self._log.say("recovery", text, 5, JOBS=unfinished, INTENTS=interrupted)
        self._engine.jobs.overflow.left_over = unfinished
        self._log.say("start", greeting(self._config.watches, once=self._once), 5)
        notify.ready(self._backend.report.summary())

    def _configured(self) -> e.Configured:
        return configured(self._config, self._generation, once=self._once)

    # ---- turns ------------------------------------------------------------------------------------------------------

    def _perform(self, actions: Sequence[c.Action]) -> None:
        self._supervisor.perform(actions)

    def _after_turn(self) -> None:
        """A full healthy turn lies behind us: sign of life, and those who wait for a file."""
        self._signs.turned()
        self._backend.files.turned()
        self._overflowing.turned()
        self._folders.turned()
        self._garbage.turned(self._engine.unfinished())

    def _store_failed(self, error: StoreError, delay_s: float) -> None:
        text = f"{error}; nothing is done until it can be written, next try in {delay_s:.0f} s"
        self._log.say("error", text, 2)
        notify.status(text)
        notify.watchdog()  # alive and waiting for a reason: a restart would make no room. A hanging commit sends none

    def _finished(self, stopping: Stopping) -> bool:
        if self._engine.drained():
            return True
        if self._once and self._begun and not stopping.asked and self._engine.at_rest():
            stopping.at_rest()
        return False

    # ---- signals ----------------------------------------------------------------------------------------------------

    def _take_signals(self, stopping: Stopping) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.asked_for)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _hang_up(self) -> None:
        self._reload_task = asyncio.get_running_loop().create_task(self._reload_by_signal())

    async def _reload_by_signal(self) -> None:
        try:
            await self.reload()
        except Exception as error:  # a fault of ours: the daemon goes on, and the operator must hear of it
            text = f"reload failed half way ({type(error).__name__}: {error}); please report it, and restart the daemon"
            self._log.say("error", text, 2)

    async def reload(self) -> dict[str, Any]:
        """Load the file again and swap the configuration, or keep the old one and say why."""
        async with self._reloading:
            notify.reloading()
            try:
                return await self._reload()
            finally:
                notify.ready(self._backend.report.summary())

    async def _reload(self) -> dict[str, Any]:
        source = self._config.source
        try:
            new = await asyncio.get_running_loop().run_in_executor(self._edge, load, source)
        except ConfigError as error:
            text = f"reload refused, the configuration in force stays: {error}"
            self._log.say("reload-failed", text, 3, GENERATION=self._generation)
            return {"ok": False, "changes": [], "error": str(error), "generation": self._generation}
        changes = [str(change) for change in diff(self._config, new)]
        added = {watch.path for watch in new.watches} - {watch.path for watch in self._config.watches}
        self._config = new
        self._generation += 1
        self._pool.nice = new.workers.nice
        self._undo.keep_for(new.undo.keep_s)
        self._turns.post(self._configured())
        await self._folders.apply(new.watches)
        if added:
            self._accompany(self._take_up(added))
        text = f"configuration reloaded (generation {self._generation}): {'; '.join(changes) or 'nothing changed'}"
        self._log.say("reload", text, 5, GENERATION=self._generation)
        return {"ok": True, "changes": changes, "error": "", "generation": self._generation}

    # ---- the way out ------------------------------------------------------------------------------------------------

    async def _end(self, control: Control) -> None:
        if self._store.damage.done():
            notify.reloading()  # another run follows
        else:
            notify.stopping()
        for task in list(self._company):
            task.cancel()
        self._vigil.close()
        await control.stop()
        if self._watcher is not None:
            await asyncio.get_running_loop().run_in_executor(self._edge, self._watcher.stop)
        self._folders.close()
        self._supervisor.give_up()
        await self._pool.close()
