"""The next few of many: the first entries of heaps in order, without changing or sorting them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def in_order(heap: Sequence[T]) -> Iterator[T]:
    """The entries of a heap, least first. Whoever takes `n` of them pays for `n`, however many there are.

    Each entry is no less than its parent (`heapq`), so the next one is always a child of one that was given out. The
    heap must not change meanwhile. Entries must differ, as the heap itself asks for.
    """
    frontier = [(heap[0], 0)] if heap else []
    while frontier:
        entry, place = heapq.heappop(frontier)
        yield entry
        for child in (2 * place + 1, 2 * place + 2):
            if child < len(heap):
                heapq.heappush(frontier, (heap[child], child))
