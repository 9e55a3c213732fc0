"""How much of the room for kept originals is taken, and which jobs must wait for some."""

from __future__ import annotations

from imgoptd.core.job import Job
from imgoptd.core.model import Failure, FailureKind, FileRef
from imgoptd.core.text import show_bytes

UNDO_FULL = "undo-full"


class UndoRoom:
    """The bound counts sizes of originals, kept ones and those of jobs that run. Bytes younger than `keep` stay: it is
    the jobs that wait."""

    def __init__(self) -> None:
        self.max_bytes = 0
        self.files = 0
        self.bytes = 0
        self._pledged: dict[FileRef, int] = {}
        self._pledged_bytes = 0

    def changed(self, files: int, size_bytes: int) -> None:
        self.files += files
        self.bytes += size_bytes

    def pledge(self, job: Job) -> None:
        """The job was given out: its original may have to be kept."""
        if job.settings.keep_original:
            self._pledged[job.ref] = job.record.identity.size
            self._pledged_bytes += job.record.identity.size

    def release(self, ref: FileRef) -> None:
        """The job runs no longer."""
        self._pledged_bytes -= self._pledged.pop(ref, 0)

    def is_full_for(self, job: Job) -> bool:
        """Is what is kept already too much for this one: must it wait until something leaves?"""
        return job.settings.keep_original and self.bytes + job.record.identity.size > self.max_bytes

    def may_start(self, job: Job) -> bool:
        """Is there room beside all that running jobs may keep yet?"""
        need = self._pledged_bytes + job.record.identity.size
        return not job.settings.keep_original or self.bytes + need <= self.max_bytes

    def why_full(self) -> Failure:
        detail = (
            f"{show_bytes(self.bytes)} of originals are kept and [undo] max_size is {show_bytes(self.max_bytes)}; "
            "it waits until some are older than keep: raise max_size, or shorten keep"
        )
        return Failure(FailureKind.EXHAUSTED, UNDO_FULL, detail)
