"""Does the store say all there is to say of a file that stands at a path? One rule for looks and for rescans."""

from __future__ import annotations

from typing import Protocol

from imgoptd.core.companions import IN_MANIFEST, RAW_SIDECAR
from imgoptd.core.model import FINAL_STATES, Identity, JobState

EXISTING = "existing"
PROTECTED = "protected"
HARD_LINKED = "hard-linked"
VANISHED = "vanished"
SYMLINK = "symlink"
NOT_A_FILE = "not-a-file"
PATH_TOO_LONG = "path-too-long"
COMPANIONS = frozenset({IN_MANIFEST, RAW_SIDECAR})
UNTOUCHABLE = COMPANIONS | {PROTECTED, HARD_LINKED}
"""Reasons that leave no trace in a file's identity: rights, links and what lies around it."""

NO_IDENTITY = Identity(0, 0, 0, 0)


class Row(Protocol):
    """What the store knows of a path, of a FileRecord and of shorter rows alike."""

    @property
    def identity(self) -> Identity: ...
    @property
    def state(self) -> JobState: ...
    @property
    def reason(self) -> str: ...
    @property
    def output(self) -> bytes: ...


def untouchable(mode: int, nlink: int, output: bytes, *, immutable: bool = False, part_hard_links: bool = False) -> str:
    """Why a regular file is not ours to replace, by its rights and links; empty: nothing speaks against it.

    With an `output` tree nothing does: the file is not touched.
    """
    if output:
        return ""
    if immutable or not mode & 0o222:
        return PROTECTED
    return HARD_LINKED if nlink > 1 and not part_hard_links else ""


def same_content(one: Identity, other: Identity) -> bool:
    """Do both name the same content at one path? The device is left out: its number may change with each mount."""
    return one[1:] == other[1:]


def finished(
    row: Row, identity: Identity | None, why_untouchable: str, output: bytes, *, patient: bool, spare_existing: bool
) -> bool:
    """Does the row know exactly this content of a regular file as finished?

    `output`: the folder's output tree; what was finished in place or for another tree is not finished for this one.
    `spare_existing`: what stood there when the folder was first watched is still to be left alone. Not `patient`: a
    run of its own, which tries what failed anew, so that its exit status tells what still fails.
    """
    if identity is None or row.state not in FINAL_STATES or not same_content(row.identity, identity):
        return False
    if row.output != output and row.reason != EXISTING:
        return False
    if row.reason in UNTOUCHABLE:
        return why_untouchable == row.reason
    if row.state is JobState.QUARANTINED and not patient:
        return False
    if row.reason == VANISHED:
        return False  # it was moved away before it was worked on, and is back
    return row.reason != EXISTING or spare_existing
