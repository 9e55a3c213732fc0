"""When is a file that drew attention complete? A state machine over hints and looks, one candidate for each path.

On a filesystem that reports closes, with a read lease granted, at once: a move into place, and a close-write of a file
that ends as whole files of its format do (a writer may close between pieces, and the first close must not pass for the
last). Otherwise size and mtime unchanged for `settle`, and then nobody may hold it open for writing. A file hinted at
again within `settle` of an earlier hint, taken for complete meanwhile or not, is still being worked on: it waits for
quiet.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

from imgoptd.core.model import Failure, FileRecord, FileRef, HintKind, Identity, Lease, Look

STRONG = frozenset({HintKind.CLOSED, HintKind.MOVED})
BUSY_RETRY_MAX_S = 60.0
"""The longest wait between two looks at a file that is still being written."""
RESTLESS_S = 60.0
"""A file still not complete after so long is said aloud once, and looked at less and less often from then on."""


class Verdict(NamedTuple):
    record: FileRecord
    failure: Failure


@dataclass(slots=True)
class Candidate:
    ref: FileRef
    settle_s: float
    first_s: float
    """When attention was first drawn to what stands there now."""
    noticed_s: float
    """Since when it waits to be finished, earlier tries included."""
    verdict: Verdict | None = None
    """What was found wrong with a content, and counts if that content still stands there."""
    retry: bool = False
    """An operator asks for it to be done whatever the store says of it."""
    live: bool = False
    """Some hint came from the watcher: somebody has just done something to the file."""
    fresh: bool = False
    """It has just come or changed, as far as we know; not so what a rescan found."""
    strong: bool = False
    placed: bool = False
    """It was moved into place: whoever does so has finished writing."""
    quiet_needed: bool = False
    hinted_s: float = 0.0
    identity: Identity | None = None
    since_s: float = 0.0
    """When `identity` was first seen."""
    busy_looks: int = 0
    looked_s: float = 0.0
    """When the last look was asked for."""
    told: bool = False
    """It was said aloud that it is still being written."""
    restless_looks: int = 0
    """Looks after RESTLESS_S that found it changed again, though closed."""
    due_s: float | None = None
    """Next look; None while a look is under way."""
    hint_during_look: bool = False


class Settler:
    """All candidates. `due` hands each one out once; `looked` takes the answer and says whether it is settled."""

    def __init__(self) -> None:
        self.candidates: dict[FileRef, Candidate] = {}
        self.restless: list[Candidate] = []
        """Those that have just become so; whoever tells of them empties this."""
        self._heap: list[tuple[float, FileRef]] = []
        self._recent: dict[FileRef, float] = {}
        """Files that were taken for complete at once, with the time until which a further hint speaks against it."""
        self._recent_ends: list[tuple[float, FileRef]] = []
        """The same by time, and some that are over or were hinted at again."""

    def hint(self, ref: FileRef, kind: HintKind, settle_s: float, now_s: float, *, quiet: bool = False) -> None:
        """Something happened at the path. `quiet` asks for quiet time whatever the kind of the hint."""
        candidate = self.candidates.get(ref)
        first = candidate is None
        if candidate is None:
            candidate = self.candidates[ref] = Candidate(ref, settle_s, now_s, now_s)
            candidate.quiet_needed = self._recent.pop(ref, now_s) > now_s
        live = kind not in (HintKind.FOUND, HintKind.ARRIVED)
        if not first and live and candidate.strong and kind in STRONG and now_s - candidate.hinted_s < settle_s:
            candidate.quiet_needed = True
        candidate.quiet_needed = candidate.quiet_needed or quiet
        if live:
            candidate.hinted_s = now_s
            candidate.live = True
        candidate.fresh = candidate.fresh or kind is not HintKind.FOUND
        candidate.strong = candidate.strong or kind in STRONG
        candidate.placed = kind is HintKind.MOVED or (candidate.placed and kind is not HintKind.CLOSED)
        candidate.busy_looks = 0
        if candidate.due_s is None and not first:
            candidate.hint_during_look = True
        else:
            self._schedule(candidate, now_s)

    def due(self, now_s: float) -> list[FileRef]:
        """The candidates to look at now; each stays out until `looked` is called for it."""
        found = []
        while self._heap and self._heap[0][0] <= now_s:
            due_s, ref = heapq.heappop(self._heap)
            candidate = self.candidates.get(ref)
            if candidate is not None and candidate.due_s == due_s:
                candidate.due_s = None
                candidate.looked_s = now_s
                found.append(ref)
        return found

    def asks_for_end(self, ref: FileRef) -> bool:
        """Does it depend on the file's end whether it is complete at once?"""
        candidate = self.candidates[ref]
        return candidate.strong and not candidate.placed and not candidate.quiet_needed

    def resume(self, ref: FileRef, now_s: float) -> None:
        """A candidate that `due` handed out and nobody looked at is to be looked at now."""
        candidate = self.candidates.get(ref)
        if candidate is not None and candidate.due_s is None:
            candidate.hint_during_look = False
            candidate.first_s = now_s  # that nobody looked at it says nothing of its writer
            self._schedule(candidate, now_s)

    def next_due_s(self) -> float | None:
        """When the next look is due, or None with nothing to look at."""
        while self._heap:
            due_s, ref = self._heap[0]
            candidate = self.candidates.get(ref)
            if candidate is not None and candidate.due_s == due_s:
                return due_s
            heapq.heappop(self._heap)
        return None

    def overtaken(self, ref: FileRef, look: Look, now_s: float) -> bool:
        """Did something happen at the path during the look? Then it proves nothing, and another one follows."""
        candidate = self.candidates[ref]
        self._note(candidate, look, now_s)
        if not candidate.hint_during_look:
            return False
        candidate.hint_during_look = False
        self._go_on(candidate, now_s + (candidate.settle_s if candidate.quiet_needed else 0.0), now_s)
        return True

    def looked(self, ref: FileRef, look: Look, now_s: float) -> bool:
        """Take the look at a regular file in; True when it is settled (the caller then calls `drop`)."""
        candidate = self.candidates[ref]
        self._note(candidate, look, now_s)
        if self._complete(candidate, look, now_s):
            return True
        self._go_on(candidate, self._next_look_s(candidate, look, now_s), now_s, held=look.lease is Lease.BUSY)
        return False

    def _note(self, candidate: Candidate, look: Look, now_s: float) -> None:
        if look.identity != candidate.identity:
            candidate.identity = look.identity
            candidate.since_s = now_s

    def _go_on(self, candidate: Candidate, due_s: float, now_s: float, *, held: bool = False) -> None:
        """Look again then, or later if it has been going on for long. `held`: somebody has it open for writing."""
        if now_s - candidate.first_s >= max(RESTLESS_S, 2 * candidate.settle_s):
            if not candidate.told:
                candidate.told = True
                self.restless.append(candidate)
            candidate.restless_looks += not held  # one that is held has waits of its own, and its close is news
        self._schedule(candidate, due_s)

    def _complete(self, candidate: Candidate, look: Look, now_s: float) -> bool:
        if look.lease is Lease.BUSY:
            return False
        told = candidate.strong and (candidate.placed or look.ends_whole)
        at_once = told and not candidate.quiet_needed and look.close_is_whole and look.lease is Lease.GRANTED
        settled_s = candidate.since_s + candidate.settle_s
        if at_once and now_s < settled_s:
            self._remember(candidate.ref, candidate.hinted_s + candidate.settle_s, now_s)
        return at_once or now_s >= settled_s

    def _next_look_s(self, candidate: Candidate, look: Look, now_s: float) -> float:
        if look.lease is not Lease.BUSY:
            return candidate.since_s + candidate.settle_s
        candidate.busy_looks += 1
        candidate.quiet_needed = candidate.quiet_needed or candidate.busy_looks > 1
        return now_s + _doubled(candidate, candidate.busy_looks - 1)

    def _remember(self, ref: FileRef, until_s: float, now_s: float) -> None:
        while self._recent_ends and self._recent_ends[0][0] <= now_s:
            end_s, old = heapq.heappop(self._recent_ends)
            if self._recent.get(old) == end_s:
                del self._recent[old]
        self._recent[ref] = until_s
        heapq.heappush(self._recent_ends, (until_s, ref))

    def drop(self, ref: FileRef) -> None:
        """Forget the candidate: it is settled, gone, or none of our business."""
        self.candidates.pop(ref, None)

    def _schedule(self, candidate: Candidate, due_s: float) -> None:
        if candidate.restless_looks:
            due_s = max(due_s, candidate.looked_s + _doubled(candidate, candidate.restless_looks))
        candidate.due_s = due_s
        heapq.heappush(self._heap, (due_s, candidate.ref))


def _doubled(candidate: Candidate, times: int) -> float:
    """`settle`, doubled so many times, up to the longest wait."""
    return min(BUSY_RETRY_MAX_S, max(0.05, candidate.settle_s) * 2.0 ** min(times, 16))  # it may go on for days
