"""Where the watcher's threads leave what they heard, until the daemon's loop collects it.

The watchdog library's own queue has no bound, and whatever a handler does slowly piles up there. So a handler does one
thing: leave a hint here. The box keeps one hint a path and a bounded number of them; what does not fit becomes a
Desync of its folder, which costs a rescan and loses nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from imgoptd.core.model import FileRef, HintKind

DESYNC_LIMIT = 1000
"""More subtrees of one root to rescan than this are one rescan of the root."""
_COMPLETING = frozenset({HintKind.CLOSED, HintKind.MOVED})


@dataclass(frozen=True, slots=True)
class Desync:
    """What we know of a subtree may be wrong: rescan it."""

    root: bytes
    path: bytes
    """Folder below the root; empty is the root itself."""
    why: str


@dataclass(frozen=True, slots=True)
class Batch:
    """All that was heard since the last drain: one hint a path, no subtree inside another.

    A file that was closed or moved into place more than once has its last hint twice: its writer comes back, and
    whoever decides when a file is whole must know.
    """

    hints: list[tuple[FileRef, HintKind]]
    desyncs: list[Desync]

    def __bool__(self) -> bool:
        return bool(self.hints or self.desyncs)


class HintBox:
    """Bounded, de-duplicating hand-over between threads.

    `on_wake` is called, in the thread that leaves the first hint, each time the box goes from empty to not empty.
    It may raise RuntimeError (an event loop that is closed already); that is ignored.
    """

    def __init__(self, on_wake: Callable[[], None], limit: int) -> None:
        self._on_wake = on_wake
        self._limit = limit
        self._lock = threading.Lock()
        self._hints: dict[tuple[bytes, bytes], HintKind] = {}
        self._repeated: set[tuple[bytes, bytes]] = set()
        self._desyncs: dict[bytes, dict[bytes, str]] = {}

    def hint(self, root: bytes, path: bytes, kind: HintKind) -> None:
        """The latest hint of a path replaces an earlier one: a name created anew is not whole because it once was."""
        key = (root, path)
        with self._lock:
            was_empty = not self._hints and not self._desyncs
            if kind in _COMPLETING and self._hints.get(key) in _COMPLETING:
                self._repeated.add(key)
            if key in self._hints or len(self._hints) < self._limit:
                self._hints[key] = kind
            else:
                self._add_desync(root, b"", f"more than {self._limit} files changed before they could be looked at")
        if was_empty:
            self._wake()

    def desync(self, root: bytes, path: bytes, why: str) -> None:
        with self._lock:
            was_empty = not self._hints and not self._desyncs
            self._add_desync(root, path, why)
        if was_empty:
            self._wake()

    def drain(self) -> Batch:
        with self._lock:
            hints, self._hints = self._hints, {}
            repeated, self._repeated = self._repeated, set()
            desyncs, self._desyncs = self._desyncs, {}
        told = [(FileRef(root, path), kind) for (root, path), kind in hints.items()]
        return Batch(
            told + [(FileRef(*key), hints[key]) for key in repeated],
            [
                Desync(root, path, why)
                for root, subtrees in desyncs.items()
                for path, why in subtrees.items()
                if not _covered(path, subtrees)
            ],
        )

    def forget(self, root: bytes) -> None:
        """Drop all that was heard of a root that is no longer watched."""
        with self._lock:
            self._desyncs.pop(root, None)
            for key in [key for key in self._hints if key[0] == root]:
                del self._hints[key]
                self._repeated.discard(key)

    def _add_desync(self, root: bytes, path: bytes, why: str) -> None:
        subtrees = self._desyncs.setdefault(root, {})
        if _covered(path, subtrees):
            return
        if path and len(subtrees) >= DESYNC_LIMIT:
            path, why = b"", f"more than {DESYNC_LIMIT} folders appeared or moved"
        if not path:
            subtrees.clear()
        subtrees[path] = why

    def _wake(self) -> None:
        try:
            self._on_wake()
        except RuntimeError:
            pass  # the loop is closed: nobody will drain, and a raising handler would end watchdog's thread


def _covered(path: bytes, subtrees: dict[bytes, str]) -> bool:
    """Does a folder above `path` (not `path` itself) stand among the subtrees?"""
    while path:
        path = path.rpartition(b"/")[0]
        if path in subtrees:
            return True
    return False
