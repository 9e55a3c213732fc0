"""Python's search for garbage in cycles, made when it is in nobody's way.

Counting references frees nearly all at once; the rest lies in cycles (an exception and its frames, say). To search all
objects for those stops the process for 2 ms for each thousand files in memory: a tenth of a second in the middle of a
flood. Young objects are searched as they come, which is over in a moment; all are, when there is little in memory, and
once an hour whatever there is.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

YOUNG = (700, 10, 1 << 30)
"""Python's own thresholds, but that it never searches all objects by itself."""
CALM_FILES = 1000
"""With fewer files in memory a search takes a few milliseconds."""
CALM_S, MOST_S = 60.0, 3600.0
"""Between two searches, where it is calm, and at most."""


class Garbage:
    def __init__(self, search: Callable[[], object] = gc.collect, clock: Callable[[], float] = time.monotonic) -> None:
        self._search = search
        self._clock = clock
        self._searched_s = clock()

    @staticmethod
    def begin() -> None:
        """What stands by now (modules, tables) stays for good: no search looks at it again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*YOUNG)

    def turned(self, files: int) -> None:
        """A turn is over, with so many files in memory."""
        now_s = self._clock()
        if now_s - self._searched_s >= (CALM_S if files < CALM_FILES else MOST_S):
            self._searched_s = now_s
            self._search()
