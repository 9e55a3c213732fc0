"""Everything the engine may ask for. Records are made durable in one commit before any action of the same turn."""

from __future__ import annotations

from dataclasses import dataclass, field

from imgoptd.core.estimate import Lesson
from imgoptd.core.model import (
    Domain,
    Failure,
    FileRecord,
    FileRef,
    Identity,
    ImageFacts,
    Intent,
    JobSettings,
    Kept,
    Mirror,
    Output,
    Place,
    Receipt,
)

# ---- records: what must be durable ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SaveFile:
    record: FileRecord


@dataclass(frozen=True, slots=True)
class AppendStep:
    """One line in the life of a file, as `imgoptctl why` shows it."""

    ref: FileRef
    step: str
    text: str


@dataclass(frozen=True, slots=True)
class SaveIntent:
    intent: Intent


@dataclass(frozen=True, slots=True)
class DropIntent:
    ref: FileRef


@dataclass(frozen=True, slots=True)
class SaveReceipt:
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class SaveKept:
    """An original is kept, or what is known of it changed. The store adds when it was first told."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class DropKept:
    """It is kept no longer: put back, removed with age, or gone."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class SaveOutput:
    """This stands in an output tree now, in place of what stood there for the file before."""

    output: Output


@dataclass(frozen=True, slots=True)
class BaselineBegun:
    """The folder's first scan begins: what comes after this moment is new, also if the scan has to be begun again."""

    root: bytes
    wall_ns: int
    """By the clock that stamps files. The first one told counts, until the baseline is taken."""


@dataclass(frozen=True, slots=True)
class BaselineTaken:
    """The folder's first scan is complete: from now on what is found there came later."""

    root: bytes


@dataclass(frozen=True, slots=True)
class SaveLearned:
    """All that was learned of what jobs take, in place of what was saved before."""

    codecs: str
    """Under which versions of the codecs."""
    lessons: tuple[Lesson, ...]


Record = (
    SaveFile
    | AppendStep
    | SaveIntent
    | DropIntent
    | SaveReceipt
    | SaveKept
    | DropKept
    | SaveOutput
    | BaselineBegun
    | BaselineTaken
    | SaveLearned
)

# ---- actions: what the adapters do ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LookAt:
    """Look at the path and ask the store for its row. Answer: Looked."""

    ref: FileRef
    ends: bool = False
    """Look also whether the file ends as whole files of its format do."""
    output: bytes = b""
    """The folder's output tree: ask the store also what stands there for the file."""


@dataclass(frozen=True, slots=True)
class ProbeFolder:
    """Try whether a file can be made in the folder of `ref`, written, and put on disk. Answer: FolderProbed."""

    place: Place
    ref: FileRef
    need_bytes: int
    """Room that must be left above the floor of free space, as far as it is less than the floor itself."""
    output: bytes = b""
    """The output tree of the file, if it has one: it is tried there, on whatever disk that is."""


@dataclass(frozen=True, slots=True)
class StartWorker:
    worker: int
    domain: Domain


@dataclass(frozen=True, slots=True)
class RetireWorker:
    """Tell an idle worker to leave. Answer: WorkerExited."""

    worker: int


@dataclass(frozen=True, slots=True)
class KillWorker:
    """End a worker at once (timeout, protocol error). Answer: WorkerExited."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Recall:
    """Ask a worker for a task back that it has not begun. Answer: Recalled, or the usual one if it had begun."""

    worker: int
    ref: FileRef


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Open the file and hand it over for a probe. Answers: TaskStarted, then Probed; or TaskRefused."""

    worker: int
    ref: FileRef
    identity: Identity


@dataclass(frozen=True, slots=True)
class SendJob:
    """Open and hash the file, hand input and output descriptors over.

    Answers: TaskStarted, then Finished; or Recognised; or TaskRefused.
    """

    worker: int
    ref: FileRef
    identity: Identity
    facts: ImageFacts
    settings: JobSettings
    memory_bytes: int
    """Reservation: what the job is allowed to take above the idle worker."""
    mirror: Mirror | None
    """The output tree that the result goes into; None: into the original's place. It has no default, lest a caller
    forget it and an original be replaced that was to be left alone."""
    known_sha256: str = ""
    """Content that needs no work if the file holds it; empty: none is known."""


@dataclass(frozen=True, slots=True)
class Prepare:
    """Give the result the original's metadata and fsync it. Answers: Prepared or ReplaceFailed."""

    ref: FileRef
    size_bytes: int
    keep_original: bool = False
    """Find a place for the original, too."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Read the file whole and have its bytes, with its attributes, ready for the output tree.

    Answers: Prepared, after which all goes as with a result; Standing; or ReplaceFailed.
    """

    ref: FileRef
    identity: Identity
    mirror: Mirror


@dataclass(frozen=True, slots=True)
class Exchange:
    """Put the result in the original's place if that is still what was read; or into the output tree.

    Answers: Exchanged; Prepared again, now with the result's inode, where the result had to be copied first; or
    ReplaceFailed.
    """

    intent: Intent


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget the open descriptors and the result of a job that will not be committed."""

    ref: FileRef


@dataclass(frozen=True, slots=True)
class Restore:
    """Put a kept original back, if its own result still stands at the path. Answers: Restored or RestoreFailed."""

    kept: Kept


@dataclass(frozen=True, slots=True)
class AnswerRestore:
    """Tell the operator what became of it."""

    ref: FileRef
    failure: Failure | None
    detail: str


@dataclass(frozen=True, slots=True)
class Sense:
    """Read the sensors. Answer: Sensed."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Say something to the operator: one journal entry with fixed fields."""

    event: str
    """A key of `adapters.journald.MESSAGE_IDS`: `scale`, `file`, `worker`, ..."""
    message: str
    priority: int = 6
    """syslog level, 0..7."""
    fields: tuple[tuple[str, str], ...] = field(default=())
    """Upper-case names without the `IMGOPTD_` prefix, in order."""


Action = (
    LookAt
    | ProbeFolder
    | StartWorker
    | RetireWorker
    | KillWorker
    | Recall
    | SendProbe
    | SendJob
    | Prepare
    | Copy
    | Exchange
    | Discard
    | Restore
    | AnswerRestore
    | Sense
    | Announce
)
Command = Record | Action
