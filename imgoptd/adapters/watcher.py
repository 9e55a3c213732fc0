"""Watching folders: hints of what may have changed, and an honest word when hints may be missing.

A hint is never proof and its absence proves nothing: the daemon looks again before any work, and rescans whatever a
Desync names. Methods may block (a large tree is walked, a dead network mount does not answer): call them in a thread,
never in the event loop. `drain` alone never blocks.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from watchdog.events import FileSystemEvent, FileSystemEventHandler, FileSystemMovedEvent
from watchdog.observers.api import EventEmitter, ObservedWatch

from imgoptd.adapters.filesystems import filesystem_of
from imgoptd.adapters.hints import Batch, HintBox
from imgoptd.adapters.inotify_limits import Exhausted
from imgoptd.adapters.mounts import mounts_below
from imgoptd.adapters.observers import (
    NATIVE_EVENTS,
    POLL_EVENTS,
    NativeEmitter,
    NativeObserver,
    PollObserver,
    SlowingPollingEmitter,
)
from imgoptd.core.model import HintKind
from imgoptd.core.text import show_path

_KINDS = {"created": HintKind.CREATED, "closed": HintKind.CLOSED, "moved": HintKind.MOVED}


class WatchError(Exception):
    """A folder cannot be watched. `sentence` says why, `mend` what to do; str() is both."""

    def __init__(self, sentence: str, mend: str) -> None:
        super().__init__(f"{sentence}; {mend}")
        self.sentence = sentence
        self.mend = mend


class Trouble(StrEnum):
    MISSING = "missing"
    """The folder is not there or cannot be reached."""
    REPLACED = "replaced"
    """Another folder or filesystem stands at the path."""
    MOUNTS = "mounts"
    """A filesystem was mounted or unmounted below the root."""
    PARTIAL = "partial"
    """No watch was left for some new folder."""
    DEAD = "dead"
    """A watching thread ended."""
    NOT_ARMED = "not-armed"
    """Arming failed."""


@dataclass(frozen=True, slots=True)
class RootTrouble:
    """Changes below the root may go unheard until `rearm` succeeds."""

    root: bytes
    kind: Trouble
    sentence: str


@dataclass(frozen=True, slots=True)
class Backend:
    name: str
    """native | poll"""
    why: str


@dataclass(slots=True)
class _Root:
    root: bytes
    recursive: bool
    wanted: str
    real: bytes = b""
    identity: tuple[int, int] = (0, 0)
    mounts: frozenset[bytes] = frozenset()
    backend: Backend = field(default_factory=lambda: Backend("native", ""))
    insists: bool = False
    """Rather not watched at all than polled."""
    observer: NativeObserver | PollObserver | None = None
    watch: ObservedWatch | None = None
    emitter: EventEmitter | None = None
    failure: str = ""


class Watcher:
    """Watches any number of roots. `on_wake` is called in some thread when there is something to drain."""

    def __init__(self, on_wake: Callable[[], None], limit: int = 100_000) -> None:
        self._box = HintBox(on_wake, limit)
        self._lock = threading.RLock()
        self._roots: dict[bytes, _Root] = {}
        self._native: NativeObserver | None = None
        self._poll: PollObserver | None = None

    def drain(self) -> Batch:
        """All hints and desyncs since the last call."""
        return self._box.drain()

    def arm(self, root: bytes, recursive: bool = True, backend: str = "auto") -> None:
        """Watch a folder (an absolute path; it may be a symlink to a folder). Armed already: armed anew.

        `backend` is auto, native or poll; auto polls where inotify does not hear all changes or is exhausted, see
        `backend_of`. Raises WatchError; the root is then known still, `check` reports it and `rearm` tries again.
        """
        self._arm(_Root(root, recursive, backend, insists=backend == "native"))

    def rearm(self, root: bytes) -> None:
        """Watch the root anew after trouble; a Desync of the whole root follows. Raises WatchError, KeyError.

        Where inotify is exhausted by now the root is polled, even if native was asked for: better slow than deaf.
        """
        with self._lock:
            entry = self._roots[root]
            self._arm(_Root(root, entry.recursive, entry.wanted))
            self._box.desync(root, b"", "the folder was out of sight and is watched again")

    def disarm(self, root: bytes) -> None:
        """Stop watching, and drop what was heard. An unknown root is no error."""
        with self._lock:
            self._release(root)
            self._roots.pop(root, None)
            self._box.forget(root)

    def backend_of(self, root: bytes) -> Backend:
        """How the root is watched, and why so. Raises KeyError for an unknown root."""
        return self._roots[root].backend

    def check(self) -> list[RootTrouble]:
        """Which roots may have gone deaf: a few stat calls, meant for every few seconds."""
        if not self._lock.acquire(blocking=False):
            return []  # a root is just being armed, which takes long in a large tree
        try:
            troubles = [_trouble(entry) for entry in self._roots.values()]
        finally:
            self._lock.release()
        return [trouble for trouble in troubles if trouble is not None]

    def stop(self) -> None:
        """End all threads. Returns within a few seconds even if one hangs in a dead mount."""
        with self._lock:
            observers = (self._native, self._poll)
            self._native = self._poll = None
            self._roots.clear()
        for observer in observers:
            if observer is not None:
                observer.end()

    # ---- arming -----------------------------------------------------------------------------------------------------

    def _arm(self, entry: _Root) -> None:
        with self._lock:
            self._release(entry.root)
            self._roots[entry.root] = entry
            try:
                self._start(entry)
            except WatchError as error:
                entry.failure = error.sentence
                raise

    def _start(self, entry: _Root) -> None:
        self._locate(entry)
        entry.mounts = mounts_below(entry.real) if entry.recursive else frozenset()
        entry.backend = _choose(entry)
        if entry.backend.name == "native":
            try:
                self._schedule_native(entry)
                return
            except Exhausted as exhausted:
                if entry.insists:
                    raise WatchError(exhausted.sentence, exhausted.mend) from exhausted
                entry.backend = Backend("poll", f"{exhausted.sentence}; {exhausted.mend}")
        self._schedule_poll(entry)

    def _locate(self, entry: _Root) -> None:
        # inotify would watch a symlink itself, so the folder it leads to is what we watch
        entry.real = os.path.realpath(entry.root)
        shown = show_path(entry.root)
        try:
            status = os.stat(entry.root)
        except OSError as error:
            mend = "create it or mount it" if error.errno == errno.ENOENT else "make it reachable for this user"
            raise WatchError(
                f"watched folder {shown}: {error.strerror}", f"{mend}, or remove it from [[watch]]"
            ) from error
        if not stat.S_ISDIR(status.st_mode):
            raise WatchError(f"watched folder {shown} is not a folder", "name the folder that holds the files")
        if not os.access(entry.root, os.R_OK | os.X_OK, effective_ids=True):
            raise WatchError(
                f"watched folder {shown} cannot be listed by this user",
                "give the user r and x on it (chmod or setfacl)",
            )
        for other in self._roots.values():
            if other is not entry and other.watch is not None and other.real == entry.real:
                raise WatchError(
                    f"watched folder {shown} is the same as {show_path(other.root)}", "remove one of the two"
                )
        entry.identity = (status.st_dev, status.st_ino)

    def _schedule_native(self, entry: _Root) -> None:
        """Raises Exhausted, WatchError."""
        try:
            if self._native is None or not self._native.healthy:
                if self._native is not None:
                    self._native.end()
                self._native = NativeObserver(self._on_desync)
                self._native.start()
            self._schedule(entry, self._native)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EMFILE):
                raise Exhausted(entry.root, error.errno) from error
            raise _unreachable(entry.root, error) from error
        if isinstance(entry.emitter, NativeEmitter) and entry.emitter.unwatched[1] == errno.ENOSPC:
            self._unschedule(entry)
            raise Exhausted(entry.root, errno.ENOSPC)

    def _schedule_poll(self, entry: _Root) -> None:
        try:
            if self._poll is None or not self._poll.healthy:
                self._poll = PollObserver()
                self._poll.start()
            self._schedule(entry, self._poll)
        except OSError as error:
            raise _unreachable(entry.root, error) from error

    def _schedule(self, entry: _Root, observer: NativeObserver | PollObserver) -> None:
        polled = isinstance(observer, PollObserver)
        entry.watch = observer.schedule(
            _Handler(self._box, entry, polled),
            entry.real,  # type: ignore[arg-type]  # annotated str, but bytes go in and come out
            recursive=entry.recursive,
            event_filter=POLL_EVENTS if polled else NATIVE_EVENTS,
        )
        entry.observer = observer
        entry.emitter = next(emitter for emitter in observer.emitters if emitter.watch == entry.watch)

    def _release(self, root: bytes) -> None:
        entry = self._roots.get(root)
        if entry is not None:
            self._unschedule(entry)

    def _unschedule(self, entry: _Root) -> None:
        if entry.observer is not None and entry.watch is not None and entry.emitter in entry.observer.emitters:
            entry.observer.unschedule(entry.watch)
        entry.observer = entry.watch = entry.emitter = None

    def _on_desync(self, real: bytes, why: str) -> None:
        """In an emitter's thread, while no lock of ours is held."""
        for entry in list(self._roots.values()):
            if entry.real == real:
                self._box.desync(entry.root, b"", why)


class _Handler(FileSystemEventHandler):
    """Runs in watchdog's dispatching thread: leaves a hint, nothing more."""

    def __init__(self, box: HintBox, entry: _Root, polled: bool) -> None:
        self._box = box
        self._root = entry.root
        self._prefix = entry.real.rstrip(b"/") + b"/"
        self._recursive = entry.recursive
        self._polled = polled

    def dispatch(self, event: FileSystemEvent) -> None:
        path = os.fsencode(event.dest_path if isinstance(event, FileSystemMovedEvent) else event.src_path)
        if not path.startswith(self._prefix) or path == self._prefix:
            return
        path = path[len(self._prefix) :]
        if event.is_directory:
            if self._recursive:
                self._box.desync(self._root, path, "a folder appeared")
        elif not event.is_synthetic:  # those that are lie in a folder that appeared, which is rescanned
            # polling sees that a file changed, never that its writer is done
            kind = HintKind.CREATED if self._polled else _KINDS.get(event.event_type, HintKind.CREATED)
            self._box.hint(self._root, path, kind)


def _unreachable(root: bytes, error: OSError) -> WatchError:
    return WatchError(
        f"watched folder {show_path(root)} cannot be watched: {error.strerror}", "make it readable for this user"
    )


def _choose(entry: _Root) -> Backend:
    if entry.wanted in ("native", "poll"):
        return Backend(entry.wanted, "as configured")
    try:
        filesystem = filesystem_of(entry.real)
    except OSError as error:
        raise _unreachable(entry.root, error) from error
    if filesystem.remote:
        return Backend("poll", f"on {filesystem.name} inotify does not hear what others write")
    return Backend("native", f"inotify hears all changes on {filesystem.name}")


def _trouble(entry: _Root) -> RootTrouble | None:
    shown = show_path(entry.root)
    try:
        status = os.stat(entry.root)
    except OSError as error:
        return RootTrouble(entry.root, Trouble.MISSING, f"watched folder {shown}: {error.strerror}")
    if entry.observer is None or entry.emitter is None:
        return RootTrouble(entry.root, Trouble.NOT_ARMED, entry.failure or f"{shown} is not watched")
    if (status.st_dev, status.st_ino) != entry.identity:
        sentence = f"another folder or filesystem stands at {shown} now"
        return RootTrouble(entry.root, Trouble.REPLACED, sentence)
    if not (entry.observer.healthy and entry.emitter.is_alive()):
        return RootTrouble(entry.root, Trouble.DEAD, f"the thread that watches {shown} ended")
    if isinstance(entry.emitter, SlowingPollingEmitter) and entry.emitter.failing:
        return RootTrouble(entry.root, Trouble.MISSING, f"{shown} cannot be read just now")
    if isinstance(entry.emitter, NativeEmitter) and entry.emitter.unwatched[1] == errno.ENOSPC:
        return RootTrouble(entry.root, Trouble.PARTIAL, Exhausted(entry.root, errno.ENOSPC).sentence)
    if entry.recursive and mounts_below(entry.real) != entry.mounts:
        return RootTrouble(entry.root, Trouble.MOUNTS, f"a filesystem was mounted or unmounted below {shown}")
    return None
