"""Jobs whose results go into an output tree: what is durable of them, and originals that are put there as they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core import naming
from imgoptd.core.job import Job, Stage
from imgoptd.core.model import (
    Failure,
    FailureKind,
    FileRef,
    Identity,
    ImageFacts,
    Intent,
    Mirror,
    Mirrored,
    Output,
)
from imgoptd.core.text import show_path

COPIES_AT_ONCE = 8
"""Originals that are being copied at the same time: each holds a few descriptors."""

OWN_RESULT = Failure(FailureKind.REJECTED, "own-result", "this content is already a result of ours")


def is_picture(facts: ImageFacts) -> bool:
    """Is it an image, though perhaps none that is optimised? What is no image has no place in an output tree."""
    return facts.format != "unknown"


def leads_to(job: Job, tree: bytes) -> bool:
    """Is that where the result of the job goes? Empty: into the original's place."""
    return tree == (job.mirror.root if job.mirror is not None else b"")


def intent(job: Job, mirror: Mirror, event: e.Prepared) -> Intent:
    """What is made durable before anything happens in the output tree."""
    if job.kept is not None:
        job.record = replace(job.record, sha256=event.sha256)  # a copy: what was read is what was made
    displaces = mirror.earlier is not None and event.original.ino != 0
    displaced_sha256 = mirror.earlier.sha256 if mirror.earlier is not None and displaces else ""
    mirrored = Mirrored(mirror.root, job.record.identity, job.record.sha256)
    return Intent(
        job.ref, event.temp_name, event.original, event.result, event.sha256, displaced_sha256, mirrored=mirrored
    )


def output(job: Job, mirror: Mirror, result: Identity) -> Output:
    """What stands in the output tree now."""
    return Output(job.ref, mirror.root, result, job.result_sha256, job.record.sha256)


def copied(job: Job, mirror: Mirror) -> c.AppendStep:
    target = FileRef(mirror.root, naming.own_place(job.ref.path))
    return c.AppendStep(job.ref, "copied", f"copied as it is to {show_path(target.full)}")


class Copies:
    """Jobs without a result whose own bytes go into an output tree; they need no worker."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._running: set[FileRef] = set()

    def add(self, job: Job, kept: Failure) -> None:
        """`kept`: why there is no result."""
        job.kept = kept
        job.stage = Stage.COPYING
        job.reserved_bytes = 0
        self._waiting.append(job)

    def due(self) -> Iterator[Job]:
        """Take out as many as may run at once; they are running then."""
        while self._waiting and len(self._running) < COPIES_AT_ONCE:
            job = self._waiting.popleft()
            job.stage = Stage.REPLACING
            self._running.add(job.ref)
            yield job

    def drop(self, job: Job) -> None:
        """It waits, and is not to be copied any more."""
        self._waiting.remove(job)

    def over(self, job: Job) -> None:
        """It was put there, or could not be. Of a job that was never copied it says nothing."""
        self._running.discard(job.ref)
