"""A heap whose members may leave, or change their place, at any time. Every operation takes O(log n), amortised."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Item = TypeVar("Item", bound=Hashable)
Key = tuple[Any, ...]
"""Compared with other keys of the same heap alone; the least comes first."""

SLACK = 64
"""Entries of members that left are thrown away when they are more than those that count, and more than this."""

_Entry = tuple[Key, int, Item]


class Heap(Generic[Item]):
    """Entries of members that left stay behind until they come up: one counts only while it is its member's own."""

    def __init__(self) -> None:
        self._entries: list[_Entry[Item]] = []
        self._own: dict[Item, _Entry[Item]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._own)

    def members(self) -> Iterator[Item]:
        """In no order."""
        return iter(self._own)

    def push(self, item: Item, key: Key) -> None:
        """Put it in, or in another place; among equals the first to come is the first."""
        own = self._own.get(item)
        if own is not None and own[0] == key:
            return
        self._count += 1
        entry = (key, self._count, item)
        self._own[item] = entry
        heapq.heappush(self._entries, entry)
        self._tidy()

    def remove(self, item: Item) -> None:
        """Take it out, if it is there."""
        if self._own.pop(item, None) is not None:
            self._tidy()

    def head(self) -> Item | None:
        entry = self._top()
        return entry[2] if entry is not None else None

    def head_key(self) -> Key | None:
        entry = self._top()
        return entry[0] if entry is not None else None

    def first(self, count: int, suits: Callable[[Item], bool]) -> Item | None:
        """The first of the next `count` members that suits; all stay where they are."""
        passed: list[_Entry[Item]] = []
        found = None
        while len(passed) < count and (entry := self._top()) is not None:
            passed.append(heapq.heappop(self._entries))
            if suits(entry[2]):
                found = entry[2]
                break
        for entry in passed:
            heapq.heappush(self._entries, entry)
        return found

    def in_order(self) -> Iterator[Item]:
        """All members; the heap must not change meanwhile. Whoever takes a few pays for a few."""
        return (entry[2] for entry in upcoming(self._entries) if self._own.get(entry[2]) is entry)

    def _top(self) -> _Entry[Item] | None:
        while self._entries:
            entry = self._entries[0]
            if self._own.get(entry[2]) is entry:
                return entry
            heapq.heappop(self._entries)
        return None

    def _tidy(self) -> None:
        if len(self._entries) > 2 * len(self._own) + SLACK:
            self._entries = list(self._own.values())
            heapq.heapify(self._entries)


def upcoming(heap: Sequence[T]) -> Iterator[T]:
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
