"""What each kind of failure leads to."""

from __future__ import annotations

from dataclasses import dataclass

from imgoptd.core import endings
from imgoptd.core.model import Failure, FailureKind, JobState

MAX_BLAMED_ATTEMPTS = 2
"""Attempts that may end with a lost worker, a timeout or exhausted memory before the file is quarantined."""
MAX_REFUSED_ATTEMPTS = 3
"""The same where each was merely refused more memory, and there is more to give: nobody else suffers from that."""
OF_THE_CONTENT = frozenset({FailureKind.CORRUPT, FailureKind.UNVERIFIED})
"""What a worker can only say of the bytes it read."""
FIRST_DELAY_S = 5.0
LONGEST_DELAY_S = 3600.0
UNREADABLE = "unreadable"
"""The reason of a file that could not even be opened: a look costs next to nothing, and nobody tells when a folder on
its way can be entered again."""
_FEW_UNREADABLE = 200
_DOUBLED_FOR_FEW = 3
"""So few are looked at every 40 s; twice as many half as often, and so on."""


@dataclass(frozen=True, slots=True)
class Next:
    state: JobState
    delay_s: float = 0.0
    blame: bool = False
    """Counts against the file."""
    doubled: bool = False
    """The next attempt may take twice the memory."""
    solo: bool = False
    """It runs alone."""


def after(failure: Failure, blamed: int, deferrals: int, waiting: int = 0, *, had_all: bool = True) -> Next:
    """What follows a failure, given the attempts already blamed on the file and how often it was deferred in a row.

    `waiting`: how many files are deferred now. `had_all`: the attempt was given all the memory there is, or one before
    ended otherwise than by a refusal of more.
    """
    kind = failure.kind
    if kind is FailureKind.REJECTED:
        return Next(JobState.SKIPPED)
    if kind in (FailureKind.CORRUPT, FailureKind.UNVERIFIED):
        return Next(JobState.QUARANTINED)
    if kind is FailureKind.CHANGED:
        return Next(JobState.SETTLING)
    if kind is FailureKind.TRANSIENT:
        doubled = min(deferrals, 20)
        if failure.reason == UNREADABLE:
            doubled = min(doubled, _DOUBLED_FOR_FEW + (waiting // _FEW_UNREADABLE).bit_length())
        return Next(JobState.DEFERRED, delay_s=min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0**doubled))
    return lost(failure.reason, blamed, had_all=had_all)


def lost(reason: str, blamed: int, *, had_all: bool = True) -> Next:
    """The attempt took its worker with it, ran out of time, or ran out of memory.

    It is tried once more, beside others wherever that is safe: a file that ends or stops workers must not stop the
    machine as well. A crash may be for want of memory, too, with a codec that does not look whether it got any; that
    attempt is bounded by twice the reservation, so it endangers nobody. Only an OOM kill shows that bounds did not
    help: then nothing runs beside it.
    """
    refused = reason == endings.MEMORY and not had_all
    if blamed + 1 >= (MAX_REFUSED_ATTEMPTS if refused else MAX_BLAMED_ATTEMPTS):
        return Next(JobState.QUARANTINED, blame=True)
    return Next(JobState.QUEUED, blame=True, doubled=needs_more(reason), solo=reason == endings.OOM)


def needs_more(reason: str) -> bool:
    """May an attempt that ended so have wanted more memory? An unknown reason may."""
    return reason not in (endings.TIMEOUT, endings.LIED)
