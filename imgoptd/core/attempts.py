"""What comes of an attempt at a job: what its worker says, and its result being put in place."""

from __future__ import annotations

from dataclasses import replace

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core import mirroring
from imgoptd.core.job import Job, Stage
from imgoptd.core.jobs import Jobs
from imgoptd.core.learning import learn, show_estimate
from imgoptd.core.model import UNFINISHED, Failure, FailureKind, Intent, JobState, Kept, Outcome, Receipt, Verdict
from imgoptd.core.story import Story
from imgoptd.core.text import show_bytes, show_path
from imgoptd.core.turn import Turn


class Attempts:
    def __init__(self, jobs: Jobs, story: Story) -> None:
        self._jobs = jobs
        self._story = story

    # ---- what a worker says -----------------------------------------------------------------------------------------

    def probed(self, turn: Turn, job: Job, event: e.Probed) -> None:
        facts = event.facts
        if event.failure is not None or facts is None:
            silence = Failure(FailureKind.CORRUPT, "no-facts", "the probe said nothing")
            self._jobs.failed(turn, job, event.failure or silence)
            return
        job.record = replace(job.record, facts=facts)
        if facts.leave is not None:
            self._jobs.estimator.learn_file(job.record.identity.size, 0.0)
            if mirroring.is_picture(facts):
                self._keep(turn, job, facts.leave)
            else:
                self._jobs.failed(turn, job, facts.leave)
            return
        job.estimate = self._jobs.estimator.estimate(job.record)
        text = f"{facts.format} {facts.width}x{facts.height}, {show_estimate(job.estimate)}"
        turn.record(c.SaveFile(job.record))
        turn.record(c.AppendStep(job.ref, "probed", text))
        self._jobs.back_to_queue(turn, job)

    def read(self, job: Job, sha256: str) -> None:
        """The daemon has read the whole file: this is its content."""
        job.record = replace(job.record, sha256=sha256)

    def recognised(self, turn: Turn, job: Job, event: e.Recognised) -> None:
        """The content is known: nothing needs doing."""
        self.read(job, event.sha256)
        if event.own_result and job.mirror is not None:
            self._keep(turn, job, mirroring.OWN_RESULT)
        elif event.own_result:
            self._jobs.end(turn, job, JobState.DONE, mirroring.OWN_RESULT.reason, mirroring.OWN_RESULT.detail)
        else:
            self._jobs.end(turn, job, JobState.SKIPPED, "known", "the same content was finished at this path before")

    def finished(self, turn: Turn, job: Job, outcome: Outcome, idle_rss_bytes: int | None) -> None:
        """A worker is through with the job; its result, if any, lies in the output descriptor."""
        learn(self._jobs.estimator, job, outcome, idle_rss_bytes)
        if job.misplaced and outcome.verdict is not Verdict.FAILED:
            self._begin_anew(turn, job)
            return
        if outcome.verdict is Verdict.OPTIMIZED and 0 < outcome.size_bytes < job.record.identity.size:
            job.stage = Stage.REPLACING
            turn.act(c.Prepare(job.ref, outcome.size_bytes, job.settings.keep_original))
            return
        turn.act(c.Discard(job.ref))
        failure = outcome.failure
        if outcome.verdict is Verdict.FAILED:
            silence = Failure(FailureKind.UNVERIFIED, "no-reason", "the worker gave no reason")
            self._jobs.failed(turn, job, failure or silence)
        else:
            kept = failure or Failure(FailureKind.REJECTED, "not-smaller", "no smaller result was found")
            self._keep(turn, job, kept)

    def _keep(self, turn: Turn, job: Job, kept: Failure) -> None:
        """There is no result for the picture. In an output tree its own bytes stand for it."""
        if job.mirror is not None:
            self._jobs.copies.add(job, kept)
        else:
            self._jobs.end(turn, job, JobState.SKIPPED, kept.reason, kept.detail)

    def start_copies(self, turn: Turn) -> None:
        """Have originals that stand for themselves put into their output trees, a few at a time."""
        for job in self._jobs.copies.due():
            assert job.mirror is not None
            if job.record.state is not JobState.ACTIVE:  # else a worker had it, and found no result
                job.record = self._story.move(turn, job.record, JobState.ACTIVE)
            turn.act(c.Copy(job.ref, job.record.identity, job.mirror))

    # ---- replacing --------------------------------------------------------------------------------------------------

    def prepared(self, turn: Turn, job: Job, event: e.Prepared) -> None:
        """The result is ready on disk. The intent becomes durable before anything happens at the path."""
        if job.misplaced and not job.intended:
            self._begin_anew(turn, job)
            return
        job.intended = True
        job.result_sha256, job.keep_at = event.sha256, event.keep
        sha256 = job.record.sha256
        if job.mirror is not None:
            intent = mirroring.intent(job, job.mirror, event)
        else:
            intent = Intent(job.ref, event.temp_name, event.original, event.result, event.sha256, sha256, event.keep)
        turn.record(c.SaveIntent(intent))
        turn.act(c.Exchange(intent))

    def exchanged(self, turn: Turn, job: Job, event: e.Exchanged) -> None:
        """The result stands at the path: receipt, and the end."""
        before, after, sha256 = job.record.identity.size, event.result.size, job.result_sha256
        turn.record(c.DropIntent(job.ref))
        if job.mirror is not None:
            turn.record(c.SaveOutput(mirroring.output(job, job.mirror, event.result)))
        if job.mirror is not None and job.kept is not None:
            turn.record(mirroring.copied(job, job.mirror))
            self._copied(turn, job, job.kept)
            return
        turn.record(c.SaveReceipt(Receipt(job.ref, job.record.sha256, sha256, before, after, job.settings.profile)))
        if event.kept is not None and job.keep_at is not None:
            turn.record(c.SaveKept(Kept(job.ref, job.keep_at, event.kept, job.record.sha256, event.result, sha256)))
            turn.record(c.AppendStep(job.ref, "kept", f"the original, {show_bytes(event.kept.size)}, is kept"))
            self._jobs.undo.changed(1, event.kept.size)
        job.record = replace(job.record, bytes_before=before, bytes_after=after)
        if job.mirror is None:
            job.record = replace(job.record, identity=event.result, sha256=sha256)
        self._story.counts["bytes_before"] += before
        self._story.counts["bytes_after"] += after
        detail = f"{show_bytes(before)} -> {show_bytes(after)} (-{(before - after) / before:.1%})"
        if job.mirror is not None:
            detail += f" in {show_path(job.mirror.root)}"
        self._jobs.end(turn, job, JobState.DONE, "optimized", detail)

    def standing(self, turn: Turn, job: Job, event: e.Standing) -> None:
        """The file was to be copied into the output tree, and stands there already."""
        self.read(job, event.sha256)
        self._copied(turn, job, job.kept or mirroring.OWN_RESULT)

    def _copied(self, turn: Turn, job: Job, kept: Failure) -> None:
        self._jobs.copies.over(job)
        self._jobs.end(turn, job, JobState.SKIPPED, kept.reason, kept.detail)

    def _begin_anew(self, turn: Turn, job: Job) -> None:
        """Nothing was put anywhere, and nothing will be: the configuration has another place for it."""
        turn.act(c.Discard(job.ref))
        self._jobs.copies.over(job)
        self._jobs.back_to_queue(turn, job, "reload", "its results go to another place now")

    def replace_failed(self, turn: Turn, job: Job, failure: Failure) -> None:
        if failure.reason != UNFINISHED:
            turn.record(c.DropIntent(job.ref))
        self._jobs.copies.over(job)
        self._jobs.failed(turn, job, failure)
