"""Jobs that wait for a time: a heap with lazy removal, so that those which are not due cost nothing."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator

from imgoptd.core.job import Job
from imgoptd.core.model import FileRef


class Deferred:
    """Each job is due at its `due_s`. One that is kept back when its time comes waits for `wake`."""

    def __init__(self, kept_back: Callable[[Job], bool]) -> None:
        self._kept_back = kept_back
        self._jobs: dict[FileRef, Job] = {}
        self._heap: list[tuple[float, FileRef]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, ref: FileRef) -> bool:
        return ref in self._jobs

    def __iter__(self) -> Iterator[FileRef]:
        return iter(self._jobs)

    def get(self, ref: FileRef) -> Job | None:
        return self._jobs.get(ref)

    def add(self, job: Job) -> None:
        self._jobs[job.ref] = job
        heapq.heappush(self._heap, (job.due_s, job.ref))

    def discard(self, ref: FileRef) -> None:
        self._jobs.pop(ref, None)

    def overdue(self, now_s: float) -> list[Job]:
        """The jobs whose time has come, each once; they stay in until they are discarded."""
        found: dict[FileRef, Job] = {}
        while self._heap and self._heap[0][0] <= now_s:
            due_s, ref = heapq.heappop(self._heap)
            job = self._jobs.get(ref)
            if job is not None and job.due_s == due_s and not self._kept_back(job):
                found[ref] = job
        return list(found.values())

    def next_due_s(self) -> float | None:
        while self._heap:
            due_s, ref = self._heap[0]
            job = self._jobs.get(ref)
            if job is not None and job.due_s == due_s:
                return due_s
            heapq.heappop(self._heap)
        return None

    def wake(self, now_s: float, suits: Callable[[Job], bool]) -> None:
        """Those that suit are due now, and those that were kept back and may go on."""
        for job in self._jobs.values():
            if suits(job) or (job.due_s <= now_s and not self._kept_back(job)):
                job.due_s = now_s
                heapq.heappush(self._heap, (now_s, job.ref))
