"""Rows for a store."""

from __future__ import annotations

from imgoptd.core.model import (
    FileRecord,
    FileRef,
    Identity,
    Intent,
    JobState,
    Receipt,
)

REF = FileRef(b"/srv/a", b"x/a.jpg")
ODD = FileRef(b"/srv/\xff", b"new\nline/\xfe\xff'.jpg")
IDENTITY = Identity(dev=2049, ino=12, size=1000, mtime_ns=1_700_000_000_123_456_789)
SHA = "ab" * 32
OTHER_SHA = "cd" * 32
RECEIPT = Receipt(REF, SHA, OTHER_SHA, bytes_before=1000, bytes_after=800, profile="archive")
INTENT = Intent(REF, b".imgoptd-1.tmp", IDENTITY, IDENTITY._replace(ino=13, size=800), OTHER_SHA, SHA)


def record(ref: FileRef = REF, state: JobState = JobState.QUEUED) -> FileRecord:
    return FileRecord(ref=ref, identity=IDENTITY, state=state)
