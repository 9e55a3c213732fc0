"""Watching folders: hints of what may have changed, and an honest word when hints may be missing.

A hint is never proof and its absence proves nothing: the daemon looks again before any work, and rescans whatever a
Desync names. Methods may block (a large tree is walked, a dead network mount does not answer): call them in a thread,
never in the event loop. `drain` alone never blocks.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable

from watchdog.events import FileSystemEvent, FileSystemEventHandler, FileSystemMovedEvent

from imgoptd.adapters.hints import Batch, HintBox
from imgoptd.adapters.inotify_limits import Exhausted
from imgoptd.adapters.mounts import mounts_below
from imgoptd.adapters.observers import NATIVE_EVENTS, POLL_EVENTS, NativeEmitter, NativeObserver, PollObserver
from imgoptd.adapters.proof import COOKIE, Unprovable, is_proof, prove
from imgoptd.adapters.watch_root import (
    Backend,
    Root,
    RootTrouble,
    Trouble,
    WatchError,
    choose,
    locate,
    trouble_of,
    unreachable,
)
from imgoptd.core.hearing import Hearing, Wish, trusted_again
from imgoptd.core.model import HintKind
from imgoptd.core.text import show_path

__all__ = ["Backend", "RootTrouble", "Trouble", "WatchError", "Watcher"]

_KINDS = {"created": HintKind.CREATED, "closed": HintKind.CLOSED, "moved": HintKind.MOVED}


class Watcher:
    """Watches any number of roots. `on_wake` is called in some thread when there is something to drain."""

    def __init__(self, on_wake: Callable[[], None], limit: int = 100_000) -> None:
        self._box = HintBox(on_wake, limit)
        self._lock = threading.RLock()
        self._roots: dict[bytes, Root] = {}
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
        self._arm(Root(root, recursive, backend, insists=backend == "native"))

    def rearm(self, root: bytes) -> None:
        """Watch the root anew after trouble; a Desync of the whole root follows. Raises WatchError, KeyError.

        Where inotify is exhausted by now, or deaf again at once, the root is polled, even if native was asked for:
        better slow than deaf.
        """
        with self._lock:
            self._arm(self._successor(self._roots[root]))
            self._box.desync(root, b"", "the folder was out of sight and is watched again")

    def renew(self, root: bytes) -> Backend | None:
        """Watch what is not watched below the root, and nothing that is not there; a rescan is to follow.

        A root that is polled for want of watches alone is watched by inotify again where there are enough by now: the
        new backend, else None. Raises WatchError, KeyError.
        """
        with self._lock:
            entry = self._roots[root]
            if entry.exhausted:
                self._arm(self._successor(entry))
                return None if self._roots[root].exhausted else self._roots[root].backend
        if isinstance(entry.emitter, NativeEmitter):
            entry.emitter.renew()
        return None

    def extend(self, root: bytes, path: bytes) -> None:
        """Watch the folders at and below `path`, which may be read by now; a rescan of it is to follow."""
        entry = self._roots.get(root)
        if entry is not None and entry.recursive and isinstance(entry.emitter, NativeEmitter):
            entry.emitter.renew(entry.real.rstrip(b"/") + b"/" + path)

    def disarm(self, root: bytes) -> None:
        """Stop watching, and drop what was heard. An unknown root is no error."""
        with self._lock:
            self._release(root)
            self._roots.pop(root, None)
            self._box.forget(root)

    def knows(self, root: bytes) -> bool:
        """Was the root ever to be armed? Then it can be rearmed."""
        return root in self._roots

    def backend_of(self, root: bytes) -> Backend:
        """How the root is watched, and why so. Raises KeyError for an unknown root."""
        return self._roots[root].backend

    def check(self) -> list[RootTrouble]:
        """Which roots may have gone deaf: a few stat calls, meant for every few seconds, and now and then a proof."""
        if not self._lock.acquire(blocking=False):
            return []  # a root is just being armed, which takes long in a large tree
        try:
            troubles = [trouble_of(entry) or _prove(entry) for entry in self._roots.values()]
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

    def _arm(self, entry: Root) -> None:
        with self._lock:
            self._release(entry.root)
            self._roots[entry.root] = entry
            try:
                self._start(entry)
            except WatchError as error:
                entry.failure = error.sentence
                raise

    def _successor(self, entry: Root) -> Root:
        new = Root(entry.root, entry.recursive, entry.wanted, identity=entry.identity)
        new.deaf_s, new.mistrusted = entry.deaf_s, entry.mistrusted
        if entry.deaf:
            new.deaf_s = time.monotonic()
            new.mistrusted = not trusted_again(entry.deaf_s, new.deaf_s)
        return new

    def _start(self, entry: Root) -> None:
        before = entry.identity
        locate(entry)
        for other in self._roots.values():
            if other is not entry and other.watch is not None and other.real == entry.real:
                shown = show_path(entry.root)
                raise WatchError(
                    f"watched folder {shown} is the same as {show_path(other.root)}", "remove one of the two"
                )
        if entry.identity != before:
            entry.deaf_s, entry.mistrusted = None, False  # what was learnt of another filesystem says nothing of this
        entry.mounts = mounts_below(entry.real) if entry.recursive else frozenset()
        entry.backend = choose(entry)
        if entry.backend.name == "native":
            try:
                self._schedule_native(entry)
                entry.hearing = Hearing(time.monotonic())
                return
            except Exhausted as exhausted:
                if entry.insists:
                    raise WatchError(exhausted.sentence, exhausted.mend) from exhausted
                entry.backend = Backend("poll", f"{exhausted.sentence}; {exhausted.mend}")
                entry.exhausted = True
        self._schedule_poll(entry)

    def _schedule_native(self, entry: Root) -> None:
        """Raises Exhausted, WatchError."""
        try:
            if self._native is None or not self._native.healthy:
                if self._native is not None:
                    self._native.end()
                self._native = NativeObserver(self._on_desync)
                self._native.start()
            self._native.prove(entry.real)
            self._schedule(entry, self._native)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EMFILE):
                raise Exhausted(entry.root, error.errno) from error
            raise unreachable(entry.root, error) from error
        if isinstance(entry.emitter, NativeEmitter) and entry.emitter.unwatched[1] == errno.ENOSPC:
            self._unschedule(entry)
            raise Exhausted(entry.root, errno.ENOSPC)

    def _schedule_poll(self, entry: Root) -> None:
        try:
            if self._poll is None or not self._poll.healthy:
                self._poll = PollObserver()
                self._poll.start()
            self._schedule(entry, self._poll)
        except OSError as error:
            raise unreachable(entry.root, error) from error

    def _schedule(self, entry: Root, observer: NativeObserver | PollObserver) -> None:
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

    def _unschedule(self, entry: Root) -> None:
        if entry.observer is not None and entry.watch is not None and entry.emitter in entry.observer.emitters:
            entry.observer.unschedule(entry.watch)
        entry.observer = entry.watch = entry.emitter = None

    def _on_desync(self, real: bytes, why: str) -> None:
        """In an emitter's thread, while no lock of ours is held."""
        for entry in list(self._roots.values()):
            if entry.real == real:
                entry.hearing.doubt(time.monotonic())
                self._box.desync(entry.root, b"", why)


class _Handler(FileSystemEventHandler):
    """Runs in watchdog's dispatching thread: leaves a hint, nothing more."""

    def __init__(self, box: HintBox, entry: Root, polled: bool) -> None:
        self._box = box
        self._entry = entry
        self._root = entry.root
        self._prefix = entry.real.rstrip(b"/") + b"/"
        self._recursive = entry.recursive
        self._polled = polled

    def dispatch(self, event: FileSystemEvent) -> None:
        path = os.fsencode(event.dest_path if isinstance(event, FileSystemMovedEvent) else event.src_path)
        if not path.startswith(self._prefix) or path == self._prefix:
            return
        path = path[len(self._prefix) :]
        if not self._polled and self._proves(path):
            return
        if event.is_directory:
            if self._recursive:
                self._box.desync(self._root, path, "a folder appeared")
        elif not event.is_synthetic:  # those that are lie in a folder that appeared, which is rescanned
            # polling sees that a file changed, never that its writer is done
            kind = HintKind.CREATED if self._polled else _KINDS.get(event.event_type, HintKind.CREATED)
            self._box.hint(self._root, path, kind)

    def _proves(self, path: bytes) -> bool:
        """Take in that we hear. True where the path is that of a proof, and no file of anybody's."""
        hearing = self._entry.hearing
        folder, _, name = path.rpartition(b"/")
        if folder or not is_proof(name):
            hearing.stirred()
        else:
            hearing.heard(time.monotonic())
        # `#12` may be a user's own file, and any program may make a file without a name; a root may lie in this one
        return is_proof(name) and (name.startswith(COOKIE) or not os.path.lexists(self._prefix + path))


def _prove(entry: Root) -> RootTrouble | None:
    """Where it is time for it, make a change that the root's watch must report. A change that went unheard is told."""
    if not isinstance(entry.emitter, NativeEmitter):
        return None
    now_s = time.monotonic()
    wish = entry.hearing.wish(now_s)
    if wish is Wish.DEAF:
        entry.deaf = True
        return RootTrouble(entry.root, Trouble.DEAF, f"changes in {show_path(entry.root)} are not heard any more")
    if wish is Wish.PROOF:
        entry.hearing.asked(now_s)
        try:
            prove(entry.real)
        except Unprovable as error:
            entry.hearing.silenced = str(error)
        except OSError:
            entry.hearing.unasked(now_s)
    return None
