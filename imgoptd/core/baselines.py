"""Scans under way, and first scans of a folder (baselines), which tell what stood there from what comes."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from imgoptd.core import commands as c
from imgoptd.core.model import FileRef
from imgoptd.core.since import Since
from imgoptd.core.turn import Turn


@dataclass(slots=True)
class _Baseline:
    """The first scan of a folder, under way."""

    since: Since
    unseen: set[FileRef] = field(default_factory=set)
    """What it found and nobody has looked at yet."""


class Baselines:
    """A first scan is taken when it is over and all it found was looked at: a crash before that begins it anew."""

    def __init__(self) -> None:
        self.scanning: set[bytes] = set()
        """Folders of which a scan is under way, a first one or a later one."""
        self._known: dict[bytes, _Baseline] = {}

    def keep(self, roots: Container[bytes]) -> None:
        """Forget the folders that are watched no longer."""
        self.scanning = {root for root in self.scanning if root in roots}
        self._known = {root: one for root, one in self._known.items() if root in roots}

    def started(self, turn: Turn, root: bytes, since: Since) -> None:
        self._known[root] = _Baseline(since)
        if since.wall_ns:
            turn.record(c.BaselineBegun(root, since.wall_ns))

    def scan_finished(self, turn: Turn, root: bytes, complete: bool) -> None:
        self.scanning.discard(root)
        if not complete:
            self._known.pop(root, None)  # it is begun anew when the folder is found again
        self._end(turn, root)

    def found(self, ref: FileRef) -> None:
        """The scan found the file: it must be looked at before the baseline is taken."""
        if ref.root in self._known:
            self._known[ref.root].unseen.add(ref)

    def done_with(self, turn: Turn, ref: FileRef) -> None:
        """The file was looked at, or is not to be looked at any more."""
        if ref.root in self._known:
            self._known[ref.root].unseen.discard(ref)
            self._end(turn, ref.root)

    def stood_before(self, root: bytes, ctime_ns: int, now_s: float) -> bool:
        """Did a file of which nothing is known stand there when the folder was first watched?

        The watcher may tell of a new file later than the scan finds it: its ctime says that it came since.
        """
        baseline = self._known.get(root)
        return baseline is not None and not baseline.since.came(ctime_ns, now_s)

    def _end(self, turn: Turn, root: bytes) -> None:
        if root not in self.scanning and root in self._known and not self._known[root].unseen:
            del self._known[root]
            turn.record(c.BaselineTaken(root))
