"""A watcher, and all that it ever said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from imgoptd.adapters.hints import Desync
from imgoptd.adapters.watcher import Trouble, Watcher
from imgoptd.core.model import FileRef, HintKind

PATIENCE_S = 20.0


class Listener:
    def __init__(self, limit: int = 100_000) -> None:
        self.woken = threading.Event()
        self.watcher = Watcher(self.woken.set, limit)
        self.hints: list[tuple[FileRef, HintKind]] = []
        self.paths: set[bytes] = set()
        self.desyncs: list[Desync] = []

    def drain(self) -> None:
        batch = self.watcher.drain()
        self.hints += batch.hints
        self.paths.update(ref.path for ref, _ in batch.hints)
        self.desyncs += batch.desyncs

    def until(self, said: Callable[[], bool]) -> None:
        """Wait for wakes, draining at each, until it was said."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not said():
            assert time.monotonic() < deadline_s, f"unheard; hints {self.hints[-20:]}, desyncs {self.desyncs[-20:]}"
            self.woken.wait(0.2)
            self.woken.clear()
            self.drain()

    def heard(self, path: bytes, kind: HintKind | None = None) -> bool:
        return any(ref.path == path and kind in (None, said) for ref, said in self.hints)

    def to_rescan(self, path: bytes) -> bool:
        """Would a rescan of what was reported come to the path?"""
        return any(desync.path in (b"", path) or path.startswith(desync.path + b"/") for desync in self.desyncs)

    def trouble(self) -> Trouble | None:
        """The trouble of the one root that is watched."""
        found = self.watcher.check()
        assert len(found) <= 1
        return found[0].kind if found else None
