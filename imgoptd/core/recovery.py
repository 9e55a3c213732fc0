"""What a replace that was under way when the daemon ended leads to, once its names have been put right."""

from __future__ import annotations

from dataclasses import replace

from imgoptd.core import commands as c
from imgoptd.core.model import FileRecord, Identity, Intent, JobState, Kept, Mirrored, Output, Receipt
from imgoptd.core.restores import restored_record


def records_after(
    intent: Intent,
    known: FileRecord | None,
    finished: bool,
    identity: Identity | None,
    sentence: str,
    profile: str,
    kept: Identity | None = None,
) -> list[c.Record]:
    """The records that close an intent.

    `finished`: the result stands at the path with this identity. Otherwise the path holds the original or something
    newer; its row stays an unfinished one, so it is looked at again like every job of the last run.

    `kept`: of the original, where it lies now in the place that the intent names; None: it is not kept.
    """
    steps: list[c.Record] = [c.AppendStep(intent.ref, "recovered", sentence)]
    if kept is not None and intent.keep is not None and intent.result is not None:
        result = identity if finished and identity is not None else intent.result
        original = Kept(intent.ref, intent.keep, kept, intent.original_sha256, result, intent.result_sha256)
        steps.append(c.SaveKept(original))
    if not finished or identity is None:
        return [*steps, c.DropIntent(intent.ref)]
    if intent.mirrored is not None:
        return [*steps, *_mirrored(intent, intent.mirrored, known, identity, sentence, profile)]
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
    return [*steps, c.SaveReceipt(receipt), c.SaveFile(done), c.DropIntent(intent.ref)]


def records_after_restore(
    kept: Kept, known: FileRecord | None, still_kept: bool, identity: Identity | None, sentence: str
) -> list[c.Record]:
    """The records that close a restore which was under way when the daemon ended.

    `identity`: of what stands at the path now. Where that is our result, its row is again the one of a finished file.
    Of anything but result and original the next scan sees that its row speaks of another content.
    """
    records: list[c.Record] = [c.AppendStep(kept.ref, "recovered", sentence)]
    records.append(c.SaveKept(replace(kept, restoring=None)) if still_kept else c.DropKept(kept))
    if identity is None or kept.restoring is None:
        return records
    if _same(identity, kept.result):
        row = known or FileRecord(kept.ref, identity, JobState.DONE)
        before, after = kept.identity.size, identity.size
        done = replace(row, state=JobState.DONE, reason="optimized", detail=sentence, sha256=kept.result_sha256)
        records.append(c.SaveFile(replace(done, identity=identity, bytes_before=before, bytes_after=after)))
    elif _same(identity, kept.restoring.identity):
        records.append(c.SaveFile(replace(restored_record(kept, known), identity=identity)))
    return records


def _same(now: Identity, then: Identity) -> bool:
    """Equal but for the device number: those of btrfs, overlay and tmpfs are given anew at each mount."""
    return now[1:] == then[1:]


def _mirrored(
    intent: Intent, mirrored: Mirrored, known: FileRecord | None, identity: Identity, sentence: str, profile: str
) -> list[c.Record]:
    """The result stands in the output tree. A copied original stays unfinished: why it was copied is found anew."""
    output = Output(intent.ref, mirrored.root, identity, intent.result_sha256, mirrored.source_sha256)
    if intent.result_sha256 == mirrored.source_sha256:
        return [c.SaveOutput(output), c.DropIntent(intent.ref)]
    before, after = mirrored.source.size, identity.size
    receipt = Receipt(intent.ref, mirrored.source_sha256, intent.result_sha256, before, after, profile)
    done = replace(
        known or FileRecord(intent.ref, mirrored.source, JobState.ACTIVE),
        identity=mirrored.source,
        state=JobState.DONE,
        reason="optimized",
        detail=sentence,
        sha256=mirrored.source_sha256,
        bytes_before=before,
        bytes_after=after,
        output=mirrored.root,
    )
    return [c.SaveOutput(output), c.SaveReceipt(receipt), c.SaveFile(done), c.DropIntent(intent.ref)]
