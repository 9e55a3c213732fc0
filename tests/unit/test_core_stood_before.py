"""What a first scan tells by a stat alone: left alone without a look, unless somebody has touched it meanwhile."""

from __future__ import annotations

from imgoptd.core import commands as c
from imgoptd.core import events as e
from imgoptd.core.engine import Engine
from imgoptd.core.model import FileKind, FileRef, HintKind, Identity, JobState, Lease, Look
from imgoptd.core.policy import FolderPolicy
from imgoptd.core.rescan import Stood
from imgoptd.core.since import Since

ROOT = b"/srv"
FILE = FileRef(ROOT, b"a.jpg")
STOOD = e.StoodBefore(ROOT, (Stood(b"a.jpg", Identity(1, 2, 3, 4), 7), Stood(b"b.jpg", Identity(1, 3, 3, 4), 8)))


def scanning(*, optimize_existing: bool = False) -> Engine:
    engine = Engine()
    folder = FolderPolicy(ROOT, settle_s=1.0, optimize_existing=optimize_existing)
    for event in (e.Configured(1, (folder,), 0, 1, 300.0), e.BaselineStarted(ROOT, Since(100)), e.ScanStarted(ROOT)):
        engine.handle(event, 0.0)
    return engine


def test_each_is_recorded_as_existing_in_the_same_turn_and_none_is_looked_at() -> None:
    engine = scanning()
    said = engine.handle(STOOD, 0.0)
    saved = [one.record for one in said if isinstance(one, c.SaveFile)]
    assert [(one.ref.path, one.identity.ino, one.uid) for one in saved] == [(b"a.jpg", 2, 7), (b"b.jpg", 3, 8)]
    assert {(one.state, one.reason) for one in saved} == {(JobState.SKIPPED, "existing")}
    said = engine.handle(e.ScanFinished(ROOT), 0.1) + engine.end_turn(0.1)
    assert c.BaselineTaken(ROOT) in said
    assert not any(isinstance(one, c.LookAt) for one in said)


def test_one_that_somebody_writes_meanwhile_is_looked_at_instead() -> None:
    engine = scanning()
    engine.handle(e.Hinted(FILE, HintKind.CLOSED), 0.0)
    said = engine.handle(STOOD, 0.0) + engine.end_turn(0.0)
    assert [one.record.ref.path for one in said if isinstance(one, c.SaveFile)] == [b"b.jpg"]
    assert c.LookAt(FILE, ends=True) in said
    engine.handle(e.ScanFinished(ROOT), 0.1)
    look = Look(
        FileKind.REGULAR, Identity(1, 2, 3, 4), mode=0o644, lease=Lease.GRANTED, close_is_whole=True, ends_whole=True
    )
    said = engine.handle(e.Looked(FILE, look, None), 0.1)
    assert [one.record.state for one in said if isinstance(one, c.SaveFile)] == [JobState.QUEUED]
    assert c.BaselineTaken(ROOT) in said


def test_where_existing_files_are_wanted_they_are_looked_at() -> None:
    engine = scanning(optimize_existing=True)
    said = engine.handle(STOOD, 0.0) + engine.end_turn(0.0)
    assert not any(isinstance(one, c.SaveFile) for one in said)
    assert c.LookAt(FILE) in said


def test_of_a_folder_that_is_watched_no_more_nothing_is_recorded() -> None:
    engine = Engine()
    assert engine.handle(STOOD, 0.0) == []
