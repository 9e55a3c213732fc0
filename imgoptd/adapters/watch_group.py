"""One inotify instance, and the watches of one root in it: watchdog's, mended (see `observers`)."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable

from watchdog.observers.inotify import InotifyWatchGroup
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    Watch,
    WatchCallback,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
)
from watchdog.observers.inotify_move_event_grouper import PathedInotifyEvent


class Inotify(InotifyFD):
    """One inotify instance: closed on exec, silent on a watch set twice, loud on a watch refused."""

    def __init__(self) -> None:
        super().__init__()
        os.set_inheritable(self._inotify_fd, False)
        self.proving: set[bytes] = set()
        """Folders that are roots: there the close of a file without a name is heard, which proves that we hear."""

    def _get_or_create_watch(self, path: bytes, mask: Mask) -> Watch:
        if path not in self.proving:
            # Elsewhere such files (O_TMPFILE, or deleted while open) are of no interest when they are closed.
            mask = Mask(mask | InotifyConstants.IN_EXCL_UNLINK)
        wd = inotify_add_watch(self._inotify_fd, path, mask)
        if wd == -1:  # watchdog would take EACCES for a watch with the number -1
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)
        return self._watch_for_wd.setdefault(wd, Watch(wd, mask, path))

    def _add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        watch = self._get_or_create_watch(path, mask)
        watch.callbacks[id_] = callback
        return watch.wd

    def _remove_callback(self, wd: WatchDescriptor, id_: CallbackId) -> None:
        watch = self._watch_for_wd.get(wd)
        if watch is None:
            return
        watch.callbacks.pop(id_, None)
        if not watch.is_used:
            self._remove_watch(wd)
            inotify_rm_watch(self._inotify_fd, wd)  # EINVAL: the kernel has removed it already


class WatchGroup(InotifyWatchGroup):
    """The watches of one root."""

    unwatched: int
    unwatched_errno: int
    _leaving: dict[int, set[WatchDescriptor]]
    """What is still watched of folders that were moved away, by the cookie of the move, until it is known whereto."""
    _unseen: set[WatchDescriptor]
    """Watches that a walk over the tree has not come to yet."""

    def __post_init__(self) -> None:
        self.unwatched = 0
        self.unwatched_errno = 0
        self._leaving = {}
        self._unseen = set()
        super().__post_init__()

    def on_event(self, event: InotifyEvent) -> None:
        if event.is_moved_from and event.is_directory:
            with self._lock:
                path = self._build_event_source_path(event)
                if self.is_active and path is not None:
                    self._leaving[event.cookie] = set(self._below(path))
        super().on_event(event)

    def settle_move(self, cookie: int, *, out: bool) -> None:
        """It is known where a folder was moved. Out of the tree: nothing in it is ours to hear any more."""
        with self._lock:
            leaving = self._leaving.pop(cookie, set())
            if out and self.is_active:
                self._drop(leaving)

    def on_queue_overflow(self) -> None:
        with self._lock:
            if not self.is_active:
                return
            self._move_event_grouper.discard_pending_events()
            self._leaving.clear()
            # wakes the emitter's thread, which repairs the watches: this one must go on reading the kernel's queue
            marker = InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b"")
            self._move_event_grouper.put_event(PathedInotifyEvent(marker, self.path))

    def renew(self, go_on: Callable[[], bool], start: bytes = b"") -> None:
        """Set a watch on every folder of the tree (below `start`) again, and drop those of what is there no more.

        Those that stand stay, which causes no event.
        """
        with self._lock:
            self._unseen = set() if start else set(self._active_callbacks_by_watch)
            self.unwatched, self.unwatched_errno = (self.unwatched, self.unwatched_errno) if start else (0, 0)
        for folder, names, _ in os.walk(start or self.path):
            for path in (folder, *(os.path.join(folder, name) for name in names)):
                if not go_on():
                    return
                if path != folder and os.path.islink(path):
                    continue
                # locked for one folder at a time: the reading thread waits for this lock at each event
                with self._lock:
                    if not self.is_active:
                        return
                    self._add_callback(path)
            if not self.is_recursive:
                break
        with self._lock:
            if self.is_active:
                self._drop(self._unseen)
                self._unseen = set()

    def _below(self, path: bytes) -> list[WatchDescriptor]:
        inside = path + b"/"
        return [wd for wd, at in self._active_callbacks_by_watch.items() if at == path or at.startswith(inside)]

    def _drop(self, wds: set[WatchDescriptor]) -> None:
        self._remove_callbacks([wd for wd in wds if wd in self._active_callbacks_by_watch])

    def _is_ours(self, wd: WatchDescriptor) -> None:
        """It is known where in the tree this watch is."""
        self._unseen.discard(wd)
        for leaving in self._leaving.values():
            leaving.discard(wd)

    def _move_watches(self, move_src_path: bytes, move_dst_path: bytes) -> bool:
        known = super()._move_watches(move_src_path, move_dst_path)
        if known:
            for wd in self._below(move_dst_path):
                self._is_ours(wd)
        return known

    def _add_callback(self, path: bytes) -> None:
        try:
            wd = self._inotify_fd.add_callback(path, self.event_mask, self, self._id)
        except OSError as error:
            if path == self.path and not self.is_active:
                raise  # arming the root itself
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):  # gone again already
                self.unwatched += 1
                self.unwatched_errno = error.errno or 0
            return
        self._is_ours(wd)
        self._active_callbacks_by_path[path] = wd
        self._active_callbacks_by_watch[wd] = path

    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]
