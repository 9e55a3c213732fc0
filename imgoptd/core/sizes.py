"""Probed jobs in order, and by the memory they need: what fits is found without a look at all that does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from heapq import merge

from imgoptd.core.heap import Heap, Key
from imgoptd.core.job import Job

SHORT_CPU_S = 1.0
"""A job expected to take no longer is a short one."""
CLASSES_PER_DOUBLING = 4
LOOK_PER_CLASS = 3
"""How many of each class are tried: the next ones need as much, to within a fifth."""

_Class = tuple[bool, int]
"""Whether its jobs are long, and a step of the logarithm of what they need."""


class Sizes:
    """One heap for each class of length and memory, so that the first job that fits is at the head of one of them."""

    def __init__(self) -> None:
        self._heaps: dict[_Class, Heap[Job]] = {}
        self._class: dict[Job, _Class] = {}
        """As it was when the job came: what it is expected to take may be told anew while it waits."""

    def __len__(self) -> int:
        return len(self._class)

    def push(self, job: Job, key: Key) -> None:
        name = (job.estimate.cpu_s > SHORT_CPU_S, _step(job.estimate.memory_bytes))
        self._class[job] = name
        heap = self._heaps.get(name)
        if heap is None:
            heap = self._heaps[name] = Heap()
        heap.push(job, key)

    def remove(self, job: Job) -> None:
        name = self._class.pop(job)
        heap = self._heaps[name]
        heap.remove(job)
        if not heap:
            del self._heaps[name]

    def head(self, *, short: bool = False) -> Job | None:
        """The first job; with `short` the first one that takes no longer than SHORT_CPU_S."""
        heads = [heap for (long, _), heap in self._heaps.items() if not (short and long)]
        return min(heads, key=_head_key).head() if heads else None

    def first(self, count: int, suits: Callable[[Job], bool]) -> Job | None:
        """The first that suits among the first few of each class, `count` classes at most."""
        for heap in sorted(self._heaps.values(), key=_head_key)[:count]:
            found = heap.first(LOOK_PER_CLASS, suits)
            if found is not None:
                return found
        return None

    def least(self, suits: Callable[[Job], bool]) -> Job | None:
        """One that suits of those that need least memory, among the first few of each class."""
        for name in sorted(self._heaps, key=lambda one: one[1]):
            found = self._heaps[name].first(LOOK_PER_CLASS, suits)
            if found is not None:
                return found
        return None

    def in_order(self) -> Iterator[Job]:
        """All; nothing may change meanwhile."""
        return merge(*(heap.in_order() for heap in self._heaps.values()), key=lambda job: job.order)

    def members(self) -> Iterator[Job]:
        return iter(self._class)


def _head_key(heap: Heap[Job]) -> Key:
    key = heap.head_key()
    assert key is not None, "an empty class is not kept"
    return key


def _step(memory_bytes: int) -> int:
    return int(CLASSES_PER_DOUBLING * math.log2(max(1, memory_bytes)))
