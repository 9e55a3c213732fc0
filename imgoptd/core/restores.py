"""Bringing originals back: what must be durable before, what becomes of jobs at the path, and what follows.

The row that says "restored" is durable before a name changes, so that neither the watcher's hints nor a crash lead to
the file being optimised once more.
"""

from __future__ import annotations

from dataclasses import replace

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.intake import Intake
from imgoptd.core.job import WAITING
from imgoptd.core.model import UNFINISHED, Failure, FailureKind, FileRecord, FileRef, HintKind, JobState, Kept
from imgoptd.core.story import Story
from imgoptd.core.turn import Turn
from imgoptd.core.undo import UNDO_FULL

RESTORED = "restored"


def restored_record(kept: Kept, known: FileRecord | None) -> FileRecord:
    """The row of a path at which the original stands again: nothing is to be done until its content changes."""
    assert kept.restoring is not None
    identity = kept.restoring.identity
    row = known or FileRecord(kept.ref, identity, JobState.SKIPPED)
    return replace(
        row,
        identity=identity,
        state=JobState.SKIPPED,
        reason=RESTORED,
        detail="the original was brought back; it is left alone until its content changes",
        sha256=kept.sha256,
        bytes_before=identity.size,
        bytes_after=0,
    )


class Restores:
    def __init__(self, story: Story, intake: Intake) -> None:
        self.under_way: dict[FileRef, e.RestoreAsked] = {}
        self._story = story
        self._intake = intake

    def asked(self, turn: Turn, event: e.RestoreAsked) -> None:
        ref = event.kept.ref
        job = self._intake.jobs.by_ref.get(ref)
        if ref in self.under_way or (job is not None and job.stage not in WAITING):
            said = "the file is being worked on; ask again when that is done (imgoptctl wait)"
            turn.act(c.AnswerRestore(ref, Failure(FailureKind.CHANGED, "busy", said), said))
            return
        self.under_way[ref] = event
        self._intake.pause(turn, ref)
        turn.record(c.SaveFile(restored_record(event.kept, event.known)))
        turn.record(c.SaveKept(event.kept))
        turn.act(c.Restore(event.kept))

    def restored(self, turn: Turn, event: e.Restored) -> None:
        asked = self.under_way.pop(event.kept.ref)
        record = restored_record(event.kept, asked.known)
        kept_too = f"; the file that stood there is kept beside it as {event.beside}" if event.beside else ""
        detail = f"{record.detail}{kept_too}"
        settling = replace(record, state=JobState.SETTLING)
        moved = self._story.move(turn, settling, JobState.SKIPPED, RESTORED, detail)
        self._story.announce(turn, moved)
        turn.record(c.DropKept(event.kept))
        turn.act(c.AnswerRestore(record.ref, None, detail))
        self.undo_changed(turn, -1, -event.kept.identity.size)
        self._intake.resume(turn, record.ref)

    def failed(self, turn: Turn, event: e.RestoreFailed) -> None:
        """The row is again what it was, and the path is looked at: it may hold something newer by now."""
        ref = event.kept.ref
        asked = self.under_way.pop(ref)
        if event.failure.reason != UNFINISHED:  # else the row tells the recovery what to put right
            if asked.known is not None:
                turn.record(c.SaveFile(asked.known))
            turn.record(c.SaveKept(replace(event.kept, restoring=None)))
        turn.record(c.AppendStep(ref, "not restored", f"{event.failure.reason}: {event.failure.detail}"))
        turn.act(c.AnswerRestore(ref, event.failure, event.failure.detail))
        self._intake.resume(turn, ref, HintKind.FOUND)

    def undo_changed(self, turn: Turn, files: int, size_bytes: int) -> None:
        """Originals came or went; what was held for want of room gets its chance as far as there is some."""
        jobs = self._intake.jobs
        jobs.undo.changed(files, size_bytes)
        if jobs.held:
            jobs.unhold(turn, UNDO_FULL, lambda job: not jobs.undo.is_full_for(job))
