"""What a rescan has to draw attention to: what stands in a folder against what the store knows of it. Pure.

Both come sorted by the bytes of the path, in pieces, so that a million files that are known and finished cost a
comparison of two texts each: no look, no event, no write, and no more memory than a piece of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import islice
from typing import NamedTuple, Protocol

from imgoptd.core.finished import (
    COMPANIONS,
    EXISTING,
    NO_IDENTITY,
    NOT_A_FILE,
    SYMLINK,
    UNTOUCHABLE,
    VANISHED,
    Row,
    finished,
    same_content,
    untouchable,
)
from imgoptd.core.model import FINAL_STATES, Identity, JobState
from imgoptd.core.since import Since

STEP = 4096
"""Entries compared in one go, about."""
EVERY_S = 3600.0
REST = 100
"""A pass that took long rests this many times as long: a hundredth of a core at most."""


_WELL = frozenset({JobState.DONE.value, JobState.SKIPPED.value})


class Kind(IntEnum):
    REGULAR = 0
    SYMLINK = 1
    OTHER = 2
    LISTED = 3
    """A folder, whose entries follow."""
    UNLISTED = 4
    """A folder that could not be listed, or not to its end: of what lies below no more is known."""


class Entry(Protocol):
    """One entry of a walk. The path of a folder ends with a slash (that of the root is empty), and is sorted so."""

    @property
    def path(self) -> bytes: ...
    @property
    def mark(self) -> str:
        """Of a regular file `:inode:size:mtime_ns`, else empty."""

    @property
    def kind(self) -> Kind: ...
    @property
    def identity(self) -> Identity: ...
    @property
    def mode(self) -> int: ...
    @property
    def nlink(self) -> int: ...
    @property
    def uid(self) -> int: ...
    @property
    def ctime_ns(self) -> int: ...


class Seen(NamedTuple):
    """An entry, spelled out."""

    path: bytes
    kind: Kind
    identity: Identity
    mode: int = 0o644
    nlink: int = 1
    uid: int = 0
    ctime_ns: int = 0

    @property
    def mark(self) -> str:
        return ":{1}:{2}:{3}".format(*self.identity) if self.kind is Kind.REGULAR else ""


class Known(Row, Protocol):
    """What the store has of one path below the root."""

    @property
    def path(self) -> bytes: ...
    @property
    def text(self) -> str:
        """Its identity as `device:inode:size:mtime_ns`. That it ends with the mark of an entry says same content."""

    @property
    def told(self) -> str:
        """Its state as text."""


class Stood(NamedTuple):
    """A file that stood there before its folder was first watched, and is to be left alone."""

    path: bytes
    identity: Identity
    uid: int


@dataclass(frozen=True, slots=True)
class Terms:
    """How to judge."""

    spare_existing: bool = True
    """What stood there when the folder was first watched is left alone (`existing = "ignore"`)."""
    baseline: Since | None = None
    """Of the first scan of a folder that is to be spared."""
    spare_companions: bool = True
    """What was left alone for the sake of other files stays so until somebody does something to it; else it is looked
    at once more."""
    part_hard_links: bool = False
    """As in FolderPolicy."""
    patient: bool = True
    """As in core.finished."""
    output: bytes = b""
    """The folder's output tree; empty: it has none."""
    regular: bool = False
    """One of those that are made now and then: the engine has all that is unfinished, and what is gone is forgotten."""


@dataclass(slots=True)
class Found:
    """What one step came to."""

    hints: list[bytes] = field(default_factory=list)
    stood: list[Stood] = field(default_factory=list)
    gone: list[bytes] = field(default_factory=list)
    """Rows of files that are no more and that protect nothing: they may be forgotten."""


class Merge:
    """Feed `rows` whenever `wants_rows`, call `proven` whenever `wants_proof`, and `advance` until `over`."""

    def __init__(
        self,
        terms: Terms,
        ignored: Callable[[bytes], bool],
        start: bytes = b"",
        now_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`ignored`: do the folder's rules leave the path alone? `start`: only what lies below is merged.

        `now_s` gives the time as in `Since.at_s`; it matters to a baseline alone.
        """
        self._terms = terms
        self._now_s = now_s
        self._ignored = ignored
        self._prefix = start + b"/" if start else b""
        self._plain_not = UNTOUCHABLE | {VANISHED} | (frozenset() if terms.spare_existing else {EXISTING})
        """Reasons with which more than the content counts."""
        self._seen: Sequence[Entry] = ()
        self._at_seen = 0
        self._rows: Sequence[Known] = ()
        self._at_row = 0
        self._rows_over = False
        self._proven = True
        self.wants_proof = False
        """What was fed last says something else than the walk, and is to be believed only once it was proven."""
        self._blind: bytes | None = None
        """What begins so lies in a folder that could not be listed."""
        self._listed: list[tuple[bytes, int]] = []
        """The listed folders around the place that was reached, outermost first, and their devices."""
        self.after = self._prefix
        """Rows with a greater path are wanted next."""
        self.over = False
        self.entries = 0
        """Entries of the walk so far, folders not counted."""

    @property
    def wants_rows(self) -> bool:
        return self._at_row >= len(self._rows) and not self._rows_over

    def rows(self, page: Sequence[Known], *, last: bool, proven: bool = True) -> None:
        """The next rows after `after`; `last`: there are no more; `proven`: they are known to be what was written."""
        outside = next((at for at, row in enumerate(page) if not row.path.startswith(self._prefix)), None)
        self._rows = page if outside is None else page[:outside]
        self._at_row = 0
        self._rows_over = last or outside is not None
        self._proven = proven or not page
        if self._rows:
            self.after = self._rows[-1].path

    def proven(self) -> None:
        """The rows fed last are what was written."""
        self._proven, self.wants_proof = True, False

    def advance(self, walk: Iterator[Sequence[Entry]]) -> Found:
        """Compare until rows or their proof are wanted, enough was done, or all is over.

        Whatever `walk` raises passes through.
        """
        found = Found()
        steps = 0
        while not self.wants_rows:
            if passed := self._pass_over():
                steps += passed
            elif self._at_seen >= len(self._seen):
                piece = next(walk, None)
                if piece is not None:
                    self._seen, self._at_seen = piece, 0
                    continue
                if self._at_row >= len(self._rows):
                    self.over = True
                    break
                if self._must_be_proven():
                    break
                self._only_row(self._take_row(), found)
                steps += 1
            elif steps >= STEP or self._must_be_proven(self._seen[self._at_seen]):
                break
            else:
                self._compare(self._seen[self._at_seen], found)
                steps += 1
        return found

    def _pass_over(self) -> int:
        """Pass over entries whose rows, one for one, say that just this content is finished; how many."""
        at_seen, at_row, reasons, output = self._at_seen, self._at_row, self._plain_not, self._terms.output
        passed = 0
        for seen, row in zip(islice(self._seen, at_seen, None), islice(self._rows, at_row, None), strict=False):
            mark = seen.mark
            if not mark or row.path != seen.path or not row.text.endswith(mark):
                break
            if row.told not in _WELL or row.reason in reasons:
                break
            if row.output != output and row.reason != EXISTING:
                break
            passed += 1
        self._at_seen, self._at_row = at_seen + passed, at_row + passed
        self.entries += passed
        return passed

    def _must_be_proven(self, seen: Entry | None = None) -> bool:
        """Does what comes next rest on rows, of which one may have been damaged?"""
        if not self._proven and (seen is None or seen.kind < Kind.LISTED or self._comes_first(seen)):
            self.wants_proof = True
        return self.wants_proof

    def _comes_first(self, seen: Entry) -> bool:
        return self._at_row < len(self._rows) and self._rows[self._at_row].path < seen.path

    def _take_row(self) -> Known:
        self._at_row += 1
        return self._rows[self._at_row - 1]

    def _compare(self, seen: Entry, found: Found) -> None:
        if self._comes_first(seen):
            self._only_row(self._take_row(), found)
            return
        row = self._rows[self._at_row] if self._at_row < len(self._rows) else None
        self._at_seen += 1
        if seen.kind >= Kind.LISTED:
            self._folder(seen)
            return
        self.entries += 1
        if row is None or row.path != seen.path:
            self._only_seen(seen, found)
            return
        self._at_row += 1
        if not self._says_all(seen, row) and not self._ignored(seen.path):
            found.hints.append(seen.path)

    def _folder(self, seen: Entry) -> None:
        if seen.kind is Kind.UNLISTED:
            if self._blind is None or not seen.path.startswith(self._blind):
                self._blind = seen.path
            return
        while self._listed and not seen.path.startswith(self._listed[-1][0]):
            self._listed.pop()
        self._listed.append((seen.path, seen.identity.dev))

    def _only_seen(self, seen: Entry, found: Found) -> None:
        if self._ignored(seen.path):
            return
        since = self._terms.baseline
        if since is not None and seen.kind is Kind.REGULAR and not since.came(seen.ctime_ns, self._now_s()):
            found.stood.append(Stood(seen.path, seen.identity, seen.uid))
        else:
            found.hints.append(seen.path)

    def _only_row(self, row: Known, found: Found) -> None:
        if (self._blind is not None and row.path.startswith(self._blind)) or self._ignored(row.path):
            return
        if row.state not in FINAL_STATES:
            found.hints.append(row.path)
        elif self._terms.regular and self._forgettable(row):
            found.gone.append(row.path)

    def _forgettable(self, row: Known) -> bool:
        """A row that spares a file is kept for the case that the file comes back, and so is one of an absent disk."""
        if row.state is not JobState.SKIPPED or row.reason == EXISTING:
            return False
        if row.reason in (VANISHED, SYMLINK, NOT_A_FILE):
            return True  # such rows say nothing of a content
        around = next((dev for path, dev in reversed(self._listed) if row.path.startswith(path)), None)
        return around == row.identity.dev

    def _says_all(self, seen: Entry, row: Known) -> bool:
        terms = self._terms
        if row.state not in FINAL_STATES:
            # The engine has it or is given it by its row; to hint at it would be a second look. What waits for better
            # times is tried early after something went wrong.
            told = terms.regular or row.state in (JobState.QUEUED, JobState.ACTIVE)
            return told and same_content(row.identity, seen.identity)
        if seen.kind is not Kind.REGULAR:
            reason = SYMLINK if seen.kind is Kind.SYMLINK else NOT_A_FILE
            return row.state is JobState.SKIPPED and row.reason == reason and row.identity == NO_IDENTITY
        why = untouchable(seen.mode, seen.nlink, terms.output, part_hard_links=terms.part_hard_links)
        if not why and terms.spare_companions and row.reason in COMPANIONS:
            why = row.reason  # to look for what it belongs to would cost more than all the rest
        spare = terms.spare_existing
        return finished(row, seen.identity, why, terms.output, patient=terms.patient, spare_existing=spare)


def next_s(now_s: float, took_s: float) -> float:
    """When a folder is to be scanned again for no particular reason, after a pass that took so long and ended now."""
    return now_s + max(EVERY_S, took_s * REST)
