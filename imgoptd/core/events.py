"""Everything that can happen to the engine."""

from __future__ import annotations

from dataclasses import dataclass

from imgoptd.core.asked import DrainRequested as DrainRequested
from imgoptd.core.asked import PauseAsked as PauseAsked
from imgoptd.core.asked import RestoreAsked as RestoreAsked
from imgoptd.core.asked import ResumeAsked as ResumeAsked
from imgoptd.core.asked import RetryRequested as RetryRequested
from imgoptd.core.asked import ScaleAsked as ScaleAsked
from imgoptd.core.asked import ScaleReturned as ScaleReturned
from imgoptd.core.estimate import Lesson
from imgoptd.core.model import (
    Failure,
    FileRecord,
    FileRef,
    HintKind,
    Identity,
    Kept,
    KeptAt,
    Look,
    Output,
    Place,
)
from imgoptd.core.policy import FolderPolicy
from imgoptd.core.reports import Finished as Finished
from imgoptd.core.reports import Probed as Probed
from imgoptd.core.reports import Recalled as Recalled
from imgoptd.core.reports import Recognised as Recognised
from imgoptd.core.reports import TaskRefused as TaskRefused
from imgoptd.core.reports import TaskStarted as TaskStarted
from imgoptd.core.reports import WorkerExited as WorkerExited
from imgoptd.core.reports import WorkerReading as WorkerReading
from imgoptd.core.reports import WorkerStarted as WorkerStarted
from imgoptd.core.rescan import Stood
from imgoptd.core.since import Since


@dataclass(frozen=True, slots=True)
class Configured:
    """A new configuration is in force. Running jobs keep the settings they began with."""

    generation: int
    folders: tuple[FolderPolicy, ...]
    workers_min: int
    workers_max: int
    """0: as many as there are CPUs, also when their number changes."""
    job_timeout_s: float
    memory_budget_bytes: int | None = None
    """What all workers together may hold; None: as much as the machine and its cgroup leave."""
    undo_max_bytes: int = 0
    """What kept originals may take together; a job that must keep one waits beyond."""
    patient: bool = True
    """Wait for as long as it takes for a file that somebody keeps open for writing; else defer it after a few looks."""
    memory_budget_fraction: float | None = None
    """The same as a share of the smallest limit of machine and cgroup, also when that changes."""


@dataclass(frozen=True, slots=True)
class Hinted:
    ref: FileRef
    kind: HintKind


@dataclass(frozen=True, slots=True)
class BaselineStarted:
    """The first scan of a folder begins: with `existing = "ignore"` what it finds is left alone."""

    root: bytes
    since: Since = Since()
    """What came later is no part of it."""


@dataclass(frozen=True, slots=True)
class ScanStarted:
    """A rescan of the folder begins; what it finds arrives as hints."""

    root: bytes


@dataclass(frozen=True, slots=True)
class ScanFinished:
    """A rescan of the folder has reported all it found."""

    root: bytes
    complete: bool = True
    """False: the folder went out of reach, so that there may be more than was found."""


@dataclass(frozen=True, slots=True)
class StoodBefore:
    """Files that a folder's first scan found, and of which a stat alone told that they stood there before."""

    root: bytes
    files: tuple[Stood, ...]


@dataclass(frozen=True, slots=True)
class FolderLost:
    """The watched folder is out of reach: nothing of it is looked at or worked on until it is found."""

    root: bytes
    sentence: str
    """Why, for a person; empty: it is just being armed, and what is of it only waits."""


@dataclass(frozen=True, slots=True)
class FolderFound:
    """The watched folder is held and watched, whether it was lost before or not."""

    root: bytes


@dataclass(frozen=True, slots=True)
class FolderProbed:
    """The answer to `ProbeFolder`."""

    place: Place
    failure: Failure | None
    """None: a file could be made, written, put on disk and removed there."""
    shown: bool = False
    """The filesystem itself says that it is full or read-only: nothing was written, and to ask again costs nothing."""


@dataclass(frozen=True, slots=True)
class Looked:
    ref: FileRef
    look: Look
    known: FileRecord | None
    """The store's row of this path, if there is one."""
    output: Output | None = None
    """What we put into the folder's output tree for this path, if there is one and we did."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A job that was queued, active or deferred when the daemon last ended."""

    record: FileRecord


@dataclass(frozen=True, slots=True)
class Learned:
    """What earlier runs have learned of what jobs take, with the same versions of the codecs."""

    codecs: str
    lessons: tuple[Lesson, ...]


@dataclass(frozen=True, slots=True)
class TakenUp:
    """All jobs of that class that wait in the store were told as Recovered. `jobs`: how many waited when it began."""

    fresh: bool
    jobs: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """The result has the original's metadata and is on disk; it may be exchanged once the intent is durable."""

    ref: FileRef
    temp_name: bytes
    original: Identity
    result: Identity | None
    sha256: str
    keep: KeptAt | None = None
    """Where the original will be kept, if that was asked for."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """The result stands at the path (in an output tree: at the path there), durably."""

    ref: FileRef
    result: Identity
    kept: Identity | None = None
    """Of the original where it is kept now, if that was asked for."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The file's content, read whole for a copy, is what its output was made from: nothing was put anywhere."""

    ref: FileRef
    sha256: str


@dataclass(frozen=True, slots=True)
class ReplaceFailed:
    """Prepare or exchange did not happen; the path holds what it held, or something newer."""

    ref: FileRef
    failure: Failure


@dataclass(frozen=True, slots=True)
class Sensed:
    """A reading of the machine. None is unknown, never zero."""

    available_bytes: int | None = None
    limit_bytes: int | None = None
    """The smallest of machine and cgroup limit."""
    psi_some_avg10: float | None = None
    psi_some_rate: float | None = None
    """Our own: share of the time since the last reading in which some task waited for memory, 0..1."""
    cpus: int = 1
    """That may be used; of a quota the next whole number."""
    others_cpus: float | None = None
    """CPUs that processes other than ours keep busy, of those that we could use."""
    workers: tuple[WorkerReading, ...] = ()
    """Of each worker that could be read."""
    cpu_quota: float | None = None
    """CPUs, where a quota is less than the CPUs of our affinity; None: there is none."""


@dataclass(frozen=True, slots=True)
class Alerted:
    """Somebody waits for memory, says the kernel: the last reading tells too little."""

    source: str
    """Which of the senses said so."""


@dataclass(frozen=True, slots=True)
class UndoChanged:
    """So many more (or fewer) originals are kept: counted at the start, removed with age, found by a recovery."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Restored:
    """The original stands at the path, durably. `beside`: the name under which another file had to be kept."""

    kept: Kept
    beside: str = ""


@dataclass(frozen=True, slots=True)
class RestoreFailed:
    """The path holds what it held, or something newer; the original is still kept."""

    kept: Kept
    failure: Failure


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened but time."""


Event = (
    Configured
    | Hinted
    | BaselineStarted
    | ScanStarted
    | ScanFinished
    | StoodBefore
    | FolderLost
    | FolderFound
    | FolderProbed
    | Looked
    | Recovered
    | Learned
    | TakenUp
    | WorkerStarted
    | WorkerExited
    | TaskStarted
    | Recognised
    | TaskRefused
    | Probed
    | Finished
    | Prepared
    | Exchanged
    | Standing
    | ReplaceFailed
    | Recalled
    | Sensed
    | Alerted
    | UndoChanged
    | RestoreAsked
    | Restored
    | RestoreFailed
    | DrainRequested
    | ScaleAsked
    | ScaleReturned
    | PauseAsked
    | ResumeAsked
    | RetryRequested
    | Tick
)
