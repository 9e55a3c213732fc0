"""Sick disks and lost folders: what lies there waits together, and is told of once."""

from __future__ import annotations

from collections.abc import Callable, Collection

from imgoptd.core import events as e
from imgoptd.core.backlog import Backlog
from imgoptd.core.breaker import SUSPICIOUS, TRIPPED, Breaker, Breakers, State, suspicious
from imgoptd.core.deferred import Deferred
from imgoptd.core.job import Job
from imgoptd.core.model import Failure, FailureKind, FileRef, Place
from imgoptd.core.story import Story
from imgoptd.core.turn import Turn


class Places:
    """What is queued stays queued in a backlog that is shut; what is deferred comes due when its place is well."""

    def __init__(self, story: Story, backlog: Backlog, deferred: Deferred, forgive: Callable[[FileRef], None]) -> None:
        """`forgive`: the file's next deferral is to begin with a short delay."""
        self.breakers = Breakers()
        self.lost: dict[bytes, str] = {}
        """Watched folders that are out of reach, with the reason; empty: it is being armed."""
        self._story = story
        self._backlog = backlog
        self._deferred = deferred
        self._forgive = forgive

    # ---- what happens -----------------------------------------------------------------------------------------------

    def took(self, turn: Turn, job: Job, failure: Failure) -> bool:
        """A job was deferred. True: it is not to be told of by itself, or not until its disk was tried."""
        if job.ref.root in self.lost:
            self._forgive(job.ref)
            return True
        if not suspicious(failure):
            return False
        breaker = self.breakers.trouble(turn, job.record, failure)
        if breaker.state in TRIPPED:
            self._acquit(breaker)
        self._backlog.shut(job.place)
        return True

    def probed(self, turn: Turn, event: e.FolderProbed) -> None:
        breaker = self.breakers.probed(turn, event.place, event.failure, event.shown)
        if breaker is None:
            return
        if breaker.state is not State.CLOSED:
            self._acquit(breaker)
            return
        for ref in breaker.suspects:
            job = self._deferred.get(ref)
            if job is not None:  # else it has changed meanwhile
                self._story.announce(turn, job.record)
        self._backlog.open(event.place)
        was_ill = breaker.failures > 0
        self._deferred.wake(
            turn.now_s, lambda job: was_ill and job.place == event.place and job.record.reason in SUSPICIOUS
        )

    def due(self, turn: Turn) -> None:
        """Try disks again whose time has come; one that has not answered for long is taken for sick."""
        for breaker in self.breakers.due(turn):
            self._acquit(breaker)

    def folder_lost(self, root: bytes, sentence: str) -> None:
        """Nothing of the folder is given out or tried again until it is found; what its disks ail matters no more."""
        self.lost[root] = sentence
        self._forget_disks(root)
        self._backlog.shut_folder(root)

    def folder_found(self, turn: Turn, root: bytes) -> None:
        if self.lost.pop(root, None) is not None:
            self._backlog.open_folder(root)
            self._deferred.wake(turn.now_s, lambda job: job.ref.root == root)

    def keep(self, roots: Collection[bytes]) -> None:
        """The other folders are watched no more."""
        for root in self.lost.keys() - roots:
            del self.lost[root]
            self._backlog.open_folder(root)
        for root in {place.root for place in self.breakers.known} - set(roots):
            self._forget_disks(root)

    # ---- asking -----------------------------------------------------------------------------------------------------

    def kept_back(self, ref: FileRef, place: Place | None, now_s: float) -> Failure | None:
        """Why the file waits although nothing is wrong with it: its folder is lost, or its disk is sick. Else None."""
        sentence = self.lost.get(ref.root)
        if sentence:
            return Failure(FailureKind.TRANSIENT, "folder-lost", f"{sentence}; it goes on when the folder is back")
        breaker = self.breakers.known.get(place) if place is not None else None
        if breaker is None or breaker.state not in TRIPPED:
            return None
        when = "now" if breaker.next_s is None else f"in {max(0.0, breaker.next_s - now_s):.0f} s"
        detail = f"nothing can be done on its disk now: {breaker.failure.detail}; tried again {when}"
        return Failure(FailureKind.TRANSIENT, breaker.failure.reason, detail)

    def parked(self) -> int:
        """Queued jobs that wait for nothing but a lost folder or a sick disk."""
        tripped = [one.place for one in self.breakers.known.values() if one.state in TRIPPED]
        on_disks = sum(self._backlog.jobs_on(place) for place in tripped)
        return on_disks + sum(self._backlog.jobs_below(root) for root, sentence in self.lost.items() if sentence)

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _acquit(self, breaker: Breaker) -> None:
        """It was the disk: none of those that failed on it waits longer for that."""
        for ref in breaker.suspects:
            self._forgive(ref)
        breaker.suspects.clear()

    def _forget_disks(self, root: bytes) -> None:
        places = [place for place in self.breakers.known if place.root == root]
        self.breakers.forget(places)
        for place in places:
            self._backlog.open(place)
