"""What a daemon has written down of thousands of files, read from its store while it runs.

`imgoptctl why` says the same of one file; of ten thousand it would be the daemon's whole work to answer. Nothing is
written here, and only the columns named below are relied upon.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import Daemon
from tests.torture.proof import Life, Receipt, Step

FINAL = frozenset({"done", "skipped", "quarantined"})


@dataclass(slots=True)
class Ledger:
    daemon: Daemon
    root: Path | None = None
    """A watched folder of the daemon; None: its first."""
    _root: bytes = field(init=False, default=b"")

    def __post_init__(self) -> None:
        self._root = os.fsencode(self.root or self.daemon.watched)

    def lives(self) -> dict[bytes, Life]:
        """Every file of the folder that the daemon has a row of, by its path below it."""
        with closing(self._open()) as store:
            steps: dict[int, list[Step]] = defaultdict(list)
            for file, wall_ms, step, text in store.execute("SELECT file, wall_ms, step, text FROM step ORDER BY seq"):
                steps[file].append(Step(wall_ms, step, text))
            receipts: dict[int, list[Receipt]] = defaultdict(list)
            query = "SELECT file, before_sha256, after_sha256, bytes_before, bytes_after FROM receipt ORDER BY id"
            for file, before, after, bytes_before, bytes_after in store.execute(query):
                receipts[file].append(Receipt(_hex(before), _hex(after), bytes_before, bytes_after))
            return {
                path: Life(state, reason, _hex(sha256), tuple(steps[file]), tuple(receipts[file]))
                for file, path, state, reason, sha256 in store.execute(
                    "SELECT file.id, file.path, state, reason, sha256 FROM file JOIN root ON root.id = file.root "
                    "WHERE root.path = ? AND state IS NOT NULL",
                    [self._root],
                )
            }

    def unfinished(self, paths: Collection[bytes]) -> set[bytes]:
        """Those of the paths (below the folder) whose row does not say how the present file ended."""
        with closing(self._open()) as store:
            rows = store.execute(
                "SELECT file.path, state, identity FROM file JOIN root ON root.id = file.root "
                "WHERE root.path = ? AND state IS NOT NULL",
                [self._root],
            )
            known = {path: identity for path, state, identity in rows if state in FINAL}
        return {path for path in paths if not self._is_about_now(path, known.get(path))}

    def first_step_ms(self, path: bytes) -> int | None:
        """When the file was first taken note of (wall clock, Unix, ms)."""
        with closing(self._open()) as store:
            query = (
                "SELECT min(wall_ms) FROM step WHERE file = "
                "(SELECT file.id FROM file JOIN root ON root.id = file.root WHERE root.path = ? AND file.path = ?)"
            )
            first: int | None = store.execute(query, [self._root, path]).fetchone()[0]
            return first

    def finished(self) -> int:
        """How many rows are final."""
        with closing(self._open()) as store:
            query = f"SELECT count(*) FROM file WHERE state IN ({', '.join('?' * len(FINAL))})"
            return int(store.execute(query, sorted(FINAL)).fetchone()[0])

    def _is_about_now(self, path: bytes, identity: str | None) -> bool:
        if identity is None:
            return False
        try:
            status = os.lstat(os.path.join(self._root, path))
        except OSError:
            return False
        # The number of a device may be another one after each mount.
        return identity.partition(":")[2] == f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.daemon.base}/state/store.sqlite?mode=ro", uri=True, timeout=30)


def _hex(digest: bytes | None) -> str:
    return "" if digest is None else digest.hex()


def left_unfinished(ledger: Ledger, paths: Collection[bytes], patience_s: float = 20.0) -> set[bytes]:
    """Wait until the daemon is through with the paths; those it is not, once none was finished for `patience_s`."""
    left, since_s = ledger.unfinished(paths), time.monotonic()
    while left and time.monotonic() - since_s < patience_s:
        time.sleep(min(2.0, 0.1 + len(paths) / 20_000))
        now = ledger.unfinished(left)
        if len(now) < len(left):
            left, since_s = now, time.monotonic()
    return left


def temps_below(folder: Path) -> list[str]:
    """Files of our own that nobody has removed, and what was kept where two versions met."""
    return [
        os.path.join(top, name)
        for top, _, names in os.walk(folder)
        for name in names
        if name.startswith((".imgoptd", "imgoptd-kept-"))
    ]


@dataclass(slots=True)
class Pace:
    """Holds writers back while the daemon is too far behind: how much it can take in is another question."""

    ledger: Ledger
    behind: int
    _asked_s: float = 0.0

    def keep(self, made: int, patience_s: float = 60.0) -> None:
        """Called as often as wanted; waits until no more than `behind` of the `made` files are unfinished."""
        if time.monotonic() - self._asked_s < 0.5:
            return
        until_s = time.monotonic() + patience_s
        while made - self.ledger.finished() > self.behind and time.monotonic() < until_s:
            time.sleep(0.2)
        self._asked_s = time.monotonic()
