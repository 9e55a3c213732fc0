"""watchdog's observers, made safe for a daemon that must not go deaf.

What watchdog 7.1 does, seen running, and what stands here instead:

* A kernel queue overflow reaches no handler, and its own rebuild removes and re-adds every watch, which overflows a
  small queue again and again and leaves the folder deaf. Here pending events are dropped, missing watches are added
  (those that stand stay), and the folder is reported for a rescan.
* A folder below the root that cannot be watched (limit reached, no right to read) is passed over in silence. Here it
  is counted and told.
* A watch set twice, which every `mkdir -p` causes, warns with a dump of all watches. Here it is no event at all.
* A folder moved out of the tree stays watched and tells of paths that are not there. Here its watches are dropped.
* A folder moved out, another made and deleted under its old name, and the first deleted: a KeyError ends the thread
  that reads the kernel's queue, and every root is deaf.
* Waiting for a thread has no bound, and a thread may hang in a dead network mount.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
)
from watchdog.observers.api import BaseObserver, EventEmitter, EventQueue, ObservedWatch
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyConstants, Mask
from watchdog.observers.inotify_move_event_grouper import GroupedInotifyEvent, PathedInotifyEvent
from watchdog.observers.polling import PollingEmitter

from imgoptd.adapters.watch_group import Inotify, WatchGroup

JOIN_TIMEOUT_S = 2.0
"""How long to wait for a thread to end; all are daemon threads, one that hangs keeps nothing alive."""
POLL_INTERVAL_S = 1.0
POLL_DUTY = 20
"""Polling rests this many times as long as a pass took, so that a large tree costs at most a twentieth of a core."""

NATIVE_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileClosedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
"""Without opened and closed-no-write, whose flood overflows the kernel's queue by itself, and without deletions, which
tell us nothing that a look would not: the loss of a root is seen by its watcher."""
POLL_EVENTS: list[type[FileSystemEvent]] = [*NATIVE_EVENTS, FileModifiedEvent]

# All it would say is told through our own reports, and some of its messages are kilobytes long.
logging.getLogger("watchdog").setLevel(logging.CRITICAL + 1)

OnDesync = Callable[[bytes, str], None]
"""Called with the (real) path of a root and the reason, in one of watchdog's threads."""


class NativeEmitter(InotifyEmitter):
    """Reads the events of one root from the shared inotify instance."""

    def __init__(self, *args: Any, on_desync: OnDesync, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._on_desync = on_desync

    def on_thread_start(self) -> None:
        mask = Mask(self.get_event_mask_from_filter() | InotifyConstants.IN_ONLYDIR)
        self._inotify = WatchGroup(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=self.watch.is_recursive,
            event_mask=mask,
            follow_symlink=False,
        )

    def build_and_queue_event(self, event: GroupedInotifyEvent, *, full_events: bool = False) -> None:
        if isinstance(event, PathedInotifyEvent) and event.ev.is_queue_overflow:
            self._repair()
            return
        source = event if isinstance(event, PathedInotifyEvent) else event[0]
        if source.ev.is_moved_from and source.ev.is_directory and isinstance(self._inotify, WatchGroup):
            self._inotify.settle_move(source.ev.cookie, out=source is event)
        if event is not source or not source.ev.is_moved_from:
            super().build_and_queue_event(event, full_events=full_events)

    @property
    def unwatched(self) -> tuple[int, int]:
        """How many folders could not be watched, and the errno of the last."""
        group = self._inotify
        return (group.unwatched, group.unwatched_errno) if isinstance(group, WatchGroup) else (0, 0)

    @property
    def watches(self) -> int:
        group = self._inotify
        return len(group._active_callbacks_by_watch) if group is not None else 0

    def renew(self, start: bytes = b"") -> None:
        """Watch what is unwatched below the folder `start` (empty: the whole tree), and nothing that is not there."""
        group = self._inotify
        if isinstance(group, WatchGroup):
            group.renew(self.should_keep_running, start)

    def _repair(self) -> None:
        """First the watches, then the report: what comes between the two is seen by the rescan."""
        group = self._inotify
        if isinstance(group, WatchGroup):
            group.renew(self.should_keep_running)
            self._on_desync(os.fsencode(self.watch.path), "the kernel's event queue overflowed, events were lost")


class SlowingPollingEmitter(PollingEmitter):
    """Polls without following symlinks, and the less often the longer a pass takes."""

    def __init__(self, event_queue: EventQueue, watch: ObservedWatch, **kwargs: Any) -> None:
        super().__init__(event_queue, watch, stat=os.lstat, listdir=os.scandir, **kwargs)
        self._pass_s = 0.0

    def queue_events(self, timeout: float) -> None:
        rest_s = max(timeout, self._pass_s * POLL_DUTY)
        began_s = time.monotonic()
        super().queue_events(rest_s)
        self._pass_s = max(0.0, time.monotonic() - began_s - rest_s)

    @property
    def failing(self) -> bool:
        """The last pass could not read the root; the next one will try again."""
        return self._snapshot_failing


class _Observer(BaseObserver):
    """Waits for its threads within a bound."""

    @property
    def healthy(self) -> bool:
        """All threads that its roots share are alive."""
        return self.is_alive()

    def end(self) -> None:
        """Stop everything; returns within two JOIN_TIMEOUT_S."""
        _end([self])

    def _remove_emitter(self, emitter: EventEmitter) -> None:
        self._emitter_for_watch.pop(emitter.watch, None)
        self._emitters.discard(emitter)
        _end([emitter])

    def _clear_emitters(self) -> None:
        _end(list(self._emitters))
        self._emitters.clear()
        self._emitter_for_watch.clear()


class NativeObserver(_Observer):
    """One inotify instance and one dispatching thread for all native roots. Raises OSError, EMFILE at the limit."""

    def __init__(self, on_desync: OnDesync) -> None:
        self._inotify_fd = Inotify()
        self._inotify_fd.start()
        super().__init__(NativeEmitter, inotify_fd=self._inotify_fd, on_desync=on_desync)

    def prove(self, folder: bytes) -> None:
        """From its arming on, let the close of a file without a name be heard in this folder itself."""
        self._inotify_fd.proving.add(folder)

    @property
    def healthy(self) -> bool:
        return self.is_alive() and self._inotify_fd.is_alive()

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        _end([self._inotify_fd])


class PollObserver(_Observer):
    def __init__(self) -> None:
        super().__init__(SlowingPollingEmitter, timeout=POLL_INTERVAL_S)


def _end(threads: list[Any]) -> None:
    """Stop all, then wait for all, JOIN_TIMEOUT_S together."""
    for thread in threads:
        thread.stop()
    deadline_s = time.monotonic() + JOIN_TIMEOUT_S
    for thread in threads:
        try:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        except RuntimeError:
            pass  # never started, or the calling thread itself
