"""The life of a job, from queued to its end: in and out of the backlog, and what follows a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from imgoptd.core import endings, mirroring, retry
from imgoptd.core.backlog import Backlog
from imgoptd.core.costs import Predict, predict
from imgoptd.core.deferred import Deferred
from imgoptd.core.estimate import Estimator
from imgoptd.core.job import Job, Stage
from imgoptd.core.model import (
    Domain,
    Failure,
    FailureKind,
    FileRecord,
    FileRef,
    HintKind,
    JobState,
    Mirror,
    Output,
)
from imgoptd.core.overflow import Overflow
from imgoptd.core.places import Places
from imgoptd.core.policy import FolderPolicy
from imgoptd.core.story import Story
from imgoptd.core.text import show_bytes
from imgoptd.core.turn import Turn
from imgoptd.core.undo import UndoRoom

Attend = Callable[[Turn, FileRef, HintKind, bool], None]
"""Look at a path again: turn, path, kind of hint, and whether it must be quiet for a while first."""

Suspect = Callable[[Turn, FileRecord, Failure], None]
"""Look at a file whose content was found damaged: turn, record, and what was found."""


class Jobs:
    def __init__(self, story: Story, attend: Attend, suspect: Suspect, predict: Predict = predict) -> None:
        self.by_ref: dict[FileRef, Job] = {}
        self.backlog = Backlog()
        self.overflow = Overflow()
        self.copies = mirroring.Copies()
        self.estimator = Estimator(predict)
        self.undo = UndoRoom()
        self.deferred = Deferred(lambda job: self.backlog.is_shut(job.place))
        self.held: set[FileRef] = set()
        self._story = story
        self._attend = attend
        self._suspect = suspect
        self._deferrals: Counter[FileRef] = Counter()
        """How often in a row each file was deferred; only files that still fail are kept."""
        self.places = Places(story, self.backlog, self.deferred, self.forgive)
        self._seq = 0

    # ---- in and out of the backlog ----------------------------------------------------------------------------------

    def queue(
        self,
        turn: Turn,
        record: FileRecord,
        folder: FolderPolicy,
        noticed_s: float,
        previous_sha256: str = "",
        output: Output | None = None,
        stored: FileRecord | None = None,
    ) -> None:
        """A settled file becomes a job. `output` is what stands for it in the folder's output tree.

        `stored`: its row, if by that it waits already.
        """
        job = self._new(record, folder, noticed_s)
        job.previous_sha256 = previous_sha256
        if folder.output:
            # The look may have been at another tree: the configuration can change meanwhile.
            same_tree = output is not None and output.root == folder.output
            job.mirror = Mirror(folder.output, output if same_tree else None)
        job.doubled = record.attempts > 0 and retry.needs_more(record.reason)
        job.solo = job.doubled and record.reason in ("", endings.OOM)  # the last life may have ended in the attempt
        text = f"complete, {show_bytes(record.identity.size)}"
        if stored is not None and self._story.says(stored, record, JobState.QUEUED):
            job.record = replace(stored, facts=None, sha256="", bytes_before=record.bytes_before)
        else:
            job.record = self._story.move(turn, record, JobState.QUEUED, text=text)
        if self.overflow.takes(fresh=record.fresh, in_memory=self._in_memory()):
            self._forget(job)
        else:
            self.backlog.add(job)

    def _in_memory(self) -> int:
        """Jobs that wait for nothing but their turn, or have it."""
        return len(self.by_ref) - len(self.deferred) - len(self.held) - self.backlog.jobs_kept_back

    def defer_unopened(
        self,
        turn: Turn,
        record: FileRecord,
        folder: FolderPolicy,
        failure: Failure,
        noticed_s: float,
        told: FileRecord | None = None,
    ) -> None:
        """Defer a file that could not even be looked at; `told` is its stored row."""
        self.failed(turn, self._new(record, folder, noticed_s, told), failure)

    def given_out(self, turn: Turn, job: Job) -> None:
        """The job left the backlog for a worker."""
        self.backlog.give_out(job, turn.now_s)
        if job.stage is Stage.UNPROBED:
            job.stage = Stage.PROBING
        else:
            job.stage = Stage.WORKING
            self.undo.pledge(job)
            job.record = self._story.move(turn, job.record, JobState.ACTIVE)

    def back_to_queue(self, turn: Turn, job: Job, reason: str = "", detail: str = "") -> None:
        """A job that a worker had, or that was held, waits again."""
        job.stage = Stage.UNPROBED if job.record.facts is None else Stage.READY
        job.reserved_bytes, job.growth = 0, None
        job.took = ""
        job.intended = False
        self.undo.release(job.ref)
        if job.record.state is not JobState.QUEUED:
            job.record = self._story.move(turn, job.record, JobState.QUEUED, reason, detail)
        elif detail:
            # Its probe came to nothing: no other state, but a part of its story, and perhaps its fault.
            job.record = self._story.note(turn, job.record, reason, detail)
        if job.outdated:
            self._forget(job)
            self._attend(turn, job.ref, job.again, False)
        else:
            self.backlog.add(job)

    def release(self, job: Job) -> None:
        """A job that waits is one no longer: its file is looked at anew. Its stored row stays an unfinished one."""
        if job.stage in (Stage.UNPROBED, Stage.READY):
            self.backlog.remove(job)
        elif job.stage is Stage.COPYING:
            self.copies.drop(job)
        self._forget(job)

    def hold(self, turn: Turn, job: Job, failure: Failure) -> None:
        """The job waits for a change of circumstances, not for time."""
        self.backlog.remove(job)
        job.stage = Stage.WAITING
        job.record = self._story.move(turn, job.record, JobState.HELD, failure.reason, failure.detail)
        self.held.add(job.ref)
        self._story.announce(turn, job.record)

    def unhold(self, turn: Turn, reason: str, suits: Callable[[Job], bool] = lambda job: True) -> None:
        """Circumstances changed: what was held for that reason, and is suited by the new ones, gets its chance."""
        for job in [self.by_ref[ref] for ref in self.held]:
            if job.record.reason == reason and suits(job):
                self.held.discard(job.ref)
                self.back_to_queue(turn, job)

    def forgive(self, ref: FileRef) -> None:
        """The file ended well or otherwise for good: its next deferral begins with a short delay again."""
        self._deferrals.pop(ref, None)

    def overdue(self, now_s: float) -> list[Job]:
        """Deferred jobs whose delay is over."""
        return self.deferred.overdue(now_s)

    def next_due_s(self) -> float | None:
        return self.deferred.next_due_s()

    # ---- what follows -----------------------------------------------------------------------------------------------

    def failed(self, turn: Turn, job: Job, failure: Failure) -> None:
        """The attempt did not end well: what follows is `core.retry`'s to say."""
        attempts, deferrals = job.record.attempts, self._deferrals[job.ref]
        had_all = job.had_all or job.refusals < attempts
        then = retry.after(failure, attempts, deferrals, len(self.deferred), had_all=had_all)
        job.refusals += failure.reason == endings.MEMORY
        if then.blame:
            job.record = replace(job.record, attempts=job.record.attempts + 1)
            job.doubled, job.solo = then.doubled, then.solo
            job.failed_bytes = job.reserved_bytes or job.failed_bytes
        if then.state is JobState.QUEUED:
            self.back_to_queue(turn, job, failure.reason, f"{failure.detail}; tried once more{_how(then)}")
        elif then.state is JobState.DEFERRED:
            self._wait(turn, job, failure, then.delay_s)
        elif then.state is JobState.SETTLING:
            self._forget(job)
            text = f"{failure.reason}: {failure.detail}; looked at again"
            self._story.move(turn, job.record, JobState.SETTLING, text=text)
            self._attend(turn, job.ref, HintKind.CREATED, True)
        elif failure.kind in retry.OF_THE_CONTENT:
            self._forget(job)
            self._suspect(turn, job.record, failure)
        else:
            self.end(turn, job, then.state, failure.reason, failure.detail)

    def lost(self, turn: Turn, job: Job, reason: str, detail: str) -> None:
        """The job's worker died under it or was ended for it."""
        self.failed(turn, job, Failure(FailureKind.EXHAUSTED, reason, detail))

    def convict(self, turn: Turn, record: FileRecord, folder: FolderPolicy, failure: Failure) -> None:
        """The content that was found damaged stands there still."""
        self.end(turn, self._new(record, folder, turn.now_s), JobState.QUARANTINED, failure.reason, failure.detail)

    def _wait(self, turn: Turn, job: Job, failure: Failure, delay_s: float) -> None:
        job.stage = Stage.WAITING
        job.reserved_bytes, job.growth = 0, None
        self.undo.release(job.ref)
        job.due_s = turn.now_s + delay_s
        self._deferrals[job.ref] += 1
        detail = f"{failure.detail}; tried again in {delay_s:.0f} s"
        job.record = self._story.move(turn, job.record, JobState.DEFERRED, failure.reason, detail, known=job.told)
        self.deferred.add(job)
        if not self.places.took(turn, job, failure) and job.record != job.told:
            self._story.announce(turn, job.record)

    def end(self, turn: Turn, job: Job, state: JobState, reason: str, detail: str) -> None:
        """Nothing is left to do for the file, until something happens to it."""
        self._forget(job)
        self.forgive(job.ref)
        text = f"{reason}: {detail}; {job.took}" if job.took else ""
        job.record = self._story.move(turn, job.record, state, reason, detail, text)
        self._story.announce(turn, job.record)
        if job.hinted_again:
            self._attend(turn, job.ref, HintKind.CLOSED, False)
        elif job.misplaced:
            self._attend(turn, job.ref, job.again, False)

    def _new(self, record: FileRecord, folder: FolderPolicy, noticed_s: float, told: FileRecord | None = None) -> Job:
        self._seq += 1
        domain = Domain(record.ref.root, record.uid)
        job = Job(record, domain, folder.priority, folder.settings, self._seq, noticed_s, told=told)
        self.by_ref[record.ref] = job
        return job

    def _forget(self, job: Job) -> None:
        self.undo.release(job.ref)
        self.by_ref.pop(job.ref, None)
        self.deferred.discard(job.ref)
        self.held.discard(job.ref)


def _how(then: retry.Next) -> str:
    words = (", alone" if then.solo else "", ", with twice the memory" if then.doubled else "")
    return "".join(words)
