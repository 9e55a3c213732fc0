"""What draws attention, and what becomes of it before it is a job: hints and looks, folders and scans."""

from __future__ import annotations

from collections.abc import Sequence

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core import mirroring
from imgoptd.core.baselines import Baselines
from imgoptd.core.costs import Predict, predict
from imgoptd.core.job import WAITING, Stage
from imgoptd.core.jobs import Jobs
from imgoptd.core.judgement import Judge
from imgoptd.core.model import Failure, FileKind, FileRecord, FileRef, HintKind
from imgoptd.core.policy import FolderPolicy
from imgoptd.core.rescan import Stood
from imgoptd.core.settle import Candidate, Settler, Verdict
from imgoptd.core.since import Since
from imgoptd.core.story import Story
from imgoptd.core.text import show_path
from imgoptd.core.turn import Turn


class Intake:
    def __init__(self, story: Story, predict: Predict = predict) -> None:
        self.settler = Settler()
        self.folders: dict[bytes, FolderPolicy] = {}
        self.baselines = Baselines()
        self.jobs = Jobs(story, self.attend, self.suspect, predict)
        self._judge = Judge(story, self.settler, self.jobs, self.baselines, self._pass_on)
        self.withheld: dict[bytes, set[FileRef]] = {}
        """Candidates of lost folders whose look was due: they are looked at when the folder is found."""
        self._paused: dict[FileRef, HintKind | None] = {}
        """Paths at which an original is being put back, and the last hint heard of each meanwhile."""

    # ---- folders and scans ------------------------------------------------------------------------------------------

    def configure(self, turn: Turn, folders: tuple[FolderPolicy, ...], patient: bool) -> None:
        """Take over the folders of a configuration. What waits is judged anew by it; what runs goes on as it began."""
        self.folders = {folder.root: folder for folder in folders}
        self._judge.patient = patient
        self.baselines.keep(self.folders)
        for ref in [ref for ref in self.settler.candidates if ref.root not in self.folders]:
            self.settler.drop(ref)
        self.withheld = {root: refs for root, refs in self.withheld.items() if root in self.folders}
        self.jobs.places.keep(self.folders.keys())
        for job in list(self.jobs.by_ref.values()):
            if job.stage in WAITING or job.stage is Stage.COPYING:
                self.jobs.release(job)
                self._recall(turn, job.record)
            else:
                job.outdated = True
                folder = self.folders.get(job.ref.root)
                job.misplaced = folder is not None and not mirroring.leads_to(job, folder.output)

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
        self.jobs.overflow.recovered()
        candidate = self.settler.candidates.get(record.ref)
        if candidate is not None:  # a scan was faster, and a further hint would only ask for a further look
            candidate.fresh = candidate.fresh or record.fresh
        elif record.ref not in self.jobs.by_ref:
            self._recall(turn, record)

    def baseline_started(self, turn: Turn, root: bytes, since: Since) -> None:
        if root in self.folders:
            self.baselines.started(turn, root, since)

    def scan_started(self, root: bytes) -> None:
        if root in self.folders:
            self.baselines.scanning.add(root)

    def scan_finished(self, turn: Turn, root: bytes, complete: bool) -> None:
        """All files of the folder have been hinted at, or all that could be found before it went out of reach."""
        self.baselines.scan_finished(turn, root, complete)

    def stood_before(self, turn: Turn, root: bytes, files: Sequence[Stood]) -> None:
        """The first scan found these: left alone by what their stat told, without a look at each of a million."""
        folder = self.folders.get(root)
        for path, identity, uid in files:
            ref = FileRef(root, path)
            if folder is None or folder.optimize_existing or self._knows(ref):
                self.attend(turn, ref, HintKind.FOUND)
            else:
                self._judge.spare(turn, ref, identity, uid)

    def _knows(self, ref: FileRef) -> bool:
        return ref in self.settler.candidates or ref in self.jobs.by_ref

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
        if kind is HintKind.FOUND:
            self.baselines.found(ref)
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

    def _pass_on(self, turn: Turn, candidate: Candidate, ref: FileRef) -> None:
        if candidate.retry:
            self.retry(turn, ref)
        else:
            self.attend(turn, ref, HintKind.CREATED if candidate.live else HintKind.FOUND)

    def pause(self, turn: Turn, ref: FileRef) -> None:
        """Let go of the file, and take no notice of hints at it until `resume`. No worker may have it."""
        self.settler.drop(ref)
        self.withheld.get(ref.root, set()).discard(ref)
        job = self.jobs.by_ref.get(ref)
        if job is not None:
            self.jobs.release(job)
        self.baselines.done_with(turn, ref)
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
            self.attend(turn, job.ref, job.again)
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
        if candidate is not None and candidate.due_s is not None:
            return  # asked for by an earlier candidate that was dropped meanwhile: this one's look is still to come
        if candidate is not None and event.look.kind is FileKind.UNREADABLE and event.ref.root in self.withheld:
            # The folder was lost under the look, or is lost still: the answer says nothing of the file.
            self.withheld[event.ref.root].add(event.ref)
            return
        if candidate is not None:
            if self.settler.overtaken(event.ref, event.look, turn.now_s):
                self._tell_restless(turn)
                return
            self._judge.judge(turn, event, candidate, self.folders[event.ref.root])
        self._tell_restless(turn)
        self.baselines.done_with(turn, event.ref)

    def _tell_restless(self, turn: Turn) -> None:
        for candidate in self.settler.restless:
            path = show_path(candidate.ref.full)
            text = f"{path} is still being written, {turn.now_s - candidate.first_s:.0f} s after it was first noticed"
            turn.announce("settling", f"{text}; it waits until it is left alone", 5, path=path)
        self.settler.restless.clear()
