"""What one look at a path means: finished already, not ours to touch, still being written, or a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from imgoptd.core import events as e
from imgoptd.core.baselines import Baselines
from imgoptd.core.finished import (
    EXISTING,
    HARD_LINKED,
    NO_IDENTITY,
    NOT_A_FILE,
    PATH_TOO_LONG,
    PROTECTED,
    SYMLINK,
    UNTOUCHABLE,
    VANISHED,
    finished,
    same_content,
    untouchable,
)
from imgoptd.core.jobs import Jobs
from imgoptd.core.model import (
    FINAL_STATES,
    Failure,
    FailureKind,
    FileKind,
    FileRecord,
    FileRef,
    Identity,
    JobState,
    Lease,
    Look,
)
from imgoptd.core.policy import FolderPolicy
from imgoptd.core.settle import Candidate, Settler
from imgoptd.core.story import Story
from imgoptd.core.text import show_path
from imgoptd.core.turn import Turn

BUSY_LOOKS_OF_THE_IMPATIENT = 4
EXISTING_DETAIL = "it stood here before the folder was first watched"


class Judge:
    def __init__(
        self,
        story: Story,
        settler: Settler,
        jobs: Jobs,
        baselines: Baselines,
        pass_on: Callable[[Turn, Candidate, FileRef], None],
    ) -> None:
        """`pass_on`: the attention that the candidate drew belongs to another path."""
        self.patient = True
        """False: a run of its own, which does not wait for writers and tries anew what failed."""
        self._story = story
        self._settler = settler
        self._jobs = jobs
        self._baselines = baselines
        self._pass_on = pass_on

    def judge(self, turn: Turn, event: e.Looked, candidate: Candidate, folder: FolderPolicy) -> None:
        """One look, no older than what was last heard of the path: done with, a job, or looked at once more."""
        ref, look, known = event.ref, event.look, event.known
        live, fresh, retry = candidate.live, candidate.fresh, candidate.retry
        if not fresh and not retry and not folder.optimize_existing and self._stood_before(turn, ref, look, known):
            self._settler.drop(ref)
            self.spare(turn, ref, look.identity or NO_IDENTITY, look.uid)
        elif look.kind is not FileKind.REGULAR or look.identity is None:
            self._settler.drop(ref)
            self._not_regular(turn, event, candidate, folder)
        elif known is not None and not retry and self._finished_already(known, look, folder, live=live):
            self._settler.drop(ref)
        elif self._settler.looked(ref, look, turn.now_s) or self._settled_before(known, look):
            self._settler.drop(ref)
            self._settled(turn, event, candidate, folder)
        elif not self.patient and candidate.busy_looks >= BUSY_LOOKS_OF_THE_IMPATIENT:
            self._settler.drop(ref)
            record = FileRecord(ref, look.identity, JobState.SETTLING, uid=look.uid, output=folder.output)
            failure = Failure(FailureKind.TRANSIENT, "busy", "another program keeps it open for writing")
            self._jobs.defer_unopened(turn, record, folder, failure, candidate.noticed_s)

    def spare(self, turn: Turn, ref: FileRef, identity: Identity, uid: int) -> None:
        """Leave alone what stood there before its folder was first watched."""
        record = FileRecord(ref, identity, JobState.SETTLING, uid=uid)
        self._story.move(turn, record, JobState.SKIPPED, EXISTING, EXISTING_DETAIL)

    def _stood_before(self, turn: Turn, ref: FileRef, look: Look, known: FileRecord | None) -> bool:
        """Does a scan find what was here when the folder was first watched, and nobody has told yet which content?"""
        if look.kind not in (FileKind.REGULAR, FileKind.UNREADABLE):
            return False
        if known is None:
            return self._baselines.stood_before(ref.root, look.ctime_ns, turn.now_s)
        return known.reason == EXISTING and known.identity == NO_IDENTITY and look.identity is not None

    def _finished_already(self, known: FileRecord, look: Look, folder: FolderPolicy, *, live: bool) -> bool:
        """Does the store know exactly this content as finished? A live hint says that somebody writes it now."""
        spare = not (live or folder.optimize_existing)
        why = _untouchable(look, folder)
        reason = why.reason if why is not None else ""
        return finished(known, look.identity, reason, folder.output, patient=self.patient, spare_existing=spare)

    def _settled_before(self, known: FileRecord | None, look: Look) -> bool:
        """A file that was queued and has not changed since needs no second settling, if nobody writes to it now."""
        return _waits(known, look) is not None and look.lease is Lease.GRANTED

    def _not_regular(self, turn: Turn, event: e.Looked, candidate: Candidate, folder: FolderPolicy) -> None:
        ref, look, known = event.ref, event.look, event.known
        if look.kind is FileKind.GONE:
            detail = "it was gone before it could be worked on"
            if look.listed_as:
                # One file, one job: the one under the name that its folder lists.
                detail = f"it is listed as {show_path(look.listed_as)}, which is looked at instead"
                self._pass_on(turn, candidate, FileRef(ref.root, look.listed_as))
            # A finished file that somebody removed keeps its story; one never worked on says what became of it.
            if known is None or known.state not in FINAL_STATES:
                record = known or FileRecord(ref, NO_IDENTITY, JobState.SETTLING)
                # Its content was not finished: should it come back, its hash must not pass for that of a finished one.
                record = replace(record, sha256="")
                self._skip(turn, record, VANISHED, detail)
            return
        record = FileRecord(ref, look.identity or NO_IDENTITY, JobState.SETTLING, uid=look.uid)
        if look.kind is FileKind.UNREADABLE:
            if known is not None and self._still_told(known, look, live=candidate.live):
                return
            if look.reason == PATH_TOO_LONG:
                self._skip(turn, record, look.reason, look.detail)  # no time will mend it
            else:
                record = replace(record, output=folder.output)
                failure = Failure(FailureKind.TRANSIENT, look.reason, look.detail)
                self._jobs.defer_unopened(turn, record, folder, failure, candidate.noticed_s, known)
            return
        symlink = look.kind is FileKind.SYMLINK
        reason = SYMLINK if symlink else NOT_A_FILE
        if known is None or (known.state, known.reason, known.identity) != (JobState.SKIPPED, reason, record.identity):
            detail = "symbolic links are never followed or replaced" if symlink else "it is no regular file"
            self._skip(turn, record, reason, detail)

    def _still_told(self, known: FileRecord, look: Look, *, live: bool) -> bool:
        """An unreadable file: does its row say all there is to say? Nothing shows that the content has changed."""
        if known.state not in FINAL_STATES or known.reason in (VANISHED, SYMLINK, NOT_A_FILE):
            return False
        return look.identity in (None, known.identity) and not (live and known.reason == EXISTING)

    def _settled(self, turn: Turn, event: e.Looked, candidate: Candidate, folder: FolderPolicy) -> None:
        ref, look, verdict = event.ref, event.look, candidate.verdict
        assert look.identity is not None
        if verdict is not None and verdict.record.identity == look.identity:
            self._jobs.convict(turn, verdict.record, folder, verdict.failure)
            return
        # What an operator asks for is begun as if nothing were known of it.
        known = None if candidate.retry else event.known
        waiting = _waits(known, look)
        record = FileRecord(
            ref,
            look.identity,
            JobState.SETTLING,
            uid=look.uid,
            fresh=candidate.fresh or (waiting is not None and waiting.fresh),
            attempts=waiting.attempts if waiting is not None else 0,
            bytes_before=look.identity.size,
            output=folder.output,
        )
        why = _untouchable(look, folder)
        if why is not None:
            self._skip(turn, record, why.reason, why.detail)
        elif look.identity.size == 0:
            self._skip(turn, record, "empty", "it holds nothing")
        else:
            # A manifest that came while it was worked on leaves a hash of what was never finished.
            finished = known is not None and known.state in (JobState.DONE, JobState.SKIPPED)
            # For an output tree it is what stands there that tells whether the content is done.
            in_place = not folder.output and known is not None and not known.output
            tells = known is not None and finished and in_place and known.reason not in UNTOUCHABLE
            known_sha256 = known.sha256 if known is not None and tells else ""
            self._jobs.queue(turn, record, folder, candidate.noticed_s, known_sha256, event.output, waiting)

    def _skip(self, turn: Turn, record: FileRecord, reason: str, detail: str) -> None:
        """A file that never becomes a job."""
        self._jobs.forgive(record.ref)
        settling = replace(record, state=JobState.SETTLING)
        self._story.announce(turn, self._story.move(turn, settling, JobState.SKIPPED, reason, detail))


def counts_what_lies_around(look: Look, known: FileRecord | None) -> bool:
    """Is it worth to look for files to which this one belongs? Of one that is finished nothing hangs on it.

    Where this is wrong (a retry of a finished file) the question comes again before any work.
    """
    if look.kind is not FileKind.REGULAR or look.identity is None:
        return False
    if known is None or known.state not in FINAL_STATES or not same_content(known.identity, look.identity):
        return True
    return known.reason in UNTOUCHABLE or known.reason in (EXISTING, VANISHED)


def _waits(known: FileRecord | None, look: Look) -> FileRecord | None:
    """The row, if by it this very content still waits to be finished."""
    waits = known is not None and known.state not in FINAL_STATES and known.identity == look.identity
    return known if waits else None


def _untouchable(look: Look, folder: FolderPolicy) -> Failure | None:
    """Why the regular file is not ours to touch, or None."""
    if folder.output:
        return None
    kept = look.immutable or look.read_only_mount
    reason = untouchable(look.mode, look.nlink, b"", immutable=kept, part_hard_links=folder.part_hard_links)
    if reason == PROTECTED:
        return Failure(FailureKind.REJECTED, PROTECTED, _protection(look))
    if reason == HARD_LINKED:
        detail = f"it has {look.nlink} hard links; replacing one would part it from the others"
        return Failure(FailureKind.REJECTED, HARD_LINKED, detail)
    return look.leave


def _protection(look: Look) -> str:
    if look.immutable:
        return "it is immutable or append-only (lsattr shows it, chattr -i -a ends it)"
    if not look.mode & 0o222:
        return "it is read-only: nobody has the right to write to it"
    return "it lies on a mount that is read-only for this process"
