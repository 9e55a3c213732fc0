"""What draws attention, and what becomes of it before it is a job: hints, looks, and what is not ours to touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.finished import (
    EXISTING,
    HARD_LINKED,
    NO_IDENTITY,
    NOT_A_FILE,
    PROTECTED,
    SYMLINK,
    UNTOUCHABLE,
    VANISHED,
    finished,
    same_content,
    untouchable,
)
from imgoptd.core.job import Stage
from imgoptd.core.jobs import Jobs, again
from imgoptd.core.model import (
    FINAL_STATES,
    Failure,
    FailureKind,
    FileKind,
    FileRecord,
    FileRef,
    HintKind,
    JobState,
    Lease,
    Look,
)
from imgoptd.core.rescan import Stood
from imgoptd.core.settle import Candidate, Settler, Verdict
from imgoptd.core.story import Story
from imgoptd.core.text import show_path
from imgoptd.core.turn import Turn

BUSY_LOOKS_OF_THE_IMPATIENT = 4
EXISTING_DETAIL = "it stood here before the folder was first watched"

WAITING = (Stage.UNPROBED, Stage.READY, Stage.WAITING)


@dataclass(slots=True)
class _Baseline:
    """The first scan of a folder, under way."""

    since_ns: int
    unseen: set[FileRef] = field(default_factory=set)
    """What it found and nobody has looked at yet."""


class Intake:
    def __init__(self, story: Story) -> None:
        self.settler = Settler()
        self.folders: dict[bytes, e.FolderPolicy] = {}
        self.scanning: set[bytes] = set()
        self.jobs = Jobs(story, self.attend, self.suspect)
        self._story = story
        self._patient = True
        self._baselines: dict[bytes, _Baseline] = {}
        """Folders whose first scan is under way."""
        self.withheld: dict[bytes, set[FileRef]] = {}
        """Candidates of lost folders whose look was due: they are looked at when the folder is found."""
        self._paused: dict[FileRef, HintKind | None] = {}
        """Paths at which an original is being put back, and the last hint heard of each meanwhile."""

    # ---- folders and scans ------------------------------------------------------------------------------------------

    def configure(self, turn: Turn, folders: tuple[e.FolderPolicy, ...], patient: bool) -> None:
        """Take over the folders of a configuration. What waits is judged anew by it; what runs goes on as it began."""
        self.folders = {folder.root: folder for folder in folders}
        self._patient = patient
        self.scanning &= self.folders.keys()
        self._baselines = {root: one for root, one in self._baselines.items() if root in self.folders}
        for ref in [ref for ref in self.settler.candidates if ref.root not in self.folders]:
            self.settler.drop(ref)
        self.withheld = {root: refs for root, refs in self.withheld.items() if root in self.folders}
        self.jobs.places.keep(self.folders.keys())
        for job in list(self.jobs.by_ref.values()):
            if job.stage in WAITING:
                self.jobs.release(job)
                self._recall(turn, job.record)
            else:
                job.outdated = True

    def folder_lost(self, root: bytes, sentence: str) -> None:
        """All that is of the folder waits, without a word on each file, until it is found."""
        if root in self.folders:
            self.withheld.setdefault(root, set())
            self.jobs.places.folder_lost(root, sentence)

    def folder_found(self, turn: Turn, root: bytes) -> None:
        for ref in sorted(self.withheld.pop(root, ())):
            self.settler.resume(ref, turn.now_s)
        self.jobs.places.folder_found(turn, root)

    def recovered(self, turn: Turn, record: FileRecord) -> None:
        """A job of the last run: nothing is assumed of its file, which may have changed since."""
        if record.ref not in self.jobs.by_ref:  # else a scan was faster
            self._recall(turn, record)

    def baseline_started(self, root: bytes, since_ns: int) -> None:
        if root in self.folders:
            self._baselines[root] = _Baseline(since_ns)

    def scan_started(self, root: bytes) -> None:
        if root in self.folders:
            self.scanning.add(root)

    def scan_finished(self, turn: Turn, root: bytes, complete: bool) -> None:
        """All files of the folder have been hinted at, or all that could be found before it went out of reach."""
        self.scanning.discard(root)
        if not complete:
            self._baselines.pop(root, None)  # it is begun anew when the folder is found again
        self._end_baseline(turn, root)

    def stood_before(self, turn: Turn, root: bytes, files: Sequence[Stood]) -> None:
        """The first scan found these: left alone by what their stat told, without a look at each of a million."""
        folder = self.folders.get(root)
        for path, identity, uid in files:
            ref = FileRef(root, path)
            if folder is None or folder.optimize_existing or self._knows(ref):
                self.attend(turn, ref, HintKind.FOUND)
                continue
            record = FileRecord(ref, identity, JobState.SETTLING, uid=uid)
            self._story.move(turn, record, JobState.SKIPPED, EXISTING, EXISTING_DETAIL)

    def _knows(self, ref: FileRef) -> bool:
        return ref in self.settler.candidates or ref in self.jobs.by_ref

    def _end_baseline(self, turn: Turn, root: bytes) -> None:
        """The first scan is taken when everything it found was looked at: a crash before that begins it anew."""
        if root not in self.scanning and root in self._baselines and not self._baselines[root].unseen:
            del self._baselines[root]
            turn.record(c.BaselineTaken(root))

    def _recall(self, turn: Turn, record: FileRecord) -> None:
        folder = self.folders.get(record.ref.root)
        if folder is not None and record.ref not in self._paused:
            self.settler.hint(record.ref, HintKind.FOUND, folder.settle_s, turn.now_s)
            candidate = self.settler.candidates[record.ref]
            candidate.fresh = candidate.fresh or record.fresh

    # ---- attention --------------------------------------------------------------------------------------------------

    def attend(self, turn: Turn, ref: FileRef, kind: HintKind, quiet: bool = False) -> None:
        """Something happened at the path; with `quiet` it must be still for a while before it counts as complete."""
        if ref in self._paused:
            self._paused[ref] = kind
            return
        folder = self.folders.get(ref.root)
        job = self.jobs.by_ref.get(ref)
        if folder is None:
            if job is not None and job.stage in WAITING:
                self.jobs.release(job)
            return
        if job is not None and job.stage not in WAITING:
            job.hinted_again = job.hinted_again or kind is not HintKind.FOUND
            return
        if job is not None:
            if kind is HintKind.FOUND and job.stage is not Stage.WAITING:
                return
            self.jobs.release(job)
        noticed_s = job.noticed_s if job is not None else turn.now_s
        if kind is HintKind.FOUND and ref.root in self._baselines:
            self._baselines[ref.root].unseen.add(ref)
        self.settler.hint(ref, kind, folder.settle_s, turn.now_s, quiet=quiet)
        candidate = self.settler.candidates[ref]
        candidate.noticed_s = min(candidate.noticed_s, noticed_s)

    def suspect(self, turn: Turn, record: FileRecord, failure: Failure) -> None:
        """A content was found damaged. It may have been written over just then, so the file is looked at once more."""
        self.attend(turn, record.ref, HintKind.ARRIVED if record.fresh else HintKind.FOUND)
        candidate = self.settler.candidates.get(record.ref)
        if candidate is not None:
            candidate.verdict = Verdict(record, failure)

    def retry(self, turn: Turn, ref: FileRef) -> None:
        """Do the file once more, whatever the store says of it. One that is being worked on just goes on."""
        job = self.jobs.by_ref.get(ref)
        if ref.root not in self.folders or ref in self._paused or (job is not None and job.stage not in WAITING):
            return
        self.jobs.forgive(ref)
        self.attend(turn, ref, HintKind.ARRIVED)
        self.settler.candidates[ref].retry = True

    def pause(self, turn: Turn, ref: FileRef) -> None:
        """Let go of the file, and take no notice of hints at it until `resume`. No worker may have it."""
        self.settler.drop(ref)
        job = self.jobs.by_ref.get(ref)
        if job is not None:
            self.jobs.release(job)
        if ref.root in self._baselines:
            self._baselines[ref.root].unseen.discard(ref)
            self._end_baseline(turn, ref.root)
        self._paused[ref] = None

    def resume(self, turn: Turn, ref: FileRef, kind: HintKind | None = None) -> None:
        """Look at the path if something was heard of it meanwhile, or with the given hint."""
        heard = self._paused.pop(ref) or kind
        if heard is not None:
            self.attend(turn, ref, heard)

    def due(self, turn: Turn) -> None:
        """Look at candidates whose time has come; deferred jobs whose delay is over become candidates again."""
        self.jobs.places.due(turn)
        for job in self.jobs.overdue(turn.now_s):
            self.attend(turn, job.ref, again(job))
        for ref in self.settler.due(turn.now_s):
            if ref.root in self.withheld:
                self.withheld[ref.root].add(ref)
            else:
                output = self.folders[ref.root].output
                turn.act(c.LookAt(ref, ends=self.settler.asks_for_end(ref), output=output))

    def next_deadline_s(self) -> float | None:
        times = (self.jobs.next_due_s(), self.settler.next_due_s(), self.jobs.places.breakers.next_deadline_s())
        return min((time for time in times if time is not None), default=None)

    def looked(self, turn: Turn, event: e.Looked) -> None:
        candidate = self.settler.candidates.get(event.ref)
        if candidate is not None and event.look.kind is FileKind.UNREADABLE and event.ref.root in self.withheld:
            # The folder was lost under the look, or is lost still: a late answer says nothing of the file.
            if candidate.due_s is None:
                self.withheld[event.ref.root].add(event.ref)
            return
        if candidate is not None:
            if self.settler.overtaken(event.ref, event.look, turn.now_s):
                self._tell_restless(turn)
                return
            self._judge(turn, event, candidate)
        self._tell_restless(turn)
        baseline = self._baselines.get(event.ref.root)
        if baseline is not None:
            baseline.unseen.discard(event.ref)
            self._end_baseline(turn, event.ref.root)

    def _tell_restless(self, turn: Turn) -> None:
        for candidate in self.settler.restless:
            path = show_path(candidate.ref.full)
            text = f"{path} is still being written, {turn.now_s - candidate.first_s:.0f} s after it was first noticed"
            turn.announce("settling", f"{text}; it waits until it is left alone", 5, path=path)
        self.settler.restless.clear()

    # ---- judgement --------------------------------------------------------------------------------------------------

    def _judge(self, turn: Turn, event: e.Looked, candidate: Candidate) -> None:
        ref, look, known = event.ref, event.look, event.known
        live, fresh, retry = candidate.live, candidate.fresh, candidate.retry
        folder = self.folders[ref.root]
        if not fresh and not retry and not folder.optimize_existing and self._stood_before(ref, look, known):
            self.settler.drop(ref)
            record = FileRecord(ref, look.identity or NO_IDENTITY, JobState.SETTLING, uid=look.uid)
            self._story.move(turn, record, JobState.SKIPPED, EXISTING, EXISTING_DETAIL)
        elif look.kind is not FileKind.REGULAR or look.identity is None:
            self.settler.drop(ref)
            self._not_regular(turn, ref, look, known, candidate)
        elif known is not None and not retry and self._finished_already(known, look, folder, live=live):
            self.settler.drop(ref)
        elif self.settler.looked(ref, look, turn.now_s) or self._settled_before(known, look):
            self.settler.drop(ref)
            self._settled(turn, event, candidate)
        elif not self._patient and candidate.busy_looks >= BUSY_LOOKS_OF_THE_IMPATIENT:
            self.settler.drop(ref)
            record = FileRecord(ref, look.identity, JobState.SETTLING, uid=look.uid, output=folder.output)
            failure = Failure(FailureKind.TRANSIENT, "busy", "another program keeps it open for writing")
            self.jobs.defer_unopened(turn, record, folder, failure, candidate.noticed_s)

    def _stood_before(self, ref: FileRef, look: Look, known: FileRecord | None) -> bool:
        """Does a scan find what was here when the folder was first watched, and nobody has told yet which content?"""
        if look.kind not in (FileKind.REGULAR, FileKind.UNREADABLE):
            return False
        if known is None:
            # The watcher may tell of a new file later than the scan finds it: its ctime says that it came since.
            baseline = self._baselines.get(ref.root)
            return baseline is not None and (look.ctime_ns < baseline.since_ns or not baseline.since_ns)
        return known.reason == EXISTING and known.identity == NO_IDENTITY and look.identity is not None

    def _finished_already(self, known: FileRecord, look: Look, folder: e.FolderPolicy, *, live: bool) -> bool:
        """Does the store know exactly this content as finished? A live hint says that somebody writes it now."""
        spare = not (live or folder.optimize_existing)
        why = _untouchable(look, folder)
        reason = why.reason if why is not None else ""
        return finished(known, look.identity, reason, folder.output, patient=self._patient, spare_existing=spare)

    def _settled_before(self, known: FileRecord | None, look: Look) -> bool:
        """A file that was queued and has not changed since needs no second settling, if nobody writes to it now."""
        waiting = known is not None and known.state not in FINAL_STATES and known.identity == look.identity
        return waiting and look.lease is Lease.GRANTED

    def _not_regular(
        self, turn: Turn, ref: FileRef, look: Look, known: FileRecord | None, candidate: Candidate
    ) -> None:
        if look.kind is FileKind.GONE:
            detail = "it was gone before it could be worked on"
            if look.listed_as:
                # One file, one job: the one under the name that its folder lists.
                other = FileRef(ref.root, look.listed_as)
                detail = f"it is listed as {show_path(look.listed_as)}, which is looked at instead"
                self.attend(turn, other, HintKind.CREATED if candidate.live else HintKind.FOUND)
            # A finished file that somebody removed keeps its story; one never worked on says what became of it.
            if known is None or known.state not in FINAL_STATES:
                record = known or FileRecord(ref, NO_IDENTITY, JobState.SETTLING)
                # Its content was not finished: should it come back, its hash must not pass for that of a finished one.
                record = replace(record, sha256="")
                self._skip(turn, record, VANISHED, detail)
            return
        record = FileRecord(ref, look.identity or NO_IDENTITY, JobState.SETTLING, uid=look.uid)
        if look.kind is FileKind.UNREADABLE:
            if known is None or not self._still_told(known, look, live=candidate.live):
                record = replace(record, output=self.folders[ref.root].output)
                failure = Failure(FailureKind.TRANSIENT, look.reason, look.detail)
                self.jobs.defer_unopened(turn, record, self.folders[ref.root], failure, candidate.noticed_s)
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

    def _settled(self, turn: Turn, event: e.Looked, candidate: Candidate) -> None:
        ref, look = event.ref, event.look
        assert look.identity is not None
        folder, verdict = self.folders[ref.root], candidate.verdict
        if verdict is not None and verdict.record.identity == look.identity:
            self.jobs.convict(turn, verdict.record, folder, verdict.failure)
            return
        # What an operator asks for is begun as if nothing were known of it.
        known = None if candidate.retry else event.known
        same = known is not None and known.identity == look.identity
        record = FileRecord(
            ref,
            look.identity,
            JobState.SETTLING,
            uid=look.uid,
            fresh=candidate.fresh,
            attempts=known.attempts if known is not None and same and known.state not in FINAL_STATES else 0,
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
            self.jobs.queue(turn, record, folder, candidate.noticed_s, known_sha256, event.output)

    def _skip(self, turn: Turn, record: FileRecord, reason: str, detail: str) -> None:
        """A file that never becomes a job."""
        self.jobs.forgive(record.ref)
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


def _untouchable(look: Look, folder: e.FolderPolicy) -> Failure | None:
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
