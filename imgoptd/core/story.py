"""The one door between the states of a file: legal by the table, durable, told in the file's story, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from imgoptd.core import commands as c
from imgoptd.core import states
from imgoptd.core.model import FINAL_STATES, FileRecord, JobState
from imgoptd.core.text import show_path
from imgoptd.core.turn import Turn

_EVENTS = {
    JobState.DONE: ("file", 6),
    JobState.SKIPPED: ("skipped", 6),
    JobState.DEFERRED: ("deferred", 4),
    JobState.HELD: ("held", 4),
    JobState.QUARANTINED: ("quarantine", 4),
}
"""Kind of event and syslog level with which each state is told."""


class Story:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Since this start: entries into each final state, and `bytes_before` and `bytes_after` of what was done."""

    def move(
        self,
        turn: Turn,
        record: FileRecord,
        state: JobState,
        reason: str = "",
        detail: str = "",
        text: str = "",
        *,
        known: FileRecord | None = None,
    ) -> FileRecord:
        """The record in its new state, saved and told. `text` is told instead of reason and detail where given.

        `known` is the stored row, where it is at hand: if it says just this, nothing is written.
        """
        states.check(record.state, state)
        moved = replace(record, state=state, reason=reason, detail=detail)
        if moved == known:
            return moved
        if state is not JobState.SETTLING:
            # A file that settles again keeps its row as an unfinished one, so that a restart finds it.
            turn.record(c.SaveFile(moved))
        if state is not JobState.ACTIVE:
            said = f"{reason}: {detail}" if reason and detail else reason or detail
            turn.record(c.AppendStep(record.ref, state, text or said))
        if state in FINAL_STATES:
            self.counts[state] += 1
        return moved

    def says(self, stored: FileRecord, record: FileRecord, state: JobState) -> bool:
        """Would the record's move to the state only repeat its row? What a probe or a reading adds is left out."""
        states.check(record.state, state)
        told = (stored.state, stored.identity, stored.uid, stored.fresh, stored.attempts, stored.output)
        return told == (state, record.identity, record.uid, record.fresh, record.attempts, record.output)

    def note(self, turn: Turn, record: FileRecord, reason: str, detail: str) -> FileRecord:
        """The record in the state it has, with what happened to it meanwhile, saved and told."""
        noted = replace(record, reason=reason, detail=detail)
        turn.record(c.SaveFile(noted))
        turn.record(c.AppendStep(record.ref, record.state, f"{reason}: {detail}" if reason else detail))
        return noted

    def announce(self, turn: Turn, record: FileRecord) -> None:
        """Say to the operator where the file stands."""
        event, priority = _EVENTS[record.state]
        mend = "; it is left as it is, and tried again when it changes" if record.state is JobState.QUARANTINED else ""
        turn.announce(
            event,
            f"{record.state} {show_path(record.ref.full)}: {record.detail or record.reason}{mend}",
            priority,
            path=show_path(record.ref.full),
            state=record.state,
            reason=record.reason,
            detail=record.detail,
            bytes_before=record.bytes_before,
            bytes_after=record.bytes_after or record.bytes_before,
        )
