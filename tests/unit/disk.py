"""An imaginary disk of images, each known by what would happen to whoever works on it. Plain values, no real files."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from imgoptd.core.model import (
    Effort,
    Failure,
    FailureKind,
    FileKind,
    FileRef,
    Identity,
    ImageFacts,
    Lease,
    Look,
    Outcome,
    Verdict,
)

ALICE, BOB = 1000, 1001
DEADLY_TO_PROBE = "deadly-to-probe"
DEADLY = "deadly"
ENDLESS = "endless"
BURSTING = "bursting"
"""The kernel kills its worker for want of memory."""

_FACTS = {
    "photo": ImageFacts("jpeg", 1000, 1000, channels=3),
    "poster": ImageFacts("jpeg", 4000, 3000, channels=3),
    "icon": ImageFacts("jpeg", 64, 64, channels=3),
    "panorama": ImageFacts("jpeg", 6800, 6000, channels=3),
    "mural": ImageFacts("jpeg", 7400, 6000, channels=3),
    "huge": ImageFacts("png", 30_000, 30_000, channels=3),
}
_FAILED = {
    "greedy": Failure(FailureKind.EXHAUSTED, "memory", "it ran out of memory"),
    "wrong": Failure(FailureKind.UNVERIFIED, "pixels", "the result was another picture"),
}


class Content(NamedTuple):
    """`kind` says what becomes of it, `tag` tells contents of one kind apart."""

    kind: str
    tag: int = 0
    size: int = 1_000_000

    @property
    def sha256(self) -> str:
        return f"{self.kind}-{self.tag}-{self.size}"

    def optimized(self) -> Content:
        """What the worker makes of it."""
        return Content("result", self.tag, self.size // 2)

    def probe(self) -> tuple[ImageFacts | None, Failure | None]:
        if self.kind == "corrupt":
            return None, Failure(FailureKind.CORRUPT, "truncated", "it ends too early")
        if self.kind == "text":
            return ImageFacts("unknown", leave=Failure(FailureKind.REJECTED, "not-an-image", "it is text")), None
        if self.kind == "gif":
            return ImageFacts("gif", leave=Failure(FailureKind.REJECTED, "left-alone", "it is animated")), None
        return _FACTS.get(self.kind, _FACTS["photo"]), None

    def outcome(self) -> Outcome:
        # Of photos too little to teach the estimator anything: tests of admission count on their predictions.
        effort = Effort(cpu_s=0.1, wall_s=0.1, peak_bytes=(40 if self.kind == "photo" else 55) << 20)
        if self.kind in _FAILED:
            return Outcome(Verdict.FAILED, failure=_FAILED[self.kind], effort=effort)
        if self.kind in ("tight", "result"):
            return Outcome(Verdict.KEPT, effort=effort)
        return Outcome(Verdict.OPTIMIZED, self.size // 2, effort=effort)


@dataclass(slots=True)
class File:
    content: Content
    ino: int
    mtime_ns: int
    uid: int = ALICE
    mode: int = 0o644
    nlink: int = 1
    kind: FileKind = FileKind.REGULAR
    writers: int = 0
    """Processes that have it open for writing."""
    leave: Failure | None = None
    """What a look would say of files around it."""
    listed_as: bytes = b""
    """The path under which its folder lists it, if another one."""
    pinnable: bool = True
    """Where UNREADABLE: can it at least be told which file it is?"""
    unreadable_for: str = "unreadable"

    @property
    def identity(self) -> Identity:
        return Identity(1, self.ino, self.content.size, self.mtime_ns)


@dataclass(slots=True)
class Disk:
    files: dict[FileRef, File] = field(default_factory=dict)
    leases: bool = True
    """Does the filesystem grant leases and report closes?"""
    sick: set[bytes] = field(default_factory=set)
    """Watched folders on whose disk nothing can be read or written now."""
    lost: set[bytes] = field(default_factory=set)
    """Watched folders that are out of reach now."""
    _numbers: count[int] = field(default_factory=lambda: count(100))

    def number(self) -> int:
        """A number never given before: an inode, a time."""
        return next(self._numbers)

    def put(self, ref: FileRef, content: Content, uid: int = ALICE, **attributes: object) -> File:
        """A new file at the path, whatever stood there."""
        file = self.files[ref] = File(content, self.number(), self.number(), uid)
        for name, value in attributes.items():
            setattr(file, name, value)
        return file

    def rewrite(self, ref: FileRef, content: Content) -> None:
        """The same inode with other content."""
        file = self.files[ref]
        file.content, file.mtime_ns = content, self.number()

    def look(self, ref: FileRef) -> Look:
        file = self.files.get(ref)
        if ref.root in self.lost:
            return Look(FileKind.UNREADABLE, detail="its watched folder is out of reach")
        if file is None:
            return Look(FileKind.GONE)
        if file.listed_as:
            return Look(FileKind.GONE, listed_as=file.listed_as)
        if file.kind is FileKind.UNREADABLE:
            identity = file.identity if file.pinnable else None
            return Look(file.kind, identity, detail="as the kernel says", reason=file.unreadable_for)
        if file.kind is not FileKind.REGULAR:
            return Look(file.kind)
        lease = Lease.UNAVAILABLE
        if self.leases:
            lease = Lease.BUSY if file.writers else Lease.GRANTED
        return Look(
            FileKind.REGULAR,
            file.identity,
            file.uid,
            file.mode,
            file.nlink,
            lease=lease,
            close_is_whole=self.leases,
            ends_whole=True,
            leave=file.leave,
        )
