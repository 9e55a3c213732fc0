"""Jobs that wait in the store alone: beyond a bound memory holds no more of them, until it has room again.

A queued job is durable and nothing else is known of it that a look would not find again, so that it can be forgotten:
it is to the engine what the last run left.
"""

from __future__ import annotations

BULK_MOST, FRESH_MOST = 30_000, 40_000
"""Jobs in memory (about 1.5 KB each) beyond which further ones of that class wait in the store."""


class Overflow:
    def __init__(self) -> None:
        self.most = {False: BULK_MOST, True: FRESH_MOST}
        """By whether they are fresh drops."""
        self._waiting = {False: 0, True: 0}
        self._times = {False: 0, True: 0}
        self.left_over = 0
        """Files that the last run left and that were not handed over yet."""

    @property
    def jobs(self) -> int:
        """About how many wait in the store: a file that is written to meanwhile may count twice."""
        return sum(self._waiting.values()) + self.left_over

    def waiting(self, *, fresh: bool) -> int:
        return self._waiting[fresh]

    def takes(self, *, fresh: bool, in_memory: int) -> bool:
        """Is the job, which is queued durably, to wait in the store?"""
        if in_memory <= self.most[fresh]:
            return False
        self._waiting[fresh] += 1
        return True

    def recovered(self) -> None:
        """One of the files in the store was handed over."""
        self.left_over = max(0, self.left_over - 1)

    def taken_up(self, *, fresh: bool, jobs: int) -> None:
        """All that waited in the store when there were `jobs` of them have been handed over."""
        self._waiting[fresh] -= jobs
        self._times[fresh] += 1

    def times_taken_up(self, *, fresh: bool) -> int:
        """How often they were: until it is known of one time what was handed over, a next one would count it again."""
        return self._times[fresh]
