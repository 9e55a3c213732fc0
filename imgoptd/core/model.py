"""The nouns of the daemon, all immutable values.

Paths are bytes: a name on Linux need not be UTF-8. Sizes are bytes, durations seconds, and the unit stands in the
name where it could be doubted. `now_s` is monotonic everywhere; only the store and the log know wall-clock time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class FileRef(NamedTuple):
    """A file, named by the watched folder it lies in and its path below it (no leading slash, no `..`)."""

    root: bytes
    path: bytes

    @property
    def full(self) -> bytes:
        return self.root.rstrip(b"/") + b"/" + self.path


class Domain(NamedTuple):
    """A trust domain: a worker serves files of one owner in one watched folder, then is replaced."""

    root: bytes
    uid: int


class Identity(NamedTuple):
    """What tells one content at a path from another without reading it.

    ctime is left out on purpose: RENAME_EXCHANGE changes it on a file whose content did not change.
    """

    dev: int
    ino: int
    size: int
    mtime_ns: int


class Place(NamedTuple):
    """A disk as a watched folder sees it: what may fail as one. `dev` is 0 where the device is not known."""

    root: bytes
    dev: int


class JobState(StrEnum):
    SETTLING = "settling"
    QUEUED = "queued"
    ACTIVE = "active"
    DEFERRED = "deferred"
    HELD = "held"
    QUARANTINED = "quarantined"
    DONE = "done"
    SKIPPED = "skipped"


FINAL_STATES = frozenset({JobState.DONE, JobState.SKIPPED, JobState.QUARANTINED})
"""States that only a changed file or an operator's `retry` leaves."""


class FailureKind(StrEnum):
    """Why a job did not end well; `core.retry` says what each leads to."""

    REJECTED = "rejected"
    """The file is outside what we do (limits, features); trying again cannot help."""
    CORRUPT = "corrupt"
    """The file is damaged; it is left as it is."""
    CHANGED = "changed"
    """The file changed or vanished while it was worked on; look again."""
    TRANSIENT = "transient"
    """The surroundings failed (I/O, permissions, a lost worker): later it may work."""
    EXHAUSTED = "exhausted"
    """The memory given was not enough."""
    UNVERIFIED = "unverified"
    """The result was not the same picture; the original stays."""


@dataclass(frozen=True, slots=True)
class Failure:
    """`reason` is a short fixed word that scripts may rely on; `detail` is a sentence for a person."""

    kind: FailureKind
    reason: str
    detail: str


UNFINISHED = "unfinished"
"""The reason of a replace after which names may still have to be put right: its intent is kept until that was done."""


class HintKind(StrEnum):
    """What drew attention to a path. A hint is never proof: the file is looked at before any work."""

    CREATED = "created"
    CLOSED = "closed"
    MOVED = "moved"
    ARRIVED = "arrived"
    """Seen by the scan of a folder that has just appeared."""
    FOUND = "found"
    """Seen by a rescan, not by the watcher."""


class FileKind(StrEnum):
    REGULAR = "regular"
    SYMLINK = "symlink"
    OTHER = "other"
    """A FIFO, socket, device or folder."""
    GONE = "gone"
    UNREADABLE = "unreadable"


class Lease(StrEnum):
    """The kernel's answer to a read lease: does any local process hold the file open for writing?"""

    GRANTED = "granted"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    """The filesystem or our rights allow no leases: quiet time alone must do."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a path showed. Fields after `kind` mean something for regular files alone."""

    kind: FileKind
    identity: Identity | None = None
    uid: int = -1
    mode: int = 0
    nlink: int = 1
    immutable: bool = False
    read_only_mount: bool = False
    """Its filesystem could be written to, but not through the mount on which we see it."""
    lease: Lease = Lease.UNAVAILABLE
    close_is_whole: bool = False
    """A local filesystem of which a close-write is known to be reported (ext4, xfs, btrfs, tmpfs, overlay)."""
    ends_whole: bool = False
    """It ends as whole files of its format do; asked for only where a look is to tell."""
    ctime_ns: int = 0
    """When content, rights or name last changed, by the clock of the file's kernel; 0 is unknown."""
    leave: Failure | None = None
    """Why it is to be left alone for the sake of files around it (REJECTED)."""
    listed_as: bytes = b""
    """Of a GONE file: the path under which a file is listed that this path leads to where case makes no difference."""
    detail: str = ""
    """Of an unreadable file: what the kernel said."""
    reason: str = "unreadable"
    """Of an unreadable file: the same as a short fixed word, as in `Failure`."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What a probe learned from a file's bytes, in one pass."""

    format: str
    """`jpeg`, `png`, `webp`, `gif`, `avif`, `heic`, `tiff`, `svg`, `jxl`, `bmp`, or `unknown`."""
    width: int = 0
    height: int = 0
    depth_bits: int = 8
    """Bits of one sample."""
    channels: int = 0
    frames: int = 1
    progressive: bool = False
    """Progressive (JPEG) or interlaced (PNG, GIF): costs more memory to decode."""
    leave: Failure | None = None
    """Set where the file is to be left alone, with the reason; nothing else is tried then."""
    sampling: str = ""
    """Of a JPEG's colours: `4:4:4`, `4:2:2`, `4:2:0`, `4:4:0` or `4:1:1`; empty: it has none, or it is not known."""

    @property
    def pixels(self) -> int:
        return self.width * self.height * max(1, self.frames)


@dataclass(frozen=True, slots=True)
class Effort:
    """What a task really took in its worker."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_bytes: int = 0
    """Highest resident memory of the whole worker while the task ran (VmHWM); 0 is unknown."""


class Verdict(StrEnum):
    OPTIMIZED = "optimized"
    """A verified, smaller result lies in the output descriptor."""
    KEPT = "kept"
    """No result is worth it; the file stays byte for byte."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    size_bytes: int = 0
    """Of the result, with OPTIMIZED."""
    failure: Failure | None = None
    """With FAILED: why. With KEPT: the reason in the same shape."""
    effort: Effort = Effort()


@dataclass(frozen=True, slots=True)
class JobSettings:
    """How to treat a file, resolved once for each profile and config generation."""

    profile: str = "archive"
    min_saving: float = 0.01
    """Fraction of the file's size that a result must save to be worth a rewrite."""
    keep_original: bool = False
    """Keep what the result displaces, so that it can be put back."""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file's row in the store: where its life stands."""

    ref: FileRef
    identity: Identity
    state: JobState
    reason: str = ""
    detail: str = ""
    uid: int = -1
    fresh: bool = False
    attempts: int = 0
    """Attempts that were the file's own fault so far."""
    sha256: str = ""
    """Of the content that `identity` names, hex; the daemon's own reading."""
    facts: ImageFacts | None = None
    bytes_before: int = 0
    bytes_after: int = 0
    output: bytes = b""
    """The output tree it was last judged for; empty: it is replaced in place."""

    @property
    def place(self) -> Place:
        return Place(self.ref.root, self.identity.dev)


class KeptAt(NamedTuple):
    """Where a displaced original is kept."""

    place: bytes | None
    """The folder, below the watched one (empty: that itself), in whose `.imgoptd/undo` it lies; None: state_dir."""
    name: bytes
    """Of the file there: `<sha256>-<random>`."""


class Restoring(NamedTuple):
    """An original that is on its way back to its path. Durable before any name changes."""

    temp_name: bytes
    """What the exchange is made with: a name in the file's folder; empty: the kept file under its own name."""
    identity: Identity
    """Of what shall stand at the path: the kept inode itself, or its copy."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of the store: an original that was kept when a result took its place."""

    ref: FileRef
    at: KeptAt
    identity: Identity
    """Of the kept file. Only this very inode is ever put back or removed."""
    sha256: str
    result: Identity
    """What stood at the path when the original was kept: a restore takes the place of that alone."""
    result_sha256: str
    restoring: Restoring | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What stands in an output tree for a file, put there by us: nothing else there is ours to replace."""

    ref: FileRef
    root: bytes
    """Of the output tree; the path below it is that of the file below its watched folder (`core.naming`)."""
    identity: Identity
    sha256: str
    source_sha256: str
    """Of the content of the file that it was made from."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where the result of a job goes, if not into the original's place."""

    root: bytes
    earlier: Output | None = None
    """What was put there for the file before."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """Of an intent whose result goes into an output tree: where, and what it was made from."""

    root: bytes
    source: Identity
    source_sha256: str


@dataclass(frozen=True, slots=True)
class Intent:
    """Written durably before an exchange. Recovery acts on inodes, never on the temp's name alone.

    In an output tree `original` is our earlier output, which is to be displaced; inode 0: nothing is.
    """

    ref: FileRef
    temp_name: bytes
    """Name of the temp in the folder of the file."""
    original: Identity
    result: Identity | None
    """None: the result's inode is not known yet, so no exchange can have happened."""
    result_sha256: str
    original_sha256: str = ""
    keep: KeptAt | None = None
    """Where the original goes once it is displaced; None: it is removed."""
    mirrored: Mirrored | None = None
    """Set where the result goes into an output tree."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of a finished replace: feeds `why`, the totals, and 'this content is already our result'."""

    ref: FileRef
    before_sha256: str
    after_sha256: str
    bytes_before: int
    bytes_after: int
    profile: str
