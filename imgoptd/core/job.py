"""A job in memory: the stored record and what only the running daemon needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from imgoptd.core.estimate import Estimate
from imgoptd.core.growth import Growth
from imgoptd.core.model import Domain, Failure, FileRecord, FileRef, HintKind, JobSettings, KeptAt, Mirror, Place


class Stage(StrEnum):
    """Where a job stands between being queued and its end; finer than the state the user sees."""

    UNPROBED = "unprobed"
    PROBING = "probing"
    READY = "ready"
    WORKING = "working"
    COPYING = "copying"
    """Its own bytes wait to be put into the output tree."""
    REPLACING = "replacing"
    WAITING = "waiting"
    """Deferred until `due_s`, or held."""


WAITING = frozenset({Stage.UNPROBED, Stage.READY, Stage.WAITING})
"""No worker has the job, and nothing is being put in place for it."""


@dataclass(slots=True, eq=False)
class Job:
    record: FileRecord
    domain: Domain
    priority: int
    settings: JobSettings
    seq: int
    noticed_s: float
    """Since when it waits to be finished, earlier tries included."""
    stage: Stage = Stage.UNPROBED
    previous_sha256: str = ""
    """Of the content last finished at the path, if any: the same again needs no work."""
    result_sha256: str = ""
    """Of the result, between prepare and exchange."""
    keep_at: KeptAt | None = None
    """Where its original is to be kept, likewise."""
    mirror: Mirror | None = None
    """The output tree its result goes to; None: into the original's place."""
    kept: Failure | None = None
    """Why its own bytes go into the output tree instead of a result."""
    estimate: Estimate = Estimate(0, 0.0)
    reserved_bytes: int = 0
    """What the running job may take above the idle worker: it is held to that."""
    took: str = ""
    """What it took the last time that a worker was through with it, for its story."""
    failed_bytes: int = 0
    """What its last attempt that failed might take; 0: none is known. One that merely had to end does not count."""
    growth: Growth | None = None
    """What it has taken since a worker began with it."""
    doubled: bool = False
    """May take twice the memory predicted: an earlier attempt may have failed for want of it."""
    solo: bool = False
    """Runs with nothing else running."""
    had_all: bool = False
    """Its last attempt was given all the memory that there is for a job."""
    refusals: int = 0
    """Attempts that ended since it is known because their memory was refused to grow."""
    kills: int = 0
    """How often its worker was killed from outside."""
    hinted_again: bool = False
    """Something happened at the path while the job ran: look again afterwards."""
    outdated: bool = False
    """Another configuration came while a worker had it: should it wait again, it is judged anew."""
    misplaced: bool = False
    """The configuration that came has another place for its result: it is put nowhere, and the file judged anew."""
    intended: bool = False
    """Its intent is durable: what was begun at its place goes on."""
    due_s: float = 0.0
    told: FileRecord | None = None
    """Of a file that could not be looked at: the row that was stored of it before."""

    @property
    def ref(self) -> FileRef:
        return self.record.ref

    @property
    def again(self) -> HintKind:
        """The hint with which its file is looked at once more: a fresh drop stays one."""
        return HintKind.ARRIVED if self.record.fresh else HintKind.FOUND

    @property
    def place(self) -> Place:
        return self.record.place

    @property
    def booked_bytes(self) -> int:
        """What has to be reckoned with: the reservation, or what is known to be less or more than that."""
        return self.reserved_bytes if self.growth is None else self.growth.booked_bytes(self.reserved_bytes)

    @property
    def likely_bytes(self) -> tuple[float, float]:
        """Mean of what it will take, and variance. Of a job at rest, or one that little is known of, it is booked."""
        estimate = self.estimate
        if not estimate.is_known or self.doubled or (self.growth is not None and self.growth.bound_bytes is not None):
            return float(self.booked_bytes), 0.0
        return estimate.mean_bytes, estimate.variance

    @property
    def urgency(self) -> tuple[bool, int]:
        """What comes first: fresh drops ahead of bulk, then the folder's priority."""
        return (not self.record.fresh, self.priority)

    @property
    def order(self) -> tuple[bool, int, float, int]:
        """Within one urgency: fresh drops as they came; bulk largest first, which shortens the tail of a drain.

        Whose turn it is: `core.line`.
        """
        size = 0.0 if self.record.fresh else -self.estimate.cpu_s
        return (*self.urgency, size, self.seq)
