"""The one table of legal job transitions."""

from __future__ import annotations

from imgoptd.core.model import JobState

S = JobState

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    S.SETTLING: frozenset({S.QUEUED, S.SKIPPED, S.DONE, S.DEFERRED}),
    S.QUEUED: frozenset({S.ACTIVE, S.DONE, S.SKIPPED, S.QUARANTINED, S.HELD, S.SETTLING, S.DEFERRED}),
    S.ACTIVE: frozenset({S.DONE, S.SKIPPED, S.QUARANTINED, S.DEFERRED, S.QUEUED, S.HELD, S.SETTLING}),
    S.DEFERRED: frozenset({S.SETTLING, S.QUEUED}),
    S.HELD: frozenset({S.QUEUED, S.SETTLING}),
    S.QUARANTINED: frozenset({S.SETTLING}),
    S.DONE: frozenset({S.SETTLING}),
    S.SKIPPED: frozenset({S.SETTLING}),
}
"""From each state, the states that may follow. A final one is left through SETTLING alone: by a new look."""


class IllegalTransition(Exception):
    """A bug in the engine: the move is not in the table. Nothing was changed."""


def check(old: JobState, new: JobState) -> JobState:
    """Return `new` if the table allows it after `old`; raise IllegalTransition otherwise."""
    if new not in TRANSITIONS[old]:
        raise IllegalTransition(f"{old} -> {new}")
    return new
