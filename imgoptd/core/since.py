"""Since when a folder is watched, and which files have come since: by their ctime, where it can be true."""

from __future__ import annotations

from typing import NamedTuple

_SLACK_NS = 20_000_000
"""Two ticks of the clock that stamps files: it may stand that far behind the one that counts."""


class Since(NamedTuple):
    """The moment just before a folder was first watched, by two clocks."""

    wall_ns: int = 0
    """By the clock that stamps files, which may be set; 0: unknown."""
    at_s: float = 0.0
    """By the clock of events, which only goes on."""

    def begun(self, wall_ns: int) -> Since:
        """This moment moved back to an earlier one, told by the wall clock alone; as it is where that is none."""
        if not 0 < wall_ns <= self.wall_ns:
            return self
        return Since(wall_ns, self.at_s - (self.wall_ns - wall_ns) / 1e9)

    def came(self, ctime_ns: int, now_s: float) -> bool:
        """Has the file, seen at `now_s` or before, come since? False where its ctime does not prove it.

        A ctime beyond what has passed since is of a clock that was set: the file may have stood there for years. What
        really came under such a clock is told of by the watch.
        """
        passed_ns = round((now_s - self.at_s) * 1e9) + _SLACK_NS
        return 0 < self.wall_ns <= ctime_ns <= self.wall_ns + passed_ns
