"""What a replace that was under way when the daemon ended leads to, once its names have been put right."""

from __future__ import annotations

from dataclasses import replace

from imgoptd.core import commands as c
from imgoptd.core.model import FileRecord, Identity, Intent, JobState, Receipt


def records_after(
    intent: Intent, known: FileRecord | None, finished: bool, identity: Identity | None, sentence: str, profile: str
) -> list[c.Record]:
    """The records that close an intent.

    `finished`: the result stands at the path with this identity. Otherwise the path holds the original or something
    newer; its row stays an unfinished one, so it is looked at again like every job of the last run.
    """
    step = c.AppendStep(intent.ref, "recovered", sentence)
    if not finished or identity is None:
        return [step, c.DropIntent(intent.ref)]
    before, after = intent.original.size, identity.size
    receipt = Receipt(intent.ref, intent.original_sha256, intent.result_sha256, before, after, profile)
    row = known or FileRecord(intent.ref, identity, JobState.ACTIVE)
    done = replace(
        row,
        identity=identity,
        state=JobState.DONE,
        reason="optimized",
        detail=sentence,
        sha256=intent.result_sha256,
        bytes_before=before,
        bytes_after=after,
    )
    return [step, c.SaveReceipt(receipt), c.SaveFile(done), c.DropIntent(intent.ref)]
